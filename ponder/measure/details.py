"""What advice needs of sample rows beyond curves: graded quality, replicates of a score, domains, tokens, step labels.

samples.py keeps what curves need and sorts it; here every row stays whole, in columns of its own. Rows that samples.py
refuses are left out here, too (it has named them).
Shapes: S samples, P problems, R replicates.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ponder.measure.data import UNSCORED, Draws, Floats, Ints
from ponder.measure.rows import PLAIN, BadRow, amount, answer_of, arms_of, problem_of, read_lines, verdict_of
from ponder.measure.samples import Choose

Step = tuple[bool | None, float]
"""Is the step valid (None: not said), and its tokens (NaN: not said)."""


@dataclass(frozen=True, slots=True)
class Details:
    """draws: the same samples as curves use, in the order of the other columns; its answer classes are verdicts only.
    quality, tokens [S]: NaN where not given. replicates [S, R] or None. steps: of each sample, () where not given.
    domain: of each problem, '' where not given."""

    draws: Draws
    quality: Floats
    tokens: Floats
    replicates: Floats | None
    steps: tuple[tuple[Step, ...], ...]
    domain: tuple[str, ...]

    @property
    def graded(self) -> bool:
        """Every sample has a quality, and they are more than right and wrong."""
        return bool(len(self.quality) and np.all(np.isfinite(self.quality)) and len(np.unique(self.quality)) > 2)

    @property
    def domains(self) -> dict[str, Ints]:
        """{domain: its problems}."""
        return {name: np.flatnonzero(np.array(self.domain) == name) for name in sorted(set(self.domain))}


def read(paths: Sequence[str | Path], *, scorer: str | None = None, choose: Choose | None = None) -> Details:
    """As `samples.read`, which must have read the same files without an error."""
    return of_rows(itertools.chain.from_iterable(_rows(path) for path in paths), scorer=scorer, choose=choose)


def _rows(path: str | Path) -> Iterable[Mapping[str, Any]]:
    return (row for _, row in read_lines(path) if not isinstance(row, BadRow))


def of_rows(rows: Iterable[Mapping[str, Any]], *, scorer: str | None = None, choose: Choose | None = None) -> Details:
    sound = [found for row in rows if (found := _sound(row)) is not None]
    if choose is not None:
        sets = sorted({arms_of(row) for _, row in sound})
        used = dict(zip(sets, choose(sets), strict=True))
        sound = [item for item in sound if used[arms_of(item[1])]]
    sound.sort(key=lambda item: item[0])
    keys = [key for key, _ in itertools.groupby(sound, key=lambda item: item[0])]
    groups = [[row for _, row in group] for _, group in itertools.groupby(sound, key=lambda item: item[0])]
    scores = [[_scores(row, scorer) for row in group] for group in groups]
    rated = any(values for group in scores for values in group)
    draws = Draws.of(
        [[-1 if answer_of(row) is None else 1 + _truth(row) for row in group] for group in groups],
        [[verdict_of(row) for row in group] for group in groups],
        [[float(np.mean(v)) if v else None for v in group] for group in scores] if rated else None,
        keys,
    )
    flat = [row for group in groups for row in group]
    several = [values for group in scores for values in group]
    width = max((len(values) for values in several), default=0)
    table = np.array([[*values, *[np.nan] * (width - len(values))] for values in several]) if width > 1 else None
    return Details(
        draws,
        np.array([_number(row.get("quality")) for row in flat]),
        np.array([amount(row, "tokens") for row in flat]),
        table,
        tuple(_steps(row.get("steps")) for row in flat),
        tuple(str(group[0].get("domain") or "") for group in groups),
    )


def _sound(row: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    if row.get("finish") == "refused":
        return None
    try:
        answer_of(row)
        verdict_of(row)
        amount(row, "tokens")
        arms_of(row)
        return problem_of(row), row
    except BadRow:
        return None


def _truth(row: Mapping[str, Any]) -> int:
    return {True: 1, False: 0, None: 2}[verdict_of(row)]


def _scores(row: Mapping[str, Any], scorer: str | None) -> list[float]:
    """The scorer's replicates for this row; one for a plain number."""
    if scorer is None:
        return []
    value = row.get("score") if scorer == PLAIN else (row.get("scores") or {}).get(scorer)
    values = value if isinstance(value, list) else [value]
    return [number for number in map(_number, values) if np.isfinite(number)]


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else float("nan")


def _steps(found: object) -> tuple[Step, ...]:
    if not isinstance(found, list):
        return ()
    steps = [step for step in found if isinstance(step, dict)]
    return tuple((v if isinstance(v := step.get("valid"), bool) else None, _length(step)) for step in steps)


def _length(step: Mapping[str, Any]) -> float:
    """Tokens of a step; its words where they are not given."""
    tokens = _number(step.get("tokens"))
    text = step.get("text")
    return tokens if np.isfinite(tokens) else float(len(text.split())) if isinstance(text, str) else float("nan")


def scored(draws: Draws) -> bool:
    return draws.scores is not None and bool(np.any(draws.scores != UNSCORED))
