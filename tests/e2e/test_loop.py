"""`ponder loop` on a recipe so short that nothing is learned well: what it leaves, and that being killed does not
matter."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import ROOT, apart, ponder, started

pytest.importorskip("torch", reason="needs ponder[local]")

SHORT = """\
controls = ["random", "zero", "shuffled"]
[task]
numbers = 3
high = 9
high_target = 20
most = 20
train_problems = 120
held_out = 60
test_problems = 12
[model]
words = 20
hidden = 32
heads = 2
mlp = 64
context = 40
[base]
demonstrations = 2
steps = 800
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
CONTROLS = ("off_prune_random", "on_prune_random", "zero_prune_off", "shuffled_prune_off")
STUDENTS = [f"{name}_prune_off" for name in ("student", "student-random")]
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
    done = apart("loop", recipe, "--out", folder, "--jobs", 1, "--json", env=ENV)
    assert done.status == 0, done.err
    assert done.json == json.loads((folder / "report.json").read_text())
    told = [line.split(":")[0] for line in done.err.splitlines()]  # a slow machine tells more than one line of a phase
    named = list(dict.fromkeys(told))
    phases = "base steer chains-start value chains-steered prune distil steer-zero steer-shuffled settle"
    assert named == [*phases.split(), "compare-base", "compare-steered", "measure", "page"]
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
    searched = {arm for arm in arms if "/" in arm}
    assert set(arms) - searched == {*CELLS, *(f"steer_{name}" for name in CONTROLS), *STUDENTS}
    names = {"greedy", "vote", "confident", "off", "rerank", "weighted", "beam", "steered"}
    expected = {f"base/{name}/4" for name in (*names, "random")} | {f"steered/{name}/4" for name in names}
    assert searched == set(report["searches"]) == expected
    picked = Counter((row["problem"], arm) for row in rows for arm in row["picked"])
    answered = {(row["problem"], arm) for row in rows for arm in row["arms"] if row["answer"] is not None}
    assert set(picked.values()) == {1} and set(picked) <= answered
    # one steered chain may end without an answer, beside a step that was not taken and had one
    assert all(arm.split("/")[1:2] == ["steered"] for _, arm in answered - set(picked))
    assert all(set(row["picked"]) <= set(row["arms"]) for row in rows)

    right = {
        arm: np.array([sum(r["correct"] for r in rows if r["problem"] == p and arm in r["picked"]) for p in problems])
        for arm in arms
    }
    for arm in searched:
        own = [row for row in rows if arm in row["arms"]]
        cell = report["searches"][arm]
        assert cell["problems"] == len({row["problem"] for row in own}) == 8
        assert math.isclose(cell["accuracy"], right[arm].sum() / 8, abs_tol=1e-9)
        assert math.isclose(cell["generated_per_problem"], sum(r["tokens"] for r in own) / 8, abs_tol=1e-9)
        paid = sum(r["scorer_tokens"] for r in own) / 8
        assert math.isclose(cell["scorer_per_problem"], paid, abs_tol=1e-9)
        assert (paid > 0) == (arm.split("/")[1] in ("rerank", "weighted", "beam", "random", "steered"))
    for arm in (*CELLS, *(f"steer_{name}" for name in CONTROLS)):
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
    measured = [row for row in rows if not any("/" in arm for arm in row["arms"])]
    for found in report["rounds"]:
        steps = [step for row in measured if row["policy"] == found["policy"] for step in row["steps"]]
        rate = sum(not step["valid"] for step in steps) / len(steps)
        assert found["invalid_steps"]["steps"] == len(steps)
        assert math.isclose(found["invalid_steps"]["value"], rate, abs_tol=1e-9)
        share = np.mean([row["correct"] for row in measured if row["policy"] == found["policy"]])
        assert math.isclose(found["pass_at_1"]["value"], share, abs_tol=1e-9)
    assert report["rules"]["off"] in ("vote", "best/confidence")


def test_the_report_advises(whole: Path) -> None:
    """As `ponder advise` does on the run's rows."""
    report = json.loads((whole / "report.json").read_text())
    (document,) = report["advice"].values()
    done = ponder("advise", whole, "--arm", "steer_on_prune_on", "--scorer", "guide", "--json")
    assert done.status == 0, done.err
    assert done.json["levers"] == document["levers"]
    assert done.json["length"] == document["length"]
    assert [(row["policy"], row["taste"]) for row in report["track"]] == [
        (when, taste) for when in ("before steering", "after steering") for taste in ("random", "confidence", "guide")
    ]
    assert len({row["l_star"]["value"] for row in report["track"][:3]}) == 1, "steps are the policy's, not the taste's"
    alone = ponder("advise", whole, "--json")
    assert alone.status == 0, alone.err
    assert "steer_off_prune_off is judged (48 rows)" in alone.err


def test_rows_say_what_a_reader_needs(whole: Path) -> None:
    from ponder.tasks import load_task

    task = load_task("countdown", {"numbers": 3, "most": 20, "high_target": 20, "split": "test"})
    for row in read(whole):
        if row["finish"] != "step":
            assert row["correct"] is task.verify(row["problem"], row["text"]).correct
        else:
            assert row["correct"] is False and any(
                "/beam/" in arm or "/random/" in arm or "/steered/" in arm for arm in row["arms"]
            )
        assert row["problem"] == f"countdown:{row['target']}:{'-'.join(map(str, row['numbers']))}"
        assert "".join(step["text"] for step in row.get("steps", [])) in ("", row["text"])
        if any("/" in arm for arm in row["arms"]):
            continue
        assert len(row["ids"]) == row["tokens"] and set(row["scores"]) == {"guide", "confidence", "random"}
        if "student" in row["policy"] or row["policy"] in ("zero", "shuffled"):  # no arm asks the guide
            assert row["score"] is None and all(step["score"] is None for step in row["steps"])
            continue
        assert all(0 <= step["score"] <= 1 and isinstance(step["valid"], bool) for step in row["steps"])


