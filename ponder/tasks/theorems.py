"""Theorems: what is given, what is to be proved, and the file in which they stand.

A theorem's text is Rocq (Coq): commands, then one `Theorem NAME : STATEMENT.`, without its proof.

    Require Import Arith Lia.
    Fixpoint sum (n : nat) : nat := match n with 0 => 0 | S m => S m + sum m end.
    Theorem sum_closed : forall n, 2 * sum n = n * (n + 1).

A file of theorems is a file that the prover itself accepts: what stands before the first theorem is given for all of
them, and each is followed by its reference proof. A comment `(* induction *)` before a theorem says that it needs one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ponder.errors import UsageError
from ponder.tasks.vernacular import ENDS, Sentence, Unreadable, sentences, short

SHIPPED = Path(__file__).parent / "proofs"
"""The theorems that come with ponder."""

_THEOREM = re.compile(
    r"(?:Theorem|Lemma|Fact|Remark|Corollary|Proposition|Property)\s+([A-Za-z_][\w']*)\s*(.*)\.$", re.S
)
_HEADER = re.compile(r"(?:From|Require|Import|Export|Open|Close|Set|Unset|Local\s+Open|Local\s+Set)\b")


@dataclass(frozen=True, slots=True)
class Theorem:
    """`header`: imports and settings, which hold for one file; `definitions`: all else that is given; `stated`: the
    sentence `Theorem NAME BINDERS : STATEMENT.`; `statement`: the proposition alone, as one closed term."""

    header: str
    definitions: str
    stated: str
    name: str
    statement: str

    @property
    def text(self) -> str:
        """All of it, as a model is shown it."""
        return "\n\n".join(part for part in (self.header, self.definitions, self.stated) if part)

    @property
    def given(self) -> list[Sentence]:
        return list(sentences(self.text))


def read(text: str) -> Theorem:
    """A theorem's text, read; comments go. Raises Unreadable if it does not end in a theorem."""
    found = list(sentences(text))
    if not found:
        raise Unreadable("is empty; give commands that end in 'Theorem NAME : STATEMENT.'")
    match = _THEOREM.match(found[-1].text)
    if match is None:
        raise Unreadable(f"ends in {short(found[-1].text)}, not in 'Theorem NAME : STATEMENT.'")
    binders, statement = _split(match[2])
    whole = f"forall {binders}, {statement}" if binders else statement
    header = [s.text for s in found[:-1] if _HEADER.match(s.text)]
    others = [s.text for s in found[:-1] if not _HEADER.match(s.text)]
    return Theorem("\n".join(header), "\n".join(others), found[-1].text, match[1], whole)


def _split(rest: str) -> tuple[str, str]:
    """(binders, statement) of 'BINDERS : STATEMENT'."""
    depth = 0
    for at, here in enumerate(rest):
        depth += (here in "([{") - (here in ")]}")
        if here == ":" and depth == 0:
            return rest[:at].strip(), rest[at + 1 :].strip()
    raise Unreadable(f"has no colon before its statement: {short(rest)}")


@dataclass(frozen=True, slots=True)
class Listed:
    """A theorem of a file: `id` is 'FILE:NAME', `proof` its reference proof, from 'Proof.' to 'Qed.'."""

    id: str
    theorem: Theorem
    proof: str
    induction: bool


def files(path: str | None = None) -> list[Path]:
    """The files of theorems below a path, in order. Raises UsageError if there are none."""
    place = SHIPPED if path is None else Path(path)
    found = sorted(place.glob("*.v")) if place.is_dir() else [place]
    if not found or not found[0].is_file():
        raise UsageError(f"proof.path={path}: no such .v file, or a folder without one; check the path")
    return found


def listed(file: Path) -> Iterator[Listed]:
    """The theorems of a file in its order. Raises UsageError that names it if it cannot be read."""
    try:
        text = file.read_text(encoding="utf-8")
        found = list(sentences(text))
    except (OSError, UnicodeDecodeError, Unreadable) as error:
        raise UsageError(f"{file}: cannot be read ({error}); give a file that coqc accepts") from None
    starts = [i for i, sentence in enumerate(found) if _THEOREM.match(sentence.text)]
    given = "\n".join(sentence.text for sentence in found[: starts[0] if starts else None])
    for at in starts:
        end = next((i for i in range(at, len(found)) if found[i].text in ENDS), None)
        if end is None or (at + 1 < len(found) and found[at + 1].text != "Proof."):
            raise UsageError(f"{file}: {short(found[at].text)} has no proof from 'Proof.' to 'Qed.'; write one")
        before = text[found[at - 1].end if at else 0 : found[at].start]
        try:
            theorem = read(f"{given}\n{found[at].text}")
        except Unreadable as error:
            raise UsageError(f"{file}: {error}; write 'Theorem NAME : STATEMENT.'") from None
        proof = text[found[at + 1].start : found[end].end]
        yield Listed(f"{file.stem}:{theorem.name}", theorem, proof, "(* induction *)" in before)
