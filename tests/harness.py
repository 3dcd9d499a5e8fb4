"""What the spine's tests share: a one-search conversation, and a script whose text is a function of the seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ponder.driver import Driver, Schedule
from ponder.engines.base import Engine, Request
from ponder.engines.scripted import Reply, ScriptedEngine
from ponder.journal import Journal
from ponder.ledger import Account, Purse
from ponder.ops import Searching
from ponder.record import Record
from ponder.scorers.base import Scorer
from ponder.session import Session, Setting
from ponder.tasks.base import Rules
from ponder.types import Budget, Chain, Message, Problem


class LastWord(Rules):
    """The answer is the last word, if it is a number."""

    kind = "test"

    def extract(self, text: str) -> str | None:
        words = text.split()
        return words[-1] if words and words[-1].isdigit() else None

    def canonical(self, answer: str) -> str:
        return str(int(answer))


def problem(name: str = "p") -> Problem:
    return Problem(name, f"say something about {name}", (Message("user", f"about {name}"),))


def seeded(request: Request, index: int) -> Reply:
    """A few steps of a few words, ended by a number: a function of the seed and of how far the chain is."""
    draw = random.Random(request.seeds[index])
    words = ["alpha", "beta", "gamma"]
    steps = [" ".join(draw.choices(words, k=draw.randint(1, 5))) for _ in range(draw.randint(1, 3))]
    return Reply("\n\n".join([*steps, f"so {draw.randint(0, 3)}"]), logprob=-draw.random())


@dataclass
class One:
    """A conversation of one search on one problem; what came of it lies in `chains`, `session` and `failure`."""

    problem: Problem
    search: Callable[[Problem], Searching]
    record: Record
    account: Account
    setting: Setting
    scorers: dict[str, Scorer] = field(default_factory=dict)
    default: str | None = None
    chains: Sequence[Chain] = ()
    session: Session | None = None
    failure: str | None = None

    def play(self) -> Any:
        self.session = Session(
            self.problem, LastWord(), self.account, self.record, self.setting, self.scorers, self.default
        )
        self.chains = yield from self.session.run(self.search(self.problem))
        return self

    def fail(self, reason: str) -> One:
        self.failure = reason
        return self


def converse(
    search: Callable[[Problem], Searching],
    engine: Engine | None = None,
    *,
    names: Iterable[str] = ("p",),
    schedule: Schedule | None = None,
    budget: Budget | None = None,
    purse: Purse | None = None,
    path: Path | None = None,
    scorers: Sequence[Scorer] = (),
    live: int = 64,
    offline: bool = False,
    cap: int = 1024,
    retry_errors: bool = False,
    group: int = 8,
) -> list[One]:
    """Runs a search on every problem; returns the conversations in the problems' order."""
    engine = engine if engine is not None or offline else ScriptedEngine(seeded, cap=cap)
    purse = purse or Purse()
    journal = Journal(path, readonly=offline)
    if path is not None and not offline and not journal.header:
        mode = schedule or (engine.capabilities.schedule if engine else "lockstep")
        journal.append({"kind": "run", "schedule": mode}, commit=mode == "lockstep")
    setting = Setting(seed=5, cap=cap, group=lambda: group, policy="scripted", offline=offline)
    default = scorers[0].name if scorers else None
    made: list[One] = []

    def source() -> Iterable[One]:
        for name in names:
            record = Record.load(name, journal, retry_errors=retry_errors)
            account = Account(budget, purse)
            one = One(problem(name), search, record, account, setting, {s.name: s for s in scorers}, default)
            made.append(one)
            yield one

    try:
        driver: Driver[One] = Driver(
            None if offline else engine, journal, purse, lambda one: None, live=live, schedule=schedule
        )
        driver.run(source())
    finally:
        journal.close()
    return made


def shape(chains: Sequence[Chain]) -> list[tuple[str, str, str | None, int]]:
    """What must be the same in a replay."""
    return [(chain.key, chain.text, chain.finish, chain.tokens) for chain in chains]
