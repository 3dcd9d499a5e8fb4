"""Memory to work in, used again: new pages cost more than what a small model computes in them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor


class Space:
    """Floats that are lent for as long as this object lives; `at` is where they are. What stands in them is old. Any
    thread may ask, and the garbage collector may give back at any time: what is free changes in single operations."""

    _free: ClassVar[dict[int, Tensor]] = {}

    def __init__(self, floats: int) -> None:
        self._memory = self._taken(floats)
        self.at = self._memory.data_ptr()

    @classmethod
    def _taken(cls, floats: int) -> Tensor:
        fits = [(memory.numel(), key) for key, memory in list(cls._free.items()) if memory.numel() >= floats]
        for _, key in sorted(fits):
            memory = cls._free.pop(key, None)  # None: another thread was faster
            if memory is not None and memory.numel() >= floats:
                return memory
        for key in list(cls._free)[:1]:  # a smaller one makes room for the one that is made now
            cls._free.pop(key, None)
        return torch.empty(floats)

    def __del__(self) -> None:
        self._free[id(self._memory)] = self._memory
