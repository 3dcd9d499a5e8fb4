"""Whole answers: what kind of thing an answer is, and one key for things that are the same.

    value     an expression, with the name it is given ('x = 5') and its unit     5, x = 5, 5 \\text{ cm}, 50\\%
    set       \\{1, 2\\}, '1, 2', '1 and 2', 'x = 1 or x = 2', '1 \\pm \\sqrt{2}'; in any order
    list      '1, 3, 3': a set without braces that repeats an element
    tuple     (1, 2), an open interval, a column vector, \\langle 1, 2 \\rangle
    reals     intervals, unions of them, inequalities in one variable, \\mathbb{R}, x \\ne 1
    matrix    rows of entries
    relation  an equation or inequality, up to a factor: 2x = 4y and x - 2y = 0
    named     x = 1, y = 2
    base      digits to a base: 52_8          ratio   3:4
    text      words, without case, articles and punctuation

A set of one is its element. Two things of different kinds differ but for what `Answer.others` says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from ponder.tasks import numbers
from ponder.tasks.math import expressions, reals, relations, tokens, values
from ponder.tasks.math.regions import end, infinite, regions
from ponder.tasks.math.tokens import (
    ALL_REALS,
    MAX_ELEMENTS,
    Beyond,
    NotMath,
    Token,
    Unknown,
    enclosed,
    expanded,
    has_sign,
    split,
)
from ponder.tasks.math.values import Undefined, Value


@dataclass(frozen=True, slots=True)
class Answer:
    """`key`: equal for equal answers. `name`: the variable that it is the value of. `unit`: words after it. `percent`:
    a percent sign was dropped. `values`: of kind value, its values at the points. `others`: further keys that it may be
    known by. `region`: of kind reals, its intervals."""

    kind: str
    key: Hashable
    name: str = ""
    unit: str = ""
    percent: bool = False
    values: tuple[Value, ...] = ()
    others: frozenset[Hashable] = frozenset()
    region: tuple[reals.Interval, ...] = ()


@lru_cache(4096)
def read(text: str) -> Answer:
    """The answer that a text is. Raises NotMath if it cannot be read here, Beyond if it is too large to be."""
    plain = numbers.parse(text)
    if plain is not None:
        return value_of((plain.value,), unit=plain.unit, percent=plain.percent)
    try:
        return _read(tokens.clean(text))
    except Undefined:
        raise NotMath("it has no value") from None
    except RecursionError:  # called from deep within a stack
        raise Beyond("nested too deeply") from None
    except NotMath:
        spoken = words(text)
        if spoken:
            return Answer("text", ("text", spoken))
        raise


def read_letters(text: str) -> Answer:
    """A text of letters alone as a product of variables: 'xy' beside 'x \\cdot y'. Raises NotMath or Beyond."""
    return _of(tokens.tokens(tokens.clean(text)), letters=4)


def value_of(found: tuple[Value, ...], *, name: str = "", unit: str = "", percent: bool = False) -> Answer:
    return Answer("value", ("value", values.key(found)), name, unit, percent, found)


_WORDS = re.compile(r"[a-z]+|[0-9]+")
_NO_WORDS = re.compile(r"[\\{}^_=+*/<>|]")


def words(text: str) -> str:
    """A text that is words, in lower case, without articles and punctuation; '' if it holds mathematics."""
    bare = re.sub(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|mbox)\s*\{([^{}]*)\}", r" \1 ", numbers.unwrap(text))
    bare = re.sub(r"\\[,;:! ]|[$~]", " ", bare)
    if len(bare) > 400 or bare.strip().startswith("-") or not any(c.isalpha() for c in bare) or _NO_WORDS.search(bare):
        return ""
    if not bare.isascii():
        return " ".join(bare.casefold().split())
    found = _WORDS.findall(bare.lower())
    return " ".join(word for word in found if len(found) == 1 or word not in ("the", "a", "an"))


_BASE = re.compile(
    r"\(?(?:\\(?:text|mathrm)\s*\{)?(-?[0-9A-F]+(?:\.[0-9A-F]+)?)\}?\)?\s*_\s*"
    r"(?:\{\s*([0-9]{1,2})\s*\}|([0-9]{1,2}))"
)
_ONE_TEXT = re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_EMPTY = frozenset({r"\emptyset", r"\{\}", r"\{ \}"})
_LETTERS = re.compile(r"[A-Za-z]{2,}")
_APPROXIMATELY = re.compile(r"\\(?:approx|simeq|sim|doteq)(?![A-Za-z])")


def _read(text: str) -> Answer:
    """A cleaned text."""
    whole = _ONE_TEXT.fullmatch(text)
    if whole:
        inner = whole[1].strip()
        text = inner[1:-1] if re.fullmatch(r"\([A-Za-z]\)", inner) else inner
    based = _BASE.fullmatch(text)
    if based:
        base = int(based[2] or based[3])
        return Answer("base", ("base", based[1].lstrip("0"), base), others=_digits(based[1]))
    if text in _EMPTY:
        return Answer("set", ("set", frozenset()))
    if text in ALL_REALS:
        return _reals([reals.ALL])
    if _LETTERS.fullmatch(text) and text not in expressions.WORDS:
        return Answer("text", ("text", words(text)))
    if "\\approx" in text or "\\sim" in text:  # what is exact comes first
        text = next((part for part in _APPROXIMATELY.split(text) if part.strip()), "")
    found = tokens.tokens(text)
    if not found:
        raise NotMath("it is empty")
    return _of(found)


def _digits(text: str) -> frozenset[Hashable]:
    """An answer to a question that names the base may leave it out."""
    return frozenset({value_of((Fraction(text),)).key}) if text.lstrip("-").isdigit() else frozenset()


def _of(found: Sequence[Token], letters: int = 1) -> Answer:
    """The answer of tokens. `letters`: how long a run of letters may be that is a product by itself."""
    pieces = [piece for piece in _list(found) if piece]
    if len(pieces) > 1:
        return _gathered([_single(piece) for piece in expanded(pieces)], _joined(found))
    if not pieces:
        raise NotMath("it is empty")
    if has_sign(pieces[0]) and not enclosed(pieces[0]):
        return _gathered([_single(piece) for piece in expanded(pieces)])
    return _single(pieces[0])


_SEPARATORS = frozenset({",", ";", "lor"})


def _list(found: Sequence[Token]) -> list[list[Token]]:
    """The parts between commas, 'and' and 'or'."""
    marked = [
        Token("sym", ",") if token.kind in ("text", "word") and _is_conjunction(token.text) else token
        for token in found
    ]
    return split(marked, _SEPARATORS)


def _joined(found: Sequence[Token]) -> str:
    """'or' or 'and' if one of them alone joins the parts, else ''."""
    used = {token.text.strip(" ,").lower() for token in found if token.kind in ("text", "word")} & {"and", "or"}
    commas = any(token.text in (",", ";") for token in found)
    return "" if commas or len(used) != 1 else used.pop()


def _is_conjunction(text: str) -> bool:
    return text.strip(" ,").lower() in ("and", "or")


def _gathered(elements: Sequence[Answer], joined: str = "") -> Answer:
    """The set of several answers, or what they say of several variables."""
    named = [element.name for element in elements]
    if any(element.kind == "reals" for element in elements):
        if joined != "or" or not all(element.region for element in elements) or len(set(named)) > 1:
            raise NotMath("several intervals without \\cup")
        return _reals([part for element in elements for part in element.region], named[0])
    if len(set(named)) == len(named) > 1 and all(named):
        ordered = sorted(elements, key=lambda element: element.name)
        pair = tuple(element.key for element in ordered)
        return Answer("named", ("named", tuple(sorted(named)), pair), others=frozenset({("tuple", pair)}))
    if any(named[1:]) and len(set(named)) > 1:
        raise NotMath("some values have names, some have not")
    return _set(elements, named[0], repeated=joined != "or")  # '1/2 or 0.5' is one number, '3, 3' a list of roots


def _set(elements: Sequence[Answer], name: str = "", *, repeated: bool = False) -> Answer:
    """`repeated`: how often an element is there matters, as in a list of roots without braces: '1, 3, 3'."""
    counts = Counter(element.key for element in elements)
    if repeated and max(counts.values()) > 1:
        return Answer("list", ("list", frozenset(counts.items())), name)
    return elements[0] if len(counts) == 1 else Answer("set", ("set", frozenset(counts)), name)


def _single(found: Sequence[Token]) -> Answer:
    """One answer: no list of several."""
    if len(found) == 1 and found[0].kind == "text":
        return _read(found[0].text.strip())
    if any(token.kind == "cmd" and token.text in ("cup", "setminus", "cap") for token in found):
        return _combined(found)
    if relations.is_relation(found):
        return _related(found)
    if sign := infinite(found):
        return Answer("infinity", ("infinity", sign))
    if enclosed(found):
        inside = _inside(found)
        if inside is not None:
            return inside
    pieces = split(found, frozenset({":"}))
    if len(pieces) > 1:
        parts = [values.evaluate(expressions.parse(piece)) for piece in pieces]
        others = frozenset({("value", values.key(_quotient(parts[0], parts[1])))}) if len(parts) == 2 else frozenset()
        return Answer("ratio", ("ratio", tuple(values.key(part) for part in parts)), others=others)
    return _value(found)


def _quotient(top: tuple[Value, ...], bottom: tuple[Value, ...]) -> tuple[Value, ...]:
    if len(top) == len(bottom) == 1 and isinstance(top[0], Fraction) and isinstance(bottom[0], Fraction) and bottom[0]:
        return (top[0] / bottom[0],)
    return (None,)


def _value(found: Sequence[Token]) -> Answer:
    """An expression with its unit, percent sign or degrees."""
    found = list(found)
    unit, percent = "", False
    if len(found) > 1 and found[-1].kind == "text":
        unit = " ".join(found.pop().text.replace(".", " ").split())
        if not _is_unit(unit):
            raise NotMath("words after an expression")
    elif len(found) > 1 and (found[-1].kind, found[-1].text) == ("cmd", "degree") and not _is_applied(found):
        found.pop()
        unit = "degrees"
    elif len(found) > 1 and (found[-1].kind, found[-1].text) == ("sym", "%"):
        found.pop()
        percent = True
    elif len(found) > 1 and found[-1].kind == "word" and _is_long_unit(found[-1].text):
        unit = found.pop().text
    if found[0].kind == "text" and len(found) > 1:  # a label: '\text{Area: } 5'
        raise NotMath("words before an expression")
    return value_of(values.evaluate(expressions.parse(found)), unit=unit, percent=percent)


def _is_applied(found: Sequence[Token]) -> bool:
    """Whether a function is in it: 'tan 45°' has no unit."""
    return any(token.text in expressions.FUNCTIONS for token in found)


def _is_unit(text: str) -> bool:
    return numbers.parse(f"1 {text}") is not None


def _is_long_unit(word: str) -> bool:
    return len(word) > 3 and word not in expressions.WORDS and _is_unit(word)


def _inside(found: Sequence[Token]) -> Answer | None:
    """A bracketed set, tuple, interval or matrix, or None if the brackets only hold an expression."""
    opening, closing, middle = found[0].text, found[-1].text, found[1:-1]
    if found[0].kind == "begin":
        return _matrix(opening, middle)
    pieces = split(middle, frozenset({",", ";"}))
    if opening == "\\{":
        return _set_of(middle)
    if opening == "{" or (len(pieces) == 1 and opening in ("(", "[")):
        return _of(middle) if opening != "[" else None
    if any(not piece for piece in pieces) or len(pieces) > MAX_ELEMENTS:
        raise NotMath("an empty entry")
    ends = [infinite(piece) for piece in pieces]
    if len(pieces) == 2 and opening in ("(", "[") and (opening + closing != "()" or any(ends)):
        return _interval(pieces, opening == "[", closing == "]")
    if opening not in ("(", "[", "\\langle") or any(ends):
        raise NotMath("no tuple")
    entries = [_single(piece) for piece in pieces]
    return Answer("tuple", ("tuple", tuple(entry.key for entry in entries)))


def _set_of(middle: Sequence[Token]) -> Answer:
    """\\{1, 2\\}, or \\{x | x > 1\\}."""
    parts = split(middle, frozenset({"|", ":"}))
    if len(parts) == 2:
        condition = _of(parts[1])
        if condition.kind not in ("reals", "set"):
            raise NotMath("a set by its condition")
        return condition
    pieces = split(middle, frozenset({",", ";"}))
    if any(not piece for piece in pieces):
        raise NotMath("an empty element")
    return _set([_single(piece) for piece in expanded(pieces)])


def _interval(pieces: Sequence[Sequence[Token]], has_low: bool, has_high: bool) -> Answer:
    if not any(infinite(piece) for piece in pieces):
        ends = tuple(values.evaluate(expressions.parse(piece)) for piece in pieces)
        if any(len(end) > 1 for end in ends):
            return Answer("interval", ("interval", has_low, has_high, *(values.key(end) for end in ends)))
    low, high = end(pieces[0]), end(pieces[1])
    return _reals([reals.checked(low, high, has_low, has_high)])


def _reals(parts: Sequence[reals.Interval], name: str = "") -> Answer:
    """A set of reals. One open interval is written as a pair is, a single point as a number."""
    parts = reals.union(parts)
    if len(parts) == 1 and not (parts[0].has_low or parts[0].has_high):
        ends = (parts[0].low, parts[0].high)
        if not any(isinstance(end, float) for end in ends):
            pair = tuple(("value", values.key((end,))) for end in ends)
            return Answer("tuple", ("tuple", pair), name)
    if parts and all(part.has_low and part.has_high and reals.order(part.low, part.high) == 0 for part in parts):
        return _set([value_of((part.low,)) for part in parts], name)
    if not parts:
        return Answer("set", ("set", frozenset()), name)
    return Answer("reals", ("reals", reals.normal(parts)), name, region=tuple(parts))


def _combined(found: Sequence[Token]) -> Answer:
    """A union, with or without 'x \\in' before it."""
    name, body = relations.membership(found)
    return _reals(regions(body), name)


def _matrix(name: str, middle: Sequence[Token]) -> Answer:
    if name not in ("pmatrix", "bmatrix", "matrix", "Bmatrix", "array"):
        raise Unknown(f"{name} is not read here")
    rows = [split(row, frozenset({"&"})) for row in split(middle, frozenset({"cr"})) if row]
    if not rows or len({len(row) for row in rows}) > 1 or any(not entry for row in rows for entry in row):
        raise NotMath("rows of different length")
    if len(rows) * len(rows[0]) > MAX_ELEMENTS:
        raise NotMath(f"more than {MAX_ELEMENTS} entries")
    cells = tuple(tuple(_value(entry).key for entry in row) for row in rows)
    if len(rows[0]) == 1 and len(rows) > 1:
        return Answer("tuple", ("tuple", tuple(row[0] for row in cells)))
    return Answer("matrix", ("matrix", cells))


def _related(found: Sequence[Token]) -> Answer:
    """An equation, an inequality, or 'x \\in' a set."""
    name, body = relations.membership(found)
    if len(body) < len(found):
        return replace(_of(body), name=name)
    read = relations.read(found)
    if read.region:
        return _reals(read.region, read.name)
    if read.value:
        inner = _of(read.value)
        others = frozenset({read.key}) if read.key and inner.kind == "value" and not inner.unit else inner.others
        return replace(inner, name=read.name, others=others)
    return Answer("relation", read.key)
