"""Servers that fail, lie and stall: what a run promises holds by the server's own books."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from loopback import Answer, Ask, Fault, Loopback, chances, status, word
from running import ROOT, Done, apart, digest, once, ponder, problems, report, rows

from ponder.engines import openai as module

KEY = "sk-e2e-9876543210-never-to-be-seen"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits between attempts, and no key or address from outside."""
    monkeypatch.setattr(module, "FIRST_WAIT", 0.005)
    monkeypatch.setattr(module, "JITTER", 0.005)
    monkeypatch.setattr(module, "BACKOFF", 0.1)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def evaluate(server: Loopback, task: Path, out: Path, *more: object) -> Done:
    return ponder("eval", "--model", "openai:toy", "--base-url", server.url, "--task", task, "--out", out, *more)


# --- nothing lost, nothing twice, every token accounted for -----------------------------------------------------------


@pytest.mark.parametrize("choices", [1, 4])
def test_2000_samples_from_a_server_that_fails_more_often_than_not(tmp_path: Path, choices: int) -> None:
    task = problems(tmp_path / "task.jsonl", 250)
    rates: dict[str, float] = {"_429": 0.14, "_429_after": 0.06, "_500": 0.14, "stall": 0.01}
    rates |= {"cut": 0.1, "close": 0.06, "no_usage": 0.05}
    with Loopback(faults=chances(11, retry_after=0.05, **rates), keep=False) as server:
        done = evaluate(
            server, task, tmp_path / "run", "--samples", 8, "--max-tokens", 64, "--concurrency", 64,
            "--set", f"n={choices}", "--set", "timeout=2",
        )  # fmt: skip
        books = server.ledger
    assert done.status == 0, done.err
    found = rows(tmp_path / "run")
    assert once(found) == Counter({f"p{i}": 8 for i in range(250)})
    assert not [row for row in found if row["finish"] == "error" or row["correct"] is None]

    assert books.requests == books.answers + books.refused + books.unreported
    assert books.requests - books.answers > books.answers * 0.9  # it did fail that often
    cost = report(tmp_path / "run")["run"]["cost"]
    assert cost["samples"] == 2000
    assert cost["requests"] == books.requests
    assert cost["generated"] - cost["estimated"] == books.completion
    assert cost["estimated"] >= books.unreported_completion > 0
    assert cost["prompt"] == books.prompt
    assert f"{cost['estimated']:,} of the generated tokens are estimates" in done.err
    # One arm used every draw, so what it is charged is what the run paid.
    assert report(tmp_path / "run")["rows"][0]["cost"] == pytest.approx(cost)


def test_three_arms_read_the_same_draws_of_a_server_that_ignores_n(tmp_path: Path) -> None:
    task = problems(tmp_path / "task.jsonl", 10)
    drawn = Counter[str]()

    def reply(ask: Ask) -> Answer:
        drawn[ask.prompt] += 1
        return word(ask)

    with Loopback(reply, ignore_n=True) as server:
        done = evaluate(
            server, task, tmp_path / "run", "--select", "vote,best,weighted", "--scorer", "random", "--samples", 16,
            "--json",
        )  # fmt: skip
        books = server.ledger
    assert done.status == 0, done.err
    assert sorted(drawn.values()) == [16] * 10
    assert books.choices == books.requests == 160
    assert once(rows(tmp_path / "run")) == Counter({f"p{i}": 16 for i in range(10)})
    assert len(done.json["rows"]) == 3
    for row in done.json["rows"]:
        assert row["cost"]["samples"] == 160
        assert row["cost"]["generated"] == books.completion
    assert done.json["run"]["cost"]["samples"] == 160
    for problem in {row["problem"] for row in rows(tmp_path / "run")}:
        picks = Counter(arm for row in rows(tmp_path / "run") if row["problem"] == problem for arm in row["picked"])
        assert sorted(picks.values()) == [1, 1, 1]  # each arm took exactly one chain


