"""Replay: a journal gives the same decisions and bytes without an engine, and others read off the same draws."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from loopback import Answer, Ask, Loopback, chances, word
from running import digest, once, ponder, problems, report, rows

from ponder.engines import openai as module


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.005)
    monkeypatch.setattr(module, "JITTER", 0.005)
    monkeypatch.setattr(module, "BACKOFF", 0.1)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def alike(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> None:
    """The rows of two reports: all equal, but that seconds and dollars may be summed in another order."""
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one | {"cost": None} == other | {"cost": None}
        assert one["cost"] == pytest.approx(other["cost"], abs=1e-5)


@pytest.mark.parametrize("budget", [(), ("--tokens", 150)], ids=["free", "tokens"])
@pytest.mark.parametrize("ignore_n", [False, True], ids=["n", "ignores-n"])
def test_a_run_against_a_failing_server_replays_without_it(
    tmp_path: Path, budget: tuple[object, ...], ignore_n: bool
) -> None:
    """Failures, refused retries, a server that gives one choice of n: the replay decides as the run did."""
    task = problems(tmp_path / "task.jsonl", 25)
    faults = chances(4, _500=0.2, cut=0.1, close=0.1, no_usage=0.1)
    run = tmp_path / "run"
    with Loopback(faults=faults, ignore_n=ignore_n) as server:
        done = ponder(
            "eval", "--model", "openai:toy", "--base-url", server.url, "--task", task, "--out", run, "--max-tokens", 40,
            "--samples", "3,8", "--select", "vote,best,weighted", "--scorer", "random", "--stop", "fixed,adaptive",
            "--price", "1,2", *budget,
        )  # fmt: skip
    assert done.status in (0, 3)
    replayed = ponder("eval", "--replay", run, "--out", tmp_path / "replay", "--json")
    assert replayed.status == done.status
    assert replayed.json["label"] == "replay"
    assert (tmp_path / "replay" / "samples.jsonl").read_bytes() == (run / "samples.jsonl").read_bytes()
    assert replayed.json["digest"] == report(run)["digest"] == digest(rows(run))
    alike(replayed.json["rows"], report(run)["rows"])
    assert replayed.json["run"]["cost"]["requests"] == 0  # nothing was asked, nothing spent


def test_a_replay_neither_writes_to_the_run_nor_needs_a_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert ponder("eval", "--model", "simulated:school", "--limit", 10, "--samples", 4, "--out", run).status == 0
    before = {path: path.read_bytes() for path in run.iterdir()}
    one, two = (ponder("eval", "--replay", run, "--json") for _ in range(2))
    assert one.status == 0
    assert one == two
    assert {path: path.read_bytes() for path in run.iterdir()} == before


CHANGES = [
    ("--select", "best,weighted", "--scorer", "planted"),
    ("--select", "best", "--scorer", "confidence,random"),
    ("--samples", "1,2,16"),
    ("--samples", "5"),
    ("--stop", "adaptive"),
    ("--stop", "adaptive", "--set", "adaptive.wave=3", "--set", "adaptive.tau=0.8"),
    ("--stop", "fixed,adaptive", "--samples", "4,9", "--select", "vote,best", "--scorer", "planted"),
    ("--select", "best", "--scorer", "planted", "--set", "planted.dprime=4"),
]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen chains a problem, drawn with settings of parts that other plans do not have."""
    run = tmp_path_factory.mktemp("recorded") / "run"
    done = ponder(
        "eval", "--model", "simulated:school", "--limit", 40, "--samples", 16, "--select", "vote,best", "--scorer",
        "planted", "--set", "planted.dprime=1", "--set", "live=7", "--seed", 3, "--out", run,
    )  # fmt: skip
    assert done.status == 0
    return run


@pytest.mark.parametrize("change", CHANGES, ids=" ".join)
def test_another_plan_over_the_draws_gives_what_a_fresh_run_gives(
    tmp_path: Path, recorded: Path, change: tuple[str, ...]
) -> None:
    """Simulated draws depend on their key alone, so a fresh run meets the same ones."""
    replayed = ponder("eval", "--replay", recorded, "--out", tmp_path / "replay", *change, "--json")
    kept = [] if "--select" in change else ["--select", "vote,best", "--scorer", "planted"]
    kept += [] if "--samples" in change else ["--samples", "16"]
    if "planted" in change or kept[:1] == ["--select"]:
        kept += [] if "planted.dprime=4" in change else ["--set", "planted.dprime=1"]
    fresh = ponder(
        "eval", "--model", "simulated:school", "--limit", 40, "--seed", 3, "--set", "live=7", *kept, *change,
        "--out", tmp_path / "fresh", "--json",
    )  # fmt: skip
    assert (replayed.status, fresh.status) == (0, 0), replayed.err + fresh.err
    # One recorded request gave many chains at once; a fresh run in waves makes more of them, and reads more prompts.
    left, right = replayed.json["rows"], fresh.json["rows"]
    for row in (*left, *right):
        del row["cost"]["requests"], row["cost"]["prompt"]
    assert left == right
    assert replayed.json["digest"] == fresh.json["digest"]
    assert (tmp_path / "replay" / "samples.jsonl").read_bytes() == (tmp_path / "fresh" / "samples.jsonl").read_bytes()


