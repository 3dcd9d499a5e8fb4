"""What a run of the loop is told: a TOML file, checked whole before anything is done.

Each table is a dataclass, or one with the configuration of a training method beside it, and its keys are their fields.
One seed, at the top, is the seed of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from ponder import tables
from ponder.tables import FIXED, Place, built
from ponder.tasks.countdown import Countdown
from ponder.train import distill, prune, sft, steer, value

DEFAULT = Path(__file__).with_name("default.toml").read_text(encoding="utf-8")
"""The recipe that comes with ponder."""
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
    fold: int = 0
    train_problems: int = 3000
    held_out: int = 200
    test_problems: int = 600

    def task(self, split: str, seed: int) -> Countdown:
        """The same object for the same question, since it keeps the problems that it has drawn."""
        return _countdown(self, split, seed)


@lru_cache(maxsize=8)
def _countdown(own: Problems, split: str, seed: int) -> Countdown:
    return Countdown(own.numbers, own.high, own.low_target, own.high_target, own.most, split, seed, own.walks, own.fold)


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
class Value:
    config: value.Config = field(default_factory=value.Config)


@dataclass(frozen=True, slots=True)
class Distil:
    """From the chains of `problems` training problems."""

    problems: int = 1000
    config: distill.Config = field(default_factory=lambda: distill.Config(by="score"))


@dataclass(frozen=True, slots=True)
class Measure:
    """`samples` chains of each policy for each test problem; `on` is the rule by which the reward model picks."""

    samples: int = 8
    max_tokens: int = 40
    on: Literal["weighted", "best"] = "weighted"


@dataclass(frozen=True, slots=True)
class Compare:
    """Searches on the first `problems` test problems, for each number of re-ranked chains in `samples`."""

    problems: int = 300
    samples: list[int] = field(default_factory=lambda: [8])
    pilot: int = 64


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that the result depends on, but the machine and the versions."""

    seed: int = 0
    seeds: int = 1
    rounds: int = 1
    threads: int = 1
    controls: list[str] = field(default_factory=lambda: ["random"])
    task: Problems = field(default_factory=Problems)
    model: Model = field(default_factory=Model)
    base: Base = field(default_factory=Base)
    steer: Steer = field(default_factory=Steer)
    prune: Prune = field(default_factory=Prune)
    value: Value = field(default_factory=Value)
    distil: Distil = field(default_factory=Distil)
    measure: Measure = field(default_factory=Measure)
    compare: Compare = field(default_factory=Compare)

    def as_dict(self) -> dict[str, Any]:
        """As a recipe has it, everything said."""
        found = asdict(self)
        for table in found.values():
            if isinstance(table, dict) and "config" in table:
                table |= {key: value for key, value in table.pop("config").items() if key not in FIXED}
        return found


def read(path: Path | None, given: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe in a file, or the default; what is given ('steer.steps': 4) goes before what it says. Raises
    UsageError naming file, line and field."""
    name, text = ("(the default recipe)", DEFAULT) if path is None else (str(path), tables.text(path))
    return parse(tables.put(tables.values(text, name), given or {}), name, text)


def parse(values: Mapping[str, Any], name: str = "recipe", text: str = "") -> Recipe:
    """A recipe from its values; `name` and `text` say where they stand. Raises UsageError."""
    from ponder.loop.checks import check

    place = Place(name, text)
    if values.get("controls") in ("all", ["all"]):
        values = {**values, "controls": list(CONTROLS)}
    recipe = built(Recipe, values, place)
    seeded = replace(recipe, **{name: _seeded(getattr(recipe, name), recipe.seed) for name in TRAINED})
    check(seeded, place)
    return seeded


TRAINED = ("base", "steer", "prune", "value", "distil")
"""The tables that hold the configuration of a training method."""


def _seeded(table: Any, seed: int) -> Any:
    return replace(table, config=replace(table.config, seed=seed))
