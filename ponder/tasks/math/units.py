"""Units of measurement: '5 m' is '500 cm', is not '5 cm', and is '5' where the other side names no unit.

A unit is read as a factor and the powers of its dimensions: 'km/h', 'square feet', 'cm^2', 'miles per hour'. Words that
are no unit of measurement ('apples', 'ways') are labels: `read` gives None for them, and they decide nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

_TABLE: dict[str, dict[str, tuple[str, ...]]] = {
    "length": {
        "1": ("m", "meter", "metre"), "1/100": ("cm", "centimeter", "centimetre"), "1/1000": ("mm", "millimeter"),
        "1000": ("km", "kilometer", "kilometre"), "127/5000": ("in", "inch", "inche"), 
        "381/1250": ("ft", "foot", "feet"),
        "1143/1250": ("yd", "yard"), "201168/125": ("mi", "mile"),
    },
    "time": {
        "1": ("s", "sec", "second"), "60": ("min", "minute"), "3600": ("h", "hr", "hour"), "86400": ("day",),
        "604800": ("week",),
    },
    "months": {"1": ("month",), "12": ("year", "yr")},
    "mass": {
        "1": ("g", "gram"), "1000": ("kg", "kilogram"), "1/1000": ("mg", "milligram"),
        "45359237/100000": ("lb", "pound"), "45359237/1600000": ("oz", "ounce"),
    },
    "money": {"1": ("dollar",), "1/100": ("cent",)},
    "angle": {"1": ("degree", "deg")},
    "radians": {"1": ("radian", "rad")},
    "volume": {"1": ("L", "l", "liter", "litre"), "1/1000": ("mL", "ml", "milliliter")},
}  # fmt: skip
_UNITS = {
    name: (dimension, Fraction(factor))
    for dimension, rows in _TABLE.items()
    for factor, names in rows.items()
    for name in names
}
_POWER_WORDS = {"square": 2, "sq": 2, "cubic": 3}
_WORD = re.compile(r"([A-Za-z]+)\.?(?:\^\s?\{?([23])\}?|([²³]))?|(/)|([^\sA-Za-z])")


@dataclass(frozen=True, slots=True)
class Unit:
    """`dimensions`: pairs of a dimension and its power, sorted. `factor`: how many base units it is."""

    dimensions: tuple[tuple[str, int], ...]
    factor: Fraction


@lru_cache(1024)
def read(text: str) -> Unit | None:
    """The unit that a text names, or None if it names none of the table."""
    powers: dict[str, int] = {}
    factor = Fraction(1)
    below, raised = 1, 1
    words = 0
    for match in _WORD.finditer(text.strip()[:100]):
        word = match[1]
        if match[5]:
            return None
        if match[4] or word in ("per",):
            below = -1
            continue
        if word in _POWER_WORDS:
            raised = _POWER_WORDS[word]
            continue
        if word == "mph":
            powers["length"], powers["time"] = powers.get("length", 0) + 1, powers.get("time", 0) - 1
            factor *= Fraction(201168, 125) / 3600
            words += 1
            continue
        found = _lookup(word)
        if found is None:
            return None
        power = below * (int(match[2]) if match[2] else 2 if match[3] == "²" else 3 if match[3] == "³" else raised)
        powers[found[0]] = powers.get(found[0], 0) + power
        factor *= found[1] ** power
        raised = 1
        words += 1
    return Unit(tuple(sorted(powers.items())), factor) if 0 < words <= 4 else None


def _lookup(word: str) -> tuple[str, Fraction] | None:
    """A name of the table, in the singular or the plural; abbreviations keep their case."""
    if word in _UNITS:
        return _UNITS[word]
    lower = word.lower()
    singular = lower[:-1] if lower.endswith("s") and len(lower) > 3 else lower
    if len(singular) < 2:
        return None
    return _UNITS.get(singular)
