"""Equations `a op b = c` in a text, read as written; and what tasks whose steps are equations have in common.

A well-formed equation is two whole numbers with one of + - * / between them, '=' and a whole number: ASCII, white space
(space, tab, line end) between them or not. A number is 0 or starts with 1 to 9, and has at most 9 digits. The equation
must stand alone: nothing before or after it may be a part of it. None of these is one:

    3 + 4 + 5 = 12   3 - 5 = -2   3.5 * 2 = 7   3 + 4 = 7 = 7   (3+4) * 2 = 14   3 × 4 = 12   1e3 * 1 = 1
    03 + 4 = 7   x = 7   - 3 + 4 = 7   1 2 + 3 = 5   3 + 4 = 7 x 2   3 + 4 == 7   **3 + 4 = 7**

Words beside it are not read ('so 3 + 4 = 7 is left'), but for a few that calculate. Every '=' that belongs to no
well-formed equation is counted as malformed. Reading evaluates nothing, in time linear in the text.
"""

from __future__ import annotations

import heapq
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any, NamedTuple

from ponder import errors
from ponder.draws import counter, generator
from ponder.errors import UsageError
from ponder.tasks.base import Rules
from ponder.types import Problem, Verdict

MAX_DIGITS = 9
"""Digits that a number in an equation may have."""
MAX_VALUE = 10**MAX_DIGITS - 1
"""The largest number that an equation can hold."""

_WHITE = " \t\r\n"
_NUMBER = rf"(?<![0-9])((?:0|[1-9][0-9]{{0,{MAX_DIGITS - 1}}}+)(?![0-9]))"
_EQUATION = re.compile(rf"{_NUMBER}\s*+([-+*/])\s*+{_NUMBER}\s*+=\s*+{_NUMBER}".replace(r"\s", f"[{_WHITE}]"))
_SIGNS = "=＝﹦⁼₌"  # what looks like '=' must not hide an equation
_OPENERS = ';|([{"`$'
_CLOSERS = ';|)]}"`$'
_OPERATOR_WORDS = frozenset({"x", "times", "plus", "minus", "over", "mod", "div", "squared", "cubed"})
_WORD_BEFORE = re.compile(r"\\?[^\W\d_]+\Z")
_WORD = re.compile(r"[^\W\d_]{1,12}")


class Equation(NamedTuple):
    """`left op right = result` as written, true or not. All three numbers are in 0…MAX_VALUE; op is one of + - * /."""

    left: int
    op: str
    right: int
    result: int

    def __str__(self) -> str:
        return f"{self.left} {self.op} {self.right} = {self.result}"

    @property
    def true(self) -> bool:
        """Whether it holds. Division must be exact, and by zero it never is."""
        return value(self.left, self.op, self.right) == self.result


def value(left: int, op: str, right: int) -> int | None:
    """The exact value of an operation on whole numbers; None if it divides by zero or leaves a remainder."""
    if op == "/":
        return left // right if right and left % right == 0 else None
    return left + right if op == "+" else left - right if op == "-" else left * right


@dataclass(frozen=True, slots=True)
class Reading:
    """The well-formed equations of a text in order, how many '=' belong to none, and whether the last '=' is well."""

    equations: tuple[Equation, ...] = ()
    malformed: int = 0
    ends_well: bool = False


@lru_cache(maxsize=1 << 12)  # an answer is taken from a text, and then the text is judged
def read(text: str) -> Reading:
    """What a text holds in equations. Every '=' of it is counted once, as part of an equation or as malformed."""
    kinds = "=" if text.isascii() else _SIGNS
    signs = sum(text.count(sign) for sign in kinds)
    if not signs:
        return Reading()
    found = [m for m in _EQUATION.finditer(text) if _opens(text, m.start()) and _closes(text, m.end())]
    last = max(text.rfind(sign) for sign in kinds)
    equations = tuple(Equation(int(a), op, int(b), int(c)) for a, op, b, c in (m.groups() for m in found))
    return Reading(equations, signs - len(found), bool(found) and last < found[-1].end())


