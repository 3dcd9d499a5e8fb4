"""The model 'observed score = Q + e': the tables of known values, limits, and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from ponder.measure.noise import (
    area,
    binary,
    ceiling,
    expected_maximum,
    graded,
    hill,
    interior,
    laplace_noise,
    normal_noise,
    passed,
    picked,
    regret,
    student_noise,
)

NS = (4, 16, 64, 256, 1024, 4096)


def test_the_candidates_of_the_discussion() -> None:
    """Q = 99.6, 99.4, 98, 97, 96: the best is picked with .610 at sd .5 (the second with .388), .998 at .05."""
    qualities = (99.6, 99.4, 98.0, 97.0, 96.0)
    found = picked(qualities, 0.5)
    assert found.sum() == pytest.approx(1, abs=1e-9)
    assert found[:2] == pytest.approx([0.610, 0.388], abs=0.001)
    assert picked(qualities, 0.05)[0] == pytest.approx(0.998, abs=0.001)
    assert picked(qualities, 0.0).tolist() == [1, 0, 0, 0, 0]
    random = np.random.default_rng(0)
    seen = np.argmax(np.array(qualities) + random.normal(0, 0.5, (40_000, 5)), axis=1)
    assert found[0] == pytest.approx((seen == 0).mean(), abs=0.01)
    assert regret(qualities, 0.5) == pytest.approx(99.6 - np.array(qualities)[seen].mean(), abs=0.005)


def test_the_mean_of_the_largest_normal() -> None:
    assert [expected_maximum(n) for n in (1, 2, 4, 16)] == pytest.approx([0, np.pi**-0.5, 1.029, 1.766], abs=5e-4)


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        (None, (1.029, 1.766, 2.344, 2.827, 3.248, 3.626)),
        (normal_noise(1), (0.728, 1.249, 1.657, 1.999, 2.297, 2.564)),
        (normal_noise(3), (0.326, 0.559, 0.741, 0.894, 1.027, 1.147)),
        (student_noise(3, 0.5), (0.834, 1.327, 1.470, 1.232, 0.782, 0.454)),
        (student_noise(2, 0.5), (0.777, 1.126, 0.975, 0.528, 0.242, 0.118)),
    ],
)
def test_the_quality_of_the_pick(noise, expected) -> None:  # type: ignore[no-untyped-def]
    assert graded(NS, noise) == pytest.approx(expected, abs=0.0015)


def test_only_a_heavy_tail_has_a_best_number_of_guesses() -> None:
    three = interior(lambda ns: graded(ns, student_noise(3, 0.5)))
    two = interior(lambda ns: graded(ns, student_noise(2, 0.5)))
    assert three is not None and two is not None
    assert three == pytest.approx((54, 1.473), rel=0.02)
    assert two == pytest.approx((21, 1.137), rel=0.02)
    assert interior(lambda ns: graded(ns, normal_noise(2)), 4096) is None
    laplace = graded([256, 4096], laplace_noise(1.0))
    assert laplace[0] < laplace[1] < 1.0, "Laplace noise of scale b saturates at 1/b"


def test_equal_spreads_rise_to_one_and_a_wider_wrong_class_falls_to_none() -> None:
    assert binary([10, 100, 1000, 10_000], 0.3, 1.0) == pytest.approx([0.65, 0.84, 0.92, 0.96], abs=0.006)
    assert binary([64, 512], 0.5, 1.0, wrong=2.0) == pytest.approx([0.164, 0.0103], abs=5e-4)
    assert (ceiling(0.3, 1.0), ceiling(0.5, 1.0, wrong=2.0), ceiling(0.4, 0.0)) == (1.0, 0.0, 0.4)
    assert binary([1], 0.3, 1.0)[0] == pytest.approx(0.3)
    assert area(1.0) == pytest.approx(0.7602, abs=1e-4)
    assert passed(0.2, 1.0, 0.1) == pytest.approx(0.2 / 0.28)


def test_the_tail_of_errors_is_found() -> None:
    random = np.random.default_rng(1)
    heavy, light = hill(random.standard_t(3, 20_000), 0.02), hill(random.normal(0, 1, 20_000), 0.02)
    assert 2.2 < heavy.low < heavy.high < 3.3, "Hill's estimate of t(3) is biased downward"
    assert light.low > 5
    with pytest.raises(ValueError, match="at least 40"):
        hill([1.0] * 20)
