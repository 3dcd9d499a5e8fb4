"""Accuracy against cost: every arm over a task, in one run folder.

Rows and samples are a pure function of the journal and the recipe, so a killed run goes on where it was, and
`replay` reads other selectors and stop rules off an old one without an engine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ponder.arms import Arm, Parts
from ponder.driver import Driver, Schedule
from ponder.engines.base import Engine, require
from ponder.errors import storage_error
from ponder.journal import Journal, dumps
from ponder.ledger import Purse
from ponder.question import Bench, Finding, Given
from ponder.record import Record
from ponder.session import Setting
from ponder.tasks.base import Task
from ponder.types import FREE, Budget, Cost, Sampling


@dataclass(slots=True)
class Tally:
    """What an arm has come to so far."""

    problems: int = 0
    right: int = 0
    unverified: int = 0
    truncated: int = 0
    cost: Cost = FREE

    def add(self, given: Given) -> None:
        self.problems += 1
        self.right += given.verdict.correct is True
        self.unverified += given.verdict.correct is None
        self.truncated += given.truncated
        self.cost = self.cost + given.cost


@dataclass(slots=True)
class Run:
    """A finished or interrupted run: a tally an arm, the run's own cost (each draw once), and what did not go well."""

    arms: list[Arm]
    tallies: dict[str, Tally]
    cost: Cost = FREE
    failures: dict[str, str] = field(default_factory=dict)
    not_started: int = 0
    ended_by: str | None = None
    overshoot: dict[str, float] = field(default_factory=dict)
    digest: str = ""
    label: str = "replay"

    @property
    def sound(self) -> bool:
        """Whether every problem got its verdicts."""
        return not self.failures and not self.not_started and not any(t.unverified for t in self.tallies.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run needs but the engine. `live` is W; `schedule` None leaves it to the engine."""

    task: Task
    parts: Parts
    sampling: Sampling
    budget: Budget
    seed: int = 0
    limit: int | None = None
    live: int = 64
    schedule: Schedule | None = None


Watch = Callable[[str, Any], None]
"""Told ('answered', (request, result)), ('delta', (request, text)) and ('found', finding), for progress and streams."""


def check(engine: Engine, name: str, parts: Parts) -> None:
    """Refuses an impossible combination before the first request. Raises CapabilityError."""
    hints = {
        "logprobs": "choose another --scorer, or a server that gives log-probs",
        "continues": "use --set api=completions",
    }
    require(engine.capabilities, name, parts.needs, hints)


def label(engine: Engine | None, plan: Plan, purse: Purse) -> str:
    """The promise that a run can keep: replay, schedule or none (see design.md, 'Promises are labelled')."""
    if engine is None:
        return "replay"
    schedule = plan.schedule or engine.capabilities.schedule
    timed = purse.limit.seconds is not None
    return (
        "schedule"
        if engine.capabilities.seed and schedule == "lockstep" and not engine.capabilities.bills and not timed
        else "none"
    )


def run(
    plan: Plan,
    engine: Engine | None,
    journal: Journal,
    purse: Purse,
    samples: Path | None,
    *,
    resumed: bool = False,
    watch: Watch | None = None,
) -> Run:
    """Runs every arm over every problem. Without an engine it replays the journal. `samples` is written anew: a row a
    chain, a problem at a time. Raises what the driver raises; the samples of problems that were finished stay."""
    setting = Setting(
        seed=plan.seed,
        cap=plan.sampling.max_tokens,
        group=lambda: GROUP if engine is not None and engine.capabilities.n else 1,
        policy=engine.policy if engine else journal.header.get("policy", ""),
        offline=engine is None,
    )
    bench = Bench(plan.task, plan.parts, setting, plan.budget, purse, journal, retry_errors=resumed)
    if resumed:
        for problem in journal.problems():
            purse.charge(purse.priced(Record.load(problem, journal, retry_errors=True, repair=False).spent))
    done = Run(plan.parts.arms, {arm.name: Tally() for arm in plan.parts.arms}, label=label(engine, plan, purse))
    writer = _Samples(samples)
    counted = 0

    def sink(finding: Finding) -> None:
        nonlocal counted
        counted += 1
        if finding.failure is not None:
            done.failures[finding.problem] = finding.failure
        for name, given in finding.given.items():
            done.tallies[name].add(given)
        writer.write(finding)
        if watch:
            watch("found", finding)

    driver = Driver(
        engine,
        journal,
        purse,
        sink,
        live=plan.live,
        schedule=plan.schedule,
        watch=(lambda request, result: watch("answered", (request, result))) if watch else None,
        delta=(lambda request, text: watch("delta", (request, text))) if watch else None,
    )
    asked = 0

    def questions() -> Iterator[Any]:
        nonlocal asked
        for problem in plan.task.problems(plan.limit):
            asked += 1
            yield bench.ask(problem)

    try:
        driver.run(questions())
    finally:
        writer.close()
    done.cost, done.ended_by, done.overshoot = purse.spent, purse.empty(), purse.overshoot()
    total = len(plan.task) if plan.limit is None else plan.limit
    done.not_started = max(0, total - counted) if done.ended_by else 0
    done.digest = digest(samples) if samples else ""
    return done


GROUP = 64
"""Most chains that one request may ask for, where the engine takes n."""


class _Samples:
    """samples.jsonl, a problem at a time."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file = None
        if path is not None:
            try:
                self._file = open(path, "w", encoding="utf-8")
            except OSError as error:
                raise storage_error(path, error) from None

    def write(self, finding: Finding) -> None:
        if self._file is None or not finding.rows:
            return
        try:
            self._file.write("".join(dumps(row) + "\n" for row in finding.rows))
            self._file.flush()
        except OSError as error:
            raise storage_error(self._path, error) from None

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


def digest(samples: Path) -> str:
    """sha256 of the sample rows, sorted by (problem, sample), sorted keys, compact JSON, without times."""
    index: list[tuple[str, int, int]] = []
    whole = hashlib.sha256()
    with open(samples, "rb") as file:
        offset = 0
        for line in file:
            row = json.loads(line)
            index.append((row["problem"], row["sample"], offset))
            offset += len(line)
        for _, _, offset in sorted(index):
            file.seek(offset)
            whole.update(file.readline())  # rows are written compact, with sorted keys, and hold no times
    return whole.hexdigest()
