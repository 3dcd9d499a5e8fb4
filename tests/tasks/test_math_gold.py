"""Published answers: every one verifies, written otherwise too; no changed one does; hostile answers gain nothing."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from ponder.tasks import load_task, perturb
from ponder.tasks.gsm8k import GSM8KRules
from ponder.tasks.math import rest
from ponder.tasks.rules import MathRules

pytest.importorskip("mpmath")
DATA = Path(__file__).parents[2].parent / "shared" / "data"
CORPUS = Path(__file__).parent / "corpora" / "hostile_math.jsonl"
MATH = MathRules()


@pytest.fixture(autouse=True)
def _ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponder.tasks.math.installed", lambda: True)
    monkeypatch.setattr(rest, "same", lambda reference, answer: (None, "asked"))


def lines(name: str) -> list[dict[str, str]]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is not there: the published sets are not part of the project")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_gsm8k_and_math_solution_is_correct() -> None:
    for name, file, field, count in (
        ("gsm8k", "gsm8k/test.jsonl", "answer", 1319),
        ("math", "math/math500.jsonl", "solution", 500),
    ):
        rows = lines(file)
        task = load_task(name, {"path": str(DATA / file)})
        found = Counter(task.verify(p.id, row[field]).verdict for p, row in zip(task.problems(), rows, strict=True))
        assert found == {"correct": count}


def test_no_changed_math_answer_is_correct_and_every_respelled_one_is() -> None:
    changed: Counter[str] = Counter()
    for row in lines("math/math500.jsonl"):
        reference = row["answer"]
        for how, answer in perturb.perturbed(reference):
            for left, right in ((reference, answer), (answer, reference)):
                verdict = MATH.judge(left, rf"\boxed{{{right}}}")
                assert verdict.verdict == "wrong" or (left == answer and verdict.verdict == "unverified"), (
                    how,
                    left,
                    right,
                )
            changed[how] += 1
        for how, answer in perturb.respelled(reference):
            assert MATH.judge(reference, rf"\boxed{{{answer}}}").correct is True, (how, reference, answer)
    assert sum(changed.values()) > 3000
    assert min(changed.values()) > 1
    assert {"sign", "digit", "exponent", "entries swapped", "entry dropped", "bracket", "number +1"} <= set(changed)


def test_no_changed_gsm8k_answer_is_correct() -> None:
    rules = GSM8KRules()
    for row in lines("gsm8k/test.jsonl"):
        reference = row["answer"].rpartition("####")[2].strip()
        for how, answer in perturb.perturbed(reference):
            assert rules.judge(reference, f"So.\n#### {answer}").correct is False, (how, reference, answer)


HOSTILE = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]


def test_the_corpus_is_large_enough() -> None:
    assert len(HOSTILE) >= 40
    assert all(row["expected"] == "wrong" for row in HOSTILE)


@pytest.mark.parametrize("row", HOSTILE, ids=[row["why"] for row in HOSTILE])
def test_hostile_answers_are_wrong(row: dict[str, str]) -> None:
    verdict = MATH.judge(row["reference"], row["completion"])
    assert verdict.verdict == "wrong" or verdict.reason.startswith("asked"), verdict


def test_hostile_references_never_make_an_answer_correct() -> None:
    for row in HOSTILE:
        answer = MATH.extract(row["completion"])
        if answer is not None:
            assert MATH.judge(answer, rf"\boxed{{{row['reference']}}}").correct is not True, row["why"]
