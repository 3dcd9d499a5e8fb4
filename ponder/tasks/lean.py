"""Lean 4 as the judge of proofs, by the same interface as Rocq, where `lean` is installed.

    import Mathlib
    theorem add_swap (a b : Nat) : a + b = b + a := by

A theorem's text ends in ':= by'; the proof is the tactics that come after it. Lean's tactics can run programs, and its
commands may follow anywhere, so words that do either are refused in a proof. As with Rocq a second process, which never
sees the model's text, asks the compiled proof for its axioms.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ponder.sandbox import Broken, Limits, bwrap, chosen
from ponder.sandbox.external import Ended, run
from ponder.tasks.vernacular import MAX_CHARACTERS, Unreadable, region, short
from ponder.types import Verdict, correct, unverified, wrong

LIMITS = Limits(cpu=60, memory=16 * 2**30, file=64 * 2**20, tmp=64 * 2**20)
ALLOWED = frozenset({"propext", "Classical.choice", "Quot.sound"})
"""The axioms that all of Lean's library rests on."""
REFUSED = frozenset(
    word
    for line in (
        "abbrev add_decl_doc admit attribute axiom builtin_initialize by_elab class csimp declare_syntax_cat def",
        "deriving elab elab_rules end example export extern implemented_by import inductive infix infixl infixr",
        "init_quot initialize instance lemma local macro macro_rules mutual namespace native_decide noncomputable",
        "notation opaque open partial postfix prefix private protected reduceBool reduceNat run_cmd run_elab run_meta",
        "run_tac scoped section set_option sorry sorryAx stop structure syntax theorem universe unsafe unseal variable",
    )
    for word in line.split()
)
"""Words that run programs, weaken the check or are commands."""

_THEOREM = re.compile(r"(?:theorem|lemma)\s+([^\s:({\[]+)\s*(.*?)\s*:=\s*by\s*$", re.DOTALL)
_WORD = re.compile(r"#?[A-Za-z_][\w'!?]*")
_AXIOMS = re.compile(r"depends on axioms: \[([^\]]*)\]")
_NONE = "does not depend on any axioms"


@dataclass(frozen=True, slots=True)
class Theorem:
    """`before`: imports and definitions; `name`; `signature`: binders, a colon and the statement."""

    before: str
    name: str
    signature: str


def read(text: str) -> Theorem:
    """A theorem's text, read. Raises Unreadable if it does not end in 'theorem NAME … : … := by'."""
    starts = [m.start() for m in re.finditer(r"^(?:theorem|lemma)\b", text, re.MULTILINE)]
    match = _THEOREM.match(text, starts[-1]) if starts else None
    if match is None or ":" not in match[2]:
        raise Unreadable("does not end in 'theorem NAME … : … := by'")
    return Theorem(text[: starts[-1]].strip(), match[1], match[2])


def script(completion: str) -> str:
    """The tactics: the last fenced block, from after its ':= by' if it repeats the theorem. Not yet looked at."""
    start, stop = region(completion)
    text = completion[start:stop]
    repeated = re.match(r"\s*(?:theorem|lemma)\b.*?:=\s*by\b", text, re.DOTALL)
    return text[repeated.end() :] if repeated else text


def bare(text: str) -> str:
    """Without comments, which nest. Raises Unreadable for one, or a quotation, that is not closed."""
    found: list[str] = []
    at = depth = 0
    while at < len(text):
        if text.startswith("/-", at):
            depth, at = depth + 1, at + 2
        elif depth and text.startswith("-/", at):
            depth, at = depth - 1, at + 2
        elif depth:
            at += 1
        elif text.startswith("--", at):
            at = (text.find("\n", at) + 1 or len(text) + 1) - 1
        elif text[at] == '"':
            quoted = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL).match(text, at)
            if quoted is None:
                raise Unreadable("a quotation is not closed")
            found.append(quoted[0])
            at = quoted.end()
        else:
            found.append(text[at])
            at += 1
    if depth:
        raise Unreadable("a comment is not closed")
    return "".join(found)