def _opens(text: str, start: int) -> bool:
    """Whether what stands before `start` cannot belong to an equation that starts there."""
    at = start
    while at and text[at - 1] in _WHITE:
        at -= 1
    neighbour = text[at - 1] if at else ""
    if neighbour in _OPENERS:  # as is '', the text's start
        return True
    if at == start:
        return False
    if "0" <= neighbour <= "9":
        return "\n" in text[at:start]  # '2 3 * 4 = 12' could be one expression, on two lines it is a list and a step
    if neighbour.isalpha():
        word = _WORD_BEFORE.search(text[max(0, at - 12) : at])
        return word is not None and word[0][0] != "\\" and word[0].lower() not in _OPERATOR_WORDS
    return neighbour in ":,.?!#>→"


def _closes(text: str, end: int) -> bool:
    """Whether what stands after `end` cannot belong to an equation that ends there."""
    at = end
    while at < len(text) and text[at] in _WHITE:
        at += 1
    neighbour, following = text[at : at + 1], text[at + 1 : at + 2]
    if neighbour in _CLOSERS:  # as is '', the text's end
        return True
    if neighbour in ".,:?":  # '7.' ends a sentence, '7.5' is another number
        return following in _CLOSERS or following in _WHITE
    if neighbour == "\\":  # \( 3 + 4 = 7 \)
        return following in (")", "]")
    if at == end:
        return False
    if "0" <= neighbour <= "9":
        return "\n" in text[end:at]
    if neighbour.isalpha():
        word = _WORD.match(text, at)
        return word is not None and word[0].lower() not in _OPERATOR_WORDS
    return neighbour in "#→" or (neighbour == "(" and following.isalpha())


def normal_order(equations: Sequence[Equation]) -> list[Equation]:
    """One order for all chains that differ in the order of independent steps and of operands of + and *. Quadratic.

    Two steps depend on each other if the result of one, as written, is an operand of the other; then neither passes
    the other, whichever came first, or a number would be used where it was not. That makes it the lexicographic normal
    form of a trace (Anisimov and Knuth 1979), by (a, op, b, c): chains with one form are equally right for any numbers.
    """
    ascending = [e._replace(left=e.right, right=e.left) if e.op in "+*" and e.right < e.left else e for e in equations]
    after: list[list[int]] = [[] for _ in ascending]
    waits = [0] * len(ascending)
    for (i, first), (j, second) in combinations(enumerate(ascending), 2):
        if first.result in (second.left, second.right) or second.result in (first.left, first.right):
            after[i].append(j)
            waits[j] += 1
    ready = [(e, i) for i, e in enumerate(ascending) if not waits[i]]
    heapq.heapify(ready)
    order: list[Equation] = []
    while ready:
        equation, i = heapq.heappop(ready)
        order.append(equation)
        for j in after[i]:
            waits[j] -= 1
            if not waits[j]:
                heapq.heappush(ready, (ascending[j], j))
    return order


class StepRules(Rules):
    """Rules whose steps end in ';', one equation a step."""

    delimiter = ";"
    structured = True

    def steps(self, text: str) -> list[str]:
        """A chain's steps, delimiters included; white space after the last delimiter belongs to the step before it."""
        steps = super().steps(text)
        if len(steps) > 1 and not steps[-1].strip():
            steps[-2:] = [steps[-2] + steps[-1]]
        return steps


def from_json(reference: Any, *names: str) -> list[Any] | str:
    """The named values of a reference that is an object, or JSON of one as text; else what is wrong with it."""
    if isinstance(reference, str):
        try:
            reference = json.loads(reference)
        except (ValueError, RecursionError):
            return "is neither an object nor JSON of one"
    if not isinstance(reference, Mapping):
        return f"is no object with {' and '.join(names)}"
    missing = [name for name in names if name not in reference]
    return f'"{missing[0]}" is missing' if missing else [reference[name] for name in names]


# --- generated problems

DEFAULT_SIZE = 200
"""Problems without a limit."""
TEST_SHARE = 3
"""One problem in so many is for testing, the others are for training."""
DRAWS = 200
"""Draws for each problem that was asked for, besides 10,000, before a task gives up on finding enough."""
SPLITS = ("test", "train")


def whole(task: str, name: str, given: object, low: int, high: int) -> int:
    """An option that must be a whole number in low…high. Raises UsageError: one line with task, option and range."""
    if isinstance(given, bool) or not isinstance(given, int) or not low <= given <= high:
        raise UsageError(f"--task {task}: {name}={given!r}: must be {low} to {high}")
    return given


