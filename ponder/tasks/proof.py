"""Proof: the statement is fixed, the model writes the proof, a proof checker judges it. Rocq (Coq) or Lean 4.

A reference is the theorem's text without its proof (`ponder.tasks.theorems` for Rocq, `ponder.tasks.lean` for Lean),
or {"theorem": TEXT, "prover": "rocq" or "lean", "axioms": [NAME, …]}, where a proof may rest on these axioms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ponder.errors import UsageError, unknown
from ponder.sandbox import Limits, chosen
from ponder.tasks import lean, theorems, vernacular
from ponder.tasks.base import Row, RowTask, Rules
from ponder.tasks.rocq import Rocq, Seen
from ponder.tasks.vernacular import Unreadable
from ponder.types import Verdict, unverified, wrong

NO_PROOF = "no proof in the completion"
PROVERS = ("rocq", "lean")


class ProofRules(Rules):
    """Proofs in Rocq (Coq). The answer is the proof script: the last fenced block of the completion, else from 'Proof.'
    to 'Qed.', else all of it.

    Correct: the script is nothing but tactics, the prover accepts it for the statement as it was given, and the proof
    rests on no axiom. What was given may be repeated before it word for word. A step is a line. `goals`: a search may
    see the goals after a chain's steps as its state, which takes a run of the prover for each step.
    """

    kind = "proof"
    structured = True
    sandboxed = True
    pure = False
    delimiter = "\n"
    instruction = (
        "Prove this theorem in Rocq (Coq). Write the proof alone, in one fenced code block: from `Proof.` to `Qed.`, "
        "nothing but tactics between them, one tactic a line. Do not change or repeat the statement, define nothing, "
        "assume nothing; facts that you need are proved inside with `assert`. "
        "Example: `Theorem t : forall n, n + 0 = n.` is proved by\n"
        "```coq\nProof.\n  induction n as [| n IH].\n  - reflexivity.\n  - simpl. rewrite IH. reflexivity.\nQed.\n```"
    )

    def __init__(self, *, goals: bool = False, limits: Limits | None = None, sandbox: str = "") -> None:
        self._goals, self._limits = goals, limits
        self.rocq = Rocq(limits, sandbox)
        self.lean = lean.Lean(limits, sandbox)

    def with_sandbox(self, mode: str) -> ProofRules:
        return ProofRules(goals=self._goals, limits=self._limits, sandbox=mode)

    # --- answers

    def extract(self, text: str) -> str | None:
        """The proof script, as written; None if there is none."""
        start, stop = vernacular.region(text)
        return text[start:stop].strip() or None

    def canonical(self, answer: str) -> str:
        """The tactics, one a line, without comments; white space collapsed. What cannot be read: white space alone."""
        try:
            found = vernacular.script(vernacular.sentences(answer), [])
        except Unreadable:
            return " ".join(answer.split())
        return "\n".join(s.plain for s in found.tactics)

    # --- verdicts

    def check_reference(self, reference: Any) -> str | None:
        """None if `reference` is a theorem, else what is wrong with it. The prover is not asked."""
        try:
            prover, text, _ = _reference(reference)
            theorems.read(text) if prover == "rocq" else lean.read(text)
        except Unreadable as error:
            return str(error)
        return None

    def judge(self, reference: Any, completion: str) -> Verdict:
        """Runs the prover. A completion without a proof is wrong."""
        try:
            prover, text, allowed = _reference(reference)
            if prover == "lean":
                return self.lean.judge(lean.read(text), lean.script(completion), allowed)
            theorem = theorems.read(text)
        except Unreadable as error:
            return unverified(f"the theorem {error}")
        try:
            return self.rocq.judge(theorem, _script(theorem, completion), allowed)
        except Unreadable as error:
            return wrong(str(error))

    def watch(self, reference: Any, completion: str) -> list[Seen] | None:
        """For each sentence of the proof, up to where it can be read: whether it was accepted, given those before it
        that were, and the goals after it. None if that cannot be told."""
        prover, text, _ = _reference(reference)
        if prover != "rocq":
            return None
        theorem = theorems.read(text)
        return self.rocq.trace(theorem, _script(theorem, completion, whole=False))

    def valid_steps(self, reference: Any, text: str) -> list[bool] | None:
        """Whether each line is right: no sentence that ends in it was refused. Lines around the proof, and those in
        which no sentence ends, are; a last line with a sentence that has no end yet is not. None without a prover."""
        start, stop = vernacular.region(text)
        try:
            seen = self.watch(reference, text)
        except Unreadable:
            seen = []  # something else was proved, or nothing was
            spoilt = start
        else:
            if seen is None:
                return None
            spoilt = _unfinished(text, start, stop)
        refused = {s.sentence.end - 1 for s in seen if not s.accepted}
        found, at = [], 0
        for step in self.steps(text):
            end = at + len(step)
            unread = step.strip() and at < stop and max(start, spoilt) < min(end, stop)
            found.append(not unread and not any(at <= place < end for place in refused))
            at = end
        return found

    def state(self, problem: str, text: str) -> str | None:
        """With `goals`: the goals after the steps, as the prover shows them; None if it refuses one of them. Nothing
        but the problem's own text goes into it. Without: None."""
        if not self._goals:
            return None
        try:
            seen = self.watch(problem, text)
        except Unreadable:
            return None
        if not seen or not all(one.accepted for one in seen):
            return None
        return seen[-1].state


