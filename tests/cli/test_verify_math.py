"""ponder verify --task math: the same verdicts whatever the workers; without the extra nothing is guessed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import ROOT, ponder

from ponder.tasks import math

needs_math_verify = pytest.mark.skipif(not math.installed(), reason="math-verify is not installed")
CORPUS = ROOT / "tests" / "tasks" / "corpora" / "hostile_math.jsonl"
GOOD = [
    ("7x + 2y", "2y + 3x + 4x"), (r"(2, \infty)", "x > 2"), (r"\{1, 2\}", "2, 1"), (r"\frac{1}{2}", r"\sin 30^\circ"),
    (r"\frac{1}{2}", r"\int_0^1 x\,dx"), ("55", r"\sum_{k=1}^{10} k"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    yield
    math.close()


def written(rows: list[dict[str, Any]]) -> str:
    Path("a.jsonl").write_text("".join(json.dumps({"id": i, **row}) + "\n" for i, row in enumerate(rows)))
    return "a.jsonl"


def verdicts(out: str) -> list[tuple[Any, ...]]:
    return [(row["id"], row["verdict"], row["reward"], row["reason"]) for row in map(json.loads, out.splitlines())]


@needs_math_verify
def test_hostile_answers_among_good_ones_with_one_and_eight_workers() -> None:
    hostile = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(hostile):
        reference, answer = GOOD[number % len(GOOD)]
        rows += [{"reference": reference, "completion": rf"\boxed{{{answer}}}"}, row]
    one = ponder("verify", "--task", "math", written(rows))
    eight = ponder("verify", "--task", "math", "a.jsonl", "--workers", 8)
    assert verdicts(one.out) == verdicts(eight.out) and one.status == eight.status
    found = [row[1] for row in verdicts(one.out)]
    assert len(found) == 2 * len(hostile)
    assert set(found[0::2]) == {"correct"}, "a hostile neighbour harmed a good answer"
    assert "correct" not in found[1::2]


def test_without_the_extra_nothing_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math, "installed", lambda: False)
    rows = [
        {"reference": "1/2", "completion": r"\boxed{0.5}"},
        {"reference": "x + y", "completion": r"\boxed{ x+y }"},
        {"reference": "x + y", "completion": r"\boxed{y + x}"},
        {"reference": "4", "completion": r"\boxed{3, 4}"},
    ]
    done = ponder("verify", "--task", "math", written(rows))
    assert done.status == 3
    assert [row[1] for row in verdicts(done.out)] == ["correct", "correct", "unverified", "wrong"]
    assert "pip install 'ponder[math]'" in verdicts(done.out)[2][3]
