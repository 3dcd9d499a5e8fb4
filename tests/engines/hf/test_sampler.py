"""The sampler against slow references: transformers one row at a time, recomputed log-probs, exact distributions."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from engines.hf.exact import distribution
from engines.hf.local import ARCHITECTURES, V, ending, logits, model, prompts, rows, sampler, texts
from scipy.stats import chisquare

from ponder.engines.hf.prefill import Prefix
from ponder.engines.hf.sampler import Limits, Row

LIMITS = [Limits(), Limits(rows=7), Limits(rows=5, positions=260, ahead=50), Limits(rows=1, ahead=1)]


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "gpt2"])
def test_greedy_equals_transformers_one_at_a_time(architecture: str) -> None:
    found = model(architecture)
    given = prompts(64)
    drawn = sampler(found, temperature=0.0).draw(given, rows(64, allowance=20), ending()).rows
    for prefix, row in zip(given, drawn, strict=True):
        ids = torch.tensor([prefix.ids])
        with torch.inference_mode():
            wanted = found.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=20,
                eos_token_id=1,
                pad_token_id=0,
            )[0, len(prefix.ids) :].tolist()
        for place, (ours, theirs) in enumerate(zip(row.ids, wanted, strict=False)):
            if ours != theirs:  # from here on the two are different texts
                best = logits(found, [*prefix.ids, *row.ids[:place]])[-1].topk(2).values
                assert best[0] - best[1] < 1e-4
                break
        else:
            assert row.ids == tuple(wanted)
            assert row.finish == ("stop" if row.ids[-1] == 1 else "length")


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.6}, {"top_p": 0.8}, {"temperature": 0.0}])
def test_logprobs_are_the_models_own(limits: Limits, sampling: dict[str, Any]) -> None:
    given = prompts(12)
    drawn = sampler(limits=limits, **sampling).draw(given, rows(12, each=3), ending()).rows
    for number, row in enumerate(drawn):
        prefix = given[number // 3].ids
        every = torch.log_softmax(logits(model(), [*prefix, *row.ids]), dim=-1)
        wanted = every[range(len(prefix) - 1, len(prefix) + len(row.ids) - 1), row.ids]
        assert torch.allclose(torch.tensor(row.logprobs), wanted, atol=1e-4)
        assert 1 not in row.ids[:-1] and len(row.ids) <= 24


@pytest.mark.parametrize("limits", LIMITS[1:])
def test_limits_change_when_rows_are_drawn_not_what(limits: Limits) -> None:
    given, wanted = prompts(20), rows(20, each=4)
    assert texts(sampler(limits=limits).draw(given, wanted, ending())) == texts(sampler().draw(given, wanted, ending()))


def test_a_chain_does_not_depend_on_its_neighbours() -> None:
    given, wanted = prompts(30), rows(30, each=2)
    together = sampler().draw(given, wanted, ending()).rows
    shuffled = random.Random(1).sample(range(60), 60)
    other = sampler().draw(given, [wanted[i] for i in shuffled], ending()).rows
    for place, i in enumerate(shuffled):
        assert other[place].ids == together[i].ids
        assert other[place].logprobs == pytest.approx(together[i].logprobs, abs=1e-5)
    for i in (0, 17, 59):
        (alone,) = sampler().draw(given, [wanted[i]], ending()).rows
        assert alone.ids == together[i].ids


def test_a_rerun_is_identical_to_the_bit_and_other_seeds_are_not() -> None:
    given, wanted = prompts(20), rows(20, each=3)
    first, second = (sampler(limits=Limits(rows=16)).draw(given, wanted, ending()).rows for _ in range(2))
    assert first == second
    other = [replace(row, seed=row.seed ^ 1) for row in wanted]
    assert texts(sampler(limits=Limits(rows=16)).draw(given, other, ending())) != [row.ids for row in first]


def test_allowances_are_kept_row_by_row() -> None:
    given = prompts(6)
    wanted = [Row(i % 6, i, 1 + i % 9) for i in range(50)]
    for row, drawn in zip(wanted, sampler().draw(given, wanted, ending(())).rows, strict=True):
        assert len(drawn.ids) == len(drawn.logprobs) == row.allowance
        assert drawn.finish == "length"


def test_a_step_ends_with_the_token_that_completes_the_delimiter() -> None:
    given = prompts(8)
    drawn = sampler().draw(given, rows(8, allowance=60, each=8), ending((1,), (9,))).rows
    assert {row.finish for row in drawn} >= {"step", "stop"}
    for row in drawn:
        assert (row.ids[-1] == 9) == (row.finish == "step")
        assert 9 not in row.ids[:-1]
    pair = sampler().draw(given, rows(8, allowance=200, each=16), ending((1,), (9, 9))).rows
    assert any(row.finish == "step" for row in pair)
    for row in pair:
        doubles = [i for i in range(1, len(row.ids)) if row.ids[i - 1 : i + 1] == (9, 9)]
        assert doubles == ([len(row.ids) - 1] if row.finish == "step" else [])


def tree(found: Any, limit: int, fan: tuple[int, int] = (3, 3)) -> tuple[list[tuple[int, ...]], int, int]:
    """A tree of two levels below six prompts, step by step. Returns its chains, the tokens that were processed and
    the distinct tokens that had to be (a chain's last token is drawn, never read)."""
    drawer = sampler(found, tree=limit)
    how = ending((1,), (9,))
    given = [replace(prefix, keep=True) for prefix in prompts(6, least=10)]
    distinct = sum(len(prefix.ids) for prefix in given)
    first = [Row(i, 10 * i + j, 40, (f"p{i}", f"s{j}")) for i in range(6) for j in range(fan[0])]
    drawn = drawer.draw(given, first, how).rows
    distinct += sum(len(row.ids) - 1 for row in drawn)
    parents = [(row, written) for row, written in zip(first, drawn, strict=True) if written.finish == "step"]
    again = [Prefix(given[row.prefix].ids + written.ids, row.key or ("", ""), True) for row, written in parents]
    distinct += len(again)  # each parent's last token, once
    second = [
        Row(i, 1000 + 10 * i + j, 40, (prefix.key[0], f"{prefix.key[1]}/s{j}"))
        for i, prefix in enumerate(again)
        for j in range(fan[1])
    ]
    leaves = drawer.draw(again, second, how).rows
    distinct += sum(len(row.ids) - 1 for row in leaves)
    chains = [again[row.prefix].ids + written.ids for row, written in zip(second, leaves, strict=True)]
    assert len(again) >= 4
    return chains, drawer.forward.processed, distinct


def test_the_tree_cache_changes_cost_not_chains() -> None:
    cached, with_cache, distinct = tree(model(), 100_000)
    computed, without, _ = tree(model(), 0)
    assert cached == computed
    assert distinct <= with_cache <= 1.1 * distinct
    assert without > with_cache


def test_a_prompt_that_rows_share_is_read_once() -> None:
    drawer = sampler()
    prefix = prompts(1, least=30, most=30)
    drawn = drawer.draw(prefix, rows(1, each=16, allowance=5), ending(())).rows
    assert len({row.ids for row in drawn}) > 8
    assert drawer.forward.processed == 30 + 16 * 4


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("truncation", [{}, {"top_p": 0.7}, {"top_k": 5}, {"min_p": 0.1}, {"top_k": 20, "top_p": 0.9}])
def test_first_tokens_fit_the_exact_distribution(temperature: float, truncation: dict[str, float]) -> None:
    prefix = Prefix((5, 17, 3, 29), ("p", ""))
    count = 4000
    wanted = [Row(0, seed * 7919, 1) for seed in range(count)]
    drawn = sampler(limits=Limits(rows=512), temperature=temperature, **truncation).draw([prefix], wanted, ending(()))
    seen = torch.bincount(torch.tensor([row.ids[0] for row in drawn.rows]), minlength=V).double().numpy()
    exact = distribution(logits(model(), prefix.ids)[-1], temperature=temperature, **truncation)
    assert seen[exact == 0].sum() == 0
    order = exact.argsort()[::-1]
    expected, found = exact[order] * count, seen[order]
    few = expected < 8  # the chi-squared approximation needs some expected counts in each cell
    if few.any():
        expected = [*expected[~few], expected[few].sum()]
        found = [*found[~few], found[few].sum()]
        if expected[-1] == 0:
            expected, found = expected[:-1], found[:-1]
    assert len(expected) < 2 or chisquare(found, expected, sum_check=False).pvalue > 1e-4


def test_later_tokens_fit_too() -> None:
    """The second token given the first: positions of one chain are independent draws."""
    prefix = Prefix((5, 17, 3, 29), ("p", ""))
    wanted = [Row(0, seed, 2) for seed in range(12_000)]
    drawn = sampler(limits=Limits(rows=512)).draw([prefix], wanted, ending(()))
    first = max({row.ids[0] for row in drawn.rows}, key=[row.ids[0] for row in drawn.rows].count)
    seconds = [row.ids[1] for row in drawn.rows if row.ids[0] == first]
    exact = torch.softmax(logits(model(), [*prefix.ids, first])[-1].double(), dim=-1).numpy()
    seen = torch.bincount(torch.tensor(seconds), minlength=V).double().numpy()
    keep = exact * len(seconds) >= 8
    found, expected = [*seen[keep], seen[~keep].sum()], [*exact[keep], exact[~keep].sum()]
    assert len(seconds) > 500
    assert chisquare(found, [e * len(seconds) for e in expected], sum_check=False).pvalue > 1e-4


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_few_operations_give_what_transformers_gives(architecture: str) -> None:
    """The step of small models against the ordinary one, also after the weights have changed."""
    found = model(architecture)
    few, plain = sampler(found), sampler(found)
    assert few.forward._few is not None
    plain.forward._few = None
    given, wanted = prompts(20), rows(20, each=2)
    weight = found.model.layers[0].self_attn.k_proj.weight
    try:
        for scale in (1.0, -1.5):
            with torch.no_grad():
                weight.mul_(scale)
            ours, theirs = (s.draw(given, wanted, ending()).rows for s in (few, plain))
            for one, other in zip(ours, theirs, strict=True):
                assert one.ids == other.ids
                assert one.logprobs == pytest.approx(other.logprobs, abs=2e-5)
    finally:
        with torch.no_grad():
            weight.div_(-1.5)


def test_few_operations_are_for_what_they_fit() -> None:
    from ponder.engines.hf.few import FewOperations

    assert not FewOperations.fits(model("gemma2")) and not FewOperations.fits(model("gpt2"))
    sixteen = model("llama").to(torch.bfloat16)
    try:
        assert not FewOperations.fits(sixteen)
    finally:
        model("llama").to(torch.float32)
