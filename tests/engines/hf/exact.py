"""The distribution of a token under temperature and truncation, by the definitions, one token at a time."""

from __future__ import annotations

from typing import Any

import numpy as np


def distribution(
    logits: Any, *, temperature: float, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """float64 [V]. Temperature, then the top_k likeliest, then the fewest likeliest of those that hold top_p, then
    those at least min_p times as likely as the likeliest."""
    weights = np.exp(np.asarray(logits.double()) / temperature)
    order = list(np.argsort(-weights, kind="stable"))
    kept = order[:top_k] if top_k else order
    whole, held, nucleus = sum(weights[t] for t in kept), 0.0, []
    for token in kept:
        nucleus.append(token)
        held += weights[token] / whole
        if held >= top_p:
            break
    final = [t for t in nucleus if weights[t] >= min_p * weights[order[0]]]
    found = np.zeros(len(weights))
    found[final] = weights[final] / weights[final].sum()
    return found
