"""ponder verify --audit: rates against labels, references that fail, changed ones that pass, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import ponder

from ponder.tasks import math
from ponder.tasks.audit import Labelled, audit
from ponder.tasks.rules import MathRules, NumberRules
from ponder.types import Verdict, correct, unverified

needs_math_verify = pytest.mark.skipif(not math.installed(), reason="math-verify is not installed")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(rows: list[dict[str, Any]]) -> Path:
    path = Path("labelled.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def labelled(count: int, wrong: int) -> list[dict[str, Any]]:
    """Rows with reference 7, the first `wrong` of them with the wrong label."""
    rows = []
    for i in range(count):
        label = i % 2 == 0
        said = 7 if label else 8
        rows.append({"id": i, "reference": 7, "completion": f"So {said}.", "label": label is not (i < wrong)})
    return rows


def test_rates_and_disagreements_by_hand() -> None:
    write(labelled(40, 3))
    done = ponder("verify", "--task", "number", "--audit", "--json", "labelled.jsonl")
    found = done.json
    assert done.status == 0
    # ids 0 and 2 say 7 and are labelled wrong; id 1 says 8 and is labelled correct
    assert found["labelled"] == {"correct/correct": 18, "correct/wrong": 1, "wrong/correct": 2, "wrong/wrong": 19}
    assert [(case["id"], case["verdict"]) for case in found["disagreements"]] == [
        ("0", "correct"), ("1", "wrong"), ("2", "correct"),
    ]  # fmt: skip
    rates = found["rates"]
    assert (rates["false_positive"]["errors"], rates["false_positive"]["of"]) == (2, 21)
    assert (rates["false_negative"]["errors"], rates["false_negative"]["of"]) == (1, 19)
    assert rates["unverified"]["of"] == 40
    # Wilson's interval for 2 of 21: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    assert rates["false_positive"]["low"] == pytest.approx(0.0265, abs=2e-4)
    assert rates["false_positive"]["high"] == pytest.approx(0.2891, abs=2e-4)
    assert found["gold"] == {"correct": 1} and set(found["changed"]) == {"wrong"} and found["failures"] == []
    assert 0 < len(found["slowest"]) <= 10


def test_as_text() -> None:
    write(labelled(10, 1))
    done = ponder("verify", "--task", "number", "--audit", "labelled.jsonl")
    assert done.status == 0
    assert done.out.splitlines()[0].startswith("false positives: 1 of 6, ")
    assert "  0: correct, expected wrong: answer 7" in done.out


def test_lines_without_a_label_are_gold_alone() -> None:
    write([{"reference": 7}, {"reference": 7, "completion": "So 9."}, {"reference": "12"}])
    found = ponder("verify", "--task", "number", "--audit", "--json", "labelled.jsonl").json
    assert found["labelled"] == {} and found["gold"] == {"correct": 2}


class Broken(NumberRules):
    """Rules that do one thing wrong."""

    def __init__(self, verdict: Callable[[str, str], Verdict | None]) -> None:
        self._verdict = verdict

    def compare(self, reference: str, answer: str) -> Verdict:
        return self._verdict(reference, answer) or super().compare(reference, answer)


def test_a_verifier_that_is_broken_is_found() -> None:
    rows = [Labelled("a", "7", "So 7.", True), Labelled("b", "7", "So 8.", False)]
    assert audit(Broken(lambda reference, answer: None), rows).sound
    lenient = audit(Broken(lambda reference, answer: correct("yes")), rows)
    assert not lenient.sound and lenient.changed["correct"] == len(lenient.failures) > 0
    assert lenient.rates()["false_positive"]["errors"] == 1
    silent = audit(Broken(lambda reference, answer: unverified("nobody is there")), rows)
    assert silent.gold == {"unverified": 1} and not silent.sound
    assert silent.rates()["unverified"]["rate"] == 1 and silent.disagreements == []


def test_bad_lines_are_named_and_the_others_are_counted() -> None:
    path = write([{"reference": 7, "completion": "So 7.", "label": True}])
    with path.open("a") as file:
        file.write('no JSON\n[]\n{"reference": 7, "completion": "7", "label": "yes"}\n')
        file.write('{"reference": 7, "label": true}\n{"reference": "seven", "completion": "7", "label": true}\n')
    done = ponder("verify", "--task", "number", "--audit", "--json", "labelled.jsonl")
    assert done.status == 2 and done.json["labelled"] == {"correct/correct": 1}
    said = done.err.splitlines()
    assert [line.split(":")[2] for line in said] == ["2", "3", "4", "5", "6"]
    assert "'label'" in said[2] and "'completion'" in said[3] and "'reference'" in said[4]


@pytest.mark.parametrize(
    "arguments",
    [("--json",), ("--audit", "--workers", "2"), ("--audit", "--task", "code"), ("--audit", "absent.jsonl")],
)
def test_what_is_refused_takes_one_line(arguments: tuple[str, ...]) -> None:
    done = ponder("verify", "--task", "number", *arguments)
    assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)


@needs_math_verify
def test_mathematics_is_written_otherwise_and_changed() -> None:
    references = [r"\frac{1}{2}", r"\{1, 2\}", r"(3, \infty)", r"2\sqrt{3}", "x^2 + 1"]
    found = audit(MathRules(), [Labelled("", reference, "") for reference in references])
    assert found.sound and found.gold.keys() == {"correct"} and found.gold["correct"] > 3 * len(references)
    assert found.changed["correct"] == 0 and found.changed["wrong"] > 3 * len(references)
