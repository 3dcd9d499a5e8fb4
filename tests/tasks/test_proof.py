"""Proofs: every reference proof verifies, no hostile one does, and steps are labelled by the prover."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from running import ponder

from ponder.errors import UsageError
from ponder.sandbox import Limits
from ponder.tasks import vernacular
from ponder.tasks.proof import ProofRules, load
from ponder.tasks.rocq import LIMITS, Rocq
from ponder.tasks.theorems import files, listed, read
from ponder.tasks.vernacular import Unreadable, refusal, script, sentences

WHY = Rocq().missing()
coq = pytest.mark.skipif(bool(WHY), reason=WHY)

RULES = ProofRules()
TRUE = "Theorem add_nothing : forall n : nat, n + 0 = n."
PROOF = "Proof.\n  induction n as [| n IH].\n  - reflexivity.\n  - simpl. rewrite IH. reflexivity.\nQed."
FALSE = "Require Import Arith Lia List.\nTheorem bad : forall n : nat, n = S n."


def block(text: str) -> str:
    return f"Here it is.\n\n```coq\n{text}\n```\nDone."


# --- the shipped theorems


def test_there_are_enough_theorems_and_their_texts_are_as_asked() -> None:
    found = [one for file in files() for one in listed(file)]
    assert len(found) >= 60
    assert sum(one.induction for one in found) >= 30
    assert len({one.id for one in found}) == len(found)
    task = load()
    for one, problem in zip(found, task.problems(), strict=True):
        assert problem.id == one.id
        assert problem.text.endswith(one.theorem.stated)
        assert one.proof not in problem.messages[0].content
        assert read(problem.text) == one.theorem
        assert RULES.check_reference(problem.text) is None
    assert len(load(need="induction")) == sum(one.induction for one in found)


@coq
@pytest.mark.parametrize("file", files(), ids=lambda file: file.stem)
def test_every_reference_proof_is_accepted_and_closed(file: Path, tmp_path: Path) -> None:
    """One run a file; `benchmarks/proofs.py` judges each by itself, as a model's proof is judged."""
    names = [one.theorem.name for one in listed(file)]
    asked = "".join(f"Print Assumptions {name}.\n" for name in names)
    (tmp_path / file.name).write_text(f"{file.read_text(encoding='utf-8')}\n{asked}", encoding="utf-8")
    line = ["coqc", "-q", "-noglob", "-w", "none", file.name]
    ended = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["Closed under the global context"] * len(names)


@coq
def test_a_reference_proof_of_each_file_is_correct() -> None:
    task = load()
    ids = list({problem.domain: problem.id for problem in task.problems()}.values())
    assert len(ids) == len(files())
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(lambda name: task.verify(name, block(task.proof(name))), ids))
    assert [(v.verdict, v.reason) for v in verdicts] == [("correct", "proved; closed under the global context")] * len(
        ids
    )


@coq
def test_a_proof_of_another_theorem_is_wrong() -> None:
    task = load()
    ids = [problem.id for problem in task.problems() if problem.domain == "logic"][:6]
    for name, other in zip(ids, ids[1:] + ids[:1], strict=True):
        assert task.verify(name, block(task.proof(other))).correct is False


@coq
@pytest.mark.parametrize(
    "completion",
    [
        PROOF,
        block(PROOF),
        block(PROOF.replace("Qed.", "Defined.")),
        block(PROOF.replace("Qed.", "")),
        block(PROOF.replace("Proof.\n", "")),
        block(f"{TRUE}\n{PROOF}"),
        block(f"Theorem   add_nothing :\n  forall n : nat, n + 0 = n.\n{PROOF}"),
        f"By induction.\n\n{PROOF}\n\nThis is how it goes.",
        f"First try:\n```\nProof. auto. Qed.\n```\nBetter:\n~~~coq\n{PROOF}\n~~~",
        block("Proof. (* by (* nested *) \"quoted *)\" induction *)\ninduction n; simpl; congruence.\nQed."),
        block("Proof with auto.\n  induction n as [| n IH]...\nQed."),
        block("induction n as [|n IH].\n{ reflexivity. }\n1: { simpl; rewrite IH. idtac \"a. b (* c\". reflexivity. }"),
        block("intros n. enough (h : n = n + 0) by (symmetry; exact h).\nauto."),
        block("eassert _ as h. all: cycle 1. Unshelve. 2: exact (plus_n_O). intros n. symmetry. apply h."),
        block(PROOF).replace("\n", "\r\n"),
        f"```coq\n{PROOF}",
    ],
)  # fmt: skip
def test_ways_to_write_a_right_proof(completion: str) -> None:
    verdict = RULES.judge(TRUE, completion)
    assert (verdict.correct, verdict.reward) == (True, 1.0), verdict.reason


