"""Real answers of small models to GSM8K and MATH, labelled by other means: every disagreement is a known one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ponder.tasks import load_rules, math
from ponder.tasks.audit import Labelled, audit

pytest.importorskip("math_verify", reason="needs ponder[math]")
ROWS = [
    json.loads(line) for line in (Path(__file__).parent / "corpora" / "answers.jsonl").read_text("utf-8").splitlines()
]
KNOWN = {
    "smollm2-135m-instruct/math/direct/00bcb89df5/0",  # the value is right and the name is not: only the problem says
    "smollm2-135m-instruct/math/direct/02d2f95d74/0",  # which variable is asked for
    "qwen2.5-coder-0.5b-instruct/math/direct/043e73dde1/9",  # the problem's own equation, not solved
    "qwen2.5-coder-0.5b-instruct/math/direct/0508ce3807/8",  # the problem's own number, not as a fraction
    "qwen2.5-coder-0.5b-instruct/math/worked/00bcb89df5/0",  # says that there is none, and names it as it does
}


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    yield
    math.close()


def test_every_disagreement_is_a_known_one() -> None:
    disagreeing: set[str] = set()
    for task in ("math", "gsm8k"):
        rows = [Labelled(r["id"], r["reference"], r["completion"], r["label"]) for r in ROWS if r["set"] == task]
        found = audit(load_rules(task), rows)
        disagreeing |= {case.id for case in found.disagreements}
        unverified = sum(count for (_, verdict), count in found.labels.items() if verdict == "unverified")
        assert unverified < 0.02 * len(rows)
    assert disagreeing == KNOWN


def test_the_corpus_has_both_labels_and_no_id_twice() -> None:
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    counts = Counter(row["label"] for row in ROWS)
    assert counts.keys() == {True, False} and min(counts.values()) >= 100
