"""A transformers Llama through llama.c: states with gradients, and chains."""

from __future__ import annotations

import bisect
import ctypes
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ponder.models.native.library import Size, library

LARGEST = 1_000_000  # parameters; above, torch's products on all cores are as fast
LONGEST = 512  # tokens of a sequence: attention keeps all its weights
ROPES = ("default", "linear", "llama3")  # whose angles do not depend on the length


def quicken(model: Any) -> Any:
    """Gives each small Llama in `model`, in place, the forward pass in C, for passes that it fits; returns `model`."""
    for body in model.modules():
        if type(body).__name__ == "LlamaModel" and "forward" not in vars(body) and _small(body):
            body.forward = types.MethodType(_forward, body)  # bound, so that a deep copy has a pass of its own weights
    return model


def quick(model: Any) -> Any:
    """The body of a language model if `draw` may be asked of it, else None."""
    body = getattr(model, "model", None)
    head = getattr(model, "lm_head", None)
    fits = type(model).__name__ == "LlamaForCausalLM" and "forward" in vars(body)
    return body if fits and type(head) is torch.nn.Linear and head.bias is None else None


def _small(body: Any) -> bool:
    """Whether llama.c has the form of this model. What may change later is looked at in each pass."""
    config = body.config
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return (
        sum(p.numel() for p in body.parameters()) <= LARGEST
        and not any(size % 8 for size in (config.hidden_size, config.intermediate_size, width))
        and config.hidden_act == "silu"
        and rope in ROPES
        and not getattr(config, "attention_dropout", 0.0)
        and len(body.layers) == config.num_hidden_layers > 0
        and library() is not None
    )


def _forward(body: Any, input_ids: Any = None, **others: Any) -> Any:
    """LlamaModel.forward, where nothing but ids is given and no cache is wanted."""
    from transformers.modeling_outputs import BaseModelOutputWithPast

    plain = not any(value is not None and value is not False for value in others.values())
    cached = others.get("use_cache") is not False
    model = _Llama.of(body) if plain and not cached and _readable(body, input_ids) else None
    if model is None:
        return type(body).forward(body, input_ids=input_ids, **others)
    return BaseModelOutputWithPast(last_hidden_state=model.states(input_ids))


def _readable(body: Any, ids: Any) -> bool:
    return (
        isinstance(ids, Tensor)
        and ids.dtype == torch.int64
        and ids.device.type == "cpu"
        and ids.ndim == 2
        and 0 < ids.numel()
        and ids.shape[1] <= min(LONGEST, body.config.max_position_embeddings)
        and 0 <= int(ids.min()) <= int(ids.max()) < body.embed_tokens.weight.shape[0]
        and not torch.is_autocast_enabled("cpu")
    )


