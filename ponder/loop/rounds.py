"""What the phases share: a run with its folder, tasks and engines, and the rounds' names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ponder.draws import generator
from ponder.engines.hf import loading
from ponder.engines.hf.engine import HFEngine
from ponder.folder import Folder
from ponder.loop.recipe import Recipe
from ponder.tasks.countdown import Countdown
from ponder.train.once import Watch
from ponder.train.rollouts import Group, groups
from ponder.types import Problem, Sampling

BATCH = 512  # problems sampled at once


@dataclass(frozen=True, slots=True)
class Round:
    """Names of one round: `start` is steered to `steered`; a reward model `prm` and a `value` are learned, and a
    `student` (with its control `random`), from which the next round starts."""

    number: int

    def named(self, name: str) -> str:
        """A phase or checkpoint of this round; the first round's have plain names."""
        return name if self.number == 1 else f"{name}-{self.number}"

    @property
    def start(self) -> str:
        return "base" if self.number == 1 else Round(self.number - 1).student

    @property
    def steered(self) -> str:
        return self.named("steered")

    @property
    def prm(self) -> str:
        return self.named("prm")

    @property
    def value(self) -> str:
        return self.named("value")

    @property
    def student(self) -> str:
        return self.named("student")

    @property
    def random(self) -> str:
        return self.named("student-random")


def rounds(recipe: Recipe) -> list[Round]:
    return [Round(number + 1) for number in range(recipe.rounds)]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the loop. `watch` is told of its progress."""

    recipe: Recipe
    folder: Folder
    watch: Watch

    @property
    def last(self) -> Round:
        return Round(self.recipe.rounds)

    def path(self, phase: str) -> Path:
        return self.folder.path / phase

    def checkpoint(self, name: str) -> Path:
        return self.folder.path / "checkpoints" / name

    def task(self, split: str) -> Countdown:
        return self.recipe.task.task(split, self.recipe.seed)

    def training(self) -> tuple[Countdown, list[Problem], list[Problem]]:
        """The task, the problems that training sees, and those held out from it."""
        task, held = self.task("train"), self.recipe.task.held_out
        own = list(task.problems(self.recipe.task.train_problems + held))
        generator(self.recipe.seed, "held out").shuffle(own)  # they come easiest first
        return task, own[held:], own[:held]

    def engine(self, name: str, temperature: float = 1.0) -> HFEngine:
        loaded = loading.load(
            str(self.checkpoint(name)), dtype="float32", shorter="float32", device=torch.device("cpu"), revision=""
        )
        sampling = Sampling(temperature=temperature, max_tokens=self.recipe.measure.max_tokens)
        return HFEngine(loaded, sampling, name=name)

    def told(self, phase: str) -> Callable[[int, int, dict[str, float]], None]:
        return lambda step, steps, figures: self.watch(phase, step, steps, figures)

    def sampled(
        self, phase: str, engine: HFEngine, task: Countdown, problems: Sequence[Problem], size: int
    ) -> Iterator[Group]:
        """Chains of a policy, some problems at a time."""
        cap, seed = self.recipe.measure.max_tokens, self.recipe.seed
        for start in range(0, len(problems), BATCH):
            part = problems[start : start + BATCH]
            yield from groups(engine, task, part, size, cap=cap, seed=seed, label=f"{phase}/{engine.name}")
            self.watch(f"{phase}: {engine.name}", min(start + BATCH, len(problems)), len(problems), {})
