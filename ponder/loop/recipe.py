"""What a run of the loop is told: a TOML file, checked whole before anything is done.

Each table is a dataclass, or one with the configuration of a training method beside it, and its keys are their fields.
One seed, at the top, is the seed of all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from ponder import tables
from ponder.errors import UsageError, unknown
from ponder.models import tiny
from ponder.tables import FIXED, Place, built, named
from ponder.tasks.countdown import Countdown
from ponder.train import prune, sft, steer

DEFAULT = """\
# The whole loop, from nothing: a tiny Llama learns Countdown, is steered and pruned, and both are measured.
#
#     ponder loop                  this recipe, which comes with ponder
#     ponder loop MY.toml          a copy of it, changed
#
# Settings were chosen on training problems. Test problems are another hash split, first touched by the last phase.

seed = 0
rounds = 1
threads = 1
controls = ["random"]            # "zero": steering with learning rate 0; "shuffled": with rewards dealt at random

[task]                           # 4 numbers of 1…9 make a target in 5…30, by steps with results in 1…30
numbers = 4
high = 9
low_target = 5
high_target = 30
most = 30
walks = true                     # as random walks meet them: those with many solutions first
train_problems = 3000
held_out = 200                   # training problems on which pruning is stopped and the 'off' rule is settled
test_problems = 300

[model]
words = 30                       # numbers 0…30, one token each
hidden = 64
layers = 2
heads = 4
mlp = 128
context = 64

[base]                           # supervised: random correct walks
demonstrations = 6
steps = 2400
batch = 32
optimiser = {lr = 4e-3, warmup = 50, final = 0.04}

[steer]                          # reinforcement learning on verdicts
steps = 96
problems = 64
group = 8
max_tokens = 40
advantage = "grpo"
optimiser = {lr = 1e-3, warmup = 5, final = 0.2}

[prune]                          # an implicit reward model of chains, on outcomes
problems = 3000                  # × samples chains of the base
steered = 1500                   # × samples chains of the steered policy
samples = 10
steps = 1500
batch = 64
optimiser = {lr = 2e-3, warmup = 50, final = 0.1}

[measure]
samples = 8
max_tokens = 40
on = "weighted"                  # how the reward model picks: weighted, best
"""

CONTROLS = ("random", "zero", "shuffled")


@dataclass(frozen=True, slots=True)
class Problems:
    """Countdown's options, and how many problems there are for training, for settling what training does not learn
    from, and, of the other split, for testing."""

    numbers: int = 4
    high: int = 9
    low_target: int = 5
    high_target: int = 30
    most: int = 30
    walks: bool = True
    train_problems: int = 3000
    held_out: int = 200
    test_problems: int = 300

    def task(self, split: str, seed: int) -> Countdown:
        """The same object for the same question, since it keeps the problems that it has drawn."""
        return _countdown(self, split, seed)


@lru_cache(maxsize=8)
def _countdown(own: Problems, split: str, seed: int) -> Countdown:
    return Countdown(own.numbers, own.high, own.low_target, own.high_target, own.most, split, seed, own.walks)


@dataclass(frozen=True, slots=True)
class Model:
    """The sizes of `tiny_llama`; `words`: the largest number that is a word."""

    words: int = 30
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    mlp: int = 128
    context: int = 64


@dataclass(frozen=True, slots=True)
class Base:
    """`demonstrations` of each training problem."""

    demonstrations: int = 3
    config: sft.Config = field(default_factory=sft.Config)


@dataclass(frozen=True, slots=True)
class Steer:
    config: steer.Config = field(default_factory=lambda: steer.Config(max_tokens=40))


@dataclass(frozen=True, slots=True)
class Prune:
    """`samples` chains of the base for each of `problems` training problems, and of the steered policy for each of
    `steered` others."""

    problems: int = 3000
    steered: int = 1500
    samples: int = 8
    config: prune.Config = field(default_factory=prune.Config)


@dataclass(frozen=True, slots=True)
class Measure:
    """`samples` chains of each policy for each test problem; `on` is the rule by which the reward model picks."""

    samples: int = 8
    max_tokens: int = 40
    on: Literal["weighted", "best"] = "weighted"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that the result depends on, but the machine and the versions."""

    seed: int = 0
    rounds: int = 1
    threads: int = 1
    controls: list[str] = field(default_factory=lambda: ["random"])
    task: Problems = field(default_factory=Problems)
    model: Model = field(default_factory=Model)
    base: Base = field(default_factory=Base)
    steer: Steer = field(default_factory=Steer)
    prune: Prune = field(default_factory=Prune)
    measure: Measure = field(default_factory=Measure)

    def as_dict(self) -> dict[str, Any]:
        """As a recipe has it, everything said."""
        found = asdict(self)
        for table in found.values():
            if isinstance(table, dict) and "config" in table:
                table |= {key: value for key, value in table.pop("config").items() if key not in FIXED}
        return found


def read(path: Path | None, seed: int | None = None) -> Recipe:
    """The recipe in a file, or the default; `seed` goes before the file's. Raises UsageError naming file, line and
    field."""
    name, text = ("(the default recipe)", DEFAULT) if path is None else (str(path), tables.text(path))
    return parse(tables.values(text, name) | ({} if seed is None else {"seed": seed}), name, text)


def parse(values: Mapping[str, Any], name: str = "recipe", text: str = "") -> Recipe:
    """A recipe from its values; `name` and `text` say where they stand. Raises UsageError."""
    place = Place(name, text)
    recipe = built(Recipe, values, place)
    seeded = replace(
        recipe,
        base=replace(recipe.base, config=replace(recipe.base.config, seed=recipe.seed)),
        steer=replace(recipe.steer, config=replace(recipe.steer.config, seed=recipe.seed)),
        prune=replace(recipe.prune, config=replace(recipe.prune.config, seed=recipe.seed)),
    )
    _check(seeded, place)
    return seeded


def _check(recipe: Recipe, place: Place) -> None:
    """What no single field can tell. Raises UsageError."""
    task, model, measure = recipe.task, recipe.model, recipe.measure

    def refuse(table: str, key: str, words: str) -> UsageError:
        holder: Any = getattr(recipe, table) if table else recipe
        value = getattr(holder, key, None)
        value = getattr(getattr(holder, "config", None), key, None) if value is None else value
        return UsageError(f"{place.at(table, key)} = {value}: {words}")

    for name, own in (("task", task), ("model", model), ("base", recipe.base), ("prune", recipe.prune),
                      ("measure", measure)):  # fmt: skip
        for f in fields(own):
            value = getattr(own, f.name)
            if isinstance(value, int) and value < (0 if f.name == "steered" else 1):
                raise refuse(name, f.name, "must be at least 1")
    if recipe.rounds != 1:
        raise refuse("", "rounds", "one round is all there is for now; give 1")
    if recipe.threads < 1:
        raise refuse("", "threads", "must be at least 1")
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
