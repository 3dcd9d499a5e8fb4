"""What every training method shares: the optimiser with its schedule, exact micro-batches, checkpoints and metrics.

A work item is one optimiser step. A checkpoint holds all that the next step depends on (weights, optimiser, step), and
is written whole or not at all; chance comes from counters, so nothing else has to be kept. A killed run goes on from
its last checkpoint and takes the same steps again. Of several processes (`parallel`) the main one writes; a checkpoint
holds whole tensors, so another number of processes can go on from it.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ponder.errors import UsageError, storage_error
from ponder.models.native.quick import quicken
from ponder.train.parallel import Processes, here
from ponder.whole import whole_folder, write_whole


@dataclass(frozen=True, slots=True)
class Optimiser:
    """AdamW with linear warm-up over `warmup` steps and a cosine from `lr` to `lr` × `final` at the last step.
    `clip`: the largest norm of a gradient."""

    lr: float = 1e-3
    warmup: int = 10
    final: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.98
    decay: float = 0.0
    clip: float = 1.0

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step 0 … steps - 1."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        share = (step - self.warmup) / max(1, steps - 1 - self.warmup)
        return self.lr * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))))


class Trainer:
    """Takes optimiser steps on a model's trainable parameters (adapters alone, where these are) and keeps its folder.

    `folder` None keeps nothing (tests, phases of a larger run that keep their own). `every`: steps between
    checkpoints. `step` counts the steps done. `world`: the processes that train together, default what the launcher
    started. `model` is what goes through a pass in training: the given one, or a sharded or float32 copy of it, whose
    weights it has after `publish`."""

    def __init__(
        self,
        model: Any,
        optimiser: Optimiser,
        steps: int,
        *,
        folder: Path | None = None,
        every: int = 50,
        world: Processes | None = None,
    ) -> None:
        self.world = world or here()
        self.optimiser, self.steps, self.folder, self.every = optimiser, steps, folder, every
        self.step = 0
        self.given = model
        if not _trainable(model):
            raise UsageError("the model has no parameter to train; choose what is to be trained")
        self.model = quicken(self.world.apart(model))
        self._trained = _trainable(self.model)
        self._adam = torch.optim.AdamW(
            self._trained,
            lr=optimiser.lr,
            betas=(optimiser.beta1, optimiser.beta2),
            weight_decay=optimiser.decay,
            fused=all(p.device.type in ("cpu", "cuda") for p in self._trained),
        )
        self.world.prepare(self.model, self._adam)
        self._trained = _trainable(self.model)
        self._metrics: list[dict[str, Any]] = []
        self._board: Any = None
        if folder is not None:
            self._open(folder)
        self.publish()

    @property
    def device(self) -> torch.device:
        device: torch.device = self._trained[0].device
        return device

    @property
    def trained(self) -> int:
        """How many numbers are trained."""
        return sum(p.numel() for p in self._trained)

    @property
    def exact(self) -> bool:
        """Whether the model computes in float32, as whoever samples from its weights does."""
        return bool(self.given.dtype == torch.float32) and not self.world.mixed

    def update(self, losses: Iterable[torch.Tensor]) -> float:
        """One step on the sum of `losses` (each already divided by the denominator of the whole batch, over all
        processes, so that their split does not matter); the gradients are added up as they come. Returns the norm of
        the whole gradient before clipping. Raises FloatingPointError, in all processes and before anything is changed,
        if it is not finite."""
        self._adam.zero_grad(set_to_none=True)
        for loss in losses:
            self.world.backward(loss)
        self.world.reduce(self._trained)
        norm = float(self.world.full(torch.nn.utils.clip_grad_norm_(self._trained, self.optimiser.clip)))
        if not math.isfinite(norm):
            raise FloatingPointError(f"step {self.step}: the gradient's norm is {norm}; nothing was changed")
        for group in self._adam.param_groups:
            group["lr"] = self.optimiser.rate(self.step, self.steps)
        self._adam.step()
        self.step += 1
        return norm

    def skip(self, steps: int) -> None:
        """Counts steps for which there was nothing to learn from."""
        self.step += steps

    @torch.no_grad()
    def publish(self) -> None:
        """Gives the model that was given the weights of now, if a copy is trained in its place. In all processes."""
        if self.model is not self.given:
            for target, own in zip(_trainable(self.given), self._trained, strict=True):
                target.copy_(self.world.full(own))

    def log(self, **values: float) -> None:
        """Notes figures of the step just done; they reach the disk with the next checkpoint."""
        self._metrics.append({"step": self.step, **values})

    def maybe_save(self) -> None:
        """Writes a checkpoint where one is due, and at the last step."""
        if self.folder is not None and (self.step % self.every == 0 or self.step == self.steps):
            self.save()

    # --- the folder -------------------------------------------------------------------------------------------

    def _open(self, folder: Path) -> None:
        """Goes on from the newest checkpoint, if there is one."""
        if self.world.main:
            folder.mkdir(parents=True, exist_ok=True)
            for half in folder.glob(".step-*"):
                shutil.rmtree(half, ignore_errors=True)
        found = (int(path.name.split("-")[1]) for path in folder.glob("step-*"))
        newest = int(self.world.most(max(found, default=-1)))
        if newest >= 0:
            self._load(folder / f"step-{newest}")
        if self.world.main:
            self._keep_metrics()

    def _load(self, path: Path) -> None:
        state = torch.load(path / "training.pt", map_location="cpu", weights_only=True, mmap=True)
        with torch.no_grad():
            for mine, kept in zip(self._trained, state["weights"], strict=True):
                mine.copy_(self.world.placed(kept, mine))
        moments = state["adam"]["state"]
        for index, own in moments.items():
            moments[index] = {key: self.world.placed(kept, self._trained[index]) for key, kept in own.items()}
        self._adam.load_state_dict(state["adam"])
        self.step = int(state["step"])

    def _keep_metrics(self) -> None:
        """Drops figures of steps that will be taken again."""
        assert self.folder is not None
        path = self.folder / "metrics.jsonl"
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= self.step]
            write_whole(path, "".join(line + "\n" for line in lines))

    def save(self) -> None:
        """Writes weights, optimiser and step as a folder that appears whole, then removes the one before. To be called
        in all processes."""
        adam = self._adam.state_dict()
        adam["state"] = {
            index: {key: self.world.kept(value) for key, value in own.items()} for index, own in adam["state"].items()
        }
        state = {"weights": [self.world.kept(p) for p in self._trained], "adam": adam, "step": self.step}
        if self.world.main:
            self._write(state)
        self._metrics = []

    def _write(self, state: dict[str, Any]) -> None:
        assert self.folder is not None
        target = self.folder / f"step-{self.step}"
        try:
            with whole_folder(target) as part:
                part.mkdir()
                torch.save(state, part / "training.pt")
                with (self.folder / "metrics.jsonl").open("a") as file:
                    file.writelines(json.dumps(line) + "\n" for line in self._metrics)
                if target.exists():
                    shutil.rmtree(target)
        except OSError as error:
            raise storage_error(target, error) from None
        self._events()
        for old in self.folder.glob("step-*"):
            if old != target:
                shutil.rmtree(old, ignore_errors=True)

    def _events(self) -> None:
        """The same figures as TensorBoard events, where tensorboardX is installed."""
        try:
            from tensorboardX import SummaryWriter  # type: ignore[import-untyped]
        except ImportError:
            return
        if self._board is None:
            self._board = SummaryWriter(str(self.folder))
        for line in self._metrics:
            for name, value in line.items():
                if name != "step" and isinstance(value, (int, float)):
                    self._board.add_scalar(name, value, line["step"])
        self._board.flush()

    def close(self) -> None:
        """Ends the file of events; its writer is a thread that would outlive the training."""
        if self._board is not None:
            self._board.close()
            self._board = None


def _trainable(model: Any) -> list[Any]:
    return [p for p in model.parameters() if p.requires_grad]


Progress = Callable[[int, int, dict[str, float]], None]
"""Told (step, steps, figures) after each step, in the main process."""
