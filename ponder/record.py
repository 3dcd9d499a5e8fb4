"""One problem's draws: everything that was asked and answered for it, from the journal and from this run.

A draw is found by its key and allowance, not by the arm that wanted it, so arms share what is equal; and a
replayed search finds in the record exactly what it was given the first time.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ponder.engines.base import Output, Request, Result
from ponder.errors import UsageError
from ponder.journal import Event, Journal
from ponder.types import FREE, NOT_DRAWN, Chain, Cost, Rating, Segment, Verdict

LOST = "the run stopped before the answer came"
ANY = ""
"""The version of a rating in journals that did not say which text they meant."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One chain's output, the allowance it was drawn under and the request that it came with."""

    output: Output
    allowance: int
    request: int


@dataclass(slots=True)
class Record:
    """The draws of one problem. `overhead` is what each request cost beyond its outputs' tokens, failed attempts
    included; an arm that uses any of a request's draws is charged all of it, once. `firsts`: each request's first
    key. `lost`: what requests without an answer have cost, by their first key. `short` counts the answers that did not
    hold a draw (servers that ignore n), which a replay meets again one by one. `scores`: what scorers that are not pure
    said, by (scorer, key) and then by what the chain was (`_version`)."""

    problem: str
    journal: Journal
    draws: dict[str, list[Draw]] = field(default_factory=dict)
    overhead: list[Cost] = field(default_factory=list)
    firsts: list[str] = field(default_factory=list)
    lost: dict[str, Cost] = field(default_factory=dict)
    short: Counter[tuple[str, int]] = field(default_factory=Counter)
    scores: dict[tuple[str, str], dict[str, Rating]] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    @classmethod
    def load(cls, problem: str, journal: Journal, *, retry_errors: bool = False, repair: bool = True) -> Record:
        """The record as the journal has it. With `retry_errors` (a resumed run) draws that the engine failed
        at, or had no budget left to repeat, are left out, so that they are asked for again; what they cost stays.
        With `repair` a request that was asked and never answered is journalled as failed, so that it is charged
        once. Raises UsageError if an event is damaged."""
        record = cls(problem, journal)
        asked: dict[str, tuple[int, int]] = {}
        for event in journal.events(problem):
            try:
                record._apply(event, asked, retry_errors)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise UsageError(
                    f"{journal.path}: an event of problem {problem!r} is damaged ({type(error).__name__}: {error}); "
                    "restore the journal from a copy, or start a new run"
                ) from None
        for key, (count, tokens) in asked.items():
            for _ in range(count):  # in flight when the run was killed: its usage will never come
                lost = Cost(generated=tokens, requests=1, estimated=tokens)
                record.lost[key] = record.lost.get(key, FREE) + lost
                if repair:
                    journal.append(_failed(problem, [key], tokens, lost, LOST))
        return record

    @property
    def spent(self) -> Cost:
        """All that this problem has cost the run so far, each draw and each rating once."""
        total = sum((*self.overhead, *self.lost.values()), FREE)
        outputs = [draw.output for draws in self.draws.values() for draw in draws]
        return total + Cost(
            generated=sum(o.tokens for o in outputs),
            samples=sum(o.finish not in NOT_DRAWN for o in outputs),
            scorer=sum(rating.tokens for versions in self.scores.values() for rating in versions.values()),
        )

    def _apply(self, event: Event, asked: dict[str, tuple[int, int]], retry_errors: bool) -> None:
        kind = event["kind"]
        if kind == "scored":
            rating = Rating(event["value"], tuple(event["steps"]), int(event.get("tokens", 0)))
            self.scores.setdefault((event["scorer"], event["key"]), {})[event.get("chain", ANY)] = rating
        elif kind == "verdict":
            self.verdicts[event["key"]] = Verdict(event["verdict"], event["reason"], event["reward"])
        elif kind in ("asked", "failed", "answered"):
            first = event["keys"][0]
            count, tokens = asked.get(first, (0, 0))
            asked[first] = (
                (count + 1, event["allowance"] * len(event["keys"])) if kind == "asked" else (max(0, count - 1), tokens)
            )
            if kind == "failed":
                self.lost[first] = self.lost.get(first, FREE) + Cost(**event["cost"])
            elif kind == "answered":
                self._answered(event, retry_errors)

    def _answered(self, event: Event, retry_errors: bool) -> None:
        first = event["keys"][0]
        overhead = Cost(**event["overhead"])
        outputs = [_output(o) for o in event["outputs"]]
        self.take_lost(event["keys"])  # the answer's overhead holds it
        if retry_errors and any(o.finish in NOT_DRAWN for o in outputs):
            self.lost[first] = overhead
            return
        self._add(event["keys"], event["allowance"], outputs, overhead)

    def _add(self, keys: Sequence[str], allowance: int, outputs: Sequence[Output], overhead: Cost) -> None:
        number = len(self.overhead)
        self.overhead.append(overhead)
        self.firsts.append(keys[0])
        for key, output in zip(keys, outputs, strict=False):
            known = self.draws.setdefault(key, [])
            for draw in [d for d in known if d.allowance == allowance and d.output.finish in NOT_DRAWN]:
                known.remove(draw)  # a resumed run asked again; what the failure cost went with its first key
                if key == self.firsts[draw.request]:
                    self.overhead[draw.request] = FREE
            known.append(Draw(output, allowance, number))
        self.short.update((key, allowance) for key in keys[len(outputs) :])

    def take_lost(self, keys: Iterable[str]) -> Cost:
        """What requests for any of these keys cost without an answer; it is then no longer lost, but in the
        overhead of the answer to come. (A resumed run may put several lost requests into one.)"""
        found = FREE
        for key in keys:
            if key in self.lost:
                found = found + self.lost.pop(key)
        return found

    def find(self, key: str, allowance: int) -> Draw | None:
        """The draw for a key under an allowance: the one drawn under exactly it, else one that ended within it
        by itself (drawing again with another cap would have given the same)."""
        draws = self.draws.get(key)
        if draws is None:
            return None
        for draw in draws:
            if draw.allowance == allowance:
                return draw
        for draw in draws:
            if draw.output.finish in ("stop", "step") and draw.output.tokens <= allowance:
                return draw
        return None

    def rating(self, scorer: str, chain: Chain) -> Rating | None:
        """What a scorer said of this very chain, if it is known."""
        known = self.scores.get((scorer, chain.key), {})
        return known.get(_version(chain), known.get(ANY))

    def rated(self, scorer: str, chain: Chain, rating: Rating) -> Event:
        """Adds a rating of this run and returns the event that records it."""
        version = _version(chain)
        self.scores.setdefault((scorer, chain.key), {})[version] = rating
        return {
            "kind": "scored",
            "problem": self.problem,
            "scorer": scorer,
            "key": chain.key,
            "chain": version,
            "value": rating.value,
            "steps": list(rating.steps),
            "tokens": rating.tokens,
        }

    def answer(self, request: Request, result: Result, failed: Cost) -> Event:
        """Adds a result of this run and returns the event that records it. `failed` is what failed attempts of
        the request cost."""
        overhead = failed + result.overhead
        self._add(request.keys, request.allowance, result.outputs, overhead)
        for key in request.keys[len(result.outputs) :]:
            del self.short[key, request.allowance]  # only a replay meets them
        return {
            "kind": "answered",
            "problem": self.problem,
            "keys": list(request.keys),
            "allowance": request.allowance,
            "outputs": [_row(o) for o in result.outputs],
            "overhead": overhead.nonzero(),
            **({"sent": result.sent} if result.sent else {}),
        }