# --- hostile proofs, all of a statement that is false


QUICK = [
    "Proof. Admitted.",
    "Proof. intros n. Admitted. Qed.",
    "Proof.\n  Axiom cheat : forall n : nat, n = S n.\n  exact cheat.\nQed.",
    "Axiom cheat : False.\nProof. destruct cheat. Qed.",
    "Parameter cheat : False. Proof. destruct cheat. Qed.",
    "Unset Guard Checking.\nProof. fix f 1. exact f. Qed.",
    "Proof. Unset Guard Checking. fix f 1. exact f. Qed.",
    "Proof. Unset Universe Checking. auto. Qed.",
    "Proof. Set Default Proof Mode \"Classic\". auto. Qed.",
    "#[bypass_check(guard)] Fixpoint f (n : nat) : n = S n := f n. Proof. exact f. Qed.",
    "Proof. #[bypass_check(guard)] exact I. Qed.",
    "Theorem bad : True.\nProof. exact I. Qed.",
    "Theorem bad : forall n : nat, n = n.\nProof. reflexivity. Qed.",
    "Definition S (n : nat) := n.\nTheorem bad : forall n : nat, n = S n.\nProof. reflexivity. Qed.",
    "Proof. Abort. Theorem bad : True. exact I. Qed.",
    "Proof. Qed. Theorem other : True. exact I. Qed.",
    "Notation \"x = y\" := True.\nTheorem bad : forall n : nat, n = S n.\nProof. exact (fun _ => I). Qed.",
    "Proof. Local Notation \"x = y\" := True. exact (fun _ => I). Qed.",
    "Inductive eq (a b : nat) : Prop := any. Proof. constructor. Qed.",
    "Proof. Declare ML Module \"ltac_plugin\". auto. Qed.",
    "Proof. Redirect \"out\" Print nat. auto. Qed.",
    "Proof. Load \"/etc/passwd\". Qed.",
    "Proof. Add LoadPath \"/\". auto. Qed.",
    "Proof. Extraction \"/tmp/x.ml\" nat. auto. Qed.",
    "Proof. Require Import Classical. tauto. Qed.",
    "Proof. Cd \"/\". Qed.",
    "Module M.\nProof. exact I. Qed.",
    "Proof. Module M. Qed.",
    "Section s. Hypothesis h : forall n : nat, n = S n.\nProof. exact h. Qed.",
    "Proof. End s. Qed.",
    "Proof. intros n. (* the rest is easy. Qed.",
    "Proof. intros n. (* \" *) Admitted. (* \" Qed.",
    "Proof. auto.(* *)Admitted.",
    "Proof. idtac \"(*\". Admitted. idtac \"*)\".",
    "Proof. - Admitted.",
    "Proof. {Admitted.}",
    "Proof. all: Admitted.",
    "Proof. 1: Admitted.",
    "Proof. !: Admitted.",
    "Proof. [x]: Admitted.",
    "Proof. par: auto. Qed.",
    "Proof. Time Admitted.",
    "Proof. Timeout 5 Admitted.",
    "Proof. Fail exact I. Qed.",
    "Proof. \x0cAdmitted.",
    "Proof. \x00 auto. Qed.",
    "Proof. Restart. Undo. Show. Qed.",
    "Proof. Hint Resolve n_Sn. auto. Qed.",
    "Proof. Ltac auto := idtac. auto. Qed.",
    "Proof (fun n => eq_refl).",
    "Proof using. Qed.",
    "Proof. intros n. auto",
    "Qed.\nProof. Qed.",
    "",
    "sorry",
]  # fmt: skip
"""None of these reaches the prover."""

