"""Arithmetic: the value of an expression, one operation a step; generated, checked exactly, answer and step.

    problem    ( 3 + 4 ) * 2 - 5 =
    solution   3 + 4 = 7 ; 7 * 2 = 14 ; 14 - 5 = 9

Operators are + - *, numbers are in 1…high, every intermediate result is in 0…most. Parentheses are the fewest that
keep the order of the operations, so problems are distinct as texts exactly if they are as trees. One in three, by a
hash of the expression alone, is for testing. Ids name the expression: 'arithmetic:(3+4)*2-5'.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ponder.errors import UsageError
from ponder.tasks.equations import MAX_VALUE, Equation, Generated, StepRules, from_json, read, value, whole
from ponder.tasks.rules import NumberRules
from ponder.types import Verdict

Node = int | tuple[str, "Node", "Node"]
"""A number, or (operator, left, right)."""

MAX_TERMS = 16
"""Numbers that an expression may have: checking a step follows every place where it may have been taken."""
MAX_CHARS = 1000
"""Characters that an expression may have."""
MAX_LISTED = 100_000
"""Trees, whatever their values, up to which all problems are listed."""

_TOKEN = re.compile(r"(?:0|[1-9][0-9]{0,8}+)(?![0-9])|[-+*()]")
_ORDER = {"+": 1, "-": 1, "*": 2}


class ArithmeticRules(StepRules, NumberRules):
    """The judge of arithmetic, exact.

    The answer is the result of the text's last equation `a op b = c` (see ponder.tasks.equations) as written; if the
    last '=' belongs to none, or there is no '=', what NumberRules reads: '\\boxed{9}', '#### 9', the last number.

    A reference is a plain number, which leaves steps unchecked, or {"expression": "( 3 + 4 ) * 2 - 5", "value": 9}, or
    that as JSON text. Its expression has 2 to 16 numbers, + - * and parentheses, and no result below 0.
    """

    kind = "number"
    instruction = (
        "Find the value step by step. Write one equation `a op b = c` for each step, with two numbers and "
        "one of + - *, and end each step with ` ;`. The result of the last equation must be the value. "
        "Example: ( 1 + 2 ) * 5 = is solved by 1 + 2 = 3 ; 3 * 5 = 15"
    )

    def extract(self, text: str) -> str | None:
        """The last equation's result, else the number that the text commits to; None if there is neither."""
        found = read(text)
        return str(found.equations[-1].result) if found.ends_well else super().extract(text)

    def check_reference(self, reference: Any) -> str | None:
        """None if `reference` is a plain number, or an expression with its value; else what is wrong with it."""
        if not _structured(reference):
            return super().check_reference(reference)
        found = _parsed(reference)
        return found if isinstance(found, str) else None

    def judge(self, reference: Any, completion: str) -> Verdict:
        """Correct, wrong or unverified (as NumberRules), with the reason. Raises UsageError if the reference is bad."""
        return super().judge(_tree(reference)[1] if _structured(reference) else reference, completion)

    def valid_steps(self, reference: Any, text: str) -> list[bool] | None:
        """Whether each step is one well-formed equation, true, and an operation of the expression whose two operands
        are numbers by then (of + and * in either order). It is put in place there; an invalid step changes nothing.
        None if the reference is a plain number. Raises UsageError if it is bad."""
        if not _structured(reference):
            return None
        # Where an operation stands in several places, a step may mean any of them: all are followed.
        states = [_tree(reference)[0]]
        valid: list[bool] = []
        for step in self.steps(text):
            found = read(step)
            after: list[Node] = []
            if not found.malformed and len(found.equations) == 1 and found.equations[0].true:
                after = list(dict.fromkeys(n for state in states for n in _reduced(state, found.equations[0])))
            valid.append(bool(after))
            states = after or states
        return valid


def solution(expression: str) -> str:
    """The steps that evaluate an expression (with or without ' =' at its end), from the left, joined by ' ; '.

    Raises UsageError if the expression is bad, is one number, or has a result outside 0…999,999,999.
    """
    try:
        steps: list[str] = []
        _evaluate(parse(expression), steps)
    except ValueError as error:
        raise UsageError(f"expression {expression[:80]!r}: {error}; give one like '( 3 + 4 ) * 2 - 5'") from None
    return " ; ".join(steps)


def _structured(reference: Any) -> bool:
    if isinstance(reference, str):
        return reference.lstrip().startswith("{")
    return isinstance(reference, Mapping)


def _tree(reference: Any) -> tuple[Node, int]:
    found = _parsed(reference)
    if isinstance(found, str):
        raise UsageError(f'arithmetic reference: {found}; give {{"expression": "( 3 + 4 ) * 2 - 5", "value": 9}}')
    return found


def _parsed(reference: Any) -> tuple[Node, int] | str:
    """(tree, value) of a structured reference, or what is wrong with it."""
    found = from_json(reference, "expression", "value")
    if isinstance(found, str):
        return found
    expression, given = found
    if not isinstance(expression, str):
        return '"expression" is no text'
    if isinstance(given, bool) or not isinstance(given, int):
        return '"value" is no whole number'
    try:
        tree = parse(expression)
        right = _evaluate(tree, [])
    except ValueError as error:
        return f'"expression": {error}'
    return (tree, right) if right == given else f'"value" is {str(given)[:20]}, the expression\'s is {right}'


# --- expressions


