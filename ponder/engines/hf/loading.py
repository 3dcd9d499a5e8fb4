"""A model with its tokenizer, from a folder or the hub, on the device at hand."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ponder.errors import CapabilityError, UsageError

INSTALL = "pip install 'ponder[local]'"


@dataclass(frozen=True, slots=True)
class Loaded:
    """`ends`: the tokens that end a chain. `context`: tokens that prompt and chain may have together."""

    model: Any
    tokenizer: Any
    ends: frozenset[int]
    context: int


def installed() -> None:
    """Raises UsageError with the install line if torch or transformers is absent."""
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"models in this process need {' and '.join(missing)}: {INSTALL}")
    # Threads that spin while they wait make everything ten times slower beside one busy neighbour. It must be said
    # before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def device(wanted: str) -> Any:
    """The torch device: 'auto' is the first GPU, else the CPU. Raises UsageError for one that is not there."""
    import torch

    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        found = torch.device(wanted)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UsageError(f"--set device={wanted}: no such device here; use auto or cpu") from None
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars: ours are the only ones."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def load(name: str, *, dtype: str, shorter: str, device: Any, revision: str) -> Loaded:
    """`dtype` 'auto' keeps a float32 checkpoint as it is and loads any other in the type `shorter`.

    Raises UsageError if the folder is absent or holds no model, or the hub cannot be reached or lacks it, and
    CapabilityError for a model that keeps something else than keys and values."""
    import torch
    from huggingface_hub.utils import logging as hub
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    _exists(name)
    options: dict[str, Any] = {"revision": revision} if revision else {}
    heard = hub.get_verbosity()
    hub.set_verbosity(40)  # errors alone: its retries would be lines before our one
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(name, **options)
            if dtype == "auto":
                stored = AutoConfig.from_pretrained(name, **options).dtype
                dtype = "float32" if stored in (None, torch.float32) else shorter
            model = AutoModelForCausalLM.from_pretrained(name, dtype=getattr(torch, dtype), **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        told = " ".join(str(error).split())[:300]
        raise UsageError(f"--model {name}: cannot be loaded: {told}; give a transformers checkpoint") from None
    finally:
        hub.set_verbosity(heard)
    return prepared(name, model.to(device).eval(), tokenizer)


def prepared(name: str, model: Any, tokenizer: Any) -> Loaded:
    """A model that is already there, as the engine takes it. Raises CapabilityError as `load`."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if kinds or getattr(model, "_is_stateful", False):
        what = ", ".join(sorted(kinds)) or "a recurrent state"
        raise CapabilityError(
            f"--model {name}: its layers keep {what}, not keys and values for each token; serve it with vLLM "
            "and use --model openai:NAME"
        )
    return Loaded(model, tokenizer, _ends(model, tokenizer), _context(config))


def _exists(name: str) -> None:
    path = Path(name).expanduser()
    if path.is_file() or path.suffix == ".gguf":
        hint = "serve it (recipes/serve_gguf.py) and use --model openai:NAME --base-url http://HOST:PORT/v1"
        raise UsageError(f"--model {name}: a file, not a checkpoint folder; {hint}")
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UsageError(f"--model {name}: the folder has no config.json; give a transformers checkpoint")
    elif name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise UsageError(
            f"--model {name}: no such folder; give a checkpoint's folder, a hub id OWNER/NAME, or openai:NAME"
        )


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    found: set[int] = set()
    for value in (getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id):
        found |= set(value) if isinstance(value, (list, tuple)) else set() if value is None else {value}
    return frozenset(found)


def _context(config: Any) -> int:
    """Positions of the model; within a sliding window if it has one, since beyond it the cache would be wrong."""
    positions = int(getattr(config, "max_position_embeddings", None) or 1 << 20)
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    slides = "sliding_attention" in kinds if kinds else bool(getattr(config, "use_sliding_window", True))
    return min(positions, int(window)) if window and slides else positions
