"""Steering: reinforcement learning of the policy on the verifier's rewards.

Each step samples groups of chains, verifies them, drops the groups that say nothing, and takes one optimiser step (or a
few, on parts of the batch). What GRPO, Dr. GRPO, DAPO, RLOO, CISPO, GSPO and MaxRL differ in are two names: how
advantages come from rewards, and how the loss weighs tokens (`advantages`, `losses`).
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ponder.draws import generator
from ponder.engines.hf.engine import HFEngine
from ponder.errors import UsageError
from ponder.tasks.base import Task
from ponder.train import advantages as adv
from ponder.train import losses
from ponder.train.batches import Batch, Example, Pool, logits, pad, picked
from ponder.train.parallel import Processes
from ponder.train.rollouts import RANGE, Group, fit, groups
from ponder.train.trainer import Optimiser, Progress, Trainer
from ponder.types import Problem, Sampling

FRESH = 1e-3  # |log w| of fresh samples in float32: above, engine and trainer do not compute the same policy


@dataclass(frozen=True, slots=True)
class Config:
    """`steps` of `problems` × `group` chains of at most `max_tokens` tokens.

    `advantage`, `k`, `loss`: see `advantages` and `losses`. `refill`: a step draws groups until `problems` of them have
    a range of rewards, at most `refill` × `problems` (1: what is dropped is not replaced). `truncated`: chains that
    ran into the cap are 'wrong', whatever they say, or 'masked' out of the loss. `overlong`: tokens before the cap
    over which DAPO's soft penalty falls, 0 for none. `updates`: optimiser steps on parts of each batch. `entropy`,
    `kl`: weights of an entropy bonus and of the KL to the starting policy (k2 on the sequence). `shuffled`: rewards
    are dealt at random within the batch, the control of everything. `tokens`: padded tokens of a micro-batch.
    `every`: steps between checkpoints.
    """

    steps: int = 64
    problems: int = 64
    group: int = 8
    max_tokens: int = 64
    advantage: adv.Kind = "grpo"
    k: int = 1
    loss: losses.Kind = "dapo"
    refill: float = 1.0
    truncated: Literal["wrong", "masked"] = "wrong"
    overlong: int = 0
    updates: int = 1
    entropy: float = 0.0
    kl: float = 0.0
    shuffled: bool = False
    tokens: int = 4096
    seed: int = 0
    every: int = 20
    optimiser: Optimiser = field(default_factory=lambda: Optimiser(lr=1e-3, warmup=5, final=0.2))

    def check(self) -> None:
        """Raises UsageError naming the field."""
        if self.group < 2:
            raise UsageError(f"steer: group = {self.group}: one chain alone has no advantage; give at least 2")
        if self.refill < 1:
            raise UsageError(f"steer: refill = {self.refill}: must be at least 1 (1: dropped groups are not replaced)")
        if not 1 <= self.k <= self.group or (self.k > 1 and self.advantage != "pass_k"):
            raise UsageError(f"steer: k = {self.k}: 1 to {self.group}, and above 1 only with advantage = 'pass_k'")
        if not 0 <= self.overlong <= self.max_tokens:
            raise UsageError(f"steer: overlong = {self.overlong}: 0 to max_tokens = {self.max_tokens}")
        if self.overlong and self.advantage in ("pass_k", "maxrl"):
            raise UsageError(f"steer: overlong needs rewards that may be shaped; not with {self.advantage!r}")
        if self.updates < 1 or self.steps < 1 or self.problems < 1:
            raise UsageError("steer: steps, problems and updates must be at least 1")


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """What one step learns from: a row a chain of a kept group."""

    examples: list[Example]
    sampled: list[tuple[float, ...]]
    advantages: Tensor


def train(
    config: Config,
    engine: HFEngine,
    task: Task,
    problems: Sequence[Problem],
    folder: Path | None = None,
    progress: Progress | None = None,
    reference: Any = None,
) -> None:
    """Trains the engine's model in place, on `problems` of `task`; goes on from `folder` if it holds a checkpoint. Of
    several processes each samples and verifies its share of a step's groups, with an engine of its own; which chains
    these are does not depend on how many there are.

    `reference`: the starting policy, needed if `kl` is not 0. Raises UsageError for a bad configuration,
    CapabilityError if the engine cannot be trained on, FloatingPointError if the policy that sampled is not the one
    that is trained (|log w| of fresh samples, float32)."""
    config.check()
    fit(engine, Sampling(temperature=1.0))
    if config.kl and reference is None:
        raise UsageError("steer: kl needs the starting policy as reference")
    steps, every = config.steps * config.updates, config.every * config.updates
    trainer = Trainer(engine.model, config.optimiser, steps, folder=folder, every=every)
    pool = Pool(problems, config.seed, "problems")
    world = trainer.world
    engine.renew(str(trainer.step))
    with _settled():
        while trainer.step < trainer.steps:
            turn = trainer.step // config.updates
            drawn = _draw(config, engine, task, pool, turn, world)
            figures = _figures(drawn, config)
            batch = _batch(config, drawn, engine, turn)
            if batch.examples:
                figures |= _learn(config, trainer, batch, reference)
            else:  # nothing to prefer: the step is spent all the same, so that runs end by counts
                trainer.skip(config.updates)
            trainer.publish()
            engine.renew(str(trainer.step))
            trainer.log(**figures)
            trainer.maybe_save()
            if progress and world.main:
                progress(turn + 1, config.steps, figures)
    trainer.close()


@contextmanager
def _settled() -> Iterator[None]:
    """While chains come and go, what is there already need not be looked through for garbage."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _draw(config: Config, engine: HFEngine, task: Task, pool: Pool, turn: int, world: Processes) -> list[Group]:
    """This step's groups, of all processes: the next problems in an order of the seed, more of them while too few have
    a range."""
    most = int(config.problems * config.refill)
    found: list[Group] = []
    kept = 0
    while kept < config.problems and len(found) < most:
        wanted = min(config.problems - kept, most - len(found))
        start = turn * most + len(found)
        chosen = world.share(pool.between(start, start + wanted))
        own = groups(
            engine, task, chosen, config.group, cap=config.max_tokens, seed=config.seed,
            label=f"steer/{turn}/{len(found)}", answers=False,
        )  # fmt: skip
        if config.truncated == "wrong":
            own = [group.cut_is_wrong() for group in own]
        new = world.gather(own)
        found += new
        kept += sum(group.differs for group in new)
    return found


