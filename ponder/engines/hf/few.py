"""One decoding step of a small Llama in few operations.

A step of a small model costs what its operations cost to start, not what they compute, and what Python does between
them: this one has fewer, and no modules. The result is the same up to round-off, and it reads the model's own
weights, joined anew for each batch, so a model that is being trained is followed. Where a model is not exactly of
this form, or is too large for it to matter, nothing is lost: the ordinary forward pass does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ponder.engines.hf.kv import KV
from ponder.models.forms import head_width, lasting_angles

LARGEST = 20_000_000  # parameters
KINDS = ("LlamaForCausalLM", "Qwen2ForCausalLM")


@dataclass(frozen=True, slots=True)
class _Layer:
    before: Tensor
    qkv: Tensor
    bias: Tensor | None
    out: Tensor
    between: Tensor
    gate_up: Tensor
    down: Tensor


class FewOperations:
    """Steps of a model for which `fits` is true. `refresh` must be called after its weights have changed."""

    def __init__(self, model: Any) -> None:
        config = model.config
        self._model = model
        self._heads, self._kv_heads = config.num_attention_heads, config.num_key_value_heads
        self._width = head_width(config)
        self._eps = float(config.rms_norm_eps)
        self._inner = int(config.intermediate_size)
        positions = torch.arange(config.max_position_embeddings, device=model.device)[None]
        with torch.no_grad():
            cos, sin = model.model.rotary_emb(torch.zeros(1, device=model.device), position_ids=positions)
        half = self._width // 2
        self._cos = cos[0]
        self._sin = torch.cat((-sin[0, :, :half], sin[0, :, half:]), dim=-1)
        self._layers: list[_Layer] = []

    @staticmethod
    def fits(model: Any) -> bool:
        config = model.config
        if type(model).__name__ not in KINDS or model.dtype != torch.float32:
            return False
        parts = [m for layer in model.model.layers for m in layer.modules() if "Linear" in type(m).__name__]
        return (
            sum(p.numel() for p in model.parameters()) <= LARGEST
            and all(type(m) is torch.nn.Linear for m in [*parts, model.lm_head])
            and config.hidden_act == "silu"
            and lasting_angles(config)
            and not getattr(config, "mlp_bias", False)
            and model.model.layers[0].self_attn.o_proj.bias is None
        )

    @torch.no_grad()
    def refresh(self) -> None:
        """Joins the projections that read the same input."""
        self._layers = []
        for layer in self._model.model.layers:
            own, mlp = layer.self_attn, layer.mlp
            reads = (own.q_proj, own.k_proj, own.v_proj)
            self._layers.append(
                _Layer(
                    before=layer.input_layernorm.weight,
                    qkv=torch.cat([linear.weight for linear in reads]),
                    bias=torch.cat([linear.bias for linear in reads]) if reads[0].bias is not None else None,
                    out=own.o_proj.weight.t(),
                    between=layer.post_attention_layernorm.weight,
                    gate_up=torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)),
                    down=mlp.down_proj.weight.t(),
                )
            )

    def step(self, kv: KV, tokens: Tensor, at: Tensor, seen: int, mask: Tensor) -> Tensor:
        """Logits [b, V] after feeding tokens [b] at positions at [b]; mask [b, 1, 1, seen] is added to attention."""
        b, heads, kv_heads, width = tokens.shape[0], self._heads, self._kv_heads, self._width
        cos, sin = self._cos[at][:, None], self._sin[at][:, None]
        cells = kv.cells(at, kv_heads)
        x = F.embedding(tokens, self._model.model.embed_tokens.weight)
        size = (x.shape[1],)
        for index, layer in enumerate(self._layers):
            read = F.rms_norm(x, size, layer.before, self._eps)
            qkv = F.linear(read, layer.qkv, layer.bias).view(b, heads + 2 * kv_heads, width)
            turned = qkv[:, : heads + kv_heads]
            turned = torch.addcmul(turned * cos, turned.roll(width // 2, -1), sin)
            keys, values = kv.write(index, cells, turned[:, heads:], qkv[:, heads + kv_heads :], seen)
            query = turned[:, :heads].reshape(b, kv_heads, heads // kv_heads, width)
            found = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
            x = torch.addmm(x, found.view(b, heads * width), layer.out)
            both = F.linear(F.rms_norm(x, size, layer.between, self._eps), layer.gate_up)
            x = torch.addmm(x, F.silu(both[:, : self._inner]) * both[:, self._inner :], layer.down)
        return F.linear(F.rms_norm(x, size, self._model.model.norm.weight, self._eps), self._model.lm_head.weight)
