"""Sample rows (schema 1, JSONL) as the arrays that estimators need.

Rows are read one at a time and kept as columns of numbers; of the text only distinct answers stay. What comes out does
not depend on the order of rows: problems are sorted by id, the samples of a problem by class, verdict, scores and
tokens. A row that cannot be used is named ('FILE:LINE: field …') in `Samples.bad` and the others are read all the same;
what no row alone can be blamed for (an answer both correct and wrong, a sample number given twice) raises UsageError.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ponder.errors import UsageError, unknown
from ponder.measure.data import UNSCORED, Draws, Floats, Ints
from ponder.measure.rows import (
    ABSENT,
    PLAIN,
    BadRow,
    amount,
    answer_of,
    arms_of,
    problem_of,
    read_lines,
    scores_of,
    verdict_of,
    whole,
)

Classes = Callable[[str, Sequence[str]], Sequence[int | None]]
"""(a problem's id, its distinct answers, sorted) -> the class of each."""
Choose = Callable[[Sequence[tuple[str, ...]]], Sequence[bool]]
"""The distinct `arms` of the rows (() where a row has none) -> which of them are used. Raises UsageError."""

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Samples:
    """What was recorded. `generated` and `scoring` [P]: mean tokens a chain, its own and its scorer's; NaN where no row
    of the problem says. `bad`: a message for each row that could not be used. `remarks`: what a reader should know.
    `scorers`: whose scores the rows have; `scorer`: whose are in `draws`."""

    draws: Draws
    generated: Floats
    scoring: Floats
    rows: int
    scorer: str | None = None
    scorers: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def read(
    paths: Sequence[str | Path],
    *,
    classes: Classes | None = None,
    scorer: str | None = None,
    choose: Choose | None = None,
) -> Samples:
    """The samples of JSONL files ('-': standard input). Raises UsageError if a file cannot be read, no row can be used,
    the scorer is unknown, an answer is both correct and wrong in one problem, or a sample number occurs twice."""
    table = _Table([str(path) for path in paths])
    for number, path in enumerate(paths):
        table.file = number
        for line, row in read_lines(path):
            table.add(row, line)
    return table.samples(classes, scorer, choose)


def draws_of_rows(
    rows: Iterable[Mapping[str, Any]],
    *,
    classes: Classes | None = None,
    scorer: str | None = None,
    choose: Choose | None = None,
    name: str = "row",
) -> Samples:
    """As `read`, of rows in memory; messages call them 'NAME:1', 'NAME:2', …"""
    return _tabled(rows, name).samples(classes, scorer, choose)


def draws_by_scorer(rows: Iterable[Mapping[str, Any]], scorers: Sequence[str]) -> dict[str, Samples]:
    """The same by each of these scorers that has scored a row; the rows are read once."""
    table = _tabled(rows, "row")
    rated = table.rated(table.used(None))
    return {scorer: table.samples(None, scorer, None) for scorer in scorers if scorer in rated}


def _tabled(rows: Iterable[Mapping[str, Any]], name: str) -> _Table:
    table = _Table([name])
    for number, row in enumerate(rows, 1):
        table.add(row, number)
    return table


def normalised(text: str) -> str:
    """NFKC, white space collapsed, case kept."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text)).strip()


def by_text(problem: str, answers: Sequence[str]) -> list[int]:
    """The classes without a task: answers that are the same normalised text."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(normalised(answer), len(numbers)) for answer in answers]


@dataclass(slots=True)
class _Answer:
    """A distinct answer as written: its number in its problem, and where it was first judged correct and wrong."""

    number: int
    right: tuple[int, int] | None = None
    wrong: tuple[int, int] | None = None


@dataclass(slots=True)
class _Table:
    """Columns that grow a row at a time."""

    names: list[str]
    file: int = 0
    problems: dict[str, int] = field(default_factory=dict)
    answers: list[dict[str, _Answer]] = field(default_factory=list)
    arms: dict[tuple[str, ...], int] = field(default_factory=dict)
    scores: dict[str, array[float]] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)
    refused: int = 0
    problem: array[int] = field(default_factory=lambda: array("q"))
    answer: array[int] = field(default_factory=lambda: array("q"))
    correct: array[int] = field(default_factory=lambda: array("b"))
    sample: array[int] = field(default_factory=lambda: array("q"))
    arm: array[int] = field(default_factory=lambda: array("q"))
    tokens: array[float] = field(default_factory=lambda: array("d"))
    scorer_tokens: array[float] = field(default_factory=lambda: array("d"))
    files: array[int] = field(default_factory=lambda: array("l"))
    line: array[int] = field(default_factory=lambda: array("q"))

    def add(self, row: Mapping[str, Any] | BadRow, line: int) -> None:
        try:
            if isinstance(row, BadRow):
                raise row
            self._add(row, line)
        except BadRow as error:
            self.bad.append(f"{self.names[self.file]}:{line}: {error}")

    def _add(self, row: Mapping[str, Any], line: int) -> None:
        if row.get("finish") == "refused":  # nothing was left to draw it with: no sample
            self.refused += 1
            return
        problem, answer, correct = problem_of(row), answer_of(row), verdict_of(row)
        sample = whole(row, "sample")
        tokens, scorer_tokens = amount(row, "tokens"), amount(row, "scorer_tokens")
        scores, arms = scores_of(row), arms_of(row)
        number = self.problems.setdefault(problem, len(self.problems))
        if number == len(self.answers):
            self.answers.append({})
        self.problem.append(number)
        self.answer.append(-1 if answer is None else self._spelled(problem, number, answer, correct, line))
        self.correct.append(-1 if correct is None else int(correct))
        self.sample.append(sample)
        self.arm.append(self.arms.setdefault(arms, len(self.arms)))
        self.tokens.append(tokens)
        self.scorer_tokens.append(scorer_tokens)
        self.files.append(self.file)
        self.line.append(line)
        for name in scores.keys() - self.scores.keys():
            self.scores[name] = array("d", [ABSENT]) * (len(self.line) - 1)
        for name, column in self.scores.items():
            column.append(scores.get(name, ABSENT))

    def _spelled(self, problem: str, number: int, answer: str, correct: bool | None, line: int) -> int:
        known = self.answers[number]
        if answer not in known:
            known[answer] = _Answer(len(known))
        entry = known[answer]
        if correct is True:
            entry.right = entry.right or (self.file, line)
        elif correct is False:
            entry.wrong = entry.wrong or (self.file, line)
        if entry.right and entry.wrong:
            first, second = sorted((entry.right, entry.wrong))
            verdict = "correct" if first == entry.right else "wrong"
            other = "wrong" if verdict == "correct" else "correct"
            shown = answer if len(answer) <= 60 else f"{answer[:57]}…"
            raise UsageError(
                f"{self._place(*second)}: field 'correct': the answer {shown!r} of problem {problem!r} is {other} "
                f"here and {verdict} at {self._place(*first)}; judge equal answers alike, or write them differently"
            )
        return entry.number

    def _place(self, file: int, line: int) -> str:
        return f"{self.names[file]}:{line}"

    def samples(self, classes: Classes | None, scorer: str | None, choose: Choose | None) -> Samples:
        if not len(self.line):
            reason = f"no row can be used; {self.bad[0]}" if self.bad else "no rows; give a JSONL file of sample rows"
            raise UsageError(f"{', '.join(self.names)}: {reason}")
        use = self.used(choose)
        self._no_duplicates(use)
        remarks = [f"{self.refused:,} rows were refused by a budget and are left out"] if self.refused else []
        name = self._scorer(scorer, use, remarks)
        ids = self._classes(classes or by_text, use, remarks)
        keys = sorted(self.problems)
        rank = np.empty(len(keys), dtype=np.int64)
        rank[[self.problems[key] for key in keys]] = np.arange(len(keys))
        problem = rank[np.asarray(self.problem)[use]]
        correct = np.asarray(self.correct, dtype=np.int8)[use]
        tokens, scoring = (np.asarray(column)[use] for column in (self.tokens, self.scorer_tokens))
        rated = np.asarray(self.scores[name])[use] if name else np.zeros(len(use))
        order = np.lexsort((scoring, tokens, rated, correct, ids, problem))
        problem, ids, correct, rated = problem[order], ids[order], correct[order], rated[order]
        present, starts = np.unique(problem, return_index=True)
        rated = np.where(np.isnan(rated), UNSCORED, rated)
        split = starts[1:]
        draws = Draws.of(
            np.split(ids, split),
            np.split(correct, split),
            np.split(rated, split) if name else None,
            [keys[i] for i in present.tolist()],
        )
        row = np.searchsorted(present, problem)
        self._remark(draws, rated if name else None, tokens, name, remarks)
        return Samples(
            draws,
            _means(row, tokens[order], len(present)),
            _means(row, scoring[order], len(present)),
            len(use),
            name,
            tuple(sorted(self.scores)),
            tuple(self.bad),
            tuple(remarks),
        )

    def used(self, choose: Choose | None) -> Ints:
        if choose is None:
            return np.arange(len(self.line))
        chosen = np.asarray(list(choose(list(self.arms))), dtype=bool)
        return np.flatnonzero(chosen[np.asarray(self.arm)])

    def _no_duplicates(self, use: Ints) -> None:
        """A row without a sample number gets the next free one of its problem, so only given numbers can collide."""
        problem, sample = np.asarray(self.problem)[use], np.asarray(self.sample)[use]
        files, line = np.asarray(self.files)[use], np.asarray(self.line)[use]
        order = np.lexsort((line, files, sample, problem))
        same = (np.diff(problem[order]) == 0) & (np.diff(sample[order]) == 0) & (sample[order][1:] >= 0)
        twice = np.flatnonzero(same)
        if len(twice):
            first, second = order[twice[0]], order[twice[0] + 1]
            key = list(self.problems)[problem[first]]
            raise UsageError(
                f"{self._place(files[second], line[second])}: field 'sample': {sample[second]} of problem {key!r} is "
                f"also at {self._place(files[first], line[first])}; number a problem's samples, or leave the field out"
            )

    def rated(self, use: Ints) -> list[str]:
        """Whose scores these rows have."""
        return sorted(name for name, column in self.scores.items() if np.any(~np.isnan(np.asarray(column)[use])))

    def _scorer(self, wanted: str | None, use: Ints, remarks: list[str]) -> str | None:
        rated = self.rated(use)
        if wanted is not None:
            if not rated:
                raise UsageError(f"--scorer {wanted}: no row has a score; add scores, or leave --scorer out")
            if wanted not in rated:
                raise unknown("scorer", wanted, rated, where="--scorer: ")
            return wanted
        if PLAIN in rated:
            return PLAIN
        if len(rated) > 1:
            remarks.append(f"scores by {', '.join(rated)}: choose with --scorer to see best-of-n and the weighted vote")
        return rated[0] if len(rated) == 1 else None

    def _classes(self, classes: Classes, use: Ints, remarks: list[str]) -> Ints:
        """The class of each used row. Classes that hold a correct and a wrong answer fall apart by verdict; their
        unverified answers stand alone."""
        answer, problem = np.asarray(self.answer)[use], np.asarray(self.problem)[use]
        tables, apart = [], 0
        for key, number in self.problems.items():
            known = self.answers[number]
            spelled = sorted(known)
            found = list(classes(key, spelled)) if spelled else []
            right = {c for c, text in zip(found, spelled, strict=True) if known[text].right}
            mixed = right & {c for c, text in zip(found, spelled, strict=True) if known[text].wrong}
            apart += len(mixed)
            numbers: dict[Any, int] = {}
            table = np.full(len(spelled) + 1, -1, dtype=np.int64)  # the last one is for abstentions
            for c, text in zip(found, spelled, strict=True):
                entry = known[text]
                verdict = "right" if entry.right else "wrong" if entry.wrong else text
                if c is not None:
                    name = (c, verdict) if c in mixed else (c, "")
                    table[entry.number] = numbers.setdefault(name, len(numbers))
            tables.append(table)
        if apart:
            what = "class" if apart == 1 else "classes"
            remarks.append(
                f"{apart} answer {what} held correct and wrong answers: these are counted as different answers"
            )
        lengths = np.array([len(table) for table in tables])
        offset = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        at = np.where(answer < 0, lengths[problem] - 1, answer)
        return np.asarray(np.concatenate(tables)[offset[problem] + at], dtype=np.int64)

    def _remark(
        self, draws: Draws, rated: Floats | None, tokens: Floats, scorer: str | None, remarks: list[str]
    ) -> None:
        total = int(draws.n.sum())
        unsure = int(draws.unverified.sum())
        if unsure:
            remarks.append(f"{unsure:,} of {total:,} samples are unverified; value_all counts them as wrong")
        if draws.n.min() < draws.n.max():
            remarks.append(f"problems have {draws.n.min()} to {draws.n.max()} samples; a k above uses fewer problems")
        if rated is not None and (none := int(np.sum(rated == UNSCORED))):
            remarks.append(f"{none:,} of {total:,} samples have no score by {scorer!r}; they are ranked last")
        missing = int(np.isnan(tokens).sum())
        if 0 < missing < total:
            remarks.append(f"{missing:,} of {total:,} samples have no tokens; means are over the others")


def _means(problem: Ints, values: Floats, count: int) -> Floats:
    """[count]: the mean of each problem's known values; NaN where it has none."""
    known = ~np.isnan(values)
    number = np.bincount(problem[known], minlength=count)
    total = np.bincount(problem[known], weights=values[known], minlength=count)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
