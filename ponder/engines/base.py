"""What an engine is: it renders prompts and produces tokens, and says beforehand what it can do.

An engine serves one of two schedules, or both: `generate` takes one batch and returns when all of it is done
(lockstep: local models); `ask` answers one request and may be called many times at once (free-running:
servers). It never decides how much may be spent: each request carries its allowance, and a further attempt
needs the driver's permission (`Attempts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ponder.errors import CapabilityError
from ponder.types import Chain, Cost, Finish, Segment


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine declares. A search or scorer that needs more is refused before the first request.

    `bills`: asking costs money or quota, so a request that was asked and never answered is charged.
    `schedule`: what the driver uses unless told otherwise. `continues`: can write on from a chain that it did not
    just write (trees). `steps`: can stop at a delimiter. `ids`, `logprobs`: gives token ids, log-probs.
    `n`: one request may give several chains, `choices` of them at most if that is known. `seed`: draws are a
    function of the seeds that it is given.
    `context`: tokens that prompt and chain may have together, if known. `concurrency`: requests that may be in
    flight at once, None: any number. `batch`: about how many chains one lockstep batch should have, None: any number.
    """

    bills: bool
    schedule: Literal["lockstep", "free"]
    continues: bool = False
    steps: bool = False
    ids: bool = False
    logprobs: bool = False
    n: bool = False
    choices: int | None = None
    seed: bool = False
    temperature: bool = True
    context: int | None = None
    concurrency: int | None = None
    batch: int | None = None


@dataclass(slots=True)
class Request:
    """One call: `len(keys)` new chains below `chain`, each of at most `allowance` tokens.

    `keys` and `seeds` have one entry a chain; seeds come from the driver's counter. `stop` is the delimiter if the
    chains end at a step, else None. `scope` names the thinking scorer that asks, '' for the search.
    """

    problem: str
    chain: Chain
    keys: tuple[str, ...]
    seeds: tuple[int, ...]
    allowance: int
    stop: str | None = None
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """One new chain's part: what was written below the parent. `tokens` is billed, hidden thoughts included;
    `apportioned` says that it is this chain's share of a total that the server gave for several."""

    segments: tuple[Segment, ...]
    finish: Finish
    tokens: int
    reason: str = ""
    apportioned: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one request. `outputs` may be fewer than the keys asked for (a server that ignores n): the
    driver asks again for the rest. `overhead` is what the request cost beyond the outputs' own tokens: prompt
    and cached tokens, attempts, seconds, and tokens of failed attempts. `sent` is what really went out."""

    outputs: tuple[Output, ...]
    overhead: Cost
    sent: dict[str, Any] = field(default_factory=dict)


class Attempts(Protocol):
    """The driver's side of a retry, for engines that can fail."""

    def failed(self, cost: Cost, why: str) -> bool:
        """Charges a failed attempt and asks for another: True if the budget has room for it."""
        ...

    def delta(self, text: str) -> None:
        """Shows a piece of text as it is written; engines that stream call it."""
        ...


class Engine(Protocol):
    """A source of tokens. `policy` names the weights that write; it is recorded on every chain."""

    policy: str

    @property
    def capabilities(self) -> Capabilities: ...

    def generate(self, requests: Sequence[Request]) -> list[Result]:
        """Answers a batch, in order (lockstep)."""
        ...

    async def ask(self, request: Request, attempts: Attempts) -> Result:
        """Answers one request (free-running). Raises EngineError if no request can succeed."""
        ...

    async def close(self) -> None: ...


NEEDS = {
    "continues": "writing on from a chain (trees)",
    "steps": "stopping at a step",
    "ids": "token ids",
    "logprobs": "log-probs",
    "seed": "seeded draws",
    "n": "several chains to a request",
    "temperature": "a temperature",
    "context": "a known context",
}


def require(
    capabilities: Capabilities, engine: str, needs: dict[str, str], hints: dict[str, str] | None = None
) -> None:
    """Checks {capability: who needs it}. Raises CapabilityError that names the first one missing."""
    for capability, who in needs.items():
        if not getattr(capabilities, capability):
            hint = (hints or {}).get(capability, "choose another engine (the docs table 'Engines' says which has it)")
            raise CapabilityError(
                f"{who} needs '{capability}' ({NEEDS[capability]}), which {engine} does not have; {hint}"
            )
