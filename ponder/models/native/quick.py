"""Which models go through llama.c, and chains drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from ponder.models.forms import head_width, lasting_angles
from ponder.models.native.library import library
from ponder.models.native.llama import LONGEST, Llama, readable

LARGEST = 1_000_000  # parameters; above, torch's products on several cores are as fast


def quicken(model: Any) -> Any:
    """Gives each small Llama in `model`, in place, the forward pass in C; returns `model`."""
    for body in model.modules():
        if type(body).__name__ == "LlamaModel" and not _quickened(body) and _small(body):
            body.forward = MethodType(forward, body)  # bound: a deep copy's is bound to the copy, a pickle drops it
    return model


def forward(body: Any, input_ids: Any = None, **others: Any) -> Any:
    """LlamaModel.forward, in C where it is given ids alone and no cache is wanted; else the model's own."""
    from transformers.modeling_outputs import BaseModelOutputWithPast

    model = Llama.of(body) if _plain(body, others) and _readable(body, input_ids) else None
    if model is None:
        return type(body).forward(body, input_ids=input_ids, **others)
    return BaseModelOutputWithPast(last_hidden_state=model.states(input_ids))


def _plain(body: Any, others: dict[str, Any]) -> bool:
    """Whether nothing is given beside the ids, and nothing wanted but the last states."""
    wanted = (getattr(body.config, name, False) for name in ("output_hidden_states", "output_attentions"))
    return others.get("use_cache") is False and all(v is None or v is False for v in (*others.values(), *wanted))


def _readable(body: Any, ids: Any) -> bool:
    return (
        isinstance(ids, Tensor)
        and ids.dtype == torch.int64
        and ids.device.type == "cpu"
        and ids.ndim == 2
        and ids.numel() > 0
        and ids.shape[1] <= min(LONGEST, body.config.max_position_embeddings)
        and 0 <= int(ids.min()) <= int(ids.max()) < body.embed_tokens.weight.shape[0]
        and not torch.is_autocast_enabled("cpu")
    )


def _quickened(body: Any) -> bool:
    return getattr(vars(body).get("forward"), "__func__", None) is forward


def reads(model: Any) -> bool:
    """Whether whole sequences may be read by `model` in C: it has a body that was quickened, under any head."""
    body = getattr(model, "model", None)
    return body is not None and _quickened(body)


def _small(body: Any) -> bool:
    """Whether llama.c has the form of this model. What may change later is looked at in each pass."""
    config = body.config
    return (
        sum(p.numel() for p in body.parameters()) <= LARGEST
        and not any(size % 8 for size in (config.hidden_size, config.intermediate_size, head_width(config)))
        and config.hidden_act == "silu"
        and lasting_angles(config)
        and not getattr(config, "attention_dropout", 0.0)
        and len(body.layers) == config.num_hidden_layers > 0
        and library() is not None
    )


def quick(model: Any) -> bool:
    """Whether `draw` may be asked: a language model whose body was quickened."""
    head = getattr(model, "lm_head", None)
    return (
        type(model).__name__ == "LlamaForCausalLM"
        and reads(model)
        and type(head) is torch.nn.Linear
        and head.bias is None
        and head.weight.shape == model.model.embed_tokens.weight.shape
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
    of `ends`, with the uniform numbers u[i] (float64 [rows, most]). Rows of a prompt must stand together.

    Returns ids int64 [rows, most], log-probs float32 [rows, most] at temperature 1, and how many of them were drawn
    [rows]. None if the weights or lengths are not what llama.c can read: the ordinary sampler must do it."""
    small = Llama.of(model.model)
    places = max(map(len, prompts)) + u.shape[1]
    head = model.lm_head.weight
    if (
        small is None
        or not readable(head)
        or not all(prompts)
        or places > min(LONGEST, model.config.max_position_embeddings)
    ):
        return None
    flat = torch.tensor([token for ids in prompts for token in ids])
    if not 0 <= int(flat.min()) <= int(flat.max()) < small.size.v:
        return None
    starts = torch.tensor([0, *map(len, prompts)]).cumsum(0)
    return small.draw(head, flat, starts, prefix, allowance, u, ends, temperature)
