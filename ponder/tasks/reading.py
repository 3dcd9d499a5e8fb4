"""What a committed place names: one number, a formula, a letter; and one spelling for LaTeX.

Everything runs in time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ponder.tasks import commits, numbers

_CHANGED_BEFORE = re.compile(r"\b(?:not|negative|minus|than|least|most|root|between|without)\b", re.IGNORECASE)
_CHANGED_AFTER = re.compile(
    r"\b(?:dozens?|half|halves|squared|cubed|factorial|pi|or|hundreds?|[kKeixyzn])\b|^[A-Za-z](?![A-Za-z])|^!"
)
_OPERATOR = re.compile(r"[\\^_+*×÷√π<>|≤≥≠±]| - |^-|-$")
_LISTED = re.compile(r"[,;](?![0-9]{3})|\b(?:or|and)\b", re.IGNORECASE)
_SEPARATORS = re.compile(r"(?:[\s,;/()\[\]{}$&.]|\bor\b|\band\b)*", re.IGNORECASE)


def one_number(content: str) -> str | None:
    """The one number that a committed place names, as written without currency or unit, or None (see NumberRules)."""
    text = numbers.tidy(content).replace("**", "").replace("$$", "").replace("\\(", "").replace("\\)", "")
    plain = numbers.parse(content)
    if plain is not None:
        first = next(numbers.scan(text), None)
        return _bare(first) if first is not None and first.value == plain.value else numbers.spell(plain.value)
    left, equals, right = text.rpartition("=")
    text = right if equals and not _LISTED.search(left) else text
    found = list(numbers.scan(text))
    if not found or any(other.value != found[0].value for other in found[1:]):
        return None
    if _CHANGED_BEFORE.search(text[: found[0].start]) or _CHANGED_AFTER.search(text[found[-1].end :]):
        return None
    return None if any(_OPERATOR.search(piece) for piece in _between(text, found)) else _bare(found[-1])


_ASIDE = re.compile(r"\b(?:over|for|in|because|since|from|after|as|at|on|if|when|with)\b|[ ]\(", re.IGNORECASE)


def without_aside(content: str) -> str:
    """A phrase without what explains its first number: '70,000 dollars over 2 years' gives '70,000 dollars'. What goes
    on with 'or' is left whole, so that '4 for x or 5 for y' stays two candidates."""
    text = numbers.tidy(content)
    first = next(numbers.scan(text), None)
    aside = _ASIDE.search(text, first.end) if first is not None else None
    return content if aside is None or re.search(r"\bor\b", text[aside.end() :]) else text[: aside.start()]


def last_number(text: str) -> str | None:
    """The last number in the text, or None if there is none, if the last line with one is nothing but a list, or if
    'or' joins it to another number: '12 or 16, whichever comes first'."""
    for line in reversed(text.splitlines()):
        if len(line) > commits.MAX_CONTENT:  # its end is enough, from a blank on so that no number is cut in two
            line = line[-commits.MAX_CONTENT :].partition(" ")[2]
        tidy = numbers.tidy(line)
        found = list(numbers.scan(tidy))
        if found:
            return None if is_list(line) or _alternatives(tidy, found) else _bare(found[-1])
    return None


_OR = re.compile(r"[\s,*_$]*\bor\b[\s*_$]*", re.IGNORECASE)


def _alternatives(text: str, found: Sequence[numbers.Found]) -> bool:
    """Whether the last two numbers differ, and nothing but 'or' stands between them."""
    if len(found) < 2 or found[-2].value == found[-1].value:
        return False
    return _OR.fullmatch(text[found[-2].end : found[-1].start]) is not None


_FORMULA = re.compile(r"\$\$?([^$]+)\$\$?|\\\(((?:[^\\]|\\[^()])*+)\\\)|\\\[((?:[^\\]|\\[^\[\]])*+)\\\]")


def formula_or_number(content: str, *, anywhere: bool = False) -> str | None:
    """The one formula or plain number of a phrase, or with `anywhere` the last one of a text; None if there is none (in
    a phrase also if there are several). Of a text, formulas that 'or' joins are one, '1 or 2', and so are values that
    'and' joins; numbers in brackets that end it explain the formula before them."""
    if not anywhere and numbers.parse(commits.sentence(content)) is not None:
        return numbers.unwrap(commits.sentence(content))
    masked = content.replace("\\$", "\\S")  # as long as before: an escaped dollar sign is no mark of a formula
    formulas = [match for match in _FORMULA.finditer(masked) if (match[1] or match[2] or match[3] or "").strip()]
    if anywhere:  # '$5 and $6' is no formula but two prices
        formulas = [match for match in formulas if match[1] is None or match[1] == match[1].strip(" \t")]
    if formulas and (anywhere or len(formulas) == 1):
        rest = content[formulas[-1].end() :]
        after = last_number(rest) if anywhere and not _BRACKETED.fullmatch(rest) else None
        return after or _joined(content, formulas) or None
    return last_number(content) if anywhere else None


_BRACKETED = re.compile(r"\s*\([^()\n]*\)[\s.!]*")
_AND = re.compile(r"[\s,*_]*\b(?:or|and)\b[\s*_]*|[\s*_]*,[\s*_]*", re.IGNORECASE)


def _joined(content: str, formulas: Sequence[re.Match[str]]) -> str:
    """The last formula, or the last ones as one answer, '1, 2 or 3': those that 'or' joins, or 'and' if none of them is
    an equation, and those that commas put before them. `content` may be other than what was matched, of one length."""
    inner = [content[slice(*match.span(match.lastindex or 0))] for match in formulas]
    parts, word = [inner[-1]], ""
    for i in range(len(formulas) - 1, 0, -1):
        between = content[formulas[i - 1].end() : formulas[i].start()]
        if not _AND.fullmatch(between):
            break
        said = between.strip(" \t\r\n,*_").lower()
        word = word or said
        if not word or (word == "and" and any("=" in part for part in (inner[i - 1], *parts))):
            break
        parts.insert(0, inner[i - 1])
    return f" {word} ".join(map(numbers.unwrap, parts))


def last_explicit(text: str, heading: Callable[[str], bool]) -> commits.Commit | None:
    """The last box, or the last '####' line after it. `heading` says of such a line's content whether it could be a
    Markdown heading, which counts only as the text's last line."""
    box = commits.boxed(text)
    for line in reversed(commits.hashes(text)):
        if box is not None and line.start < box.start:
            return box
        if not heading(line.content) or (line.own_line and not _is_title(line.content)):
            return line
    return box


