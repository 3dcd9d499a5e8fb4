"""Proof scripts of Rocq (Coq) as text: their sentences, and which of these may stand in a proof.

Only tactics may. A sentence is a command exactly if it starts with an upper-case word or an attribute, so no list of
bad commands is needed: Admitted, Axiom, Unset Guard Checking, Declare ML Module, Load, Redirect, Notation, Section and
whatever a later version brings are all out. Comments never reach the prover.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_CHARACTERS = 100_000
"""Characters that a proof may have."""
ENDS = ("Qed.", "Defined.")

_SPACE = " \t\r\n"
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)
_BULLET = re.compile(r"-+|\++|\*+|\{|\}|(?:[0-9]+|\[[ \t]*\w+[ \t]*\])[ \t]*:[ \t]*\{")
_SELECTOR = re.compile(r"(all|par|!|\[[^\]]*\]|[0-9][0-9, -]*)\s*:(?!=)\s*")
_COMMAND = re.compile(r"(?:#|[A-Z][A-Za-z0-9_']*)")
_QUALIFIED = re.compile(r"[A-Z][\w']*(?:\.[A-Za-z_][\w']*)+")
_WITH = re.compile(r"Proof\s+with\s+[a-z(]")


class Unreadable(ValueError):
    """No proof, or no theorem; the message says why."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence, bullet or brace: text[start:end] of the whole, and its own text without comments."""

    start: int
    end: int
    text: str

    @property
    def plain(self) -> str:
        """On one line, with white space collapsed, but for what stands in quotation marks."""
        parts = self.text.split('"')
        parts[::2] = [" ".join(f"|{part}|".split())[1:-1] for part in parts[::2]]
        return '"'.join(parts)


def sentences(text: str, start: int = 0, stop: int | None = None) -> Iterator[Sentence]:
    """The sentences of text[start:stop], each as soon as it is read.

    Read as Coq reads: comments nest and know quotation marks, a full stop ends a sentence if white space or the end
    follows. Raises Unreadable for a comment, quotation or sentence that is not closed.
    """
    stop = len(text) if stop is None else stop
    at, first, words = start, -1, ""
    while at < stop:
        if text.startswith("(*", at):
            if words.endswith("."):
                yield Sentence(first, at, words)
                first, words = -1, ""
            at = _after_comment(text, at, stop)
            words += " " if first >= 0 else ""
            continue
        here = text[at]
        if first < 0:
            if here in _SPACE:
                at += 1
                continue
            bullet = _BULLET.match(text, at, stop)
            if bullet is not None:
                yield Sentence(at, bullet.end(), bullet[0])
                at = bullet.end()
                continue
            first = at
        if here == '"':
            closed = _after_quotation(text, at, stop)
            words += text[at:closed]
            at = closed
            continue
        words += here
        at += 1
        if here == "." and (at == stop or text[at] in _SPACE):
            yield Sentence(first, at, words)
            first, words = -1, ""
    if first >= 0:
        raise Unreadable(f"the last sentence has no full stop: {short(words)}")


def _after_comment(text: str, at: int, stop: int) -> int:
    depth = 0
    while at < stop:
        if text.startswith("(*", at):
            depth, at = depth + 1, at + 2
        elif text.startswith("*)", at):
            depth, at = depth - 1, at + 2
            if not depth:
                return min(at, stop)
        elif text[at] == '"':
            at = _after_quotation(text, at, stop)
        else:
            at += 1
    raise Unreadable("a comment is not closed")


def _after_quotation(text: str, at: int, stop: int) -> int:
    closed = text.find('"', at + 1, stop)
    if closed < 0:
        raise Unreadable("a quotation is not closed")
    return closed + 1


def refusal(sentence: Sentence) -> str:
    """Why a sentence may not stand in a proof; '' if it may."""
    text = sentence.text
    if any(ord(c) < 32 and c not in _SPACE for c in text):
        return "a control character"
    selector = _SELECTOR.match(text)
    if selector is not None:
        if selector[1] == "par":
            return "'par:' would start other processes; write 'all:'"
        text = text[selector.end() :]
    command = _COMMAND.match(text)
    if command is None or _QUALIFIED.match(text) or text.split() == ["Unshelve."]:
        return ""
    return f"'{command[0]}' is no tactic: nothing but tactics may stand in the proof"


def strange(found: Iterable[Sentence]) -> str:
    """Why sentences may not be put into a file one a line: they would be read otherwise there; '' if they may."""
    texts = [sentence.text for sentence in found]
    try:
        alike = [sentence.text for sentence in sentences("\n".join(texts))] == texts
    except Unreadable:
        alike = False
    return "" if alike else "where its sentences end is not clear; write white space after each full stop"


def opens(sentence: Sentence) -> bool:
    """Whether it is 'Proof.' or 'Proof with TACTIC.'."""
    return sentence.plain == "Proof." or _WITH.match(sentence.plain) is not None


def region(text: str) -> tuple[int, int]:
    """Where the proof stands in a completion: the last fenced block; else from a line that starts with 'Proof' to the
    first 'Qed.'; else all of it. An empty region: there is none. A block that is not closed ends with the text."""
    found: tuple[int, int] | None = None
    opened: tuple[int, str] | None = None
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = (min(len(text), fence.end() + 1), fence[1])
        elif fence[1].startswith(opened[1]) and not fence[2].strip():
            found, opened = (opened[0], fence.start()), None
    if opened is not None and text[opened[0] :].strip():
        found = (opened[0], len(text))
    if found is not None:
        return found
    begun = re.search(r"^[ \t]*Proof\b", text, re.MULTILINE)
    start = begun.start() if begun else 0
    try:
        for sentence in sentences(text, start):
            if sentence.plain in ENDS:
                return start, sentence.end
    except Unreadable:
        pass
    return start, len(text)


@dataclass(frozen=True, slots=True)
class Script:
    """A proof, read: its opening ('Proof.' or 'Proof with …'), its tactics, and its end if one was written."""

    opening: str
    tactics: tuple[Sentence, ...]
    end: Sentence | None


def script(found: Iterable[Sentence], given: Iterable[Sentence]) -> Script:
    """Takes a proof apart. Before it may stand, word for word, what was given. Raises Unreadable if it is none."""
    known = [sentence.plain for sentence in given]
    rest = list(found)
    opening = next((i for i, sentence in enumerate(rest) if opens(sentence)), None)
    before = [s.plain for s in rest[:opening]] if opening is not None else []
    if opening is None:
        while rest[len(before) :] and rest[len(before)].plain in known:
            before.append(rest[len(before)].plain)
    if before and before != known[len(known) - len(before) :]:
        strange = next((s for s in before if s not in known), before[0])
        raise Unreadable(f"what stands before the proof is not what was given: {short(strange)}")
    rest = rest[len(before) :]
    words = "Proof."
    if rest and opens(rest[0]):
        words, rest = rest[0].text, rest[1:]
    end = next((i for i, sentence in enumerate(rest) if sentence.plain in ENDS), None)
    if end is not None and end + 1 < len(rest):
        raise Unreadable(f"goes on after {rest[end].plain} {short(rest[end + 1].plain)}")
    return Script(words, tuple(rest[:end]), None if end is None else rest[end])


def short(text: str, limit: int = 80) -> str:
    text = " ".join(text[: 4 * limit].split())
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")
