"""Levers: followed with fresh draws they give what was said; what cannot be said is left out with its reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from measure.planted import binary_rows

from ponder.measure import fitted
from ponder.measure.curves import estimator
from ponder.measure.data import Draws
from ponder.measure.fitted import Setting
from ponder.measure.levers import NAMES, levers
from ponder.measure.samples import draws_of_rows


def draws_of(p: Any, n: int, d: float, *, odds: float = 1.0, noise: float = 1.0, seed: int = 0) -> Draws:
    q = odds * p / (1 - p + odds * p)
    return draws_of_rows(binary_rows(q, n, d=d / noise, seed=seed)).draws


def by_name(found: Any) -> dict[str, Any]:
    return {lever.lever: lever for lever in found.levers}


@pytest.mark.parametrize("n", [4, 16])
def test_each_lever_gives_what_was_said(n: int) -> None:
    """n = 4 of 16 recorded samples: more samples are read off exactly; n = 16: they are drawn again."""
    p = np.random.default_rng(5).beta(0.8, 1.6, 150)
    found = by_name(levers(draws_of(p, 16, 1.2), n))
    assert [lever for lever in found if found[lever].omitted] == []
    assert found["samples"].how == ("exact" if n == 4 else "fitted")
    best = estimator("best_of_n")
    base = best(draws_of(p, 128, 1.2, seed=1), [n]).mean[0]
    followed = {
        "samples": best(draws_of(p, 128, 1.2, seed=2), [2 * n]).mean[0],
        "taste": best(draws_of(p, 128, 1.2, noise=0.5, seed=3), [n]).mean[0],
        "steering": best(draws_of(p, 128, 1.2, odds=1.5, seed=4), [n]).mean[0],
        "length": best(draws_of(p, 128, 1.2, seed=5), [int(1.5 * n)]).mean[0],
    }
    for name, accuracy in followed.items():
        lever = found[name]
        assert lever.low is not None and lever.high is not None and lever.gain is not None
        assert lever.low <= accuracy - base <= lever.high, name
        assert lever.high - lever.low < 0.2, "an interval that says something"


def test_other_factors_than_the_standard_ones_can_be_asked_for() -> None:
    draws = draws_of(np.random.default_rng(5).beta(0.8, 1.6, 100), 16, 1.0)
    none = by_name(levers(draws, noise=1.0, odds=1.0))
    assert none["taste"].gain == none["steering"].gain == 0, "nothing is changed"
    some, more = by_name(levers(draws)), by_name(levers(draws, noise=0.25, odds=3.0))
    for name in ("taste", "steering"):
        assert 0 < some[name].gain < more[name].gain
    assert (some["taste"].change, more["taste"].change) == ("half the scorer's noise", "the scorer's noise × 0.25")
    assert (some["steering"].change, more["steering"].change) == tuple(
        f"odds of a right chain × {x}" for x in ("1.5", "3")
    )


def test_the_vote_has_levers_too() -> None:
    p = np.random.default_rng(2).beta(1, 1.2, 120)
    rows = [{k: v for k, v in row.items() if k != "score"} for row in binary_rows(p, 16, rivals=4)]
    found = levers(draws_of_rows(rows).draws)
    named = by_name(found)
    assert found.select == "maj"
    assert "no scores" in named["taste"].omitted
    assert named["steering"].low > 0
    assert found.off is not None
    assert max(map(abs, found.off)) < 0.03, "the fitted world is close to the exact vote"


def test_the_fitted_world_has_the_accuracy_of_the_recorded_one() -> None:
    p = np.random.default_rng(4).beta(0.7, 1.4, 120)
    draws = draws_of(p, 32, 1.0)
    world = fitted.fit(draws)
    for best, name in ((True, "best_of_n"), (False, "maj")):
        found = fitted.simulate(world, [Setting(4), Setting(16)], best=best, outer=20, inner=4)
        exact = estimator(name)(draws, [4, 16]).mean
        assert [float(part.mean()) for part in found] == pytest.approx(exact, abs=0.05), name


def test_settings_share_their_randomness() -> None:
    world = fitted.fit(draws_of(np.full(30, 0.3), 16, 1.0))
    settings = [Setting(8), Setting(8), Setting(8, noise=0.0), Setting(8, odds=3.0)]
    one, same, sure, more = fitted.simulate(world, settings, best=True, outer=8, inner=2)
    assert np.array_equal(one, same)
    assert sure.mean() > one.mean()
    assert more.mean() > one.mean()


def test_what_cannot_be_said_is_left_out_with_its_reason() -> None:
    p = np.full(40, 0.4)
    without = levers(draws_of(p, 8, 1.0), tokens=False)
    assert by_name(without)["length"].omitted == "the rows have no `tokens`"
    assert "make no room" in by_name(levers(draws_of(p, 8, 1.0), 1))["length"].omitted
    for found, words in (
        (levers(draws_of(np.full(5, 0.4), 8, 1.0)), "5 problems"),
        (levers(draws_of(p, 2, 1.0)), "2 samples a problem"),
        (levers(draws_of(np.full(40, 0.0), 8, 1.0)), "every sample is wrong"),
        (levers(draws_of(np.full(40, 1.0), 8, 1.0)), "every sample is right"),
        (levers(draws_of(p, 8, 1.0), 100), "more than 8 times"),
    ):
        assert [lever.lever for lever in found.levers] == list(NAMES)
        assert all(words in lever.omitted for lever in found.levers), words


def test_advice_is_the_same_for_the_same_seed() -> None:
    draws = draws_of(np.full(30, 0.3), 8, 1.0)
    assert levers(draws, seed=3) == levers(draws, seed=3)
