"""Laws of coverage: likelihoods against scipy, planted parameters, known asymptotics, extrapolation that covers."""

from __future__ import annotations

import numpy as np
import pytest
from running import ROOT
from scipy import stats
from scipy.special import gammaln

from ponder.measure.extrapolate import beyond, coverage, selector
from ponder.measure.fits import BetaBinomial, Likelihood, fit_exponential, missed, pass_curve
from ponder.measure.mixture import ATOMS, Mixture, covered
from ponder.measure.samples import read
from ponder.measure.scaling import fit_rl, fit_tokens


def test_the_likelihood_is_scipys_and_the_best_is_its_top() -> None:
    random = np.random.default_rng(0)
    n = random.integers(4, 12, 80)
    c = random.binomial(n, random.beta(0.7, 1.3, 80) * (random.random(80) > 0.2))
    found = Likelihood.of(n, c)

    def naive(a: float, b: float, z: float) -> float:
        pmf = stats.betabinom.pmf(c, n, a, b)
        return float(np.log(np.where(c == 0, z + (1 - z) * pmf, (1 - z) * pmf)).sum())

    g = 17
    rest = float((gammaln(n + 1) - gammaln(c + 1) - gammaln(n - c + 1)).sum())  # binomial coefficients
    none = float((gammaln(n + 1) - gammaln(c + 1) - gammaln(n - c + 1))[c == 0].sum())
    assert found.log[g] == pytest.approx(naive(found.alpha[g], found.beta[g], found.zero[g]) - rest + none, abs=1e-8)
    best = found.best
    top = naive(best.alpha, best.beta, best.zero)
    for da, db, dz in ((1.05, 1, 0), (0.95, 1, 0), (1, 1.05, 0), (1, 0.95, 0), (1, 1, 0.01), (1, 1, -0.01)):
        z = best.zero + dz
        if 0 <= z < 1:
            assert naive(best.alpha * da, best.beta * db, z) <= top + 1e-4


def test_coverage_is_the_expectation_and_falls_as_a_power() -> None:
    law = BetaBinomial(0.4, 1.7, 0.1)
    p = np.random.default_rng(0).beta(0.4, 1.7, 400_000)
    assert law.coverage([16])[0] == pytest.approx(0.9 * np.mean(1 - (1 - p) ** 16), abs=0.002)
    k = 1e6
    constant = np.exp(gammaln(2.1) - gammaln(1.7))
    assert missed(0.4, 1.7, k) == pytest.approx(constant * k**-0.4, rel=1e-3)


def test_planted_parameters_are_found_and_unsolvable_problems_told_as_an_interval() -> None:
    """300 problems, n = 64, alpha = .3, zero = .15: the share is barely separable, so the interval must hold it."""
    random = np.random.default_rng(3)
    p = random.beta(0.3, 1.0, 300) * (random.random(300) > 0.15)
    c = random.binomial(64, p)
    found = Likelihood.of(np.full(300, 64), c)
    low, high = found.interval(lambda a, b, z: z)
    assert low <= 0.15 <= high
    assert high - low > 0.1, "the data do not tell it well, and the interval says so"
    low, high = found.interval(lambda a, b, z: a)
    assert low <= 0.3 <= high
    without = Likelihood.of(np.full(300, 64), c, zero=False).best
    assert without.alpha < 0.3, "leaving the point at 0 out biases alpha"


def test_the_exponential_form_is_recovered() -> None:
    ks = np.array([1, 2, 4, 8, 16, 32])
    found = fit_exponential(np.exp(-1.3 * ks**-0.35), ks)
    assert (float(found.a), float(found.b)) == pytest.approx((-1.3, -0.35))
    assert found.coverage([256])[0] == pytest.approx(np.exp(-1.3 * 256**-0.35))
    flat = fit_exponential(np.ones(6), ks)
    assert float(flat.b) == 0


def test_the_mixture_reaches_the_counts_and_its_interval_is_wider_than_the_beta() -> None:
    random = np.random.default_rng(1)
    c = random.binomial(16, random.beta(0.6, 1.4, 200))
    n = np.full(200, 16)
    free = Mixture.of(n, c)
    assert free.weights.sum() == pytest.approx(1)
    assert free.weights @ ATOMS == pytest.approx(c.mean() / 16, abs=0.01)
    assert free.coverage(16) == pytest.approx(pass_curve(n, c, [16])[0], abs=0.02)
    low, high = free.interval(128)
    a, b = Likelihood.of(n, c, zero=False).coverage_interval(128)
    assert low < a < b < high + 0.02
    assert covered(1.0) == pytest.approx(ATOMS)