class Lean:
    """Checks proofs. The variable LEAN_PATH names the folders of compiled libraries, as `lake env` sets it."""

    def __init__(self, limits: Limits | None = None, mode: str = "") -> None:
        self.limits = limits or LIMITS
        self._mode = mode

    @property
    def isolated(self) -> bool:
        return chosen(self._mode) != "none"

    def missing(self) -> str:
        """Why proofs cannot be checked here; '' if they can."""
        if shutil.which("lean") is None:
            return "no lean was found; install Lean 4 and have it on PATH"
        return bwrap.missing() if self.isolated else ""

    def judge(self, theorem: Theorem, proof: str, allowed: Collection[str] = ()) -> Verdict:
        """Correct, wrong or unverified, with the reason. `allowed`: axioms beside the usual three."""
        try:
            tactics = _tactics(proof)
        except Unreadable as error:
            return wrong(str(error))
        if why := self.missing():
            return unverified(why)
        try:
            with tempfile.TemporaryDirectory(prefix="ponder-proof-") as place:
                return self._judge(theorem, tactics, Path(place), ALLOWED.union(allowed))
        except Broken as error:
            return unverified(str(error))

    def _judge(self, theorem: Theorem, tactics: str, folder: Path, allowed: Collection[str]) -> Verdict:
        stated = f"{theorem.before}\n\ntheorem {theorem.name} {theorem.signature} := by\n"
        (folder / "Answer.lean").write_text(stated + tactics, encoding="utf-8")
        ended = self._lean(folder, "-o", "Answer.olean", "Answer.lean")
        if ended.how in ("cpu", "output"):
            return wrong("time limit: the proof takes too long to check" if ended.how == "cpu" else "writes too much")
        if ended.how != "exit":
            return unverified("the check was killed, or did not get its processor time")
        if ended.status != 0:
            said = ended.output + ended.errors
            if "error" not in said:
                return unverified(f"lean ended with status {ended.status}: {short(said)}")
            return wrong(f"refused: {short(said.partition('error')[2], 200)}")
        text = "\n".join(line for line in theorem.before.splitlines() if line.startswith("import"))
        text += f"\nimport Answer\n\n#print axioms {theorem.name}\n"
        (folder / "Check.lean").write_text(text, encoding="utf-8")
        checked = self._lean(folder, "Check.lean")
        if checked.how != "exit" or checked.status != 0:
            return unverified(f"the axioms of {theorem.name} could not be read: {short(checked.output)}")
        listed = _AXIOMS.search(checked.output)
        if listed is None and _NONE not in checked.output:
            return unverified(f"the axioms could not be read: {short(checked.output)}")
        used = {name.strip() for name in listed[1].split(",")} if listed else set()
        if strange := sorted(used.difference(allowed)):
            return wrong(f"rests on what is not proved: {', '.join(strange)[:200]}")
        return correct("proved; rests on no axiom of its own")

    def _lean(self, folder: Path, *arguments: str) -> Ended:
        binary = shutil.which("lean")
        if binary is None:
            raise Broken("no lean was found; install Lean 4 and have it on PATH")
        asked = subprocess.run([binary, "--print-prefix"], capture_output=True, text=True, timeout=60, check=False)
        prefix = asked.stdout.strip()
        libraries = [path for path in os.environ.get("LEAN_PATH", "").split(":") if os.path.isdir(path)]
        if prefix and os.path.exists(os.path.join(prefix, "bin", "lean")):
            binary = os.path.join(prefix, "bin", "lean")  # not elan's stand-in for it
        return run(
            [binary, *arguments],
            folder,
            readable=[*libraries, *([prefix] if prefix else []), os.path.realpath(binary)],
            environment={"LEAN_PATH": ":".join([*libraries, "."])},
            limits=self.limits,
            isolated=self.isolated,
        )


def _tactics(proof: str) -> str:
    """The proof as it is compiled: without comments, indented. Raises Unreadable for what may not stand in it."""
    if len(proof) > MAX_CHARACTERS:
        raise Unreadable(f"the proof has {len(proof)} characters; {MAX_CHARACTERS} are read at most")
    text = bare(proof)
    if not text.strip():
        raise Unreadable("no proof in the completion")
    if "«" in text or "`" in text:
        raise Unreadable("a quoted name or syntax may not stand in the proof")
    for word in _WORD.findall(text):
        if word in REFUSED or word.startswith("#") or word.startswith("_root_"):
            raise Unreadable(f"'{word}' may not stand in the proof")
    if "@[" in text:
        raise Unreadable("an attribute may not stand in the proof")
    return "\n".join(f"  {line}" for line in text.strip("\n").splitlines()) + "\n"
