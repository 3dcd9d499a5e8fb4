"""One training in several processes: which one this is, its share of the work, and what all of them must agree on.

`accelerate launch` starts n processes of the same program. Each knows the whole of every batch, so what a loss is
divided by needs no exchange; it goes through its share of the micro-batches, and the gradients are added up.

    data parallel    every process holds the weights; gradients are summed once a step, after the last micro-batch
    FSDP2            weights, gradients and optimiser are sharded (torch's fully_shard, by accelerate's plugin): each
                     pass through the model is one of all processes, so all have equally many, some of them empty
    bfloat16         (--mixed_precision bf16) computes in it; the trained weights, their gradients' sums and the
                     optimiser are float32

Without a launcher this process is alone, and neither accelerate nor torch.distributed is imported.
"""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from ponder.errors import UsageError
from ponder.train.batches import Example, chunks

T = TypeVar("T")

PATIENCE = timedelta(hours=2)  # of a process that waits for another, whose chains may be longer


class Processes:
    """This process, alone: its share is everything, and there is nobody to ask. `mixed`: the model computes in
    bfloat16 on float32 weights."""

    rank, count, mixed = 0, 1, False

    @property
    def main(self) -> bool:
        """Whether this is the one process that writes."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        return list(items[self.rank :: self.count])

    def parts(self, examples: Sequence[Example], tokens: int) -> Iterator[tuple[list[int], bool]]:
        """Indices of this process's micro-batches of at most `tokens` padded tokens, equally many and of like lengths
        in all processes. False marks one that stands in for an empty one: its loss counts 0 times."""
        order = sorted(range(len(examples)), key=lambda i: len(examples[i].ids))
        rows = [order[start : start + self.count] for start in range(0, len(order), self.count)]
        for part in chunks([examples[row[-1]] for row in rows], tokens):
            own = [rows[i][self.rank] for i in part if self.rank < len(rows[i])]
            yield (own, True) if own else (rows[part[0]][:1], False)

    def gather(self, own: list[T]) -> list[T]:
        """All items, in order, from each process's share of them."""
        return own

    def total(self, *values: float) -> Sequence[float]:
        """Each summed over all processes."""
        return values

    def most(self, value: float) -> float:
        """The largest of all processes'."""
        return value

    # --- the model ------------------------------------------------------------------------------------------------

    def apart(self, model: Any) -> Any:
        """What is trained in the place of `model`: itself, or a copy where it is to be sharded or of another type."""
        return model

    def prepare(self, model: Any, adam: torch.optim.Optimizer) -> None:
        """Makes model and optimiser ready, in place; the model's parameters may be others afterwards."""

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def reduce(self, parameters: Sequence[Tensor]) -> None:
        """Sums the gradients over all processes, where `backward` has not."""

    def full(self, value: Tensor) -> Tensor:
        """A tensor of model or optimiser, whole. To be called in all processes."""
        return value.detach()

    def kept(self, value: Tensor) -> Tensor:
        """The same, for the process that writes."""
        return value.detach()

    def placed(self, kept: Tensor, like: Tensor) -> Tensor:
        """A whole tensor, sharded as `like` is."""
        return kept


ALONE = Processes()


