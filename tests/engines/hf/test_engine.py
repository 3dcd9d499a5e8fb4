"""A checkpoint as an engine: from settings to chains, weights that change, text and costs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engines.hf.local import logits, model

import ponder
from ponder.engines import load_engine
from ponder.engines.base import Request
from ponder.engines.hf import loading, probe
from ponder.engines.hf.engine import HFEngine, build
from ponder.errors import CapabilityError, EngineError, UsageError
from ponder.models.tiny import arithmetic_words, save, tiny_llama, word_tokenizer
from ponder.types import Chain, Message, Problem, Sampling, Segment

PLAIN = {"dtype": "float32", "threads": 1}
ROOT = Problem("p", "6 : 4 7 3 6 ;").root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama whose steps are short: its logits are spread, and ';' and the end are likely."""
    tokenizer = word_tokenizer(arithmetic_words(30))
    found = tiny_llama(tokenizer, hidden=32, heads=2, mlp=48)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(3)
        for parameter in found.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.3)
    return save(tmp_path_factory.mktemp("models") / "tiny", found, tokenizer)


def engine(checkpoint: Path, **settings: Any) -> HFEngine:
    given = {k: settings.pop(k) for k in ("temperature", "max_tokens", "top_p") if k in settings}
    return build(str(checkpoint), Sampling(**({"temperature": 1.0, "max_tokens": 40} | given)), **PLAIN | settings)


def request(chain: Chain = ROOT, *, keys: str = "e0", allowance: int = 40, stop: str | None = None) -> Request:
    names = tuple(keys.split())
    return Request("p", chain, names, tuple(range(1, len(names) + 1)), allowance, stop)


def written(chain: Chain, key: str, output: Any) -> Chain:
    return replace(chain, key=key, segments=(*chain.segments, *output.segments), finish=output.finish)


def test_a_path_is_a_model(checkpoint: Path) -> None:
    found: Any = load_engine(str(checkpoint), Sampling(max_tokens=8), settings=PLAIN)
    (result,) = found.generate([request(keys="e0 e1", allowance=8)])
    assert len(result.outputs) == 2
    for output in result.outputs:
        (segment,) = output.segments
        assert output.tokens == segment.tokens == len(segment.ids) == len(segment.logprobs) <= 8
        assert found.tokenizer.decode(found.ids(ROOT) + segment.ids, skip_special_tokens=True) == (
            found.tokenizer.decode(found.ids(ROOT)) + segment.text
        )
    assert result.overhead.prompt == len(found.ids(ROOT)) == 7
    assert result.overhead.requests == 1 and result.overhead.flops > 0 and result.overhead.seconds > 0


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"dtype": "int8"}, "known: auto, bfloat16"),
        ({"rows": -1}, "rows=-1"),
        ({"device": "cuda:9"}, "device=cuda:9"),
        ({"device": "toaster"}, "device=toaster"),
    ],
)
def test_bad_settings_are_named(checkpoint: Path, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        build(str(checkpoint), Sampling(), **settings)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no-such-folder", "no such folder"),
        ("./a/b/c", "no such folder"),
        ("{tmp}", "no config.json"),
        ("{tmp}/x.gguf", "serve it"),
        ("vllm:x", "comes with a later version"),
        ("{tmp}/broken", "cannot be loaded"),
    ],
)
def test_a_model_that_is_not_there_is_one_clear_line(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "x.gguf").write_text("GGUF")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=told) as caught:
        load_engine(name.format(tmp=tmp_path), Sampling(), settings=PLAIN)
    assert "\n" not in str(caught.value)


def test_effort_and_a_server_address_are_refused(checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="--effort"):
        build(str(checkpoint), Sampling(effort="high"))
    with pytest.raises(UsageError, match="--base-url"):
        load_engine(str(checkpoint), Sampling(), base_url="http://x/v1")


def test_a_missing_extra_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'ponder\[local\]'"):
        build("anything", Sampling())


def test_a_model_without_keys_and_values_is_refused() -> None:
    import transformers

    config = transformers.MambaConfig(vocab_size=20, hidden_size=8, state_size=4, num_hidden_layers=1)
    with pytest.raises(CapabilityError, match="not keys and values"):
        loading.prepared("mamba", transformers.MambaForCausalLM(config), None)


