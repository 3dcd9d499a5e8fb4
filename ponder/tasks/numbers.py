"""Plain numbers, read and compared exactly.

A plain number is an integer, a decimal, a fraction or a mixed number, with what people write around it:

    18   -3   −3   +3   1,234   1{,}234   10,\\!000   18.00   .5   3.5e3   3.5\\times10^{3}   1/2   1 1/2
    \\frac{1}{2}   \\dfrac12   2\\frac{1}{2}   $18   \\$18   -$18   50%   50\\%   90^\\circ   18 dollars
    5\\text{ cm}^2   60 miles per hour   4 million

What is stripped, by rule: white space and LaTeX spacing, enclosing `$…$`, `\\(…\\)`, `**…**`, a full stop, comma,
semicolon or colon at the end, one currency sign, a percent sign (50% reads as 50, and says so in `Plain.percent`),
and up to eight unit words. `hundred` … `trillion` multiply. Everything else is no plain number: '3x', '2\\pi', '5!',
'4 or 5', '1 2 3 4', '1,23', 'nan', 'inf', '2^10', '5 dozen', '1/0'.

Nothing here can hang: a number has at most 1,000 digits and an exponent within ±1,000, texts beyond 2,000 characters
are no plain numbers, and every pattern runs in time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 1000
"""Digits a written number may have, point and separators aside."""
MAX_EXPONENT = 1000
"""Largest power of ten that may be written out."""
MAX_CHARS = 2000
"""Characters a text may have and still be one plain number."""

SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
"""Words after a number that multiply it, with their powers of ten."""

NOT_UNITS = frozenset({
    "and", "or", "to", "than", "plus", "minus", "times", "over", "by", "of", "negative", "not", "dozen", "dozens",
    "half", "halves", "squared", "cubed", "factorial", "pi", "sqrt", "mod", "e", "i", "nan", "inf", "infinity",
})  # fmt: skip
"""Words that change what a number means, so that none of them may stand in its unit. Looked up in lower case."""

SINGLE_UNITS = frozenset("mghsLVWJNAKCF")
"""The only units of one letter: any other letter is a variable."""

MINUSES = "\u2212\u2010\u2011\u2012\u2013\ufe63\uff0d"
_TRANSLATE = str.maketrans(
    {
        **dict.fromkeys(MINUSES, "-"),
        **dict.fromkeys("\u00a0\u2007\u2002\u2003~", " "),
        "\u2009": "\\,",
        "\u202f": "\\,",
        "×": "\\times ",
    }
)

_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\\!\s*"), ""),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"(?<=[0-9])\\,(?=[0-9]{3}(?![0-9]))"), ""),  # 1\,234 is one number, 3\,4 is two
    (re.compile(r"\\[,;: ]|\\q?quad(?![A-Za-z])|\\(?:left|right|displaystyle)(?![A-Za-z])"), " "),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mbox|hbox)[ ]?\{([^{}]*)\}"), r" \1"),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\^[ ]?\{?[ ]?\\circ[ ]?\}?|\\degree(?![A-Za-z])|°"), " degrees"),
    (re.compile(r"\\frac[ ]?([0-9])[ ]?([0-9])"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac[ ]?([0-9])[ ]?\{"), r"\\frac{\1}{"),
    (re.compile(r"\\frac[ ]?(\{[^{}]*\})[ ]?([0-9])"), r"\\frac\1{\2}"),
)

# A run takes every digit and comma at once, and is judged afterwards: so no text is looked at twice.
_RUN = r"(?:[0-9](?:[0-9,]*[0-9])?(?:\.[0-9]+)?|\.[0-9]+)"
_CURRENCY = r"(?:US\$|[$€£¥₹])"


def _number(gap: str) -> str:
    """The pattern of one number; `gap` is what may stand between its sign and its first digit."""
    return rf"""
    (?P<sign>[-+])?{gap}(?:{_CURRENCY}[ ]?)?(?P<inner>-(?=[0-9.\\]))?
    (?:
        (?:(?P<whole>[0-9]+)[ ]{{0,2}})?\\frac
          [ ]?\{{[ ]?(?P<top>[-+]?{_RUN})[ ]?\}}[ ]?\{{[ ]?(?P<bottom>[-+]?{_RUN})[ ]?\}}
      | (?:(?P<mixed>[0-9]+)[ ]{{1,2}})?(?P<over>{_RUN})[ ]?/[ ]?(?P<under>{_RUN})(?![0-9/])
      | (?P<base>{_RUN})(?:[eE](?P<exp>[-+]?[0-9]+)(?![0-9A-Za-z.])
          |[ ]?(?:\\times|\\cdot|\*)[ ]{{0,2}}10[ ]?\^[ ]?
           (?:\{{[ ]?(?P<braced>[-+]?[0-9]+)[ ]?\}}|(?P<bare>[-+]?[0-9]+)))?
    )
    (?P<percent>[ ]?%|[ ]percent\b)?
    (?P<scale>[ ](?i:hundred|thousand|million|billion|trillion)\b)?
    """


_WORD = r"[A-Za-z]+(?:\^[ ]?\{?[23]\}?|[²³])?"
_WHOLE = re.compile(
    _number("[ ]?") + rf"(?P<unit>[ ]{{0,3}}{_WORD}(?:[ ]{{0,2}}[/ -][ ]{{0,2}}{_WORD}){{0,7}})?", re.VERBOSE
)
# In prose a sign belongs to the number only if it touches it and nothing before it could be subtracted from.
_PROSE = re.compile(r"(?<![0-9A-Za-z)}\]_^])(?<![0-9]\.)(?!(?<=\.)\.)" + _number(""), re.VERBOSE)
_WRAPPERS = (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$"), ("**", "**"), ("*", "*"), ("`", "`"), ("{", "}"))
_OPENINGS = frozenset(opening[0] for opening, _ in _WRAPPERS)
_DIGIT = re.compile("[0-9]")


@dataclass(frozen=True, slots=True)
class Plain:
    """A number as read. `percent`: a percent sign was dropped. `unit`: the words that were dropped, in lower case."""

    value: Fraction
    percent: bool = False
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A number inside a longer text: its place there, its spelling and its value."""

    start: int
    end: int
    text: str
    value: Fraction