def test_several_sizes_share_what_the_largest_drew(tmp_path: Path) -> None:
    task = problems(tmp_path / "task.jsonl", 5)
    with Loopback() as server:
        done = evaluate(server, task, tmp_path / "run", "--samples", "1,4,16", "--json")
        assert server.ledger.choices == 80
    assert [row["cost"]["samples"] for row in done.json["rows"]] == [5, 20, 80]
    assert done.json["run"]["cost"]["generated"] == server.ledger.completion


# --- the token budget, by the server's own count ----------------------------------------------------------------------


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("cap", [125, 300, 1024])
@pytest.mark.parametrize("choices", [1, 16])
def test_tokens_are_never_exceeded(tmp_path: Path, cap: int, failing: bool, choices: int) -> None:
    """Every answer runs to the cap. What was written for answers that never arrived counts, too."""
    task = problems(tmp_path / "task.jsonl", 12)
    written = Counter[str]()

    def reply(ask: Ask) -> Answer:
        written[ask.prompt] += ask.body["max_tokens"]
        return Answer("w " * 50, tokens=10**6)

    faults = chances(5, _429=0.1, _500=0.15, cut=0.2, close=0.1, no_usage=0.1) if failing else None
    with Loopback(reply, faults=faults) as server:
        done = evaluate(
            server, task, tmp_path / "run", "--samples", 40, "--tokens", 2000, "--max-tokens", cap,
            "--set", f"n={choices}", "--json",
        )  # fmt: skip
        books = server.ledger
    assert done.status in (0, 3), done.err
    assert len(written) == 12
    assert max(written.values()) <= 2000
    if not failing:
        assert min(written.values()) == 2000  # and all of it is used
        assert done.json["run"]["cost"]["generated"] == 12 * 2000
    cost = done.json["run"]["cost"]
    assert cost["generated"] - cost["estimated"] == books.completion
    assert cost["generated"] <= 12 * 2000
    assert cost["requests"] == books.requests


@pytest.mark.parametrize("cap", [64, 1024])
def test_short_answers_use_most_of_the_tokens(tmp_path: Path, cap: int) -> None:
    task = problems(tmp_path / "task.jsonl", 6)
    with Loopback(lambda ask: Answer("The answer is 4.", tokens=20)) as server:
        done = evaluate(server, task, tmp_path / "a", "--samples", 1000, "--tokens", 2000, "--max-tokens", cap)
        used = list(server.ledger.by_prompt.values())
        assert done.status == 0, done.err
        assert len(used) == 6
        assert min(used) >= 1600
        assert max(used) <= 2000
    with Loopback(lambda ask: Answer("The answer is 4.", tokens=20)) as server:
        evaluate(server, task, tmp_path / "b", "--samples", 10, "--tokens", 2000, "--max-tokens", cap)
        assert set(server.ledger.by_prompt.values()) == {200}  # --samples ends it first


# --- what reaches the server, and what must not leave -----------------------------------------------------------------


def test_only_the_problems_text_reaches_the_server(tmp_path: Path) -> None:
    task = tmp_path / "task.jsonl"
    secret = {"reference": "zq-reference", "notes": "zq-notes", "domain": "zq-domain", "hint": ["zq-hint"]}
    lines = [{"id": f"zq-id{i}", "problem": f"What is {i} + 1?", "kind": "text", **secret} for i in range(5)]
    task.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Loopback() as server:
        done = evaluate(
            server, task, tmp_path / "run", "--samples", 4, "--select", "vote,best", "--scorer", "random",
            "--stop", "fixed,adaptive",
        )  # fmt: skip
        seen = server.seen
    assert done.status == 0, done.err
    assert len({json.dumps(body["messages"]) for body in seen}) == 5
    for body in seen:
        assert "zq" not in json.dumps(body)
        assert set(body) <= {"model", "messages", "temperature", "max_tokens", "n", "seed"}
    # The rest of each message is the task's own words, the same for every problem.
    rest = {body["messages"][0]["content"].replace(f"What is {i} + 1?", "") for i in range(5) for body in seen
            if f"What is {i} + 1?" in body["messages"][0]["content"]}  # fmt: skip
    assert len(rest) == 1


def everything(folder: Path, *done: Done) -> str:
    texts = [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]
    return "\n".join([*texts, *(d.out + d.err for d in done)])


