"""Memory to work in, used again: new pages cost more than what a small model computes in them."""

from __future__ import annotations

import bisect
from typing import ClassVar

import torch
from torch import Tensor


class Space:
    """Floats that are lent for as long as this object lives; `at` is where they are. What stands in them is old."""

    _free: ClassVar[list[Tensor]] = []  # the smallest first

    def __init__(self, floats: int) -> None:
        self._memory = self._taken(floats)
        self.at = self._memory.data_ptr()

    @classmethod
    def _taken(cls, floats: int) -> Tensor:
        for index, memory in enumerate(cls._free):
            if memory.numel() >= floats:
                return cls._free.pop(index)
        if cls._free:  # too small; the larger one that is made now takes its place
            cls._free.pop()
        return torch.empty(floats)

    def __del__(self) -> None:
        bisect.insort(self._free, self._memory, key=torch.Tensor.numel)
