"""Both schedules, the journal under them, kill and replay: the same searches, the same decisions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest
from harness import converse, seeded, shape
from test_session import Judge, Length, flat, tree

from ponder.draws import uniform
from ponder.engines.base import Attempts, Request, Result
from ponder.engines.scripted import ScriptedEngine
from ponder.errors import EngineError
from ponder.journal import Journal
from ponder.ledger import Price, Purse
from ponder.ops import Extend, Score, Searching, top
from ponder.scorers.base import Seen
from ponder.types import Budget, Chain, Problem, Rating

NAMES = [f"p{i}" for i in range(7)]


def midway(problem: Problem) -> Searching:
    """Scores in the middle and goes on from the best."""
    reply = yield Extend([problem.root], n=4, until="step")
    ratings = yield Score(reply.chains)  # type: ignore[union-attr]
    reply = yield Extend(top(reply.chains, ratings, 1), n=2)  # type: ignore[union-attr, arg-type]
    return reply.chains  # type: ignore[union-attr]


SEARCHES = pytest.mark.parametrize("search", [flat(5), tree, midway], ids=["sample", "tree", "midway"])


@SEARCHES
@pytest.mark.parametrize("budget", [None, Budget(generated=25)], ids=["free", "tight"])
def test_both_schedules_give_the_same_chains(search: Callable[[Problem], Searching], budget: Budget | None) -> None:
    kinds = [
        converse(search, names=NAMES, schedule=schedule, budget=budget, scorers=[Length("length")], live=live)  # type: ignore[arg-type]
        for schedule, live in (("lockstep", 64), ("lockstep", 2), ("free", 64), ("free", 1))
    ]
    first = [shape(one.chains) for one in kinds[0]]
    assert all(one.failure is None for one in kinds[0]) and any(first)
    for kind in kinds[1:]:
        assert [shape(one.chains) for one in kind] == first
        assert [one.account.spent for one in kind] == [one.account.spent for one in kinds[0]]


@SEARCHES
@pytest.mark.parametrize("schedule", ["lockstep", "free"])
@pytest.mark.parametrize("scorer", [Length("length"), Judge()], ids=["pure", "thinking"])
def test_a_replay_decides_the_same_without_an_engine(
    search: Callable[[Problem], Searching], schedule: str, scorer: object, tmp_path: Path
) -> None:
    path = tmp_path / "journal.jsonl"
    live = converse(search, names=NAMES, schedule=schedule, path=path, scorers=[scorer], budget=Budget(generated=60))  # type: ignore[arg-type, list-item]
    bytes_before = path.read_bytes()
    again = converse(search, names=NAMES, path=path, scorers=[scorer], budget=Budget(generated=60), offline=True)  # type: ignore[list-item]
    assert [shape(one.chains) for one in again] == [shape(one.chains) for one in live]
    assert [one.account.spent for one in again] == [one.account.spent for one in live]
    assert path.read_bytes() == bytes_before


class Moody:
    """Rates otherwise at each call: neither pure nor thinking, so only the journal knows what it said."""

    name, pure = "moody", False
    needs: Mapping[str, str] = MappingProxyType({})

    def __init__(self) -> None:
        self.calls = 0

    def rate(self, seen: Seen, chains: Sequence[Chain]) -> list[Rating]:
        self.calls += 1
        return [Rating(uniform(self.calls, chain.key)) for chain in chains]


@pytest.mark.parametrize("schedule", ["lockstep", "free"])
def test_what_an_impure_scorer_said_is_replayed_not_asked_again(schedule: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    live = converse(tree, names=NAMES, schedule=schedule, path=path, scorers=[Moody()])  # type: ignore[arg-type]
    later = Moody()
    later.calls = 1000
    again = converse(tree, names=NAMES, path=path, scorers=[later], offline=True)
    assert later.calls == 1000
    assert [shape(one.chains) for one in again] == [shape(one.chains) for one in live]


class Dying(ScriptedEngine):
    """Raises, as a killed process would stop, before answer number `after`."""

    def __init__(self, after: int, *, bills: bool = False) -> None:
        super().__init__(seeded, bills=bills)
        self.after = after

    def generate(self, requests):  # type: ignore[no-untyped-def]
        if len(self.calls) >= self.after:
            raise EngineError("killed")
        return super().generate(requests)

    async def ask(self, request: Request, attempts: Attempts) -> Result:
        await asyncio.sleep(0)
        if len(self.calls) >= self.after:
            raise EngineError("killed")
        return await super().ask(request, attempts)


@SEARCHES
@pytest.mark.parametrize("schedule", ["lockstep", "free"])
@pytest.mark.parametrize("after", [0, 1, 2, 5])
def test_a_stopped_run_goes_on_to_the_same_end(
    search: Callable[[Problem], Searching], schedule: str, after: int, tmp_path: Path
) -> None:
    whole = converse(search, names=NAMES, schedule=schedule, scorers=[Length("length")], live=3)  # type: ignore[arg-type]
    path = tmp_path / "journal.jsonl"
    with contextlib.suppress(EngineError):
        converse(search, Dying(after), names=NAMES, schedule=schedule, path=path, scorers=[Length("length")], live=3)  # type: ignore[arg-type]
    engine = ScriptedEngine(seeded)
    resumed = converse(
        search, engine, names=NAMES, schedule=schedule, path=path, scorers=[Length("length")], live=3, retry_errors=True
    )  # type: ignore[arg-type]
    assert [shape(one.chains) for one in resumed] == [shape(one.chains) for one in whole]
    keys = [
        (event["problem"], key)
        for event in Journal(path, readonly=True).all()
        if event["kind"] == "answered"
        for key in event["keys"]
    ]
    assert len(keys) == len(set(keys)), "nothing that was answered is asked for again"


def test_what_was_in_flight_when_a_billing_engine_died_is_charged_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with pytest.raises(EngineError):
        converse(flat(1), Dying(0, bills=True), schedule="free", path=path, cap=10)
    for _ in range(2):
        with pytest.raises(EngineError):
            converse(flat(1), Dying(0, bills=True), schedule="free", path=path, cap=10, retry_errors=True)
    engine = ScriptedEngine(seeded, bills=True)
    (one,) = converse(flat(1), engine, schedule="free", path=path, cap=10, retry_errors=True)
    spent = one.account.spent
    assert spent.estimated == 30 and spent.requests == 4 and spent.generated == 30 + one.chains[0].tokens
    (again,) = converse(flat(1), path=path, cap=10, offline=True)
    assert again.account.spent == spent


def test_a_lost_request_is_not_repeated_beyond_a_hard_limit(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    budget = Budget(generated=15)
    with pytest.raises(EngineError):
        converse(flat(1), Dying(0, bills=True), schedule="free", path=path, cap=10, budget=budget)
    engine = ScriptedEngine(seeded, bills=True)
    (one,) = converse(flat(1), engine, schedule="free", path=path, cap=10, budget=budget, retry_errors=True)
    assert engine.calls == [] and one.chains[0].finish == "refused"


def test_lockstep_batches_all_waiting_searches_in_order() -> None:
    engine = ScriptedEngine(seeded)
    converse(flat(3), engine, names=NAMES, live=4, group=1)
    assert engine.calls == [12, 9]


def test_one_failing_problem_is_a_record_and_the_others_go_on() -> None:
    def search(problem: Problem) -> Searching:
        reply = yield Extend([problem.root], n=1)
        if problem.id == "p2":
            raise ZeroDivisionError("a bug in the search")
        return reply.chains  # type: ignore[union-attr]

    for schedule in ("lockstep", "free"):
        found = converse(search, names=NAMES, schedule=schedule)  # type: ignore[arg-type]
        assert [one.failure for one in found if one.failure] == ["ZeroDivisionError: a bug in the search"]
        assert sum(len(one.chains) for one in found) == len(NAMES) - 1


def test_an_empty_purse_admits_no_further_problem() -> None:
    purse = Purse(Budget(dollars=1e-5), Price(0, 1.0))  # ten tokens
    found = converse(flat(1), names=NAMES, purse=purse, live=1)
    assert 0 < len(found) < len(NAMES) and purse.empty() == "dollars"
    assert purse.spent.dollars == pytest.approx(sum(one.account.spent.dollars for one in found))


def test_free_running_works_inside_a_running_loop() -> None:
    async def main() -> list[object]:
        return [shape(one.chains) for one in converse(flat(2), names=NAMES, schedule="free")]

    assert asyncio.run(main()) == [shape(one.chains) for one in converse(flat(2), names=NAMES)]


def test_the_engine_is_closed_after_a_free_run() -> None:
    engine = ScriptedEngine(seeded)
    converse(flat(1), engine, schedule="free")
    assert engine.closed


class Mixing(Length):
    """Rates chains of several problems in one call; `calls` has the problems of each. It fails on chains of `bad`."""

    pure = False
    mixes = True

    def __init__(self, bad: str = "") -> None:
        object.__setattr__(self, "name", "mixing")
        object.__setattr__(self, "calls", [])
        object.__setattr__(self, "bad", bad)

    def rate(self, seen: Seen, chains: Sequence[Chain]) -> list[Rating]:
        self.calls.append([chain.problem for chain in chains])  # type: ignore[attr-defined]
        if self.bad in [chain.problem for chain in chains]:  # type: ignore[attr-defined]
            raise RuntimeError("cannot read this")
        return [Rating(1 / (1 + len(chain.text)), tokens=len(chain.text)) for chain in chains]


@pytest.mark.parametrize("schedule", ["lockstep", "free"])
def test_a_scorer_that_mixes_is_asked_for_all_that_wait(schedule: str, tmp_path: Path) -> None:
    path, scorer = tmp_path / "journal.jsonl", Mixing()
    found = converse(midway, names=NAMES, schedule=schedule, scorers=[scorer], path=path)  # type: ignore[arg-type]
    alone = [converse(midway, names=[name], scorers=[Mixing()])[0] for name in NAMES]
    assert [shape(one.chains) for one in found] == [shape(one.chains) for one in alone]
    assert [one.account.spent for one in found] == [one.account.spent for one in alone]
    assert all(one.account.spent.scorer > 0 for one in found)
    counts = [len(set(call)) for call in scorer.calls]  # type: ignore[attr-defined]
    assert counts == ([len(NAMES)] if schedule == "lockstep" else [1] * len(NAMES))
    again = converse(midway, names=NAMES, scorers=[Mixing(bad="p3")], path=path, offline=True)
    assert [shape(one.chains) for one in again] == [shape(one.chains) for one in found]  # read, not rated


@pytest.mark.parametrize("live", [1, 2, 3])
def test_those_that_end_on_a_rating_make_room_for_the_next(live: int) -> None:
    def search(problem: Problem) -> Searching:
        reply = yield Extend([problem.root], n=2)
        yield Score(reply.chains)  # type: ignore[union-attr]
        return reply.chains  # type: ignore[union-attr]

    found = converse(search, names=NAMES, scorers=[Mixing()], live=live)
    assert len(found) == len(NAMES) and all(len(one.chains) == 2 for one in found)


def test_a_problem_that_cannot_be_rated_is_a_record_and_the_others_go_on() -> None:
    found = converse(midway, names=NAMES, scorers=[Mixing(bad="p3")])
    assert [one.failure for one in found if one.failure] == ["RuntimeError: cannot read this"]
    good = converse(midway, names=NAMES, scorers=[Mixing()])
    assert [shape(a.chains) for a, b in zip(found, good, strict=True) if not a.failure] == [
        shape(b.chains) for b in good if b.problem.id != "p3"
    ]