def _batch(config: Config, drawn: Sequence[Group], engine: HFEngine, turn: int) -> _Batch:
    """Chains of groups with a range of the verifier's reward, with their advantages."""
    sound = [group for group in drawn if group.sound]
    if not sound:
        return _Batch([], [], torch.zeros(0))
    rewards = torch.tensor([group.rewards for group in sound], dtype=torch.float64)
    if config.shuffled:
        flat = rewards.flatten().tolist()
        generator(config.seed, "shuffled", turn).shuffle(flat)
        rewards = torch.tensor(flat, dtype=torch.float64).view_as(rewards)
    kept = adv.keeps(rewards, RANGE)
    if config.overlong:
        lengths = torch.tensor([[chain.tokens for chain in group.chains] for group in sound])
        rewards = rewards + adv.overlong(lengths, config.max_tokens, config.overlong)
    values = adv.advantages(rewards, config.advantage, k=config.k, kept=kept)
    rows: list[tuple[Example, tuple[float, ...], float]] = []
    for group, keep, own in zip(sound, kept.tolist(), values.tolist(), strict=True):
        prompt = engine.ids(group.problem.root) if keep else ()
        for chain, value, cut in zip(group.chains, own, group.truncated, strict=True):
            if keep and not (cut and config.truncated == "masked"):
                rows.append((Example.of(prompt, chain), chain.logprobs or (), value))
    return _Batch([r[0] for r in rows], [r[1] for r in rows], torch.tensor([r[2] for r in rows], dtype=torch.float32))


