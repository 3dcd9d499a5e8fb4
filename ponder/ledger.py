"""Who may spend what: one account a problem and arm, one purse a run.

An allowance is granted before dispatch and what was not used comes back when the answer is charged. Hard units
(generated tokens, samples, requests) are reserved, so they are never exceeded. Bounded units (the others) are
looked at before each grant, so they overshoot by at most what was in flight, and the overshoot is reported.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

from ponder.errors import UsageError
from ponder.types import FREE, Budget, Cost, Left

BOUNDED = ("prompt", "cached", "scorer", "seconds", "flops", "dollars")


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars a million tokens. Cached prompt tokens are charged as prompt tokens (an upper bound)."""

    prompt: float
    generated: float

    def dollars(self, cost: Cost) -> float:
        return (cost.prompt * self.prompt + cost.generated * self.generated) / 1e6

    @classmethod
    def parse(cls, text: str) -> Price:
        """'IN,OUT' in dollars a million tokens. Raises UsageError."""
        try:
            prompt, generated = (float(part) for part in text.split(","))
        except ValueError:
            raise UsageError(
                f"--price {text!r}: give IN,OUT in dollars a million tokens, for example 0.15,0.60"
            ) from None
        if not (0 <= prompt < float("inf") and 0 <= generated < float("inf")):
            raise UsageError(f"--price {text!r}: both prices must be finite and at least 0")
        return cls(prompt, generated)


class Purse:
    """What a whole run may spend (`--dollars`, `--seconds`) and has spent, each draw counted once.

    `spent` may start above zero: a resumed run has paid already.
    """

    def __init__(
        self, limit: Budget | None = None, price: Price | None = None, *, clock: Callable[[], float] = time.monotonic
    ):
        self.limit = limit or Budget()
        if self.limit.dollars is not None and price is None:
            raise UsageError("a dollar limit needs a price; add --price IN,OUT (dollars a million tokens)")
        self.price = price
        self.spent = FREE
        self._clock = clock
        self._started = clock()

    def priced(self, cost: Cost) -> Cost:
        """The same cost with its dollars filled in, if the price is known."""
        if self.price is None:
            return cost
        return dataclasses.replace(cost, dollars=self.price.dollars(cost))

    def charge(self, cost: Cost) -> None:
        self.spent = self.spent + cost

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._started

    def empty(self) -> str | None:
        """The unit that ended the run, or None while it may go on."""
        if self.limit.seconds is not None and self.elapsed >= self.limit.seconds:
            return "seconds"
        for unit in BOUNDED:
            limit = getattr(self.limit, unit)
            if unit != "seconds" and limit is not None and getattr(self.spent, unit) >= limit:
                return unit
        return None

    def overshoot(self) -> dict[str, float]:
        """By how much each bounded unit went past its limit."""
        spent = dataclasses.replace(self.spent, seconds=self.elapsed)
        over = {u: getattr(spent, u) - limit for u in BOUNDED if (limit := getattr(self.limit, u)) is not None}
        return {unit: value for unit, value in over.items() if value > 0}


class Account:
    """One problem's budget under one arm: grants allowances, takes refunds.

    Between `reserve` and `settle` an allowance is spoken for, so that what is spent plus what is reserved never
    passes a hard limit.
    """

    def __init__(self, limit: Budget | None = None, purse: Purse | None = None) -> None:
        self.limit = limit or Budget()
        self.purse = purse or Purse()
        self.spent = FREE
        self._tokens = 0
        self._samples = 0
        self._requests = 0
        self._retries = (0, 0)
        self._limited = self.limit != Budget()

    def fork(self) -> Account:
        """A copy that spends on its own: what one selector's scorer costs is not another's."""
        twin = Account(self.limit, self.purse)
        twin.spent = self.spent
        return twin

    def left(self) -> Left:
        """What a search may still ask for."""
        return self.limit.left(self.spent) if self._limited else UNLIMITED

    def offer(self, want: int, *, leaf: bool, request: bool) -> int:
        """The allowance that a chain wanting `want` tokens would get now: 0 if any unit has run out."""
        if self.purse.empty():
            return 0
        if not self._limited:
            return want
        limit, spent = self.limit, self.spent
        if leaf and limit.samples is not None and limit.samples - spent.samples - self._samples < 1:
            return 0
        if request and limit.requests is not None and limit.requests - spent.requests - self._requests < 1:
            return 0
        for unit in BOUNDED:
            bound = getattr(limit, unit)
            if bound is not None and getattr(spent, unit) >= bound:
                return 0
        if limit.generated is None:
            return want
        return max(0, min(want, limit.generated - spent.generated - self._tokens))

    def reserve(self, allowance: int, *, leaf: bool, request: bool) -> None:
        self._tokens += allowance
        self._samples += leaf
        self._requests += request

    def release(self, allowance: int, *, leaf: bool, request: bool) -> None:
        self._tokens -= allowance
        self._samples -= leaf
        self._requests -= request

    def charge(self, cost: Cost) -> None:
        self.spent = self.spent + cost

    def retry(self, lost: int, requests: int = 1) -> bool:
        """Whether a request may be tried again after `requests` attempts that cost `lost` tokens. If so, those stay
        reserved, beside the request to come, until the wave ends and they are charged with the answer."""
        if self.purse.empty():
            return False
        limit, spent = self.limit, self.spent
        if limit.requests is not None and limit.requests - spent.requests - self._requests < requests:
            return False
        if limit.generated is not None and limit.generated - spent.generated - self._tokens < lost:
            return False
        self._tokens += lost
        self._requests += requests
        self._retries = (self._retries[0] + lost, self._retries[1] + requests)
        return True

    def end_wave(self) -> None:
        """Gives back what retries had reserved; the session charges them next."""
        tokens, requests = self._retries
        self._tokens -= tokens
        self._requests -= requests
        self._retries = (0, 0)


UNLIMITED = Left()