def test_a_sliding_window_bounds_the_context() -> None:
    import transformers

    def context(**more: Any) -> int:
        return loading._context(transformers.MistralConfig(max_position_embeddings=512, **more))

    assert context(sliding_window=None) == 512
    assert context(sliding_window=64) == 64
    assert loading._context(transformers.Qwen2Config(max_position_embeddings=512, use_sliding_window=False)) == 512


def test_requests_for_the_same_chain_share_its_reading(checkpoint: Path) -> None:
    found = engine(checkpoint)
    first, second = found.generate([request(keys="e0"), request(keys="e1 e2")])
    assert (first.overhead.cached, second.overhead.cached) == (0, 7)
    drawn = sum(o.tokens - 1 for r in (first, second) for o in r.outputs)
    assert found.processed == 7 + drawn


def test_steps_join_to_what_one_chain_would_be(checkpoint: Path) -> None:
    """Greedily, step by step, from the tree cache or without it: the same ids and text as in one go."""
    whole = engine(checkpoint, temperature=0.0, max_tokens=60)
    (result,) = whole.generate([request(allowance=60)])
    (segment,) = result.outputs[0].segments
    for tree in (0, 1):
        found = engine(checkpoint, temperature=0.0, max_tokens=60, tree=tree)
        chain, key = ROOT, ""
        while len(ids := [i for s in chain.segments for i in s.ids or ()]) < len(segment.ids):
            key = f"{key}/s0".lstrip("/")
            left = len(segment.ids) - len(ids)
            (step,) = found.generate([request(chain, keys=key, allowance=left, stop=";")])
            (output,) = step.outputs
            if output.finish == "step":
                assert output.segments[0].text.endswith(";") and output.segments[0].text.count(";") == 1
            chain = written(chain, key, output)
            if output.finish == "stop":
                break
        ids = [i for s in chain.segments for i in s.ids or ()]
        assert tuple(ids) == segment.ids[: len(ids)]
        assert segment.text.startswith(chain.text)


def test_given_text_is_read_as_it_is(checkpoint: Path) -> None:
    found = engine(checkpoint)
    given = replace(ROOT, segments=(Segment(" 6 * 4 = 24 ;", kind="given"),), finish="step", key="s0")
    assert found.ids(given) == tuple(found.tokenizer("6 : 4 7 3 6 ; 6 * 4 = 24 ;")["input_ids"])
    wrong = replace(given, segments=(Segment(" hello", kind="given"),))
    bad, good = found.generate([request(wrong), request()])
    assert bad.outputs[0].finish == "error" and "tokenizer cannot take" in bad.outputs[0].reason
    assert good.outputs[0].tokens > 0


def test_new_weights_are_used_at_once_and_named(checkpoint: Path) -> None:
    found = engine(checkpoint, temperature=0.0)
    before = found.generate([request(stop=";")])[0].outputs[0].segments[0]
    assert found.tree.tokens > 0
    generator = torch.Generator().manual_seed(1)
    new = {k: torch.randn(v.shape, generator=generator) * 0.3 for k, v in found.model.state_dict().items()}
    tied = {k: v for k, v in new.items() if k != "lm_head.weight"}
    found.update_weights(tied, "7")
    assert found.policy == f"{checkpoint}@7" and found.tree.tokens == 0
    after = found.generate([request(stop=";")])[0].outputs[0].segments[0]
    assert after.ids != before.ids
    every = torch.log_softmax(logits(found.model, found.ids(ROOT) + after.ids), -1)
    wanted = every[range(6, 6 + len(after.ids)), after.ids]
    assert torch.allclose(torch.tensor(after.logprobs), wanted, atol=1e-4)
    for bad in ({"nothing": torch.zeros(1)}, {"model.norm.weight": torch.zeros(3)}):
        with pytest.raises(ValueError, match=r"no parameter|shape"):
            found.update_weights({**tied, **bad}, "8")
    assert found.policy == f"{checkpoint}@7"


def test_a_prompt_beyond_the_context_is_an_error_and_a_full_chain_an_end(checkpoint: Path) -> None:
    found = engine(checkpoint, max_tokens=1000)
    long = Problem("q", " ".join(["1"] * 300)).root
    answered, refused = found.generate([request(allowance=1000), replace(request(long), problem="q")])
    (output,) = refused.outputs
    assert output.finish == "error" and not output.segments and "300 tokens" in output.reason
    (drawn,) = answered.outputs
    assert drawn.finish in ("stop", "length") and drawn.tokens <= 256 - 7
    full = replace(ROOT, segments=(Segment("", ids=(5,) * 249),), finish="step", key="s0")
    (ended,) = found.generate([request(full, keys="s0/s0")])[0].outputs
    assert ended.finish == "length" and not ended.segments and "256" in ended.reason


