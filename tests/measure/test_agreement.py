"""A scorer's agreement with the truth: naive references, and that difficulty alone earns nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.measure.agreement import (
    auroc,
    auroc_by_problem,
    brier,
    brier_monte_carlo,
    d_prime,
    d_prime_moments,
    ece,
    first_error_f1,
)
from ponder.measure.data import Draws

Rows = list[tuple[bool, float | None]]
problem = st.lists(st.tuples(st.booleans(), st.one_of(st.none(), st.integers(0, 3).map(lambda x: x / 4))), max_size=7)


def of(problems: list[Rows]) -> Draws:
    return Draws.of(
        [list(range(len(rows))) for rows in problems],
        [[c for c, _ in rows] for rows in problems],
        [[s for _, s in rows] for rows in problems],
    )


def scored(random: np.random.Generator, problems: int, n: int, taste: float, difficulty: float = 0.0) -> Draws:
    """Normal scores: `taste` apart within a problem, shifted by `difficulty` times the problem's ease."""
    p = random.beta(1, 1, problems)
    right = random.random((problems, n)) < p[:, None]
    score = taste * right + difficulty * p[:, None] + random.normal(0, 1, (problems, n))
    return Draws.of([np.arange(n)] * problems, list(right), list(score))


@settings(max_examples=60)
@given(st.lists(problem, min_size=1, max_size=4))
def test_auroc_equals_counting_pairs(problems: list[Rows]) -> None:
    area, pairs = auroc_by_problem(of(problems))
    wins = total = 0.0
    for i, rows in enumerate(problems):
        value = [-1.0 if s is None else s for _, s in rows]
        both = [
            (a, b)
            for a, (x, _) in zip(value, rows, strict=True)
            for b, (y, _) in zip(value, rows, strict=True)
            if x and not y
        ]
        assert pairs[i] == len(both)
        won = sum((a > b) + 0.5 * (a == b) for a, b in both)
        if both:
            assert area[i] == pytest.approx(won / len(both))
        else:
            assert np.isnan(area[i])
        wins, total = wins + won, total + len(both)
    found = auroc(of(problems))
    if total:
        assert float(found.value) == pytest.approx(wins / total)
        assert found.low <= found.value <= found.high
        assert found.low < found.high
    else:
        assert np.isnan(found.value)


def test_a_scorer_that_knows_only_difficulty_gets_half() -> None:
    draws = scored(np.random.default_rng(0), 400, 32, taste=0.0, difficulty=3.0)
    pooled_good, pooled_bad = draws.scores[draws.correct == 1], draws.scores[draws.correct == 0]  # type: ignore[index]
    pooled = np.mean(pooled_good[:, None][:2000] > pooled_bad[None, :2000])
    found = auroc(draws)
    assert pooled > 0.6
    assert float(found.low) < 0.5 < float(found.high)
    assert float(found.value) == pytest.approx(0.5, abs=0.02)


def test_d_prime_is_recovered_both_ways_whatever_the_difficulty() -> None:
    draws = scored(np.random.default_rng(1), 600, 32, taste=1.2, difficulty=5.0)
    found = d_prime(draws)
    assert float(found.low) < 1.2 < float(found.high)
    assert d_prime_moments(draws) == pytest.approx(1.2, abs=0.05)
    assert float(found.value) == pytest.approx(1.2, abs=0.05)
    scaled = draws.with_scores(draws.scores * 7 - 3)  # type: ignore[operator]
    assert float(d_prime(scaled).value) == pytest.approx(float(found.value))
    assert d_prime_moments(scaled) == pytest.approx(d_prime_moments(draws))
    assert np.isnan(d_prime_moments(of([[(True, 0.5)]])))
    certain = d_prime(of([[(True, 0.9), (False, 0.1)]] * 20))
    assert np.isinf(certain.value)
    assert 0 < float(certain.low) < np.inf


def test_brier_is_the_mean_within_problems_then_over_them() -> None:
    draws = of([[(True, 0.75), (False, 0.25)], [(False, 0.5), (True, None)], [(True, None)]])
    found = brier(draws)
    assert float(found.value) == pytest.approx((0.0625 + 0.25) / 2)
    assert int(found.problems) == 2
    with pytest.raises(ValueError, match="outside"):
        brier(of([[(True, 1.5)]]))


def test_brier_against_rollouts_is_unbiased() -> None:
    random = np.random.default_rng(0)
    f, chance, n = 0.3, 0.55, 4
    c = random.binomial(n, chance, 200_000)
    found = brier_monte_carlo(np.full(len(c), f), c, n)
    assert found.mean() == pytest.approx((f - chance) ** 2, abs=1e-3)
    assert np.mean((f - c / n) ** 2) == pytest.approx((f - chance) ** 2 + chance * (1 - chance) / n, abs=1e-3)
    with pytest.raises(ValueError, match="two rollouts"):
        brier_monte_carlo([0.5], [1], [1])


def test_ece_is_small_for_a_calibrated_scorer_and_the_shift_for_a_shifted_one() -> None:
    random = np.random.default_rng(0)
    chance = random.beta(1, 1, (300, 40))
    right = random.random((300, 40)) < chance
    calibrated = Draws.of([np.arange(40)] * 300, list(right), list(chance))
    found = ece(calibrated)
    assert float(found.value) < 0.025
    assert float(found.low) < 0.01
    shifted = ece(calibrated.with_scores(np.clip(chance.ravel() * 0.6, 0, 1)))
    assert float(shifted.value) == pytest.approx(0.2, abs=0.02)
    assert float(shifted.low) < 0.2 < float(shifted.high)
    assert ece(calibrated).low.tobytes() == found.low.tobytes()
    one = ece(of([[(True, 0.25), (False, 0.25)]]), bins=15)  # all chains in one bin: |1/2 - 1/4|
    assert float(one.value) == pytest.approx(0.25)
    assert np.isnan(ece(of([[(True, None)]])).value)


def test_first_error_f1_is_the_harmonic_mean_of_two_accuracies() -> None:
    truth = [2, 0, 1, 5, -1, -1, -1, -1]
    guess = [2, 0, 3, -1, -1, -1, -1, 2]
    found = first_error_f1(guess, truth)
    assert float(found.erroneous.value) == 0.5
    assert float(found.correct.value) == 0.75
    assert float(found.f1.value) == pytest.approx(0.6)
    assert 0 < float(found.f1.low) < 0.6 < float(found.f1.high) < 1
    perfect = first_error_f1(truth, truth, problem=[0, 0, 1, 1, 2, 2, 3, 3])
    assert float(perfect.f1.value) == float(perfect.f1.high) == 1
    assert float(perfect.f1.low) < 1
    hopeless = first_error_f1([9] * 8, truth)
    assert float(hopeless.f1.value) == float(hopeless.f1.low) == 0
    assert float(hopeless.f1.high) > 0
    with pytest.raises(ValueError, match="without"):
        first_error_f1([-1], [-1])
    with pytest.raises(ValueError, match="one entry"):
        first_error_f1([-1, 2], [-1])


def test_scores_are_needed() -> None:
    plain = Draws.of([[0, 1]], [[True, False]])
    for measure in (auroc, d_prime, d_prime_moments, brier, ece):
        with pytest.raises(ValueError, match="needs scores"):
            measure(plain)
