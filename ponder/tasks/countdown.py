"""Countdown: combine all given numbers with + - * / into a target; generated, checked exactly, answer and step.

As in 'Stream of Search' (Gandhi et al. 2024, arXiv 2404.03683), with small numbers and what is left listed again:

    problem    6 : 4 7 3 6 ;
    solution   6 * 4 = 24 | 24 7 3 ; 7 - 3 = 4 | 4 24 ; 24 / 4 = 6

What a text must hold to be correct is in CountdownRules. Problems are pairs (sorted numbers, target) that have a
solution with results in 1…most: 9,201 by default, 3,039 of them in the test split, by a hash of the pair alone. Ids
name the pair: 'countdown:6:3-4-6-7'.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations, combinations_with_replacement, product
from typing import Any

from ponder.draws import counter
from ponder.errors import UsageError
from ponder.tasks.equations import (
    MAX_DIGITS,
    MAX_VALUE,
    Equation,
    Generated,
    StepRules,
    from_json,
    normal_order,
    read,
    value,
    whole,
)
from ponder.tasks.rules import Spelled
from ponder.types import Problem, Verdict, correct, wrong

MAX_NUMBERS = 100
"""Numbers that a reference may have; an answer has one equation less."""
MAX_ENUMERATED = 1_000_000
"""Work (multisets of numbers × 2^(numbers - 1) × most) up to which all problems are listed: less than a second."""

_NUMBER = re.compile(rf"0|[1-9][0-9]{{0,{MAX_DIGITS - 1}}}")


class CountdownRules(StepRules, Spelled):
    """The judge of Countdown.

    Correct: the text holds exactly len(numbers) - 1 equations `a op b = c` (see ponder.tasks.equations), each is true,
    its two operands are among the numbers left at that point (it takes them away and adds c), and the last c is the
    target. Numbers are whole and at least 0, division is exact. What is written besides equations, such as the
    re-listing of what is left, is not judged; an '=' outside a well-formed equation makes the text wrong.

    The answer is the equations as written, nothing evaluated: '3 + 4 = 8 ; 8 - 1 = 7'. Operands of + and * are in
    ascending order, and of the orders that independent steps may take it has the first by (a, op, b, c). Steps are
    independent unless one's result, as written, is an operand of the other: neither may pass the other then, so the
    answer read again is itself, and chains with one answer are equally right for any numbers. A text without an
    equation, with a malformed one or with more than 99 has no answer.

    A reference is {"numbers": [4, 7, 3, 6], "target": 6}, or that as JSON text.
    """

    kind = "countdown"
    instruction = (
        "The number before the colon is the target, the numbers after it are given. Reach the target: use each given "
        "number exactly once, with + - * and / on whole numbers. Write one equation `a op b = c` for each step and end "
        "each step with ` ;`. A step takes two of the numbers that are left and puts its result in their place. After "
        "an equation you may list what is left after `|`. The last result must be the target. "
        "Example: 10 : 2 6 8 ; is solved by 8 / 2 = 4 | 4 6 ; 4 + 6 = 10"
    )

    def extract(self, text: str) -> str | None:
        """The equations as written, in their normal order, joined by ' ; '; None if there are none to be read."""
        found = read(text)
        if found.malformed or not 0 < len(found.equations) < MAX_NUMBERS:
            return None
        return " ; ".join(map(str, normal_order(found.equations)))

    def canonical(self, answer: str) -> str:
        """As extracted; text without equations, from logs of other tools, with white space collapsed."""
        return self.extract(answer) or " ".join(answer.split())

    def check_reference(self, reference: Any) -> str | None:
        """None if `reference` is a problem's numbers and target, else what is wrong with it."""
        found = _parsed(reference)
        return found if isinstance(found, str) else None

    def judge(self, reference: Any, completion: str) -> Verdict:
        """Correct or wrong, with the reason. Raises UsageError if the reference is bad."""
        target, numbers = _puzzle(reference)
        found = read(completion)
        if found.malformed:
            return wrong(f"{found.malformed} of the text's {found.malformed + len(found.equations)} '=' are malformed")
        if len(found.equations) != len(numbers) - 1:
            return wrong(f"{len(found.equations)} equations, expected {len(numbers) - 1} for {len(numbers)} numbers")
        left = Counter(numbers)
        for equation in found.equations:
            fault = _take(equation, left)
            if fault is not None:
                return wrong(fault)
        reached = found.equations[-1].result
        return correct(f"reaches {target}") if reached == target else wrong(f"reaches {reached}, expected {target}")

    def valid_steps(self, reference: Any, text: str) -> list[bool]:
        """Whether each step is one well-formed equation, true, with its operands left over by the valid steps before
        it. An invalid step takes and adds nothing. Raises UsageError if the reference is bad."""
        left = Counter(_puzzle(reference)[1])
        return [_step(step, left) for step in self.steps(text)]

    def state(self, problem: str, text: str) -> str | None:
        """What the chain says is left: '6 : 3 7 24 ;' after ' 6 * 4 = 24 | 24 7 3 ;', numbers in ascending order, the
        target from the problem. It is what stands after the last step's last '|', not checked (`checked_state` is); the
        problem's own numbers before the first step. None if the last step has no such list or is unfinished, or if the
        problem is not written as this task writes it."""
        start = _start(problem)
        if start is None:
            return None
        left: Sequence[int] | None = start[1:]
        if text.strip():
            _, bar, listed = self.steps(text)[-1].rpartition("|")
            left = _listed(listed) if bar else None
        return None if left is None else f"{start[0]} : {' '.join(map(str, sorted(left)))} ;"


