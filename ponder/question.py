"""One problem of a run: every arm's search, selection and verdict, and the rows that record them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ponder.arms import Arm, Group, Parts, scored
from ponder.journal import Journal
from ponder.ledger import Account, Purse
from ponder.record import Record
from ponder.select import tie
from ponder.session import Answers, Session, Setting, Wave
from ponder.tasks.base import Task
from ponder.types import Budget, Chain, Choice, Cost, Problem, Rating, Verdict, lineage, unverified, wrong

NO_ANSWER = "no chain gave an answer"


@dataclass(frozen=True, slots=True)
class Given:
    """What one arm gave for one problem. `truncated` counts its chains that a cap cut, `refused` those that were
    wanted and not drawn: the budget or the run's limit had ended, or a replayed journal does not hold them."""

    choice: Choice
    verdict: Verdict
    cost: Cost
    truncated: int
    refused: int = 0
    chains: tuple[Chain, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a run found for one problem: sample rows, and what each arm gave. `failure`: why there is nothing.
    `started` is False if nothing was drawn or spent because the run's limit was reached before (or, in a replay,
    because the journal holds nothing of it): such a problem counts in no arm."""

    problem: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    given: dict[str, Given] = field(default_factory=dict)
    failure: str | None = None
    started: bool = True


@dataclass(frozen=True, slots=True)
class Bench:
    """What the questions of a run share."""

    task: Task
    parts: Parts
    setting: Setting
    budget: Budget
    purse: Purse
    journal: Journal
    retry_errors: bool = False

    def ask(self, problem: Problem) -> Question:
        return Question(problem, self)


class Question:
    """A conversation of the driver: one problem under every arm, one search after the other."""

    def __init__(self, problem: Problem, bench: Bench) -> None:
        self.problem = problem
        self.record = Record.load(problem.id, bench.journal, retry_errors=bench.retry_errors)
        self._bench = bench
        self._rules = bench.task.rules(problem.id)
        self._verdicts: dict[str, Verdict] = {}
        self.account = self._account()

    def _account(self) -> Account:
        return Account(self._bench.budget, self._bench.purse)

    def fail(self, reason: str) -> Finding:
        return Finding(self.problem.id, failure=reason)

    def play(self) -> Generator[Wave, Answers, Finding]:
        given: dict[str, Given] = {}
        sheet = _Sheet()
        for group in self._bench.parts.groups:
            self.account = self._account()
            scorers = self._bench.parts.scorers
            own = group.scorer or (next(iter(scorers)) if len(scorers) == 1 else None)
            session = Session(self.problem, self._rules, self.account, self.record, self._bench.setting, scorers, own)
            search = self._bench.parts.search(group, self._rules)
            chains = yield from session.run(search(self.problem))
            sheet.add(group, session)
            for arm in group.arms:
                given[arm.name] = yield from self._choose(arm, session, chains)
                sheet.picked(arm, given[arm.name].choice)
        verdicts = {chain.key: self._verdict(chain) for chain in sheet.leaves()}
        return Finding(self.problem.id, sheet.rows(self.problem, verdicts), given, started=self._started(given))

    def _started(self, given: dict[str, Given]) -> bool:
        wanted = any(found.chains for found in given.values())
        return bool(not wanted or self.record.overhead or self.record.lost)

    def _choose(self, arm: Arm, session: Session, chains: Sequence[Chain]) -> Generator[Wave, Answers, Given]:
        """One arm's answer, among the chains that were drawn. Its scorer is paid from a fork of the account: another
        arm does not pay for it."""
        before = session.account
        drawn = [chain for chain in chains if chain.drawn]
        ratings = None
        if arm.scorer and scored([arm.select]):  # else the search alone has asked it
            self.account = session.account = before.fork()
            ratings = list((yield from session.rate(drawn, arm.scorer)))
        spent = session.account.spent
        self.account = session.account = before
        classes = self._rules.classes([chain.answer for chain in drawn])
        choice = self._bench.parts.selectors[arm.select](
            drawn, ratings, classes, tie(self._bench.setting.seed, self.problem.id)
        )
        return Given(
            choice,
            self._judged(choice, chains, session),
            spent,
            sum(c.truncated for c in chains),
            sum(c.finish == "refused" for c in chains),
            tuple(chains),
        )

    def _judged(self, choice: Choice, chains: Sequence[Chain], session: Session) -> Verdict:
        if choice.chain is not None:
            return self._verdict(choice.chain)
        if chains and not any(chain.drawn for chain in chains):  # the model was never heard to an end
            failed = [chain for chain in chains if chain.finish == "error"]
            if failed or not session.spent_up:
                return unverified((failed or chains)[0].reason)
        return wrong(NO_ANSWER)

    def _verdict(self, chain: Chain) -> Verdict:
        if chain.key not in self._verdicts:
            self._verdicts[chain.key] = self._verified(chain)
        return self._verdicts[chain.key]

    def _verified(self, chain: Chain) -> Verdict:
        if chain.finish == "error":
            return unverified(chain.reason)
        if not chain.ended:
            return wrong("pruned before it ended")
        if self._rules.pure:
            return self._judge(chain)
        if (verdict := self.record.verdicts.get(chain.key)) is None:
            verdict = self._judge(chain)
            event = {"kind": "verdict", "problem": self.problem.id, "key": chain.key}
            known = {"verdict": verdict.verdict, "reason": verdict.reason, "reward": verdict.reward}
            self._bench.journal.append(event | known, commit=True)
        return verdict

    def _judge(self, chain: Chain) -> Verdict:
        try:
            return self._bench.task.verify(self.problem.id, chain.reply)
        except Exception as error:  # a verifier that breaks is the instrument's failure, never the model's
            return unverified(f"the verifier raised {type(error).__name__}: {error}")


class _Sheet:
    """Collects the chains of a problem over its arms and writes their rows, one a leaf."""

    def __init__(self) -> None:
        self._chains: dict[str, Chain] = {}
        self._arms: dict[str, list[str]] = {}
        self._picked: dict[str, list[str]] = {}
        self._scores: dict[str, dict[str, float | None]] = {}
        self._ratings: dict[tuple[str, str], Rating] = {}
        self._scorers: dict[str, str | None] = {}  # that the search which wrote a chain asked

    def add(self, group: Group, session: Session) -> None:
        self._session = session
        self._ratings |= session.ratings
        for key, chain in session.written.items():
            self._chains.setdefault(key, chain)
            self._scorers.setdefault(key, session.scorer)
            self._arms.setdefault(key, []).extend(arm.name for arm in group.arms)

    def picked(self, arm: Arm, choice: Choice) -> None:
        for (scorer, key), rating in self._session.ratings.items():
            self._scores.setdefault(key, {})[scorer] = rating.value
        if choice.chain is not None:
            self._picked.setdefault(choice.chain.key, []).append(arm.name)

    def leaves(self) -> list[Chain]:
        parents = {chain.parent for chain in self._chains.values()}
        return [chain for key, chain in self._chains.items() if key not in parents]

    def rows(self, problem: Problem, verdicts: dict[str, Verdict]) -> list[dict[str, Any]]:
        """Sample rows (schema 1). `tokens` counts a shared prefix in the first row that has it."""
        counted: set[str] = set()
        rows = []
        for number, chain in enumerate(self.leaves()):
            row = self._row(chain, verdicts[chain.key])
            row |= {"problem": problem.id, "sample": number, "tokens": self._new_tokens(chain, counted)}
            if problem.domain:
                row["domain"] = problem.domain
            rows.append(row)
        return rows

    def _row(self, chain: Chain, verdict: Verdict) -> dict[str, Any]:
        row: dict[str, Any] = {
            "answer": chain.answer,
            "correct": verdict.correct,
            "finish": chain.finish,
            "reason": verdict.reason,
            "text": chain.text,
            "policy": chain.policy,
            "key": chain.key,
            "arms": self._arms[chain.key],
            "picked": self._picked.get(chain.key, []),
        }
        if scores := self._scores.get(chain.key):
            row["scores"] = scores
            if len(scores) == 1:
                row["score"] = next(iter(scores.values()))
        if "/" in chain.key:
            row["steps"] = self._steps(chain)
        written = [s for s in chain.segments if s.kind != "given"]
        if written and all(s.ids is not None for s in written):
            row["ids"] = [i for s in written for i in s.ids or ()]
        return row

    def _steps(self, chain: Chain) -> list[dict[str, Any]]:
        """A chain that was written in several steps, one by one, with what the search's scorer said of each."""
        found: list[dict[str, Any]] = []
        before = 0
        for key in lineage(chain.key)[1:]:
            if (step := self._chains.get(key)) is None:
                continue
            found.append({"text": step.text[before:], "tokens": step.tokens})
            before = len(step.text)
            if (rating := self._ratings.get((self._scorers.get(key) or "", key))) is not None:
                found[-1]["score"] = rating.value
        return found

    def _new_tokens(self, chain: Chain, counted: set[str]) -> int:
        total = 0
        key = chain.key
        while key and key not in counted:
            counted.add(key)
            total += self._chains[key].tokens if key in self._chains else 0
            key = key.rpartition("/")[0]
        return total