def _version(chain: Chain) -> str:
    """Tells chains of one key apart: under another allowance, an arm's draw may have another text or end."""
    text = f"{chain.finish}\x1f{chain.text}"
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=6).hexdigest()


def asked(request: Request) -> Event:
    return {"kind": "asked", "problem": request.problem, "keys": list(request.keys), "allowance": request.allowance}


def failed(request: Request, cost: Cost, why: str) -> Event:
    return _failed(request.problem, list(request.keys), request.allowance, cost, why)


def _failed(problem: str, keys: list[str], allowance: int, cost: Cost, why: str) -> Event:
    return {
        "kind": "failed",
        "problem": problem,
        "keys": keys,
        "allowance": allowance,
        "cost": cost.nonzero(),
        "why": why,
    }


def _row(output: Output) -> dict[str, Any]:
    """An output as the journal has it; what is absent or default is left out."""
    row: dict[str, Any] = {
        "finish": output.finish,
        "tokens": output.tokens,
        "segments": [_segment(s) for s in output.segments],
    }
    if output.reason:
        row["reason"] = output.reason
    if output.apportioned:
        row["apportioned"] = True
    return row


def _segment(segment: Segment) -> dict[str, Any]:
    row: dict[str, Any] = {"text": segment.text, "kind": segment.kind, "tokens": segment.tokens}
    if segment.ids is not None:
        row["ids"] = segment.ids
    if segment.logprobs is not None:
        row["logprobs"] = segment.logprobs
    return row


def _output(row: dict[str, Any]) -> Output:
    segments = tuple(
        Segment(
            s["text"],
            s["kind"],
            tuple(s["ids"]) if "ids" in s else None,
            tuple(s["logprobs"]) if "logprobs" in s else None,
            s["tokens"],
        )
        for s in row["segments"]
    )
    return Output(segments, row["finish"], row["tokens"], row.get("reason", ""), row.get("apportioned", False))
