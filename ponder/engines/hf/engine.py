"""`--model PATH`: a transformers checkpoint in this process, in lockstep batches through the sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from ponder.engines.base import Attempts, Capabilities, Request, Result
from ponder.engines.hf import loading
from ponder.errors import UsageError, unknown
from ponder.types import Chain, Sampling

DTYPES = ("auto", "float32", "bfloat16", "float16")
SMALL = 20_000_000  # parameters below which a step costs the same for many more rows
MEMORY = 0.25  # of the device's memory for live rows, and half as much for the tree cache


def declared(context: int | None = None, *, exact: bool = True, rows: int = 64) -> Capabilities:
    """What a model in this process can do: everything, in lockstep. `exact`: it computes in float32, so that what
    else is in the batch does not change a draw beyond round-off; in shorter types it does."""
    return Capabilities(
        bills=False,
        schedule="lockstep",
        continues=True,
        steps=True,
        ids=True,
        logprobs=True,
        n=True,
        seed=exact,
        context=context,
        batch=2 * rows,
    )


def build(
    name: str,
    sampling: Sampling,
    *,
    dtype: str = "auto",
    device: str = "auto",
    threads: int = 0,
    rows: int = 0,
    positions: int = 0,
    tree: int = 0,
    chat: bool = True,
    revision: str = "",
) -> HFEngine:
    """The engine of a checkpoint folder or hub id; 0 and 'auto' are chosen for the machine.

    `threads`: of the CPU. `rows`: sequences drawn at once; `positions`: their tokens together, and `tree`: the tree
    cache's, in tokens. `chat`: prompts go through the model's chat template, if it has one. Raises UsageError for a
    value out of range, an absent model or extra, CapabilityError for a model without keys and values."""
    if dtype not in DTYPES:
        raise unknown("--set dtype:", dtype, DTYPES)
    for key, value in {"threads": threads, "rows": rows, "positions": positions, "tree": tree}.items():
        if value < 0:
            raise UsageError(f"--set {key}={value}: must be at least 1 (0 chooses for this machine)")
    if sampling.effort is not None:
        raise UsageError("--effort is for servers that know it; leave it out for a model in this process")
    loading.installed()
    import torch

    where = loading.device(device)
    shorter = "bfloat16"  # than float32, for a checkpoint that is stored so
    if where.type == "cpu":
        from ponder.engines.hf.probe import probe

        found = probe()
        shorter = found["dtype"]
        torch.set_num_threads(threads or found["threads"])
    loaded = loading.load(name, dtype=dtype, shorter=shorter, device=where, revision=revision)
    return HFEngine(loaded, sampling, name=name, rows=rows, positions=positions, tree=tree, chat=chat)


class HFEngine:
    """Draws from a loaded model. `model` and `tokenizer` are transformers' own; `policy` names the weights."""

    def __init__(
        self,
        loaded: loading.Loaded,
        sampling: Sampling,
        *,
        name: str,
        rows: int = 0,
        positions: int = 0,
        tree: int = 0,
        chat: bool = True,
    ) -> None:
        import torch

        from ponder.engines.hf.forward import Forward
        from ponder.engines.hf.reader import Reader
        from ponder.engines.hf.sampler import Limits, Sampler
        from ponder.engines.hf.text import Texts
        from ponder.engines.hf.tree import TreeCache

        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.name = self.policy = name
        self._ends, self._sampling = loaded.ends, sampling
        self._forward = Forward(loaded.model)
        rows = rows or (512 if self._forward.shape.weights < SMALL else 64)
        fits = int(MEMORY * memory(self._forward.device) / bytes_a_token(loaded.model))
        self.limits = Limits(rows, positions or max(fits, 1024))
        self.tree = TreeCache(tree or max(fits // 2, 1024))
        self._sampler = Sampler(self._forward, sampling, self.limits, self.tree)
        self._reader = Reader(self._forward, self.tree)
        self._texts = Texts.of(loaded.tokenizer, loaded.model, chat)
        dtype = str(loaded.model.dtype).removeprefix("torch.")
        self.capabilities = declared(loaded.context, exact=dtype == "float32", rows=rows)
        self.facts = {
            "device": str(self._forward.device),
            "dtype": dtype,
            "threads": torch.get_num_threads(),
            "rows": self.limits.rows,
            "positions": self.limits.positions,
        }

    @property
    def processed(self) -> int:
        """Tokens that went through the model so far."""
        return self._forward.processed

    def update_weights(self, parameters: Mapping[str, Any], version: str) -> None:
        """Copies tensors into the model by name, in place; `version` becomes part of the policy's name.

        What was computed with the old weights is forgotten. Raises ValueError for a name that the model does not have
        or another shape; then nothing is changed."""
        import torch

        own = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        for key, value in parameters.items():
            if key not in own:
                raise ValueError(f"the model has no parameter {key!r}")
            if own[key].shape != value.shape:
                raise ValueError(f"{key}: shape {tuple(value.shape)}, the model has {tuple(own[key].shape)}")
        with torch.no_grad():
            for key, value in parameters.items():
                own[key].copy_(value)
        self.renew(version)

    def renew(self, version: str) -> None:
        """Says that the model's weights have changed in place (it is being trained): what was computed with the old
        ones is forgotten."""
        self.tree.clear()
        self.policy = f"{self.name}@{version}"

    def generate(self, requests: Sequence[Request]) -> list[Result]:
        """Draws a batch. Requests that go on from the same chain share its computation."""
        from ponder.engines.hf.batch import Batch

        began = perf_counter()
        batch = Batch(requests, self._texts, self.capabilities.context or 0, self._sampling.max_tokens)
        for part in batch.parts():
            part.drawn = self._sampler.draw(part.prefixes, part.rows, self._ending(part.delimiter))
        return batch.results(self._forward.shape, perf_counter() - began)

    def logits(self, chains: Sequence[Chain], at: Sequence[Sequence[int]]) -> list[Any]:
        """Logits float32 [len(at[i]), V] of each chain at token positions at[i] (of prompt and chain, from 0), for
        scorers and tests. Position t holds the prediction of token t + 1. Only what the tree cache lacks before the
        first of them is computed. Raises IndexError for a position that the chain does not have."""
        from ponder.engines.hf.reader import Text

        ids = [self._texts.ids(chain) for chain in chains]
        keys = [(chain.problem, chain.key) for chain in chains]
        return self._reader.outputs([Text(i, k, keep=False) for i, k in zip(ids, keys, strict=True)], at)

    def ids(self, chain: Chain) -> tuple[int, ...]:
        """The token ids of a chain with its prompt."""
        return self._texts.ids(chain)

    async def ask(self, request: Request, attempts: Attempts) -> Result:
        """Answers one request, alone: correct, but without what batches save."""
        return self.generate([request])[0]

    async def close(self) -> None:
        pass

    def _ending(self, delimiter: str | None) -> Any:
        from ponder.engines.hf.sampler import Ending

        marks = self._texts.marks(delimiter, self._ends, self._forward.device)
        complete = self._texts.completes(delimiter) if delimiter is not None else None
        return Ending(self._ends, marks, complete)


def bytes_a_token(model: Any) -> int:
    """Of keys and values: 2 · layers · heads · width · bytes."""
    from ponder.models.forms import head_width

    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * head_width(config) * model.dtype.itemsize)


def memory(device: Any) -> int:
    """Bytes that the device has, all told, so that limits do not depend on what else runs."""
    import os

    import torch

    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 << 30
