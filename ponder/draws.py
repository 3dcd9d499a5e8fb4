"""Counter randomness: a number for every place where chance is needed, from names alone.

A counter is a hash of (seed, names…). Nothing is drawn from a stream, so what a chain gets does not depend on
the batch it was in, on the arm that asked, or on whether the run was resumed.
"""

from __future__ import annotations

import hashlib
import random


def counter(seed: int, *names: object) -> int:
    """64 bits from (seed, names…). Names are joined with a separator that cannot occur in a number or key."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def uniform(seed: int, *names: object) -> float:
    """A float in [0, 1) from (seed, names…)."""
    return (counter(seed, *names) >> 11) * 2.0**-53


def generator(seed: int, *names: object) -> random.Random:
    """A generator of its own for (seed, names…), where one place needs many numbers."""
    return random.Random(counter(seed, *names))
