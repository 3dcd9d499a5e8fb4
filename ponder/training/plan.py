"""`ponder train --plan`: what a recipe needs, before weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ponder.errors import UsageError
from ponder.training.memory import ROWS, Estimate, Shape, Work, estimate
from ponder.training.recipe import Recipe, Steer

GB = 1e9
LOST = 1e-4  # learning rates below which most updates of a bfloat16 weight are rounded away


@dataclass(frozen=True, slots=True)
class Plan:
    """`tokens`: of one optimiser step, at most; `drawn`: of them, those that are sampled."""

    recipe: Recipe
    shape: Shape
    work: Work
    found: Estimate
    tokens: int
    drawn: int
    remarks: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "method": self.recipe.method,
            "model": self.recipe.model,
            "gpus": self.work.gpus,
            "tokens_a_step": self.tokens,
            "sampled_a_step": self.drawn,
            "bytes": dict(self.found.as_dict()),
            "remarks": list(self.remarks),
        }

    def lines(self) -> list[str]:
        """For people."""
        own, machine = self.found, self.recipe.machine
        trained = "all of them trained" if own.trained == own.parameters else f"{own.trained:,} trained"
        parts = [
            ("weights", own.weights),
            ("gradients", own.gradients),
            ("AdamW's moments", own.moments),
            ("gathered layers", own.gathered),
            (f"activations of {self.work.tokens:,} tokens", own.activations),
            ("logits", own.logits),
            ("keys and values, sampling", own.cache),
        ]
        verdict = f"{'fits' if own.fits else 'does not fit'} {machine.memory:g} GB, a tenth kept free"
        return [
            f"{self.recipe.model}: {own.parameters:,} parameters, {trained}",
            f"a step: {self.tokens:,} tokens at most, {self.drawn:,} of them sampled, on {self.work.gpus} GPU(s)",
            *(f"  {name:<32}{value / GB:8.2f} GB" for name, value in parts if value),
            f"  {'at most, on each GPU':<32}{own.total / GB:8.2f} GB: {verdict}",
            f"  with checkpointing = {'false' if machine.checkpointing else 'true'} activations would take "
            f"{own.otherwise / GB:.2f} GB",
            *self.remarks,
        ]


def plan(recipe: Recipe) -> Plan:
    """Raises UsageError if the model's sizes are neither on the disk nor in the recipe, or the two differ."""
    shape = shape_of(recipe)
    own, config, machine, cap = recipe.own, recipe.own.config, recipe.machine, recipe.measure.max_tokens
    kind = recipe.adapter
    mixed = machine.mixed
    dtype = recipe.dtype if recipe.dtype != "auto" else "bfloat16" if kind or mixed else "float32"
    cap = max(cap, config.max_tokens) if isinstance(own, Steer) else cap
    chains = config.problems * config.group if isinstance(own, Steer) else config.batch
    drawn = chains * config.max_tokens if isinstance(own, Steer) else 0
    sampled = max(chains if drawn else 0, machine.gpus * (machine.rows or ROWS))  # measuring fills the engine's rows
    work = Work(
        recipe.method,
        dtype,
        config.tokens,
        sampled,
        config.problems if isinstance(own, Steer) else sampled,
        machine.prompt,
        cap,
        machine.gpus,
        machine.sharded,
        mixed,
        machine.checkpointing,
        machine.rows,
        int(recipe.method == "prune" or bool(getattr(config, "kl", 0.0))),
        shape.adapter(kind.rank, kind.targets) if kind else None,
    )
    remarks = []
    if dtype == "bfloat16" and not mixed and not kind and config.optimiser.lr < LOST:
        remarks.append(
            f"bfloat16 weights round most updates of lr = {config.optimiser.lr:g} away: use dtype = 'float32', an "
            "[adapter], or accelerate launch --mixed_precision bf16 with machine.mixed = true"
        )
    found = estimate(shape, work, machine.memory * GB)
    return Plan(recipe, shape, work, found, chains * (machine.prompt + cap), drawn, tuple(remarks))


def shape_of(recipe: Recipe) -> Shape:
    """The model's sizes, from its config.json where that is on the disk, else from [shape]. Raises UsageError."""
    told, config = recipe.shape, _config(recipe.model)
    if config is None:
        if told is None:
            raise recipe.refuse("", "model", "its config.json is not on this disk; add a [shape] table, or the model")
        return told
    try:
        found = Shape.of(config)
    except UsageError as error:
        if told is not None:
            return told
        raise UsageError(f"{recipe.place.at('', 'model')}: {error}; add a [shape] table of like sizes") from None
    if told is not None and (name := told.differs(found)):
        there = found.head if name == "width" else getattr(found, name)
        raise recipe.refuse("shape", name, f"the model's config.json says {there!r}; correct it, or leave [shape] out")
    if recipe.adapter:
        for name in recipe.adapter.targets:
            if name not in found.linears:
                raise recipe.refuse("adapter", "targets", f"no projection is called {name!r}")
    return found


def _config(model: str) -> Any:
    """transformers' configuration of a model on this disk, None if it is not there."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model, local_files_only=True)
    except (OSError, ValueError):
        return None
