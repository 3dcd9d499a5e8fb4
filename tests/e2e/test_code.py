"""ponder eval on programs, from the request to the report: what is asked, votes by equal outputs, the checker's choice,
verdicts in the rows, a replay, and the same from the user's own file, MBPP's form and HumanEval's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import Answer, Ask, Loopback
from running import Done, ponder, rows

from ponder.sandbox import missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")

DOUBLE = ["x + 1"] * 3 + ["2 * x", "2 * x", "x + x", "x * 2"]
"""Three of one text and one outcome; four of one outcome and three texts: right, and a minority of the texts."""
NEGATE = ["7"] * 4 + ["-x", "0 - x", "1 / 0"]
"""The vote is for a constant; two pass the tests that are shown."""
WORDS = {"double": "Double a number.", "negate": "Change the sign of a number."}
TESTS = {
    "double": ["assert double(1) == 2", "assert double(3) == 6", "assert double(-5) == -10"],
    "negate": ["assert negate(7) == -7", "assert negate(3) == -3", "assert negate(-5) == 5"],
}


def reply(ask: Ask) -> Answer:
    name = "double" if "double(" in ask.text else "negate"
    bodies = DOUBLE if name == "double" else NEGATE
    if ask.index == len(bodies):
        return Answer("")
    return Answer(f"So:\n```python\ndef {name}(x):\n    return {bodies[ask.index]}\n```\nDone.")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with Loopback(reply) as server:
        yield server


def own() -> list[object]:
    """Two tests are shown, the third is not."""
    found = [
        {"id": name, "problem": "\n".join([words, *TESTS[name][:2]]), "tests": TESTS[name]}
        for name, words in WORDS.items()
    ]
    Path("own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return ["--task", "own.jsonl"]


def mbpp() -> list[object]:
    """The first test is shown."""
    found = [{"task_id": name, "prompt": words, "test_list": TESTS[name]} for name, words in WORDS.items()]
    Path("mbpp.json").write_text(json.dumps(found))
    return ["--task", "code", "--set", "code.path=mbpp.json"]


def humaneval() -> list[object]:
    """Two examples are shown, as an interpreter has them."""
    found: list[dict[str, Any]] = []
    for name, words in WORDS.items():
        shown = "".join(
            f"    >>> {left}\n    {right}\n"
            for left, _, right in (test.removeprefix("assert ").partition(" == ") for test in TESTS[name][:2])
        )
        checks = "".join(f"    {test.replace(name, 'candidate')}\n" for test in TESTS[name])
        prompt = f'def {name}(x):\n    """ {words}\n{shown}    """\n'
        found.append(
            {"task_id": name, "prompt": prompt, "entry_point": name, "test": f"def check(candidate):\n{checks}"}
        )
    Path("he.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return ["--task", "code", "--set", "code.set=humaneval", "--set", "code.path=he.jsonl"]


def accuracies(done: Done) -> dict[tuple[str, str | None], float]:
    assert done.status == 0, done.err
    return {(row["select"], row["scorer"]): row["accuracy"] for row in done.json["rows"]}


def evaluated(server: Loopback, task: list[object], *more: object) -> Done:
    model = ("--model", "openai:toy", "--base-url", server.url)
    return ponder("eval", *model, *task, "--samples", 8, "--out", "run", "--json", *more)


@pytest.mark.parametrize("form", [own, humaneval], ids=lambda form: form.__name__)
def test_votes_are_by_outputs_and_the_checker_finds_what_the_vote_does_not(server: Loopback, form: Any) -> None:
    done = evaluated(server, form(), "--select", "vote,best", "--scorer", "checker")
    assert accuracies(done) == {("vote", None): 0.5, ("best", "checker"): 1.0}
    asked = [body["messages"][-1]["content"] for body in server.seen]
    assert len(asked) == 2 and all("in one fenced code block" in text and "-5" not in text for text in asked)
    found = rows(Path("run"))
    double = [row for row in found if row["problem"] == "double"]
    assert [row["correct"] for row in double] == [False] * 3 + [True] * 4 + [False]
    assert [row["scores"]["checker"] for row in double] == [0.5] * 3 + [1.0] * 4 + [0.0]
    assert double[3]["answer"] == "def double(x):\n    return 2 * x\n" and double[7]["answer"] is None
    assert double[3]["reason"].startswith("passed ") and double[7]["reason"] == "no program in the completion"
    negate = [row for row in found if row["problem"] == "negate"]
    assert [row["scores"]["checker"] for row in negate] == [0.0] * 4 + [1.0, 1.0, 0.0, 0.0]
    replayed = ponder("eval", "--replay", "run", "--select", "weighted,vote", "--scorer", "checker", "--json")
    assert accuracies(replayed) == {("weighted", "checker"): 1.0, ("vote", None): 0.5}
    assert server.ledger.requests == 2


def test_one_shown_test_cannot_tell_what_passes_it_apart(server: Loopback) -> None:
    """MBPP shows one: `x + 1` passes it as `2 * x` does, so both are one class and rated alike."""
    done = evaluated(server, mbpp(), "--select", "best", "--scorer", "checker")
    assert done.status == 0, done.err
    double = [row for row in rows(Path("run")) if row["problem"] == "double"]
    assert [row["scores"]["checker"] for row in double] == [1.0] * 7 + [0.0]
    assert [row["correct"] for row in double] == [False] * 3 + [True] * 4 + [False]


def test_curves_of_programs(server: Loopback) -> None:
    """pass@k needs verdicts alone: 4 and 2 right of 8."""
    assert evaluated(server, own(), "--select", "vote").status == 0
    curve = ponder("curves", "run", "--json").json["curves"]["pass"]
    found = {point["k"]: point["value"] for point in curve}
    none = {2: (6 / 28 + 15 / 28) / 2, 4: (1 / 70 + 15 / 70) / 2}  # C(4, k) / C(8, k) and C(6, k) / C(8, k)
    assert found == pytest.approx({1: 0.375, 2: 1 - none[2], 4: 1 - none[4], 8: 1.0}, abs=1e-9)


def test_bad_programs_of_a_task_are_refused_before_any_request(server: Loopback) -> None:
    Path("own.jsonl").write_text('{"problem": "x", "tests": ["assert f("]}\n')
    done = evaluated(server, ["--task", "own.jsonl"])
    assert (done.status, done.out, server.ledger.requests) == (2, "", 0)
    (line,) = done.err.splitlines()
    assert line.startswith("ponder: own.jsonl:1: field 'tests': ") and "not Python" in line


def test_without_a_sandbox_all_is_unverified(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponder.sandbox.bwrap.missing", lambda: "no sandbox: none here")
    done = evaluated(server, own(), "--select", "vote")
    assert done.status == 3
    assert {row["correct"] for row in rows(Path("run")) if row["answer"]} == {None}