def tidy(text: str) -> str:
    """The text with LaTeX spacing, wrappers of words and odd signs replaced by plain ones; the value never changes."""
    text = text.translate(_TRANSLATE)
    if "\\" in text or "{" in text or "°" in text:
        for pattern, new in _REWRITES:
            text = pattern.sub(new, text)
    return text


def unwrap(text: str) -> str:
    """The text without white space, enclosing marks (`$…$`, `\\(…\\)`, `**…**`, `{…}`) and closing punctuation."""
    for _ in range(8):  # bounded: no honest answer is wrapped deeper, and a hostile one costs no more
        before = len(text)
        text = text.strip().rstrip(".,;: \t\r\n")
        for opening, closing in _WRAPPERS if text[:1] in _OPENINGS else ():
            inner = text[len(opening) : -len(closing)]
            if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
                unescaped = inner.replace("\\$", "")
                if opening not in unescaped and closing not in unescaped:
                    text = inner
                    break
        if len(text) == before:
            break
    return text


def parse(text: str) -> Plain | None:
    """The plain number that the whole text is, with what was dropped around it, or None."""
    if len(text) > MAX_CHARS or not _DIGIT.search(text):
        return None
    found = _WHOLE.fullmatch(" ".join(unwrap(tidy(unwrap(text))).split()))
    if found is None or (value := _value(found)) is None:
        return None
    unit = found["unit"] or ""
    return Plain(value, found["percent"] is not None, " ".join(unit.lower().split())) if _is_unit(unit) else None


def read(text: str) -> Fraction | None:
    """The exact value of a plain number, or None if the text is none (see the module's rule)."""
    found = parse(text)
    return None if found is None else found.value


def spell(value: Fraction) -> str:
    """The one spelling of a value: '18', '-3', '1/2'."""
    return str(value)


def scan(text: str) -> Iterator[Found]:
    """The plain numbers in a tidied text, in order. A run with misplaced commas ('1,2,3') is several numbers."""
    for found in _PROSE.finditer(text):
        value = _value(found)
        if value is not None:
            yield Found(found.start(), found.end(), found[0].strip(), value)
            continue
        place = found.start()
        for piece in found[0].split(","):
            match = _WHOLE.fullmatch(piece.strip())
            part = None if match is None or match["unit"] else _value(match)
            if part is not None:
                yield Found(place, place + len(piece), piece.strip(), part)
            place += len(piece) + 1


def _is_unit(unit: str) -> bool:
    """Whether the words after a number leave its value alone. A glued single letter is a variable: '3x', '5m'."""
    words = re.findall(r"[A-Za-z]+", unit)
    if any(word.lower() in NOT_UNITS or word.lower() in SCALES for word in words):
        return False
    if unit and len(words[0]) == 1 and unit[0] not in " /":
        return False
    return all(len(word) > 1 or word in SINGLE_UNITS or word in "aA" for word in words)


def _value(found: re.Match[str]) -> Fraction | None:
    """The value of a matched number, or None if it is malformed (commas, a zero below) or too large."""
    if found["top"] is not None:
        value = _ratio(found["whole"], found["top"], found["bottom"])
    elif found["over"] is not None:
        value = _ratio(found["mixed"], found["over"], found["under"])
    else:
        value = _power(found["base"], found["exp"] or found["braced"] or found["bare"])
    if value is None or (found["sign"] and found["inner"]):
        return None
    if found["scale"]:
        value *= 10 ** SCALES[found["scale"].strip().lower()]
    return -value if found["sign"] == "-" or found["inner"] else value


def _ratio(whole: str | None, top: str, bottom: str) -> Fraction | None:
    """top/bottom, plus the whole part of a mixed number, which needs a proper fraction: '1 1/2' but not '1 3/2'."""
    above, below = _decimal(top), _decimal(bottom)
    if above is None or not below:
        return None
    if whole is None:
        return above / below
    first = _decimal(whole)
    return None if first is None or not 0 < above / below < 1 else first + above / below


def _power(base: str, exponent: str | None) -> Fraction | None:
    """base × 10^exponent, if the exponent is within bounds."""
    value = _decimal(base)
    if value is None or exponent is None:
        return value
    if len(exponent) > 6 or abs(int(exponent)) > MAX_EXPONENT:
        return None
    return value * Fraction(10) ** int(exponent)


def _decimal(text: str) -> Fraction | None:
    """A decimal with commas only between groups of three, and no more than MAX_DIGITS digits."""
    if text.isdigit() and len(text) <= MAX_DIGITS:
        return Fraction(int(text))
    if len(text) > 2 * MAX_DIGITS or sum(c.isdigit() for c in text) > MAX_DIGITS:
        return None
    head, *groups = text.lstrip("+-").partition(".")[0].split(",")
    if groups and not (1 <= len(head) <= 3 and all(len(group) == 3 for group in groups)):
        return None
    return Fraction(text.replace(",", ""))
