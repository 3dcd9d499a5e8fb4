"""Chains as padded batches, and the log-probs that a model gives their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ponder.draws import generator
from ponder.types import Chain


@dataclass(frozen=True, slots=True)
class Example:
    """One sequence. `trained` says for each token whether the loss counts it: what the model wrote, never its prompt
    or text that was given to it."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]

    @classmethod
    def after(cls, prompt: Sequence[int], completion: Sequence[int]) -> Example:
        """A completion after its prompt. Raises ValueError if either is empty: a first token has no prediction."""
        if not prompt or not completion:
            raise ValueError("an example needs a prompt and a completion of at least one token each")
        return cls((*prompt, *completion), (False,) * len(prompt) + (True,) * len(completion))

    @classmethod
    def of(cls, prompt: Sequence[int], chain: Chain) -> Example:
        """What was sampled of a chain after its prompt. Raises ValueError if a segment came without token ids."""
        ids, trained = list(prompt), [False] * len(prompt)
        for segment in chain.segments:
            if segment.ids is None:
                raise ValueError(f"chain {chain.key!r} has text without token ids; train on what was sampled")
            ids += segment.ids
            trained += [segment.kind != "given"] * len(segment.ids)
        return cls(tuple(ids), tuple(trained))

    @property
    def count(self) -> int:
        """Tokens that the loss counts."""
        return sum(self.trained)


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded: `ids` int64 [B, T], `mask` bool [B, T] true at the tokens that the loss counts. The one mask is
    for losses and denominators alike."""

    ids: Tensor
    mask: Tensor

    def part(self, rows: Sequence[int], width: int, device: torch.device | str) -> Batch:
        """Some of the sequences, none of them longer than `width`."""
        return Batch(self.ids[rows, :width].to(device), self.mask[rows, :width].to(device))


def pad(examples: Sequence[Example], device: torch.device | str = "cpu") -> Batch:
    """One batch, as wide as its longest sequence."""
    lengths = torch.tensor([len(example.ids) for example in examples])
    there = torch.arange(int(lengths.max())) < lengths[:, None]
    ids, mask = torch.zeros(there.shape, dtype=torch.int64), torch.zeros(there.shape, dtype=torch.bool)
    ids[there] = torch.tensor([token for example in examples for token in example.ids])
    mask[there] = torch.tensor([trained for example in examples for trained in example.trained])
    return Batch(ids.to(device), mask.to(device))


def chunks(examples: Sequence[Example], tokens: int) -> Iterator[list[int]]:
    """Indices of micro-batches of at most `tokens` padded tokens (a longer sequence is alone), of like lengths."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].ids))
    part: list[int] = []
    for index in order:
        if part and len(examples[index].ids) * (len(part) + 1) > tokens:
            yield part
            part = []
        part.append(index)
    if part:
        yield part


class Pool:
    """Items in an order of its own for each pass over them: what stands at a place is a function of (seed, name,
    place) alone."""

    def __init__(self, items: Sequence[Any], seed: int, name: str) -> None:
        self._items, self._seed, self._name = items, seed, name
        self._orders: dict[int, list[int]] = {}

    def take(self, step: int, count: int) -> list[Any]:
        """The items of a step that takes `count`, as all before it did."""
        return self.between(step * count, (step + 1) * count)

    def between(self, start: int, stop: int) -> list[Any]:
        """The items at places start … stop - 1."""
        found = []
        for place in range(start, stop):
            turn, index = divmod(place, len(self._items))
            if turn not in self._orders:
                self._orders = {t: order for t, order in self._orders.items() if t == turn - 1}
                self._orders[turn] = list(range(len(self._items)))
                generator(self._seed, self._name, turn).shuffle(self._orders[turn])
            found.append(self._items[self._orders[turn][index]])
        return found


def wide(values: Tensor) -> Tensor:
    """In float32 at least."""
    return values if values.dtype == torch.float64 else values.float()


def logits(model: Any, ids: Tensor) -> Tensor:
    """Predictions [B, T - 1, V], float32 at least, of tokens 1 … T - 1. Padding is on the right, where causal attention
    never looks, so no mask is needed."""
    return wide(model(input_ids=ids, use_cache=False).logits[:, :-1])


def logprobs(model: Any, batch: Batch) -> Tensor:
    """Log-probs [B, T] of the tokens where the mask is true, 0 elsewhere."""
    return picked(logits(model, batch.ids), batch)


def picked(predictions: Tensor, batch: Batch) -> Tensor:
    """From predictions [B, T - 1, V] the log-probs [B, T] of the tokens that are there."""
    own = predictions.gather(-1, batch.ids[:, 1:, None])[..., 0] - predictions.logsumexp(-1)
    return torch.where(batch.mask, torch.nn.functional.pad(own, (1, 0)), 0.0)
