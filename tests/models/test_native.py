"""llama.c against transformers: states, gradients, chains; and what goes through a model's own code."""

from __future__ import annotations

import copy
import ctypes
import os
import pickle
import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers import LlamaConfig, LlamaForCausalLM, LlamaForTokenClassification  # noqa: E402

from ponder.engines.hf.forward import Forward  # noqa: E402
from ponder.engines.hf.prefill import Prefix  # noqa: E402
from ponder.engines.hf.sampler import Ending, Limits, Row, Sampler, Written  # noqa: E402
from ponder.engines.hf.tree import TreeCache  # noqa: E402
from ponder.models.native import library as building  # noqa: E402
from ponder.models.native import quick as quickening  # noqa: E402
from ponder.models.native.library import library, state  # noqa: E402
from ponder.models.native.memory import Space  # noqa: E402
from ponder.models.native.quick import draw, quick, quicken  # noqa: E402
from ponder.types import Sampling  # noqa: E402

needs_c = pytest.mark.skipif(library() is None, reason=f"small models run on {state()}")
V = 43

FORMS: dict[str, dict[str, Any]] = {
    "the loop's": {},
    "shared keys": {"num_attention_heads": 8, "num_key_value_heads": 2, "hidden_size": 64, "head_dim": 8},
    "wide heads": {"num_attention_heads": 2, "head_dim": 24, "num_key_value_heads": 1},
    "one layer": {"num_hidden_layers": 1, "intermediate_size": 40, "hidden_size": 24, "num_attention_heads": 3},
    "untied": {"tie_word_embeddings": False, "pad_token_id": None, "rms_norm_eps": 1e-3},
    "llama3's angles": {
        "rope_parameters": {
            "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        }
    },
}  # fmt: skip


def model(kind: Any = LlamaForCausalLM, **changed: Any) -> Any:
    sizes = {
        "vocab_size": V, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 128, "max_position_embeddings": 64, "tie_word_embeddings": True, "pad_token_id": 0,
        "bos_token_id": None, "eos_token_id": 1,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        found = kind(LlamaConfig(**sizes | changed))
        with torch.no_grad():
            for weight in found.parameters():
                weight.add_(torch.randn_like(weight) * 0.1)
    return found.eval()


def tokens(shape: tuple[int, int], alike: int = 0, seed: int = 0) -> Any:
    """Random ids; the first `alike` of each row are those of one of three rows, and one row is there twice."""
    chance = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, V, shape, generator=chance)
    ids[:, :alike] = ids[torch.arange(shape[0]) % 3 % shape[0], :alike]
    ids[shape[0] // 2] = ids[0]
    return ids[torch.randperm(shape[0], generator=chance)]


def learned(found: Any, ids: Any, seed: int = 0) -> tuple[Any, dict[str, Any]]:
    """Logits, and the gradients of a loss that sees some places more than others."""
    weigh = torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed))
    found.zero_grad(set_to_none=True)
    logits = found(input_ids=ids, use_cache=False).logits
    (logits.log_softmax(-1)[..., 1] * weigh).mean().backward()
    return logits.detach(), {name: p.grad.clone() for name, p in found.named_parameters() if p.grad is not None}


