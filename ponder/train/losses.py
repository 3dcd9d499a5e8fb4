"""Losses over the log-probs of sampled tokens, for policies and for reward models.

Each loss is a sum over what the mask leaves, divided by a denominator that the caller takes from the mask of the
*whole optimiser batch* (`denominator`). So the gradients of micro-batches add up to those of the batch, however it was
split or padded; dividing each micro-batch by its own count would weigh their tokens unequally. One mask says what
counts, to the loss and to its denominator: False on prompts, padding, forced tokens and dropped groups.

What lies outside the mask is never read, NaN included; inside it, NaN and infinity raise ValueError. Log-probs are in
nats. Legend: B chains, T tokens (padded), V vocabulary, S steps of a chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

Kind = Literal["dapo", "dr_grpo", "cispo", "gspo", "reinforce"]

FARTHEST = 60.0
"""Nats by which a token's log-prob may exceed the one it was sampled with; beyond, they are of different tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class Loss:
    """loss []: call backward on it. units, clipped, dual []: counts (they add up over micro-batches) of unmasked tokens
    (gspo: chains), of those whose ratio is clipped (cispo: capped), and of those that the dual clip holds (A < 0)."""

    loss: Tensor
    units: Tensor
    clipped: Tensor
    dual: Tensor


def denominator(mask: Tensor, kind: Kind, longest: int | None = None) -> int:
    """What `policy_loss` divides by, from the mask [B, T] of the whole optimiser batch.

    Unmasked tokens; for gspo the chains with any; for dr_grpo these chains times `longest`, the hard limit on
    generated tokens (a constant, so that a chain's length does not change the weight of its tokens)."""
    _known(kind)
    _inside(mask)
    tokens = mask.sum(-1)
    total = int(((tokens > 0) if kind in ("gspo", "dr_grpo") else tokens).sum())
    if total == 0:
        raise ValueError("the mask of the batch leaves no token: every group was dropped, skip this step")
    if kind != "dr_grpo":
        return total
    if longest is None or longest < int(tokens.max()):
        raise ValueError(f"longest is {longest}, the longest chain has {int(tokens.max())}: give the hard limit")
    return total * longest


def policy_loss(
    new: Tensor,
    old: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    denominator: float,
    kind: Kind = "dapo",
    low: float = 0.2,
    high: float = 0.28,
    dual: float = 3.0,
    cispo_cap: float = 5.0,
    weights: Tensor | None = None,
    gspo: tuple[float, float] = (3e-4, 4e-4),
) -> Loss:
    """-(1/denominator) Σ over unmasked tokens of w·S, with ρ = exp(new - old) and no gradient through w, A and old.

    new, old [B, T]: log-probs under the policy being trained, and before this batch's first update. advantages A [B]
    or [B, T]. mask bool [B, T]. weights w [B] or [B, T]: `importance`, only if old is the trainer's own, default 1.

    - dapo: S = min(ρA, clip(ρ, 1-low, 1+high)A), and where A < 0 S = max(S, dual·A) (DAPO, arXiv 2503.14476; dual clip:
      arXiv 1912.09729). dr_grpo: the same S, another denominator (arXiv 2503.20783).
    - cispo: S = sg(min(ρ, cispo_cap))·A·new, so no token loses its gradient (MiniMax-M1, arXiv 2506.13585).
    - gspo: one ratio a chain, s = exp(mean over its tokens of new - old); S = min(sA, clip(s, 1-gspo[0], 1+gspo[1])A),
      summed over chains; A and w must be [B]; no dual clip (arXiv 2507.18071).
    - reinforce: S = A·new; exact on-policy only, `old` is not used in it."""
    _known(kind)
    if not (0 <= low <= 1 and 0 <= gspo[0] <= 1 and min(high, gspo[1]) >= 0 and dual > 1 and cispo_cap > 0):
        raise ValueError(f"clips out of range: low {low}, high {high}, dual {dual}, cap {cispo_cap}, gspo {gspo}")
    new, old = _inside(mask, new=new, old=old.detach())
    change, units = new - old, mask
    if kind == "gspo":
        change, units = change.sum(-1) / mask.sum(-1).clamp(min=1), mask.any(-1)
        low, high, dual = *gspo, inf
    gain = _constant("advantages", advantages, units)
    held = deep = torch.zeros_like(units)
    if kind == "reinforce":
        score = gain * new
    elif kind == "cispo":
        ratio = _ratio(change.detach())
        score, held = ratio.clamp(max=cispo_cap) * gain * new, ratio > cispo_cap
    else:
        ratio, bad = _ratio(change), gain < 0
        score = torch.minimum(ratio * gain, ratio.clamp(1 - low, 1 + high) * gain)
        if dual < inf:
            score = torch.where(bad, torch.maximum(score, dual * gain), score)
        held, deep = torch.where(bad, ratio < 1 - low, (gain > 0) & (ratio > 1 + high)), bad & (ratio > dual)
    loss = _over(-score * _weight(weights, units, gain), units, denominator)
    return Loss(loss, units.sum(), held.sum(), deep.sum())