def test_budget_and_length_are_told_apart(checkpoint: Path) -> None:
    found = engine(checkpoint, max_tokens=5)
    five = found.generate([request(keys="e0 e1 e2 e3", allowance=5)])[0].outputs
    three = found.generate([request(keys="e0 e1 e2 e3", allowance=3)])[0].outputs
    assert {o.finish for o in five} <= {"length", "stop"} and {o.finish for o in three} <= {"budget", "stop"}
    assert "length" in {o.finish for o in five} and "budget" in {o.finish for o in three}


def test_prompts_without_a_chat_template_are_joined_text(checkpoint: Path) -> None:
    found = engine(checkpoint, chat=False)
    two = Chain("p", prompt=(Message("system", "1 + 2"), Message("user", "3 =")))
    assert found.ids(two) == tuple(found.tokenizer("1 + 2 3 =")["input_ids"])
    with pytest.raises(EngineError, match="no tokens"):
        found.ids(Chain("p", prompt=(Message("user", " "),)))


def test_ask_answers_alone(checkpoint: Path) -> None:
    found: Any = engine(checkpoint)
    result = asyncio.run(found.ask(request(), None))
    assert result.outputs == found.generate([request()])[0].outputs


def test_logits_are_the_models(checkpoint: Path) -> None:
    found = engine(checkpoint)
    chain = written(ROOT, "e0", found.generate([request()])[0].outputs[0])
    ids = found.ids(chain)
    (got,) = found.logits([chain], [[3, len(ids) - 1]])
    assert torch.allclose(got, logits(found.model, ids)[[3, len(ids) - 1]], atol=1e-4)


def test_a_thinker_loads_its_model_once(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    real = loading.load
    monkeypatch.setattr(loading, "load", lambda name, **k: (loads.append(name), real(name, **k))[1])
    think = ponder.Thinker(str(checkpoint), samples=4, max_tokens=20, set=PLAIN)
    first, again = (think("6 : 4 7 3 6 ;", task="countdown") for _ in range(2))
    other = think("9 : 1 2 3 ;", task="countdown")
    assert first.chains == again.chains != other.chains
    assert loads == [str(checkpoint)]


def test_the_probe_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(probe, "WIDTH", 16)
    monkeypatch.setattr(probe, "INNER", 16)
    monkeypatch.setattr(probe.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    threads = torch.get_num_threads()
    first = probe.probe()
    assert torch.get_num_threads() == threads
    assert first["dtype"] in ("float32", "bfloat16") and first["threads"] >= 1
    monkeypatch.setattr(probe, "measure", lambda cores: pytest.fail("measured again"))
    assert probe.probe() == first
    (tmp_path / "ponder" / "probe.json").write_text("{broken")
    monkeypatch.setattr(probe, "measure", lambda cores: {"dtype": "float32", "threads": 3, "ms": {}})
    monkeypatch.setattr(probe.os, "getloadavg", lambda: (9.0, 9.0, 9.0))
    assert probe.probe()["threads"] == 3 and "not kept" in probe.probe()["file"]
    monkeypatch.setattr(probe.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    assert probe.probe()["file"] == probe.probe()["file"].replace("not kept", "")


def test_small_types_keep_no_promise() -> None:
    sixteen = model("qwen2").to(torch.bfloat16)
    try:
        loaded = loading.prepared("m", sixteen, word_tokenizer(arithmetic_words(30)))
        assert not HFEngine(loaded, Sampling(), name="m").capabilities.seed
    finally:
        model("qwen2").to(torch.float32)


def test_a_chain_that_is_extended_again_costs_one_token(checkpoint: Path) -> None:
    found = engine(checkpoint)
    found.generate([request(stop=";", keys="s0", allowance=3)])
    before = found.processed
    (again,) = found.generate([request(stop=";", keys="s1", allowance=3)])
    assert again.overhead.cached == 6 and found.processed - before == 1 + again.outputs[0].tokens - 1