def _learn(config: Config, trainer: Trainer, batch: _Batch, reference: Any) -> dict[str, float]:
    """The optimiser steps on one batch. Returns what there is to say of them."""
    order = list(range(len(batch.examples)))
    size = math.ceil(len(order) / config.updates)
    figures: dict[str, float] = {}
    for update in range(config.updates):
        part = order[update * size : (update + 1) * size]
        if not part:
            trainer.skip(1)
            continue
        told = _Told()
        padded = pad([batch.examples[i] for i in part])
        norm = trainer.update(_losses(config, trainer, batch, part, padded, reference, told))
        drift = trainer.world.most(told.drift)
        if update == 0 and trainer.exact and drift > FRESH:
            raise FloatingPointError(
                f"fresh samples have |log w| up to {drift:.2g}: engine and trainer do not agree on the policy"
            )
        loss, spread, clipped, units = trainer.world.total(told.loss, told.entropy, told.clipped, told.units)
        tokens = int(padded.mask.sum())
        figures = {
            "loss": loss, "norm": norm, "entropy": spread / max(tokens, 1), "log_w": drift,
            "clipped": clipped / max(units, 1), "trained_tokens": tokens,
        }  # fmt: skip
    return figures


@dataclass(slots=True)
class _Told:
    loss: float = 0.0
    entropy: float = 0.0
    drift: float = 0.0
    clipped: float = 0.0
    units: float = 0.0


def _losses(
    config: Config, trainer: Trainer, batch: _Batch, part: list[int], every: Batch, reference: Any, told: _Told
) -> Iterator[Tensor]:
    """The loss of each micro-batch of `every`, the padded `part` of the batch, divided by what all of it counts."""
    whole = losses.denominator(every.mask, config.loss, config.max_tokens)
    sampled = _aligned(every, [batch.sampled[i] for i in part])
    for rows, real in trainer.world.parts([batch.examples[i] for i in part], config.tokens):
        chosen = [part[i] for i in rows]
        width = max(len(batch.examples[i].ids) for i in chosen)
        padded = every.part(rows, width, trainer.device)
        predictions = logits(trainer.model, padded.ids)
        new = picked(predictions, padded)
        old = sampled[rows, :width].to(trainer.device)
        values = batch.advantages[chosen].to(trainer.device)
        found = losses.policy_loss(new, old, values, padded.mask, denominator=whole, kind=config.loss)
        loss = found.loss
        with torch.set_grad_enabled(config.entropy > 0):
            spread = losses.entropy(predictions, padded.mask[:, 1:])
        told.entropy += real * float(spread.detach().sum())
        if config.entropy:
            loss = loss - config.entropy * spread.sum() / int(whole)
        if config.kl:
            with torch.no_grad():
                start = picked(logits(reference, padded.ids), padded)
            loss = loss + config.kl * losses.kl_k2_sequence(new, start, padded.mask).sum() / len(part)
        told.drift = max(told.drift, losses.drift(new, old, padded.mask)[0])
        told.loss += real * float(loss.detach())
        told.clipped += real * float(found.clipped)
        told.units += real * float(found.units)
        yield real * loss


def _aligned(batch: Batch, sampled: Sequence[tuple[float, ...]]) -> Tensor:
    """The engine's log-probs [B, T] at the tokens that it wrote."""
    found = torch.zeros(batch.mask.shape)
    found[batch.mask] = torch.tensor([value for own in sampled for value in own])
    return found


def _figures(drawn: Sequence[Group], config: Config) -> dict[str, float]:
    chains = sum(len(group.chains) for group in drawn)
    kept = sum(group.differs for group in drawn)
    return {
        "reward": sum(sum(group.rewards) for group in drawn) / chains,
        "pass": sum(max(group.rewards) > 0 for group in drawn) / len(drawn),
        "dropped": 1 - kept / len(drawn),
        "truncated": sum(sum(group.truncated) for group in drawn) / chains,
        "tokens": sum(group.tokens for group in drawn),
        "length": sum(group.tokens for group in drawn) / chains,
        "problems": len(drawn),
    }