POPULATIONS = {
    "beta": lambda r, m: r.beta(0.5, 1.2, m),
    "unsolvable": lambda r, m: r.beta(0.8, 2.0, m) * (r.random(m) > 0.3),
    "bimodal": lambda r, m: np.where(r.random(m) < 0.5, r.beta(2, 38, m), r.beta(18, 2, m)),
    "logit-normal": lambda r, m: 1 / (1 + np.exp(-r.normal(-3, 2, m))),
}


@pytest.mark.parametrize("name", list(POPULATIONS))
def test_eight_times_as_many_samples_lie_in_the_interval(name: str) -> None:
    """Half of the populations violate the fitted forms."""
    draw = POPULATIONS[name]
    truth = 1 - np.mean((1 - draw(np.random.default_rng(99), 200_000)) ** 128)
    inside = 0
    for seed in range(5):
        random = np.random.default_rng(seed)
        c = random.binomial(16, draw(random, 100))
        (point,) = coverage(np.full(100, 16), c, [128]).points
        assert point.value is not None and point.low is not None and point.high is not None
        assert pass_curve(np.full(100, 16), c, [16])[0] <= point.value <= 1
        inside += point.low <= truth <= point.high
    assert inside >= 4


@pytest.mark.parametrize(
    ("name", "few", "many"), [("game24_gpt4_direct", 12, 96), ("cruxeval_codellama7b_input", 2, 10)]
)
def test_real_samples_lie_in_the_interval(name: str, few: int, many: int) -> None:
    """A part of benchmarks/extrapolation.py."""
    path = ROOT.parent / "shared" / "data" / "samples" / f"{name}.jsonl"
    if not path.exists():
        pytest.skip("the shared samples are not here")
    draws = read([path]).draws
    truth = pass_curve(draws.verified, draws.successes, [many])[0]
    off = []
    for split in range(6):
        random = np.random.default_rng(split)
        some = random.hypergeometric(draws.successes, draws.verified - draws.successes, few)
        (point,) = coverage(np.full(len(some), few), some, [many]).points
        assert point.value is not None and point.low is not None and point.high is not None
        assert point.low <= truth <= point.high
        off.append(point.value - truth)
    assert abs(np.mean(off)) < 0.05


def test_what_cannot_be_told_is_not() -> None:
    assert "one sample" in coverage(np.ones(50), np.ones(50), [8]).points[0].reason
    assert "problems say too little" in coverage(np.full(3, 8), np.array([1, 2, 3]), [16]).points[0].reason
    assert "no sample is correct" in coverage(np.full(30, 8), np.zeros(30), [16]).points[0].reason
    few = np.array([0] * 27 + [1, 1, 2])
    assert "fits these data" in coverage(np.full(30, 4), few, [256]).points[0].reason
    assert "times" in coverage(np.full(30, 4), few, [4096]).points[0].reason
    assert beyond(12, 96) == (16, 32, 64, 96)
    assert beyond(12, 12) == ()


def test_a_selectors_curve_goes_on_as_it_ended_and_stays_below_pass() -> None:
    ks = (1, 2, 4, 8, 16)
    random = np.random.default_rng(0)
    level = random.random(60)
    values = np.clip(0.2 + 0.05 * np.log2(ks)[None, :] + 0.2 * (level[:, None] - 0.5), 0, 1)
    top = coverage(np.full(60, 16), random.binomial(16, 0.4, 60), [32, 64]).points
    found = selector(values, ks, [32, 64], top)
    for point, expected in zip(found, (0.45, 0.50), strict=True):
        assert point.low is not None and point.high is not None
        assert point.low <= expected <= point.high + 1e-9
    falling = selector(values[:, ::-1], ks, [32], top[:1])
    assert falling[0].value is not None
    assert falling[0].value < values[:, 0].mean() + 1e-9


def test_accuracy_against_tokens_and_reinforcement_learning_curves() -> None:
    x = np.geomspace(100, 100_000, 9)
    line = fit_tokens(x, 0.1 + 0.05 * np.log(x / 100))
    assert line.form == "log-linear"
    assert line.at([200_000])[0] == pytest.approx(0.1 + 0.05 * np.log(2000), abs=1e-6)
    bent = fit_tokens(x, 0.8 - 0.6 * (x / 100) ** -0.5)
    assert bent.form == "saturating"
    assert bent.at([1e6])[0] == pytest.approx(0.8 - 0.6 * (1e4) ** -0.5, abs=0.01)
    c = np.geomspace(1, 1000, 12)
    learned = fit_rl(c, 0.2 + 0.5 / (1 + (40 / c) ** 1.3))
    assert learned.parameters == pytest.approx((0.2, 0.7, 40, 1.3), rel=0.02)
    assert learned.at([1e9])[0] == pytest.approx(0.7, abs=0.01)
