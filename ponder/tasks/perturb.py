"""A reference changed so that it is wrong, or written otherwise so that it stays right: to audit a verifier.

Both work on the text alone and know nothing of the verifier. A change that could leave the answer the same is left out
by rule: the sign of what holds \\pm, the order of equal entries, a digit of zero in front of others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from ponder.tasks import numbers

_DIGIT = re.compile(r"[0-9]")
_FRACTION = re.compile(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}")
_EXPONENT = re.compile(r"\^(?:\{([0-9]+)\}|([0-9]))")
_INNER_SIGN = re.compile(r"(?<=[0-9A-Za-z)}\]] )[-+](?= )|(?<=[0-9A-Za-z)}\]])[-+](?=[0-9A-Za-z\\(])")
_NO_EXPRESSION = re.compile(r"\\(?:begin|text|mbox|(?:cup|in|pm|infty|le|ge|leq|geq)(?![A-Za-z]))")
_ROW = re.compile(r"\\\\")


def perturbed(reference: str) -> list[tuple[str, str]]:
    """(what was changed, the wrong answer) for each change that applies, without repetition."""
    found: dict[str, str] = {}
    if "\\approx" in reference:
        return []
    for what, text in _changes(reference.strip()):
        if text != reference.strip():
            found.setdefault(text, what)
    return [(what, text) for text, what in found.items()]


def respelled(reference: str) -> list[tuple[str, str]]:
    """(how it was written otherwise, the same answer) for each way that applies, without repetition."""
    found: dict[str, str] = {}
    for what, text in _spellings(reference.strip()):
        if text != reference.strip():
            found.setdefault(text, what)
    return [(what, text) for text, what in found.items()]


def _changes(text: str) -> Iterator[tuple[str, str]]:
    plain = numbers.parse(text)
    if plain is not None and not plain.unit and not plain.percent:
        yield from _number_changes(plain.value)
    yield from _digit_changes(text)
    yield from _sign_changes(text, plain)
    yield from _structure_changes(text)


def _number_changes(value: Fraction) -> Iterator[tuple[str, str]]:
    for step in (1, -1):
        yield f"number {step:+}", numbers.spell(value + step)
    if value:
        yield "sign", numbers.spell(-value)
        yield "ten times", numbers.spell(10 * value)
        yield "negligibly more", numbers.spell(value * (1 + Fraction(1, 10**9)))
    if value.denominator > 1:
        yield "inverse", numbers.spell(1 / value) if value**2 != 1 else numbers.spell(value + 2)


def _digit_changes(text: str) -> Iterator[tuple[str, str]]:
    """The first, the middle and the last digit raised by one."""
    places = [match.start() for match in _DIGIT.finditer(text)]
    for place in {places[0], places[len(places) // 2], places[-1]} if places else ():
        yield "digit", text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]
    for match in _EXPONENT.finditer(text):
        power = int(match[1] or match[2])
        yield "exponent", f"{text[: match.start()]}^{{{power + 1}}}{text[match.end() :]}"
        break


def _sign_changes(text: str, plain: numbers.Plain | None) -> Iterator[tuple[str, str]]:
    if re.search(r"\\(?:pm|text|mbox|le|ge|leq|geq)(?![A-Za-z])|[=<>]", text):
        return
    single = not re.search(r"[,<>\[\]&_]|\\(?:cup|in|begin|\{|infty)", text)
    if single and (plain is None or plain.value != 0):
        yield "sign", text[1:].strip() if text.startswith("-") and not _INNER_SIGN.search(text) else f"-({text})"
    match = _INNER_SIGN.search(text)
    if match:
        yield "inner sign", text[: match.start()] + ("-" if match[0] == "+" else "+") + text[match.end() :]


def _structure_changes(text: str) -> Iterator[tuple[str, str]]:
    fraction = _FRACTION.search(text)
    if fraction and fraction[1].strip() != fraction[2].strip():
        yield "inverse", f"{text[: fraction.start()]}\\frac{{{fraction[2]}}}{{{fraction[1]}}}{text[fraction.end() :]}"
    opening, entries, closing = entries_of(text)
    if len(entries) > 1:
        yield "entry dropped", opening + ", ".join(entries[:-1]) + closing
        yield "entry added", opening + ", ".join([*entries, "123"]) + closing
        if opening in ("(", "[") and "\\cup" not in text and len(set(entries)) == len(entries):
            yield "entries swapped", opening + ", ".join([entries[1], entries[0], *entries[2:]]) + closing
    if len(entries) == 2 and opening in ("(", "["):
        yield "bracket", ("[" if opening == "(" else "(") + ", ".join(entries) + closing
    rows = _ROW.split(text)
    if "\\begin" in text and len(rows) > 1 and "&" not in text:
        head, first = rows[0].split("}", 1)
        last, tail = rows[-1].rsplit("\\end", 1)
        if len(rows) > 1 and first.strip() != last.strip():
            yield "rows swapped", "\\\\".join([f"{head}}}{last}", *rows[1:-1], f"{first}\\end{tail}"])
    if "\\cup" in text:
        yield "part dropped", text.split("\\cup")[0].strip()
    if re.fullmatch(r"\\text\{[^{}]*\}", text):
        yield "word", "\\text{(Z)}" if "(" in text else "\\text{nothing of the kind}"
    if re.search(r"(?<![A-Za-z\\])x(?![A-Za-z])", text) and not re.search(r"=|\\(?:in|leq?|geq?)(?![A-Za-z])", text):
        yield "variable", re.sub(r"(?<![A-Za-z\\])x(?![A-Za-z])", "w", text)


def entries_of(text: str) -> tuple[str, list[str], str]:
    """The brackets of a list, set, tuple or interval, and what stands between its commas; no entries if it is none."""
    bare = text.replace("\\left", "").replace("\\right", "").strip()
    opening, closing = "", ""
    for start, end in (("\\{", "\\}"), ("(", ")"), ("[", "]"), ("(", "]"), ("[", ")")):
        if bare.startswith(start) and bare.endswith(end) and not re.search(r"\\cup|\\in\b|=", bare):
            opening, closing = start, end
            bare = bare[len(start) : len(bare) - len(end)]
            break
    if not opening and (numbers.parse(text) is not None or re.search(r"[({\[=&]|\\text", bare)):
        return "", [], ""
    depth, pieces = 0, [""]
    for char in bare:
        depth += (char in "({[") - (char in ")}]")
        if char == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += char
    entries = [piece.strip() for piece in pieces]
    return (opening, entries, closing) if len(entries) > 1 and all(entries) else ("", [], "")


def _spellings(text: str) -> Iterator[tuple[str, str]]:
    yield "dollars", f"${text}$"
    grouped = re.search(r"[0-9],[0-9]{3}|\{,\}|\\!", text)  # a blank would make two numbers of it
    yield "blanks", f" {text} " if grouped else re.sub(r"(?<=[=<>,])|(?=[=<>,])", " ", text)
    yield "full stop", f"{text}."
    if "\\frac" in text:
        yield "dfrac", text.replace("\\frac", "\\dfrac")
        yield "slash", re.sub(r"(?<![0-9 ])\\frac\{([0-9]+)\}\{([0-9]+)\}(?![0-9A-Za-z\\({])", r"(\1/\2)", text)
    if text[:1] == "(" and text[-1:] in (")", "]") and "\\left" not in text:
        yield "left and right", f"\\left{text[:-1]}\\right{text[-1]}"
    opening, entries, closing = entries_of(text)
    if entries and opening in ("", "\\{"):
        yield "order", opening + ", ".join(reversed(entries)) + closing
    plain = numbers.parse(text)
    if plain is not None and not plain.unit and not plain.percent:
        value = plain.value
        yield "fraction", f"\\frac{{{6 * value.numerator}}}{{{6 * value.denominator}}}"
        if value.denominator == 1:
            yield "decimal", f"{value}.00"
            yield "sum", f"{value - 7} + 7"
        yield "named", f"x = {text}"
    elif re.fullmatch(r"[0-9A-Za-z\\{}^ +*/()-]+", text) and not _NO_EXPRESSION.search(text):
        yield "half of twice", f"\\frac{{2({text})}}{{2}}"
        yield "one more and less", f"1 + {text} - 1"