@pytest.mark.parametrize("code", [401, 500])
def test_the_key_is_in_no_file_log_or_message(tmp_path: Path, code: int) -> None:
    """The server says the key back, in an error that ends the run and in ones that are repeated."""
    task = problems(tmp_path / "task.jsonl", 4)
    echo = status(code, f"Incorrect API key provided: {KEY} (Bearer {KEY})")
    faults = (lambda *_: echo) if code == 401 else (lambda number, _: echo if number < 3 else None)
    with Loopback(faults=faults) as server:
        done = apart(
            "eval", "--model", "openai:toy", "--base-url", server.url, "--task", task, "--out", tmp_path / "run",
            "--samples", 2, "--set", "n=1", env={"OPENAI_API_KEY": KEY},
        )  # fmt: skip
        again = apart("doctor", "--json", env={"OPENAI_API_KEY": KEY})
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert done.status == (1 if code == 401 else 0), done.err
    if code == 401:
        assert len(done.err.strip().splitlines()) == 1
        assert "set OPENAI_API_KEY" in done.err
    else:
        assert "***" in (tmp_path / "run" / "journal.jsonl").read_text()  # the failures were recorded
    assert KEY not in everything(tmp_path / "run", done, again)


def test_the_key_is_in_no_traceback(tmp_path: Path) -> None:
    with Loopback(faults=lambda *_: status(401, f"Incorrect API key provided: {KEY}")) as server:
        code = f"import ponder; ponder.Thinker('openai:toy', base_url={server.url!r})('What is 2 + 2?')"
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-c", code],
            cwd=ROOT, env={**os.environ, "OPENAI_API_KEY": KEY}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "EngineError" in done.stderr
    assert KEY not in done.stdout + done.stderr


# --- dollars ----------------------------------------------------------------------------------------------------------


def test_dollars_overshoot_by_no_more_than_what_was_in_flight(tmp_path: Path) -> None:
    task = problems(tmp_path / "task.jsonl", 60)
    run = ("--samples", 4, "--set", "n=1", "--price", "0,100", "--concurrency", 5)  # an answer costs a cent
    with Loopback(lambda ask: Answer("The answer is 4.", tokens=100), latency=0.005) as server:
        done = evaluate(server, task, tmp_path / "run", *run, "--dollars", 0.5, "--json")
        answers = server.ledger.answers
        found = report(tmp_path / "run")
        assert done.status == 3
        assert 50 <= answers <= 54  # the last of five in flight reached the limit, four more were under way
        assert found["run"]["cost"]["dollars"] == pytest.approx(answers * 0.01)
        assert found["run"]["cost"]["generated"] == server.ledger.completion
        assert found["run"]["ended_by"] == "dollars"
        over = found["run"]["overshoot"].get("dollars", 0.0)
        assert over == pytest.approx(answers * 0.01 - 0.5, abs=1e-9)
        assert (over == 0) == ("dollars overshot" not in done.err)
        missing = found["run"]["not_started"]
        assert missing == 60 - found["rows"][0]["problems"] > 0
        assert f"{missing} problems were not started (p" in done.err
        assert set(found["run"]["unstarted"]).isdisjoint(row["problem"] for row in rows(tmp_path / "run"))

        # A replay tells the same, row by row, and the next run goes on where the money ended.
        replayed = ponder("eval", "--replay", tmp_path / "run", "--task", task, "--json")
        assert replayed.status == 3
        assert replayed.json["run"]["not_started"] == missing
        same = ("problems", "accuracy", "unverified", "refused")
        assert [replayed.json["rows"][0][k] for k in same] == [found["rows"][0][k] for k in same]
        more = evaluate(server, task, tmp_path / "run", *run, "--dollars", 100, "--resume")
        assert more.status == 0, more.err
        assert server.ledger.answers == 240  # nothing was paid for twice
    assert once(rows(tmp_path / "run")) == Counter({f"p{i}": 4 for i in range(60)})
    assert report(tmp_path / "run")["run"]["cost"]["dollars"] == pytest.approx(2.4)


# --- what a reply may hold --------------------------------------------------------------------------------------------


