"""GRPO with mathematics verdicts, end to end: the shipped recipe on a tiny model."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from running import ROOT, ponder, report, rows

pytest.importorskip("torch", reason="needs ponder[local]")
pytest.importorskip("math_verify", reason="needs ponder[math]")

RECIPE = ROOT / "recipes" / "train" / "terms.toml"
PROBLEMS = ROOT / "recipes" / "train" / "terms.jsonl"
SMALL = {
    "steer.steps": 4, "steer.every": 1, "steer.max_tokens": 12, "steer.optimiser.lr": 1e-3, "steer.optimiser.warmup": 1,
    "measure.max_tokens": 12, "measure.samples": 4, "problems.train": 80, "problems.test": 40,
}  # fmt: skip


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that writes the two terms, in either order or split, and is often wrong about their sizes."""
    from ponder.models.tiny import number_words, save, tiny_llama, word_tokenizer

    folder = tmp_path_factory.mktemp("terms")
    tokenizer = word_tokenizer([*number_words(18), "Simplify", "x", "y", "+", ".", r"\boxed{", "}"])
    model = tiny_llama(tokenizer, hidden=32, layers=2, heads=2, mlp=64, context=32)
    save(folder / "raw", model, tokenizer)
    shipped = {json.loads(line)["problem"] for line in PROBLEMS.read_text().splitlines()}
    with (folder / "data.jsonl").open("w") as file:
        for number, (a, b, c) in enumerate(product(range(1, 10), repeat=3)):
            problem = f"Simplify {a} x + {b} y + {c} x ."
            written = [f"{a + c} x + {b} y", f"{b} y + {a + c} x", f"{a} x + {b} y + {c} x"][number % 3]
            if problem not in shipped:
                row = {"problem": problem, "completion": rf"\boxed{{ {written} }}"}
                file.write(json.dumps(row) + "\n")
    sft = folder / "sft.toml"
    sft.write_text(
        f'model = "{folder / "raw"}"\ntask = "{PROBLEMS}"\nthreads = 1\n[problems]\ntrain = 80\ntest = 10\n'
        f'[measure]\nsamples = 1\nmax_tokens = 12\n[sft]\ndata = "{folder / "data.jsonl"}"\nsteps = 250\nbatch = 32\n'
        "every = 250\noptimiser = {lr = 1e-2, warmup = 10}\n"
    )
    done = ponder("train", "sft", sft, "--out", folder / "sft")
    assert done.status == 0, done.err
    return folder / "sft" / "checkpoints" / "policy"


def test_the_recipe_steers_by_mathematics(taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # the recipe names its problems from here
    settings = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    done = ponder("train", "steer", RECIPE, "--set", f"model={taught}", *settings, "--out", tmp_path / "run")
    assert done.status == 0, done.err
    found, own = report(tmp_path / "run"), rows(tmp_path / "run")
    rewards = [part["reward"] for part in found["by_step"]]
    assert len(rewards) == 4 and 0 < max(rewards) < 1  # groups with a range: there is something to learn from
    correct = [row for row in own if row["correct"]]
    assert correct and all(row["verdict"] in ("correct", "wrong") for row in own if "verdict" in row)
    # Answers that are no plain numbers, written otherwise than the reference, earned their reward.
    assert any(row["answer"] and "y" in row["answer"].split("+")[0] for row in correct)
    assert (tmp_path / "run" / "checkpoints" / "policy" / "config.json").is_file()