def close(ours: tuple[Any, dict[str, Any]], theirs: tuple[Any, dict[str, Any]]) -> None:
    assert torch.allclose(ours[0], theirs[0], rtol=1e-4, atol=2e-5)
    assert ours[1].keys() == theirs[1].keys()
    for name, gradient in theirs[1].items():
        assert (ours[1][name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-6, name


# --- states and gradients


@needs_c
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("shape", "alike"), [((1, 1), 0), ((5, 7), 0), ((40, 33), 12), ((9, 64), 63), ((3, 12), 12)])
def test_states_and_gradients_are_those_of_transformers(form: str, shape: tuple[int, int], alike: int) -> None:
    plain = model(**FORMS[form])
    ours = quicken(copy.deepcopy(plain))
    assert quick(ours) and not quick(plain)
    ids = tokens(shape, alike)
    close(learned(ours, ids), learned(plain, ids))


@needs_c
@pytest.mark.parametrize("name", ["gate_proj", "up_proj", "q_proj", "k_proj", "v_proj"])
def test_huge_numbers_and_what_is_no_number(name: str) -> None:
    plain = model()
    ids = tokens((4, 9), alike=3)
    weight = next(w for full, w in plain.named_parameters() if name in full)
    with torch.no_grad():
        weight.mul_(1000.0)  # gates and scores far beyond where e^x ends
    ours = quicken(copy.deepcopy(plain))
    with torch.no_grad():
        found, wanted = (each(input_ids=ids, use_cache=False).logits for each in (ours, plain))
        assert torch.allclose(found, wanted, rtol=1e-2, atol=1e-2)
        for each in (ours, plain):
            next(w for full, w in each.named_parameters() if name in full)[3, 5] = float("nan")
            assert each(input_ids=ids, use_cache=False).logits.isnan().all()


@needs_c
def test_a_sequence_is_the_same_whatever_stands_beside_it() -> None:
    ours = quicken(model())
    ids = tokens((30, 20), alike=8)
    with torch.inference_mode():
        whole = ours(input_ids=ids, use_cache=False).logits
        for i in range(len(ids)):
            assert torch.equal(ours(input_ids=ids[i : i + 1], use_cache=False).logits[0], whole[i])
        assert torch.equal(ours(input_ids=ids[:, :9], use_cache=False).logits, whole[:, :9])


@needs_c
def test_a_head_of_its_own() -> None:
    plain = model(LlamaForTokenClassification, num_labels=1)
    ours = quicken(copy.deepcopy(plain))
    ids = tokens((6, 11), alike=4)
    for found in (plain, ours):
        found.zero_grad()
        found(input_ids=ids, use_cache=False).logits.square().mean().backward()
    for (name, a), (_, b) in zip(ours.named_parameters(), plain.named_parameters(), strict=True):
        assert (a.grad - b.grad).norm() <= 1e-5 * b.grad.norm() + 1e-9, name


@needs_c
def test_frozen_weights_get_no_gradient_and_a_graph_may_be_walked_twice() -> None:
    ours = quicken(model())
    ours.model.embed_tokens.weight.requires_grad_(False)
    ids = tokens((4, 9))
    loss = ours(input_ids=ids, use_cache=False).logits.square().mean()
    loss.backward(retain_graph=True)
    first = {name: p.grad.clone() for name, p in ours.named_parameters() if p.grad is not None}
    learned(copy.deepcopy(ours), tokens((4, 9), seed=5))  # would write over what the graph keeps, if it were lent out
    loss.backward()
    assert "model.embed_tokens.weight" not in first and len(first) == 19
    for name, gradient in first.items():
        assert torch.allclose(ours.get_parameter(name).grad, 2 * gradient), name


@needs_c
def test_weights_that_change_between_the_passes_are_an_error() -> None:
    ours = quicken(model())
    loss = ours(input_ids=tokens((2, 5)), use_cache=False).logits.mean()
    with torch.no_grad():
        ours.model.norm.weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@needs_c
def test_a_copy_has_its_own_weights_and_a_checkpoint_is_an_ordinary_one(tmp_path: Path) -> None:
    ours = quicken(model())
    ids = tokens((3, 8))
    before = learned(ours, ids)
    for twin in (copy.deepcopy(ours), quicken(pickle.loads(pickle.dumps(ours)))):
        assert quick(twin)
        with torch.no_grad():
            twin.model.norm.weight.mul_(2.0)
        assert not torch.allclose(twin(input_ids=ids, use_cache=False).logits, before[0])
    close(learned(ours, ids), before)
    ours.save_pretrained(tmp_path / "it")
    again = LlamaForCausalLM.from_pretrained(tmp_path / "it")
    assert not quick(again) and again.config.architectures == ["LlamaForCausalLM"]
    close(learned(again.eval(), ids), before)


@needs_c
def test_memory_is_lent_to_one_at_a_time() -> None:
    def lend(seed: int) -> int:
        chance, held, wrong = random.Random(seed), list[tuple[Space, int]](), 0
        for _ in range(300):
            space = Space(size := chance.randrange(1, 5000))
            ctypes.memset(space.at, seed, 4 * size)
            held.append((space, size))
            if len(held) > 4:
                old, floats = held.pop(chance.randrange(4))
                wrong += ctypes.string_at(old.at, 4 * floats) != bytes([seed]) * 4 * floats
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lend, range(1, 9))) == 0
    assert len(Space._free) < 100


