"""ponder verify --task code: order, workers, streaming, bad lines, and a machine without a sandbox."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running import ROOT, ponder

from ponder.sandbox import missing

needs_sandbox = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
TESTS = ["assert f(1) == 2", "assert f(2) == 3"]


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _rows(count: int) -> list[dict[str, Any]]:
    programs = ["def f(x): return x + 1", "def f(x): return 2", "def f(x): return None", "raise SystemExit(0)", ""]
    return [
        {"id": number, "tests": TESTS if number % 2 else "\n".join(TESTS), "completion": programs[number % 5]}
        for number in range(count)
    ]


def _write(rows: list[Any]) -> None:
    Path("a.jsonl").write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))


def _verdicts(out: str) -> list[tuple[Any, ...]]:
    found = [json.loads(line) for line in out.splitlines()]
    return [(row["id"], row["verdict"], row["reward"], row["reason"]) for row in found]


@needs_sandbox
def test_verdicts_are_equal_and_in_order_whatever_the_workers() -> None:
    _write(_rows(60))
    one = ponder("verify", "--task", "code", "a.jsonl")
    eight = ponder("verify", "--task", "code", "a.jsonl", "--workers", 8)
    assert (one.status, eight.status, one.err) == (0, 0, "")
    assert _verdicts(one.out) == _verdicts(eight.out)
    assert [row[:3] for row in _verdicts(one.out)] == [
        (number, "wrong" if number % 5 else "correct", 0.0 if number % 5 else 1.0) for number in range(60)
    ]


@needs_sandbox
def test_ten_thousand_bad_lines_among_good_ones() -> None:
    bad = [
        "not JSON\n",
        '{"id": 1, "completion": "x"}\n',
        '{"id": 1, "tests": "assert f(1) =", "completion": "x"}\n',
        '{"id": 1, "tests": "f(1)", "completion": "x"}\n',
        '{"id": 1, "tests": [], "completion": "x"}\n',
        '{"id": 1, "tests": "assert f(1)", "completion": 3}\n',
        '{"tests": "assert f(1)", "completion": "x"}\n',
        '{"id": 1, "tests": "assert f(1)"}\n',
    ]
    rows: list[Any] = []
    for number, good in enumerate(_rows(40)):
        rows += [bad[(number + i) % len(bad)] for i in range(250)] + [good]
    _write(rows)
    done = ponder("verify", "--task", "code", "a.jsonl", "--workers", 4)
    assert done.status == 2
    said = done.err.splitlines()
    wanted = [number for number, row in enumerate(rows, 1) if isinstance(row, str)]
    assert len(said) == 10_000 and [int(line.split(":")[2]) for line in said] == wanted
    assert all(line.startswith("ponder: a.jsonl:") for line in said)
    assert [row[0] for row in _verdicts(done.out)] == list(range(40))


@needs_sandbox
def test_a_verdict_comes_before_the_next_line_is_written() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ponder", "verify", "--task", "code", "--workers", "2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        for row in _rows(3):
            process.stdin.write(json.dumps(row) + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == row["id"]
        process.stdin.close()
        assert process.stdout.read() == "" and process.wait(30) == 0


def test_without_a_sandbox_all_is_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponder.sandbox.bwrap.missing", lambda: "no sandbox: none here")
    _write(_rows(4))
    done = ponder("verify", "--task", "code", "a.jsonl")
    assert done.status == 3
    assert {row[1:] for row in _verdicts(done.out)} == {("unverified", 0.0, "no sandbox: none here")}


def test_none_is_used_only_where_it_is_asked_for_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponder.sandbox.bwrap.missing", lambda: "no sandbox: none here")
    _write(_rows(4))
    done = ponder("verify", "--task", "code", "a.jsonl", "--sandbox", "none")
    assert done.status == 0 and "not isolated" in done.err
    assert [row[1] for row in _verdicts(done.out)] == ["correct", "wrong", "wrong", "wrong"]


@pytest.mark.parametrize(
    "arguments", [("--task", "code", "--sandbox", "docker"), ("--task", "number", "--sandbox", "none")]
)
def test_other_sandboxes_are_refused(arguments: tuple[str, ...]) -> None:
    _write(_rows(1))
    done = ponder("verify", *arguments, "a.jsonl")
    assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)


def test_doctor_says_whether_programs_are_isolated() -> None:
    assert ("bubblewrap" if not missing() else "no sandbox") in ponder("doctor").out


@pytest.mark.parametrize("task", ["proof", "puzzles:chain_sum"])
def test_proofs_and_puzzles_may_do_without_a_sandbox_too(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.jsonl").write_text("")
    done = ponder("verify", "--task", task, "a.jsonl", "--sandbox", "none")
    assert (done.status, "not isolated" in done.err) == (0, True)
    monkeypatch.setenv("PONDER_SANDBOX", "docker")
    done = ponder("verify", "--task", task, "a.jsonl")
    assert done.status == 2 and "unknown sandbox 'docker'" in done.err
