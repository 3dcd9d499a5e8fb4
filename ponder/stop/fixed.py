"""All samples at once."""

from __future__ import annotations

from collections.abc import Sequence

from ponder.ops import Stop
from ponder.types import Chain, Classes, Left, Rating


def build(samples: int, classes: Classes) -> Stop:
    def stop(chains: Sequence[Chain], ratings: Sequence[Rating] | None, left: Left) -> int:
        return max(0, samples - len(chains))

    return stop
