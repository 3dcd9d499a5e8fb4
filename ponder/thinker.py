"""One problem at a time, from Python: `ponder.Thinker`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ponder import building
from ponder.engines.base import Engine
from ponder.errors import EngineError, UsageError
from ponder.evaluate import run
from ponder.journal import Journal
from ponder.question import Finding
from ponder.settings import resolve
from ponder.tasks import single
from ponder.types import Chain, Cost


@dataclass(frozen=True, slots=True)
class Thought:
    """An answer (None if no chain gave one), the selector's confidence in [0, 1], the cost, and every chain."""

    answer: str | None
    confidence: float | None
    cost: Cost
    chains: tuple[Chain, ...]

    @property
    def cut(self) -> bool:
        """Whether a cap or the budget kept any chain from its end."""
        return any(chain.truncated or chain.finish == "refused" for chain in self.chains)


class Thinker:
    """Answers problems with one model, search, selector and budget.

        think = ponder.Thinker(model="openai:gpt-4o-mini", samples=16, select="vote")
        think("What is 17 * 23?", task="number").answer

    Keyword arguments are the command line's flags with '_' for '-'; `set` is a dict. Raises UsageError for a bad
    setting, CapabilityError if the model cannot do what the parts need, EngineError if it cannot be reached.
    """

    def __init__(self, model: str | None = None, **settings: Any) -> None:
        self.settings = resolve({"model": model, **settings}).settings
        for key in ("search", "select", "stop", "samples"):
            if len(given := getattr(self.settings, key)) != 1:
                raise UsageError(f"{key}={given}: one answer needs one {key}; use `ponder eval` to compare several")
        if len(self.settings.scorer) > 1:
            raise UsageError(f"scorer={self.settings.scorer}: one answer needs one scorer at most")
        self._parts = building.parts(self.settings)
        building.purse(self.settings)
        self._engine: Engine | None = None

    def __call__(
        self, text: str, task: str | None = None, *, watch: Callable[[str, Any], None] | None = None
    ) -> Thought:
        """Thinks about one problem; `task` names the rules by which its answers are read and compared."""
        if not text.strip():
            raise UsageError("the problem is empty; give its text")
        plan = building.plan(self.settings, single(text, task or self.settings.task), self._parts)
        plan = replace(plan, limit=1)
        engine = self._engine or building.engine(self.settings)
        if engine.capabilities.schedule == "lockstep":  # a model in this process is loaded once
            self._engine = engine
        building.fit(engine, self.settings, plan)
        purse = building.purse(self.settings)
        findings: list[Finding] = []

        def keep(event: str, what: Any) -> None:
            if event == "found":
                findings.append(what)
            if watch:
                watch(event, what)

        run(plan, engine, Journal(), purse, None, watch=keep)
        return self._thought(findings, purse.spent)

    def _thought(self, findings: list[Finding], spent: Cost) -> Thought:
        if not findings:
            return Thought(None, None, spent, ())
        finding = findings[0]
        if finding.failure is not None:
            raise EngineError(f"{finding.failure}; nothing was answered")
        given = finding.given[self._parts.arms[0].name]
        failed = [chain.reason for chain in given.chains if chain.finish == "error"]
        if failed and given.choice.answer is None:
            raise EngineError(f"{failed[0]}; nothing was answered")
        return Thought(given.choice.answer, given.choice.confidence, given.cost, given.chains)
