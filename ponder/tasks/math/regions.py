"""Intervals and their unions, from tokens."""

from __future__ import annotations

from collections.abc import Sequence

from ponder.tasks.math import expressions, reals, values
from ponder.tasks.math.tokens import ALL_REALS, NotMath, Token, enclosed, expanded, split
from ponder.tasks.math.values import Value


def infinite(piece: Sequence[Token]) -> int:
    """1 or -1 if the piece is plus or minus infinity, else 0."""
    bare = [token.text for token in piece if token.text != "+"]
    if bare[-1:] in (["infty"], ["infinity"], ["inf"]):
        return {1: 1, 2: -1 if bare[0] == "-" else 0}.get(len(bare), 0)
    return 0


def end(piece: Sequence[Token]) -> Value:
    """An end of an interval. Raises NotMath if it has variables."""
    sign = infinite(piece)
    if sign:
        return sign * reals.INFINITE
    found = values.evaluate(expressions.parse(piece))
    if len(found) > 1:
        raise NotMath("an interval between variables")
    return found[0]


def regions(found: Sequence[Token]) -> tuple[reals.Interval, ...]:
    """Unions, intersections and differences of sets of reals. Raises NotMath for anything else."""
    apart = split(found, frozenset({"setminus"}))
    if len(apart) == 2:
        return reals.intersection(regions(apart[0]), reals.complement(regions(apart[1])))
    joined = split(found, frozenset({"cup"}))
    if len(joined) > 1:
        return reals.union(part for piece in joined for part in regions(piece))
    met = split(found, frozenset({"cap"}))
    if len(met) > 1:
        whole: tuple[reals.Interval, ...] = (reals.ALL,)
        for piece in met:
            whole = reals.intersection(whole, _region(piece))
        return whole
    return _region(found)


def _region(found: Sequence[Token]) -> tuple[reals.Interval, ...]:
    """A set of reals that is part of a union."""
    text = "".join(("\\" if token.kind == "cmd" else "") + token.text for token in found)
    if text in ALL_REALS:
        return (reals.ALL,)
    if enclosed(found):
        pieces = split(found[1:-1], frozenset({",", ";"}))
        opening, closing = found[0].text, found[-1].text
        if opening == "\\{":
            points = [end(piece) for piece in expanded(pieces)]
            return reals.union(reals.Interval(value, value, True, True) for value in points)
        if len(pieces) == 2 and opening in ("(", "["):
            low, high = end(pieces[0]), end(pieces[1])
            return reals.union([reals.checked(low, high, opening == "[", closing == "]")])
        if len(pieces) == 1 and opening == "(":
            return regions(pieces[0])
    raise NotMath("no set of reals")
