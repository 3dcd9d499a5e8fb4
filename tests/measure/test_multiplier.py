"""How many samples of A one of B is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ponder.measure.multiplier import multipliers
from ponder.measure.samples import draws_of_rows


def rows(p: Any, n: int, seed: int, tokens: int = 10) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [
        {"problem": f"p{i}", "sample": j, "answer": str(int(right)), "correct": bool(right), "tokens": tokens}
        for i, chance in enumerate(p)
        for j, right in enumerate(random.random(n) < chance)
    ]


def test_a_multiplier_of_ten_is_recovered_and_its_interval_covers() -> None:
    """The better model's guess is worth ten of the worse one's: 1 - (1-p)^10."""
    inside = []
    for seed in range(5):
        p = np.random.default_rng(seed).beta(0.5, 12, 150)
        worse, better = draws_of_rows(rows(p, 200, seed)), draws_of_rows(rows(1 - (1 - p) ** 10, 20, 50 + seed, 20))
        found = multipliers(worse, better)["pass"]
        assert found["value"] == pytest.approx(10, rel=0.35)
        assert found["tokens"] == pytest.approx(found["value"] / 2)
        inside.append(found["low"] <= 10 <= found["high"])
    assert sum(inside) >= 4


def test_the_same_samples_are_worth_themselves_and_the_other_way_is_the_inverse() -> None:
    p = np.random.default_rng(0).beta(0.5, 3, 100)
    a, b = draws_of_rows(rows(p, 32, 0)), draws_of_rows(rows(1 - (1 - p) ** 3, 32, 1))
    assert multipliers(a, a)["pass"]["value"] == pytest.approx(1)
    there, back = multipliers(a, b)["pass"], multipliers(b, a)["pass"]
    assert there["value"] * back["value"] == pytest.approx(1, rel=0.1)
    assert there["low"] < 3 < there["high"]


def test_where_the_curves_do_not_meet_it_is_a_bound() -> None:
    a, b = draws_of_rows(rows(np.full(60, 0.01), 8, 0)), draws_of_rows(rows(np.full(60, 0.6), 8, 1))
    found = multipliers(a, b)["pass"]
    assert (found["value"], found["bound"], found["high"]) == (8.0, "lower", None)
    assert multipliers(b, a)["pass"]["bound"] == "upper"
    flat = draws_of_rows(rows(np.r_[np.zeros(30), np.ones(30)], 8, 0))
    assert "omitted" in multipliers(flat, flat)["pass"]
