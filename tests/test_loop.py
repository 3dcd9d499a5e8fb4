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
from scipy import stats

pytest.importorskip("torch", reason="needs ponder[local]")

from ponder.errors import UsageError
from ponder.folder import to_toml
from ponder.loop import figures, searches, tree
from ponder.loop.recipe import DEFAULT, parse, read


def test_the_default_is_the_recipe_that_is_shown() -> None:
    assert (ROOT / "recipes" / "loop.toml").read_text(encoding="utf-8") == DEFAULT
    assert read(None) == read(ROOT / "recipes" / "loop.toml")


def test_a_recorded_recipe_is_the_recipe() -> None:
    found = read(None, {"seed": 7})
    methods = (found.base, found.steer, found.prune, found.value, found.distil)
    assert found.seed == 7 and {method.config.seed for method in methods} == {7}
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
    ("test_problems = 600", "test_problems = 99999", "task.test_problems", "exist"),
    ("seed = 0", "seed = 1.5", "seed", "whole number"),
    ("numbers = 4", "numbers = 9", "task.numbers", "2 to 6"),
    ("fold = 2", "fold = 3", "task.fold", "0 to 2"),
    ("numbers = 4", "numbers = 2", "task.numbers", "at least 3"),
    ("words = 30", "words = 20", "model.words", "up to 30"),
    ("heads = 4", "heads = 5", "model", "do not divide"),
    ('"maxrl"', '"maxr"', "steer.advantage", "'maxrl'"),
    ("max_tokens = 40\nadvantage", "max_tokens = 99\nadvantage", "steer.max_tokens", "model.context"),
    ("problems = 3000                  #", "problems = 9000 #", "prune.problems", "3000"),
    ("batch = 64", "batch = 63", "prune.steps", "even"),
    ("rounds = 1", "rounds = 0", "rounds", "at least 1"),
    ("seeds = 1", "seeds = 0", "seeds", "at least 1"),
    ('by = "score"', 'by = "scor"', "distil.by", "'score'"),
    ("share = 0.5", "share = 0.0", "distil.share", "above 0"),
    ("problems = 2000 ", "problems = 3001 ", "distil.problems", "prune.problems"),
    ("samples = [8]", "samples = [2]", "compare.samples", "three waves"),
    ("samples = [8]", "samples = 8", "compare.samples", "whole numbers"),
    ("problems = 300 ", "problems = 601 ", "compare.problems", "test_problems"),
    ("pilot = 64", "pilot = 201", "compare.pilot", "held_out"),
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
    assert figures.digest(figures.written(made)) == figures.digest(figures.written(made[::-1]))


def test_over_seeds_there_is_a_t_interval() -> None:
    made = [row | {"seed": seed, "problem": f"seed-{seed}/{row['problem']}"}
            for seed in range(3) for row in rows(np.random.default_rng(seed), 50)]  # fmt: skip
    found = figures.figures(made)
    each = [figures.figures([r for r in made if r["seed"] == seed])["effects"]["prune"]["points"] for seed in range(3)]
    expected = stats.ttest_1samp(each, 0).confidence_interval(0.99)
    over = found["over_seeds"]["prune"]
    assert over["by_seed"] == each and math.isclose(over["mean"], np.mean(each), rel_tol=1e-12)
    assert math.isclose(over["low"], expected.low) and math.isclose(over["high"], expected.high)
    assert found["two_by_two"]["steer_off_prune_on"]["seeds"] == 3
    assert math.isclose(found["effects"]["prune"]["points"], np.mean(each), rel_tol=1e-9)  # as many problems each


def searched(policy: str, name: str, right: bool, problem: str) -> dict[str, Any]:
    arm = f"{policy}/{name}/8"
    return {"problem": problem, "sample": 0, "policy": policy, "seed": 0, "tokens": 7, "scorer_tokens": 4,
            "correct": right, "arms": [arm], "picked": [arm]}  # fmt: skip


