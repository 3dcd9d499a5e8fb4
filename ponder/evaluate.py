"""Accuracy against cost: every arm over a task, in one run folder.

Rows and samples are a pure function of the journal and the recipe, so a killed run goes on where it was, and
`replay` reads other selectors and stop rules off an old one without an engine.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
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
    refused: int = 0
    cost: Cost = FREE

    def add(self, given: Given) -> None:
        self.problems += 1
        self.right += given.verdict.correct is True
        self.unverified += given.verdict.correct is None
        self.truncated += given.truncated
        self.refused += given.refused
        self.cost = self.cost + given.cost


@dataclass(slots=True)
class Run:
    """A finished or interrupted run: a tally an arm, the run's own cost (each draw once), and what did not go well.
    `unstarted` names the first of the `not_started` problems."""

    arms: list[Arm]
    tallies: dict[str, Tally]
    cost: Cost = FREE
    failures: dict[str, str] = field(default_factory=dict)
    not_started: int = 0
    unstarted: list[str] = field(default_factory=list)
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
        group=lambda: _group(engine),
        policy=engine.policy if engine else journal.header.get("policy", ""),
        offline=engine is None,
    )
    bench = Bench(plan.task, plan.parts, setting, plan.budget, purse, journal, retry_errors=resumed)
    if resumed:
        for problem in journal.problems():
            purse.charge(purse.priced(Record.load(problem, journal, retry_errors=True, repair=False).spent))
    done = Run(plan.parts.arms, {arm.name: Tally() for arm in plan.parts.arms}, label=label(engine, plan, purse))
    writer = _Samples(samples)

    def unstarted(problem: str) -> None:
        done.not_started += 1
        if len(done.unstarted) < NAMED:
            done.unstarted.append(problem)

    def sink(finding: Finding) -> None:
        if not finding.started:
            return unstarted(finding.problem)
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
    problems = iter(plan.task.problems(plan.limit))
    try:
        driver.run(bench.ask(problem) for problem in problems)
        done.digest = writer.finish()
    finally:
        writer.close()
    for rest in problems:
        unstarted(rest.id)
    done.cost, done.overshoot = purse.spent, purse.overshoot()
    done.ended_by = purse.empty() if done.not_started or done.overshoot else None
    return done


GROUP = 64
"""Most chains that one request may ask for, where the engine takes n and does not say how many."""
NAMED = 10
"""How many of the problems that were not started are named."""


def _group(engine: Engine | None) -> int:
    """How many chains one request may ask for now: a server may turn out to give fewer than it was asked for."""
    if engine is None or not engine.capabilities.n:
        return 1
    return engine.capabilities.choices or GROUP


class _Samples:
    """samples.jsonl, a problem at a time as they are found, in the order of the problems' ids at the end."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: int | None = None
        self._blocks: list[tuple[str, int, int]] = []  # (problem, offset, size)
        self._end = 0
        if path is not None:
            try:
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            except OSError as error:
                raise storage_error(path, error) from None

    def write(self, finding: Finding) -> None:
        if self._file is None or not finding.rows:
            return
        data = "".join(dumps(row) + "\n" for row in finding.rows).encode()
        self._put(self._file, data)
        self._blocks.append((finding.problem, self._end, len(data)))
        self._end += len(data)

    def _put(self, file: int, data: bytes) -> None:
        try:
            written = os.write(file, data)
            while written < len(data):
                written += os.write(file, data[written:])
        except OSError as error:
            raise storage_error(self._path, error) from None

    def finish(self) -> str:
        """Puts the rows in order, so that the same draws give the same bytes whatever came first, and returns their
        digest: it is the file's own sha256."""
        whole = hashlib.sha256()
        if self._file is None or self._path is None:
            return ""
        ordered = sorted(self._blocks)
        part = self._path.with_name(f".{self._path.name}.part") if ordered != self._blocks else None
        try:
            to = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644) if part else None
            try:
                for _, offset, size in ordered:
                    data = os.pread(self._file, size, offset)
                    whole.update(data)
                    if to is not None:
                        self._put(to, data)
            finally:
                if to is not None:
                    os.close(to)
            if part:
                os.replace(part, self._path)
        except OSError as error:
            if part:
                part.unlink(missing_ok=True)
            raise storage_error(self._path, error) from None
        return whole.hexdigest()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
