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
        "simulated": Entry(
            "ponder.engines.simulated:build", "a simulated world: no model, known truth (demos, tests, measurement)"
        ),
    },
)
"""`scripted` is for tests and has no name on the command line."""

LATER = ("vllm", "llamacpp", "hf")


def load_engine(
    model: str,
    sampling: Sampling,
    *,
    base_url: str | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    concurrency: int = 16,
    settings: Mapping[str, Any] | None = None,
) -> Engine:
    """The engine that `--model PREFIX:NAME` names. Raises UsageError for an unknown prefix or setting."""
    prefix, colon, name = model.partition(":")
    if not colon or prefix in LATER:
        hint = "serve it (recipes/serve_gguf.py, vLLM, …) and use --model openai:NAME --base-url http://HOST:PORT/v1"
        raise UsageError(f"--model {model}: models run in this process come with a later engine; {hint}")
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