def test_searches_are_compared_by_problem_and_scorers_are_paid() -> None:
    draw = np.random.default_rng(3)
    made = rows(draw, 40)
    for p in range(30):  # of the 40
        for policy in ("base", "steered"):
            for name in ("off", "vote", "weighted", "beam"):
                made.append(searched(policy, name, bool(draw.random() < 0.5), f"p{p:03}"))
    found = figures.figures(made)
    assert found["searches"]["base/vote/8"]["scorer_per_problem"] == 0
    assert found["searches"]["base/beam/8"]["scorer_per_problem"] == 4
    right = {row["arms"][0] + row["problem"]: row["correct"] for row in made if "/" in row["arms"][0]}
    own = [right[f"base/beam/8p{p:03}"] - right[f"base/weighted/8p{p:03}"] for p in range(30)]
    (told,) = [c for c in found["comparisons"] if (c["arm"], c["against"]) == ("base/beam/8", "base/weighted/8")]
    assert math.isclose(told["points"], 100 * np.mean(own)) and math.isclose(told["se"], np.std(own, ddof=1) / 30**0.5)
    both = found["charged"]["8"]["beam"]
    assert both["two_by_two"]["steer_on_prune_on"] == found["searches"]["steered/beam/8"]
    assert both["two_by_two"]["steer_off_prune_off"] == found["searches"]["base/off/8"]
    assert found["effects"] == figures.figures(rows(np.random.default_rng(3), 40))["effects"]  # apart from the 2×2


def test_a_student_is_held_against_its_control() -> None:
    made = rows(np.random.default_rng(4), 30)
    for p in range(30):
        for policy, right in (("student", p < 20), ("student-random", p < 5)):
            made.append(searched(policy, "x", right, f"p{p:03}") | {"policy": policy, "arms": [f"{policy}_prune_off"],
                        "picked": [], "steps": [], "score": None})  # fmt: skip
    (found,) = figures.figures(made)["distilled"]
    assert math.isclose(found["over_control"]["points"], 100 * 15 / 30)
    base = [
        np.mean([r["correct"] for r in made if r["problem"] == f"p{p:03}" and r["policy"] == "base"]) for p in range(30)
    ]
    assert math.isclose(found["gain"]["points"], 100 * (20 / 30 - np.mean(base)))
    named = [own["policy"] for own in figures.figures(made)["rounds"]]
    assert named == ["base", "steered", "student"]  # the control is none


# --- searches and trees -------------------------------------------------------------------------------------------


def test_a_tree_has_the_shape_of_its_width() -> None:
    from ponder.search.beam import read as shape_of

    assert searches.shape(8, 4) == "8/3,12/4,5"
    assert searches.shape(32, 4) == "32/12,48/16,20"
    for width in range(searches.NARROWEST, 40):
        for numbers in (3, 4, 5):
            levels, last = shape_of(searches.shape(width, numbers))
            assert len(levels) == numbers - 2 and last >= 1


def test_a_tree_is_drawn_from_its_leaves() -> None:
    arm, texts = "base/beam/8", {"s0": "a ;", "s0/s0": "b ;", "s0/s0/e0": "c", "s0/s1": "d ;", "s1": "e ;"}
    made = [
        {"key": key, "arms": [arm], "picked": [arm] if key == "s0/s0/e0" else [], "correct": key.endswith("e0"),
         "finish": "stop" if "e" in key else "step", "text": "", "score": 0.5,
         **({"steps": [{"text": texts["/".join(key.split("/")[: i + 1])], "tokens": 1, "score": 0.25}
                       for i in range(key.count("/") + 1)]} if "/" in key else {"text": texts[key]})}
        for key in ("s0/s0/e0", "s0/s1", "s1")
    ]  # fmt: skip
    svg = tree.tree(made, arm)
    assert svg.count("<rect") == 5 and svg.count("<path") == 3
    assert svg.count('class="pruned"') == 2 and svg.count('class="ended picked"') == 1 and "✓ c" in svg
    assert tree.tree(made, "another") == ""
