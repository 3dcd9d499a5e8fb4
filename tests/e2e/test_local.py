"""A model in this process, through the command line: evaluated, killed, resumed, asked."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from running import digest, once, ponder, report, rows, started

from ponder.models.tiny import arithmetic_words, save, tiny_llama, word_tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = word_tokenizer(arithmetic_words(99))
    return save(tmp_path_factory.mktemp("models") / "tiny", tiny_llama(tokenizer, hidden=32, heads=2), tokenizer)


def run(checkpoint: Path, *more: object) -> tuple[object, ...]:
    """Six problems are live at a time, so a run is several batches."""
    return (
        "eval", "--model", checkpoint, "--task", "countdown", "--limit", 40, "--samples", 6, "--max-tokens", 60,
        "--stop", "fixed,adaptive", "--select", "vote,best", "--scorer", "confidence", "--set", "threads=1", "--set",
        "live=6", *more,
    )  # fmt: skip


def test_a_rerun_is_the_same_to_the_byte_and_so_is_a_run_that_was_killed(checkpoint: Path, tmp_path: Path) -> None:
    assert ponder(*run(checkpoint, "--out", tmp_path / "one")).status == 0
    assert ponder(*run(checkpoint, "--out", tmp_path / "two")).status == 0
    found = rows(tmp_path / "one")
    assert report(tmp_path / "one")["digest"] == digest(found) == report(tmp_path / "two")["digest"]
    assert (tmp_path / "one" / "samples.jsonl").read_bytes() == (tmp_path / "two" / "samples.jsonl").read_bytes()
    assert report(tmp_path / "one")["label"] == "schedule"
    assert set(once(found).values()) == {6}

    draw, folder = random.Random(4), tmp_path / "killed"
    journal, kills = folder / "journal.jsonl", 0
    for _ in range(3):
        process = started(*run(checkpoint, "--out", folder, "--resume"))
        before = journal.stat().st_size if journal.exists() else 0
        while process.poll() is None and (not journal.exists() or journal.stat().st_size <= before):
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 1
    assert ponder(*run(checkpoint, "--out", folder, "--resume")).status == 0
    assert report(folder)["digest"] == digest(found)


def test_what_it_ran_on_is_written_down(checkpoint: Path, tmp_path: Path) -> None:
    assert ponder(*run(checkpoint, "--limit", 2, "--out", tmp_path / "one")).status == 0
    environment = json.loads((tmp_path / "one" / "environment.json").read_text())
    assert environment["engine"]["dtype"] == "float32" and environment["engine"]["threads"] == 1
    assert environment["packages"]["torch"] == torch.__version__


def test_a_run_goes_on_as_it_began_whatever_the_probe_finds_now(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = [
        argument for argument in run(checkpoint, "--limit", 2, "--out", tmp_path / "one") if argument != "threads=1"
    ]
    plain.remove("--set")
    monkeypatch.setattr("ponder.engines.hf.probe.probe", lambda: {"dtype": "float32", "threads": 1})
    assert ponder(*plain).status == 0
    monkeypatch.setattr("ponder.engines.hf.probe.probe", lambda: {"dtype": "bfloat16", "threads": 2})
    assert ponder(*plain, "--resume").status == 0
    assert json.loads((tmp_path / "one" / "environment.json").read_text())["engine"]["threads"] == 1


def test_solve_answers_and_says_what_it_cost(checkpoint: Path) -> None:
    done = ponder(
        "solve", "--model", checkpoint, "--task", "countdown", "--samples", 3, "--max-tokens", 9, "--json",
        "6 : 4 7 3 6 ;",
    )  # fmt: skip
    assert done.status in (0, 4) and done.err.count("\n") <= 1
    assert len(done.json["chains"]) == 3
    assert done.json["cost"]["prompt"] == 7 and done.json["cost"]["generated"] <= 27


def test_a_word_that_the_model_does_not_know_is_the_users_to_mend(checkpoint: Path) -> None:
    done = ponder("solve", "--model", checkpoint, "What is 1 + 2?")
    assert done.status == 1 and "tokenizer cannot take the prompt" in done.err and done.err.count("\n") == 1
