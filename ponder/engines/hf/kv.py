"""Keys and values of ragged rows, in place: what a transformers model writes to and reads from as its cache.

Row r holds its tokens at positions 0 … length - 1 of its own stretch, left-aligned, so a row may be filled, moved,
cut out or replaced without touching another. A forward pass writes at `at`; positions beyond a row's length hold old
numbers, which the mask hides. They are finite (buffers start as zeros), since 0 × NaN is NaN under any mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK = 64  # positions by which the stretch grows


class KV:
    """One tensor [rows, heads, room + 1, width] a layer for keys, one for values, made when the layer first writes.

    The last position takes what padding writes. It has the methods that models call on a cache.
    """

    is_compileable = False

    def __init__(self, rows: int, room: int) -> None:
        self.rows, self.room = rows, room
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._at: tuple[Tensor, Tensor] | None = None
        self._seen, self._used = 0, 0

    # --- what a model calls -----------------------------------------------------------------------------------

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Writes keys and values [b, heads, q, width] at the places of `open`; returns all of the rows in use."""
        assert self._at is not None, "open() comes before a forward pass"
        while len(self._keys) <= layer:
            self._keys.append(keys.new_zeros(self.rows, keys.shape[1], self.room + 1, keys.shape[3]))
            self._values.append(values.new_zeros(self.rows, values.shape[1], self.room + 1, values.shape[3]))
        row, at = self._at
        stored_keys, stored_values = self._keys[layer], self._values[layer]
        stored_keys[row, :, at] = keys.transpose(1, 2)
        stored_values[row, :, at] = values.transpose(1, 2)
        return stored_keys[: self._used, :, : self._seen], stored_values[: self._used, :, : self._seen]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self._seen

    def cells(self, at: Tensor, heads: int) -> Tensor:
        """Places [b · heads] of position at[i] of row i, head by head, in a layer's keys seen as […, width]."""
        row = torch.arange(at.shape[0] * heads, device=at.device) * (self.room + 1)
        return row + at.repeat_interleave(heads)

    def write(self, layer: int, cells: Tensor, keys: Tensor, values: Tensor, seen: int) -> tuple[Tensor, Tensor]:
        """`update` for one token a row: keys and values [b, heads, width] go to `cells`."""
        found = []
        for stored, new in ((self._keys[layer], keys), (self._values[layer], values)):
            stored.view(-1, stored.shape[3]).index_copy_(0, cells, new.reshape(-1, stored.shape[3]))
            found.append(stored[: new.shape[0], :, :seen])
        return found[0], found[1]

    # --- what the sampler calls -------------------------------------------------------------------------------

    def open(self, at: Tensor, seen: int) -> None:
        """Readies a forward pass over rows 0 … b - 1: token j of row i is written at at[i, j], and the first `seen`
        positions are shown. `room` as a place is for padding."""
        row = torch.arange(at.shape[0], device=at.device)[:, None].expand_as(at)
        self._at, self._seen, self._used = (row, at), seen, at.shape[0]

    def grow(self, room: int) -> None:
        """Makes each stretch at least `room` positions long."""
        if room <= self.room:
            return
        room = -(-max(room, self.room * 5 // 4) // BLOCK) * BLOCK
        for tensors in (self._keys, self._values):
            for i, old in enumerate(tensors):
                new = old.new_zeros(old.shape[0], old.shape[1], room + 1, old.shape[3])
                new[:, :, : self.room] = old[:, :, : self.room]
                tensors[i] = new
        self.room = room

    def move(self, source: Sequence[int], target: Sequence[int], length: int) -> None:
        """Copies the first `length` positions of rows `source` to rows `target`, which must be others."""
        for tensor in (*self._keys, *self._values):
            tensor[list(target), :, :length] = tensor[list(source), :, :length]

    def copy_from(self, other: KV, source: Sequence[int], target: Sequence[int], length: int) -> None:
        """Copies the first `length` positions of rows `source` of `other` to rows `target` here."""
        for mine, theirs in ((self._keys, other._keys), (self._values, other._values)):
            for layer, tensor in enumerate(theirs):
                if layer == len(mine):
                    mine.append(tensor.new_zeros(self.rows, tensor.shape[1], self.room + 1, tensor.shape[3]))
                mine[layer][list(target), :, :length] = tensor[list(source), :, :length]

    def cut(self, row: int, start: int, stop: int) -> Run:
        """A copy of positions start … stop - 1 of a row."""
        return Run(
            [t[row, :, start:stop].clone() for t in self._keys], [t[row, :, start:stop].clone() for t in self._values]
        )

    def paste(self, row: int, start: int, run: Run, end: int) -> None:
        """Writes a run into a row, from `start` on, as far as position `end`."""
        stop = min(start + len(run), end)
        for mine, theirs in ((self._keys, run.keys), (self._values, run.values)):
            for layer, tensor in enumerate(theirs):
                if layer == len(mine):
                    mine.append(tensor.new_zeros(self.rows, tensor.shape[0], self.room + 1, tensor.shape[2]))
                mine[layer][row, :, start:stop] = tensor[:, : max(stop - start, 0)]


class Run:
    """Keys and values of consecutive tokens of one sequence: a tensor [heads, tokens, width] a layer, of each."""

    __slots__ = ("keys", "values")

    def __init__(self, keys: list[Tensor], values: list[Tensor]) -> None:
        self.keys, self.values = keys, values

    def __len__(self) -> int:
        return self.keys[0].shape[1] if self.keys else 0

    def join(self, other: Run) -> Run:
        """This run and then `other`."""
        return Run(
            [torch.cat(pair, dim=1) for pair in zip(self.keys, other.keys, strict=True)],
            [torch.cat(pair, dim=1) for pair in zip(self.values, other.values, strict=True)],
        )