SLOW = [
    "Proof. Qed.",
    "Proof. intros n. admit. Qed.",
    "Proof. give_up. Qed.",
    "Proof. intros n. shelve. Qed.",
    "Proof. intros n. shelve. Unshelve. Qed.",
    "Proof. exact (ltac:(admit)). Qed.",
    "Proof. abstract admit. Qed.",
    "Proof. fix f 1. exact f. Qed.",
    "Proof. fix f 1. intros n. exact (f n). Qed.",
    "Proof. intros n. vm_cast_no_check (eq_refl n). Qed.",
    "Proof. intros n. exact_no_check (eq_refl n). Qed.",
    "Proof. intros n. change_no_check (n = n). reflexivity. Qed.",
    "Proof. idtac \"Closed under the global context\". Qed.",
    "Proof. intros n. \u0410dmitted. Qed.",
    "Proof. idtac.Admitted. Qed.",
    "Proof. exact proof_admitted. Qed.",
    "Proof. assert (h : False). 2: destruct h. Qed.",
    "Proof. intros n. refine (_ : n = S n). Qed.",
    "Proof. exists 0. reflexivity. Qed.",
    "Proof. intros ; try lia. Qed.",
    "Proof. intros n\u00a0. reflexivity. Qed.",
    "Proof. idtac \"\"\". Admitted. idtac \"\"\".",
    "Proof. evar (x : forall n : nat, n = S n). exact x. Qed.",
]  # fmt: skip
"""These do, and Coq refuses them."""


@pytest.mark.parametrize("proof", QUICK, ids=range(len(QUICK)))
def test_a_hostile_proof_is_wrong_before_it_runs(proof: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # the prover is not there: what ran would be unverified
    for theorem in (FALSE, TRUE):
        verdict = RULES.judge(theorem, block(proof))
        assert verdict.verdict == "wrong", verdict.reason


@coq
def test_a_hostile_proof_that_runs_is_wrong() -> None:
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(lambda proof: RULES.judge(FALSE, block(proof)), SLOW))
    for proof, verdict in zip(SLOW, verdicts, strict=True):
        assert verdict.verdict == "wrong", (proof, verdict.reason)


@coq
def test_what_looks_like_coqs_log_earns_nothing() -> None:
    spoof = PROOF.replace("- reflexivity.", '- idtac "Chars 1000 - 1005 [Qed.] 0. secs". reflexivity.')
    assert RULES.judge(TRUE, block(spoof)).correct is None
    prompt = PROOF.replace("- reflexivity.", '- idtac "<prompt>bad < 99 |bad| 0 < </prompt>". reflexivity.')
    assert RULES.judge(TRUE, block(prompt)).correct is True
    assert RULES.valid_steps(TRUE, block(prompt)) is None


@coq
def test_axioms_are_wrong_unless_the_reference_allows_them() -> None:
    theorem = "Require Import Classical.\nTheorem em : forall P : Prop, P \\/ ~ P."
    verdict = RULES.judge(theorem, block("Proof. exact classic. Qed."))
    assert (verdict.correct, verdict.reason) == (False, "rests on what is not proved: classic")
    allowed = {"theorem": theorem, "axioms": ["classic"]}
    for reference in (allowed, json.dumps(allowed)):
        assert RULES.judge(reference, block("Proof. exact classic. Qed.")).correct is True
    given = "Axiom cheat : False.\nTheorem bad : 0 = 1."
    assert RULES.judge(given, block("Proof. destruct cheat. Qed.")).correct is False


# --- limits and broken instruments


@coq
def test_an_endless_tactic_is_wrong_and_labels_what_came_before() -> None:
    rules = ProofRules(limits=Limits(cpu=1, memory=LIMITS.memory, file=LIMITS.file))
    endless = "Proof.\nintros n.\nrepeat (pose proof I).\nreflexivity.\nQed."
    verdict = rules.judge(TRUE, block(endless))
    assert (verdict.correct, verdict.reason[:11]) == (False, "time limit:")
    steps = rules.valid_steps(TRUE, endless)
    assert steps == [True, True, False, False, False]


@coq
def test_a_proof_that_eats_memory_or_prints_without_end_is_wrong() -> None:
    rules = ProofRules(limits=Limits(cpu=5, memory=400 * 2**20, file=2**20))
    hungry = "Proof.\nassert (h : 10 ^ 9 = 0) by (vm_compute; reflexivity).\nQed."
    assert rules.judge(TRUE, block(hungry)).correct is False
    printing = 'Proof.\ndo 100000 idtac "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".\nQed.'
    assert rules.judge(TRUE, block(printing)).correct is False


def test_without_the_prover_it_is_unverified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    verdict = RULES.judge(TRUE, block(PROOF))
    assert verdict.correct is None and "no coqc was found" in verdict.reason
    assert RULES.valid_steps(TRUE, block(PROOF)) is None


