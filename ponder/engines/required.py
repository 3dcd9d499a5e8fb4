"""What each engine must at least declare: a promise to whoever chose it, so taking one back is a visible change.

The page docs/reference/engines.md shows the promises beside what the engines declare, and the conformance suite
(tests/engines) fails if an engine declares less or the page says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ponder.engines.base import Capabilities


@dataclass(frozen=True, slots=True)
class Promise:
    """`bills` and `schedule` are exact, `has` names the capabilities that must be there; more may be declared."""

    bills: bool
    schedule: Literal["lockstep", "free"]
    has: tuple[str, ...]


REQUIRED = {
    "openai, chat": Promise(True, "free", ("steps", "logprobs", "n", "seed", "temperature")),
    "openai, completions": Promise(True, "free", ("continues", "steps", "logprobs", "n", "seed", "temperature")),
    "hf": Promise(False, "lockstep", ("continues", "steps", "ids", "logprobs", "n", "seed", "temperature", "context")),
    "simulated": Promise(False, "lockstep", ("continues", "steps", "logprobs", "n", "seed")),
    "scripted": Promise(False, "lockstep", ("continues", "steps", "ids", "logprobs", "n", "seed", "temperature")),
}
"""By the columns of the page: with default settings, and a model loaded or a server that refuses nothing."""


def missing(name: str, capabilities: Capabilities) -> list[str]:
    """The fields in which `capabilities` break the promise of engine `name`; none if it is kept."""
    promise = REQUIRED[name]
    exact = [field for field in ("bills", "schedule") if getattr(capabilities, field) != getattr(promise, field)]
    return exact + [capability for capability in promise.has if not getattr(capabilities, capability)]