def test_checkpoints_are_ordinary(whole: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ponder.engines import load_engine
    from ponder.engines.base import Request
    from ponder.scorers.checkpoint import load
    from ponder.tasks import load_task
    from ponder.types import Sampling

    for name in ("base", "steered", "zero", "shuffled", "student", "student-random"):
        folder = whole / "checkpoints" / name
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        task = load_task("countdown", {"numbers": 3, "most": 20, "high_target": 20, "split": "test"})
        engine = load_engine(str(folder), Sampling(temperature=0.0, max_tokens=24), settings={"dtype": "float32"})
        problems = list(task.problems(8))
        asked = [Request(problem.id, problem.root, ("e0",), (0,), 24) for problem in problems]
        for problem, result in zip(problems, engine.generate(asked), strict=True):
            prompt = tokenizer(problem.text, return_tensors="pt")
            ids = model.generate(**prompt, do_sample=False, max_new_tokens=24)[
                0, prompt["input_ids"].shape[1] :
            ].tolist()
            assert [token for segment in result.outputs[0].segments for token in segment.ids] == ids
    weights = [
        (whole / "checkpoints" / name / "model.safetensors").read_bytes() for name in ("base", "zero", "steered")
    ]
    assert weights[0] == weights[1] != weights[2]
    assert load(whole / "checkpoints" / "prm", "cpu").sheet.kind == "implicit"
    assert load(whole / "checkpoints" / "value", "cpu").sheet.kind == "value"


def test_the_page_stands_alone(whole: Path) -> None:
    text = (whole / "report.html").read_text()
    assert "<script" not in text and 'src="' not in text and "<svg" in text and "prefers-color-scheme: dark" in text
    for words in (
        "steering off",
        "pruning on",
        "What it cost",
        "invalid steps",
        "at equal tokens",
        "student",
        "after steering",
    ):
        assert words in text


def test_a_finished_run_is_not_done_again(whole: Path, recipe: Path) -> None:
    before = (whole / "report.json").read_text()
    assert ponder("loop", "--out", whole, "--resume").status == 0
    assert (whole / "report.json").read_text() == before
    refused = ponder("loop", "--out", whole, "--resume", "--seed", 5)
    assert refused.status == 2 and "seed was 0, now 5" in refused.err
    refused = ponder("loop", recipe, "--out", whole)
    assert refused.status == 2 and "add --resume" in refused.err


def test_a_killed_run_ends_with_the_same_digest(whole: Path, recipe: Path, tmp_path: Path) -> None:
    """20 kills -9 over two runs."""
    command = [sys.executable, str(ROOT / "tests" / "e2e" / "kills.py"), str(recipe), str(tmp_path), "2", "10"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ENV}, timeout=800)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["killed"] == [told["whole"]] * 2
    assert told["whole"] == json.loads((whole / "report.json").read_text())["digest"]
    assert told["kills"] >= 10, told  # a machine that became faster may have ended before the last of them


def test_phases_side_by_side_give_the_same_and_do_not_outlive_the_run(whole: Path, recipe: Path) -> None:
    """The run is killed as soon as two phases are under way; then nothing of it may go on, or write."""
    folder = recipe.parent / "side"
    process = started("loop", recipe, "--out", folder, "--jobs", 2, env=ENV)
    end = time.monotonic() + 60
    while not (folder / "chains-start").exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    own = [int(pid) for pid in workers.read_text().split()] if workers.exists() else []
    process.send_signal(signal.SIGKILL)
    process.communicate()
    while any(Path(f"/proc/{pid}/stat").exists() for pid in own) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(Path(f"/proc/{pid}/stat").exists() for pid in own)
    done = apart("loop", recipe, "--out", folder, "--jobs", 2, "--resume", "--json", env=ENV)
    assert done.status == 0, done.err
    assert done.json["digest"] == json.loads((whole / "report.json").read_text())["digest"]


def test_two_rounds_and_two_seeds(recipe: Path, tmp_path: Path) -> None:
    small = ("prune.steps=5", "steer.steps=2", "distil.steps=4", "value.steps=5", "measure.samples=8", "controls=[]")
    settings = [word for pair in (*small, "rounds=2") for word in ("--set", pair)]
    folder = tmp_path / "seeds"
    done = apart("loop", recipe, "--out", folder, "--seeds", 2, "--json", *settings, env=ENV, timeout=800)
    assert done.status == 0, done.err
    report, rows = done.json, read(folder)
    assert {row["problem"].partition("/")[0] for row in rows} == {"seed-0", "seed-1"}
    assert {row["seed"] for row in rows} == {0, 1}
    assert [own["policy"] for own in report["rounds"]] == ["base", "steered", "student", "steered-2", "student-2"]
    assert [own["start"] for own in report["distilled"]] == ["base", "student"]
    assert report["two_by_two"][CELLS[0]]["problems"] == 24 and report["two_by_two"][CELLS[0]]["seeds"] == 2
    parts = [json.loads((folder / f"seed-{seed}" / "report.json").read_text()) for seed in (0, 1)]
    for name, found in report["over_seeds"].items():
        if name in report["effects"]:
            assert found["by_seed"] == [part["effects"][name]["points"] for part in parts]
    assert {row["policy"] for row in rows if "steer_on_prune_on" in row["arms"]} == {"steered-2"}
    again = ponder("loop", "--out", folder, "--resume", "--json")
    assert again.status == 0 and again.json["digest"] == report["digest"]


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
