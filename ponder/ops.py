"""What a search may ask for, and what comes back.

A search is a plain generator: it yields one of these operations, receives the reply, and returns its chains.

    def best_first_step(problem, *, n):
        reply = yield Extend([problem.root], n=n, until="step")
        ratings = yield Score(reply.chains)
        reply = yield Extend(top(reply.chains, ratings, 1), until="end")
        return reply.chains

It holds all its state in local variables and sees no engine, no reference and no clock. Composition is
`yield from`; a test feeds it lists; a run is resumed by feeding the journal back.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ponder.types import Chain, Left, Message, Problem, Rating


@dataclass(frozen=True, slots=True)
class Extend:
    """Write on. Returns `Drawn`: for each chain, in order, `n` (one int, or one a chain) new chains below it,
    always as many as asked. `until` is 'step' (the task's delimiter) or 'end'. `allowance` caps the tokens of
    each new chain; None is min(M, left). `append` adds a segment of kind *given* first. An ended chain comes
    back unchanged, uncharged, once for each time it was asked for."""

    chains: Sequence[Chain]
    n: int | Sequence[int] = 1
    until: Literal["step", "end"] = "end"
    allowance: int | None = None
    append: str | None = None

    def counts(self) -> list[int]:
        """One count a chain. Raises ValueError if `n` and `chains` disagree or a count is negative."""
        counts = [self.n] * len(self.chains) if isinstance(self.n, int) else list(self.n)
        if len(counts) != len(self.chains) or any(c < 0 for c in counts):
            raise ValueError(
                f"Extend: n={self.n!r} does not fit {len(self.chains)} chains; give one int, or one int >= 0 a chain"
            )
        return counts


@dataclass(frozen=True, slots=True)
class Score:
    """Rate chains. Returns `Rated`: one rating a chain. `by` names the scorer; None is the run's own.
    `by='verifier'` is granted only to training."""

    chains: Sequence[Chain]
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A new root with this prompt (revise, aggregate, judge) and `n` ended chains below it. Returns `Drawn`."""

    messages: Sequence[Message]
    n: int = 1
    allowance: int | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """The reply to Extend and Ask: the new chains, parent-major, and what is left for this problem."""

    chains: tuple[Chain, ...]
    left: Left


@dataclass(frozen=True, slots=True)
class Rated(Sequence[Rating]):
    """The reply to Score: one rating a chain, in order; read as a sequence. `left` as in Drawn."""

    ratings: tuple[Rating, ...]
    left: Left

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.ratings[index]

    def __len__(self) -> int:
        return len(self.ratings)

    def __iter__(self) -> Iterator[Rating]:
        return iter(self.ratings)


Operation = Extend | Score | Ask
Reply = Drawn | Rated
Searching = Generator[Operation, "Drawn | Rated", Sequence[Chain]]
"""A search that runs: yields operations, receives replies, returns chains."""
Scoring = Generator[Operation, "Drawn | Rated", Sequence[Rating]]
"""A thinking scorer that runs: as a search, but returns one rating a chain."""
Stop = Callable[[Sequence[Chain], Sequence[Rating] | None, Left], int]
"""A stop rule: given what was drawn, how many to draw next; 0 ends."""
Search = Callable[[Problem], Searching]
"""A search with its settings bound: the registry's builders return these."""


def top(chains: Sequence[Chain], ratings: Sequence[Rating], count: int) -> list[Chain]:
    """The `count` best chains, best first; equal ratings keep their order, unscorable chains come last."""
    order = sorted(range(len(chains)), key=lambda i: (ratings[i].value is None, -(ratings[i].value or 0.0), i))
    return [chains[i] for i in order[:count]]