def test_hidden_thoughts_are_charged_and_an_empty_answer_abstains(tmp_path: Path) -> None:
    task = tmp_path / "task.jsonl"
    lines = [{"id": name, "problem": text, "reference": 4} for name, text in (("a", "First?"), ("b", "Second?"))]
    task.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def reply(ask: Ask) -> Answer:
        empty = "First" in ask.prompt or ask.index < 5
        return Answer("" if empty else "The answer is 4.", tokens=0 if empty else 5, hidden=40)

    with Loopback(reply) as server:
        done = evaluate(server, task, tmp_path / "run", "--samples", 8, "--json")
        completion = server.ledger.completion
    found = rows(tmp_path / "run")
    first = [row for row in found if row["problem"] == "a"]
    second = [row for row in found if row["problem"] == "b"]
    assert completion == 16 * 40 + 3 * 5
    assert done.json["run"]["cost"]["generated"] == sum(row["tokens"] for row in found) == completion
    assert [row["answer"] for row in first] == [None] * 8
    assert {row["correct"] for row in first} == {False}
    assert not any(row["picked"] for row in first)
    assert [row["answer"] for row in second] == [None] * 5 + ["4"] * 3
    assert [row["picked"] != [] for row in second].count(True) == 1
    assert done.json["rows"][0]["accuracy"] == 0.5
    assert done.status == 0


def test_half_a_surrogate_pair_is_recorded_and_read_again(tmp_path: Path) -> None:
    """Models do end within an emoji; no file may be broken by it, and no answer lost."""
    task = problems(tmp_path / "task.jsonl", 2)
    with Loopback(lambda ask: Answer("\ud83d is what I see. The answer is 2.")) as server:
        done = evaluate(server, task, tmp_path / "run", "--samples", 2)
    assert done.status == 0, done.err
    assert {row["text"][0] for row in rows(tmp_path / "run")} == {"\ud83d"}
    replayed = ponder("eval", "--replay", tmp_path / "run", "--task", task, "--json")
    assert replayed.json["rows"] == report(tmp_path / "run")["rows"]


def test_a_problem_that_the_server_rejects_is_a_record(tmp_path: Path) -> None:
    """Its chains are errors, its verdict is unverified, the others are done: exit 3. A later run asks it again."""
    task = problems(tmp_path / "task.jsonl", 6)

    def faults(number: int, body: dict[str, Any]) -> Fault | None:
        return status(400, "the prompt was flagged") if "What is 3 + 3?" in json.dumps(body) else None

    with Loopback(faults=faults) as server:
        done = evaluate(server, task, tmp_path / "run", "--samples", 4, "--json")
        assert done.status == 3
        assert done.json["rows"][0]["unverified"] == 1
        assert done.json["rows"][0]["problems"] == 6
        bad = [row for row in rows(tmp_path / "run") if row["problem"] == "p3"]
        assert [(row["finish"], row["correct"], row["tokens"]) for row in bad] == [("error", None, 0)] * 4
        assert all("flagged" in row["reason"] for row in bad)
        replayed = ponder("eval", "--replay", tmp_path / "run", "--task", task, "--out", tmp_path / "replay")
        assert replayed.status == 3
        assert (tmp_path / "replay" / "samples.jsonl").read_bytes() == (tmp_path / "run" / "samples.jsonl").read_bytes()

        before = server.ledger.requests
        server.faults = None
        more = evaluate(server, task, tmp_path / "run", "--samples", 4, "--resume", "--json")
        assert more.status == 0
        assert server.ledger.requests == before + 1  # the four chains of p3, and nothing else
        cost = more.json["run"]["cost"]
        assert (cost["requests"], cost["generated"]) == (server.ledger.requests, server.ledger.completion)
        assert more.json["rows"][0]["cost"]["requests"] == server.ledger.requests
    # What a replay finds now is the answer that came at last, not the error before it.
    again = ponder("eval", "--replay", tmp_path / "run", "--task", task, "--out", tmp_path / "again", "--json")
    assert again.status == 0
    assert again.json["digest"] == more.json["digest"] == digest(rows(tmp_path / "run"))
    assert again.json["rows"] == more.json["rows"]
