"""Sets of reals in one normal form: disjoint intervals in order, single points as closed intervals.

'(-\\infty, 1) \\cup (1, \\infty)', 'x \\ne 1' and '\\mathbb{R} \\setminus \\{1\\}' are one set.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cmp_to_key

from ponder.tasks.math.tokens import NotMath
from ponder.tasks.math.values import Value, compare, key

INFINITE = float("inf")


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`, a Value or ±INFINITE each. `has_low`, `has_high`: whether the ends belong to it."""

    low: Value
    high: Value
    has_low: bool = False
    has_high: bool = False


ALL = Interval(-INFINITE, INFINITE)


def checked(low: Value, high: Value, has_low: bool, has_high: bool) -> Interval:
    """An interval as it is written. Raises NotMath if infinity would belong to it: '[-\\infty, 0]'."""
    if (has_low and isinstance(low, float)) or (has_high and isinstance(high, float)):
        raise NotMath("infinity belongs to no interval")
    return Interval(low, high, has_low, has_high)


def order(left: Value, right: Value) -> int:
    """-1, 0 or 1, infinities included."""
    for value, sign in ((left, 1), (right, -1)):
        if isinstance(value, float):
            if isinstance(left, float) and isinstance(right, float) and left == right:
                return 0
            return sign if value > 0 else -sign
    return compare(left, right)


def union(parts: Iterable[Interval]) -> tuple[Interval, ...]:
    """The disjoint intervals whose union is the union of the parts. Raises NotMath for an interval from high to low."""
    kept = []
    for part in parts:
        way = order(part.low, part.high)
        if way > 0:
            raise NotMath("an interval ends before it starts")
        if way < 0 or (part.has_low and part.has_high):
            kept.append(part)
    kept.sort(key=cmp_to_key(lambda a, b: order(a.low, b.low) or b.has_low - a.has_low))
    found: list[Interval] = []
    for part in kept:
        if found:
            last = found[-1]
            gap = order(last.high, part.low)
            if gap > 0 or (gap == 0 and (last.has_high or part.has_low)):
                ends = order(last.high, part.high)
                high, closed = (last.high, last.has_high) if ends > 0 else (part.high, part.has_high)
                if ends == 0:
                    closed = last.has_high or part.has_high
                found[-1] = Interval(last.low, high, last.has_low, closed)
                continue
        found.append(part)
    return tuple(found)


def complement(parts: Sequence[Interval]) -> tuple[Interval, ...]:
    """All other reals."""
    found = []
    low, has_low = -INFINITE, False
    for part in union(parts):
        found.append(Interval(low, part.low, has_low, not part.has_low and not isinstance(part.low, float)))
        low, has_low = part.high, not part.has_high and not isinstance(part.high, float)
    found.append(Interval(low, INFINITE, has_low, False))
    return union(part for part in found if order(part.low, part.high) < 0 or (part.has_low and part.has_high))


def intersection(left: Sequence[Interval], right: Sequence[Interval]) -> tuple[Interval, ...]:
    """What both hold, by De Morgan."""
    return complement((*complement(left), *complement(right)))


def normal(parts: Iterable[Interval]) -> Hashable:
    """Equal for equal sets."""
    return tuple((_end(p.low), _end(p.high), p.has_low, p.has_high) for p in union(parts))


def _end(value: Value) -> Hashable:
    return str(value) if isinstance(value, float) else key((value,))