@pytest.mark.parametrize("program", ["exit 3", "kill -9 $$", "echo nothing; exit 0"])
def test_a_broken_prover_is_unverified(program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("coqc", "coqtop"):
        _script(tmp_path / name, program)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    rules = ProofRules(sandbox="none")
    assert rules.judge(TRUE, block(PROOF)).correct is None
    assert rules.valid_steps(TRUE, block(PROOF)) is None


@coq
def test_a_theorem_that_the_prover_refuses_is_unverified() -> None:
    for theorem in ("Theorem t : nonsense.", "Definition f := nonsense.\nTheorem t : True."):
        verdict = RULES.judge(theorem, block("Proof. exact I. Qed."))
        assert verdict.correct is None and "refused" in verdict.reason


def _script(path: Path, program: str) -> None:
    path.write_text(f"#!/bin/sh\n{program}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


@coq
def test_verdicts_are_equal_from_threads_and_with_any_number_of_workers(tmp_path: Path) -> None:
    completions = [block(PROOF), block("Proof. Qed."), block("Proof. Admitted."), PROOF, "", block("intros n. auto.")]
    rows = [{"id": i, "reference": TRUE, "completion": text} for i, text in enumerate(completions)]
    (tmp_path / "proofs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    said = []
    for workers in (1, 8):
        done = ponder("verify", "--task", "proof", tmp_path / "proofs.jsonl", "--workers", workers)
        assert (done.status, done.err) == (0, "")
        found = [json.loads(line) for line in done.out.splitlines()]
        said.append([(one["id"], one["verdict"], one["reason"]) for one in found])
    assert said[0] == said[1]
    wanted = ["correct", "wrong", "wrong", "correct", "wrong", "correct"]
    assert [one[1] for one in said[0]] == wanted
    with ThreadPoolExecutor(8) as pool:
        assert [v.verdict for v in pool.map(lambda text: RULES.judge(TRUE, text), completions)] == wanted


# --- steps


@coq
def test_steps_are_lines_and_each_is_right_or_not() -> None:
    lines = [
        "I use induction.\n", "```coq\n", "Proof.\n", "  induction n as [| n IH].\n", "  - rewrite IH.\n", "    reflexivity.\n",
        "\n", "  - simpl. nonsense. rewrite IH.\n", "    (* nearly *) reflexivity\n", "    .\n", "  Admitted.\n", "Qed.\n", "```\n", "So.",
    ]  # fmt: skip
    text = "".join(lines)
    assert RULES.steps(text) == lines
    found = RULES.valid_steps(TRUE, text)
    assert found == [True, True, True, True, False, True, True, False, True, True, False, True, True, True]
    for cut in range(len(lines)):  # a partial chain is judged as the whole was
        assert RULES.steps("".join(lines[:cut])) == lines[:cut]
    assert RULES.valid_steps(TRUE, "".join(lines[:6])) == found[:6]
    assert RULES.valid_steps(TRUE, "".join(lines[:4]) + "  - reflexiv") == [True, True, True, True, False]


@coq
def test_what_is_no_proof_of_this_theorem_has_no_right_step() -> None:
    text = "```coq\nTheorem other : True.\nProof.\nexact I.\nQed.\n```"
    assert RULES.valid_steps(TRUE, text) == [True, False, False, False, False, True]
    assert RULES.valid_steps(TRUE, "") == []


@coq
def test_a_proof_with_only_right_steps_and_its_end_is_correct() -> None:
    task = load()
    for name in ("trees:size_of_add", "machines:next_is_successor"):
        proof = task.proof(name)
        assert task.valid_steps(name, proof) == [True] * len(proof.splitlines())
        without = proof.replace("  - reflexivity.\n", "  -\n", 1)
        labels = task.valid_steps(name, without)
        assert labels is not None and not labels[-1]
        assert task.verify(name, without).correct is False


@coq
def test_watching_shows_the_goals_after_each_sentence() -> None:
    seen = RULES.watch(TRUE, PROOF)
    assert seen is not None
    assert [s.sentence.text for s in seen] == [
        "induction n as [| n IH].", "-", "reflexivity.", "-", "simpl.", "rewrite IH.", "reflexivity.", "Qed.",
    ]  # fmt: skip
    assert all(s.accepted for s in seen)
    assert "S (n + 0) = S n" in seen[4].state and "IH : n + 0 = n" in seen[4].state
    assert seen[-1].state == "" and seen[-2].state.startswith("No more goals")


@coq
def test_states_are_goals_only_where_asked_for() -> None:
    rules = ProofRules(goals=True)
    assert RULES.state(TRUE, "intros n.\n") is None
    one = rules.state(TRUE, "intros n.\n")
    other = rules.state(TRUE, "Proof.\n  intro m. rename m into n.\n")
    assert one is not None and one == other and "n + 0 = n" in one
    assert rules.state(TRUE, "intros n.\nnonsense.\n") is None
    assert rules.state(TRUE, "") is None


# --- texts


def test_sentences_are_read_as_coq_reads_them() -> None:
    text = (
        "(* a. b *) Require Import List. intros n.(* c *)apply Nat.add_comm. - + { 1: { auto. } [x] : {auto...\n }}--"
    )
    assert [s.text for s in sentences(text)] == [
        "Require Import List.", "intros n.", "apply Nat.add_comm.", "-", "+", "{", "1: {", "auto.", "}", "[x] : {", "auto...", "}", "}", "--",
    ]  # fmt: skip
    for one in sentences(text):
        assert text[one.start : one.end].startswith(one.text[0])
    for bad in ("intros n", "(* a", 'idtac "a.', "auto. (* (* *)"):
        with pytest.raises(Unreadable):
            list(sentences(bad))


def test_tactics_may_stand_in_a_proof_and_commands_may_not() -> None:
    for good in ("auto.", "Nat.order.", "Z.to_euclidean_division_equations.", "Unshelve.", "(auto).", "[> auto | idtac].",
                 "all: auto.", "1-2,4: auto.", "match goal with |- _ => idtac end.", "2: {", "-", "!: auto."):  # fmt: skip
        (one,) = sentences(good)
        assert refusal(one) == "", good
    for bad in ("Qed.", "Show.", "A.", "all: Show.", "#[local] auto.", "Time auto.", "par: auto.", "Set A.B.", "Qed ."):
        (one,) = sentences(bad)
        assert refusal(one), bad


def test_what_was_given_may_be_repeated_word_for_word_and_nothing_else_may_stand_before() -> None:
    theorem = read(f"Require Import Lia.\nDefinition two := 2.\n{TRUE}")
    for before in ("", TRUE, f"Definition two  :=  2. {TRUE}", theorem.text):
        found = script(sentences(f"{before}\n{PROOF}"), theorem.given)
        assert len(found.tactics) == 7 and found.end is not None
    for before in ("Definition two := 3. " + TRUE, TRUE + TRUE, "Definition two := 2.", "Require Import Lia. " + TRUE):
        with pytest.raises(Unreadable):
            script(sentences(f"{before}\n{PROOF}"), theorem.given)


def test_answers_that_differ_in_comments_and_space_are_one() -> None:
    other = PROOF.replace("reflexivity.", "(* by itself *)   reflexivity.").replace("\n  ", "\n").replace("Qed.", "")
    first, second = RULES.extract(block(PROOF)), RULES.extract(other)
    assert first is not None and second is not None
    assert RULES.classes([first, second, None, "auto."]) == [0, 0, None, 1]
    assert RULES.extract("  ") is None


def test_theorems_with_binders_are_closed() -> None:
    theorem = read("Lemma x (A : Type) {n : nat} : A -> n = n.")
    assert (theorem.name, theorem.statement) == ("x", "forall (A : Type) {n : nat}, A -> n = n")
    for bad in ("", "Check nat.", "Theorem x : True. Proof.", "Theorem x True.", 7, {"theorem": TRUE, "prover": "agda"},
                {"theorem": 3}, "{", {"theorem": TRUE, "axioms": "classic"}):  # fmt: skip
        assert RULES.check_reference(bad), bad
        assert RULES.judge(bad, block(PROOF)).correct is None


def test_files_that_cannot_be_used_are_refused_with_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.v"
    bad.write_text("Theorem x : True.\n", encoding="utf-8")
    for options, words in (
        ({"path": str(tmp_path / "none.v")}, "no such .v file"),
        ({"path": str(bad)}, "has no proof"),
        ({"need": "all of them"}, "unknown need"),
        ({"sandbox": "jail"}, "unknown sandbox"),
        ({"cpu": 0}, "at least 1 second"),
    ):
        with pytest.raises(UsageError, match=words):
            load(**options)  # type: ignore[arg-type]


def test_the_longest_proof_that_is_read() -> None:
    long = "Proof. " + "idtac. " * 20_000 + "Qed."
    assert len(long) > vernacular.MAX_CHARACTERS
    assert "characters" in RULES.judge(TRUE, block(long)).reason
    assert len(list(sentences("- " * 50_000))) == 50_000
