"""Where a text commits to an answer: `\\boxed{…}`, a line '#### …', a phrase 'the answer is …'.

Everything runs in time linear in the text: braces are matched in one pass, phrases by bounded patterns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_CONTENT = 20_000
"""Characters that a committed answer may have; a longer one is none."""
MAX_PHRASES = 50
"""Phrases that are looked at, counted from the end of the text: what bounds the work in a text of nothing else."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A place that commits to an answer. `start` is its offset in characters. `own_line`: a phrase with a colon at the
    head of its line ('Answer: Paris'), or a line that is the text's last."""

    start: int
    content: str
    own_line: bool = False


_BRACES = re.compile(r"\\\\|\\(?:boxed|fbox)[ ]?\{|\\[{}]|[{}]")
_HASHES = re.compile(r"^[ \t]*####[ \t]*([^\s#][^\n]*)$", re.MULTILINE)
_PHRASE = re.compile(
    r"\banswers?\b[*_]{0,3}"
    r"(?:[ ](?:to|for|of|in)\b[^\n.:=]{0,80}?|[ ](?:therefore|thus|then))?"
    r"[ ]{0,3}(?:\b(?:is|are|equals|(?:should|must|will|would)[ ]be)\b|[:=])"
    r"[ ]{0,3}(?:(?:therefore|thus|simply)\b)?[ *_:]{0,8}",
    re.IGNORECASE,
)
_CHECKING = re.compile(
    r"\b(?:check|verify|confirm|test)(?:ing|s)?[ ](?:(?:the|our|my|this|final)[ ]){0,2}$", re.IGNORECASE
)
_SENTENCE = re.compile(r"\.(?=\s|$)")


def boxed(text: str) -> Commit | None:
    """The last complete, non-empty `\\boxed{…}` or `\\fbox{…}`: the one that starts last (nested: the innermost)."""
    best: Commit | None = None
    stack: list[tuple[int, int, bool]] = []
    for match in _BRACES.finditer(text):
        token = match[0]
        if token == "}" and stack:
            start, inside, is_box = stack.pop()
            if is_box and (best is None or start > best.start) and match.start() - inside <= MAX_CONTENT:
                content = text[inside : match.start()]
                best = Commit(start, content) if content.strip() else best
        elif token[-1] == "{" and token != "\\{":
            stack.append((match.start(), match.end(), len(token) > 1))
    return best


def hashes(text: str) -> list[Commit]:
    """Every line '#### …'. `own_line` marks the text's last line: elsewhere it may be a Markdown heading."""
    end = len(text.rstrip())
    return [
        Commit(match.start(), match[1].strip(), own_line=match.end() >= end)
        for match in _HASHES.finditer(text)
        if len(match[1]) <= MAX_CONTENT
    ]


def phrases(text: str) -> list[Commit]:
    """What follows 'answer is', 'answer:', 'final answer =' …, to the end of the line, or on the next line that holds
    anything if nothing follows ('**Final answer:**' and the answer below), last first. `own_line`: see Commit."""
    found = []
    for match in reversed(list(_PHRASE.finditer(text))[-MAX_PHRASES:]):
        if _CHECKING.search(text[max(0, match.start() - 40) : match.start()]):
            continue  # 'we may check our answer: …' commits to nothing
        line = _content(text, match.end())
        if 0 < len(line) <= MAX_CONTENT:
            head = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
            leads = len(head) < 40 and head.strip(" *_#>-").lower() in LEADS
            found.append(Commit(match.start(), line, own_line=leads and ":" in match[0]))
    return found


def _content(text: str, start: int) -> str:
    """The rest of the line, or the next line that holds anything; a displayed formula's first line."""
    marks = " \t\r*_:"
    line = text[start : _line_end(text, start)].strip(marks)
    if line:
        return line
    ahead = text[start : start + 2 * MAX_CONTENT].lstrip(marks + "\n")
    first, _, rest = ahead.partition("\n")
    if first.strip() in ("$$", "\\["):
        first = rest.lstrip().partition("\n")[0]
    return first.strip(marks)


LEADS = frozenset({"", "final", "the", "my", "the final", "my final", "so the", "so the final", "therefore, the"})
"""What may stand before 'answer:' at the head of a line, in lower case."""


def sentence(content: str) -> str:
    """The content up to the end of its first sentence: '5. I hope it is correct.' gives '5'."""
    match = _SENTENCE.search(content)
    return content if match is None or match.start() == 0 else content[: match.start()]


def last_line(text: str) -> int:
    """The offset at which the last line that is not blank starts."""
    return text.rstrip().rfind("\n") + 1


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end
