"""Advantages equal their definitions, and their expected gradients are those of the objectives they are named after."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs ponder[local]")

import torch
from torch import Tensor

from ponder.train.advantages import EPSILON, Kind, advantages, keeps, overlong, shorter


def doubles(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def groups_of(element: st.SearchStrategy[float]) -> st.SearchStrategy[list[list[float]]]:
    return st.integers(2, 6).flatmap(
        lambda size: st.lists(st.lists(element, min_size=size, max_size=size), min_size=1, max_size=5)
    )


GRADED = groups_of(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
BINARY = groups_of(st.sampled_from([0.0, 1.0]))


def naive(rows: list[list[float]], kind: Kind) -> list[list[float]]:
    kept = [max(row) - min(row) > 1e-6 for row in rows]
    centred = [[r - statistics.fmean(row) for r in row] for row in rows]
    pooled = [a for row, keep in zip(centred, kept, strict=True) if keep for a in row]
    out = []
    for row, shifted, keep in zip(rows, centred, kept, strict=True):
        if not keep:
            out.append([0.0] * len(row))
        elif kind == "grpo":
            out.append([a / (statistics.pstdev(pooled) + EPSILON) for a in shifted])
        elif kind == "rloo":
            out.append([r - (sum(row) - r) / (len(row) - 1) for r in row])
        elif kind == "maxrl":
            out.append([a / statistics.fmean(row) for a in shifted])
        else:
            out.append(shifted)
    return out


@pytest.mark.parametrize("kind", ["grpo", "dr_grpo", "rloo", "maxrl"])
@given(rows=GRADED)
def test_each_kind_equals_its_definition(kind: Kind, rows: list[list[float]]) -> None:
    torch.testing.assert_close(advantages(doubles(rows), kind), doubles(naive(rows, kind)), rtol=1e-12, atol=1e-12)


@given(BINARY, st.integers(1, 6))
def test_pass_k_is_the_mean_over_all_subsets_with_the_chain(rows: list[list[float]], k: int) -> None:
    """Chen et al.'s definition: every k-subset is rewarded by its best, standardised over the subsets; a chain's
    advantage is the mean of its subsets'."""
    size = len(rows[0])
    k = min(k, size)
    got = advantages(doubles(rows), "pass_k", k=k)
    for row, found in zip(rows, got.tolist(), strict=True):
        best = {chosen: max(row[i] for i in chosen) for chosen in itertools.combinations(range(size), k)}
        mean, spread = statistics.fmean(best.values()), statistics.pstdev(best.values())
        for i, value in enumerate(found):
            own = statistics.fmean(value for chosen, value in best.items() if i in chosen)
            assert value == pytest.approx((own - mean) / spread if spread else 0.0, abs=1e-12)


@given(BINARY)
def test_pass_1_is_grpo_divided_by_the_groups_own_deviation(rows: list[list[float]]) -> None:
    spreads = [statistics.pstdev(row) or 1.0 for row in rows]
    expected = [[(r - statistics.fmean(row)) / s for r in row] for row, s in zip(rows, spreads, strict=True)]
    torch.testing.assert_close(advantages(doubles(rows), "pass_k"), doubles(expected), rtol=1e-12, atol=1e-12)
    for row in rows:  # and grpo over one group is that, but for EPSILON
        one = doubles([row])
        torch.testing.assert_close(advantages(one, "grpo"), advantages(one, "pass_k"), rtol=1e-5, atol=0)


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_expected_gradients_by_enumeration(size: int, p: float) -> None:
    """A policy that is right with chance p: the mean over all groups of (1/G) Σ A · d log chance/dp, in units of dp."""

    def expected(kind: Kind) -> float:
        total = 0.0
        for row in itertools.product([0.0, 1.0], repeat=size):
            chance = math.prod(p if r else 1 - p for r in row)
            score = [1 / p if r else -1 / (1 - p) for r in row]
            gains = advantages(doubles([list(row)]), kind)[0].tolist()
            total += chance * sum(a * s for a, s in zip(gains, score, strict=True)) / size
        return total

    assert expected("rloo") == pytest.approx(1.0)
    assert expected("dr_grpo") == pytest.approx((size - 1) / size)
    assert expected("maxrl") == pytest.approx(sum((1 - p) ** (k - 1) for k in range(1, size)))  # d(pass@k/k)/dp


def test_with_fewer_than_k_wrong_nothing_is_left_to_learn() -> None:
    got = advantages(doubles([[1, 1, 1, 0], [1, 0, 0, 0]]), "pass_k", k=2)
    assert got[0].tolist() == [0.0] * 4
    assert got[1, 0] > 0 > got[1, 1]


def test_a_group_is_kept_by_the_range_of_its_rewards() -> None:
    rewards = doubles([[0, 1, 0], [1, 1, 1], [0.3, 0.3 + 1e-9, 0.3], [0, 0, 2e-6]])
    assert keeps(rewards).tolist() == [True, False, False, True]
    assert keeps(rewards, tolerance=1.5).tolist() == [False] * 4
    assert keeps(torch.tensor([[0, 1], [1, 1]])).tolist() == [True, False]
    assert keeps(doubles([[0] * 7 + [1.5e-6]])).tolist() == [True]  # its standard deviation is below the tolerance


