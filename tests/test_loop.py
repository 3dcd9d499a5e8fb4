"""The loop: recipes are checked whole, and the report is a function of the sample rows."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import ROOT, ponder

pytest.importorskip("torch", reason="needs ponder[local]")

from ponder.errors import UsageError
from ponder.folder import to_toml
from ponder.loop import figures
from ponder.loop.recipe import DEFAULT, parse, read


def test_the_default_is_the_recipe_that_is_shown() -> None:
    assert (ROOT / "recipes" / "loop.toml").read_text(encoding="utf-8") == DEFAULT
    assert read(None) == read(ROOT / "recipes" / "loop.toml")


def test_a_recorded_recipe_is_the_recipe() -> None:
    found = read(None, seed=7)
    assert found.seed == found.base.config.seed == found.steer.config.seed == found.prune.config.seed == 7
    assert parse(tomllib.loads(to_toml(found.as_dict()))) == found


def test_what_a_table_leaves_out_is_as_the_method_has_it() -> None:
    found = parse({"base": {"optimiser": {"lr": 0.5}}}).base.config
    assert found.optimiser.lr == 0.5 and found.optimiser.warmup == 50 and found.steps == 1000


BAD = [
    ("group = 8", "group = 1", "steer.group", "at least 2"),
    ("hidden = 64", "hiden = 64", "model.hiden", "did you mean 'hidden'"),
    ("{lr = 4e-3", "{lrr = 4e-3", "base.optimiser.lrr", "did you mean 'lr'"),
    ("steps = 2400", 'steps = "many"', "base.steps", "whole number"),
    ("steps = 2400", "steps = true", "base.steps", "whole number"),
    ("train_problems = 3000", "train_problems = 60000", "task.train_problems", "overlap"),
    ("most = 30", 'split = "test"', "task.split", "overlap"),
    ("test_problems = 300", "test_problems = 99999", "task.test_problems", "exist"),
    ("seed = 0", "seed = 1.5", "seed", "whole number"),
    ("numbers = 4", "numbers = 9", "task.numbers", "2 to 6"),
    ("words = 30", "words = 20", "model.words", "up to 30"),
    ("heads = 4", "heads = 5", "model", "do not divide"),
    ('"grpo"', '"grp"', "steer.advantage", "'grpo'"),
    ("max_tokens = 40\nadvantage", "max_tokens = 99\nadvantage", "steer.max_tokens", "model.context"),
    ("problems = 3000                  #", "problems = 9000 #", "prune.problems", "3000"),
    ("batch = 64", "batch = 63", "prune.steps", "even"),
    ("rounds = 1", "rounds = 2", "rounds", "give 1"),
    ('["random"]', '["rndom"]', "controls", "did you mean 'random'"),
    ("[prune] ", "[prun] ", "prun", "did you mean 'prune'"),
    ("seed = 0", "seed = ", "", "not TOML"),
    ("[measure]", "[measure]\nseed = 3", "measure.seed", "at the top"),
    ("[base] ", "[base]\nseed = 3 # ", "base.seed", "at the top"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "where", "hint"), BAD, ids=[b[1].strip()[:30] for b in BAD])
def test_bad_recipes_are_refused_before_any_work(tmp_path: Path, old: str, new: str, where: str, hint: str) -> None:
    text, key = DEFAULT.replace(old, new, 1), where.rpartition(".")[2]
    assert text != DEFAULT
    file, out = tmp_path / "bad.toml", tmp_path / "run"
    file.write_text(text)
    done = ponder("loop", file, "--out", out)
    assert done.status == 2 and not out.exists()
    place = re.match(rf"ponder: {re.escape(str(file))}(?::(\d+))?: {re.escape(where)}", done.err)
    assert place and hint in done.err and done.err.count("\n") == 1, done.err
    assert place[1] and (key in text.splitlines()[int(place[1]) - 1]), done.err


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read(tmp_path / "none.toml")


# --- figures ------------------------------------------------------------------------------------------------------


def rows(draw: np.random.Generator, problems: int) -> list[dict[str, Any]]:
    """Two chains of each policy for each problem, and what four arms picked."""
    found: list[dict[str, Any]] = []
    for p in range(problems):
        for sample in range(4):
            policy, key = ("base", "off") if sample < 2 else ("steered", "on")
            picked = [f"steer_{key}_prune_{side}" for side, at in (("off", 0), ("on", 1)) if sample % 2 == at]
            found.append({
                "problem": f"p{p:03}", "sample": sample, "policy": policy, "seed": 0, "tokens": 5, "scorer_tokens": 3,
                "correct": bool(draw.random() < 0.3 + 0.2 * sample), "score": float(draw.random()), "picked": picked,
                "arms": [f"steer_{key}_prune_{side}" for side in ("off", "on")],
                "steps": [{"text": "a", "valid": bool(draw.random() < 0.5), "score": float(draw.random())}],
            })  # fmt: skip
    return found


def test_effects_are_paired_by_problem() -> None:
    made = rows(np.random.default_rng(0), 400)
    found = figures.figures(made)
    right = np.array([row["correct"] for row in made], dtype=float).reshape(400, 4)  # base off, on; steered off, on
    steer = (right[:, 2] + right[:, 3] - right[:, 0] - right[:, 1]) / 2
    assert math.isclose(found["effects"]["steer"]["points"], 100 * steer.mean(), rel_tol=1e-12)
    assert math.isclose(found["effects"]["steer"]["se"], steer.std(ddof=1) / 20, rel_tol=1e-12)
    assert found["effects"]["steer"]["verdict"] == "effect"
    both = right[:, 3] - right[:, 2] - right[:, 1] + right[:, 0]
    assert math.isclose(found["effects"]["interaction"]["points"], 100 * both.mean(), abs_tol=1e-9)
    cell = found["two_by_two"]["steer_off_prune_on"]
    assert (cell["generated_per_problem"], cell["scorer_per_problem"], cell["problems"]) == (10, 6, 400)
    assert found["two_by_two"]["steer_off_prune_off"]["scorer_per_problem"] == 0


def test_nothing_is_no_effect() -> None:
    assert figures.effect(np.zeros(9)) == {"points": 0.0, "se": 0.0, "verdict": "no effect"}
    assert figures.effect(np.ones(1))["verdict"] == "no effect"
    assert figures.effect(np.array([1.0, 1.0, 0.0] * 30))["verdict"] == "effect"


def test_the_digest_does_not_depend_on_the_order() -> None:
    made = rows(np.random.default_rng(1), 5)
    assert figures.digest(made) == figures.digest(made[::-1])