@lru_cache(maxsize=1 << 12)  # each step of each chain of a problem asks
def _start(problem: str) -> tuple[int, ...] | None:
    """The target, then the numbers of a problem's text; None if it is not written as this task writes it."""
    target, _, given = problem.partition(":")
    aim, left = _listed(f"{target};"), _listed(given)
    return None if aim is None or len(aim) != 1 or left is None else (*aim, *left)


def _listed(text: str) -> list[int] | None:
    """The whole numbers in '24 7 3 ;', separated by white space; None for anything else."""
    body, end, rest = text.partition(StepRules.delimiter)
    words = body.split()
    if not end or rest.strip() or not words or not all(_NUMBER.fullmatch(word) for word in words):
        return None
    return [int(word) for word in words]


def checked_state(text: str, reference: Any) -> tuple[int, tuple[int, ...]] | None:
    """For labels: (target, numbers left in ascending order) after the steps of a chain, finished or not, each of them
    checked against the reference; None if one is invalid. What the chain says is left is `CountdownRules.state`.

    An unfinished last step, without delimiter and '=', is left out. Raises UsageError if the reference is bad.
    """
    target, numbers = _puzzle(reference)
    left = Counter(numbers)
    for step in CountdownRules().steps(text):
        if ("=" in step or step.rstrip().endswith(StepRules.delimiter)) and not _step(step, left):
            return None
    return target, tuple(sorted(left.elements()))


def _step(step: str, left: Counter[int]) -> bool:
    """Whether a step is valid, given what is left, which it changes only if so."""
    found = read(step)
    return not found.malformed and len(found.equations) == 1 and _take(found.equations[0], left) is None


def _take(equation: Equation, left: Counter[int]) -> str | None:
    """Replaces the operands by the result in what is left; or changes nothing and says why that cannot be."""
    if not equation.true:
        return f"{equation} is false"
    a, b = equation.left, equation.right
    for number, needed in ((a, 1 + (a == b)), (b, 1)):
        if left[number] < needed:
            return f"{equation}: {number} is not left"
    left[a] -= 1
    left[b] -= 1
    left[equation.result] += 1
    return None


# --- references


