"""Intervals: known limits, invariances, the ends of the scale, and coverage where it is cheap to see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.measure.intervals import difference_interval, mean_interval, ratio_interval, wilson

shares = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def test_wilson_is_wilson() -> None:
    found = wilson([0, 5, 10], 10)
    np.testing.assert_allclose(found.low, [0, 0.236593, 0.722467], atol=1e-6)
    np.testing.assert_allclose(found.high, [0.277533, 0.763407, 1], atol=1e-6)
    nothing = wilson(0, 0)
    assert np.isnan(nothing.value)
    assert (float(nothing.low), float(nothing.high)) == (0.0, 1.0)
    with pytest.raises(ValueError, match="successes"):
        wilson(3, 2)
    with pytest.raises(ValueError, match="level"):
        wilson(1, 2, level=1.0)


def test_for_outcomes_0_and_1_it_is_close_to_wilson_and_for_normal_values_to_student() -> None:
    from scipy.stats import t

    for m, c in ((100, 30), (400, 200), (50, 25)):
        found, expected = mean_interval(np.arange(m) < c), wilson(c, m)
        assert float(found.low) == pytest.approx(float(expected.low), abs=0.006)
        assert float(found.high) == pytest.approx(float(expected.high), abs=0.006)
    values = np.clip(np.random.default_rng(0).normal(0.5, 0.1, 200), 0, 1)
    found, reach = mean_interval(values), t.ppf(0.975, 199) * values.std(ddof=1) / np.sqrt(200)
    assert float(found.high - found.low) == pytest.approx(2 * reach, rel=0.05)


@given(shares)
def test_never_of_zero_width_and_never_certain(values: list[float]) -> None:
    found = mean_interval(values)
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1
    assert found.high > found.low
    assert found.low < 1
    assert found.high > 0


@pytest.mark.parametrize("m", [1, 2, 30, 500])
def test_the_ends_of_the_scale(m: int) -> None:
    for end in (0.0, 1.0):
        found = mean_interval(np.full(m, end))
        width = float(found.high - found.low)
        exact = 1 - 0.025 ** (1 / m)  # Clopper-Pearson
        assert float(found.value) == end
        assert 0.8 * exact < width <= 1.2 * exact
    same = difference_interval(np.full(m, 0.4), np.full(m, 0.4))
    assert float(same.low) < 0 < float(same.high)
    assert float(same.low) == pytest.approx(-float(same.high))


@settings(max_examples=50)
@given(shares)
def test_mirrored_values_have_mirrored_limits(values: list[float]) -> None:
    found, mirror = mean_interval(values), mean_interval(1 - np.array(values))
    assert float(mirror.low) == pytest.approx(1 - float(found.high), abs=1e-9)
    assert float(mirror.high) == pytest.approx(1 - float(found.low), abs=1e-9)


def test_studies_at_once_equal_studies_one_by_one_and_order_does_not_matter() -> None:
    random = np.random.default_rng(0)
    values = random.beta(0.4, 0.9, (5, 30))
    values[1, 3:] = np.nan
    together = mean_interval(values)
    assert together.problems.tolist() == [30, 3, 30, 30, 30]
    for i, row in enumerate(values):
        alone = mean_interval(random.permutation(row[~np.isnan(row)]))
        assert float(alone.low) == pytest.approx(float(together.low[i]), abs=1e-12)
        assert float(alone.high) == pytest.approx(float(together.high[i]), abs=1e-12)
    empty = mean_interval([np.nan, np.nan])
    assert np.isnan(empty.value)
    assert (float(empty.low), float(empty.high), int(empty.problems)) == (0.0, 1.0, 0)


def test_the_difference_is_paired() -> None:
    random = np.random.default_rng(0)
    hard = random.random(60)
    a, b = np.clip(hard + random.normal(0.05, 0.03, 60), 0, 1), hard
    found = difference_interval(a, b)
    assert float(found.value) == pytest.approx(float(np.mean(a - b)))
    apart = mean_interval(a)
    assert float(found.high - found.low) < 0.4 * float(apart.high - apart.low)
    swapped = difference_interval(b, a)
    assert float(swapped.low) == pytest.approx(-float(found.high))
    a[0] = np.nan
    assert int(difference_interval(a, b).problems) == 59


def test_one_disagreement_does_not_decide() -> None:
    """As in McNemar's test, a few disagreements in one direction are no evidence yet."""
    for m in (30, 500):
        for disagreements in (1, 2, 3):
            a = np.zeros(m)
            a[:disagreements] = 1
            assert float(difference_interval(a, np.zeros(m)).low) < 0
        a[:12] = 1
        assert float(difference_interval(a, np.zeros(m)).low) > 0


def test_a_ratio_with_equal_weights_is_the_mean_and_weights_count() -> None:
    values = np.random.default_rng(0).random(40)
    plain, even = mean_interval(values), ratio_interval(values, np.full(40, 3.0))
    assert (float(even.low), float(even.high)) == pytest.approx((float(plain.low), float(plain.high)))
    weights = np.arange(40.0)
    found = ratio_interval(values, weights)
    assert float(found.value) == pytest.approx(float(values @ weights / weights.sum()))
    assert int(found.problems) == 39
    with pytest.raises(ValueError, match="negative"):
        ratio_interval(values, -weights)


def test_values_outside_the_scale_are_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        mean_interval([0.5, 1.2])
    assert float(mean_interval([2.0, 3.0], bounds=(1, 4)).value) == 2.5


@pytest.mark.parametrize(("a", "b", "m"), [(0.5, 0.9, 30), (0.3, 3.0, 30), (2.0, 2.0, 100), (0.1, 4.0, 100)])
def test_it_covers(a: float, b: float, m: int) -> None:
    values = np.random.default_rng(1).beta(a, b, (2000, m))
    found = mean_interval(values)
    truth = a / (a + b)
    coverage = np.mean((found.low <= truth) & (truth <= found.high))
    assert 0.93 <= coverage <= 0.985


def test_thirty_outcomes_0_and_1_are_covered_neither_too_rarely_nor_too_often() -> None:
    """Exact: the binomial weights of the 31 intervals. Near .11 the upper side cannot miss, and the lower has to."""
    from scipy.stats import binom

    found = mean_interval(np.arange(30) < np.arange(31)[:, None])
    assert np.all(np.diff(found.low) > 0)
    p = np.arange(0.1, 0.5001, 0.0005)[:, None]
    coverage = (binom.pmf(np.arange(31), 30, p) * ((found.low <= p) & (p <= found.high))).sum(axis=1)
    assert coverage.min() > 0.925
    assert coverage.max() < 0.98
    assert np.mean(coverage > 0.975) < 0.02
