"""Engines: where tokens come from. One file each, one line here; the prefix of `--model` names one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ponder.engines.base import Engine
from ponder.errors import UsageError, unknown
from ponder.registry import Entry, Registry
from ponder.types import Sampling

ENGINES = Registry(
    "engine",
    {
        "openai": Entry("ponder.engines.openai:OpenAIEngine", "any server with OpenAI's chat or completions interface"),
        "hf": Entry("ponder.engines.hf.engine:build", "a transformers checkpoint in this process: folder or hub id"),
        "simulated": Entry(
            "ponder.engines.simulated:build", "a simulated world: no model, known truth (demos, tests, measurement)"
        ),
    },
)
"""`scripted` is for tests and has no name on the command line."""

LATER = ("vllm", "llamacpp")


def load_engine(
    model: str,
    sampling: Sampling,
    *,
    base_url: str | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    concurrency: int = 16,
    settings: Mapping[str, Any] | None = None,
) -> Engine:
    """The engine that `--model PREFIX:NAME` names; a path or hub id without prefix is a model in this process.
    Raises UsageError for an unknown prefix or setting."""
    prefix, colon, name = model.partition(":")
    if prefix in LATER:
        hint = "serve it (recipes/serve_gguf.py, vLLM, …) and use --model openai:NAME --base-url http://HOST:PORT/v1"
        raise UsageError(f"--model {model}: {prefix} in this process comes with a later version; {hint}")
    if not colon or _is_path(model):
        prefix, name = "hf", model
    if prefix not in ENGINES:
        raise unknown("engine", prefix, ENGINES, where=f"--model {model}: ")
    if not name:
        raise UsageError(
            f"--model {model}: no name after the colon; for example openai:gpt-4o-mini or simulated:school"
        )
    if prefix == "openai":
        server = ENGINES.load(prefix)
        options = dict(settings or {})
        return cast(
            Engine,
            server(
                name,
                base_url=base_url,
                api_key_env=api_key_env,
                sampling=sampling,
                concurrency=concurrency,
                options=options,
            ),
        )
    if base_url:
        raise UsageError(f"--base-url is for --model openai:NAME, not {model}; leave it out")
    return cast(Engine, ENGINES.build(prefix, name, sampling, settings=settings))


def _is_path(model: str) -> bool:
    """A path may hold a colon; a prefix holds no slash."""
    return "/" in model.partition(":")[0] or model.startswith((".", "~"))