@pytest.mark.parametrize("kind", ["grpo", "dr_grpo", "rloo", "maxrl", "pass_k"])
def test_what_the_caller_drops_is_zero(kind: Kind) -> None:
    rewards = doubles([[0, 1, 1], [1, 0, 0]])
    got = advantages(rewards, kind, kept=torch.tensor([False, True]))
    assert got[0].tolist() == [0.0] * 3
    torch.testing.assert_close(got[1:], advantages(rewards[1:], kind))


@pytest.mark.parametrize("kind", ["grpo", "dr_grpo", "rloo"])
def test_shaping_cannot_bring_a_dropped_group_back(kind: Kind) -> None:
    """Nor change the others: the deviation is that of the kept groups alone."""
    right = doubles([[0, 1], [1, 1], [1, 0]])
    shaped = right + doubles([[0.1, -0.1], [40, -40], [0, 0.2]])
    got = advantages(shaped, kind, kept=keeps(right))
    assert got[1].tolist() == [0.0, 0.0]
    torch.testing.assert_close(got[[0, 2]], advantages(shaped[[0, 2]], kind))


@pytest.mark.parametrize("kind", ["grpo", "dr_grpo", "rloo", "maxrl", "pass_k"])
def test_a_batch_with_nothing_kept_is_all_zero(kind: Kind) -> None:
    assert advantages(torch.zeros(2, 4), kind).tolist() == [[0.0] * 4] * 2


def test_rounding_is_not_a_signal() -> None:
    """The pitfall of filters by standard deviation: 0.1 + 0.2 against 0.3 must not become an advantage of ±1."""
    assert advantages(doubles([[0.1 + 0.2, 0.3], [1, 1]]), "grpo").abs().max() == 0


def test_the_dtype_is_kept_and_whole_numbers_become_floats() -> None:
    assert advantages(torch.tensor([[0.0, 1.0]]), "grpo").dtype == torch.float32
    assert advantages(doubles([[0, 1]]), "pass_k").dtype == torch.float64
    assert advantages(torch.tensor([[False, True]]), "rloo").tolist() == [[-1.0, 1.0]]


@pytest.mark.parametrize(
    ("rewards", "kind", "more", "says"),
    [
        ([[1.0], [0.0]], "grpo", {}, "G >= 2"),
        ([1.0, 0.0], "grpo", {}, "G >= 2"),
        ([[1.0, math.nan]], "dr_grpo", {}, "NaN"),
        ([[1.0, math.inf]], "rloo", {}, "infinity"),
        ([[1.0, 0.5]], "pass_k", {}, "exactly 0 or 1"),
        ([[1.0, 0.0]], "pass_k", {"k": 3}, "k is 3"),
        ([[1.0, 0.0]], "pass_k", {"k": 0}, "k is 0"),
        ([[1.0, 0.0]], "grpo", {"k": 2}, "other kinds none"),
        ([[1.0, -1.0]], "maxrl", {}, "maxrl"),
        ([[0.0, 0.0]], "maxrl", {"kept": torch.tensor([True])}, "maxrl"),
        ([[1.0, 0.0]], "ppo", {}, "unknown kind"),
        ([[1.0, 0.0]], "grpo", {"kept": torch.tensor([True, True])}, "kept"),
        ([[1.0, 0.0]], "grpo", {"kept": torch.tensor([1.0])}, "kept"),
    ],
)
def test_what_has_no_meaning_is_refused(rewards: list[float], kind: Kind, more: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        advantages(torch.tensor(rewards), kind, **more)  # type: ignore[arg-type]


def test_a_tolerance_must_be_a_length() -> None:
    for tolerance in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="tolerance"):
            keeps(doubles([[0, 1]]), tolerance)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=8), st.integers(1, 200), st.integers(0, 100))
def test_overlong_is_the_soft_penalty_of_dapo(lengths: list[int], buffer: int, more: int) -> None:
    hard = buffer + more
    expected = [max(-1, min(0, -(n - (hard - buffer)) / buffer)) for n in lengths]
    assert overlong(torch.tensor(lengths), hard, buffer).tolist() == pytest.approx(expected, abs=1e-6)


def test_overlong_by_hand() -> None:
    got = overlong(torch.tensor([[0, 80], [90, 100], [100, 130]]), hard=100, buffer=20)
    torch.testing.assert_close(got, torch.tensor([[0.0, 0.0], [-0.5, -1.0], [-1.0, -1.0]]))


@given(
    st.integers(1, 6).flatmap(lambda g: st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=g, max_size=g))
)
def test_shorter_is_the_length_reward_of_kimi(group: list[tuple[int, bool]]) -> None:
    lengths = [n for n, _ in group]
    least, most = min(lengths), max(lengths)
    expected = []
    for n, right in group:
        share = 0.5 - (n - least) / (most - least) if most > least else 0.0
        expected.append(share if right else min(0.0, share))
    got = shorter(torch.tensor([lengths]), torch.tensor([[right for _, right in group]]))
    assert got[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_lengths_are_whole_and_fit() -> None:
    right = torch.tensor([[True, False]])
    for call, says in [
        (lambda: overlong(torch.tensor([3]), 10, 0), "buffer is 0"),
        (lambda: overlong(torch.tensor([3]), 10, 11), "buffer is 11"),
        (lambda: overlong(torch.tensor([3.5]), 10, 5), "whole numbers"),
        (lambda: overlong(torch.tensor([-1]), 10, 5), "whole numbers"),
        (lambda: shorter(torch.tensor([[1, 2, 3]]), right), "must both be"),
        (lambda: shorter(torch.tensor([[1, 2]]), right.float()), "must both be"),
    ]:
        with pytest.raises(ValueError, match=says):
            call()
