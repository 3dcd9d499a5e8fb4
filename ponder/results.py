"""From a run to what is read: the rows of `eval --json` and the table.

Where an arm's chains are interchangeable and all of them were drawn and verified, its accuracy is the exact estimate
over every subset of the largest draw (`ponder.measure`), as `ponder curves` gives it; else it is the share of
problems whose picked answer was right. Both come with an interval over problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ponder.arms import Arm, Group, groups
from ponder.evaluate import Run, Tally
from ponder.measure import curves
from ponder.measure.intervals import Interval, mean_interval, wilson
from ponder.measure.page import eval_page
from ponder.measure.samples import Samples, read
from ponder.tasks.base import Task
from ponder.types import Cost

CURVE = {"vote": "maj", "best": "best_of_n", "weighted": "weighted"}
"""The estimator of each selector."""


def document(run: Run, task: Task, model: str, samples: Path) -> dict[str, Any]:
    """The document of `eval --json` (schema 1). `accuracy` is over the problems that got a verdict; `accuracy_all`
    counts the unverified as wrong; `accuracy_picked` is the share of right picks of this very run, and `exact` says
    whether `accuracy` averages over all subsets instead."""
    estimates = exact(run, task, samples)
    return {
        "schema": 1,
        "label": run.label,
        "digest": run.digest,
        "rows": [row(arm, run.tallies[arm.name], task.name, model, estimates.get(arm)) for arm in run.arms],
        "run": {
            "cost": cost(run.cost),
            "failures": run.failures,
            "not_started": run.not_started,
            "unstarted": run.unstarted,
            "ended_by": run.ended_by,
            "overshoot": run.overshoot,
        },
    }


def exact(run: Run, task: Task, samples: Path) -> dict[Arm, Interval]:
    """The estimates of the arms that allow one."""
    found: dict[Arm, Interval] = {}
    largest: dict[str, Group] = {}
    for group in groups(run.arms):  # the largest first
        if group.exchangeable:
            largest.setdefault(group.search, group)
    for search, group in largest.items():
        mine = [arm for arm in run.arms if arm.search == search and arm.stop == group.stop and arm.select in CURVE]
        for scorer in dict.fromkeys(arm.scorer for arm in mine):
            recorded = drawn_by(group.arms[0], task, samples, scorer)
            if recorded is None or not _whole(recorded, group, run):
                continue
            for arm in mine:
                if arm.scorer == scorer:
                    values = curves.estimator(CURVE[arm.select])(recorded.draws, [arm.samples]).values[:, 0]
                    found[arm] = mean_interval(values)
    return found


def page(run: Run, task: Task, found: dict[str, Any], samples: Path, command: str) -> str:
    """report.html: accuracy against samples and tokens, and the curves read off the largest interchangeable draw."""
    group = next((group for group in groups(run.arms) if group.exchangeable), None)
    mine = group.arms if group else ()  # a search that is no curve may have scorers of its own
    scorers = sorted({arm.scorer for arm in mine if arm.scorer}, key=lambda name: name == "random")
    scorer = scorers[0] if scorers else None  # the control has its arms above
    recorded = drawn_by(group.arms[0], task, samples, scorer) if group else None
    return eval_page(found, curves.document(recorded) if recorded else None, command=command)


def drawn_by(arm: Arm, task: Task, samples: Path, scorer: str | None = None) -> Samples | None:
    """The chains that an arm drew, with the task's answer classes; None if there are none."""

    def classes(problem: str, answers: Sequence[str]) -> Sequence[int | None]:
        return task.rules(problem).classes(answers)

    def choose(drew: Sequence[tuple[str, ...]]) -> list[bool]:
        return [arm.name in names for names in drew]

    if not samples.stat().st_size:
        return None
    return read([samples], classes=classes, scorer=scorer, choose=choose)


def _whole(recorded: Samples, group: Group, run: Run) -> bool:
    """Whether every problem has all its chains, drawn and verified."""
    draws = recorded.draws
    everyone = draws.problems == run.tallies[group.arms[0].name].problems
    return everyone and not draws.unverified.any() and int(draws.n.min()) >= group.samples