def draw(
    model: Any,
    prompts: Sequence[Sequence[int]],
    prefix: Sequence[int],
    allowance: Sequence[int],
    u: Tensor,
    ends: Sequence[int],
    temperature: float,
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Chains of a model that is `quick`: row i continues prompts[prefix[i]] by at most allowance[i] tokens, up to one
    of `ends`, with the uniform numbers u[i] (float64 [rows, most]). Rows of a prompt must stand together. Returns ids
    int64 [rows, most], log-probs float32 [rows, most] at temperature 1, and how many of them are drawn [rows]; None if
    the weights are not what llama.c can read."""
    body = quick(model)
    small = _Llama.of(body)
    if small is None or not all(map(len, prompts)):
        return None
    longest = max(map(len, prompts))
    places = longest + u.shape[1]
    flat = torch.tensor([token for ids in prompts for token in ids])
    if places > min(LONGEST, body.config.max_position_embeddings) or int(flat.max()) >= small.size.v or flat.min() < 0:
        return None
    return small.draw(model.lm_head.weight, prompts, flat, longest, places, prefix, allowance, u, ends, temperature)


@dataclass(frozen=True, slots=True)
class _Llama:
    """A body's weights of now, in the order of llama.c, for one call."""

    size: Size
    weights: tuple[Tensor, ...]
    cos: Tensor
    sin: Tensor

    @classmethod
    def of(cls, body: Any) -> _Llama | None:
        """None if they are not plain float32 numbers in this memory, or someone wants to see what is in between."""
        weights = [body.embed_tokens.weight]
        for layer in body.layers:
            own, mlp = layer.self_attn, layer.mlp
            linear = (own.q_proj, own.k_proj, own.v_proj, own.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
            if any(type(part) is not torch.nn.Linear or part.bias is not None for part in linear):
                return None
            q, k, v, o, gate, up, down = (part.weight for part in linear)
            weights += [layer.input_layernorm.weight, q, k, v, o, layer.post_attention_layernorm.weight, gate, up, down]
        weights.append(body.norm.weight)
        for weight in weights:
            if (
                type(weight) not in (Tensor, torch.nn.Parameter)
                or weight.dtype != torch.float32
                or weight.device.type != "cpu"
                or not weight.is_contiguous()
            ):
                return None
        if any(part._forward_hooks or part._forward_pre_hooks for part in body.layers.modules()):
            return None
        config = body.config
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        pad = body.embed_tokens.padding_idx
        size = Size(
            config.hidden_size, config.num_attention_heads, config.num_key_value_heads, width,
            config.intermediate_size, weights[0].shape[0], len(body.layers), -1 if pad is None else pad,
            config.rms_norm_eps,
        )  # fmt: skip
        return cls(size, tuple(weights), *_angles(body, width))

    def states(self, ids: Tensor) -> Tensor:
        """float32 [B, T, hidden] after the last norm."""
        if torch.is_grad_enabled() and any(weight.requires_grad for weight in self.weights):
            found: Tensor = _States.apply(self, ids, *self.weights)  # type: ignore[no-untyped-call]
            return found
        return self.forward(ids, self.packed())[0]

    def packed(self, head: Tensor | None = None) -> _Space:
        space = _Space.of(_c().packed_floats(ctypes.byref(self.size)))
        _c().pack_weights(ctypes.byref(self.size), _pointers(self.weights), _at(head), space.at)
        return space

    def forward(self, ids: Tensor, packed: _Space, back: bool = False) -> tuple[Tensor, _Space]:
        """The states, and what `backward` needs."""
        b, t = ids.shape
        size, ids = ctypes.byref(self.size), ids.contiguous()
        saved = _Space.of(_c().saved_floats(size, b, t, back))
        scratch = _Space.of(_c().scratch_floats(size, b, t))
        states = torch.empty(b, t, self.size.d)
        _c().forward(
            size, _pointers(self.weights), packed.at, _at(self.cos), _at(self.sin), _at(ids), b, t, back, saved.at,
            scratch.at, _at(states),
        )  # fmt: skip
        return states, saved

    def backward(self, ids: Tensor, packed: _Space, saved: _Space, dstates: Tensor) -> list[Tensor]:
        b, t = ids.shape
        size, ids, dstates = ctypes.byref(self.size), ids.contiguous(), dstates.contiguous()
        scratch = _Space.of(_c().scratch_floats(size, b, t))
        found = [torch.zeros_like(weight) for weight in self.weights]
        _c().backward(
            size, _pointers(self.weights), packed.at, _at(self.cos), _at(self.sin), _at(ids), b, t, saved.at,
            scratch.at, _at(dstates), _pointers(found),
        )  # fmt: skip
        return found

    def draw(
        self,
        head: Tensor,
        prompts: Sequence[Sequence[int]],
        flat: Tensor,
        longest: int,
        places: int,
        prefix: Sequence[int],
        allowance: Sequence[int],
        u: Tensor,
        ends: Sequence[int],
        temperature: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows, most = u.shape
        size, packed = ctypes.byref(self.size), self.packed(head.detach())
        starts = torch.tensor([0, *map(len, prompts)]).cumsum(0)
        of, allowed = (torch.tensor(numbers, dtype=torch.int32) for numbers in (prefix, allowance))
        last = torch.zeros(self.size.v, dtype=torch.uint8)
        last[list(ends)] = 1
        space = _Space.of(_c().draw_floats(size, places, longest))
        u = u.contiguous()
        ids, logprobs = torch.zeros(rows, most, dtype=torch.int64), torch.zeros(rows, most)
        count = torch.zeros(rows, dtype=torch.int32)
        _c().draw(
            size, _pointers(self.weights), packed.at, _at(self.cos), _at(self.sin), _at(flat), _at(starts), longest,
            rows, _at(of), _at(allowed), _at(u), most, _at(last), temperature, places, space.at, _at(ids),
            _at(logprobs), _at(count),
        )  # fmt: skip
        return ids, logprobs, count


class _States(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, model: _Llama, ids: Tensor, *weights: Tensor) -> Tensor:
        packed = model.packed()
        states, saved = model.forward(ids, packed, back=True)
        ctx.model, ctx.ids, ctx.packed, ctx.saved = model, ids, packed, saved
        ctx.save_for_backward(*weights)  # autograd says so if one was changed in between
        return states

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dstates: Tensor) -> Any:
        ctx.saved_tensors  # noqa: B018
        return None, None, *ctx.model.backward(ctx.ids, ctx.packed, ctx.saved, dstates)


class _Space:
    """Floats to work in, lent for as long as this object lives: new memory costs more than what is done in it."""

    _free: list[Tensor] = []

    def __init__(self, memory: Tensor) -> None:
        self._memory = memory
        self.at = _at(memory)

    @classmethod
    def of(cls, floats: int) -> _Space:
        for index, memory in enumerate(cls._free):  # the smallest comes first
            if memory.numel() >= floats:
                return cls(cls._free.pop(index))
        if cls._free:
            cls._free.pop()
        return cls(torch.empty(floats))

    def __del__(self) -> None:
        bisect.insort(self._free, self._memory, key=torch.Tensor.numel)


def _angles(body: Any, width: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each position [positions, width / 2]; kept with the body, since they never change."""
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
