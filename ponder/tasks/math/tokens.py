"""An answer's LaTeX or plain text as tokens, after one cleaning that never changes its meaning.

Linear in the text. What is longer than `MAX_CHARS`, has more than `MAX_TOKENS` tokens or is nested deeper than
`MAX_DEPTH` raises Beyond: no answer of a problem set needs more, and every later step costs no more than these allow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ponder.tasks import numbers

MAX_CHARS = 2000
MAX_TOKENS = 800
MAX_DEPTH = 40
MAX_ELEMENTS = 64
"""Elements that a list may have."""
ALL_REALS = frozenset({r"\mathbb{R}", r"\Bbb{R}", r"\mathbf{R}", "all real numbers", "all reals"})


class NotMath(Exception):
    """The text is not written in the mathematics that is read here."""


class Unknown(NotMath):
    """It holds a command that is not read here, and so may be mathematics all the same."""


class Beyond(Exception):
    """Beyond a limit of size: too long, too deep, or a number too large. The message says which."""


@dataclass(frozen=True, slots=True)
class Token:
    """`kind`: num, word (letters), cmd (a LaTeX command without its backslash), text (\\text{…}), begin, end, sym."""

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


_UNICODE = str.maketrans({
    **dict.fromkeys(numbers.MINUSES, "-"), **dict.fromkeys("\u00a0\u2007\u2002\u2003\u2009\u202f~", " "),
    "×": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ", "∙": "\\cdot ", "÷": "\\div ", "√": "\\sqrt ", "π": "\\pi ",
    "∞": "\\infty ", "≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "≈": "\\approx ", "∪": "\\cup ", "∩": "\\cap ",
    "∈": "\\in ", "±": "\\pm ", "∓": "\\mp ", "°": "\\degree ", "∅": "\\emptyset ", "ℝ": "\\mathbb{R}", "θ": "\\theta ",
    "²": "^{2}", "³": "^{3}", "¹": "^{1}", "⁴": "^{4}", "⟨": "\\langle ", "⟩": "\\rangle ", "∖": "\\setminus ",
    "′": "'", "’": "'", "∧": "\\land ", "∨": "\\lor ",
})  # fmt: skip

_NAME_END = "(?![A-Za-z])"
_CLEANING: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r",\\!\s*(?=\d{3}(?!\d))|\\!\s*|\{,\}(?=\d{3}(?!\d))", ""),
        (r"(?<=\d)\\,(?=\d{3}(?!\d))", ""),
        (r"\\(?:[,;: >]|q?quad" + _NAME_END + ")", " "),
        (r"\\(?:left|right)" + _NAME_END + r"\s*\.", " "),
        (r"\\(?:left|right|[bB]ig{1,2}[lrm]?|displaystyle|textstyle|limits|nolimits)" + _NAME_END, " "),
        (r"\\phantom\s*(?:\{[^{}]*\}|.)", " "),
        (r"\\operatorname\*?\s*\{\s*([A-Za-z]+)\s*\}", r"\\\1 "),
        (r"\\[dtc]frac" + _NAME_END, r"\\frac "),
        (r"\\[dt]binom" + _NAME_END, r"\\binom "),
        (r"\\leq(?:slant)?" + _NAME_END, r"\\le "),
        (r"\\geq(?:slant)?" + _NAME_END, r"\\ge "),
        (r"\\neq" + _NAME_END, r"\\ne "),
        (r"<=", r"\\le "),
        (r">=", r"\\ge "),
        (r"!=", r"\\ne "),
        (r"\\lt" + _NAME_END, "<"),
        (r"\\gt" + _NAME_END, ">"),
        (r"\\(?:lbrace)" + _NAME_END, r"\\{"),
        (r"\\(?:rbrace)" + _NAME_END, r"\\}"),
        (r"\\(?:[lr]?vert|mid)" + _NAME_END, "|"),
        (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ" + _NAME_END + ")", r"\\degree "),
        (r"\\(?:varnothing)" + _NAME_END, r"\\emptyset "),
        (r"\\(?:cfrac)" + _NAME_END, r"\\frac "),
        (r"\\(?:asin|acos|atan)" + _NAME_END, r"\\arc"),
        (r"\*\*", "^"),
        (r"\$", ""),
    )
)
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | \\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mathsf|mbox|hbox|bf|rm|boldsymbol)\s*
      \{(?P<text>[^{}]*)\}(?P<power>\^(?:\{[23]\}|[23]))?
    | \\(?P<edge>begin|end)\s*\{(?P<name>[A-Za-z]+\*?)\}(?:\s*\{[lcr|\s]*\})?
    | \\(?P<cmd>[A-Za-z]+) | \\(?P<escaped>.)
    | (?P<num>[0-9]+(?:\.[0-9]+|\.(?=\s*\\overline))?|\.[0-9]+)
    | (?P<word>[A-Za-z]+)
    | (?P<sym>.)""",
    re.VERBOSE | re.DOTALL,
)
_THOUSANDS = re.compile(r"(?<![0-9.,])([0-9]{1,3}(?:,[0-9]{3})+)(?![0-9,])")
OPEN, CLOSE = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "\\langle": "\\rangle"}, {")", "]", "}", "\\}", "\\rangle"}


