"""Reading at chosen places, against plain forward passes; a growing chain costs its new tokens."""

from __future__ import annotations

import pytest
import torch
from engines.hf.local import ending, logits, model, prompts, sampler

from ponder.engines.hf.forward import Forward
from ponder.engines.hf.prefill import Prefix
from ponder.engines.hf.reader import Reader, Text
from ponder.engines.hf.sampler import Row
from ponder.engines.hf.tree import TreeCache


def reader(**settings: int) -> Reader:
    return Reader(Forward(model()), TreeCache(10_000), **settings)


@pytest.mark.parametrize("ahead", [1, 60, 2048])
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_outputs_at_chosen_places_of_ragged_texts(ahead: int, architecture: str) -> None:
    found = model(architecture)
    texts = [Text(prefix.ids, prefix.key) for prefix in prompts(9, least=3)]
    at = [[len(t.ids) - 1, 0] if i % 3 == 0 else [len(t.ids) // 2] if i % 3 == 1 else [] for i, t in enumerate(texts)]
    got = Reader(Forward(found), TreeCache(10_000), ahead).outputs(texts, at)
    for text, places, own in zip(texts, at, got, strict=True):
        if places:
            assert torch.allclose(own, logits(found, text.ids)[places], atol=1e-4)
        else:
            assert own.numel() == 0
    with pytest.raises(IndexError, match="sequence of"):
        reader().outputs(texts[:1], [[len(texts[0].ids)]])


def test_logprobs_of_a_growing_chain_cost_its_new_tokens() -> None:
    whole = prompts(1, least=40, most=40)[0].ids
    every = torch.log_softmax(logits(model(), whole), -1)[range(39), whole[1:]]
    read = reader()
    key, start = "", 10
    for end in (20, 21, 33, 40):
        key = f"{key}/s0".lstrip("/")
        before = read.forward.processed
        (own,) = read.logprobs([Text(whole[:end], ("p", key))], [start])
        assert torch.allclose(own, every[start - 1 : end - 1], atol=1e-4)
        assert read.forward.processed - before == (end - 1 if start == 10 else end - start)
        start = end
    (none,) = read.logprobs([Text(whole, ("p", key))], [40])
    assert none.numel() == 0


def test_what_a_sampler_kept_is_not_read_again() -> None:
    drawer = sampler()
    ids = prompts(1, least=30, most=30)[0].ids
    drawer.draw([Prefix(ids[:20], ("p0", ""), keep=True)], [Row(0, 1, 3)], ending(()))
    before = drawer.forward.processed
    (found,) = Reader(drawer.forward, drawer.tree).outputs([Text(ids, ("p0", "s1"))], [[29, 21, 25]])
    assert drawer.forward.processed - before == 10
    assert torch.allclose(found, logits(model(), ids)[[29, 21, 25]], atol=1e-4)
