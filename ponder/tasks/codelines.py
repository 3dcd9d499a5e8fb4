"""The lines that `ponder verify --task code` reads: {"id", "tests" or "reference", "completion", "entry_point"}."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ponder.errors import UsageError
from ponder.tasks import files
from ponder.tasks.code import CodeRules, row_tests
from ponder.types import Verdict


@dataclass(frozen=True, slots=True)
class Program:
    """A good line. `id` is as the line spells it, text or integer; `line` counts from 1."""

    line: int
    id: str | int
    tests: Any
    completion: str
    rules: CodeRules

    def judge(self) -> Verdict:
        return self.rules.judge(self.tests, self.completion)


def read_programs(lines: Iterable[bytes], name: str, rules: CodeRules) -> Iterator[Program | files.BadLine]:
    """For each line the row, or what is wrong with it; a bad line never stops the ones after it, blank lines are
    skipped. Half of a surrogate pair in a completion is the program's own mistake."""
    known: dict[str, str | None] = {}
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        where = f"{name}:{number}: "
        try:
            fields = files._object(raw, where, first=number == 1)
            if fields.get("id") is None:
                raise UsageError(f"{where}field 'id': missing; give each line an id")
            files._row_id(fields, number, where)
            tests = row_tests(fields, where, rules, known)
            completion = fields.get("completion")
            if not isinstance(completion, str):
                state = "missing" if completion is None else f"is {files._type(completion)}"
                raise UsageError(f"{where}field 'completion': {state}; give text")
            yield Program(number, fields["id"], tests, completion, rules)
        except UsageError as error:
            yield files.BadLine(number, str(error))
