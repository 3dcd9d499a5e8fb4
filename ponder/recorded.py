"""Recorded samples for `curves`, `compare` and the report of `eval`: which rows count, and which answers are equal.

Curves are subsamples, so only rows of searches that draw interchangeable chains may make them (formulas.md): a row
counts if one of its arms is such a search with the fixed stop rule, or if it names no arm at all.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ponder.errors import UsageError, unknown

if TYPE_CHECKING:
    from ponder.measure.samples import Choose, Classes, Samples


def load(
    paths: Sequence[str | Path], *, task: str | None = None, scorer: str | None = None, arm: str | None = None
) -> Samples:
    """The samples of files or run folders. Raises UsageError as `measure.samples.read` and `load_rules` do, if rows of
    a search that is not exchangeable would be subsampled, or if arms differ and none was chosen."""
    from ponder.measure.samples import read

    return read([located(path) for path in paths], classes=equality(task), scorer=scorer, choose=chooser(arm))


def located(path: str | Path) -> str | Path:
    """A run folder stands for its samples.jsonl."""
    folder = Path(path)
    if str(path) == "-" or not folder.is_dir():
        return path
    if not (folder / "samples.jsonl").is_file():
        raise UsageError(f"{path}: holds no samples.jsonl; name a sample file or a run folder of `ponder eval`")
    return folder / "samples.jsonl"


def equality(task: str | None) -> Classes | None:
    """The answer classes of a task; None without one, for normalised text. A file may have rules that differ by
    problem; a registered task's rules need no data set."""
    if task is None:
        return None
    from ponder.tasks import TASKS, load_rules, load_task

    if task in TASKS:
        rules = load_rules(task)
        return lambda problem, answers: rules.classes(answers)
    data = load_task(task)

    def classes(problem: str, answers: Sequence[str]) -> list[int | None]:
        try:
            found = data.rules(problem)
        except KeyError:
            raise UsageError(f"--task {task}: has no problem {problem!r}; give the task that was sampled") from None
        return found.classes(answers)

    return classes


def chooser(arm: str | None) -> Choose:
    """Which rows make a curve, by their arms. `arm`: an arm, or what its name begins with, as in 'sample/fixed'."""

    def choose(sets: Sequence[tuple[str, ...]]) -> list[bool]:
        names = sorted({name for arms in sets for name in arms})
        if arm is not None:
            wanted = {name for name in names if name == arm or name.startswith(f"{arm}/")}
            if not wanted:
                raise unknown("arm", arm, names or ["none: the rows name no arms"], where="--arm: ")
            wanted = {name for name in wanted if _exchangeable(name)}
            if not wanted:
                raise UsageError(f"--arm {arm}: {REFUSED}{_hint(names)}")
            return [bool(wanted & set(arms)) for arms in sets]
        used = [not arms or any(_exchangeable(name) for name in arms) for arms in sets]
        if not all(used):
            culprit = next(arms[0] for arms, fine in zip(sets, used, strict=True) if not fine)
            raise UsageError(f"rows of arm {culprit!r}: {REFUSED}{_hint(names)}")
        if len({_family(arms) for arms in sets}) > 1:
            raise UsageError(f"the rows come from different arms ({', '.join(names[:6])}); choose one with --arm")
        return used

    return choose


def largest(paths: Sequence[str | Path]) -> tuple[str, str] | None:
    """(arm, remark): of a run folder whose rows come from several arms the one with the most interchangeable chains, by
    name among equals. None for anything else."""
    from ponder.measure.rows import BadRow, arms_of, read_lines

    if len(paths) != 1 or not Path(paths[0]).is_dir():
        return None
    count: Counter[tuple[str, ...]] = Counter()
    for _, row in read_lines(located(paths[0])):
        try:
            if not isinstance(row, BadRow) and row.get("finish") != "refused":
                count[arms_of(row)] += 1
        except BadRow:
            continue
    families: Counter[tuple[str, ...]] = Counter()
    for arms, rows in count.items():
        if family := _family(arms):
            families[family] += rows
    if not families or (len(families) == 1 and all(_family(arms) for arms in count)):
        return None
    (first, rows), *others = sorted(families.items(), key=lambda item: (-item[1], item[0]))
    more = ", ".join(f"{family[0]} ({n:,})" for family, n in others) or "none of independent chains"
    return first[0], f"of the run's arms, {first[0]} is judged ({rows:,} rows); others, with --arm: {more}"


REFUSED = (
    "its chains are not interchangeable, so a curve cannot be read off them; run it again for each number of samples"
)


def _hint(names: Sequence[str]) -> str:
    fine = [name for name in names if _exchangeable(name)]
    return f", or choose other rows with --arm {fine[0]}" if fine else ""


def _exchangeable(arm: str) -> bool:
    """SEARCH/STOP/…: an exchangeable search under the fixed stop rule. Names of another form are someone's own label
    for independent draws."""
    parts = arm.split("/")
    if len(parts) < 3:
        return True
    from ponder.search import SEARCHES

    found = dict(SEARCHES.items()).get(parts[0])
    if found is None or parts[1] != "fixed":
        return False
    return bool(getattr(importlib.import_module(found.where.partition(":")[0]), "EXCHANGEABLE", False))


def _family(arms: tuple[str, ...]) -> tuple[str, ...]:
    """What tells draws apart: the exchangeable searches that share them. Budgets of one search nest; labels do not."""
    return tuple(sorted({a.split("/")[0] if a.count("/") >= 2 else a for a in arms if _exchangeable(a)}))