def _script(theorem: theorems.Theorem, completion: str, whole: bool = True) -> vernacular.Script:
    """The proof in a completion. Not `whole`: up to where it can be read. Raises Unreadable."""
    start, stop = vernacular.region(completion)
    if stop - start > vernacular.MAX_CHARACTERS:
        raise Unreadable(f"the proof has {stop - start} characters; {vernacular.MAX_CHARACTERS} are read at most")
    if not completion[start:stop].strip():
        raise Unreadable(NO_PROOF)
    found: list[vernacular.Sentence] = []
    try:
        found.extend(vernacular.sentences(completion, start, stop))  # keeps what came before an error
    except Unreadable:
        if whole:
            raise
    return vernacular.script(found, theorem.given)


def _unfinished(text: str, start: int, stop: int) -> int:
    """Where the part of a proof begins that cannot be read, such as a sentence without its end; beyond the text if
    there is none."""
    at = start
    try:
        for sentence in vernacular.sentences(text, start, stop):
            at = sentence.end
    except Unreadable:
        return at + len(text[at:stop]) - len(text[at:stop].lstrip())
    return len(text)


def _reference(reference: Any) -> tuple[str, str, frozenset[str]]:
    """(prover, theorem's text, allowed axioms). Raises Unreadable."""
    if isinstance(reference, str) and reference.lstrip().startswith("{"):
        try:
            reference = json.loads(reference)
        except (ValueError, RecursionError):
            raise Unreadable("is neither a theorem nor JSON of one") from None
    if isinstance(reference, str):
        return "rocq", reference, frozenset()
    if not isinstance(reference, Mapping):
        raise Unreadable('is neither text nor {"theorem": …}')
    prover, text, axioms = reference.get("prover", "rocq"), reference.get("theorem"), reference.get("axioms", [])
    if prover not in PROVERS:
        raise Unreadable(f'has the "prover" {vernacular.short(str(prover))}; give one of {", ".join(PROVERS)}')
    if not isinstance(text, str):
        raise Unreadable('has no "theorem" that is text')
    if not isinstance(axioms, list) or not all(isinstance(name, str) for name in axioms):
        raise Unreadable('has "axioms" that are no list of names')
    return str(prover), text, frozenset(axioms)


# --- problems


class ProofTask(RowTask):
    """Theorems with their reference proofs, which are for tests and for training on worked examples."""

    def __init__(self, rows: list[Row], proofs: dict[str, str]) -> None:
        super().__init__("proof", rows)
        self._proofs = proofs

    def proof(self, problem_id: str) -> str:
        """The reference proof, from 'Proof.' to 'Qed.'."""
        return self._proofs[problem_id]


def load(
    path: str | None = None,
    need: str = "all",
    goals: bool = False,
    sandbox: str = "",
    cpu: int = 10,
    memory: int = 2048,
) -> ProofTask:
    """The theorems that come with ponder, or those of a .v file or a folder of them, with ids 'FILE:NAME'.

    `need`: 'induction' keeps those marked so. `goals`: a search sees the goals as states. `sandbox`: 'bwrap' or 'none';
    `cpu` seconds and `memory` MiB a check. Raises UsageError if the files cannot be used.
    """
    if need not in ("all", "induction"):
        raise unknown("need of proof", need, ("all", "induction"))
    chosen(sandbox)
    if cpu < 1 or memory < 256:
        raise UsageError(f"proof.cpu={cpu}, proof.memory={memory}: give at least 1 second and 256 MiB")
    rules = ProofRules(goals=goals, limits=Limits(cpu, memory * 2**20, 32 * 2**20, 32 * 2**20), sandbox=sandbox)
    found = [one for file in theorems.files(path) for one in theorems.listed(Path(file))]
    kept = [one for one in found if need == "all" or one.induction]
    rows = [Row(one.id, one.theorem.text, one.theorem.text, rules, one.id.partition(":")[0]) for one in kept]
    return ProofTask(rows, {one.id: one.proof for one in kept})
