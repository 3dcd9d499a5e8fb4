"""What `ponder train` is told: a TOML file, checked whole before anything is done.

A model, a task, and one table, that of the method, whose keys are its configuration's fields. One seed, at the top, is
the seed of all. Learning rates are by default those of a pretrained model, not of a tiny one from nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from ponder import tables
from ponder.errors import UsageError, unknown
from ponder.scorers import SCORERS
from ponder.tables import FIXED, Place, built, named
from ponder.train import distill, prune, sft, steer
from ponder.train.trainer import Optimiser
from ponder.training.memory import Shape

Method = Literal["sft", "steer", "prune", "distill"]
METHODS: tuple[Method, ...] = get_args(Method)
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _usual(lr: float, warmup: int) -> Optimiser:
    return Optimiser(lr=lr, warmup=warmup, final=0.1, beta2=0.95)


@dataclass(frozen=True, slots=True)
class Problems:
    """`train` problems to learn from, `held_out` ones of the same kind on which a reward model is stopped, `test`
    problems that only measuring sees. `by`: the task's own split ('task'), or the hash of a problem's text ('hash');
    'auto' takes the first where there is one."""

    train: int = 1000
    held_out: int = 100
    test: int = 200
    by: Literal["auto", "task", "hash"] = "auto"


@dataclass(frozen=True, slots=True)
class Adapter:
    """LoRA (arXiv 2106.09685), by peft: matrices of `rank` beside the named projections are trained, scaled by
    `alpha` / `rank`; all else is frozen."""

    kind: Literal["lora"] = "lora"
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: list[str] = field(default_factory=lambda: list(LINEARS))


@dataclass(frozen=True, slots=True)
class Measure:
    """`samples` chains of at most `max_tokens` for each test problem, before and after; `greedy`: one more, at
    temperature 0."""

    samples: int = 8
    max_tokens: int = 256
    temperature: float = 1.0
    greedy: bool = True


@dataclass(frozen=True, slots=True)
class Machine:
    """`memory` of each of `gpus` GPUs, in GB (10⁹ bytes), and `prompt`, the tokens of the longest prompt, are for
    `--plan`, as are `mixed` and `sharded`: what `accelerate launch` is told (bfloat16 beside float32 weights; weights,
    gradients and moments divided among the GPUs). `rows`: sequences drawn at once (0: the engine's choice).
    `checkpointing`: activations are computed again instead of kept."""

    device: str = "auto"
    gpus: int = 1
    memory: float = 80.0
    prompt: int = 256
    sharded: bool = False
    mixed: bool = False
    rows: int = 0
    checkpointing: bool = False


@dataclass(frozen=True, slots=True)
class Sft:
    """`data`: JSONL of {"problem" or "prompt", "completion"}; without it `each` worked solutions of every training
    problem, where the task has them."""

    data: str = ""
    each: int = 1
    config: sft.Config = field(default_factory=lambda: sft.Config(steps=200, optimiser=_usual(1e-5, 10)))


@dataclass(frozen=True, slots=True)
class Steer:
    config: steer.Config = field(default_factory=lambda: steer.Config(max_tokens=256, optimiser=_usual(1e-6, 5)))


@dataclass(frozen=True, slots=True)
class Prune:
    """`samples`: rows of an earlier run on training problems; without it `chains` of the model for each problem."""

    samples: str = ""
    chains: int = 8
    config: prune.Config = field(
        default_factory=lambda: prune.Config(steps=500, check=50, beta=0.05, optimiser=_usual(1e-5, 20))
    )


@dataclass(frozen=True, slots=True)
class Distill:
    """`samples`, `chains` as in `Prune`. `scorer`, with its folder in `path`, rates the chains that are drawn here."""

    samples: str = ""
    chains: int = 8
    scorer: str = "confidence"
    path: str = ""
    config: distill.Config = field(
        default_factory=lambda: distill.Config(steps=200, every=50, optimiser=_usual(1e-5, 10))
    )


TABLES: dict[str, Any] = {"sft": Sft, "steer": Steer, "prune": Prune, "distill": Distill}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that the result depends on, but the machine and the versions. `dtype` 'auto': float32 where all
    weights are trained, else as the checkpoint is. `adapter` None: all weights. `place`: where values stand."""

    method: Method
    own: Any
    model: str = ""
    task: str = ""
    seed: int = 0
    threads: int = 1
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)
    measure: Measure = field(default_factory=Measure)
    machine: Machine = field(default_factory=Machine)
    adapter: Adapter | None = None
    shape: Shape | None = None
    place: Place = field(default_factory=lambda: Place("recipe", ""), compare=False)

    def as_dict(self) -> dict[str, Any]:
        """As a recipe has it, everything said. What of the machine does not change the result is there too."""
        own = asdict(self.own)
        own |= {key: value for key, value in own.pop("config").items() if key not in FIXED}
        found: dict[str, Any] = {name: getattr(self, name) for name in TOP}
        found |= {"settings": dict(self.settings), self.method: own}
        for name in ("problems", "measure", "machine", "adapter", "shape"):
            if (table := getattr(self, name)) is not None:
                found[name] = asdict(table)
        return found

    def refuse(self, table: str, key: str, words: str) -> UsageError:
        """'file:line: table.key = value: words'."""
        holder: Any = {"": self, self.method: self.own}.get(table) or getattr(self, table)
        value = getattr(holder, key, getattr(getattr(holder, "config", None), key, None))
        return UsageError(f"{self.place.at(table, key)} = {value!r}: {words}")