def test_more_samples_than_were_recorded_are_refused_and_said(tmp_path: Path, recorded: Path) -> None:
    done = ponder("eval", "--replay", recorded, "--samples", "16,20", "--select", "vote", "--out", tmp_path / "more")
    less, more = report(tmp_path / "more")["rows"]
    assert (less["samples"], less["refused"], less["cost"]["samples"]) == (16, 0, 640)
    assert (more["samples"], more["refused"], more["cost"]["samples"]) == (20, 160, 640)
    assert more["accuracy"] == less["accuracy"]  # it has only the sixteen to vote with
    assert "sample/fixed/20/vote: 160 chains were wanted and not drawn (the journal holds no more)" in done.err
    assert "sample/fixed/16" not in done.err
    assert once(rows(tmp_path / "more")).total() == 640  # what was not drawn has no row


def test_a_smaller_budget_takes_only_chains_that_fit_it(tmp_path: Path, recorded: Path) -> None:
    """A chain longer than what is left would have been cut, and nobody knows where: it is refused, not made up."""
    done = ponder(
        "eval", "--replay", recorded, "--tokens", 300, "--select", "vote", "--out", tmp_path / "less", "--json"
    )
    spent = Counter[str]()
    for row in rows(tmp_path / "less"):
        assert row["finish"] == "stop"
        spent[row["problem"]] += row["tokens"]
    assert 200 < max(spent.values()) <= 300
    (row,) = done.json["rows"]
    assert row["cost"]["generated"] == spent.total()
    assert row["cost"]["samples"] + row["refused"] == 640
    assert "chains were wanted and not drawn" in done.err


def test_more_problems_than_were_recorded_count_in_no_row(tmp_path: Path, recorded: Path) -> None:
    done = ponder("eval", "--replay", recorded, "--limit", 50, "--json")
    assert done.status == 3
    assert done.json["rows"][0]["problems"] == 40
    assert done.json["run"]["not_started"] == 10
    assert done.json["run"]["unstarted"] == [str(n) for n in range(40, 50)]
    assert "10 problems were not started" in done.err
    assert "the journal holds nothing of them" in done.err


def test_waves_of_an_adaptive_run_replay(tmp_path: Path) -> None:
    """The recorded run drew fewer chains where the vote was clear; the replay stops at the same ones."""
    task, drawn = problems(tmp_path / "task.jsonl", 12), Counter[str]()

    def reply(ask: Ask) -> Answer:
        drawn[ask.prompt] += 1
        return Answer("The answer is 4.") if "What is 1" in ask.prompt else word(ask)

    with Loopback(reply) as server:
        run = ("eval", "--model", "openai:toy", "--base-url", server.url, "--task", task, "--samples", 20)
        done = ponder(*run, "--stop", "adaptive", "--out", tmp_path / "run", "--json")
    assert done.status == 0
    assert min(drawn.values()) == 4 < max(drawn.values())
    assert sum(drawn.values()) == done.json["rows"][0]["cost"]["samples"]
    replayed = ponder("eval", "--replay", tmp_path / "run", "--json", "--out", tmp_path / "replay")
    assert replayed.json["digest"] == done.json["digest"]
    alike(replayed.json["rows"], done.json["rows"])
    # The fixed rule wants chains that were never drawn: refused, not made up.
    fixed = ponder("eval", "--replay", tmp_path / "run", "--stop", "fixed", "--json")
    row = fixed.json["rows"][0]
    assert row["refused"] == 12 * 20 - sum(drawn.values())
    assert row["cost"]["samples"] == sum(drawn.values())


def test_a_replay_of_nothing_is_refused(tmp_path: Path) -> None:
    done = ponder("eval", "--replay", tmp_path / "absent")
    assert done.status == 2
    (line,) = done.err.strip().splitlines()
    assert f"--replay {tmp_path / 'absent'}" in line


def test_the_recipe_of_a_run_names_the_task_file_so_that_it_is_found_again(tmp_path: Path) -> None:
    task = problems(tmp_path / "task.jsonl", 3)
    with Loopback() as server:
        ponder("eval", "--model", "openai:toy", "--base-url", server.url, "--task", task, "--out", tmp_path / "run")
    assert json.dumps(str(task)) in (tmp_path / "run" / "recipe.toml").read_text()
    assert ponder("eval", "--replay", tmp_path / "run").status == 0