def row(arm: Arm, tally: Tally, task: str, model: str, estimate: Interval | None = None) -> dict[str, Any]:
    verified = tally.problems - tally.unverified
    interval = estimate
    if interval is None and verified:
        interval = wilson(tally.right, verified)
    return {
        "task": task,
        "model": model,
        "search": arm.search,
        "select": arm.select,
        "scorer": arm.scorer,
        "stop": arm.stop,
        "samples": arm.samples,
        "problems": tally.problems,
        "accuracy": float(interval.value) if interval else None,
        "low": float(interval.low) if interval else None,
        "high": float(interval.high) if interval else None,
        "exact": estimate is not None,
        "accuracy_picked": tally.right / verified if verified else None,
        "accuracy_all": tally.right / tally.problems if tally.problems else None,
        "unverified": tally.unverified,
        "truncated": tally.truncated,
        "refused": tally.refused,
        "cost": cost(tally.cost),
    }


def cost(spent: Cost) -> dict[str, float]:
    return {unit: round(value, 6) if isinstance(value, float) else value for unit, value in spent.as_dict().items()}


def table(rows: list[dict[str, Any]]) -> tuple[list[tuple[str, bool]], list[list[str]]]:
    """Columns (name, whether numbers) and cells of the table that `eval` prints. Columns that say the same in every
    row, and counts that are all zero, are left out."""

    def varied(key: str) -> bool:
        return len({found[key] for found in rows}) > 1

    shown = [(key, False) for key in ("search", "stop") if varied(key)] + [("samples", True), ("select", False)]
    shown += [("scorer", False)] if any(found["scorer"] for found in rows) else []
    counts = [(key, True) for key in ("truncated", "unverified") if any(found[key] for found in rows)]
    columns = [*shown, ("problems", True), ("accuracy", True), ("95 % interval", False), ("tokens", True), *counts]
    return columns, [[_cell(found, name) for name, _ in columns] for found in rows]


def _cell(found: dict[str, Any], name: str) -> str:
    if name == "accuracy":
        return "–" if found["accuracy"] is None else f"{found['accuracy']:.3f}"
    if name == "95 % interval":
        return "–" if found["accuracy"] is None else f"{found['low']:.3f} – {found['high']:.3f}"
    if name == "tokens":
        return f"{found['cost']['generated'] / max(1, found['problems']):,.0f}"
    return "" if found[name] is None else str(found[name])


def remarks(found: dict[str, Any]) -> list[str]:
    """What did not go well, a line each."""
    run = found["run"]
    lines = [f"problem {problem}: {reason}" for problem, reason in list(run["failures"].items())[:10]]
    if len(run["failures"]) > 10:
        lines.append(f"… and {len(run['failures']) - 10} more failed problems")
    if run["not_started"]:
        names = ", ".join(run["unstarted"]) + (", …" if run["not_started"] > len(run["unstarted"]) else "")
        why = f"the limit on {run['ended_by']} was reached" if run["ended_by"] else "the journal holds nothing of them"
        lines.append(f"{run['not_started']} problems were not started ({names}): {why}")
    for row in found["rows"]:
        if row["refused"]:
            arm = "/".join(str(row[key]) for key in ("search", "stop", "samples", "select", "scorer") if row[key])
            lines.append(f"{arm}: {row['refused']} chains were wanted and not drawn ({_missing(found)})")
    for unit, value in run["overshoot"].items():
        lines.append(f"{unit} overshot its limit by {value:.4g} (what was in flight)")
    if run["cost"]["estimated"]:
        estimated = f"{run['cost']['estimated']:,}"
        lines.append(f"{estimated} of the generated tokens are estimates: those requests never reported their usage")
    return lines


def _missing(found: dict[str, Any]) -> str:
    if found["label"] == "replay":
        return "the journal holds no more"
    ended = found["run"]["ended_by"]
    return f"the limit on {ended} was reached" if ended else "the budget had ended"
