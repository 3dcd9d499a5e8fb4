"""The nouns: what is asked, what was written, what it cost, what was found.

A leaf file: it imports nothing of ponder, and everything else imports it. All nouns are frozen, so a
search may keep them, share them between arms and hand them back without a copy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["thought", "answer", "hidden", "given"]
"""Who wrote a segment, and for whom: visible reasoning, the answer, reasoning that was billed but never
shown (no text), or text that a search put there (no log-prob, masked in every loss)."""

Finish = Literal["stop", "step", "length", "budget", "refused", "error"]
"""Why a chain stands where it does. `step`: it can go on. `stop`: the model ended it. `length`: it reached
the cap a chain or the context. `budget`: the ledger cut it. `refused`: nothing was left to draw it with;
`error`: the engine failed. The last two carry no text."""

TRUNCATED: frozenset[str] = frozenset({"length", "budget"})
NOT_DRAWN: frozenset[str] = frozenset({"refused", "error"})


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a prompt. `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of text by one writer. `ids` and `logprobs` have one entry a token, or are None where the engine
    has none; they are never made up. `tokens` is what was billed for it."""

    text: str
    kind: Kind = "answer"
    ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Chain:
    """One chain of thought, or the root (no segments) from which chains grow.

    `key` is the path of (operation, index) that wrote it, joined by '/': '' is the problem's root, 'e3' the
    fourth chain drawn to its end from there, 's0/s2' the third step below the first. `tokens` counts what was
    billed for the last extension alone, so the tokens of a tree are the sum over its chains. `state` is where a chain
    that ended at a step stands, in the task's words (`Rules.state`): chains with equal states may be merged. Of a
    finished chain it is where it stood before its last step. It is None for a root, and where the task cannot tell.
    """

    problem: str
    key: str = ""
    prompt: tuple[Message, ...] = ()
    segments: tuple[Segment, ...] = ()
    finish: Finish | None = None
    answer: str | None = None
    tokens: int = 0
    policy: str = ""
    reason: str = ""
    state: str | None = None

    @property
    def parent(self) -> str:
        """The key of the chain that this one extends."""
        return self.key.rpartition("/")[0]

    @property
    def ended(self) -> bool:
        """True if extending it would return it unchanged."""
        return self.finish is not None and self.finish != "step"

    @property
    def drawn(self) -> bool:
        return self.finish not in NOT_DRAWN

    @property
    def truncated(self) -> bool:
        return self.finish in TRUNCATED

    @property
    def text(self) -> str:
        """Everything that can be read, in order: thoughts, given text and answer."""
        return "".join(s.text for s in self.segments)

    @property
    def reply(self) -> str:
        """What the model gave as its answer: the text without visible thoughts. Answers are read here."""
        return "".join(s.text for s in self.segments if s.kind != "thought")

    @property
    def logprobs(self) -> tuple[float, ...] | None:
        """Log-probs of the tokens that the model wrote, or None if any visible segment lacks them."""
        found: list[float] = []
        for segment in self.segments:
            if segment.kind in ("given", "hidden"):
                continue
            if segment.logprobs is None:
                return None
            found += segment.logprobs
        return tuple(found)


def lineage(key: str) -> list[str]:
    """The keys on the way from the root '' to a chain, its own last."""
    parts = key.split("/")
    return ["", *("/".join(parts[: depth + 1]) for depth in range(len(parts)))] if key else [""]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is asked. It carries no reference answer: the task keeps that, so no search can cheat.

    `messages` is the prompt as the task words it; `text` and the task's fixed words are all that it holds.
    """

    id: str
    text: str
    messages: tuple[Message, ...] = ()
    domain: str | None = None

    @property
    def root(self) -> Chain:
        """The empty chain from which every search starts."""
        return Chain(problem=self.id, prompt=self.messages or (Message("user", self.text),))


@dataclass(frozen=True, slots=True)
class Rating:
    """A scorer's view of one chain, in [0, 1], higher is better. None: cannot be scored (sorted last, no
    weight). `steps` holds the ratings of its steps so far, if the scorer has them. `tokens` is what the scorer's own
    models read for it; what they read for several ratings at once, such as a prompt, is spread over these, so that the
    sum is what was read. It is no part of the view: ratings that differ in nothing else are equal."""

    value: float | None
    steps: tuple[float | None, ...] = ()
    tokens: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier found, always with its reason. `unverified` is the instrument's failure, never a guess."""

    verdict: Literal["correct", "wrong", "unverified"]
    reason: str
    reward: float = 0.0

    @property
    def correct(self) -> bool | None:
        return None if self.verdict == "unverified" else self.verdict == "correct"


