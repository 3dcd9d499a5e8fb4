"""Every published reference verifies, and a changed one does not."""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from ponder.errors import UsageError
from ponder.tasks import load_task, numbers
from ponder.tasks.rules import MathRules, NumberRules

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def lines(name: str) -> list[dict[str, str]]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is not there: the published sets are not part of the project")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_gsm8k_solution_is_correct_and_wrong_against_the_next_number() -> None:
    rows = lines("gsm8k/test.jsonl")
    task = load_task("gsm8k", {"path": str(DATA / "gsm8k" / "test.jsonl")})
    problems = list(task.problems())
    rules = NumberRules()
    assert len(task) == len(problems) == len(rows) == 1319
    for number, (problem, row) in enumerate(zip(problems, rows, strict=True)):
        assert problem.id == f"gsm8k-test-{number}"
        assert problem.text == row["question"]
        assert task.verify(problem.id, row["answer"]).correct is True, row["answer"]
        reference = numbers.read(row["answer"].rpartition("####")[2])
        assert reference is not None
        for other in (reference + 1, -reference - 1, reference * 10 + Fraction(1, 100)):
            assert rules.judge(numbers.spell(other), row["answer"]).correct is False


def test_gsm8k_solutions_are_read_in_the_asked_form_and_as_a_phrase() -> None:
    rules = NumberRules()
    for row in lines("gsm8k/test.jsonl"):
        steps, _, reference = row["answer"].rpartition("####")
        assert rules.judge(reference, f"{steps}So \\boxed{{{reference.strip()}}}.").correct is True
        assert rules.judge(reference, f"{steps}The final answer is ${reference.strip()}.").correct is True


def test_no_math_solution_is_wrong_and_plain_numbers_are_correct() -> None:
    rows = lines("math/math500.jsonl")
    task = load_task("math", {"path": str(DATA)})
    count: Counter[str] = Counter()
    for problem, row in zip(task.problems(), rows, strict=True):
        assert (problem.id, problem.text, problem.domain) == (row["unique_id"], row["problem"], row["subject"])
        verdict = task.verify(problem.id, row["solution"])
        count[verdict.verdict] += 1
        assert verdict.verdict != "wrong", (row["answer"], verdict.reason)
        value = numbers.read(row["answer"])
        if value is not None:
            assert verdict.correct is True, (row["answer"], verdict.reason)
            assert MathRules().judge(numbers.spell(value + 1), row["solution"]).correct is False
    assert count["correct"] >= 490


def test_every_math_training_reference_equals_itself() -> None:
    if not (DATA / "math" / "train_qa.json").is_file():
        pytest.skip("shared/data is not there")
    task = load_task("math", {"path": str(DATA), "split": "train"})
    references = [row["final_answer"] for row in json.loads((DATA / "math" / "train_qa.json").read_text("utf-8"))]
    given = [(f"math-train-{i}", reference) for i, reference in enumerate(references) if reference]
    assert [problem.id for problem in task.problems()] == [row_id for row_id, _ in given]
    assert len(references) - len(given) == 2  # published without their answers
    assert {task.verify(row_id, f"so \\boxed{{{reference}}}").verdict for row_id, reference in given} == {"correct"}


def test_the_folder_of_the_environment_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONDER_DATA", str(tmp_path))
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_text('{"question": "6 × 7?", "answer": "So.\\n#### 42"}\n', "utf-8")
    task = load_task("gsm8k")
    (problem,) = task.problems()
    assert (problem.text, task.verify(problem.id, "\\boxed{42}").correct) == ("6 × 7?", True)


def test_a_set_found_nowhere_names_the_three_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PONDER_DATA", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("gsm8k", "math"):
        with pytest.raises(UsageError, match=r"path=FILE.*PONDER_DATA.*pip install 'ponder\[data\]'"):
            load_task(name)


def test_the_hub_is_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    class Datasets:
        @staticmethod
        def load_dataset(hub: str, config: str | None, split: str) -> list[dict[str, str]]:
            if config is None:
                raise ConnectionError("no\nnetwork")
            assert (hub, config, split) == ("openai/gsm8k", "main", "train")
            return [{"question": "1 + 1?", "answer": "#### 2"}]

    monkeypatch.delenv("PONDER_DATA", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("importlib.import_module", lambda name, real=__import__: Datasets)
    from ponder.tasks import gsm8k, mathset

    assert [p.id for p in gsm8k.load(split="train").problems()] == ["gsm8k-train-0"]
    with pytest.raises(UsageError, match=r"ConnectionError: no network"):
        mathset.load()


def test_bad_rows_and_splits_are_named(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text('{"question": "a", "answer": "#### 1"}\n{"question": "b", "answer": "one"}\n', "utf-8")
    with pytest.raises(UsageError, match=r"test\.jsonl:2: field 'answer': "):
        load_task("gsm8k", {"path": str(path)})
    with pytest.raises(UsageError, match="unknown split of gsm8k 'tests'; did you mean 'test'"):
        load_task("gsm8k", {"split": "tests"})
    with pytest.raises(UsageError, match="no such file"):
        load_task("gsm8k", {"path": str(tmp_path / "absent.jsonl")})
    (tmp_path / "train_qa.json").write_text('[{"problem": "a", "final_answer": "1"}, {"problem": "b"}]', "utf-8")
    with pytest.raises(UsageError, match=r"train_qa\.json: item 2: field 'answer': missing"):
        load_task("math", {"path": str(tmp_path), "split": "train"})
