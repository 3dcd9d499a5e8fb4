"""The verdict on an answer that is no plain number: our own reading first, math-verify behind guards for the rest.

What our reading covers is decided by it alone (`answers`). Names, units and percent signs, which it drops, are compared
here: 'x = 5' is '5' but not 'y = 5'; '5 m' is '500 cm' and '5' but not '5 cm'; '50%' is '50' and '1/2'; 90 degrees are
'90' and π/2. An answer beyond the limits of size is wrong; a reference beyond them leaves every answer unverified.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Hashable
from fractions import Fraction
from functools import lru_cache

from ponder.errors import UsageError
from ponder.tasks.math import answers, rest, units, values
from ponder.tasks.math.answers import Answer
from ponder.tasks.math.tokens import Beyond, NotMath, Unknown
from ponder.tasks.reading import letter

ABSENT = "not plain numbers: the mathematics verifier is not installed; pip install 'ponder[math]'"
"""The reason of a verdict that needs the extra."""


SPELLED_BITS = 4000
"""Rationals up to this size are spelled in digits, as plain numbers are."""


@lru_cache(1)
def installed() -> bool:
    """Whether math-verify is there. Nothing is imported."""
    return importlib.util.find_spec("math_verify") is not None


def require() -> None:
    """Raises UsageError if math-verify is absent."""
    if not installed():
        raise UsageError("math-verify is not installed, which judges mathematics; pip install 'ponder[math]'")


def spelling(answer: str) -> str | None:
    """One spelling for answers that are the same up to names and units; None if this module cannot read it."""
    try:
        found = answers.read(answer)
    except (NotMath, Beyond):
        return None
    first = found.values[0] if len(found.values) == 1 else None
    if isinstance(first, Fraction) and max(first.numerator, first.denominator).bit_length() < SPELLED_BITS:
        return str(first)
    return _spell(found.key)


def same(reference: str, answer: str) -> tuple[bool | None, str]:
    """Whether they are the same, and why; None if the instrument cannot tell."""
    unknown = False
    expected = found = None
    try:
        expected = answers.read(reference)
    except Beyond as error:
        return None, f"the reference is beyond the limits: {error}"
    except NotMath as error:
        unknown = isinstance(error, Unknown)
        if not unknown:
            return None, f"the reference cannot be read: {error}"
    try:
        found = answers.read(answer)
    except Beyond as error:
        return False, f"beyond the limits: {error}"
    except NotMath as error:
        if not isinstance(error, Unknown):
            return False, f"it cannot be read: {error}"
        unknown = True
    if expected is not None and found is not None:
        chosen = _chosen(reference, answer) or _chosen(answer, reference)
        return chosen or _alike(expected, found, reference, answer), ""
    if any(side is not None and side.kind == "text" for side in (expected, found)):
        return False, ""
    return rest.same(reference, answer)


_CHOICE = re.compile(r"\\(?:text(?:bf|rm)?|mathrm|mathbf)\s*\{\s*\(?([A-Z])\)?\s*\}|\(([A-Z])\)")


def _chosen(reference: str, answer: str) -> bool:
    """Whether the reference is the letter of a choice, and the answer names it: '\\textbf{(C)}\\ 12'."""
    choice = _CHOICE.fullmatch(reference.strip(" $."))
    return choice is not None and letter(answer.replace("\\ ", " ")) == (choice[1] or choice[2])


def _alike(a: Answer, b: Answer, left: str, right: str) -> bool:
    if a.name and b.name and a.name != b.name and not a.others & b.others:
        return False
    if a.kind == b.kind == "value":
        return _same_values(a, b)
    if a.key == b.key or a.key in b.others or b.key in a.others:
        return True
    if "text" in (a.kind, b.kind) and a.kind != b.kind:
        return _as_letters(a, left) == _as_letters(b, right)
    return False


def _as_letters(answer: Answer, text: str) -> Hashable:
    """The key of letters read as a product: 'xy' beside 'x \\cdot y'."""
    if answer.kind != "text":
        return answer.key
    try:
        return answers.read_letters(text).key
    except (NotMath, Beyond, values.Undefined):
        return answer.key


def _same_values(a: Answer, b: Answer) -> bool:
    """Expressions, with the units and percent signs that they have."""
    if a.others & b.others:
        return True
    if a.percent != b.percent:
        share, whole = (a, b) if a.percent else (b, a)
        return a.key == b.key or _key(values.scaled(share.values, Fraction(1, 100))) == whole.key
    one, other = units.read(a.unit), units.read(b.unit)
    if one is not None and other is not None:
        if one.dimensions == other.dimensions:
            return _key(values.scaled(a.values, one.factor)) == _key(values.scaled(b.values, other.factor))
        return _radians(a, one) == _radians(b, other) and {one.dimensions, other.dimensions} == {_DEGREES, _RADIANS}
    if a.key == b.key:
        return True
    for angle, unit, plain in ((a, one, b), (b, other, a)):
        if unit is not None and unit.dimensions == _DEGREES and not plain.unit:
            return _radians(angle, unit) == plain.key
    return False


_DEGREES, _RADIANS = (("angle", 1),), (("radians", 1),)


def _key(found: tuple[values.Value, ...]) -> Hashable:
    return ("value", values.key(found))


def _radians(answer: Answer, unit: units.Unit) -> Hashable:
    if unit.dimensions != _DEGREES:
        return answer.key
    half_turn = values.evaluate(("/", ("pi",), ("num", Fraction(180))))[0]
    return _key(values.scaled(answer.values, half_turn))


def _spell(key: Hashable) -> str:
    """A key as text, the same in every process: sets are put in order."""
    if isinstance(key, frozenset):
        return "{" + ",".join(sorted(_spell(part) for part in key)) + "}"
    if isinstance(key, tuple):
        return "(" + ",".join(_spell(part) for part in key) + ")"
    if isinstance(key, Fraction):
        return f"{key.numerator:x}/{key.denominator:x}"
    return f"{key:x}" if isinstance(key, int) else repr(key)  # hexadecimal has no limit of digits
