"""The shared flags, each defined once; a command names those it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

FLAGS: dict[str, dict[str, Any]] = {
    "model": {"metavar": "ENGINE:NAME", "help": "The model: openai:NAME (any compatible server) or simulated:WORLD."},
    "base-url": {"metavar": "URL", "help": "The server's address, up to /v1."},
    "api-key-env": {
        "metavar": "NAME",
        "help": "The environment variable that holds the API key. [default: OPENAI_API_KEY]",
    },
    "task": {
        "metavar": "NAME|PATH",
        "help": "A registered task, or a JSONL or CSV file with problem and reference. [default: text]",
    },
    "search": {"metavar": "NAMES", "help": "Which chains get written. [default: sample]"},
    "select": {"metavar": "NAMES", "help": "Which answer is given: vote, best, weighted. [default: vote]"},
    "scorer": {"metavar": "NAMES", "help": "Scores for best and weighted: confidence, random, planted."},
    "stop": {"metavar": "NAMES", "help": "When enough has been drawn: fixed, adaptive. [default: fixed]"},
    "samples": {"metavar": "N[,N…]", "help": "Chains a problem. [default: 1]"},
    "tokens": {"metavar": "N", "help": "Most generated tokens a problem and arm; never exceeded."},
    "max-tokens": {"metavar": "N", "help": "Most tokens a chain. [default: 1024]"},
    "seconds": {"metavar": "S", "help": "Wall time for the whole run."},
    "dollars": {"metavar": "D", "help": "Dollars for the whole run; needs --price."},
    "price": {"metavar": "IN,OUT", "help": "Dollars a million prompt and generated tokens."},
    "temperature": {"metavar": "T", "help": "Sampling temperature. [default: 0.8]"},
    "effort": {"metavar": "LEVEL", "help": "Reasoning effort, for servers that know it."},
    "concurrency": {"metavar": "N", "help": "Requests in flight at once. [default: 16]"},
    "seed": {"metavar": "N", "help": "Seed of all randomness. [default: 0]"},
    "limit": {"metavar": "N", "help": "Only the first N problems."},
    "out": {"metavar": "DIR", "help": "The run folder. [default: runs/NAME-TIME]"},
    "set": {
        "metavar": "KEY=VALUE",
        "multiple": True,
        "help": "Any other setting: NAME.key of a part, or a key of the engine (see docs).",
    },
}


def shared(*names: str) -> Callable[[Command], Command]:
    """Adds the named flags; their values arrive as text, for `Settings` to read."""

    def add(command: Command) -> Command:
        for name in reversed(names):
            command = click.option(f"--{name}", name.replace("-", "_"), **FLAGS[name])(command)
        return command

    return add
