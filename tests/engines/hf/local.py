"""Small random models of several architectures for the tests of the local engine, and slow references for them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import transformers

from ponder.engines.hf.forward import Forward
from ponder.engines.hf.prefill import Prefix
from ponder.engines.hf.sampler import Drawn, Ending, Limits, Row, Sampler
from ponder.engines.hf.tree import TreeCache
from ponder.types import Sampling

torch.set_num_threads(1)
V = 50
COMMON = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
ARCHITECTURES = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "mistral": "Mistral", "gemma2": "Gemma2"}


@lru_cache
def model(architecture: str = "llama") -> Any:
    """Its logits are spread as a trained model's are (a fresh one's are nearly equal)."""
    if architecture == "gpt2":
        config: Any = transformers.GPT2Config(
            vocab_size=V, n_embd=32, n_layer=2, n_head=4, n_positions=256, bos_token_id=None, eos_token_id=1
        )
        kind = transformers.GPT2LMHeadModel
    else:
        own = {"head_dim": 8} if architecture in ("qwen3", "gemma2") else {}
        config = getattr(transformers, f"{ARCHITECTURES[architecture]}Config")(**COMMON, **own)
        kind = getattr(transformers, f"{ARCHITECTURES[architecture]}ForCausalLM")
    with torch.random.fork_rng():
        torch.manual_seed(7)
        found = kind(config)
        with torch.no_grad():
            for parameter in found.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0.0, 0.35)
    return found.eval()


def sampler(found: Any = None, *, limits: Limits | None = None, tree: int = 100_000, **sampling: Any) -> Sampler:
    drawing = Sampling(**{"temperature": 1.0} | sampling)
    return Sampler(Forward(found or model()), drawing, limits or Limits(), TreeCache(tree))


def ending(ends: Sequence[int] = (1,), delimiter: Sequence[int] = ()) -> Ending:
    """Rows end at the tokens `ends`, and at a step after the token sequence `delimiter`."""
    marks = torch.zeros(V, dtype=torch.bool)
    marks[list(ends)] = True
    if delimiter:
        marks[delimiter[-1]] = True
    return Ending(
        frozenset(ends), marks, lambda ids: bool(delimiter) and tuple(ids[-len(delimiter) :]) == tuple(delimiter)
    )


def prompts(count: int, *, least: int = 1, most: int = 40, seed: int = 0) -> list[Prefix]:
    draw = random.Random(seed)
    return [
        Prefix(tuple(draw.randrange(2, V) for _ in range(draw.randint(least, most))), (f"p{i}", ""))
        for i in range(count)
    ]


def logits(found: Any, ids: Sequence[int]) -> Any:
    """One sequence, one plain forward pass: [len(ids), V]."""
    with torch.inference_mode():
        return found(input_ids=torch.tensor([list(ids)])).logits[0].float()


def texts(drawn: Drawn) -> list[tuple[int, ...]]:
    return [row.ids for row in drawn.rows]


def rows(count: int, *, allowance: int = 24, each: int = 1, seed: int = 0) -> list[Row]:
    draw = random.Random(seed + 1000)
    return [Row(i // each, draw.getrandbits(64), allowance) for i in range(count * each)]
