"""`ponder train` on a tiny model: each method from a recipe to its report, being killed, and what is refused."""

from __future__ import annotations

import json
import math
import re
import signal
import time
import tomllib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import digest, ponder, report, rows, started

pytest.importorskip("torch", reason="needs ponder[local]")

TOP = """\
model = "{model}"
task = "countdown"
[settings]
numbers = 2
high = 20
[problems]
train = 120
held_out = 30
test = 20
[measure]
samples = 4
max_tokens = 12
"""
SFT = "[sft]\nsteps = 200\nbatch = 32\nevery = 100\noptimiser = {lr = 1e-2, warmup = 10}\n"
STEER = "[steer]\nsteps = 4\nproblems = 8\ngroup = 4\nmax_tokens = 12\nevery = 1\noptimiser = {lr = 1e-3, warmup = 1}\n"
DISTILL = "[distill]\nchains = 4\nsteps = 8\nbatch = 8\nevery = 4\noptimiser = {lr = 1e-3}\n"
PRUNE = "[prune]\nchains = 4\nsteps = 10\ncheck = 5\nbatch = 16\nbeta = 0.3\noptimiser = {lr = 2e-3}\n"
TABLES = {"sft": SFT, "steer": STEER, "distill": DISTILL, "prune": PRUNE}
ADAPTER = "[adapter]\nrank = 4\nalpha = 8\n"
ENV = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows nothing."""
    from ponder.models.tiny import arithmetic_words, save, tiny_llama, word_tokenizer

    tokenizer = word_tokenizer(arithmetic_words(30))
    folder = tmp_path_factory.mktemp("model") / "raw"
    save(folder, tiny_llama(tokenizer, hidden=32, layers=2, heads=2, mlp=64, context=32), tokenizer)
    return folder


def recipe(folder: Path, model: Path, method: str, more: str = "") -> Path:
    path = folder / f"{method}.toml"
    path.write_text(TOP.format(model=model) + TABLES[method] + more)
    return path


@pytest.fixture(scope="module")
def base(raw: Path) -> Path:
    """The run that taught it from worked solutions."""
    out = raw.parent / "sft"
    done = ponder("train", "sft", recipe(raw.parent, raw, "sft"), "--out", out)
    assert done.status == 0, done.err
    return out


@pytest.fixture(scope="module")
def policy(base: Path) -> Path:
    return base / "checkpoints" / "policy"


@pytest.fixture(scope="module")
def steered(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steer")
    done = ponder("train", "steer", recipe(folder, policy, "steer"), "--out", folder / "run")
    assert done.status == 0, done.err
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["before", "steer", "after", "checkpoint"]
    return folder / "run"


def greedy(folder: Path, prompt: str) -> str:
    """What transformers itself writes."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = (kind.from_pretrained(folder) for kind in (AutoTokenizer, AutoModelForCausalLM))
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    with torch.no_grad():
        found = model.generate(ids, do_sample=False, max_new_tokens=12)
    return str(tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True))


# --- what a run leaves --------------------------------------------------------------------------------------------


def test_imitating_worked_solutions_teaches_a_raw_model(base: Path) -> None:
    found = report(base)
    assert found["before"]["accuracy"] == 0 and found["after"]["accuracy"] > 0.1
    assert found["gain"]["points"] == pytest.approx(100 * found["after"]["accuracy"])
    assert [part["step"] for part in found["by_step"]] == [25, 50, 75, 100, 125, 150, 175, 200]
    assert found["by_step"][-1]["loss"] < found["by_step"][0]["loss"] / 2
    assert found["phases"]["sft"]["examples"] == 120


def test_the_report_comes_from_the_samples(steered: Path) -> None:
    found, own = report(steered), rows(steered)
    assert found["digest"] == digest(own)
    names = sorted({row["problem"] for row in own})
    assert len(names) == found["before"]["problems"] == 20
    assert len({(row["problem"], row["sample"]) for row in own}) == len(own) == 20 * 2 * (4 + 1)
    shares = {}
    for arm, policy in (("before", "base"), ("after", "trained")):
        chosen = [row for row in own if row["arms"] == [arm]]
        assert {row["policy"] for row in chosen} == {policy} and len(chosen) == 80
        shares[arm] = np.array([np.mean([r["correct"] for r in chosen if r["problem"] == name]) for name in names])
        assert math.isclose(found[arm]["accuracy"], shares[arm].mean(), abs_tol=1e-12)
        assert found[arm]["low"] <= found[arm]["accuracy"] <= found[arm]["high"]
        once = [row["correct"] for row in own if row["arms"] == [f"{arm}_greedy"]]
        assert math.isclose(found[f"greedy_{arm}"]["accuracy"], np.mean(once), abs_tol=1e-12)
    change = shares["after"] - shares["before"]
    assert math.isclose(found["gain"]["points"], 100 * change.mean(), abs_tol=1e-9)
    assert math.isclose(found["gain"]["se"], change.std(ddof=1) / math.sqrt(20), abs_tol=1e-12)
    assert {part["step"] for part in found["by_step"]} == {1, 2, 3, 4} and "reward" in found["by_step"][0]


