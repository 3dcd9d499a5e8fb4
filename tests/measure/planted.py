"""Samples whose truth is planted, for the tests of fits, taste and advice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def binary_rows(
    p: Floats,
    n: int,
    *,
    d: float = 1.0,
    wrong: float = 1.0,
    rivals: int = 6,
    seed: int = 0,
    offset: float = 0.0,
    tokens: int | None = 10,
    error: Callable[[np.random.Generator, Any], Floats] | None = None,
) -> list[dict[str, Any]]:
    """Rows of problems with chances p: right chains score d above wrong ones, which have spread `wrong`; `offset` times
    p is added, which tells problems apart and nothing within them."""
    random = np.random.default_rng(seed)
    rows = []
    for i, chance in enumerate(p):
        right = random.random(n) < chance
        noise = error(random, n) if error else random.standard_normal(n)
        score = d * right + np.where(right, 1.0, wrong) * noise + offset * chance
        for j in range(n):
            answer = "0" if right[j] else str(1 + int(random.integers(rivals)))
            row = {"problem": f"p{i:03}", "sample": j, "answer": answer, "correct": bool(right[j])}
            rows.append(row | {"score": float(score[j])} | ({"tokens": tokens} if tokens else {}))
    return rows


def graded_rows(
    problems: int, n: int, error: Callable[[np.random.Generator, int], Floats], seed: int = 0
) -> list[dict[str, Any]]:
    """Rows with quality N(0, 1) and score = quality + error."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(problems):
        q = random.standard_normal(n)
        s = q + error(random, n)
        rows += [
            {"problem": f"p{i:03}", "sample": j, "answer": f"{j}", "correct": bool(q[j] > 1), "quality": float(q[j]),
             "score": float(s[j])}
            for j in range(n)
        ]  # fmt: skip
    return rows


def counts(random: np.random.Generator, p: Sequence[float] | Floats, n: int) -> NDArray[np.int64]:
    return random.binomial(n, np.asarray(p))