def _puzzle(reference: Any) -> tuple[int, tuple[int, ...]]:
    found = _parsed(reference)
    if isinstance(found, str):
        raise UsageError(f'countdown reference: {found}; give {{"numbers": [4, 7, 3, 6], "target": 6}}')
    return found


def _parsed(reference: Any) -> tuple[int, tuple[int, ...]] | str:
    """(target, numbers) of a reference, or what is wrong with it."""
    found = from_json(reference, "numbers", "target")
    if isinstance(found, str):
        return found
    numbers, target = found
    if not isinstance(numbers, (list, tuple)):
        return '"numbers" is no list'
    if not 2 <= len(numbers) <= MAX_NUMBERS:
        return f'"numbers" has {len(numbers)}, must have 2 to {MAX_NUMBERS}'
    for name, number in [('"target"', target), *((f'"numbers", item {i},', n) for i, n in enumerate(numbers, 1))]:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MAX_VALUE:
            return f"{name} is {json.dumps(number, default=str)[:20]}, must be a whole number from 0 to {MAX_VALUE}"
    return target, tuple(numbers)


# --- problems and solutions


class Countdown(Generated):
    """Problems of `numbers` numbers from 1…high with a target in low_target…high_target that can be reached with every
    result in 1…most. With `walks`, or where they are too many to list, they come in the order in which random walks
    on random numbers meet them: first those with many solutions, which are easier. `fold`, 0 to 2: which third of
    the problems is the test split. Raises UsageError for a value out of its range."""

    def __init__(
        self,
        numbers: int = 4,
        high: int = 9,
        low_target: int = 5,
        high_target: int = 30,
        most: int = 30,
        split: str = "test",
        seed: int = 0,
        walks: bool = False,
        fold: int = 0,
    ) -> None:
        super().__init__("countdown", CountdownRules(), split, seed, fold)
        self.numbers = whole(self.name, "numbers", numbers, 2, 6)
        self.high = whole(self.name, "high", high, 1, 1000)
        self.most = whole(self.name, "most", most, 1, 10_000)
        self.low_target = whole(self.name, "low_target", low_target, 1, self.most)
        self.walks = bool(walks)
        self.high_target = whole(self.name, "high_target", high_target, self.low_target, self.most)

    def every(self) -> Iterator[str] | None:
        return None if self.walks else self._listing()

    def problems(self, limit: int | None = None) -> Iterator[Problem]:
        """As `Generated.problems`. Walks that cannot meet so many problems, since they do not exist, are not begun."""
        if self.walks and (limit or 0) > 1000 and (listing := self._listing()) is not None:
            exist = sum(map(self._in_split, listing))
            if exist < (limit or 0):
                raise UsageError(
                    f"--task countdown: {limit} problems of split {self.split!r} were asked for, {exist} exist; lower "
                    "--limit or widen the task's options"
                )
        return super().problems(limit)

    def _listing(self) -> Iterator[str] | None:
        multisets = math.comb(self.high + self.numbers - 1, self.numbers)
        if multisets * 2 ** (self.numbers - 1) * self.most > MAX_ENUMERATED:
            return None
        given = combinations_with_replacement(range(1, self.high + 1), self.numbers)
        pairs = ((target, numbers) for numbers in given for target in _bits(reachable(numbers, self.most)))
        return (_spell(*pair) for pair in pairs if self.low_target <= pair[0] <= self.high_target)

    def draw(self, chance: random.Random) -> str | None:
        left = given = tuple(sorted(chance.randint(1, self.high) for _ in range(self.numbers)))
        while len(left) > 1:
            moves = _moves(left, self.most)
            if not moves:
                return None
            _, left = chance.choice(moves)
        return _spell(left[0], given) if self.low_target <= left[0] <= self.high_target else None

    def text(self, key: str) -> str:
        target, numbers = _unspell(key)
        order = sorted(range(len(numbers)), key=lambda i: counter(self.seed, self.name, "shown", key, i))
        return f"{target} : {' '.join(str(numbers[i]) for i in order)} ;"

    def reference(self, key: str) -> dict[str, Any]:
        target, numbers = _unspell(key)
        return {"numbers": list(numbers), "target": target}


