"""From logits to a token, with exact log-probs and randomness that belongs to the chain.

A token is the inverse of the cumulative distribution at one uniform number, which is a function of (the chain's
seed, the token's position in it) alone: not of the batch, nor of what other rows did. Log-probs are those of the
model itself: at temperature 1 and before any truncation, as servers give them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ponder.types import Sampling

CANDIDATES = 256  # tokens that are sorted first: nearly always enough for top-p and min-p
_GOLDEN, _MIX, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # SplitMix64 (Steele et al. 2014)


def uniforms(seeds: Sequence[int], count: int, device: torch.device) -> Tensor:
    """Uniform numbers in [0, 1), float64 [len(seeds), count]: row i is the sequence of seeds[i] (64 bits). They are so
    far below 1 that their product with a total is below the total after rounding, too."""
    start = torch.tensor([_signed(seed) for seed in seeds], dtype=torch.int64, device=device)[:, None]
    z = start + torch.arange(1, count + 1, device=device) * _signed(_GOLDEN)
    z = (z ^ _shifted(z, 30)) * _signed(_MIX)
    z = (z ^ _shifted(z, 27)) * _signed(_MIX2)
    z = z ^ _shifted(z, 31)
    return _shifted(z, 11).to(torch.float64) * (2.0**-53 * (1 - 2.0**-52))


def choose(logits: Tensor, u: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Tokens int64 [b] and their log-probs float32 [b] for logits [b, V] and uniforms u [b].

    Temperature 0 takes the likeliest token. Else: temperature, then top-k, then top-p on what is left, then min-p
    (relative to the likeliest), as transformers orders them; the token that crosses top_p is kept.
    """
    logits = logits.float()
    if sampling.temperature == 0:
        tokens = logits.argmax(dim=-1)
        return tokens, _picked(logits, tokens) - torch.logsumexp(logits, dim=-1)
    scaled = logits if sampling.temperature == 1 else logits / sampling.temperature
    if sampling.top_k or sampling.top_p < 1 or sampling.min_p > 0:
        tokens = _truncated(scaled, u, sampling)
        return tokens, _picked(logits, tokens) - torch.logsumexp(logits, dim=-1)
    shares = torch.softmax(scaled, dim=-1)
    tokens = _inverse(torch.cumsum(shares, dim=-1, dtype=torch.float64), u)
    if scaled is logits:
        return tokens, _picked(shares, tokens).log()
    return tokens, _picked(logits, tokens) - torch.logsumexp(logits, dim=-1)


def _truncated(scaled: Tensor, u: Tensor, sampling: Sampling) -> Tensor:
    """Draws among the tokens that top-k, top-p and min-p leave."""
    size = scaled.shape[-1]
    most = min(sampling.top_k, size) if sampling.top_k else min(CANDIDATES, size)
    values, indices = scaled.topk(most, dim=-1)
    if not sampling.top_k and most < size and not _enough(values, scaled, sampling):
        values, indices = scaled.sort(dim=-1, descending=True)
    if sampling.top_k:
        weights = torch.softmax(values, dim=-1)
    else:
        weights = torch.exp(values - torch.logsumexp(scaled, dim=-1, keepdim=True))
    if sampling.top_p < 1:
        before = torch.cumsum(weights, dim=-1, dtype=torch.float64) - weights
        weights = weights.masked_fill(before >= sampling.top_p, 0.0)
    if sampling.min_p > 0:
        weights = weights.masked_fill(values < values[:, :1] + math.log(sampling.min_p), 0.0)
    cumulative = torch.cumsum(weights, dim=-1, dtype=torch.float64)
    return _picked(indices, _inverse(cumulative, u))


def _enough(values: Tensor, scaled: Tensor, sampling: Sampling) -> bool:
    """Whether the candidates hold every token that may be drawn."""
    if sampling.min_p > 0 and bool((values[:, -1] < values[:, 0] + math.log(sampling.min_p)).all()):
        return True
    held = torch.logsumexp(values, dim=-1) - torch.logsumexp(scaled, dim=-1)
    return sampling.top_p < 1 and bool((held.exp() >= sampling.top_p + 1e-4).all())


def _inverse(cumulative: Tensor, u: Tensor) -> Tensor:
    """The first index whose cumulative weight is beyond u times the total; never one of weight 0."""
    found: Tensor = torch.searchsorted(cumulative, u[:, None] * cumulative[:, -1:], right=True)[:, 0]
    return found


def _picked(values: Tensor, columns: Tensor) -> Tensor:
    picked: Tensor = values.gather(1, columns[:, None])[:, 0]
    return picked


def _signed(number: int) -> int:
    """64 bits as the signed integer that torch holds."""
    number &= 2**64 - 1
    return number - 2**64 if number >= 2**63 else number


def _shifted(z: Tensor, bits: int) -> Tensor:
    """A logical shift to the right: torch's keeps the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
