"""What training needs of a GPU's memory, from the model's sizes alone: no weights are loaded.

Weights, gradients and AdamW's two moments are exact. Activations count the tensors that transformers' Llama keeps for
the backward pass (after Korthikanti et al. 2022, arXiv 2205.05198, section 4, for SDPA attention and a gated MLP), and
logits the copies that the losses make; both are within some tens of percent. What CUDA itself takes and what
fragments is `SPARE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ponder.errors import UsageError

BYTES = {"float32": 4, "bfloat16": 2}
SPARE = 0.1  # of the memory, for the context of CUDA, buffers of libraries and fragments
LOGITS = {"steer": 7, "sft": 4, "distill": 4, "prune": 4}
"""Float32 copies [tokens, V] at the worst moment: the predictions, what entropy keeps (steering), three gradients."""
ROWS = 64  # sequences that the engine draws at once
CACHE, TREE = 0.25, 0.125  # of the memory, beyond which the engine keeps no keys and values
KINDS = ("llama", "mistral", "qwen2", "qwen3")
"""`model_type` of the models whose parameters the formula counts."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder of Llama's form. `width` of a head (0: hidden / heads); `bias` of queries, keys and values (Qwen2);
    `norms` of queries and keys (Qwen3); `tied`: the output layer is the embedding."""

    layers: int = 0
    hidden: int = 0
    heads: int = 0
    kv_heads: int = 0
    mlp: int = 0
    vocabulary: int = 0
    tied: bool = False
    bias: bool = False
    norms: bool = False
    width: int = 0

    @property
    def head(self) -> int:
        return self.width or self.hidden // self.heads

    @property
    def layer(self) -> int:
        """Parameters of one layer."""
        found = sum(rows * columns for rows, columns in self.linears.values()) + 2 * self.hidden
        found += (self.heads + 2 * self.kv_heads) * self.head if self.bias else 0
        return found + (2 * self.head if self.norms else 0)

    @property
    def parameters(self) -> int:
        """Of the whole. Tied weights count once."""
        return self.layers * self.layer + self.hidden + self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """(out, in) of each projection of a layer, by its name in transformers."""
        queries, keys = self.heads * self.head, self.kv_heads * self.head
        return {
            "q_proj": (queries, self.hidden),
            "k_proj": (keys, self.hidden),
            "v_proj": (keys, self.hidden),
            "o_proj": (self.hidden, queries),
            "gate_proj": (self.mlp, self.hidden),
            "up_proj": (self.mlp, self.hidden),
            "down_proj": (self.hidden, self.mlp),
        }

    def adapter(self, rank: int, targets: list[str]) -> int:
        """Parameters of LoRA: rank × (out + in) for each projection. Raises KeyError for a name that is none."""
        return self.layers * sum(rank * sum(self.linears[name]) for name in targets)

    def cached(self, bytes_each: int) -> int:
        """Bytes of a token's keys and values."""
        return 2 * self.layers * self.kv_heads * self.head * bytes_each

    def activations(self, bytes_each: int) -> int:
        """Bytes that one layer keeps of a token for the backward pass: two norms (input, in float32, normed, output),
        queries, keys, values and what attention gives, four tensors of the MLP."""
        norms = 2 * (self.hidden * (4 + 2 * bytes_each))
        attention = 2 * (self.heads + self.kv_heads) * self.head
        return norms + (attention + 4 * self.mlp) * bytes_each

    @classmethod
    def of(cls, config: Any) -> Shape:
        """Of a transformers configuration. Raises UsageError for a model that the formula does not know."""
        if config.model_type not in KINDS or getattr(config, "mlp_bias", False):
            raise UsageError(
                f"a model of type {config.model_type!r} is not of a form whose memory is known ({', '.join(KINDS)})"
            )
        heads = config.num_attention_heads
        return cls(
            config.num_hidden_layers,
            config.hidden_size,
            heads,
            getattr(config, "num_key_value_heads", None) or heads,
            config.intermediate_size,
            config.vocab_size,
            bool(config.tie_word_embeddings),
            config.model_type == "qwen2",
            config.model_type == "qwen3",
            int(getattr(config, "head_dim", None) or 0) if config.model_type != "qwen2" else 0,
        )

    def differs(self, other: Shape) -> str | None:
        """The first size that is another's not; a head's width that is left out follows from the rest."""
        for f in fields(self):
            name = "head" if f.name == "width" else f.name
            if getattr(self, name) != getattr(other, name):
                return f.name
        return None


