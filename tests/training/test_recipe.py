"""Recipes of `ponder train`, and the parts that problems fall into."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from running import ROOT, problems

pytest.importorskip("torch", reason="needs ponder[local]")

from ponder.errors import UsageError
from ponder.folder import to_toml
from ponder.tables import Place
from ponder.training.problems import split
from ponder.training.recipe import METHODS, Recipe, parse, read


def made(task: Path | str, **tables: Any) -> Recipe:
    top = {"model": "a/b", "task": str(task), "steer": {}, **tables}
    return parse("steer", top, Place("recipe", ""))


@pytest.mark.parametrize("method", METHODS)
def test_a_recorded_recipe_is_the_recipe(method: str) -> None:
    top = {"model": "a/b", "task": "countdown", "seed": 3, "settings": {"high": 20}, "adapter": {"rank": 4},
           "shape": {"layers": 1, "hidden": 4, "heads": 2, "kv_heads": 1, "mlp": 4, "vocabulary": 9},
           method: {"steps": 7, "optimiser": {"lr": 0.5}}}  # fmt: skip
    found = parse(method, top, Place("recipe", ""))
    assert found.own.config.seed == 3 and found.own.config.steps == 7 and found.own.config.optimiser.lr == 0.5
    assert found.own.config.optimiser.beta2 == 0.95, "what a table leaves out is as usual here"
    assert parse(method, tomllib.loads(to_toml(found.as_dict())), Place("other", "")) == found


def test_usual_rates_are_those_of_pretrained_models() -> None:
    for method in METHODS:
        found = parse(method, {"model": "a/b", "task": "text", method: {}}, Place("recipe", ""))
        assert found.own.config.optimiser.lr <= 1e-5
        assert found.seed == 0 and found.adapter is None and found.shape is None


def test_flags_go_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('model = "a/b"\ntask = "text"\nseed = 1\n[steer]\nsteps = 3\n')
    found = read("steer", path, 5, {"steer.steps": 9, "steer.optimiser.lr": 1e-3, "measure.samples": 2})
    assert (found.seed, found.own.config.steps, found.own.config.optimiser.lr, found.measure.samples) == (5, 9, 1e-3, 2)
    with pytest.raises(
        UsageError, match=r"r.toml: --set steer.steps = 0: must be at least 1|r.toml: --set steer.steps"
    ):
        read("steer", path, None, {"steer.steps": 0})
    with pytest.raises(UsageError, match="'task' is not a table"):
        read("steer", path, None, {"task.name": "x"})


@pytest.mark.parametrize(("adapter", "method", "field"), [
    ({"rank": 0}, "steer", "rank"), ({"dropout": 1.0}, "sft", "dropout"), ({"dropout": 0.1}, "steer", "dropout"),
    ({"targets": []}, "steer", "targets"), ({"kind": "dora"}, "steer", "kind"),
])  # fmt: skip
def test_bad_adapters_are_refused(adapter: dict[str, Any], method: str, field: str) -> None:
    with pytest.raises(UsageError, match=rf"adapter.{field} = "):
        parse(method, {"model": "a/b", "task": "text", method: {}, "adapter": adapter}, Place("recipe", ""))


def test_a_head_and_an_adapter_do_not_go_together() -> None:
    top = {"model": "a/b", "task": "text", "prune": {"kind": "orm"}, "adapter": {}}
    with pytest.raises(UsageError, match=r"prune.kind = 'orm'"):
        parse("prune", top, Place("recipe", ""))


# --- the parts ----------------------------------------------------------------------------------------------------

SIZES = {"train": 20, "held_out": 5, "test": 10}


def test_parts_of_a_file_are_by_the_hash_of_the_text(tmp_path: Path) -> None:
    path = problems(tmp_path / "mine.jsonl", 40)
    found = split(made(path, problems=SIZES))
    parts = [{p.text for p in part} for part in (found.train, found.held_out, found.test)]
    assert [len(part) for part in parts] == [20, 5, 10] and len(set.union(*parts)) == 35
    # The order of the lines and the ids have no say.
    lines = [json.loads(line) for line in path.read_text().splitlines()][::-1]
    path.write_text("".join(json.dumps(row | {"id": f"q{i}"}) + "\n" for i, row in enumerate(lines)))
    again = split(made(path, problems=SIZES))
    assert parts == [{p.text for p in part} for part in (again.train, again.held_out, again.test)]
    # More training problems leave the tests as they are.
    more = split(made(path, problems=SIZES | {"train": 25}))
    assert {p.text for p in more.test} == parts[2]


def test_equal_problems_of_a_file_count_once(tmp_path: Path) -> None:
    path = problems(tmp_path / "mine.jsonl", 35)
    twice = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | {"id": f"{row['id']}.{i}"}) + "\n" for i in range(2) for row in twice))
    found = split(made(path, problems=SIZES))
    assert len({p.text for p in (*found.train, *found.held_out, *found.test)}) == 35
    with pytest.raises(UsageError, match=r"problems.train = 21: with held_out = 5 and test = 10 they would overlap"):
        split(made(path, problems=SIZES | {"train": 21}))


def test_a_generated_task_has_its_own_split() -> None:
    recipe = made("countdown", settings={"numbers": 3}, problems=SIZES)
    found = split(recipe)
    assert not {p.id for p in found.test} & found.pool.keys() and len(found.pool) == 25
    assert found.task.verify(found.train[0].id, "x").correct is False
    by_hash = split(made("countdown", settings={"numbers": 3}, problems=SIZES | {"by": "hash"}))
    assert by_hash.task is by_hash.tester and not {p.id for p in by_hash.test} & by_hash.pool.keys()


def test_two_splits_that_are_one_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "gsm8k.jsonl"
    path.write_text("".join(json.dumps({"question": f"{i}?", "answer": f"#### {i}"}) + "\n" for i in range(40)))
    with pytest.raises(UsageError, match=r"task = 'gsm8k': training and test problems overlap"):
        split(made("gsm8k", settings={"path": str(path)}, problems=SIZES))
    assert len(split(made("gsm8k", settings={"path": str(path)}, problems=SIZES | {"by": "hash"})).test) == 10


def test_a_task_without_a_split_says_so(tmp_path: Path) -> None:
    path = problems(tmp_path / "mine.jsonl", 40)
    with pytest.raises(UsageError, match=r"problems.by = 'task': .* no split of its own; give 'hash'"):
        split(made(path, problems=SIZES | {"by": "task"}))


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "train").glob("*.toml")), ids=lambda path: path.name)
def test_shipped_recipes_are_read(path: Path) -> None:
    (method,) = set(METHODS) & set(tomllib.loads(path.read_text()))
    found = read(method, path)
    assert found.shape is not None and found.model.count("/") == 1
