"""What a task is: rules, and the problems they hold for.

`Rules` word the prompt, split a chain into steps, extract its answer, tell equal answers and judge a completion
against a reference; they are pure functions and need no data set, which is what `ponder verify` uses. A `Task`
adds problems and keeps their references, which nothing else sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Protocol

from ponder.types import Message, Problem, Verdict


class Rules:
    """How answers of one kind are asked for, read, compared and judged. Subclasses fill in the four methods.

    `delimiter` ends a step. `pure` says that the verdict depends on nothing but its arguments, so a replay may
    compute it again instead of reading it from the journal. `structured` says that a reference may be an object or
    a list, or its JSON as text; `sandboxed`, that the verdict takes a sandbox, which `with_sandbox` chooses.
    """

    kind: ClassVar[str] = ""
    structured: ClassVar[bool] = False
    sandboxed: ClassVar[bool] = False
    delimiter: str = "\n\n"
    pure: bool = True
    instruction: str = ""

    def with_sandbox(self, mode: str) -> Rules:
        """The same rules with another sandbox: 'bwrap' or 'none'; '' is the default."""
        raise NotImplementedError

    def messages(self, text: str) -> tuple[Message, ...]:
        """The prompt for a problem's text: the fixed instruction, then the text, and nothing else."""
        return (Message("user", f"{text}\n\n{self.instruction}" if self.instruction else text),)

    def steps(self, text: str) -> list[str]:
        """A chain's steps, delimiters included, so that joining them gives the text back."""
        parts = text.split(self.delimiter)
        steps = [part + self.delimiter for part in parts[:-1]]
        return [*steps, parts[-1]] if parts[-1] else steps

    def extract(self, text: str) -> str | None:
        """The answer that the text commits to, or None (the chain abstains)."""
        raise NotImplementedError

    def canonical(self, answer: str) -> str:
        """One spelling for answers that are surely equal. Cheap: it is called once an answer."""
        raise NotImplementedError

    def equal(self, left: str, right: str) -> bool:
        """Whether two answers are the same. Called only where the canonical spellings differ."""
        return self.canonical(left) == self.canonical(right)

    def check_reference(self, reference: Any) -> str | None:
        """None if `reference` can be judged against, else what is wrong with it."""
        raise NotImplementedError

    def judge(self, reference: Any, completion: str) -> Verdict:
        """Correct, wrong or unverified, with the reason."""
        raise NotImplementedError

    def valid_steps(self, reference: Any, text: str) -> list[bool] | None:
        """Whether each of `steps(text)` is right, given those before it; None if this task cannot tell.

        A step is right if it may be taken from where the right ones before it lead; a wrong step leads nowhere, so the
        first False is the first error, and a later True owes nothing to it. A right step need not be a useful one:
        whether the chain arrives is the verdict's to say.
        """
        return None

    def state(self, problem: str, text: str) -> str | None:
        """Where a partial chain stands, as the chain itself says; None if it does not say, or the task cannot tell.

        `problem` is Problem.text, `text` the chain's reply so far, made of whole steps. Chains with equal states can go
        on alike: a search may keep one of them, and a value may be learned for the state. Nothing is checked here, for
        searches see it: whether what the chain says is true is the verifier's to judge.
        """
        return None

    def stood(self, problem: str, text: str) -> str | None:
        """Where a finished chain stood before its last step: the state of the steps before it."""
        return self.state(problem, "".join(self.steps(text)[:-1]))

    def classes(self, answers: Sequence[str | None]) -> list[int | None]:
        """Equivalence classes, numbered by first appearance; None for an abstention."""
        spelled: dict[str, int] = {}
        heads: list[str] = []
        found: list[int | None] = []
        for answer in answers:
            if answer is None:
                found.append(None)
                continue
            spelling = self.canonical(answer)
            if spelling not in spelled:
                twin = next((i for i, head in enumerate(heads) if self.equal(head, answer)), None)
                if twin is None:
                    twin = len(heads)
                    heads.append(answer)
                spelled[spelling] = twin
            found.append(spelled[spelling])
        return found


class Task(Protocol):
    """Problems with the rules that hold for each, and the references that only the verifier sees."""

    name: str

    def __len__(self) -> int: ...

    def problems(self, limit: int | None = None) -> Iterator[Problem]:
        """The problems in order, made one at a time."""
        ...

    def rules(self, problem_id: str) -> Rules: ...

    def verify(self, problem_id: str, completion: str) -> Verdict: ...

    def valid_steps(self, problem_id: str, text: str) -> list[bool] | None:
        """As Rules.valid_steps, against the problem's own reference."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """One problem of a data set, as loaded: `rules` may differ from row to row (the user's own files)."""

    id: str
    text: str
    reference: Any
    rules: Rules
    domain: str | None = None


class RowTask:
    """A task over loaded rows: every task that reads a data set is one of these."""

    def __init__(self, name: str, rows: Sequence[Row]) -> None:
        self.name = name
        self._rows = {row.id: row for row in rows}

    def __len__(self) -> int:
        return len(self._rows)

    def problems(self, limit: int | None = None) -> Iterator[Problem]:
        for problem_id in islice(self._ids(), limit):
            row = self._row(problem_id)
            yield Problem(row.id, row.text, row.rules.messages(row.text), row.domain)

    def _ids(self) -> Iterable[str]:
        return self._rows

    def _row(self, problem_id: str) -> Row:
        return self._rows[problem_id]

    def rules(self, problem_id: str) -> Rules:
        return self._row(problem_id).rules

    def verify(self, problem_id: str, completion: str) -> Verdict:
        row = self._row(problem_id)
        return row.rules.judge(row.reference, completion)

    def valid_steps(self, problem_id: str, text: str) -> list[bool] | None:
        row = self._row(problem_id)
        return row.rules.valid_steps(row.reference, text)
