"""The task of a simulated world: asks for its problems and knows their answers. It has no end."""

from __future__ import annotations

from collections.abc import Iterator

from ponder.errors import UsageError
from ponder.tasks.base import Rules
from ponder.tasks.rules import rules_for
from ponder.types import Problem, Verdict
from ponder.worlds import world

DEFAULT_SIZE = 200


class SimulatedTask:
    """`simulated:NAME`; without a limit it has 200 problems."""

    def __init__(self, name: str) -> None:
        self.world = world(name)
        self.name = f"simulated:{name}"
        self._rules = rules_for("number")

    def __len__(self) -> int:
        return DEFAULT_SIZE

    def problems(self, limit: int | None = None) -> Iterator[Problem]:
        if limit is not None and limit < 1:
            raise UsageError(f"--limit {limit}: must be at least 1")
        for number in range(limit or DEFAULT_SIZE):
            text = self.world.text(number)
            yield Problem(str(number), text, self._rules.messages(text))

    def rules(self, problem_id: str) -> Rules:
        return self._rules

    def verify(self, problem_id: str, completion: str) -> Verdict:
        return self._rules.judge(str(self.world.answer(int(problem_id))), completion)

    def valid_steps(self, problem_id: str, text: str) -> list[bool] | None:
        return None


def build(name: str) -> SimulatedTask:
    return SimulatedTask(name)