def clean(text: str) -> str:
    """The text with plain signs for Unicode ones, without layout commands, dollar signs and closing punctuation."""
    if len(text) > MAX_CHARS:
        raise Beyond(f"longer than {MAX_CHARS} characters")
    text = numbers.unwrap(text.translate(_UNICODE))
    text = text.replace("\\\\", "\\cr ").replace("\\$", "").replace("\\%", "%").replace("\\#", "#")
    if "\\" in text or "{" in text or "$" in text or "=" in text or "*" in text:
        for pattern, new in _CLEANING:
            text = pattern.sub(new, text)
    return numbers.unwrap(text)


def tokens(text: str) -> list[Token]:
    """The tokens of a cleaned text; brackets balance. Raises NotMath where they do not, or Beyond."""
    found: list[Token] = []
    for match in _TOKEN.finditer(_without_thousands(text)):
        kind = match.lastgroup
        if kind in ("text", "power"):
            found.append(Token("text", match["text"] + (match["power"] or "")))
        elif kind == "name":
            found.append(Token(match["edge"], match["name"]))
        elif kind == "escaped":
            found.append(Token("sym", "\\" + match["escaped"]))
        elif kind == "cmd" and match["cmd"] in ("langle", "rangle"):
            found.append(Token("sym", "\\" + match["cmd"]))
        elif kind is not None and kind != "space":
            found.append(Token(kind, match[kind]))
    if len(found) > MAX_TOKENS:
        raise Beyond(f"more than {MAX_TOKENS} symbols")
    _balanced(found)
    return found


def _without_thousands(text: str) -> str:
    """'1,234' as '1234'; within brackets only if a comma that separates has a blank after it: '(1,234)' is a pair."""
    if "," not in text:
        return text
    inside = any(bracket in text for bracket in ("(", "[", "\\{", "\\langle"))
    if inside and not re.search(r",\s", text):
        return text
    return _THOUSANDS.sub(lambda match: match[1].replace(",", ""), text)


def _balanced(found: Sequence[Token]) -> None:
    """Raises NotMath unless brackets close in order; '(' may close with ']' and '[' with ')': an interval."""
    stack: list[str] = []
    for token in found:
        if token.kind == "begin":
            stack.append("begin")
        elif token.kind == "end":
            if not stack or stack.pop() != "begin":
                raise NotMath("an environment does not close")
        elif token.kind == "sym" and token.text in OPEN:
            stack.append(token.text)
        elif token.kind == "sym" and token.text in CLOSE:
            opened = stack.pop() if stack else ""
            half_open = opened in ("(", "[") and token.text in (")", "]")
            if OPEN.get(opened) != token.text and not half_open:
                raise NotMath("brackets do not match")
        if len(stack) > MAX_DEPTH:
            raise Beyond(f"brackets nested deeper than {MAX_DEPTH}")
    if stack:
        raise NotMath("a bracket does not close")


def split(found: Sequence[Token], marks: frozenset[str]) -> list[list[Token]]:
    """The pieces between the marks that stand outside all brackets."""
    pieces: list[list[Token]] = [[]]
    depth = 0
    for token in found:
        depth += step(token)
        if depth == 0 and token.kind in ("sym", "cmd") and token.text in marks:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces


def step(token: Token) -> int:
    """How the depth of brackets changes at a token."""
    if token.kind == "begin" or (token.kind == "sym" and token.text in OPEN):
        return 1
    return -1 if token.kind == "end" or (token.kind == "sym" and token.text in CLOSE) else 0


def enclosed(found: Sequence[Token]) -> bool:
    """Whether the first token opens a bracket that the last one closes."""
    if len(found) < 2 or step(found[0]) != 1 or step(found[-1]) != -1:
        return False
    depth = 0
    for place, token in enumerate(found):
        depth += step(token)
        if depth == 0:
            return place == len(found) - 1
    return False


def has_sign(piece: Sequence[Token]) -> bool:
    """Whether \\pm or \\mp is in it."""
    return any(token.kind == "cmd" and token.text in ("pm", "mp") for token in piece)


def expanded(pieces: Sequence[Sequence[Token]]) -> list[list[Token]]:
    """Each piece with \\pm once with + and once with -; \\mp follows with the other sign."""
    found: list[list[Token]] = []
    for piece in pieces:
        for plus, minus in (("+", "-"), ("-", "+")) if has_sign(piece) else (("", ""),):
            signs = {"pm": Token("sym", plus), "mp": Token("sym", minus)}
            found.append([signs.get(t.text, t) if t.kind == "cmd" else t for t in piece])
    if len(found) > MAX_ELEMENTS:
        raise NotMath(f"more than {MAX_ELEMENTS} elements")
    return found
