"""Phases that make policies: the base, the steered one and its controls, the student."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ponder.draws import generator
from ponder.engines.hf.text import Texts
from ponder.errors import PonderError
from ponder.loop import chains
from ponder.loop.recipe import Recipe
from ponder.loop.rounds import Round, Run
from ponder.loop.tastes import rated
from ponder.models import tiny
from ponder.tasks.countdown import solution
from ponder.train import distill, sft
from ponder.train import steer as steering
from ponder.train.batches import Example
from ponder.train.distill import Found
from ponder.train.once import anew, metrics
from ponder.types import Problem


def base(run: Run, folder: Path) -> dict[str, Any]:
    recipe = run.recipe
    sizes = asdict(recipe.model)
    tokenizer = tiny.word_tokenizer(tiny.arithmetic_words(sizes.pop("words")))
    model = tiny.tiny_llama(tokenizer, seed=recipe.seed, **sizes)
    _, problems, _ = run.training()
    shown = list(_demonstrations(recipe, tokenizer, problems))
    sft.train(recipe.base.config, model, shown, folder, run.told("base"))
    tiny.save(anew(run.checkpoint("base")), model, tokenizer)
    rows = metrics(folder)
    return {
        "tokens": sum(row["tokens"] for row in rows),
        "loss": rows[-1]["loss"],
        "demonstrations": len(shown),
        "parameters": tiny.parameters(model),
    }


def _demonstrations(recipe: Recipe, tokenizer: Any, problems: Sequence[Problem]) -> Iterator[Example]:
    """Random correct walks, as the model is to write them."""
    end = tokenizer.eos_token_id
    for problem in problems:
        target, _, given = problem.text.partition(":")
        numbers = [int(word) for word in given.replace(";", "").split()]
        draw = generator(recipe.seed, "demonstrations", problem.id)
        walks = (solution(numbers, int(target), draw, recipe.task.most) for _ in range(recipe.base.demonstrations))
        prompt, *found = tokenizer([problem.text, *(walk for walk in walks if walk is not None)])["input_ids"]
        yield from (Example.after(prompt, [*ids, end]) for ids in found)


def steer(run: Run, folder: Path, turn: Round) -> dict[str, Any]:
    return _steered(run, folder, run.recipe.steer.config, turn.start, turn.steered)


def control(run: Run, folder: Path, name: str) -> dict[str, Any]:
    """Steering with what makes it work taken out."""
    config = run.recipe.steer.config
    if name == "zero":
        config = replace(config, optimiser=replace(config.optimiser, lr=0.0))
    else:
        config = replace(config, shuffled=True)
    return _steered(run, folder, config, "base", name)


def _steered(run: Run, folder: Path, config: steering.Config, start: str, name: str) -> dict[str, Any]:
    engine = run.engine(start)
    task, problems, _ = run.training()
    before = run.engine(start).model if config.kl else None
    steering.train(config, engine, task, problems, folder, run.told(folder.name), before)
    tiny.save(anew(run.checkpoint(name)), engine.model, engine.tokenizer)
    rows = metrics(folder)
    last = rows[-max(1, len(rows) // 8) :]
    means = {key: sum(row[key] for row in last) / len(last) for key in ("reward", "dropped", "truncated")}
    return means | {"reward_first": rows[0]["reward"], "tokens": sum(row["tokens"] for row in rows)}


def distil(run: Run, folder: Path, turn: Round) -> dict[str, Any]:
    """The student and, on as many chains that nothing picked, its control."""
    own = run.recipe.distil
    task, problems, _ = run.training()
    engine = run.engine(turn.start)
    texts = Texts.of(engine.tokenizer, engine.model)
    kept = [
        row
        for row in chains.read(run.path(turn.named("chains-start")) / "train.npz", problems[-own.problems :])
        if row.finish == "stop"
    ]
    ratings = rated(run, turn, [row.chain(texts, turn.start, task.rules(row.problem.id)) for row in kept])
    found = [
        Found(row.problem.id, tuple(texts.ids(row.problem.root)), row.ids, row.correct, rating.value)
        for row, rating in zip(kept, ratings, strict=True)
    ]
    told: dict[str, Any] = {"scorer_tokens": sum(rating.tokens for rating in ratings)}
    config = own.config
    for name, by in ((turn.student, config.by), (turn.random, "random")):
        student, part = run.engine(turn.start), folder / name
        progress = run.told(f"{folder.name}: {name}")
        try:
            chosen = distill.train(replace(config, by=by), student.model, found, part, progress)
        except ValueError as error:
            raise PonderError(f"{folder.name}: {error}; train the base for longer") from None
        tiny.save(anew(run.checkpoint(name)), student.model, student.tokenizer)
        told[name] = {"chains": len(chosen), "right": sum(row.correct is True for row in chosen) / len(chosen)}
        told["tokens"] = told.get("tokens", 0) + sum(row["tokens"] for row in metrics(part))
        config = replace(config, share=1.0, most=len(chosen))
    return told