# --- what goes another way


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The shapes that went through llama.c."""
    from ponder.models.native.llama import Llama

    found: list[Any] = []
    own = Llama.states

    def states(self: Any, ids: Any) -> Any:
        found.append(tuple(ids.shape))
        return own(self, ids)

    monkeypatch.setattr(Llama, "states", states)
    return found


@needs_c
def test_only_what_fits_goes_through_c(passes: list[Any]) -> None:
    plain = model()
    ours = quicken(copy.deepcopy(plain))
    ids = tokens((2, 6))
    ours(input_ids=ids, use_cache=False)
    assert passes == [(2, 6)]
    mask = torch.ones(2, 6, dtype=torch.int64)
    mask[0, :2] = 0
    calls: list[dict[str, Any]] = [
        {},
        {"use_cache": True},
        {"use_cache": False, "attention_mask": mask},
        {"use_cache": False, "position_ids": torch.arange(3, 9)[None]},
        {"use_cache": False, "output_hidden_states": True},
    ]
    with torch.no_grad():
        for call in calls:
            assert torch.allclose(ours(input_ids=ids, **call).logits, plain(input_ids=ids, **call).logits, atol=1e-5)
        inside = plain.model.embed_tokens(ids)
        ours(inputs_embeds=inside, use_cache=False)
        with torch.autocast("cpu", torch.bfloat16):
            ours(input_ids=ids, use_cache=False)
        assert len(ours(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states) == 3
        wants = quicken(model(output_hidden_states=True))
        assert len(wants(input_ids=ids, use_cache=False).hidden_states) == 3
    assert (
        ours.generate(ids, max_new_tokens=5, do_sample=False).tolist()
        == plain.generate(ids, max_new_tokens=5, do_sample=False).tolist()
    )
    with pytest.raises(IndexError):
        ours(input_ids=torch.tensor([[1, V]]), use_cache=False)
    assert passes == [(2, 6)]


@needs_c
@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.double(),
        lambda found: found.bfloat16(),
        lambda found: found.model.layers[0].mlp.register_forward_hook(lambda *_: None),
        lambda found: found.model.layers[0].mlp.register_module("up_proj", torch.nn.LazyLinear(128, bias=False)),
    ],
    ids=["float64", "bfloat16", "a hook", "another layer"],
)  # fmt: skip
def test_what_changes_later_is_seen(change: Callable[[Any], Any], passes: list[Any]) -> None:
    ours = quicken(model())
    change(ours)
    found = ours(input_ids=tokens((2, 6)), use_cache=False).logits
    assert passes == [] and torch.isfinite(found).all()


@needs_c
def test_adapters_go_through_their_own_code(passes: list[Any]) -> None:
    peft = pytest.importorskip("peft")
    ours = quicken(model())
    ids = tokens((2, 6))
    with warnings.catch_warnings(category=FutureWarning, action="ignore"):  # peft's own
        adapted = peft.get_peft_model(ours, peft.LoraConfig(r=2, target_modules=["q_proj", "up_proj"]))
    adapted(input_ids=ids, use_cache=False).logits.mean().backward()
    assert passes == []
    with torch.no_grad():
        adapted.merge_and_unload()(input_ids=ids, use_cache=False)
    assert passes == [(2, 6)]


@pytest.mark.parametrize(
    "sizes",
    [{"hidden_size": 60, "num_attention_heads": 3}, {"intermediate_size": 100}, {"hidden_act": "gelu"},
     {"hidden_size": 768}, {"attention_dropout": 0.1}, {"num_attention_heads": 16}],
    ids=str,
)  # fmt: skip
def test_models_of_another_form_are_left_alone(sizes: dict[str, Any]) -> None:
    found = quicken(model(**sizes))
    assert "forward" not in vars(found.model) and not quick(found)


def test_without_the_library_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickening, "library", lambda: None)
    assert "forward" not in vars(quicken(model()).model)


# --- chains


def drawn(found: Any, prompts: Sequence[Sequence[int]], rows: Sequence[Row], **sampling: Any) -> list[Written]:
    sampler = Sampler(Forward(found), Sampling(**{"temperature": 1.0} | sampling), Limits(rows=16), TreeCache(10_000))
    marks = torch.zeros(V, dtype=torch.bool)
    marks[1] = True
    before = sampler.forward.processed
    told = sampler.draw(
        [Prefix(tuple(p), (f"p{i}", "")) for i, p in enumerate(prompts)], rows, Ending(frozenset([1]), marks)
    )
    read = sum(len(prompts[number]) for number in {row.prefix for row in rows})
    assert sampler.forward.processed - before == read + sum(len(row.ids) for row in told.rows) - len(rows)
    return told.rows  # fmt: skip


def workload(count: int = 9, each: int = 5) -> tuple[list[list[int]], list[Row]]:
    chance = random.Random(3)
    prompts = [[chance.randrange(2, V) for _ in range(chance.randint(1, 20))] for _ in range(count)]
    rows = [Row(i, 100 * i + j, chance.randint(1, 40)) for j in range(each) for i in range(count)]
    return prompts, rows


@needs_c
@pytest.mark.parametrize("temperature", [1.0, 0.6, 0.0])
@pytest.mark.parametrize("form", ["the loop's", "shared keys", "untied"])
def test_chains_are_those_of_the_ordinary_sampler(
    form: str, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = model(**FORMS[form])
    prompts, rows = workload()
    monkeypatch.setattr(quickening, "library", lambda: None)
    theirs = drawn(copy.deepcopy(found), prompts, rows, temperature=temperature)
    monkeypatch.undo()
    ours = drawn(found, prompts, rows, temperature=temperature)
    assert quick(found)
    assert [row.ids for row in ours] == [row.ids for row in theirs]
    assert [row.finish for row in ours] == [row.finish for row in theirs]
    assert temperature == 0 or {row.finish for row in ours} == {"stop", "length"}
    for a, b in zip(ours, theirs, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


@needs_c
def test_a_chain_is_the_same_alone_and_its_log_probs_are_the_models() -> None:
    found = model()
    prompts, rows = workload()
    whole = drawn(found, prompts, rows)
    for row, written in list(zip(rows, whole, strict=True))[::4]:
        assert drawn(found, prompts, [row]) == [written]
        ids = torch.tensor([[*prompts[row.prefix], *written.ids]])
        with torch.inference_mode():
            logits = found(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
        own = logits[len(prompts[row.prefix]) - 1 : -1].gather(1, ids[0, len(prompts[row.prefix]) :, None])[:, 0]
        assert written.logprobs == pytest.approx(own.tolist(), abs=1e-5)


@needs_c
def test_tokens_have_their_chances() -> None:
    from scipy.stats import chisquare

    found = quicken(model())
    count = 20_000
    u = (torch.arange(count, dtype=torch.float64)[:, None] + 0.5) / count  # a grid: as even as numbers can be
    result = draw(found, [[5, 6, 7]], [0] * count, [1] * count, u, [1], 1.0)
    assert result is not None
    with torch.inference_mode():
        chances = found(input_ids=torch.tensor([[5, 6, 7]]), use_cache=False).logits[0, -1].double().softmax(-1)
    seen = torch.bincount(result[0][:, 0], minlength=V)
    assert (seen - chances * count).abs().max() < 1.5
    assert chisquare(seen.numpy(), (chances * count).numpy()).pvalue > 0.9


@needs_c
def test_what_cannot_be_drawn_in_c_is_said() -> None:
    found = quicken(model())
    u = torch.full((1, 60), 0.5, dtype=torch.float64)
    assert draw(found, [[5] * 10], [0], [60], u, [1], 1.0) is None  # 70 places of 64
    assert draw(found, [[V]], [0], [5], u[:, :5], [1], 1.0) is None
    assert draw(found.double(), [[5]], [0], [5], u[:, :5], [1], 1.0) is None


# --- the library


def opened(**environment: str) -> str:
    """What a fresh process says of it."""
    code = "from ponder.models.native.library import library, state; print(library() is not None, state())"
    told = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    assert told.stderr == ""
    return told.stdout.strip()


def test_it_can_be_switched_off_and_a_broken_compiler_costs_nothing_but_time(tmp_path: Path) -> None:
    assert opened(PONDER_NATIVE="0") == "False torch (PONDER_NATIVE=0)"
    assert opened(CC="/nowhere/cc", XDG_CACHE_HOME=str(tmp_path)).startswith("False torch (/nowhere/cc failed: ")
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    broken.chmod(0o755)
    assert opened(CC=str(broken), XDG_CACHE_HOME=str(tmp_path)).startswith(f"False torch ({broken} failed: ")
    assert opened(PATH="/nowhere", CC="", XDG_CACHE_HOME=str(tmp_path)).startswith("False torch (no C compiler")
    assert not list(tmp_path.glob("ponder/*"))  # nothing half done is left


@needs_c
def test_it_is_built_once(tmp_path: Path) -> None:
    compiler = building._opened()[1]
    assert opened(XDG_CACHE_HOME=str(tmp_path)) == f"True C ({compiler})"
    (built,) = tmp_path.glob("ponder/*")
    when = built.stat().st_mtime_ns
    assert opened(XDG_CACHE_HOME=str(tmp_path)) == f"True C ({compiler})"
    assert [path.stat().st_mtime_ns for path in tmp_path.glob("ponder/*")] == [when]
    assert opened(XDG_CACHE_HOME="/proc/nowhere") == f"True C ({compiler})"  # no home: for that process alone
