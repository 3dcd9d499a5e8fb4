"""One forward pass over ragged rows, for any transformers causal model whose layers keep keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ponder.engines.hf.few import FewOperations
from ponder.engines.hf.kv import KV
from ponder.models.forms import head_width
from ponder.models.native.quick import quick, quicken, reads


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model's work and memory follow from. `weights`: active parameters of the layers; `head`: of the output
    layer; `attention`: layers × width of all their heads, for 4·L·d·t FLOPs a token at context t."""

    weights: int
    head: int
    attention: int

    def flops(self, fresh: int, before: int, logits: int) -> float:
        """FLOPs of `fresh` tokens after `before` cached ones, `logits` of them with logits (formulas: 2·N a token,
        2·V·d where logits are taken, 4·L·d·t for attention over t tokens)."""
        attended = before * fresh + fresh * (fresh + 1) / 2
        return 2.0 * self.weights * fresh + 2.0 * self.head * logits + 4.0 * self.attention * attended


class Forward:
    """A model's forward pass, in the terms of the sampler. `processed` counts the tokens that went through it. The
    model predicts tokens or, for scorers, has a head of its own on every token, whose outputs are the 'logits' here."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.device: torch.device = model.device
        self.shape = shape_of(model)
        self.processed = 0
        self._trims = model.get_output_embeddings() is not None  # other heads do not know logits_to_keep
        self._columns = torch.arange(0, device=self.device)
        self._few = FewOperations(model) if FewOperations.fits(model) else None
        self.reads = reads(quicken(model))  # whole sequences in C
        self.quick = quick(model)  # whole chains may be drawn in C

    def begin(self) -> None:
        """To be called before a batch of steps: the weights may have changed."""
        if self._few is not None:
            self._few.refresh()

    def read(self, kv: KV, ids: Sequence[Sequence[int]], before: Sequence[int], keep: int = 1) -> Tensor:
        """Feeds the tokens ids[i] to row i of `kv` after the before[i] tokens that it holds; returns the logits
        [rows, keep, V] of each row's last `keep` tokens, right-aligned."""
        longest = max(map(len, ids))
        room = max(start + len(row) for start, row in zip(before, ids, strict=True))
        kv.grow(room)
        padded = [[0] * (longest - len(row)) + list(row) for row in ids]
        at = [
            [kv.room] * (longest - len(row)) + list(range(start, start + len(row)))
            for start, row in zip(before, ids, strict=True)
        ]
        tokens = torch.tensor(padded, device=self.device)
        places = torch.tensor(at, device=self.device)
        self.processed += sum(map(len, ids))
        return self._pass(kv, tokens, places, room, keep)

    def whole(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """The logits [rows, longest, V] of sequences from their start, right-padded; nothing is kept."""
        longest = max(map(len, ids))
        padded = torch.tensor([[*row] + [0] * (longest - len(row)) for row in ids], device=self.device)
        self.processed += sum(map(len, ids))
        logits: Tensor = self.model(input_ids=padded, use_cache=False).logits
        return logits

    def step(self, kv: KV, tokens: Tensor, at: Tensor, seen: int) -> Tensor:
        """Feeds one token to each of rows 0 … b - 1, at positions `at` [b]; returns logits [b, V]. `seen`: the
        longest row's length with this token."""
        self.processed += tokens.shape[0]
        if self._few is not None:
            return self._few.step(kv, tokens, at, seen, self._mask(at[:, None], seen))
        return self._pass(kv, tokens[:, None], at[:, None], seen, 1)[:, 0]

    def _pass(self, kv: KV, tokens: Tensor, places: Tensor, seen: int, keep: int) -> Tensor:
        positions = torch.where(places == kv.room, 0, places) if tokens.shape[1] > 1 else places
        kv.open(places, seen)
        found = self.model(
            input_ids=tokens,
            attention_mask=self._mask(positions, seen),
            position_ids=positions,
            cache=kv,
            use_cache=True,
            **({"logits_to_keep": keep} if self._trims else {}),
        )
        logits: Tensor = found.logits
        return logits[:, -keep:]

    def _mask(self, positions: Tensor, seen: int) -> Tensor:
        """[b, 1, q, seen], to be added: a token sees the positions up to its own."""
        if len(self._columns) < seen:
            self._columns = torch.arange(2 * seen, device=self.device)
        hidden = self._columns[:seen] > positions[:, None, :, None]
        mask = torch.zeros(hidden.shape, dtype=self.model.dtype, device=self.device)
        return mask.masked_fill_(hidden, float("-inf"))


def shape_of(model: Any) -> Shape:
    """Counts a model's parameters by what they cost. Embedding rows are looked up, so they are not counted."""
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    inside = model.get_input_embeddings()
    size = head.weight.numel() if head is not None else 0
    shared = head is not None and head.weight is inside.weight
    weights = sum(p.numel() for p in model.parameters()) - inside.weight.numel() - (0 if shared else size)
    return Shape(weights, size, config.num_hidden_layers * config.num_attention_heads * head_width(config))
