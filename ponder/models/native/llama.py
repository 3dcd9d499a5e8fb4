"""A Llama's weights, given to llama.c: its states with their gradients, and chains."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ponder.models.forms import head_width
from ponder.models.native.library import Size, library
from ponder.models.native.memory import Space

LONGEST = 512  # tokens of a sequence: attention keeps all its weights


@dataclass(frozen=True, slots=True)
class Llama:
    """The weights of now, in the order of llama.c, and cosine and sine of each position [positions, width / 2]."""

    size: Size
    weights: tuple[Tensor, ...]
    cos: Tensor
    sin: Tensor

    @classmethod
    def of(cls, body: Any) -> Llama | None:
        """Of a LlamaModel. None if they are not plain float32 numbers in this memory, or if someone wants to see what
        happens in between."""
        weights = [body.embed_tokens.weight]
        for layer in body.layers:
            own, mlp = layer.self_attn, layer.mlp
            linear = (own.q_proj, own.k_proj, own.v_proj, own.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
            if any(type(part) is not torch.nn.Linear or part.bias is not None for part in linear):
                return None
            q, k, v, o, gate, up, down = (part.weight for part in linear)
            weights += [layer.input_layernorm.weight, q, k, v, o, layer.post_attention_layernorm.weight, gate, up, down]
        weights.append(body.norm.weight)
        watched = any(part._forward_hooks or part._forward_pre_hooks for part in body.layers.modules())
        if watched or not all(map(readable, weights)):
            return None
        config = body.config
        width = head_width(config)
        pad = body.embed_tokens.padding_idx
        size = Size(
            config.hidden_size, config.num_attention_heads, config.num_key_value_heads, width,
            config.intermediate_size, weights[0].shape[0], len(body.layers), -1 if pad is None else pad,
            config.rms_norm_eps,
        )  # fmt: skip
        return cls(size, tuple(weights), *_angles(body, width))

    def states(self, ids: Tensor) -> Tensor:
        """float32 [B, T, hidden] after the last norm, of ids int64 [B, T] that the model has."""
        if torch.is_grad_enabled() and any(weight.requires_grad for weight in self.weights):
            found: Tensor = _States.apply(self, ids.contiguous(), *self.weights)  # type: ignore[no-untyped-call]
            return found
        return self.forward(ids.contiguous(), self.packed())[0]

    def packed(self, head: Tensor | None = None) -> Space:
        """The weights as matrix products read them."""
        space = Space(_c().packed_floats(ctypes.byref(self.size)))
        _c().pack_weights(ctypes.byref(self.size), _pointers(self.weights), _at(head), space.at)
        return space

    def forward(self, ids: Tensor, packed: Space, back: bool = False) -> tuple[Tensor, Space]:
        """The states, and what `backward` reads."""
        b, t = ids.shape
        size = ctypes.byref(self.size)
        saved, scratch = Space(_c().saved_floats(size, b, t, back)), Space(_c().scratch_floats(size, b, t))
        states = torch.empty(b, t, self.size.d)
        _c().forward(
            size, _pointers(self.weights), packed.at, _at(self.cos), _at(self.sin), _at(ids), b, t, back, saved.at,
            scratch.at, _at(states),
        )  # fmt: skip
        return states, saved

    def backward(self, ids: Tensor, packed: Space, saved: Space, dstates: Tensor) -> list[Tensor]:
        """The gradient of each weight, from that of the states [B, T, hidden]."""
        b, t = ids.shape
        size, dstates = ctypes.byref(self.size), dstates.contiguous()
        scratch = Space(_c().scratch_floats(size, b, t))
        found = [torch.zeros_like(weight) for weight in self.weights]
        _c().backward(
            size, _pointers(self.weights), packed.at, _at(self.cos), _at(self.sin), _at(ids), b, t, saved.at,
            scratch.at, _at(dstates), _pointers(found),
        )  # fmt: skip
        return found

    def draw(
        self,
        head: Tensor,
        prompts: Tensor,
        starts: Tensor,
        prefix: Sequence[int],
        allowance: Sequence[int],
        u: Tensor,
        ends: Sequence[int],
        temperature: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `ponder.models.native.quick.draw`; prompt i is prompts[starts[i] : starts[i + 1]]."""
        rows, most = u.shape
        longest = int(starts.diff().max())
        size, packed = ctypes.byref(self.size), self.packed(head)
        own, allowed = (torch.tensor(numbers, dtype=torch.int32) for numbers in (prefix, allowance))
        last = torch.zeros(self.size.v, dtype=torch.uint8)
        last[[token for token in ends if token < self.size.v]] = 1
        space, u = Space(_c().draw_floats(size, longest + most, longest)), u.contiguous()
        ids, logprobs = torch.zeros(rows, most, dtype=torch.int64), torch.zeros(rows, most)
        count = torch.zeros(rows, dtype=torch.int32)
        _c().draw(
            size, _pointers(self.weights), packed.at, _at(self.cos), _at(self.sin), _at(prompts), _at(starts), longest,
            rows, _at(own), _at(allowed), _at(u), most, _at(last), temperature, longest + most, space.at, _at(ids),
            _at(logprobs), _at(count),
        )  # fmt: skip
        return ids, logprobs, count


class _States(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, model: Llama, ids: Tensor, *weights: Tensor) -> Tensor:
        packed = model.packed()
        states, saved = model.forward(ids, packed, back=True)
        ctx.model, ctx.ids, ctx.packed, ctx.saved = model, ids, packed, saved
        ctx.save_for_backward(*weights)  # autograd objects if one was changed in between
        return states

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dstates: Tensor) -> Any:
        ctx.saved_tensors  # noqa: B018
        return None, None, *ctx.model.backward(ctx.ids, ctx.packed, ctx.saved, dstates)


def readable(weight: Tensor) -> bool:
    """Whether C may read it: plain float32 numbers in this memory, one after the other."""
    return (
        type(weight) in (Tensor, torch.nn.Parameter)
        and weight.dtype == torch.float32
        and weight.device.type == "cpu"
        and weight.is_contiguous()
    )


def _angles(body: Any, width: int) -> tuple[Tensor, Tensor]:
    """Kept with the body, since they never change."""
    if not hasattr(body, "_native_angles"):
        places = torch.arange(min(body.config.max_position_embeddings, LONGEST))[None]
        with torch.no_grad():
            cos, sin = body.rotary_emb(torch.zeros(1), position_ids=places)
        body._native_angles = tuple(part[0, :, : width // 2].contiguous() for part in (cos, sin))
    angles: tuple[Tensor, Tensor] = body._native_angles
    return angles


def _c() -> ctypes.CDLL:
    found = library()
    assert found is not None
    return found


def _at(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _pointers(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*[tensor.data_ptr() for tensor in tensors])
