"""`ponder loop` on a recipe so short that nothing is learned well: what it leaves, and that being killed does not
matter."""

from __future__ import annotations

import hashlib
import json
import math
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import apart, ponder, started

pytest.importorskip("torch", reason="needs ponder[local]")

SHORT = """\
controls = ["random", "zero", "shuffled"]
[task]
numbers = 3
high = 9
high_target = 20
most = 20
train_problems = 120
held_out = 30
test_problems = 12
[model]
words = 20
hidden = 32
heads = 2
mlp = 64
context = 40
[base]
demonstrations = 2
steps = 300
every = 50
optimiser = {lr = 1e-2, warmup = 10}
[steer]
steps = 4
problems = 8
max_tokens = 24
every = 1
[prune]
problems = 60
steered = 20
samples = 4
steps = 20
check = 5
[value]
steps = 10
check = 5
[distil]
problems = 40
steps = 10
[measure]
samples = 4
max_tokens = 24
[compare]
problems = 8
samples = [4]
pilot = 8
"""
ENV = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
CELLS = [f"steer_{steer}_prune_{prune}" for steer in ("off", "on") for prune in ("off", "on")]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "short.toml"
    path.write_text(SHORT)
    return path


@pytest.fixture(scope="module")
def whole(recipe: Path) -> Path:
    """The folder of an unbroken run."""
    folder = recipe.parent / "whole"
    done = apart("loop", recipe, "--out", folder, "--json", env=ENV)
    assert done.status == 0, done.err
    assert done.json == json.loads((folder / "report.json").read_text())
    named = [line.split(":")[0] for line in done.err.splitlines()]
    assert named == ["base", "steer", "steer-zero", "steer-shuffled", "prune", "settle", "measure", "page"]
    return folder


def read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def test_the_report_comes_from_the_samples(whole: Path) -> None:
    report, rows = json.loads((whole / "report.json").read_text()), read(whole)
    assert set(report) >= {"schema", "seconds", "label", "digest", "two_by_two", "effects", "controls", "rounds"}
    ordered = sorted(rows, key=lambda row: (row["problem"], row["sample"]))
    lines = "".join(
        json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n" for row in ordered
    )
    assert report["digest"] == hashlib.sha256(lines.encode()).hexdigest()

    problems = sorted({row["problem"] for row in rows})
    arms = sorted({arm for row in rows for arm in row["arms"]})
    controls = ("off_prune_random", "on_prune_random", "zero_prune_off", "shuffled_prune_off")
    assert set(arms) == {*CELLS, *(f"steer_{name}" for name in controls)}
    picked = Counter((row["problem"], arm) for row in rows for arm in row["picked"])
    answered = {(row["problem"], arm) for row in rows for arm in row["arms"] if row["answer"] is not None}
    assert picked == Counter(dict.fromkeys(answered, 1))
    assert all(set(row["picked"]) <= set(row["arms"]) for row in rows)

    right = {
        arm: np.array([sum(r["correct"] for r in rows if r["problem"] == p and arm in r["picked"]) for p in problems])
        for arm in arms
    }
    for arm in arms:
        own = [row for row in rows if arm in row["arms"]]
        cell = report["two_by_two"].get(arm) or report["controls"][arm]
        assert len(own) == 12 * 4 and cell["problems"] == 12 and cell["seeds"] == 1
        assert math.isclose(cell["accuracy"], right[arm].mean(), abs_tol=1e-9)
        assert math.isclose(cell["se"], right[arm].std(ddof=1) / math.sqrt(12), abs_tol=1e-9)
        assert math.isclose(cell["generated_per_problem"], sum(r["tokens"] for r in own) / 12, abs_tol=1e-9)
    none, prune, steer, both = (right[cell] for cell in CELLS)
    for name, values in {
        "steer": (steer + both - none - prune) / 2,
        "prune": (prune + both - none - steer) / 2,
        "interaction": both - steer - prune + none,
    }.items():
        found = report["effects"][name]
        assert math.isclose(found["points"], 100 * values.mean(), abs_tol=1e-9)
        assert math.isclose(found["se"], values.std(ddof=1) / math.sqrt(12), abs_tol=1e-9)
        assert found["verdict"] in ("effect", "no effect")
    for found in report["rounds"]:
        steps = [step for row in rows if row["policy"] == found["policy"] for step in row["steps"]]
        rate = sum(not step["valid"] for step in steps) / len(steps)
        assert found["invalid_steps"]["steps"] == len(steps)
        assert math.isclose(found["invalid_steps"]["value"], rate, abs_tol=1e-9)
        share = np.mean([row["correct"] for row in rows if row["policy"] == found["policy"]])
        assert math.isclose(found["pass_at_1"]["value"], share, abs_tol=1e-9)
    assert report["rules"]["off"] in ("vote", "best/confidence")


