"""Advantages: how much better a chain was than its group, the G chains of one problem.

Which groups count is decided from the verifier's reward, before any shaping (`keeps`), and by its range: a group whose
rewards differ by rounding alone has a tiny standard deviation, and dividing by that explodes. Dropped groups leave the
numerator, the denominator and the KL alike, so give the losses a mask that is False on their rows.

Pure functions. Legend: groups = problems of the batch, G = chains of a problem.
"""

from __future__ import annotations

from math import comb, sqrt
from typing import Literal, get_args

import torch
from torch import Tensor

Kind = Literal["grpo", "dr_grpo", "rloo", "maxrl", "pass_k"]

EPSILON = 1e-6
"""Added to the standard deviation that `grpo` divides by, in units of reward."""


def keeps(rewards: Tensor, tolerance: float = 1e-6) -> Tensor:
    """bool [groups]: whether the *verifier's* rewards [groups, G] have a range above `tolerance` (units of reward).

    A group all right or all wrong says nothing about what to prefer (dynamic sampling: DAPO, arXiv 2503.14476).
    """
    if not 0 <= tolerance < float("inf"):
        raise ValueError(f"tolerance is {tolerance}: give the smallest range that counts, 0 or more")
    values = _checked(rewards)
    return values.amax(-1) - values.amin(-1) > tolerance


def advantages(rewards: Tensor, kind: Kind, *, k: int = 1, kept: Tensor | None = None) -> Tensor:
    """[groups, G] from rewards [groups, G]; rows of dropped groups are 0.

    kept, bool [groups]: give `keeps(verifier's rewards)` when `rewards` has been shaped since; default keeps(rewards).

    - grpo: r - group mean, divided by s + EPSILON, s the population standard deviation of these centred values over
      all chains of the kept groups, which must be the whole optimiser batch (centring: DeepSeekMath, arXiv 2402.03300;
      over the batch, as in REINFORCE++, arXiv 2501.03262: a group's own s favours very easy and very hard problems).
    - dr_grpo: r - group mean (Dr. GRPO, arXiv 2503.20783). Its gradient is (G-1)/G of that of the mean reward.
    - rloo: r - mean of the other G-1, which is dr_grpo's times G/(G-1): unbiased (arXiv 2402.14740).
    - maxrl: (r - mean)/mean, rewards >= 0: for binary rewards the gradient of the sum over k < G of pass@k/k, the start
      of the series of log p (MaxRL, arXiv 2602.02710).
    - pass_k: binary rewards, objective pass@k; n wrong of G. R = 1 - C(n,k)/C(G,k), s = sqrt(R(1-R)): a correct chain
      has (1-R)/s, a wrong one (1-R - C(n-1,k-1)/C(G-1,k-1))/s, the mean over all k-subsets that contain it (Chen et al.
      2025, arXiv 2508.10751). With fewer than k wrong R is 1, and all are 0: then nothing is left to learn.

    ValueError: G < 2; not finite; k outside 1 … G, or given to another kind; a reward that the kind has no meaning for.
    """
    values = _checked(rewards)
    groups, size = values.shape
    if kind not in get_args(Kind):
        raise ValueError(f"unknown kind of advantage {kind!r}: one of {', '.join(get_args(Kind))}")
    if not 1 <= k <= size or (k > 1 and kind != "pass_k"):
        raise ValueError(f"k is {k} for {kind} with groups of {size}: pass_k takes 1 to {size}, other kinds none")
    keep = keeps(values) if kept is None else kept
    if keep.dtype != torch.bool or keep.shape != (groups,):
        raise ValueError(f"kept must be bool [{groups}], one a group; it is {keep.dtype} {list(keep.shape)}")
    rows = keep[:, None]
    mean = values.mean(-1, keepdim=True)
    centred = torch.where(rows, values - mean, 0.0)
    if kind == "grpo":
        spread = (centred.square().sum() / (keep.sum() * size).clamp(min=1)).sqrt()
        return centred / (spread + EPSILON)
    if kind == "rloo":
        return centred * (size / (size - 1))
    if kind == "maxrl":
        if bool((rows & ((values < 0) | (mean <= 0))).any()):
            raise ValueError("maxrl divides by the mean reward: rewards must be >= 0, and a kept group needs one above")
        return centred / torch.where(rows, mean, 1.0)
    if kind == "pass_k":
        if not bool(((values == 0) | (values == 1)).all()):
            raise ValueError("pass_k needs rewards of exactly 0 or 1: shape lengths with another kind")
        return torch.where(rows, _pass_k(values, k), 0.0)
    return centred


