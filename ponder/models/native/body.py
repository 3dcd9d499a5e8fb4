"""The class that a small Llama's body becomes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.llama.modeling_llama import LlamaModel

from ponder.models.native.llama import LONGEST, Llama


class QuickLlama(LlamaModel):  # type: ignore[no-untyped-call]
    """A LlamaModel that goes through llama.c where it is given ids alone and no cache is wanted; else through its own
    code. It has the same parameters under the same names."""

    def forward(self, input_ids: Any = None, **others: Any) -> Any:
        """As LlamaModel.forward."""
        alone = others.get("use_cache") is False and not any(v is not None and v is not False for v in others.values())
        model = Llama.of(self) if alone and _readable(self, input_ids) else None
        if model is None:
            return super().forward(input_ids=input_ids, **others)
        return BaseModelOutputWithPast(last_hidden_state=model.states(input_ids))


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
