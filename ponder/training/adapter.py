"""LoRA adapters, by peft: put into a model, and merged into an ordinary checkpoint again."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch

from ponder.engines.hf.loading import INSTALL
from ponder.errors import UsageError
from ponder.training.recipe import Recipe


def installed(recipe: Recipe) -> None:
    """Raises UsageError with the install line if there is an [adapter] and peft is absent."""
    if recipe.adapter and importlib.util.find_spec("peft") is None:
        raise UsageError(f"{recipe.place.at('adapter', '')}: adapters need peft: {INSTALL}")


def added(recipe: Recipe, model: Any) -> Any:
    """peft's view of the model, which from now on computes with the adapter and trains nothing else: the engine and
    the trainer take the model itself. The adapter starts as no change at all; its numbers are of the recipe's seed.
    None without an [adapter]."""
    wanted = recipe.adapter
    if wanted is None:
        return None
    from peft import LoraConfig, get_peft_model

    there = {name.rpartition(".")[2] for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    if missing := [name for name in wanted.targets if name not in there]:
        raise recipe.refuse("adapter", "targets", f"the model has no {missing[0]!r}; it has {', '.join(sorted(there))}")
    config = LoraConfig(
        r=wanted.rank,
        lora_alpha=wanted.alpha,
        lora_dropout=wanted.dropout,
        target_modules=list(wanted.targets),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers in words that it will drop
        torch.manual_seed(recipe.seed)
        return get_peft_model(model, config)


def keep(view: Any, folder: Path) -> None:
    """Writes the adapter alone, as peft loads it."""
    view.save_pretrained(folder)


def merged(model: Any) -> Any:
    """The model with its adapters added to its weights and taken out: an ordinary one again, in place."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, part in list(model.named_modules()):
        if isinstance(part, BaseTunerLayer):
            part.merge()
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, part.get_base_layer())
    model._hf_peft_config_loaded = False
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model