TOP = ("model", "task", "seed", "threads", "dtype")
REST: dict[str, Any] = {
    "problems": Problems, "measure": Measure, "machine": Machine, "adapter": Adapter, "shape": Shape,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Head:
    model: str = ""
    task: str = ""
    seed: int = 0
    threads: int = 1
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"


@dataclass(frozen=True)
class _Set(Place):
    """A place that knows which values came from `--set`."""

    given: frozenset[str] = frozenset()

    def at(self, table: str, key: str) -> str:
        name = ".".join(part for part in (table, key) if part)
        return f"{self.name}: --set {name}" if name in self.given else Place.at(self, table, key)


def read(method: str, path: Path, seed: int | None = None, changes: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe in a file; `changes` ('steer.steps': 4) and `seed` go before what it says. Raises UsageError naming
    file, line and field."""
    text = tables.text(path)
    values = tables.values(text, str(path))
    given = dict(changes or {}) | ({} if seed is None else {"seed": seed})
    tables.put(values, given)
    return parse(method, values, _Set(str(path), text, frozenset(given)))


def parse(method: str, values: Mapping[str, Any], place: Place) -> Recipe:
    """A recipe from its values. Raises UsageError."""
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    known = (*TOP, *REST, "settings", method)
    for key in values:
        if key in METHODS and key != method:
            raise UsageError(f"{place.at('', key)}: is the table of `ponder train {key}`; this is `train {method}`")
        if key not in known:
            raise unknown("key", key, known, f"{place.at('', key)}: ")
        if not isinstance(values[key], dict) and key not in TOP:
            raise UsageError(f"{place.at('', key)} = {values[key]!r}: must be a table")
    if method not in values:
        raise UsageError(f"{place.name}: has no table [{method}]; `ponder train {method}` takes its settings from it")
    head = built(_Head, {key: values[key] for key in TOP if key in values}, place)
    if "shuffled" in values[method]:
        raise UsageError(f"{place.at(method, 'shuffled')}: is a control of `ponder loop`; leave it out")
    own = built(TABLES[method], values[method], place, method)
    rest = {name: built(kind, values[name], place, name) for name, kind in REST.items() if name in values}
    found = Recipe(
        method=method,
        own=replace(own, config=replace(own.config, seed=head.seed)),
        **{f.name: getattr(head, f.name) for f in fields(head)},
        settings=values.get("settings", {}),
        place=place,
        **rest,
    )
    _check(found)
    return found


def _check(recipe: Recipe) -> None:
    """What no single field can tell. Raises UsageError."""
    place, own, adapter = recipe.place, recipe.own, recipe.adapter
    for name in ("model", "task"):
        if not getattr(recipe, name):
            what = {"model": "a checkpoint's folder or hub id", "task": "a task's name or file"}[name]
            raise UsageError(f"{place.name}: {name} is missing; add {name} = {what!r}, or --set {name}=…")
    if "split" in recipe.settings:
        raise UsageError(
            f"{place.at('settings', 'split')}: training takes split 'train' and measuring 'test', so that they never "
            "overlap; leave it out"
        )
    least = {"held_out": 1 if recipe.method == "prune" else 0, "prompt": 1, "rows": 0, "dropout": 0}
    holders: list[tuple[str, Any]] = [
        ("", recipe),
        ("problems", recipe.problems),
        ("measure", recipe.measure),
        ("machine", recipe.machine),
    ]
    holders += [("adapter", adapter)] if adapter else []
    holders += [(recipe.method, own)]
    for table, holder in holders:
        for f in fields(holder):
            value = getattr(holder, f.name)
            if type(value) is int and f.name != "seed" and value < least.get(f.name, 1):
                raise recipe.refuse(table, f.name, f"must be at least {least.get(f.name, 1)}")
    if recipe.measure.temperature <= 0:
        raise recipe.refuse("measure", "temperature", "must be above 0; a greedy chain is drawn beside")
    if recipe.machine.memory <= 0:
        raise recipe.refuse("machine", "memory", "must be above 0, in GB")
    if adapter:
        if not 0 <= adapter.dropout < 1:
            raise recipe.refuse("adapter", "dropout", "from 0 to below 1")
        if recipe.method == "steer" and adapter.dropout:
            raise recipe.refuse("adapter", "dropout", "the policy that samples is the one that is trained; give 0")
        if not adapter.targets:
            raise recipe.refuse("adapter", "targets", "names no projection, so nothing would be trained")
        if recipe.method == "prune" and own.config.kind != "implicit":
            raise recipe.refuse("prune", "kind", "a head is trained with the whole body; leave [adapter] out")
    if isinstance(own, (Steer, Distill)):
        try:
            own.config.check()
        except UsageError as error:
            raise UsageError(f"{named(str(error), place, recipe.method)}: {error}") from None
    for key in ("steps", "batch", "tokens", "every"):
        if getattr(own.config, key, 1) < 1:
            raise recipe.refuse(recipe.method, key, "must be at least 1")
    if isinstance(own, Distill):
        if own.scorer not in SCORERS:
            raise unknown("scorer", own.scorer, SCORERS, f"{place.at('distill', 'scorer')}: ")
        if own.scorer in ("prm", "orm") and not own.samples and not own.path:
            raise recipe.refuse("distill", "scorer", "needs a trained model; add path = its folder")
    if shape := recipe.shape:
        for name in ("layers", "hidden", "heads", "kv_heads", "mlp", "vocabulary"):
            if getattr(shape, name) < 1:
                raise UsageError(f"{place.at('shape', name)} = {getattr(shape, name)}: must be at least 1")
        if shape.hidden % shape.heads and not shape.width:
            raise recipe.refuse("shape", "heads", f"do not divide hidden = {shape.hidden}; give width, of a head")