def _pass_k(values: Tensor, k: int) -> Tensor:
    size = values.shape[-1]
    table = [_pass_k_pair(wrong, size, k) for wrong in range(size + 1)]  # exact integers, then one division
    pairs = torch.tensor(table, dtype=values.dtype, device=values.device)[(values == 0).sum(-1)]  # [groups, 2]
    return torch.where(values == 1, pairs[:, :1], pairs[:, 1:])


def _pass_k_pair(wrong: int, size: int, k: int) -> tuple[float, float]:
    """(advantage of a correct chain, of a wrong one) in a group of `size` with `wrong` wrong ones."""
    missed = comb(wrong, k) / comb(size, k)  # 1 - R
    if missed in (0.0, 1.0):
        return 0.0, 0.0
    deviation = sqrt(missed * (1.0 - missed))
    return missed / deviation, (missed - comb(wrong - 1, k - 1) / comb(size - 1, k - 1)) / deviation


def overlong(lengths: Tensor, hard: int, buffer: int) -> Tensor:
    """The soft penalty on long chains, added to the reward: 0 up to hard - buffer tokens, falling to -1 at `hard`.

    lengths, of any shape, in generated tokens; hard, the limit at which sampling stops; the result has their shape.
    max(-1, min(0, -(length - (hard - buffer))/buffer)): DAPO, arXiv 2503.14476.
    """
    if not 0 < buffer <= hard:
        raise ValueError(f"buffer is {buffer} and hard {hard}: the buffer is the last 1 to {hard} tokens of the limit")
    return (-(_tokens(lengths) - (hard - buffer)) / buffer).clamp(-1.0, 0.0)


def shorter(lengths: Tensor, correct: Tensor) -> Tensor:
    """A reward for being short within a group, added: from 0.5 (shortest) to -0.5 (longest), never above 0 if wrong.

    lengths [groups, G] in generated tokens, correct bool [groups, G]; the result is [groups, G]. With min and max over
    the group, right and wrong alike, it is 0.5 - (length - min)/(max - min), and 0 if all are equally long: Kimi k1.5,
    arXiv 2501.12599. From the first step on it can slow learning (ibid.): begin with none.
    """
    if correct.dtype != torch.bool or correct.shape != lengths.shape or lengths.dim() != 2 or lengths.shape[-1] < 1:
        raise ValueError(
            f"lengths and correct (bool) must both be [groups, G]; they are {list(lengths.shape)} and"
            f" {correct.dtype} {list(correct.shape)}"
        )
    tokens = _tokens(lengths)
    least, most = tokens.amin(-1, keepdim=True), tokens.amax(-1, keepdim=True)
    share = 0.5 - (tokens - least) / (most - least).clamp(min=1.0)  # lengths are whole: equal ones differ by 0
    share = torch.where(most > least, share, 0.0)
    return torch.where(correct, share, share.clamp(max=0.0))


def _checked(rewards: Tensor) -> Tensor:
    """The rewards as floats, if they are [groups, G >= 2] and finite."""
    if rewards.dim() != 2 or rewards.shape[-1] < 2:
        raise ValueError(
            f"rewards must be [groups, G] with G >= 2, not {list(rewards.shape)}: one chain alone has no advantage"
        )
    values = rewards.detach() if rewards.is_floating_point() else rewards.to(torch.get_default_dtype())
    if not bool(torch.isfinite(values).all()):
        raise ValueError("rewards hold NaN or infinity: leave chains that could not be verified out with their group")
    return values


def _tokens(lengths: Tensor) -> Tensor:
    if lengths.is_floating_point() or bool((lengths < 0).any()):
        raise ValueError("lengths must be whole numbers of tokens, 0 or more")
    return lengths.to(torch.get_default_dtype())