def parse(expression: str) -> Node:
    """The tree of an expression of whole numbers, + - * and parentheses; ' =' at its end is left out.

    Raises ValueError, with what is wrong, if it is no such expression or has not 2 to MAX_TERMS numbers.
    """
    if len(expression) > MAX_CHARS:
        raise ValueError(f"has more than {MAX_CHARS} characters")
    text = expression.strip().removesuffix("=")
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != "".join(text.split()) or re.search(r"[0-9]\s+[0-9]", text):
        raise ValueError("holds more than whole numbers, + - * and parentheses")
    nodes: list[Node] = []
    waiting: list[str] = []
    operand = True  # what must come next
    for token in (*tokens, ""):
        if (token == "(" or token.isdigit()) != operand:
            raise ValueError("is no complete expression")
        if token == "(":
            waiting.append(token)
        elif token.isdigit():
            nodes.append(int(token))
            operand = False
        else:
            while waiting and waiting[-1] != "(" and _ORDER[waiting[-1]] >= _ORDER.get(token, 0):
                right, left = nodes.pop(), nodes.pop()
                nodes.append((waiting.pop(), left, right))
            if token in _ORDER:
                waiting.append(token)
                operand = True
            elif bool(waiting) != (token == ")"):
                raise ValueError("has an unmatched parenthesis")
            elif token:
                waiting.pop()
    if not 2 <= sum(token.isdigit() for token in tokens) <= MAX_TERMS:
        raise ValueError(f"must have 2 to {MAX_TERMS} numbers")
    return nodes[0]


def render(node: Node) -> str:
    """The expression of a tree, spaces between all tokens, with the fewest parentheses that give the tree back."""
    if isinstance(node, int):
        return str(node)
    op, *sides = node
    # On its right side an operation of equal rank needs them too: it would be taken from the left.
    spelled = [
        f"( {render(side)} )" if not isinstance(side, int) and _ORDER[side[0]] < _ORDER[op] + on_right else render(side)
        for on_right, side in enumerate(sides)
    ]
    return f"{spelled[0]} {op} {spelled[1]}"


def _evaluate(node: Node, steps: list[str]) -> int:
    """The value; adds the steps to it. Raises ValueError if a result is outside 0…MAX_VALUE."""
    if isinstance(node, int):
        return node
    left, right = _evaluate(node[1], steps), _evaluate(node[2], steps)
    found = value(left, node[0], right)
    if found is None or not 0 <= found <= MAX_VALUE:
        raise ValueError(f"{left} {node[0]} {right} is outside 0 to {MAX_VALUE}")
    steps.append(str(Equation(left, node[0], right, found)))
    return found


def _reduced(node: Node, step: Equation) -> Iterator[Node]:
    """The tree after a step, for each place where the step may be taken."""
    if isinstance(node, int):
        return
    op, left, right = node
    if isinstance(left, int) and isinstance(right, int):
        written = (step.left, step.right)
        if op == step.op and (written == (left, right) or (op != "-" and written == (right, left))):
            yield step.result
        return
    yield from ((op, changed, right) for changed in _reduced(left, step))
    yield from ((op, left, changed) for changed in _reduced(right, step))


# --- problems


class Arithmetic(Generated):
    """Expressions of `terms` numbers from 1…high with every result in 0…most. Where they are too many to list they are
    drawn: where a tree splits, its operators and its numbers uniformly, kept if the results are in range. Raises
    UsageError for a value out of its range."""

    def __init__(self, terms: int = 4, high: int = 9, most: int = 99, split: str = "test", seed: int = 0) -> None:
        super().__init__("arithmetic", ArithmeticRules(), split, seed)
        self.terms = whole(self.name, "terms", terms, 2, 8)
        self.high = whole(self.name, "high", high, 1, 1000)
        self.most = whole(self.name, "most", most, 0, 1_000_000)

    def every(self) -> Iterator[str] | None:
        operations = self.terms - 1
        shapes = math.comb(2 * operations, operations) // self.terms
        if shapes * len(_ORDER) ** operations * self.high**self.terms > MAX_LISTED:
            return None
        return (_spell(node) for node, _ in self._trees(self.terms))

    def draw(self, chance: random.Random) -> str | None:
        found = self._grown(self.terms, chance)
        return None if found is None else _spell(found[0])

    def text(self, key: str) -> str:
        return f"{self.reference(key)['expression']} ="

    def reference(self, key: str) -> dict[str, Any]:
        try:
            node = parse(key)
            found = _evaluate(node, [])
        except ValueError:
            raise KeyError(key) from None
        if _spell(node) != key:
            raise KeyError(key)
        return {"expression": render(node), "value": found}

    def _trees(self, terms: int) -> Iterator[tuple[Node, int]]:
        """Every tree of so many numbers whose results are in range, with its value."""
        if terms == 1:
            yield from ((n, n) for n in range(1, self.high + 1))
            return
        for size in range(1, terms):
            for left, a in self._trees(size):
                for right, b in self._trees(terms - size):
                    for op in _ORDER:
                        found = value(a, op, b)
                        if found is not None and 0 <= found <= self.most:
                            yield (op, left, right), found

    def _grown(self, terms: int, chance: random.Random) -> tuple[Node, int] | None:
        """One such tree at random, None if its results are out of range."""
        if terms == 1:
            number = chance.randint(1, self.high)
            return number, number
        size, op = chance.randint(1, terms - 1), chance.choice(list(_ORDER))
        left, right = self._grown(size, chance), self._grown(terms - size, chance)
        if left is None or right is None:
            return None
        found = value(left[1], op, right[1])
        return ((op, left[0], right[0]), found) if found is not None and 0 <= found <= self.most else None


def _spell(node: Node) -> str:
    return render(node).replace(" ", "")