def test_a_run_folder_holds_what_the_contract_names(steered: Path, policy: Path) -> None:
    wanted = {"recipe.toml", "environment.json", "metrics.jsonl", "samples.jsonl", "report.json", "checkpoints"}
    assert wanted <= {path.name for path in steered.iterdir()}
    resolved = tomllib.loads((steered / "recipe.toml").read_text())
    assert resolved["steer"]["steps"] == 4 and resolved["steer"]["loss"] == "dapo" and resolved["model"] == str(policy)
    steps = [json.loads(line) for line in (steered / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in steps] == [1, 2, 3, 4] and all(row["phase"] == "steer" for row in steps)
    assert list((steered / "steer").glob("events*"))


def test_the_checkpoint_is_transformers_own(steered: Path) -> None:
    from ponder.tasks import load_task

    task = load_task("countdown", {"numbers": 2, "high": 20, "split": "test"})
    texts = {problem.id: problem.text for problem in task.problems(20)}
    own = [row for row in rows(steered) if row["arms"] == ["after_greedy"]][:5]
    for row in own:
        assert greedy(steered / "checkpoints" / "policy", texts[row["problem"]]).strip() == row["text"].strip()


def test_a_killed_run_goes_on_to_the_same_digest(steered: Path, policy: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("train", "steer", recipe(tmp_path, policy, "steer"), "--out", out, "--resume")
    process = started(*arguments, env=ENV)
    while process.poll() is None and not (out / "steer" / "step-1").exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = ponder("train", "steer", "--out", out, "--resume", "--json")
    assert done.status == 0, done.err
    assert done.json["digest"] == report(steered)["digest"] and done.json == report(out)


def test_another_seed_is_another_run(steered: Path, policy: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = ponder("train", "steer", recipe(tmp_path, policy, "steer"), "--out", out, "--seed", 1, "--set",
                  "steer.steps=1", "--set", "measure.greedy=false")  # fmt: skip
    assert done.status == 0, done.err
    assert {row["problem"] for row in rows(out)} == {row["problem"] for row in rows(steered)}
    assert report(out)["digest"] != report(steered)["digest"] and "greedy_gain" not in report(out)
    again = ponder("train", "steer", "--out", out, "--resume", "--seed", 2)
    assert again.status == 2 and "seed was 1, now 2" in again.err


def test_an_adapter_is_kept_and_merged(policy: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="needs ponder[local]")
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from ponder.training.recipe import LINEARS

    out = tmp_path / "run"
    done = ponder("train", "steer", recipe(tmp_path, policy, "steer", ADAPTER), "--out", out, "--set",
                  "steer.optimiser.lr=1e-2")  # fmt: skip
    assert done.status == 0, done.err
    merged = AutoModelForCausalLM.from_pretrained(out / "checkpoints" / "policy")
    start = AutoModelForCausalLM.from_pretrained(policy)
    assert {name for name, _ in merged.named_parameters()} == {name for name, _ in start.named_parameters()}
    ids = torch.arange(2, 12)[None]
    with torch.no_grad():
        before = start(ids).logits
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of peft against transformers
            adapted = PeftModel.from_pretrained(start, out / "checkpoints" / "adapter")
        torch.testing.assert_close(merged(ids).logits, adapted(ids).logits, rtol=1e-4, atol=1e-4)
        assert (merged(ids).logits - before).abs().max() > 1e-3
    before = dict(AutoModelForCausalLM.from_pretrained(policy).named_parameters())
    changed = {name.split(".")[-2] for name, value in merged.named_parameters() if not torch.equal(value, before[name])}
    assert changed == set(LINEARS)


def test_what_is_computed_again_changes_nothing(steered: Path, policy: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = ponder("train", "steer", recipe(tmp_path, policy, "steer"), "--out", out, "--set",
                  "machine.checkpointing=true")  # fmt: skip
    assert done.status == 0, done.err
    losses = [[part["loss"] for part in report(folder)["by_step"]] for folder in (steered, out)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_distilling_what_was_sampled(policy: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = ponder("train", "distill", recipe(tmp_path, policy, "distill"), "--out", out)
    assert done.status == 0, done.err
    found = report(out)["phases"]
    assert found["sample"]["chains"] == 480 and 0 < found["distill"]["chosen"] <= found["distill"]["chains"]
    assert found["distill"]["chosen_correct"] == 1
    # The same rows, named in the recipe, are the same training: what is learned from is read from the disk either way.
    other = tmp_path / "other"
    more = ponder("train", "distill", tmp_path / "distill.toml", "--out", other, "--set",
                  f"distill.samples={out / 'sample' / 'samples.jsonl'}")  # fmt: skip
    assert more.status == 0, more.err
    assert "sample" not in report(other)["phases"] and report(other)["digest"] == report(out)["digest"]


def test_the_scorer_of_a_pruning_loads(policy: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = ponder("train", "prune", recipe(tmp_path, policy, "prune"), "--out", out)
    assert done.status == 0, done.err
    found = report(out)
    assert set(found["rules"]) == {"vote", "best/prm", "weighted/prm", "weighted/random"}
    assert found["phases"]["prune"]["chains"] == 480 and found["phases"]["prune"]["held_out"] == 120
    own = rows(out)
    assert len(own) == 80 and all(0 <= row["score"] <= 1 and row["scorer_tokens"] > 0 for row in own)
    for rule in found["rules"]:
        hits = sum(row["correct"] for row in own if rule in row["picked"])
        assert math.isclose(found["rules"][rule]["accuracy"], hits / 20, abs_tol=1e-12)
    used = ponder("eval", "--model", policy, "--task", "countdown", "--set", "countdown.numbers=2", "--set",
                  "countdown.high=20", "--scorer", "prm", "--select", "best", "--samples", 2, "--limit", 2,
                  "--max-tokens", 12, "--set", f"prm.path={out / 'checkpoints' / 'prm'}", "--out", tmp_path / "eval",
                  "--json")  # fmt: skip
    assert used.status in (0, 3), used.err


@pytest.mark.parametrize("kind", ["orm", "prm", "pairwise"])
def test_heads_are_trained_too(policy: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "run"
    done = ponder("train", "prune", recipe(tmp_path, policy, "prune"), "--out", out, "--set", f"prune.kind={kind}")
    assert done.status == 0, done.err
    assert json.loads((out / "checkpoints" / "prm" / "scorer.json").read_text())["kind"] == kind


def test_completions_of_a_file_are_imitated(policy: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    lines = [{"problem": "9 : 4 5 ;", "completion": "4 + 5 = 9"}, {"prompt": "8 : 4 4 ;", "completion": "4 + 4 = 8"}]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = ponder("train", "sft", recipe(tmp_path, policy, "sft"), "--out", tmp_path / "run", "--set",
                  f"sft.data={data}", "--set", "sft.steps=40", "--set", "sft.batch=2")  # fmt: skip
    assert done.status == 0, done.err
    assert report(tmp_path / "run")["phases"]["sft"]["examples"] == 2
    assert greedy(tmp_path / "run" / "checkpoints" / "policy", "9 : 4 5 ;") == "4 + 5 = 9"


# --- what is refused ----------------------------------------------------------------------------------------------

BAD: list[tuple[str, str, str, str, str]] = [
    ("steer", "group = 4", "group = 1", "steer.group", "at least 2"),
    ("steer", "group = 4", "grop = 4", "steer.grop", "did you mean 'group'"),
    ("steer", "[steer]", "[sft]", "sft", "table of `ponder train sft`"),
    ("steer", "[steer]", "[stear]", "stear", "did you mean 'steer'"),
    ("steer", "lr = 1e-3", "lrr = 1e-3", "steer.optimiser.lrr", "did you mean 'lr'"),
    ("steer", 'model = "', 'model = "./absent', "model", "no such folder"),
    ("steer", 'task = "countdown"', 'task = "countdwn"', "task", "did you mean 'countdown'"),
    ("steer", "numbers = 2", "nmbers = 2", "settings.nmbers", "did you mean 'numbers'"),
    ("steer", "numbers = 2", 'split = "test"', "settings.split", "overlap"),
    ("steer", "train = 120", "train = 99999", "problems.train", "exist"),
    ("steer", "samples = 4", "samples = 0", "measure.samples", "at least 1"),
    ("steer", "group = 4", "group = 4\nshuffled = true", "steer.shuffled", "control"),
    ("steer", "group = 4", "group = 4\nseed = 3", "steer.seed", "at the top"),
    ("prune", "held_out = 30", "held_out = 0", "problems.held_out", "at least 1"),
    ("prune", "batch = 16", "batch = 15", "prune.steps", "even"),
    ("distill", "chains = 4", 'by = "verdct"', "distill.by", "verdict"),
    ("distill", "chains = 4", 'scorer = "prm"', "distill.scorer", "path"),
    ("distill", "chains = 4", "share = 0", "distill.share", "above 0"),
    ("distill", "chains = 4", 'samples = "none.jsonl"', "distill.samples", "no such file"),
    ("sft", "batch = 32", "batch = 0", "sft.batch", "at least 1"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "old", "new", "where", "hint"), BAD, ids=[f"{b[0]}: {b[2][:30]}" for b in BAD])
def test_bad_recipes_are_refused_before_any_work(
    raw: Path, tmp_path: Path, method: str, old: str, new: str, where: str, hint: str
) -> None:
    path = recipe(tmp_path, raw, method)
    text = path.read_text().replace(old, new, 1)
    path.write_text(text)
    done = ponder("train", method, path, "--out", tmp_path / "run")
    assert done.status == 2 and not (tmp_path / "run").exists()
    place = re.match(rf"ponder: {re.escape(str(path))}(?::(\d+))?: {re.escape(where)}", done.err)
    assert place and hint in done.err and done.err.count("\n") == 1, done.err
    assert place[1] and where.rpartition(".")[2] in text.splitlines()[int(place[1]) - 1], done.err


def test_what_is_missing_is_named(raw: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, raw, "steer")
    whole = path.read_text()
    path.write_text(whole[: whole.index("[steer]")])
    assert "has no table [steer]" in ponder("train", "steer", path).err
    path.write_text(whole.replace(f'model = "{raw}"\n', ""))
    done = ponder("train", "steer", path)
    assert done.status == 2 and "model is missing" in done.err
    assert "did you mean 'steer'" in ponder("train", "ster", path).err
    assert "no recipe" in ponder("train", "steer").err
    told = ponder("train", "steer", path, "--set", f"model={raw}", "--set", "steer.group=1")
    assert "--set steer.group = 1" not in told.out and "--set steer.group" in told.err


def rowsfile(path: Path, **fields: Any) -> Path:
    path.write_text(json.dumps({"problem": "countdown:9:4-5", "text": "4 + 5 = 9", "correct": True, **fields}) + "\n")
    return path


def test_rows_on_test_problems_are_refused(base: Path, policy: Path, tmp_path: Path) -> None:
    name = rows(base)[0]["problem"]
    for method in ("distill", "prune"):
        data = rowsfile(tmp_path / "rows.jsonl", problem=name)
        done = ponder("train", method, recipe(tmp_path, policy, method), "--out", tmp_path / "run", "--set",
                      f"{method}.samples={data}")  # fmt: skip
        assert done.status == 2 and f"{data}:1: " in done.err and "overlap" in done.err
    data = rowsfile(tmp_path / "rows.jsonl", problem="countdown:1:1-1")
    done = ponder("train", "distill", recipe(tmp_path, policy, "distill"), "--set", f"distill.samples={data}")
    assert done.status == 2 and "no training problem" in done.err and not (tmp_path / "run").exists()


def test_completions_for_test_problems_are_refused(raw: Path, tmp_path: Path) -> None:
    from ponder.tasks import load_task

    task = load_task("countdown", {"numbers": 2, "high": 20, "split": "test"})
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps({"problem": next(task.problems(1)).text, "completion": "x"}) + "\n")
    done = ponder("train", "sft", recipe(tmp_path, raw, "sft"), "--out", tmp_path / "run", "--set", f"sft.data={data}")
    assert done.status == 2 and f"{data}:1: " in done.err and "overlap" in done.err and not (tmp_path / "run").exists()


def test_a_prompt_that_leaves_no_room_is_refused(raw: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, raw, "steer")
    done = ponder("train", "steer", path, "--out", tmp_path / "run", "--set", "measure.max_tokens=30")
    assert done.status == 2 and "measure.max_tokens" in done.err and "32 of context" in done.err