def solution(numbers: Sequence[int], target: int, draw: random.Random, most: int = 30) -> str | None:
    """A solution with results in 1…most, in the style of the file's head; None if there is none.

    A random walk: each step is drawn uniformly from the moves after which the target can still be reached.
    """

    left = tuple(numbers)
    if not _reaches(left, target, most):
        return None
    steps: list[str] = []
    while len(left) > 1:
        equation, left = draw.choice(_toward(left, target, most))
        steps.append(f"{equation} | {' '.join(map(str, left))}" if len(left) > 1 else str(equation))
    return " ; ".join(steps)


def _reaches(numbers: Sequence[int], target: int, most: int) -> bool:
    return target >= 0 and bool(reachable(tuple(sorted(numbers)), most) >> target & 1)


@lru_cache(maxsize=1 << 12)  # several walks of one problem are asked for in a row
def _toward(left: tuple[int, ...], target: int, most: int) -> tuple[tuple[Equation, tuple[int, ...]], ...]:
    """Every step after which the target can still be reached."""
    return tuple(move for move in _moves(left, most) if _reaches(move[1], target, most))


def _moves(left: tuple[int, ...], most: int) -> list[tuple[Equation, tuple[int, ...]]]:
    """Every step from the numbers `left` with a result in 1…most, and what is left after it, the result first."""
    found: list[tuple[Equation, tuple[int, ...]]] = []
    for i, j in combinations(range(len(left)), 2):
        rest = left[:i] + left[i + 1 : j] + left[j + 1 :]
        for (a, b), op in product(((left[i], left[j]), (left[j], left[i])), "+-*/"):
            c = value(a, op, b)
            if c is not None and 1 <= c <= most:
                found.append((Equation(a, op, b, c), (c, *rest)))
    return found


@lru_cache(maxsize=1 << 16)
def reachable(numbers: tuple[int, ...], most: int) -> int:
    """What `numbers` (ascending) can be combined into, each used once, with all results in 1…most: bit v is set if v
    can be reached. One number is itself, whatever its size."""
    if len(numbers) == 1:
        return 1 << numbers[0]
    found = 0
    for size in range(1, len(numbers) // 2 + 1):
        for part in set(combinations(numbers, size)):
            others = tuple((Counter(numbers) - Counter(part)).elements())  # ascending, as `numbers` is
            found |= _combined(reachable(part, most), reachable(others, most), most)
    return found


def _combined(left: int, right: int, most: int) -> int:
    """The results in 1…most of one operation on one value of each side, all as bits. About most · log(most) steps."""
    found = 0
    for ours, theirs in ((left, right), (right, left)):
        for a in _bits(ours):
            found |= theirs << a | theirs >> a  # a + b, b - a
            for c in range(1, min(most, theirs.bit_length() // a) + 1 if a else 1):  # b / a = c
                found |= (theirs >> a * c & 1) << c
    factors = _bits(right)
    for a in _bits(left):
        for b in factors:
            if a * b > most:
                break
            found |= 1 << a * b
    return found & (1 << most + 1) - 2


def _bits(found: int) -> list[int]:
    return [v for v in range(found.bit_length()) if found >> v & 1]


def _spell(target: int, numbers: Sequence[int]) -> str:
    return f"{target}:{'-'.join(map(str, numbers))}"


@lru_cache(maxsize=1 << 12)  # each chain of a problem asks
def _unspell(key: str) -> tuple[int, tuple[int, ...]]:
    """Raises KeyError if the key is not as _spell makes it."""
    target, _, numbers = key.partition(":")
    try:
        found = int(target), tuple(sorted(int(n) for n in numbers.split("-")))
    except ValueError:
        raise KeyError(key) from None
    if _spell(*found) != key or isinstance(_parsed({"target": found[0], "numbers": found[1]}), str):
        raise KeyError(key)
    return found
