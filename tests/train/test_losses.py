"""Losses equal their definitions in loops, their gradients those of what they estimate, by enumeration in float64."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs ponder[local]")

import torch
from torch import Tensor

from ponder.train import losses
from ponder.train.losses import Kind, policy_loss

KINDS: list[Kind] = ["dapo", "dr_grpo", "cispo", "gspo", "reinforce"]
LONGEST = 9
VOCABULARY = 3


def doubles(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def number(value: Tensor) -> float:
    return float(value.detach())  # torch warns of float() on what has a gradient


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def a_batch(seed: int, rows: int = 6, width: int = 5) -> dict[str, Tensor]:
    """Ratios far enough from 1 that each clip is met; one chain is empty, some tokens within others are masked."""
    mask = noise(rows, width, seed=seed) > -0.5
    mask[rows // 2] = False
    mask[0, 0] = True
    old = -noise(rows, width, seed=seed + 1).abs() - 0.1
    return {
        "new": old + 0.8 * noise(rows, width, seed=seed + 2),
        "old": old,
        "advantages": noise(rows, seed=seed + 3),
        "mask": mask,
    }


def naive_policy_loss(new: Any, old: Any, gain: Any, mask: Any, weight: Any, total: float, kind: Kind) -> float:
    out = 0.0
    for i in range(len(new)):
        tokens = [t for t in range(len(new[i])) if mask[i][t]]
        if kind == "gspo" and tokens:
            ratio = math.exp(sum(new[i][t] - old[i][t] for t in tokens) / len(tokens))
            clipped = min(max(ratio, 1 - 3e-4), 1 + 4e-4)
            out += weight[i] * min(ratio * gain[i], clipped * gain[i])
        elif kind != "gspo":
            for t in tokens:
                ratio = math.exp(new[i][t] - old[i][t])
                if kind == "reinforce":
                    score = gain[i] * new[i][t]
                elif kind == "cispo":
                    score = min(ratio, 5.0) * gain[i] * new[i][t]
                else:
                    score = min(ratio * gain[i], min(max(ratio, 0.8), 1.28) * gain[i])
                    if gain[i] < 0:
                        score = max(score, 3.0 * gain[i])
                out += weight[i] * score
    return -out / total


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_the_loss_equals_its_definition_in_loops(kind: Kind, seed: int) -> None:
    batch, weight = a_batch(seed), noise(6, seed=99).abs()
    total = losses.denominator(batch["mask"], kind, LONGEST)
    expected = naive_policy_loss(*(v.tolist() for v in batch.values()), weight.tolist(), total, kind)
    got = policy_loss(**batch, denominator=total, kind=kind, weights=weight)
    assert number(got.loss) == pytest.approx(expected, rel=1e-12)
    assert int(got.units) == int((batch["mask"].any(-1) if kind == "gspo" else batch["mask"]).sum())
    if kind != "gspo":  # one number a token says the same as one a chain
        wide = {**batch, "advantages": batch["advantages"][:, None].expand(6, 5)}
        again = policy_loss(**wide, denominator=total, kind=kind, weights=weight[:, None].expand(6, 5))
        assert number(again.loss) == number(got.loss)


def one_token(change: float, gain: float, **more: Any) -> tuple[float, float, int, int]:
    """(loss, gradient, clipped, dual) of one token with log-ratio log(change)."""
    new = doubles([[math.log(change) - 1]]).requires_grad_()
    got = policy_loss(new, doubles([[-1.0]]), doubles([gain]), torch.tensor([[True]]), denominator=1, **more)
    (slope,) = torch.autograd.grad(got.loss, new)
    return number(got.loss), number(slope), int(got.clipped), int(got.dual)


@pytest.mark.parametrize(
    ("ratio", "gain", "loss", "slope", "clipped", "dual"),
    [
        (1.0, 2.0, -2.0, -2.0, 0, 0),
        (1.2, 2.0, -2.4, -2.4, 0, 0),
        (1.5, 2.0, -2.56, 0.0, 1, 0),
        (0.5, 2.0, -1.0, -1.0, 0, 0),
        (0.5, -2.0, 1.6, 0.0, 1, 0),
        (1.5, -2.0, 3.0, 3.0, 0, 0),
        (2.9, -2.0, 5.8, 5.8, 0, 0),
        (3.1, -2.0, 6.0, 0.0, 0, 1),  # the dual clip: S = max(S, 3A)
        (3.1, 2.0, -2.56, 0.0, 1, 0),
        (3.1, 0.0, 0.0, 0.0, 0, 0),
    ],
)
def test_clips_by_hand(ratio: float, gain: float, loss: float, slope: float, clipped: int, dual: int) -> None:
    assert one_token(ratio, gain) == pytest.approx((loss, slope, clipped, dual), abs=1e-12)


def test_without_a_dual_clip_and_with_cispos_cap() -> None:
    assert one_token(3.1, -2.0, dual=math.inf)[1:] == pytest.approx((6.2, 0, 0))
    assert one_token(2.0, 1.0, kind="cispo")[1:] == pytest.approx((-2.0, 0, 0))
    assert one_token(7.0, 1.0, kind="cispo")[1:] == pytest.approx((-5.0, 1, 0))  # capped, and still learning
    assert one_token(1.0001, 1.0, kind="gspo")[1:] == pytest.approx((-1.0001, 0, 0))
    assert one_token(1.001, 1.0, kind="gspo")[1:] == pytest.approx((0.0, 1, 0))
    assert one_token(9.0, -1.0, kind="gspo")[1:] == pytest.approx((9.0, 0, 0))


def policy(table: Tensor, tokens: Tensor) -> Tensor:
    """Log-probs [B, T] of tokens under a bigram model; table [V + 1, V], whose last row begins a chain."""
    before = torch.cat([torch.full_like(tokens[:, :1], VOCABULARY), tokens[:, :-1]], dim=1)
    chances: Tensor = table.log_softmax(-1)[before, tokens]
    return chances


CUTS = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), min_size=8, max_size=8)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10**6), cuts=CUTS)
@settings(max_examples=30)
def test_gradients_are_the_same_under_any_split_into_micro_batches(
    kind: Kind, seed: int, cuts: list[tuple[int, int]]
) -> None:
    """Each micro-batch is cut to its longest chain and padded by some more; the padding is garbage."""
    rows, width = 8, 6
    lengths = torch.randint(0, width + 1, (rows,), generator=torch.Generator().manual_seed(seed))
    lengths[0] = width
    tokens = torch.randint(0, VOCABULARY, (rows, width), generator=torch.Generator().manual_seed(seed + 1))
    mask = torch.arange(width) < lengths[:, None]
    mask &= noise(rows, width, seed=seed + 2) > -1.5
    mask[0, 0] = True
    table = noise(VOCABULARY + 1, VOCABULARY, seed=seed + 3).requires_grad_()
    old = policy(table.detach() + 0.3 * noise(VOCABULARY + 1, VOCABULARY, seed=seed + 4), tokens)
    gain, weight = noise(rows, seed=seed + 5), noise(rows, seed=seed + 6).abs()
    total = losses.denominator(mask, kind, width)

    def loss_of(chosen: slice, wide: int) -> losses.Loss:
        def padded(values: Tensor, fill: Any) -> Tensor:
            return torch.nn.functional.pad(values[chosen], (0, width), value=fill)[:, :wide]

        new, keep = policy(table, padded(tokens, 0)), padded(mask, False)
        more = {"kind": kind, "weights": weight[chosen], "denominator": total}
        return policy_loss(new, padded(old, math.nan), gain[chosen], keep, **more)

    whole = loss_of(slice(0, rows), width)
    (expected,) = torch.autograd.grad(whole.loss, table)
    summed, units, value, start = torch.zeros_like(table), 0, 0.0, 0
    for size, extra in cuts:
        chosen = slice(start, min(start + size, rows))
        part = loss_of(chosen, int(lengths[chosen].max()) + extra or 1)
        summed += torch.autograd.grad(part.loss, table)[0]
        units, value, start = units + int(part.units), value + number(part.loss), chosen.stop
        if start == rows:
            break
    torch.testing.assert_close(summed, expected, rtol=0, atol=1e-10)
    assert (units, value) == (int(whole.units), pytest.approx(number(whole.loss), abs=1e-10))


def every_chain(length: int) -> Tensor:
    return torch.tensor(list(itertools.product(range(VOCABULARY), repeat=length)))


@pytest.mark.parametrize("kind", ["dapo", "cispo", "reinforce"])
def test_on_policy_the_gradient_is_that_of_the_expected_reward(kind: Kind) -> None:
    """Over all chains, weighed by their chance, with the denominator 'one batch'."""
    tokens = every_chain(3)
    reward, table = noise(len(tokens), seed=1), noise(VOCABULARY + 1, VOCABULARY, seed=2).requires_grad_()
    new = policy(table, tokens)
    chance = new.sum(-1).exp()
    (expected,) = torch.autograd.grad(-(chance * reward).sum(), table, retain_graph=True)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    got = policy_loss(new, new, reward, mask, kind=kind, weights=chance, denominator=mask.sum())
    (slope,) = torch.autograd.grad(got.loss * mask.sum(), table)
    torch.testing.assert_close(slope, expected, rtol=0, atol=1e-12)


def kl(left: Tensor, right: Tensor) -> Tensor:
    """Exact KL(left ‖ right) in nats from the log-chances of all outcomes."""
    return (left.exp() * (left - right)).sum()


def test_k2_on_the_sequence_has_the_exact_gradient_of_the_kl() -> None:
    tokens = every_chain(3)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    table, reference = noise(4, 3, seed=1).requires_grad_(), policy(noise(4, 3, seed=2), tokens)
    new = policy(table, tokens)
    chance = new.sum(-1).detach().exp()
    (exact,) = torch.autograd.grad(kl(new.sum(-1), reference.sum(-1)), table, retain_graph=True)
    loss = (chance * losses.kl_k2_sequence(new, reference, mask)).sum()
    torch.testing.assert_close(torch.autograd.grad(loss, table, retain_graph=True)[0], exact, rtol=0, atol=1e-12)
    by_token = (chance[:, None] * 0.5 * (new - reference).square()).sum()  # the prefixes held fixed: not the gradient
    assert (torch.autograd.grad(by_token, table)[0] - exact).abs().max() > 0.01


def test_k1_and_k3_have_the_value_of_the_kl_and_not_its_gradient() -> None:
    tokens = every_chain(1)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    table, reference = noise(4, 3, seed=3).requires_grad_(), policy(noise(4, 3, seed=4), tokens)
    new = policy(table, tokens)
    chance = new.detach().exp()
    exact = kl(new[:, 0], reference[:, 0])
    k1, k3 = (chance * losses.kl_k1(new, reference, mask)).sum(), (chance * losses.kl_k3(new, reference, mask)).sum()
    assert number(k1) == pytest.approx(number(exact)) == number(k3)
    assert not k1.requires_grad
    (nothing,) = torch.autograd.grad((chance * (new - reference)).sum(), table, retain_graph=True)
    assert nothing.abs().max() < 1e-12
    (other,) = torch.autograd.grad(kl(reference[:, 0], new[:, 0]), table, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(k3, table)[0], other, rtol=0, atol=1e-12)


def test_k1_and_k3_over_whole_chains() -> None:
    """k1 summed over a chain has the KL's value, and so has k3 (each of its tokens' mean, over prefixes)."""
    tokens = every_chain(3)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    new, reference = policy(noise(4, 3, seed=5), tokens), policy(noise(4, 3, seed=6), tokens)
    exact, chance = kl(new.sum(-1), reference.sum(-1)), new.sum(-1).exp()
    for value in (losses.kl_k1(new, reference, mask), losses.kl_k3(new, reference, mask)):
        assert float((chance * value.sum(-1)).sum()) == pytest.approx(number(exact))
    assert losses.kl_k3(new, reference, mask).min() >= 0


def test_importance_is_truncated_and_constant() -> None:
    old = doubles([[-1.0, -1.0, -1.0, math.nan]]).requires_grad_()
    sampled, mask = doubles([[-1.0, -3.0, -0.5, 0.0]]), torch.tensor([[True, True, True, False]])
    got = losses.importance(old, sampled, mask)
    assert got.tolist() == [pytest.approx([1.0, 2.0, math.exp(-0.5), 0.0])] and not got.requires_grad
    assert losses.importance(old, sampled, mask, cap=9.0)[0, 1] == pytest.approx(math.exp(2))
    far = losses.importance(doubles([[0.0]]), doubles([[-1e4]]), torch.tensor([[True]]))
    assert far.tolist() == [[pytest.approx(2.0)]]


def test_drift_is_over_unmasked_tokens() -> None:
    new, sampled = doubles([[-1.0, -2.0], [-3.0, 9.0]]), doubles([[-1.1, -2.0], [-2.7, -9.0]])
    assert losses.drift(new, sampled, torch.tensor([[True, True], [True, False]])) == pytest.approx((0.3, 0.4 / 3))


def test_entropy_in_loops_with_forbidden_tokens_and_its_gradient() -> None:
    logits = noise(2, 3, 4, seed=1)
    logits[0, 1, 2] = -math.inf
    logits[1, 2] = math.nan
    mask = torch.tensor([[True, True, False], [True, True, False]])
    logits.requires_grad_()
    got = losses.entropy(logits, mask)
    for i, t in itertools.product(range(2), range(3)):
        weights = [math.exp(v) for v in logits[i, t].tolist()]
        chances = [w / sum(weights) for w in weights if w > 0]
        expected = -sum(p * math.log(p) for p in chances) if mask[i, t] else 0.0
        assert number(got[i, t]) == pytest.approx(expected, abs=1e-12)
    (slope,) = torch.autograd.grad(got.sum(), logits)
    assert torch.isfinite(slope).all() and slope[0, 1, 2] == 0 and slope[:, 2].abs().max() == 0
    assert torch.autograd.gradcheck(lambda z: losses.entropy(z, mask[:, :2]), noise(2, 2, 4, seed=2).requires_grad_())


def test_implicit_reward_accumulates_up_to_each_step() -> None:
    mask = torch.tensor([[False, True, True, True], [True, False, True, False]])
    ends = torch.tensor([[1, 3], [2, -1]])
    policy_logprobs, reference = noise(2, 4, seed=1), noise(2, 4, seed=2)
    policy_logprobs[0, 0] = math.nan
    policy_logprobs.requires_grad_()
    got = losses.implicit_reward(policy_logprobs, reference, mask, ends)
    for i, s in itertools.product(range(2), range(2)):
        end = int(ends[i, s])
        ratio = [number(policy_logprobs[i, t] - reference[i, t]) for t in range(end + 1) if mask[i, t]]
        assert number(got[i, s]) == pytest.approx(sum(ratio), abs=1e-12)
    (slope,) = torch.autograd.grad(got.sum(), policy_logprobs)
    assert slope.tolist() == [[0, 2, 1, 1], [1, 0, 1, 0]]


@pytest.mark.parametrize("ends", [[[0, 3], [2, -1]], [[1, 4], [2, -1]], [[1, 3], [1, -1]], [[1, 3], [2, -2]]])
def test_a_step_must_end_in_its_chain(ends: list[list[int]]) -> None:
    mask = torch.tensor([[False, True, True, True], [True, False, True, False]])
    with pytest.raises(ValueError, match="each end must be"):
        losses.implicit_reward(noise(2, 4, seed=1), noise(2, 4, seed=2), mask, torch.tensor(ends))


def test_outcome_loss_in_loops_with_soft_labels_and_weights() -> None:
    logits, mask = noise(3, 2, seed=1), torch.tensor([[True, True], [True, False], [False, True]])
    labels, counts = doubles([[0.25, 1.0], [0.5, math.nan], [9.0, 0.0]]), doubles([[4, 8], [2, 1], [1, 4]])
    total = float(counts[mask].sum())
    expected = 0.0
    for z, y, n in zip(logits[mask].tolist(), labels[mask].tolist(), counts[mask].tolist(), strict=True):
        chance = 1 / (1 + math.exp(-z))
        expected -= n * y * math.log(chance) + n * (1 - y) * math.log(1 - chance)  # c of n completions, c = n·y
    got = losses.outcome_loss(logits, labels, mask, total, weights=counts)
    assert float(got) == pytest.approx(expected / total, rel=1e-12)
    parts = [losses.outcome_loss(logits[i], labels[i], mask[i], total, weights=counts[i]) for i in range(3)]
    assert float(sum(parts)) == pytest.approx(float(got), rel=1e-12)


def test_outcome_loss_takes_hard_labels_of_any_type() -> None:
    logits, mask = noise(4, seed=1), torch.ones(4, dtype=torch.bool)
    hard = torch.tensor([0, 1, 1, 0])
    values = {float(losses.outcome_loss(logits, y, mask, 4)) for y in (hard, hard.bool(), hard.double())}
    assert len(values) == 1


def test_balance_gives_each_class_half() -> None:
    labels = doubles([[1, 0, 0], [0, math.nan, 0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    weights = losses.balance(labels, mask)
    assert weights.tolist() == [pytest.approx([2.0, 2 / 3, 2 / 3]), pytest.approx([2 / 3, 0, 0])]
    with pytest.raises(ValueError, match="both"):
        losses.balance(doubles([1.0, 1.0]), torch.tensor([True, True]))
    with pytest.raises(ValueError, match="both"):
        losses.balance(doubles([1.0, 0.0, 0.5]), torch.tensor([True, True, True]))


def test_pairwise_loss_in_loops_and_far_out() -> None:
    better, worse, mask = noise(4, seed=1), noise(4, seed=2), torch.tensor([True, True, False, True])
    pairs = zip(better[mask].tolist(), worse[mask].tolist(), strict=True)
    expected = sum(math.log(1 + math.exp(w - b)) for b, w in pairs) / 3
    assert float(losses.pairwise_loss(better, worse, mask, 3)) == pytest.approx(expected, rel=1e-12)
    far = losses.pairwise_loss(doubles([-500.0]), doubles([500.0]), torch.tensor([True]), 1)
    assert float(far) == pytest.approx(1000.0)


def test_denominators_count_the_batch() -> None:
    mask = torch.tensor([[True, True, False], [False, False, False], [True, False, True]])
    assert [losses.denominator(mask, kind, LONGEST) for kind in KINDS] == [4, 18, 4, 2, 4]
    for call, says in [
        (lambda: losses.denominator(mask, "dr_grpo"), "longest is None"),
        (lambda: losses.denominator(mask, "dr_grpo", 1), "longest is 1"),
        (lambda: losses.denominator(mask & False, "dapo"), "no token"),
        (lambda: losses.denominator(mask, "ppo"), "unknown kind"),  # type: ignore[arg-type]
        (lambda: losses.denominator(mask.int(), "dapo"), "must be bool"),
    ]:
        with pytest.raises(ValueError, match=says):
            call()


def test_what_is_masked_is_never_read() -> None:
    """NaN and infinity behind the mask change neither the loss nor the gradient."""
    batch = a_batch(3)
    spoilt = {
        name: v.clone().masked_fill(~batch["mask"], math.nan) for name, v in batch.items() if name in ("new", "old")
    }
    spoilt["advantages"] = batch["advantages"].masked_fill(~batch["mask"].any(-1), math.inf)
    for kind in KINDS:
        slopes = []
        for case in (batch, {**batch, **spoilt}):
            new = case["new"].clone().requires_grad_()
            got = policy_loss(**{**case, "new": new}, denominator=100, kind=kind)
            slopes.append(torch.autograd.grad(got.loss, new)[0])
        assert torch.equal(*slopes)


def test_a_micro_batch_with_nothing_unmasked_adds_nothing() -> None:
    new = noise(2, 3, seed=1).requires_grad_()
    for kind in KINDS:
        got = policy_loss(new, new, doubles([1.0, 2.0]), torch.zeros(2, 3, dtype=torch.bool), denominator=5, kind=kind)
        (slope,) = torch.autograd.grad(got.loss, new)
        assert number(got.loss) == 0 and slope.abs().max() == 0


def spoil(name: str, value: float) -> Callable[[dict[str, Any]], None]:
    def change(case: dict[str, Any]) -> None:
        case[name] = case[name].clone()
        case[name].view(-1)[0] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (spoil("new", math.nan), "new is NaN or infinite at 1 unmasked"),
        (spoil("new", -math.inf), "new is NaN or infinite"),
        (spoil("old", math.inf), "old is NaN"),
        (spoil("advantages", math.nan), "advantages is NaN or infinite"),
        (spoil("new", 70.0), "are they aligned"),
        (lambda case: case.update(old=case["old"][:, :2]), "old is \\[6, 2\\]"),
        (lambda case: case.update(advantages=case["advantages"][:2]), "advantages is \\[2\\]"),
        (lambda case: case.update(mask=case["mask"].float()), "must be bool"),
        (lambda case: case.update(denominator=3), "whole batch"),
        (lambda case: case.update(denominator=math.nan), "the denominator is nan"),
        (lambda case: case.update(weights=torch.full((6,), -1.0)), "0 or more"),
        (lambda case: case.update(kind="ppo"), "unknown kind"),
        (lambda case: case.update(low=1.5), "clips out of range"),
        (lambda case: case.update(dual=1.0), "clips out of range"),
        (lambda case: case.update(kind="gspo", advantages=case["new"]), "advantages is \\[6, 5\\]"),
    ],
)
def test_what_is_broken_is_named(change: Callable[[dict[str, Any]], None], says: str) -> None:
    case: dict[str, Any] = {**a_batch(0), "denominator": 30}
    change(case)
    with pytest.raises(ValueError, match=says):
        policy_loss(**case)


def test_broken_arguments_of_the_others() -> None:
    one, yes = doubles([0.5]), torch.tensor([True])
    for call, says in [
        (lambda: losses.importance(one, one, yes, cap=0), "cap"),
        (lambda: losses.drift(one, one, ~yes), "no token"),
        (lambda: losses.outcome_loss(one, doubles([1.2]), yes, 1), "0, 1"),
        (lambda: losses.outcome_loss(one, one, yes, 0), "denominator is 0"),
        (lambda: losses.outcome_loss(one, doubles([[0.5]]), yes, 1), "labels is \\[1, 1\\]"),
        (lambda: losses.outcome_loss(one, one, yes, 1, weights=-one), "0 or more"),
        (lambda: losses.pairwise_loss(one, one * math.nan, yes, 1), "worse is NaN"),
        (lambda: losses.kl_k3(one - 100, one, yes), "aligned"),
        (lambda: losses.entropy(one, yes), "V must follow"),
        (lambda: losses.entropy(doubles([[math.nan, 0]]), yes), "entropy is NaN"),
        (lambda: losses.implicit_reward(one[None], one[None], yes[None], doubles([[0.0]])), "int64"),
    ]:
        with pytest.raises(ValueError, match=says):
            call()


def test_the_package_does_not_load_torch() -> None:
    said = "import sys, ponder.train; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout == "False\n"