class Generated:
    """A task whose problems are made by rule. Subclasses say what keys there are: all (`every`), or one at random.

    A problem is named by its content, 'TASK:KEY', so an id means the same under every limit, seed and option. Whether
    it is for testing is a hash of that alone.
    """

    def __init__(self, name: str, rules: Rules, split: str, seed: int, fold: int = 0) -> None:
        if split not in SPLITS:
            raise errors.unknown(f"split of {name}", str(split), SPLITS)
        self.name = name
        self.split = split
        self.seed = whole(name, "seed", seed, -(2**63), 2**63 - 1)
        self.fold = whole(name, "fold", fold, 0, TEST_SHARE - 1)
        self._rules = rules
        self._listed: list[str] | None = None
        self._drawn: dict[str, None] = {}
        self._draws = 0

    def every(self) -> Iterable[str] | None:
        """Every key of both splits, each once; None if they are too many to list."""
        raise NotImplementedError

    def draw(self, chance: random.Random) -> str | None:
        """One key of either split, or None: this draw found none. Asked only where `every` gives None."""
        raise NotImplementedError

    def text(self, key: str) -> str:
        """The problem's text. May depend on the seed."""
        raise NotImplementedError

    def reference(self, key: str) -> Any:
        """What the rules judge against. Raises KeyError if the key is none of this task's."""
        raise NotImplementedError

    def __len__(self) -> int:
        listed = self._keys_listed()
        return DEFAULT_SIZE if listed is None else min(DEFAULT_SIZE, len(listed))

    def problems(self, limit: int | None = None) -> Iterator[Problem]:
        """The first `limit` problems of the split in the seed's order; without a limit 200, or all if they are fewer.

        A smaller limit gives the start of the same. Raises UsageError, before the first problem, if fewer exist, or
        (where they cannot be listed) a bounded number of draws finds fewer.
        """
        if limit is not None and limit < 1:
            raise UsageError(f"--limit {limit}: must be at least 1")
        listed = self._keys_listed()
        count = limit or DEFAULT_SIZE
        keys = self._keys_drawn(count) if listed is None else listed[:count]
        if not keys or len(keys) < (limit or 0) or (listed is None and len(keys) < count):
            have = "exist" if listed is not None else f"were found in {self._draws} draws"
            raise UsageError(
                f"--task {self.name}: {count} problems of split {self.split!r} were asked for, "
                f"{len(listed or keys)} {have}; lower --limit or widen the task's options"
            )
        return (self._problem(key) for key in keys)

    def rules(self, problem_id: str) -> Rules:
        self.reference(self._key(problem_id))
        return self._rules

    def verify(self, problem_id: str, completion: str) -> Verdict:
        return self._rules.judge(self.reference(self._key(problem_id)), completion)

    def valid_steps(self, problem_id: str, text: str) -> list[bool] | None:
        return self._rules.valid_steps(self.reference(self._key(problem_id)), text)

    def _problem(self, key: str) -> Problem:
        text = self.text(key)
        return Problem(f"{self.name}:{key}", text, self._rules.messages(text))

    def _key(self, problem_id: str) -> str:
        name, colon, key = problem_id.partition(":")
        if name != self.name or not colon:
            raise KeyError(problem_id)
        return key

    def _in_split(self, key: str) -> bool:
        return (counter(0, self.name, "split", key) % TEST_SHARE == self.fold) == (self.split == "test")

    def _keys_listed(self) -> list[str] | None:
        """The split's keys in the seed's order, None if they are too many to list."""
        if self._listed is None and (every := self.every()) is not None:
            own = [key for key in every if self._in_split(key)]
            self._listed = sorted(own, key=lambda key: (counter(self.seed, self.name, "order", key), key))
        return self._listed

    def _keys_drawn(self, count: int) -> list[str]:
        """The first `count` distinct keys of the split, or fewer. Draw i depends on the seed and i alone."""
        while len(self._drawn) < count and self._draws < 10_000 + DRAWS * count:
            key = self.draw(generator(self.seed, self.name, "draw", self._draws))
            self._draws += 1
            if key is not None and self._in_split(key):
                self._drawn.setdefault(key)
        return list(self._drawn)[:count]
