"""Every estimator against plain enumeration of all k-subsets with fractions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.measure.estimators import (
    UNSCORED,
    Draws,
    Estimates,
    best_of_n_at_k,
    doublings,
    expected_guesses,
    gap,
    maj_at_k,
    misses,
    pass_at_k,
    pass_at_k_variance,
    pass_hat_k,
    weighted_at_k,
)
from ponder.measure.votes import Race, win

Sample = tuple[int, bool, float | None]  # class (-1 abstains), correct, score


@st.composite
def problems(draw: st.DrawFn) -> list[Sample]:
    """Up to 8 samples: ties, abstentions (that may be correct), several correct classes, missing scores. Scores are
    multiples of 1/8, so that their sums are exact."""
    verdicts = draw(st.lists(st.booleans(), min_size=5, max_size=5))
    score = st.one_of(st.none(), st.integers(0, 8).map(lambda x: x / 8))
    label = st.integers(-1, 4)
    rows = draw(st.lists(st.tuples(label, st.booleans(), score), min_size=1, max_size=8))
    return [(a, verdicts[a] if a >= 0 else c, s) for a, c, s in rows]


def of(*rows: list[Sample]) -> Draws:
    return Draws.of(
        [[a for a, _, _ in r] for r in rows], [[c for _, c, _ in r] for r in rows], [[s for _, _, s in r] for r in rows]
    )


def enumerate_subsets(rows: list[Sample], k: int, value: Callable[[tuple[Sample, ...]], Fraction]) -> float:
    found = [value(subset) for subset in combinations(rows, k)]
    return float(sum(found) / len(found))


def vote(subset: tuple[Sample, ...], weigh: bool) -> Fraction:
    """The naive vote: correct classes among the leaders, over leaders."""

    def totals(weights: list[Fraction]) -> dict[int, Fraction]:
        out: dict[int, Fraction] = {}
        for (a, _, _), w in zip(subset, weights, strict=True):
            if a >= 0:
                out[a] = out.get(a, Fraction(0)) + w
        return out

    found = totals([Fraction(s or 0) if weigh else Fraction(1) for _, _, s in subset])
    if found and not any(found.values()):
        found = totals([Fraction(1)] * len(subset))
    leaders = [a for a, w in found.items() if w == max(found.values())]
    right = {a for a, c, _ in subset if c}
    return Fraction(sum(a in right for a in leaders), len(leaders)) if leaders else Fraction(0)


def best(subset: tuple[Sample, ...]) -> Fraction:
    def key(row: Sample) -> tuple[int, float]:
        return (0, 0.0) if row[0] < 0 else (1, 0.0) if row[2] is None else (2, row[2])

    top = [row[1] for row in subset if key(row) == max(map(key, subset))]
    return Fraction(sum(top), len(top))


def ks_of(rows: list[Sample]) -> list[int]:
    return list(range(1, len(rows) + 1))


@given(problems())
def test_pass_and_pass_hat_equal_enumeration(rows: list[Sample]) -> None:
    ks = ks_of(rows)
    rules: list[tuple[Callable[..., Estimates], Callable[[Iterable[bool]], bool]]] = [
        (pass_at_k, any),
        (pass_hat_k, all),
    ]
    for estimator, rule in rules:
        naive = [float(np.mean([rule(c for _, c, _ in s) for s in combinations(rows, k)])) for k in ks]
        np.testing.assert_allclose(estimator(of(rows), ks).values[0], naive, rtol=0, atol=1e-12)


@given(problems())
def test_maj_equals_enumeration(rows: list[Sample]) -> None:
    ks = ks_of(rows)
    found = maj_at_k(of(rows), ks)
    assert found.nothing is not None
    naive = [enumerate_subsets(rows, k, lambda s: vote(s, False)) for k in ks]
    empty = [enumerate_subsets(rows, k, lambda s: Fraction(all(a < 0 for a, _, _ in s))) for k in ks]
    np.testing.assert_allclose(found.values[0], naive, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.nothing[0], empty, rtol=0, atol=1e-12)


@given(problems())
def test_best_of_n_equals_enumeration(rows: list[Sample]) -> None:
    ks = ks_of(rows)
    naive = [enumerate_subsets(rows, k, best) for k in ks]
    np.testing.assert_allclose(best_of_n_at_k(of(rows), ks).values[0], naive, rtol=0, atol=1e-12)


@given(problems())
def test_weighted_equals_enumeration(rows: list[Sample]) -> None:
    ks = ks_of(rows)
    found = weighted_at_k(of(rows), ks, zeros="vote")
    naive = [enumerate_subsets(rows, k, lambda s: vote(s, True)) for k in ks]
    np.testing.assert_allclose(found.values[0], naive, rtol=0, atol=1e-12)
    assert found.stderr is not None
    assert not found.stderr.any()
    pairs = [k for k in ks if k <= 2]  # and without enumeration, k = 2 in closed form
    closed = weighted_at_k(of(rows), pairs, zeros="vote", exact=0).values[0]
    np.testing.assert_allclose(closed, naive[: len(pairs)], rtol=0, atol=1e-12)


@settings(max_examples=40)
@given(problems().filter(lambda rows: len(rows) <= 6))
def test_expected_guesses_equal_enumeration_of_orders(rows: list[Sample]) -> None:
    right, n = [c for _, c, _ in rows], len(rows)
    orders = list(permutations(right))
    first = [order.index(True) + 1 if True in order else n + 1 for order in orders]
    found = expected_guesses(of(rows))
    assert found.censored[0] == (not any(right))
    if any(right):
        assert found.values[0] == pytest.approx(np.mean(first), abs=1e-12)
    else:
        assert np.isnan(found.values[0])
        assert found.problems == 0
    for cap in range(1, n + 2):
        capped = expected_guesses(of(rows), cap=cap).values[0]
        assert capped == pytest.approx(np.mean(np.minimum(first, cap)), abs=1e-12)
    assert np.isnan(expected_guesses(of(rows), cap=n + 2).values[0]) or any(right)


@given(problems(), st.randoms(use_true_random=False))
def test_rows_and_class_names_in_another_order_give_the_same_bytes(rows: list[Sample], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    renamed = [(a if a < 0 else 7 - a, c, s) for a, c, s in shuffled]
    ks = ks_of(rows)
    for estimator in (pass_at_k, pass_hat_k, maj_at_k, best_of_n_at_k, gap):
        assert estimator(of(rows), ks).values.tobytes() == estimator(of(renamed), ks).values.tobytes()
    for exact in (0, 1000):
        a, b = (weighted_at_k(of(r), ks, zeros="vote", exact=exact) for r in (rows, renamed))
        assert a.values.tobytes() == b.values.tobytes()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(0, 30), st.integers(1, 400))
def test_chances_of_all_classes_add_to_one(sizes: list[int], abstentions: int, k: int) -> None:
    n = sum(sizes) + abstentions
    k = min(k, n)
    races = [Race(0, c, *np.unique(np.delete(sizes, i), return_counts=True)) for i, c in enumerate(sizes)]
    nothing = misses([n], [n - abstentions], [k])[0, 0]
    assert float(win(races, n, k).sum() + nothing) == pytest.approx(1.0, abs=1e-12)


def test_maj_agrees_with_simulation_at_a_thousand_samples() -> None:
    random = np.random.default_rng(0)
    sizes = [300, 290, 150, 100, *[8] * 10, *[1] * 40]
    label = np.repeat(np.arange(len(sizes)), sizes)
    draws = Draws.of([np.append(label, [-1] * (1024 - len(label)))], [np.arange(1024) < 300])
    ks = (4, 16, 64, 256)
    exact = maj_at_k(draws, ks).values[0]
    for k, value in zip(ks, exact, strict=True):
        wins = []
        for _ in range(4000):
            votes = np.bincount(random.choice(draws.label, size=k, replace=False) + 1, minlength=60)[1:]
            wins.append((votes[0] == votes.max()) / np.count_nonzero(votes == votes.max()))
        assert abs(np.mean(wins) - value) < 4 * np.std(wins) / np.sqrt(len(wins))


def world(n: int = 48, count: int = 20, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    random = np.random.default_rng(seed)
    right = [random.random(n) < random.beta(0.7, 1.0) for _ in range(count)]
    label = [np.where(r, 0, random.integers(1, 5, n)) for r in right]
    return label, right, [random.random(n) for _ in right]


def test_a_perfect_scorer_reaches_pass_and_a_constant_one_stays_at_the_first() -> None:
    label, right, _ = world()
    ks = doublings(48)
    reached = pass_at_k(Draws.of(label, right), ks).values
    perfect = Draws.of(label, right, [r.astype(float) for r in right])
    np.testing.assert_allclose(best_of_n_at_k(perfect, ks).values, reached, atol=1e-12)
    np.testing.assert_allclose(
        weighted_at_k(perfect, [k for k in ks if k <= 2], zeros="vote").values, reached[:, :2], atol=1e-12
    )
    constant = Draws.of(label, right, [np.full(48, 0.3)] * 20)
    np.testing.assert_allclose(best_of_n_at_k(constant, ks).values, reached[:, :1] * np.ones(len(ks)), atol=1e-12)


def test_equal_weights_give_the_plain_vote() -> None:
    label, right, _ = world()
    draws = Draws.of(label, right, [np.full(48, 0.3)] * 20)
    ks = doublings(48)
    assert weighted_at_k(draws, ks).values.tobytes() == maj_at_k(draws, ks).values.tobytes()
    almost = draws.with_scores(np.full(48 * 20, 0.3) + 1e-9 * np.random.default_rng(1).random(48 * 20))
    found = weighted_at_k(almost, [8], subsets=4000)
    plain = maj_at_k(draws, [8]).values
    # nearly equal weights differ from equal ones in ties alone, which they break at random
    assert found.mean[0] == pytest.approx(plain.mean(), abs=0.02)


def test_sampled_subsets_are_unbiased_with_the_stated_error() -> None:
    draws = Draws.of(*world(14, 60))
    exact = weighted_at_k(draws, [5], exact=10**6).values[:, 0]
    sampled = weighted_at_k(draws, [5], exact=0, subsets=600)
    assert sampled.stderr is not None
    z = (sampled.values[:, 0] - exact) / np.maximum(sampled.stderr[:, 0], 1e-3)
    assert abs(z.mean()) < 4 / np.sqrt(60)
    assert z.std() < 1.3
    assert sampled.mean_stderr[0] == pytest.approx(np.sqrt(np.sum(sampled.stderr**2)) / 60)
    again = weighted_at_k(draws, [5], exact=0, subsets=600)
    other = weighted_at_k(draws, [5], exact=0, subsets=600, seed=1)
    assert again.values.tobytes() == sampled.values.tobytes() != other.values.tobytes()


def test_the_plug_in_of_pass_at_k_is_biased_and_this_is_not() -> None:
    """formulas.md: n=16, k=8, p=.05: the plug-in gives .281, the truth is .337."""
    from scipy.stats import binom

    n, k, p = 16, 8, 0.05
    c = np.arange(n + 1)
    chance = binom.pmf(c, n, p)
    assert chance @ (1 - (1 - c / n) ** k) == pytest.approx(0.281, abs=5e-4)
    assert chance @ (1 - misses(np.full(n + 1, n), c, [k])[:, 0]) == pytest.approx(1 - (1 - p) ** k, abs=1e-13)
    assert 1 - (1 - p) ** k == pytest.approx(0.337, abs=5e-4)
    f, g = misses(np.full(n + 1, n), c, [k]).T[0], misses(np.full(n + 1, n), c, [2 * k]).T[0]
    variance = chance @ (1 - f) ** 2 - (chance @ (1 - f)) ** 2
    assert chance @ (f**2 - g) == pytest.approx(variance, abs=1e-13)
    draws = Draws.of([[0] * 3 + [1] * 13], [[True] * 3 + [False] * 13])
    assert pass_at_k_variance(draws, [8]).values[0, 0] == pytest.approx(f[3] ** 2 - g[3])


def test_large_counts_keep_their_precision() -> None:
    from math import comb

    for n, c, k in ((1024, 1, 512), (1024, 512, 4), (1000, 37, 64), (1024, 1000, 16)):
        exact = float(Fraction(comb(n - c, k), comb(n, k)))
        assert misses([n], [c], [k])[0, 0] == pytest.approx(exact, rel=1e-12, abs=1e-300)


def test_too_few_samples_give_no_value_and_are_counted() -> None:
    draws = Draws.of(
        [[0, 1], [0, 0, 1, -1], []], [[True, False], [True, True, False, False], []], [[1, 2], [1, 2, 3, 4], []]
    )
    for estimator in (pass_at_k, pass_hat_k, maj_at_k, best_of_n_at_k, weighted_at_k, gap):
        found = estimator(draws, [1, 2, 4, 8])
        assert found.problems.tolist() == [2, 2, 1, 0]
        assert np.isnan(found.mean[3])
        assert not np.isnan(found.mean[:3]).any()


def test_unverified_samples_are_left_out_of_pass_and_are_not_correct_in_votes() -> None:
    draws = Draws.of([[0, 0, 1, 2]], [[True, None, None, False]], [[0.1, 0.9, 0.8, 0.2]])
    assert draws.unverified.tolist() == [2]
    assert pass_at_k(draws, [1, 2, 3]).values[0, :2].tolist() == [0.5, 1.0]
    assert np.isnan(pass_at_k(draws, [3]).values[0, 0])
    assert best_of_n_at_k(draws, [2]).values[0, 0] == 0.0
    assert maj_at_k(draws, [4]).values[0, 0] == 1.0  # class 0 leads, and one of its members is verified
    assert maj_at_k(draws, [1]).values[0, 0] == 0.5
    settled = draws.as_wrong()
    assert settled.unverified.tolist() == [0]
    assert settled.correct.tolist() == [1, 1, 0, 0]
    assert pass_at_k(settled, [1]).values[0, 0] == 0.5


def test_graded_quality_in_best_of_n() -> None:
    draws = Draws.of([[0, 1, 2]], [[True, False, False]], [[1.0, 2.0, 2.0]])
    assert best_of_n_at_k(draws, [3], gold=[0.9, 0.2, 0.4]).values[0, 0] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0, 0]], [[True, False]]), "both correct and wrong"),
        (([[0, 0]], [[True]]), "different numbers"),
        (([[0]], [[True], [False]]), "one entry a problem"),
        (([[-2]], [[True]]), "below -1"),
        (([[0]], [[True]], [[float("nan")]]), "NaN"),
        (([[0]], [[True]], [[float("inf")]]), "infinite"),
        (([[0], [0]], [[True], [True]], None, ["a", "a"]), "twice"),
    ],
)
def test_bad_draws_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Draws.of(*arguments)  # type: ignore[arg-type]


def test_bad_questions_are_refused() -> None:
    plain = Draws.of([[0, 1]], [[True, False]])
    for estimator in (best_of_n_at_k, weighted_at_k):
        with pytest.raises(ValueError, match="needs scores"):
            estimator(plain, [1])
    with pytest.raises(ValueError, match="at least 1"):
        pass_at_k(plain, [0])
    with pytest.raises(ValueError, match="any weight"):
        weighted_at_k(plain.with_scores([0.0, 0.0]), [1])
    with pytest.raises(ValueError, match="negative"):
        weighted_at_k(plain.with_scores([0.5, -1.0]), [1])
    with pytest.raises(ValueError, match="0 <= c <= n"):
        misses([2], [3], [1])
    assert doublings(1) == (1,)
    assert doublings(8) == (1, 2, 4, 8)
    assert doublings(10) == (1, 2, 4, 8, 10)
    assert plain.with_scores([None, 0.5]).scores.tolist() == [UNSCORED, 0.5]  # type: ignore[union-attr]