@dataclass(frozen=True, slots=True)
class Work:
    """What is done with a model, as far as memory depends on it. `tokens` of a micro-batch, `chains` drawn at once on
    all GPUs, each of at most `prompt` + `length` tokens. `copies`: other models of its size kept beside it.
    `trained` None: all of it, else so many parameters of an adapter. `mixed`: weights of type `dtype` sample, float32
    ones of the trainer's own learn. `sharded`: the latter are divided among the GPUs."""

    method: str
    dtype: str
    tokens: int
    chains: int
    problems: int
    prompt: int
    length: int
    gpus: int = 1
    sharded: bool = False
    mixed: bool = False
    checkpointing: bool = False
    rows: int = 0
    copies: int = 0
    trained: int | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes on each GPU. Training and sampling take turns, so the larger of the two counts; weights, gradients and
    moments are there in both. `otherwise`: activations if they were kept where they are computed again, and the other
    way round."""

    parameters: int
    trained: int
    weights: float
    gradients: float
    moments: float
    activations: float
    logits: float
    cache: float
    gathered: float
    otherwise: float
    memory: float

    @property
    def total(self) -> float:
        turns = max(self.activations + self.logits, self.cache)
        return self.weights + self.gradients + self.moments + self.gathered + turns

    @property
    def fits(self) -> bool:
        return self.total <= (1 - SPARE) * self.memory

    def as_dict(self) -> Mapping[str, Any]:
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return own | {"total": self.total, "fits": self.fits}


def estimate(shape: Shape, work: Work, memory: float) -> Estimate:
    """For a GPU of `memory` bytes."""
    each = BYTES[work.dtype]
    whole = shape.parameters
    trained = whole if work.trained is None else work.trained
    own = 4 if work.mixed or work.trained is not None else each  # adapters are kept in float32
    shards = work.gpus if work.sharded else 1
    learns = whole * own if work.trained is None else whole * each + trained * own
    apart = work.mixed or work.sharded  # the trainer has a copy, and the engine the whole model on each GPU
    weights = learns / shards + whole * each * (work.copies + (1 if apart else 0))
    each = 2 if work.mixed else each  # what is computed in
    micro = min(max(work.tokens, work.prompt + work.length), -(-work.chains // work.gpus) * (work.prompt + work.length))
    layer = shape.activations(each) * micro
    kept, again = shape.layers * layer, shape.layers * shape.hidden * each * micro + layer
    if work.checkpointing:
        kept, again = again, kept
    # Of a sharded model two layers, and what is not in one, are whole at a time.
    outer = shape.parameters - shape.layers * shape.layer
    gathered = (2 * shape.layer + outer) * each * (1 - 1 / shards)
    chains = min(work.rows or ROWS, -(-work.chains // work.gpus))
    cache = min(chains * (work.prompt + work.length) * shape.cached(each), CACHE * memory)
    cache += min(-(-work.problems // work.gpus) * work.prompt * shape.cached(each), TREE * memory)
    return Estimate(
        whole,
        trained,
        weights,
        trained * own / shards,
        2 * trained * own / shards,
        float(kept),
        float(micro * shape.vocabulary * (4 * LOGITS[work.method] + (each if each < 4 else 0))),
        cache,
        gathered,
        float(again),
        memory,
    )