def _is_title(content: str) -> bool:
    """Whether a '####' line at the very end is a heading of something that was cut off: 'Step 3: Add'."""
    return content.lower().startswith(("step ", "conclusion", "final answer", "answer", "solution", "explanation"))


def _bare(found: numbers.Found) -> str:
    """The number as written, without its currency sign."""
    return re.sub(r"(?:US)?[$€£¥₹] ?", "", found.text)


def _between(text: str, found: Sequence[numbers.Found]) -> list[str]:
    """What stands before, between and after the numbers, without white space at its ends."""
    edges = [0, *(edge for number in found for edge in (number.start, number.end)), len(text)]
    return [text[a:b].strip() for a, b in zip(edges[::2], edges[1::2], strict=True)]


def holds_number(content: str) -> bool:
    return next(numbers.scan(numbers.tidy(content)), None) is not None


def is_list(content: str) -> bool:
    """Whether the text is nothing but several different numbers: '4 or 5', '1 2 3 4', '(3, 4)'."""
    if numbers.parse(content) is not None:
        return False
    text = numbers.tidy(content)
    found = list(numbers.scan(text))
    return len({number.value for number in found}) > 1 and all(_SEPARATORS.fullmatch(p) for p in _between(text, found))


_LETTER = re.compile(
    r"[\s*_$`\"']{0,6}(?:(?:option|choice)\s{1,3})?(?:\\text(?:bf|rm)?\{|\\mathrm\{)?\s{0,2}"
    r"(?:[(\[]\s{0,2}(?P<marked>[A-Za-z])\s{0,2}[)\]]|(?P<bare>[A-Z])(?![A-Za-z0-9'’\-]))(?P<rest>.*)",
    re.DOTALL | re.IGNORECASE,
)
_SECOND = re.compile(r"[\s*_}$]{0,6}(?:[,/&]|\bor\b|\band\b)\s{0,3}(?:or\s{1,3}|and\s{1,3})?\(?[A-Z]\b(?!')")
_GOES_ON = re.compile(r"\s{1,5}(?!(?:or|and|because)\b)[A-Za-z]")
_MARKED = re.compile(r"(?:\([A-Za-z]\)|[A-Z][).:]|\[[A-Za-z]\])(?:\s.*)?|[A-Z]")


def letter(content: str) -> str | None:
    """The letter that a place names; '' if it names several; None if it names none. 'A' and 'I' may be words, so
    without a mark they must end the place or be followed by punctuation."""
    found = _LETTER.match(content)
    if found is None:
        return None
    named, rest = found["marked"] or found["bare"], found["rest"]
    if found["bare"] and named.islower() and rest.strip(" .*_$}"):
        return None
    if found["bare"] and named in "AIai" and _GOES_ON.match(rest):
        return None
    return "" if _SECOND.match(rest) else named.upper()


def marked_line(text: str) -> str | None:
    """The letter of the last line that is a letter with its mark, or starts with one: 'B', '(B)', 'B) Paris'."""
    for line in reversed(text.splitlines()):
        marked = _MARKED.fullmatch(line.strip(" \t*_")[:200])
        if marked:
            return letter(marked[0]) or None
    return None


_LATEX: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\\[,;:! ]|\\q?quad(?![A-Za-z])"), " "),
    (re.compile(r"\\(?:left|right|displaystyle|big[lr]?|Big[lr]?)(?![A-Za-z])"), ""),
    (re.compile(r"\\(?:leq|le)(?![A-Za-z])|≤"), r"\\le "),
    (re.compile(r"\\(?:geq|ge)(?![A-Za-z])|≥"), r"\\ge "),
    (re.compile(r"\\(?:neq|ne)(?![A-Za-z])|≠"), r"\\ne "),
    (re.compile(r"π"), r"\\pi "),
    (re.compile(r"\\sqrt[ ]?([0-9A-Za-z])"), r"\\sqrt{\1}"),
    (re.compile(r"([\^_])[ ]?\{[ ]?([0-9A-Za-z])[ ]?\}"), r"\1\2"),
    (re.compile(r"(?<![0-9])[ ]|[ ](?![0-9])"), ""),
)


def normal_latex(answer: str) -> str:
    """One spelling of LaTeX that differs only in spacing, \\left and \\right, \\dfrac, dollar signs, \\text{…} and the
    final full stop. A space between two digits stays: '1 2' is not '12'. Case and characters are kept (no NFKC, which
    would make 10² into 102)."""
    text = " ".join(numbers.unwrap(answer).replace("\\!", "").split())
    text = numbers.unwrap(numbers.tidy(text)).replace("$", "")
    for pattern, new in _LATEX:
        text = pattern.sub(new, text)
    return text