def test_rows_say_what_a_reader_needs(whole: Path) -> None:
    from ponder.tasks import load_task

    task = load_task("countdown", {"numbers": 2, "high": 20, "split": "test"})
    for row in read(whole):
        assert row["correct"] is task.verify(row["problem"], row["text"]).correct
        assert row["problem"] == f"countdown:{row['target']}:{'-'.join(map(str, row['numbers']))}"
        assert "".join(step["text"] for step in row["steps"]) == row["text"]
        assert len(row["ids"]) == row["tokens"] and set(row["scores"]) == {"prm", "confidence", "random"}
        assert all(0 <= step["score"] <= 1 and isinstance(step["valid"], bool) for step in row["steps"])
        assert not row["steps"] or row["steps"][-1]["score"] == row["score"]


def test_checkpoints_are_ordinary(whole: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ponder.scorers.checkpoint import load

    for name in ("base", "steered", "zero", "shuffled"):
        AutoModelForCausalLM.from_pretrained(whole / "checkpoints" / name)
        assert AutoTokenizer.from_pretrained(whole / "checkpoints" / name)("1 + 2")["input_ids"]
    weights = [
        (whole / "checkpoints" / name / "model.safetensors").read_bytes() for name in ("base", "zero", "steered")
    ]
    assert weights[0] == weights[1] != weights[2]
    assert load(whole / "checkpoints" / "prm", "cpu").sheet.kind == "implicit"


def test_the_page_stands_alone(whole: Path) -> None:
    text = (whole / "report.html").read_text()
    assert "<script" not in text and 'src="' not in text and "<svg" in text and "prefers-color-scheme: dark" in text
    for words in ("steering off", "pruning on", "What it cost", "invalid steps"):
        assert words in text


def test_a_finished_run_is_not_done_again(whole: Path, recipe: Path) -> None:
    before = (whole / "report.json").read_text()
    assert ponder("loop", "--out", whole, "--resume").status == 0
    assert (whole / "report.json").read_text() == before
    refused = ponder("loop", "--out", whole, "--resume", "--seed", 5)
    assert refused.status == 2 and "seed was 0, now 5" in refused.err
    refused = ponder("loop", recipe, "--out", whole)
    assert refused.status == 2 and "add --resume" in refused.err


def test_a_killed_run_ends_with_the_same_digest(whole: Path, recipe: Path) -> None:
    draw = random.Random(time.time_ns())
    folder = recipe.parent / "killed"
    for longest in (4.0, 8.0):
        process = started("loop", recipe, "--out", folder, "--resume", env=ENV)
        end = time.monotonic() + 30
        while not (folder / "recipe.toml").exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, longest))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = apart("loop", recipe, "--out", folder, "--resume", "--json", env=ENV)
    assert done.status == 0, done.err
    assert done.json["digest"] == json.loads((whole / "report.json").read_text())["digest"]


def test_interrupted_it_says_how_to_go_on(recipe: Path) -> None:
    folder = recipe.parent / "interrupted"
    process = started("loop", recipe, "--out", folder, env=ENV)
    end = time.monotonic() + 30
    while not (folder / "base" / "metrics.jsonl").exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert f"ponder loop {recipe} --out {folder} --resume" in err
