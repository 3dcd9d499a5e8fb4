"""Chains as padded batches, and the log-probs that a model gives their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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


def pad(examples: Sequence[Example], device: torch.device | str = "cpu") -> Batch:
    """One batch, as wide as its longest sequence."""
    widest = max(len(example.ids) for example in examples)
    ids = [list(e.ids) + [0] * (widest - len(e.ids)) for e in examples]
    mask = [list(e.trained) + [False] * (widest - len(e.ids)) for e in examples]
    return Batch(torch.tensor(ids, device=device), torch.tensor(mask, device=device))


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


def logits(model: Any, ids: Tensor) -> Tensor:
    """Predictions float32 [B, T - 1, V] of tokens 1 … T - 1. Padding is on the right, where causal attention never
    looks, so no mask is needed."""
    found: Tensor = model(input_ids=ids, use_cache=False).logits
    return found[:, :-1].float()


def logprobs(model: Any, batch: Batch, *, temperature: float = 1.0) -> Tensor:
    """Log-probs float32 [B, T] of the tokens where the mask is true, 0 elsewhere."""
    return picked(logits(model, batch.ids) / temperature, batch)


def picked(predictions: Tensor, batch: Batch) -> Tensor:
    """From predictions [B, T - 1, V] the log-probs [B, T] of the tokens that are there."""
    own = predictions.gather(-1, batch.ids[:, 1:, None])[..., 0] - predictions.logsumexp(-1)
    return torch.where(batch.mask, torch.nn.functional.pad(own, (1, 0)), 0.0)
