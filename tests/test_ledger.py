"""Budgets: hard units are never exceeded, whatever is granted, refunded, lost and tried again, in whatever order."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ponder.errors import UsageError
from ponder.ledger import Account, Price, Purse
from ponder.types import Budget, Cost, Left


@dataclass
class Open:
    """A grant that is not settled, and what its failed attempts have cost. `refused`: no further one may be made."""

    allowance: int
    lost: int = 0
    failures: int = 0
    refused: bool = False


class Grants(RuleBasedStateMachine):
    """An account as the session and the driver use it: waves of grants, attempts that fail, answers that use less than
    was granted. `paid` is the server's own count, which may never pass a limit."""

    tokens: int | None = None
    samples: int | None = None
    requests: int | None = None

    def __init__(self) -> None:
        super().__init__()
        limit = Budget(generated=self.tokens, samples=self.samples, requests=self.requests)
        self.account = Account(limit)
        self.wave: list[Open] = []
        self.sent = False
        self.paid = Cost()

    @precondition(lambda self: not self.sent)
    @rule(want=st.integers(1, 60))
    def grant(self, want: int) -> None:
        allowance = self.account.offer(want, leaf=True, request=True)
        assert 0 <= allowance <= want
        if allowance:
            self.account.reserve(allowance, leaf=True, request=True)
            self.wave.append(Open(allowance))

    @precondition(lambda self: any(not one.refused for one in self.wave))
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """An attempt is lost: its whole allowance was billed, a part of it, or nothing. Without leave it ends there."""
        self.sent = True
        one = data.draw(st.sampled_from([one for one in self.wave if not one.refused]))
        lost = data.draw(st.sampled_from([0, one.allowance, one.allowance // 2]))
        one.lost += lost
        one.failures += 1
        self.paid += Cost(generated=lost, requests=1)
        one.refused = not self.account.retry(lost)

    @precondition(lambda self: self.wave)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """All that may still be answered is; what was not used comes back."""
        answers = [0 if one.refused else data.draw(st.integers(0, one.allowance)) for one in self.wave]
        for one, tokens in zip(self.wave, answers, strict=True):
            self.paid += Cost(generated=tokens, requests=not one.refused, samples=not one.refused)
        self.within()  # the server's count holds before anything is settled
        self.account.end_wave()
        for one, tokens in zip(self.wave, answers, strict=True):
            self.account.release(one.allowance, leaf=True, request=True)
            drawn = int(not one.refused)
            self.account.charge(Cost(generated=one.lost + tokens, requests=one.failures + drawn, samples=drawn))
        self.wave.clear()
        self.sent = False

    @invariant()
    def within(self) -> None:
        for cost in (self.paid, self.account.spent):
            assert self.tokens is None or cost.generated <= self.tokens
            assert self.samples is None or cost.samples <= self.samples
            assert self.requests is None or cost.requests <= self.requests

    @invariant()
    def nothing_is_forgotten(self) -> None:
        """Once a wave is settled, what was charged is what was paid, and all the rest may be granted again."""
        if not self.wave and not self.sent:
            assert self.account.spent == self.paid
            if self.tokens is not None and self.samples is None and self.requests is None:
                rest = self.tokens - self.paid.generated
                assert self.account.offer(10**9, leaf=True, request=True) == rest
                assert self.account.left().generated == rest
            if self.tokens is not None and self.samples is not None and self.requests is not None:
                more = self.paid.generated < self.tokens and self.paid.requests < self.requests
                assert (self.account.offer(1, leaf=False, request=True) == 1) == more


class TokenGrants(Grants):
    tokens = 100


class AllGrants(Grants):
    tokens, samples, requests = 200, 7, 9


class FreeGrants(Grants):
    pass


for machine in (TokenGrants, AllGrants, FreeGrants):
    machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTokens = TokenGrants.TestCase
TestAll = AllGrants.TestCase
TestFree = FreeGrants.TestCase


@given(
    limit=st.integers(0, 300),
    wants=st.lists(st.integers(1, 100), max_size=20),
    spend=st.floats(0, 1),
)
def test_grants_in_index_order_use_all_that_is_left(limit: int, wants: list[int], spend: float) -> None:
    account = Account(Budget(generated=limit))
    granted = []
    for want in wants:
        allowance = account.offer(want, leaf=True, request=True)
        account.reserve(allowance, leaf=True, request=True)
        granted.append(allowance)
    assert sum(granted) == min(limit, sum(wants))
    first = next((i for i, (g, w) in enumerate(zip(granted, wants, strict=True)) if g < w), len(wants))
    assert granted[:first] == wants[:first]
    assert not any(granted[first + 1 :])
    for allowance in granted:
        account.release(allowance, leaf=True, request=True)
        account.charge(Cost(generated=int(allowance * spend)))
    assert account.left().generated == limit - account.spent.generated >= 0


def test_a_lost_request_of_an_earlier_run_needs_room_for_all_its_attempts() -> None:
    account = Account(Budget(requests=4, generated=100))
    account.reserve(10, leaf=True, request=True)
    assert not account.retry(20, requests=4)  # five requests in all
    assert account.retry(20, requests=3)
    assert account.offer(100, leaf=True, request=True) == 0  # no request is left
    assert account.offer(100, leaf=True, request=False) == 70
    account.end_wave()
    assert account.offer(100, leaf=True, request=False) == 90


def test_samples_and_requests_end_the_grants_by_themselves() -> None:
    account = Account(Budget(samples=2, requests=5))
    for _ in range(2):
        assert account.offer(8, leaf=True, request=True) == 8
        account.reserve(8, leaf=True, request=True)
    assert account.offer(8, leaf=True, request=True) == 0
    assert account.offer(8, leaf=False, request=True) == 8  # a prefix that goes on is no new sample
    assert account.left() == Left(samples=2, requests=5)  # what is reserved is not spent yet


@pytest.mark.parametrize("unit", ["prompt", "cached", "scorer", "flops", "dollars"])
def test_a_bounded_unit_ends_the_grants_once_it_is_reached(unit: str) -> None:
    account = Account(Budget(**{unit: 10}))
    assert account.offer(8, leaf=True, request=True) == 8
    account.charge(Cost(**{unit: 9}))
    assert account.offer(8, leaf=True, request=True) == 8
    account.charge(Cost(**{unit: 5}))  # what was in flight took it past the limit
    assert account.offer(8, leaf=True, request=True) == 0
    assert getattr(account.left(), unit) == 0


def test_a_fork_spends_on_its_own() -> None:
    account = Account(Budget(generated=100))
    account.charge(Cost(generated=30))
    twin = account.fork()
    twin.charge(Cost(generated=50, scorer=7))
    assert account.spent == Cost(generated=30)
    assert twin.spent == Cost(generated=80, scorer=7)
    assert (account.left().generated, twin.left().generated) == (70, 20)


# --- the purse of a run -----------------------------------------------------------------------------------------------


def test_dollars_are_reached_and_the_overshoot_is_told() -> None:
    purse = Purse(Budget(dollars=0.01), Price(1.0, 2.0))
    cost = purse.priced(Cost(prompt=1000, generated=2000))
    assert cost.dollars == pytest.approx(0.005)
    purse.charge(cost)
    assert (purse.empty(), purse.overshoot()) == (None, {})
    account = Account(purse=purse)
    assert account.offer(9, leaf=True, request=True) == 9
    purse.charge(cost)
    assert purse.empty() == "dollars"
    assert account.offer(9, leaf=True, request=True) == 0
    assert not account.retry(0)
    purse.charge(cost)
    assert purse.overshoot() == {"dollars": pytest.approx(0.005)}


def test_seconds_are_wall_time() -> None:
    now = [100.0]
    purse = Purse(Budget(seconds=5), clock=lambda: now[0])
    purse.charge(Cost(seconds=60))  # many requests at once: their sum is no wall time
    assert purse.empty() is None
    now[0] += 5
    assert purse.empty() == "seconds"
    now[0] += 2
    assert purse.overshoot() == {"seconds": 2.0}


def test_a_dollar_limit_needs_a_price() -> None:
    with pytest.raises(UsageError, match="--price"):
        Purse(Budget(dollars=1))
    assert Purse(Budget(seconds=1)).priced(Cost(generated=5)).dollars == 0


@pytest.mark.parametrize("text", ["1", "1,2,3", "a,b", "1,-1", "nan,1", "1,inf", ""])
def test_a_bad_price_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="--price"):
        Price.parse(text)


@given(
    st.lists(st.integers(0, 10**6), min_size=10, max_size=10), st.lists(st.integers(0, 10**6), min_size=10, max_size=10)
)
def test_costs_add_unit_by_unit(left: list[int], right: list[int]) -> None:
    names = [f.name for f in dataclasses.fields(Cost)]
    one, two = Cost(*left), Cost(*right)
    assert [getattr(one + two, name) for name in names] == [a + b for a, b in zip(left, right, strict=True)]
    assert Cost(**one.nonzero()) == one
