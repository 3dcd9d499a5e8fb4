"""The taste: planted scorers are told as they are, and what data cannot tell is a bound or a reason."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from measure.planted import binary_rows, graded_rows

from ponder.measure import details, scatter, taste
from ponder.measure.advice import document
from ponder.measure.data import Draws
from ponder.measure.estimators import best_of_n_at_k
from ponder.measure.samples import draws_of_rows


def told(rows: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    samples = draws_of_rows(rows)
    return document(samples, details.of_rows(rows, scorer=samples.scorer), **options)


def spread_p(problems: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).beta(1.2, 2.0, problems)


def test_equal_variances_give_auroc_and_d_prime_and_a_lower_bound_for_the_overhang() -> None:
    found = told(binary_rows(np.full(150, 0.3), 32, d=1.0))["taste"]
    assert found["auroc"]["low"] < 0.7602 < found["auroc"]["high"]
    assert found["d_prime"]["low"] < 1.0 < found["d_prime"]["high"]
    assert found["reach"] == {"value": 32.0, "low": 32.0, "high": None, "bound": "lower"}
    assert found["overhang"]["bound"] == "lower"
    assert found["overhang"]["value"] == 1.0
    assert found["overhang"]["high"] is None
    assert found["ceiling"]["bound"] == "lower"
    assert "omitted" in found["n_star"]
    assert found["noise"][0]["low"] < 1.0 < found["noise"][0]["high"]


def test_the_affordable_number_sets_the_overhang() -> None:
    rows = binary_rows(np.full(80, 0.3), 16, tokens=10)
    for options, n in (({"n": 4}, 4), ({"budget": 80.0}, 8), ({}, 16)):
        found = told(rows, **options)
        assert found["affordable"] == n
        assert found["taste"]["overhang"]["value"] == 16 / n


def test_a_score_that_separates_only_problems_has_no_taste_and_gains_nothing() -> None:
    p = spread_p(200)
    found = told(binary_rows(p, 16, d=0.0, offset=20.0))
    auroc = found["taste"]["auroc"]
    assert auroc["low"] < 0.5 < auroc["high"]
    assert auroc["high"] - auroc["low"] < 0.08
    assert found["taste"]["reach"]["value"] <= 2
    levers = {lever["lever"]: lever for lever in found["levers"]}
    for name in ("samples", "taste", "length"):
        assert levers[name]["low"] < 0 < levers[name]["high"], name
        assert abs(levers[name]["gain"]) < 0.01, name


def test_heavy_tails_turn_within_a_factor_of_two() -> None:
    """Normal quality, error 0.5 · t(3): N* = 54 (by quadrature)."""
    seen = told(graded_rows(60, 512, lambda r, n: 0.5 * r.standard_t(3, n)))["taste"]
    assert 27 <= seen["n_star"]["value"] <= 108
    assert not seen["n_star"]["fitted"]
    assert seen["n_star"]["low"] <= 54 <= seen["n_star"]["high"]
    assert seen["tail"]["heavy"]
    assert seen["ceiling"]["bound"] == "upper"
    assert seen["noise"][0]["low"] < 0.5 * np.sqrt(3) < seen["noise"][0]["high"] * 1.1
    fitted = told(graded_rows(400, 16, lambda r, n: 0.5 * r.standard_t(3, n)))["taste"]
    assert fitted["reach"]["bound"] in (None, "lower")
    assert fitted["reach"]["value"] <= 16, "a reach is never a fitted number"
    if "value" in fitted["n_star"]:
        assert fitted["n_star"]["fitted"]
        assert 27 <= fitted["n_star"]["value"] <= 108


def test_light_tails_do_not_turn() -> None:
    found = told(graded_rows(60, 128, lambda r, n: r.normal(0, 1, n)))["taste"]
    assert "omitted" in found["n_star"]
    assert not found["tail"]["heavy"]
    assert found["noise"][0]["low"] < 1.0 < found["noise"][0]["high"]
    points = {p["k"]: p for p in found["curve"]}
    for k, expected in ((4, 0.728), (16, 1.249), (64, 1.657)):
        assert points[k]["exact"] == pytest.approx(expected, abs=0.12)
        assert points[k]["low"] - 0.05 < expected < points[k]["high"] + 0.05


def test_a_wider_wrong_class_turns_and_its_ceiling_is_an_upper_bound() -> None:
    found = told(binary_rows(np.full(150, 0.5), 64, d=1.0, wrong=2.0))["taste"]
    assert found["n_star"]["value"] <= 8
    assert found["ceiling"]["bound"] == "upper"
    assert found["ceiling"]["low"] < 0.164 < found["ceiling"]["high"]
    assert found["reach"]["value"] <= 8
    predicted = [p for p in found["curve"] if p["exact"] is not None and p["predicted"] is not None]
    assert all(abs(p["exact"] - p["predicted"]) < 0.05 for p in predicted)


def test_false_positives_of_a_check_bound_its_ceiling() -> None:
    random = np.random.default_rng(0)
    rows = binary_rows(np.full(120, 0.2), 16)
    for row in rows:
        row["score"] = 1.0 if row["correct"] or random.random() < 0.1 else 0.0
    found = told(rows)
    ceiling = found["taste"]["ceiling"]
    assert ceiling["low"] < 0.2 / 0.28 < ceiling["high"]
    taste_lever = next(lever for lever in found["levers"] if lever["lever"] == "taste")
    assert "2 levels" in taste_lever["omitted"]


def test_replicates_show_only_the_random_part() -> None:
    rows = binary_rows(spread_p(40), 8)
    random = np.random.default_rng(0)
    for row in rows:
        score = row.pop("score")
        row["scores"] = {"same": [score] * 3, "noisy": (score + random.normal(0, 0.5, 3)).tolist()}
    samples = draws_of_rows(rows, scorer="same")
    same = document(samples, details.of_rows(rows, scorer="same"))["taste"]["replicates"]
    assert same["identified"] is False
    assert same["reason"].startswith("e not identified")
    samples = draws_of_rows(rows, scorer="noisy")
    noisy = document(samples, details.of_rows(rows, scorer="noisy"))["taste"]["replicates"]
    assert noisy["random"] == pytest.approx(0.25, rel=0.15)
    assert "only the random part" in noisy["reason"]


def test_two_scorers_with_independent_errors_identify_the_spread_of_quality() -> None:
    random = np.random.default_rng(0)
    problem = np.repeat(np.arange(300), 8)
    q = random.normal(0, 1, 2400) + 5 * problem
    one, other = q + random.normal(0, 0.5, 2400), q + random.normal(0, 2, 2400)
    assert scatter.two_scorers(one, other, problem) == pytest.approx((1, 0.25, 4), abs=0.2)


def test_the_error_of_equal_wrong_answers_is_shared() -> None:
    random = np.random.default_rng(0)
    rows = binary_rows(np.full(150, 0.3), 16, rivals=3)
    own = {(f"p{i:03}", str(1 + j)): random.normal(0, 1) for i in range(150) for j in range(3)}
    for row in rows:
        row["score"] += own.get((row["problem"], row["answer"]), 0.0)
    found = told(rows)["taste"]["shared_error"]
    assert found["low"] < 0.5 < found["high"]
    alone = told(binary_rows(np.full(150, 0.3), 16, rivals=3))["taste"]["shared_error"]
    assert alone["value"] < 0.1


def test_shared_error_is_the_pairs() -> None:
    random = np.random.default_rng(1)
    label = random.integers(1, 4, (5, 7))
    score = random.normal(0, 2, (5, 7))
    found = scatter.shared_error(Draws.of(list(label), [np.zeros(7, bool)] * 5, list(score)))
    same, differ = [], []
    for i in range(5):
        for a, b in itertools.combinations(range(7), 2):
            half = (score[i, a] - score[i, b]) ** 2 / 2
            (same if label[i, a] == label[i, b] else differ).append(half)
    assert found.value == pytest.approx(max(0.0, 1 - np.mean(same) / np.mean(differ)), abs=1e-9)


def test_best_is_picked_by_enumeration() -> None:
    random = np.random.default_rng(0)
    q, s = random.integers(0, 4, (3, 7)).astype(float), random.normal(0, 1, (3, 7))
    draws = Draws.of([[1] * 7] * 3, [[True] * 7] * 3, list(s))
    found = taste.best_is_picked(draws, q.ravel(), (1, 2, 3, 5, 7))
    for i in range(3):
        for at, k in enumerate((1, 2, 3, 5, 7)):
            subsets = list(itertools.combinations(range(7), k))
            hit = sum(q[i, max(c, key=lambda j: s[i, j])] == max(q[i, list(c)]) for c in subsets)
            assert found[i, at] == pytest.approx(hit / len(subsets))


def test_reach_ends_before_the_first_doubling_that_does_not_pay() -> None:
    values = np.tile([0.2, 0.3, 0.36, 0.365, 0.366], (20, 1))
    assert taste.reach(values, (1, 2, 4, 8, 16)) == taste.Told(4.0, 4.0, 4.0, None)
    assert taste.reach(values[:, :3], (1, 2, 4)).bound == "lower"
    assert taste.reach(np.full((20, 3), 0.4), (1, 2, 4)).value == 1


def test_graded_reach_is_where_the_best_is_still_picked() -> None:
    sure = told(graded_rows(80, 32, lambda r, n: r.normal(0, 0.01, n)))["taste"]
    assert sure["reach"]["value"] == 32
    assert sure["reach"]["bound"] == "lower"
    blurred = told(graded_rows(80, 32, lambda r, n: r.normal(0, 0.3, n)))["taste"]
    assert 1 <= blurred["reach"]["value"] <= 4
    assert "best" in blurred["rule"]


def test_domains_are_told_apart() -> None:
    rows = binary_rows(np.full(60, 0.4), 16, d=3.0) + [
        row | {"problem": "q" + row["problem"], "domain": "soft"} for row in binary_rows(np.full(60, 0.4), 16, d=0.5)
    ]
    found = {row["domain"]: row for row in told(rows)["taste"]["noise"]}
    assert found[None]["value"] == pytest.approx(1 / 3, rel=0.15)
    assert found["soft"]["value"] == pytest.approx(2, rel=0.4)


def test_without_scores_the_taste_is_left_out_with_its_reason() -> None:
    rows = [{k: v for k, v in row.items() if k != "score"} for row in binary_rows(spread_p(40), 8)]
    found = told(rows)
    assert "no scores" in found["taste"]["omitted"]
    assert found["taste"]["reach"]["value"] is None
    assert found["select"] == "maj"


def test_gold_is_best_of_n_of_the_same_samples() -> None:
    rows = graded_rows(10, 8, lambda r, n: r.normal(0, 1, n))
    more = details.of_rows(rows, scorer="score")
    values = best_of_n_at_k(more.draws, [8], more.quality).values[:, 0]
    for i in range(10):
        own = [row for row in rows if row["problem"] == f"p{i:03}"]
        assert values[i] == pytest.approx(max(own, key=lambda row: row["score"])["quality"])