def importance(old: Tensor, sampled: Tensor, mask: Tensor, cap: float = 2.0) -> Tensor:
    """w = min(exp(old - sampled), cap) [B, T], without gradient, 0 outside the mask: corrects an engine whose log-probs
    `sampled` differ from the trainer's `old` (truncated importance sampling, Ionides 2008). Never with ρ against
    `sampled`: that corrects twice."""
    if not 0 < cap < inf:
        raise ValueError(f"cap is {cap}: give a finite number above 0")
    old, sampled = _inside(mask, old=old.detach(), sampled=sampled.detach())
    return torch.where(mask, (old - sampled).clamp(max=log(cap)).exp(), 0.0)


def drift(new: Tensor, sampled: Tensor, mask: Tensor) -> tuple[float, float]:
    """(largest, mean) |new - sampled| in nats over unmasked tokens: log-probs [B, T] recomputed on fresh samples, and
    the engine's. With the same engine, weights and settings it is rounding: below 1e-4 in float32."""
    new, sampled = _inside(mask, new=new.detach(), sampled=sampled.detach())
    if not bool(mask.any()):
        raise ValueError("the mask leaves no token to compare")
    apart = (new - sampled).abs()
    return float(apart.max()), float(apart.sum() / mask.sum())


def kl_k1(new: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """new - reference [B, T], 0 outside the mask, without gradient: summed over a chain drawn from the policy, unbiased
    for KL(policy ‖ reference) in nats (Schulman 2020, 'Approximating KL divergence'). For the log, and in the reward
    over the whole return or the reward-to-go (exact gradient); as a loss its gradient would be 0 in expectation."""
    new, reference = _inside(mask, new=new.detach(), reference=reference.detach())
    return new - reference


def kl_k2_sequence(new: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """½(Σ_t new - reference)² [B], a loss: over chains drawn from the policy its gradient is exactly KL(policy ‖
    reference)'s; its value is not the KL (Tang & Munos 2025, arXiv 2506.09477). Sum over micro-batches, divided by the
    chains of the whole batch. Squared token by token it would hold the distribution of the prefixes fixed."""
    new, reference = _inside(mask, new=new, reference=reference.detach())
    return 0.5 * (new - reference).sum(-1).square()


def kl_k3(new: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """r - 1 - log r [B, T] with r = exp(reference - new), 0 outside the mask: never negative, and over tokens drawn
    from the policy unbiased for each token's KL(policy ‖ reference) (Schulman 2020). For the log. As a loss (GRPO,
    arXiv 2402.03300) its gradient is the *other* KL's, (reference ‖ policy), by token with the prefixes held fixed."""
    new, reference = _inside(mask, new=new, reference=reference.detach())
    return _ratio(reference - new) - 1 - (reference - new)


def entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """-Σ_v p log p [B, T] in nats, 0 outside the mask, with gradient; logits [B, T, V], where -inf forbids a token."""
    _inside(mask)
    if logits.dim() != mask.dim() + 1 or logits.shape[:-1] != mask.shape:
        raise ValueError(f"logits are {list(logits.shape)}: with a mask of {list(mask.shape)}, V must follow")
    chance = functional.log_softmax(torch.where(mask[..., None], logits, 0.0), dim=-1)
    spread = -(chance.exp() * chance.masked_fill(chance == -inf, 0.0)).sum(-1)
    return _inside(mask, entropy=spread)[0]


def implicit_reward(policy_logprobs: Tensor, reference_logprobs: Tensor, mask: Tensor, ends: Tensor) -> Tensor:
    """log(policy/reference) of each chain up to the ends of its steps [B, S]; times β it is the implicit PRM's reward
    (Yuan et al. 2024, arXiv 2412.01981; PRIME, arXiv 2502.01456, β = 0.05). No gradient through the reference.

    log-probs [B, T]; ends int64 [B, S]: the index of each step's last token, an unmasked one, or -1 for no such step;
    there the result is 0, and the mask of the steps is `ends >= 0`."""
    policy, reference = _inside(mask, policy_logprobs=policy_logprobs, reference_logprobs=reference_logprobs.detach())
    if ends.dtype != torch.int64 or ends.dim() != 2 or len(ends) != len(mask):
        raise ValueError(f"ends must be int64 [{len(mask)}, S]; they are {ends.dtype} {list(ends.shape)}")
    present, places = ends >= 0, ends.clamp(0, mask.shape[-1] - 1)
    if bool((torch.where(present, (places != ends) | ~mask.gather(-1, places), ends != -1)).any()):
        raise ValueError("each end must be the index of an unmasked token, or -1 for no step")
    return torch.where(present, (policy - reference).cumsum(-1).gather(-1, places), 0.0)


def outcome_loss(
    logits: Tensor, labels: Tensor, mask: Tensor, denominator: float, weights: Tensor | None = None
) -> Tensor:
    """Σ w·(-y log σ(z) - (1-y) log(1-σ(z))) / denominator []: binary cross-entropy over the unmasked items.

    logits z, labels y in [0, 1] (soft ones stay floats), mask and weights w >= 0 are all of one shape, [B] or [B, S].
    denominator: items (or total weight) of the whole optimiser batch. Monte-Carlo labels c/N with weights N and the
    denominator ΣN are the binomial likelihood of c successes in N completions (Math-Shepherd, arXiv 2312.08935)."""
    logits, labels = _inside(mask, logits=logits, labels=labels.detach().to(logits.dtype))
    if bool(((labels < 0) | (labels > 1)).any()):
        raise ValueError("labels must lie in [0, 1]: they are the chance of a correct outcome")
    each = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return _over(each * _weight(weights, mask, each), mask, denominator, counted=weights is None)


def balance(labels: Tensor, mask: Tensor) -> Tensor:
    """Weights for `outcome_loss`, 0 outside the mask: labels 0 and 1, both needed, get half of the total each, which is
    the number of unmasked items. All of one shape; call it on the whole batch or data set."""
    (values,) = _inside(mask, labels=labels.to(torch.get_default_dtype()))
    total, ones, zeros = int(mask.sum()), int((mask & (values == 1)).sum()), int((mask & (values == 0)).sum())
    if not ones or not zeros or ones + zeros != total:
        raise ValueError(f"balance needs labels 0 and 1, and both: of {total}, {ones} are 1 and {zeros} are 0")
    return torch.where(values == 1, total / (2 * ones), total / (2 * zeros)) * mask


def pairwise_loss(better: Tensor, worse: Tensor, mask: Tensor, denominator: float) -> Tensor:
    """Σ -log σ(better - worse) / denominator [] over the unmasked pairs; rewards better, worse and the mask are of one
    shape (Bradley-Terry; the pairwise PPM of rStar-Math, arXiv 2501.04519). denominator: pairs of the whole batch."""
    better, worse = _inside(mask, better=better, worse=worse)
    return _over(-functional.logsigmoid(better - worse), mask, denominator)


def _known(kind: str) -> None:
    if kind not in get_args(Kind):
        raise ValueError(f"unknown kind of loss {kind!r}: one of {', '.join(get_args(Kind))}")


def _inside(mask: Tensor, **named: Tensor) -> list[Tensor]:
    """The tensors with 0, and no gradient, outside the mask; ValueError unless shaped as it is, and finite inside."""
    if mask.dtype != torch.bool:
        raise ValueError(f"the mask must be bool, True where a token counts; it is {mask.dtype}")
    for name, values in named.items():
        if values.shape != mask.shape:
            raise ValueError(f"{name} is {list(values.shape)}, the mask {list(mask.shape)}: they must be the same")
        if broken := int((mask & ~torch.isfinite(values)).sum()):
            raise ValueError(f"{name} is NaN or infinite at {broken} unmasked places")
    return [torch.where(mask, values, 0.0) for values in named.values()]


def _constant(name: str, values: Tensor, units: Tensor) -> Tensor:
    """Values [B], or of the units' shape, as constants of that shape."""
    if values.dim() == 1 and units.dim() == 2 and len(values) == len(units):
        values = values[:, None].expand(units.shape)
    return _inside(units, **{name: values.detach()})[0]


def _weight(weights: Tensor | None, units: Tensor, like: Tensor) -> Tensor:
    weight = torch.ones_like(like) if weights is None else _constant("weights", weights, units)
    if bool((weight < 0).any()):
        raise ValueError("weights must be 0 or more")
    return weight


def _ratio(change: Tensor) -> Tensor:
    if bool((change > FARTHEST).any()):
        raise ValueError(f"log-probs of one token are {float(change.detach().max()):.0f} nats apart: are they aligned?")
    return change.exp()


def _over(values: Tensor, units: Tensor, denominator: float, counted: bool = True) -> Tensor:
    here = int(units.sum())
    if not 0 < denominator < inf or (counted and denominator < here):
        raise ValueError(f"the denominator is {denominator}, {here} are unmasked here: take it from the whole batch")
    return torch.where(units, values, 0.0).sum() / denominator
