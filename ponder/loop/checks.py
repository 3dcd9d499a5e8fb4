"""What a recipe is refused for that no single field can tell: before anything is done."""

from __future__ import annotations

import re
from dataclasses import asdict, fields
from typing import Any

from ponder.errors import UsageError, unknown
from ponder.loop.recipe import CONTROLS, Recipe
from ponder.models import tiny
from ponder.tables import Place, named


def check(recipe: Recipe, place: Place) -> None:
    """What no single field can tell. Raises UsageError."""
    task, model, measure = recipe.task, recipe.model, recipe.measure

    def refuse(table: str, key: str, words: str) -> UsageError:
        holder: Any = getattr(recipe, table) if table else recipe
        value = getattr(holder, key, None)
        value = getattr(getattr(holder, "config", None), key, None) if value is None else value
        return UsageError(f"{place.at(table, key)} = {value}: {words}")

    for name, own in (("task", task), ("model", model), ("base", recipe.base), ("prune", recipe.prune),
                      ("distil", recipe.distil), ("measure", measure), ("compare", recipe.compare)):  # fmt: skip
        for f in fields(own):
            value = getattr(own, f.name)
            if isinstance(value, int) and value < (0 if f.name in ("steered", "fold") else 1):
                raise refuse(name, f.name, "must be at least 1")
    for key in ("seeds", "rounds", "threads"):
        if getattr(recipe, key) < 1:
            raise refuse("", key, "must be at least 1")
    if task.numbers < 3:
        raise refuse("task", "numbers", "give at least 3: a chain of fewer has one step, and nothing to prune")
    for control in recipe.controls:
        if control not in CONTROLS:
            raise unknown("control", control, CONTROLS, f"{place.at('', 'controls')}: ")
    try:
        recipe.steer.config.check()
    except UsageError as error:
        raise UsageError(f"{named(str(error), place, 'steer')}: {error}") from None
    if recipe.base.config.steps < 1 or recipe.base.config.batch < 1:
        raise refuse("base", "steps" if recipe.base.config.steps < 1 else "batch", "must be at least 1")
    if recipe.prune.config.kind not in ("implicit",):
        raise refuse("prune", "kind", "the loop prunes by an implicit reward model; give 'implicit'")
    try:
        recipe.distil.config.check()
    except UsageError as error:
        raise UsageError(f"{named(str(error), place, 'distil')}: {error}") from None
    if not recipe.compare.samples or min(recipe.compare.samples) < 4:
        raise refuse("compare", "samples", "give numbers of chains, each at least 4, for a tree has three waves")
    for key, most, of in (
        ("problems", task.test_problems, "task.test_problems"), ("pilot", task.held_out, "task.held_out")
    ):  # fmt: skip
        if getattr(recipe.compare, key) > most:
            raise refuse("compare", key, f"there are {of} = {most}")
    if recipe.distil.problems > recipe.prune.problems:
        raise refuse("distil", "problems", f"there are chains of prune.problems = {recipe.prune.problems}")
    if recipe.prune.problems > task.train_problems or recipe.prune.steered > task.train_problems:
        key = "problems" if recipe.prune.problems > task.train_problems else "steered"
        raise refuse("prune", key, f"there are task.train_problems = {task.train_problems}")
    if max(task.most, task.high) > model.words:
        raise refuse("model", "words", f"the task's numbers go up to {max(task.most, task.high)}; give that or more")
    for table, cap in (("steer", recipe.steer.config.max_tokens), ("measure", measure.max_tokens)):
        if task.numbers + 3 + cap > model.context:
            raise refuse(
                table, "max_tokens", f"with a prompt of {task.numbers + 3} it exceeds model.context = {model.context}"
            )
    try:
        sizes = asdict(model)
        tiny.tiny_llama(tiny.word_tokenizer(tiny.arithmetic_words(sizes.pop("words"))), **sizes)
    except UsageError as error:
        raise UsageError(f"{place.at('model', '')}: {error}") from None
    try:
        train, test = (task.task(split, recipe.seed) for split in ("train", "test"))
    except UsageError as error:
        option = re.search(r"countdown: (\w+)=", str(error))
        raise UsageError(f"{place.at('task', option[1] if option else '')}: {error}") from None
    wanted = task.train_problems + task.held_out
    for split, key, count in ((train, "train_problems", wanted), (test, "test_problems", task.test_problems)):
        try:
            split.problems(count)
        except UsageError as error:
            words = f"with held_out = {task.held_out} they would overlap" if split is train else "too many"
            raise refuse("task", key, f"{words}: {error}") from None