def correct(reason: str, reward: float = 1.0) -> Verdict:
    return Verdict("correct", reason, reward)


def wrong(reason: str, reward: float = 0.0) -> Verdict:
    return Verdict("wrong", reason, reward)


def unverified(reason: str) -> Verdict:
    return Verdict("unverified", reason)


@dataclass(frozen=True, slots=True)
class Cost:
    """What was spent. Costs add.

    `generated`: tokens that the policy wrote, hidden thoughts and lost attempts included. `prompt`: tokens read,
    of which `cached` were read from the server's cache. `scorer`: all tokens of scorers. `samples`: leaves
    delivered. `requests`: attempts, failed ones too. `seconds`: wall time from asking to answer, summed over
    requests. `flops`: forward passes, where the engine knows them. `estimated`: the part of `generated` whose
    usage never came and which was charged as its whole allowance.
    """

    generated: int = 0
    prompt: int = 0
    cached: int = 0
    scorer: int = 0
    samples: int = 0
    requests: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    dollars: float = 0.0
    estimated: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.generated + other.generated,
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.scorer + other.scorer,
            self.samples + other.samples,
            self.requests + other.requests,
            self.seconds + other.seconds,
            self.flops + other.flops,
            self.dollars + other.dollars,
            self.estimated + other.estimated,
        )

    def as_dict(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in UNITS}

    def nonzero(self) -> dict[str, float]:
        """Only what was spent, for records."""
        return {name: value for name in UNITS if (value := getattr(self, name))}


UNITS = tuple(f.name for f in dataclasses.fields(Cost))
FREE = Cost()


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits in the units of Cost; None is no limit.

    `generated`, `samples` and `requests` are hard: never exceeded. The others are bounded: they overshoot by at
    most what is in flight when they are reached.
    """

    generated: int | None = None
    prompt: int | None = None
    cached: int | None = None
    scorer: int | None = None
    samples: int | None = None
    requests: int | None = None
    seconds: float | None = None
    flops: float | None = None
    dollars: float | None = None

    def left(self, spent: Cost) -> Left:
        """What remains after `spent`, unit by unit, never below 0; infinite where there is no limit."""
        rest = {
            f.name: INFINITE if (limit := getattr(self, f.name)) is None else max(0, limit - getattr(spent, f.name))
            for f in dataclasses.fields(self)
        }
        return Left(**rest)


INFINITE = float("inf")


@dataclass(frozen=True, slots=True)
class Left:
    """One problem's remaining units as plain numbers; infinite where there is no limit."""

    generated: float = INFINITE
    prompt: float = INFINITE
    cached: float = INFINITE
    scorer: float = INFINITE
    samples: float = INFINITE
    requests: float = INFINITE
    seconds: float = INFINITE
    flops: float = INFINITE
    dollars: float = INFINITE


Classes = Callable[[Sequence[str | None]], list[int | None]]
"""Groups answers: the same number for equal answers, None for an abstention. It comes from the task."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a selector gives: the answer, the chain that stands for it, and how sure it is.

    `confidence` is the selector's own measure in [0, 1] (vote share of the chains drawn, or score), None if it
    has none. `tied`: how many answers shared the first place.
    """

    answer: str | None
    chain: Chain | None
    confidence: float | None
    tied: int = 1


NOTHING = Choice(None, None, None, 0)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an engine draws. `max_tokens` is M, the cap a chain."""

    temperature: float = 0.8
    max_tokens: int = 1024
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    effort: str | None = None
    extra: dict[str, object] = field(default_factory=dict)
