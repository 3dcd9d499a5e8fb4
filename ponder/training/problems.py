"""Which problems train, which are held out, which test: never one in two parts.

Where a task has a split of its own, it is taken; else a problem's place is decided by the hash of its text, so that it
depends neither on the order of a file nor on the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ponder.draws import counter
from ponder.errors import UsageError
from ponder.tasks import TASKS, load_task
from ponder.tasks.base import RowTask, Task
from ponder.training.recipe import Recipe
from ponder.types import Problem


@dataclass(frozen=True, slots=True)
class Split:
    """`task` judges `train` and `held_out`, `tester` judges `test`. `pool`: all problems on the side of training, by
    id."""

    task: Task
    tester: Task
    train: Sequence[Problem]
    held_out: Sequence[Problem]
    test: Sequence[Problem]
    pool: dict[str, Problem]


def split(recipe: Recipe) -> Split:
    """Raises UsageError for a task that cannot be had, too few problems, or parts that would overlap."""
    wanted = recipe.problems
    entry = TASKS.get(recipe.task)
    has_own = entry is not None and "split" in entry.options
    if wanted.by == "task" and not has_own:
        raise recipe.refuse("problems", "by", f"task {recipe.task!r} has no split of its own; give 'hash'")
    count = wanted.train + wanted.held_out
    if has_own and wanted.by != "hash":
        task, tester = _task(recipe, {"split": "train"}), _task(recipe, {"split": "test"})
        pool, test = _listed(recipe, task, "train", count), _listed(recipe, tester, "test", wanted.test)
        texts = {problem.text for problem in test}
        if twice := next((p for p in pool if p.text in texts), None):
            raise UsageError(
                f"{recipe.place.at('', 'task')} = {recipe.task!r}: training and test problems overlap: {twice.id} "
                f"({twice.text[:60]!r}) is in both; give the folder of both splits, or problems.by = 'hash'"
            )
    else:
        task = tester = _task(recipe, {"split": "train"} if has_own else {})
        whole = _listed(recipe, task, "train", count + wanted.test)
        if len(whole) < count + wanted.test:
            raise recipe.refuse(
                "problems", "train",
                f"with held_out = {wanted.held_out} and test = {wanted.test} they would overlap: the task has "
                f"{len(whole)} different problems",
            )  # fmt: skip
        test, pool = whole[: wanted.test], whole[wanted.test :]
    if len(pool) < count or len(test) < wanted.test:
        key, there = ("train", len(pool)) if len(pool) < count else ("test", len(test))
        more = f" with held_out = {wanted.held_out}" if key == "train" else ""
        raise recipe.refuse("problems", key, f"too many{more}: the task has {there} different problems there")
    held = wanted.held_out
    return Split(task, tester, pool[held:count], pool[:held], test[: wanted.test], {p.id: p for p in pool})


def _task(recipe: Recipe, more: dict[str, Any]) -> Task:
    try:
        return load_task(recipe.task, {**recipe.settings, **more})
    except UsageError as error:
        option = next((key for key in recipe.settings if f"{key}=" in str(error) or f"'{key}'" in str(error)), "")
        place = recipe.place.at("settings", option) if option else recipe.place.at("", "task")
        raise UsageError(f"{place}: {error}") from None


def _listed(recipe: Recipe, task: Task, key: str, count: int) -> list[Problem]:
    """Problems with different texts, by the hash of these: all of a data set, the first `count` of a generator."""
    try:
        found = {problem.text: problem for problem in task.problems(None if isinstance(task, RowTask) else count)}
    except UsageError as error:
        raise recipe.refuse("problems", key, f"too many: {error}") from None
    return sorted(found.values(), key=lambda problem: counter(0, "problem", problem.text))
