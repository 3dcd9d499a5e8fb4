"""What 6 → 1024 tells: claim 20's figures, and flips told apart."""

from __future__ import annotations

import numpy as np
import pytest

from ponder.measure.data import Draws
from ponder.measure.flips import flips, needed, vote_accuracy


@pytest.mark.parametrize(
    ("p", "rivals", "expected"),
    [
        (0.45, [0.40], (0.56, 0.70, 0.95)),
        (0.12, [0.10], (0.20, 0.68, 0.92)),
        (0.10, [0.075] * 12, (0.11, 0.27, 0.82)),
    ],
)
def test_votes_of_the_discussion(p: float, rivals: list[float], expected: tuple[float, ...]) -> None:
    for n, accuracy in zip((6, 100, 1024), expected, strict=True):
        assert vote_accuracy(p, rivals, n, draws=8000) == pytest.approx(accuracy, abs=0.04), n


def world(p: float, rivals: list[float], problems: int, n: int, seed: int = 0) -> Draws:
    random = np.random.default_rng(seed)
    chances = np.array([p, *rivals])
    labels = random.choice(len(chances), (problems, n), p=chances / chances.sum())
    return Draws.of(list(labels), list(labels == 0))


def test_flips_by_a_small_margin_and_by_a_small_p_are_told_apart() -> None:
    margin = flips(world(0.45, [0.40, 0.15], 40, 1024))
    small = flips(world(0.10, [0.075] * 12, 40, 1024))
    assert margin["few"] == 6 and margin["many"] == 1024
    assert margin["small_margin"] == len(margin["won"]) > 3
    assert small["small_p"] == len(small["won"]) > 10
    assert small["small_margin"] == margin["small_p"] == 0
    for found, dispersed in ((margin, False), (small, True)):
        for flip in found["won"]:
            assert flip["margin"]["low"] < 0.05 < 0.2, flip
            assert (flip["dispersion"] > 0.85) == dispersed


def test_a_wrong_mode_is_hurt_by_more_samples() -> None:
    found = flips(world(0.3, [0.5, 0.2], 20, 64))
    assert len(found["hurt"]) >= 12
    assert all(0.1 < entry["p"] < 0.5 for entry in found["hurt"])
    assert not flips(world(0.6, [0.3, 0.1], 20, 64))["hurt"]


def test_the_samples_a_margin_needs() -> None:
    assert needed(0.45, 0.40) == pytest.approx(1.645**2 * 0.85 / 0.0025)
    assert vote_accuracy(0.3, [0.2, 0.1, 0.1], round(needed(0.3, 0.2)), draws=8000) == pytest.approx(0.95, abs=0.03)
    assert needed(0.2, 0.2) == float("inf")