class Launched(Processes):
    """One of the processes that a launcher started. `accelerator`: accelerate's, as the launcher's options made it."""

    def __init__(self, accelerator: Any) -> None:
        kind, precision = accelerator.distributed_type.value, accelerator.mixed_precision
        if not (kind == "NO" or kind.startswith("MULTI_") or accelerator.is_fsdp2):
            raise UsageError(f"accelerate launch: {kind}: use data parallel, or --use_fsdp --fsdp_version 2")
        if precision not in ("no", "bf16"):
            raise UsageError(f"accelerate launch: --mixed_precision {precision}: use bf16 or no")
        self._accelerator = accelerator
        self.rank, self.count = accelerator.process_index, accelerator.num_processes
        self.device: torch.device = torch.zeros(0, device=accelerator.device).device  # with its index, if it has one
        self.mixed = precision == "bf16"

    @property
    def sharded(self) -> bool:
        return bool(self._accelerator.is_fsdp2)

    def gather(self, own: list[T]) -> list[T]:
        if self.count == 1:
            return own
        shares: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(shares, own)
        return [shares[i % self.count][i // self.count] for i in range(sum(map(len, shares)))]

    def total(self, *values: float) -> Sequence[float]:
        return self._reduced(torch.tensor(values, dtype=torch.float64, device=self.device), "SUM").tolist()

    def most(self, value: float) -> float:
        return float(self._reduced(torch.tensor(value, dtype=torch.float64, device=self.device), "MAX"))

    def _reduced(self, value: Tensor, how: str) -> Tensor:
        if self.count > 1:
            torch.distributed.all_reduce(value, getattr(torch.distributed.ReduceOp, how))
        return value

    def apart(self, model: Any) -> Any:
        where = next(model.parameters()).device
        if where.type == self.device.type and where != self.device:
            raise UsageError(
                f"the model is on {where}, but this process's device is {self.device}; call "
                "ponder.train.parallel.here() before it is loaded"
            )
        if not (self.sharded or self.mixed) and where == self.device:
            return model
        own = copy.deepcopy(model).to(self.device)
        for parameter in own.parameters():
            if self.mixed and parameter.requires_grad:
                parameter.data = parameter.data.float()
        return own

    def prepare(self, model: Any, adam: torch.optim.Optimizer) -> None:
        for parameter in model.parameters():
            if self.count > 1 and parameter.requires_grad:  # adapters may have been drawn at random
                torch.distributed.broadcast(parameter.data, 0)
        if self.sharded or self.mixed:
            self._accelerator.free_memory()  # what it keeps of a training before
        if not self.sharded:  # DistributedDataParallel would exchange gradients at every micro-batch
            if self.mixed:
                self._accelerator.prepare_model(model, evaluation_mode=True)
            return
        plugin = self._accelerator.state.fsdp_plugin
        plugin.cpu_ram_efficient_loading = False  # every process has the weights: it samples with them
        if self.mixed:  # sums of gradients, and what a model returns, keep float32 where they are
            plugin.mixed_precision_policy = replace(
                plugin.mixed_precision_policy, reduce_dtype=torch.float32, output_dtype=None
            )
        if not getattr(model, "_no_split_modules", None):  # what is sharded on its own, if the model is a part of ours
            found = (getattr(module, "_no_split_modules", None) for module in model.modules())
            model._no_split_modules = next(filter(None, found), None)
        self._accelerator.prepare(model, adam)

    def backward(self, loss: Tensor) -> None:
        super().backward(loss * self.count if self.sharded else loss)  # FSDP takes the mean over processes

    def reduce(self, parameters: Sequence[Tensor]) -> None:
        if self.sharded or self.count == 1:
            return
        touched = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=self.device)
        waits = []
        for parameter, anywhere in zip(parameters, self._reduced(touched, "MAX").tolist(), strict=True):
            if anywhere:  # what no process used stays without a gradient, as in one process
                own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.contiguous()
                parameter.grad = own
                waits.append(torch.distributed.all_reduce(own, async_op=True))
        for wait in waits:
            wait.wait()

    def full(self, value: Tensor) -> Tensor:
        own = value.detach()
        return own.full_tensor() if hasattr(own, "full_tensor") else own

    def kept(self, value: Tensor) -> Tensor:
        own = self.full(value)
        return own.cpu() if self.main else own.new_empty(0)

    def placed(self, kept: Tensor, like: Any) -> Tensor:
        if not hasattr(like, "full_tensor") or kept.shape != like.shape:
            return kept
        from torch.distributed.tensor import distribute_tensor

        whole = kept.to(self.device, like.dtype)
        return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)


@cache
def here() -> Processes:
    """This process's place among those of the launcher, found once. To be called before a model is loaded, since it
    chooses this process's GPU. Raises UsageError without accelerate, or for what is not supported."""
    if not {"LOCAL_RANK", "ACCELERATE_MIXED_PRECISION"} & set(os.environ):
        return ALONE
    try:
        accelerate: Any = importlib.import_module("accelerate")
    except ImportError:
        raise UsageError("training in several processes needs accelerate: pip install 'ponder[local]'") from None
    waiting = accelerate.InitProcessGroupKwargs(timeout=PATIENCE)
    return Launched(accelerate.Accelerator(kwargs_handlers=[waiting]))
