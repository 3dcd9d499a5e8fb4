"""Equations and inequalities: what they define, and one key for relations that are the same up to a factor.

'x = 5' names a value; '9 \\cdot 2 = 18' is the value 18 since both sides are worth the same; 'a = b = c' is c if b is
c. An inequality between one variable and numbers is a set of reals. Any other relation is kept as lhs - rhs at the
points of `values`, up to a constant factor (a positive one for an inequality).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from ponder.tasks.math import expressions, reals, tokens, values
from ponder.tasks.math.expressions import Node
from ponder.tasks.math.tokens import NotMath, Token

_SIGNS = {"=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!="}
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}


@dataclass(frozen=True, slots=True)
class Related:
    """`value`: the tokens of what a name is said to be. `region`: the reals that satisfy it. `key`: of the relation."""

    name: str = ""
    value: tuple[Token, ...] = ()
    region: tuple[reals.Interval, ...] = ()
    key: Hashable = None


def is_relation(found: Sequence[Token]) -> bool:
    """Whether a sign of relation stands outside all brackets."""
    depth = 0
    for token in found:
        depth += tokens.step(token)
        if depth == 0 and token.kind in ("sym", "cmd") and (token.text in _SIGNS or token.text == "in"):
            return True
    return False


def membership(found: Sequence[Token]) -> tuple[str, Sequence[Token]]:
    """('x', what follows) for 'x \\in …', else ('', all)."""
    pieces = tokens.split(found, frozenset({"in"}))
    if len(pieces) == 2 and (name := _name(pieces[0])) is not None:
        return name, pieces[1]
    return "", found


def read(found: Sequence[Token]) -> Related:
    """Raises NotMath, Beyond or Undefined."""
    sides, signs = _sides(found)
    if any(not side for side in sides):
        raise NotMath("a side is missing")
    if all(sign == "=" for sign in signs):
        return _equation(sides)
    region = _region(sides, signs)
    if region is not None:
        return region
    if len(sides) != 2:
        raise NotMath("a chain of inequalities")
    left, right = (expressions.parse(side) for side in sides)
    if signs[0] in ("<", "<="):
        left, right = right, left
    shape = signs[0] if signs[0] == "!=" else ">" + signs[0][1:]
    return Related(key=_key(shape, left, right))


def _sides(found: Sequence[Token]) -> tuple[list[list[Token]], list[str]]:
    sides: list[list[Token]] = [[]]
    signs: list[str] = []
    depth = 0
    for token in found:
        depth += tokens.step(token)
        if depth == 0 and token.kind in ("sym", "cmd") and token.text in _SIGNS:
            signs.append(_SIGNS[token.text])
            sides.append([])
        else:
            sides[-1].append(token)
    return sides, signs


def _key(sign: str, left: Node, right: Node) -> Hashable:
    difference = values.evaluate(("sum", left, ("neg", right)))
    return ("relation", sign, values.ratios(difference, positive=sign not in ("=", "!=")))


def _name(side: Sequence[Token]) -> str | None:
    """The variable that a side is; '' for f(x), (x, y) and words, which do not bind; None for anything else."""
    if side and side[0].kind == "text":
        return ""
    bare = [token.text for token in side]
    if len(side) == 1 and side[0].kind == "word" and len(bare[0]) > 1 and bare[0] not in expressions.WORDS:
        return ""
    if len(side) > 3 and side[0].kind == "word" and len(bare[0]) == 1 and bare[1] == "(" and bare[-1] == ")":
        applied = tokens.enclosed(side[1:]) and all(t.kind in ("word", "num") or t.text in "()," for t in side[1:])
        return "" if applied else None
    if len(side) > 2 and tokens.enclosed(side) and bare[0] == "(":
        parts = tokens.split(side[1:-1], frozenset({","}))
        return "" if len(parts) > 1 and all(_name(part) for part in parts) else None
    try:
        node = expressions.parse(side)
    except NotMath:
        return None
    return str(node[1]) if node[0] == "var" else None


def _equation(sides: Sequence[Sequence[Token]]) -> Related:
    name, rest = _name(sides[0]), sides[1:]
    if name is None and len(sides) == 2 and (name := _name(sides[1])) is not None:
        rest = sides[:1]
    if name is not None and not (name and any(_holds(side, name) for side in rest)):
        if len(rest) > 1 and len({values.key(values.evaluate(expressions.parse(side))) for side in rest}) > 1:
            raise NotMath("sides that are not equal")
        return Related(name, tuple(rest[-1]), key=_key_if_read(sides) if name else None)
    nodes = [expressions.parse(side) for side in sides]
    if not any(expressions.variables(node) for node in nodes):
        worth = {values.key(values.evaluate(node)) for node in nodes}
        if len(worth) > 1:
            return Related(key=("relation", "false", tuple(values.key(values.evaluate(node)) for node in nodes)))
        return Related(value=tuple(sides[-1]))
    if len(nodes) != 2:
        raise NotMath("a chain of equations")
    return Related(key=_key("=", *nodes))


def _key_if_read(sides: Sequence[Sequence[Token]]) -> Hashable:
    try:
        return _key("=", expressions.parse(sides[0]), expressions.parse(sides[-1]))
    except (NotMath, values.Undefined):
        return None


def _holds(side: Sequence[Token], name: str) -> bool:
    try:
        return name in expressions.variables(expressions.parse(side))
    except NotMath:
        return any(token.text == name for token in side)


def _region(sides: Sequence[Sequence[Token]], signs: Sequence[str]) -> Related | None:
    """'x > 3', '3 > x', '1 < x \\le 5', 'x \\ne 5': the reals that satisfy it."""
    middles = [place for place, side in enumerate(sides) if _name(side) is not None]
    if len(middles) != 1 or len(sides) > 3 or (len(sides) == 3 and middles != [1]):
        return None
    place = middles[0]
    name = _name(sides[place]) or ""
    region: tuple[reals.Interval, ...] = (reals.ALL,)
    for other, side in enumerate(sides):
        if other == place:
            continue
        worth = values.evaluate(expressions.parse(side))
        if len(worth) > 1:
            return None
        sign = signs[place] if other > place else _FLIPPED[signs[other]]
        region = reals.intersection(region, _satisfying(sign, worth[0]))
    return Related(name, region=region) if region else None


def _satisfying(sign: str, bound: values.Value) -> Sequence[reals.Interval]:
    if sign == "!=":
        return reals.complement([reals.Interval(bound, bound, True, True)])
    if sign in ("<", "<="):
        return [reals.Interval(-reals.INFINITE, bound, False, sign == "<=")]
    if sign in (">", ">="):
        return [reals.Interval(bound, reals.INFINITE, sign == ">=", False)]
    return [reals.Interval(bound, bound, True, True)]
