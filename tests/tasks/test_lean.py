"""Lean as the judge of proofs: what is read and refused, and what becomes of what `lean` says. No Lean is needed: where it
runs, a script stands for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ponder.tasks.lean import Lean, bare, read, script
from ponder.tasks.proof import ProofRules
from ponder.tasks.vernacular import Unreadable
from ponder.types import Verdict

STATED = "import Mathlib\n\ntheorem swap (a b : Nat) : a + b = b + a := by"
REFERENCE = {"theorem": STATED, "prover": "lean"}
RULES = ProofRules(sandbox="none")
PROOF = "induction a with\n| zero => simp\n| succ n ih => omega"


def block(text: str) -> str:
    return f"Thus:\n```lean\n{text}\n```"


def stand_in(folder: Path, compiles: str, axioms: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `lean` that runs the shell command `compiles` on an answer and prints `axioms` when it is asked for them."""
    program = f'case "$1" in --print-prefix) echo /nowhere;; -o) {compiles};; *) printf \'%s\\n\' "{axioms}";; esac'
    path = folder / "lean"
    path.write_text(f"#!/bin/sh\n{program}\n", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def judged(completion: str, reference: object = REFERENCE) -> Verdict:
    return RULES.judge(reference, completion)


def test_a_theorem_is_read() -> None:
    theorem = read(STATED)
    assert (theorem.before, theorem.name, theorem.signature) == (
        "import Mathlib",
        "swap",
        "(a b : Nat) : a + b = b + a",
    )
    for bad in ("", "theorem x : True", "def x := by", "theorem x := by", f"{STATED}\n  simp"):
        with pytest.raises(Unreadable):
            read(bad)
        assert RULES.check_reference({"theorem": bad, "prover": "lean"})
    assert RULES.check_reference(REFERENCE) is None


def test_the_tactics_are_the_last_block_without_the_theorem_and_comments() -> None:
    assert script(block(PROOF)).strip() == PROOF
    assert script(block(f"{STATED.splitlines()[2]}\n{PROOF}")).strip() == PROOF
    assert bare("simp -- sorry\nomega /- a /- nested -/ sorry -/ x") == "simp \nomega  x"
    assert bare('exact "-- not a comment"') == 'exact "-- not a comment"'


HOSTILE = [
    "sorry", "exact sorry", "simp; sorry", "admit", "exact sorryAx _", "native_decide", "decide\naxiom x : False",
    "simp\n\ntheorem other : False := by simp", "simp\nend Foo", "set_option debug.skipKernelTC true in simp",
    "open Lean in run_tac pure ()", "run_cmd pure ()", "macro \"x\" : tactic => `(tactic| sorry)", "exact (by elab \"x\")",
    "#eval IO.FS.removeFile \"/x\"", "@[simp] lemma y : True := trivial", "unsafe exact x", "instance : True := trivial",
    "notation \"x\" => 1", "exact «sorry»", "exact _root_.sorryAx _", "/- not closed", "exact \"not closed",
    "import Lean", "local notation \"a\" => b", "implemented_by x", "", "-- nothing", "/- nothing -/",
]  # fmt: skip


@pytest.mark.parametrize("proof", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_proof_is_wrong_before_it_runs(proof: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # what ran would be unverified
    assert judged(block(proof)).verdict == "wrong"


def test_without_lean_it_is_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert Lean().missing() == "no lean was found; install Lean 4 and have it on PATH"
    verdict = judged(block(PROOF))
    assert verdict.correct is None and "no lean was found" in verdict.reason
    assert RULES.valid_steps(REFERENCE, PROOF) is None


@pytest.mark.parametrize(
    ("compiles", "axioms", "verdict"),
    [
        ("exit 0", "'swap' does not depend on any axioms", "correct"),
        ("exit 0", "'swap' depends on axioms: [propext, Quot.sound]", "correct"),
        ("exit 0", "'swap' depends on axioms: [propext, sorryAx]", "wrong"),
        ("exit 0", "'swap' depends on axioms: [Lean.ofReduceBool]", "wrong"),
        ("exit 0", "what is this", "unverified"),
        ("echo 'Answer.lean:4:2: error: unsolved goals'; exit 1", "", "wrong"),
        ("echo 'unknown package'; exit 1", "", "unverified"),
        ("kill -9 $$", "", "unverified"),
    ],
)
def test_what_lean_says_is_the_verdict(
    compiles: str, axioms: str, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, compiles, axioms, monkeypatch)
    assert judged(block(PROOF)).verdict == verdict


def test_an_axiom_may_be_allowed_and_the_tactics_are_indented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept.lean"
    stand_in(tmp_path, f"cp Answer.lean {kept}", "'swap' depends on axioms: [mine]", monkeypatch)
    assert judged(block(PROOF)).verdict == "wrong"
    assert judged(block(PROOF), {**REFERENCE, "axioms": ["mine"]}).verdict == "correct"
    assert kept.read_text(
        encoding="utf-8"
    ) == "import Mathlib\n\ntheorem swap (a b : Nat) : a + b = b + a := by\n" + "".join(
        f"  {line}\n" for line in PROOF.splitlines()
    )
