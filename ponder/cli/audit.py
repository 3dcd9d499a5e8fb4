"""ponder verify --audit: how far the verdicts of a task can be trusted.

Reads the lines of `ponder verify`, each with a "label" (true, false: whether the completion is correct), and prints the
error rates with their intervals, every disagreement, references that fail and the slowest cases.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from ponder.errors import UsageError
from ponder.tasks.audit import Audit, Labelled, audit

if TYPE_CHECKING:
    from ponder.tasks.base import Rules


def run(rules: Rules, stream: Iterable[bytes], name: str, *, as_json: bool = False) -> int:
    """Prints the audit. Returns 1 if a reference fails or a changed one passes, 2 if a line is bad, else 0."""
    bad: list[str] = []
    found = audit(rules, _rows(rules, stream, name, bad))
    click.echo(json.dumps(found.document(), ensure_ascii=False) if as_json else "\n".join(_lines(found)))
    for message in bad:
        click.echo(f"ponder: {message}", err=True)
    return 2 if bad else 0 if found.sound else 1


def _rows(rules: Rules, stream: Iterable[bytes], name: str, bad: list[str]) -> Iterator[Labelled]:
    for number, raw in enumerate(stream, 1):
        if not raw.strip():
            continue
        try:
            yield _row(rules, json.loads(raw), f"{name}:{number}: ", number)
        except (UsageError, ValueError) as error:
            broken = "" if isinstance(error, UsageError) else f"{name}:{number}: broken JSON; write one object a line: "
            bad.append(f"{broken}{error}")


def _row(rules: Rules, fields: Any, where: str, number: int) -> Labelled:
    if not isinstance(fields, dict):
        raise UsageError(f"{where}is no object; write {{'reference': …, 'completion': …, 'label': true}}")
    label = fields.get("label")
    if label is not None and not isinstance(label, bool):
        raise UsageError(f"{where}field 'label': is neither true nor false; say whether the completion is correct")
    completion = fields.get("completion", "" if label is None else None)
    if not isinstance(completion, str):
        raise UsageError(f"{where}field 'completion': missing or no text; give the model's text")
    reference = fields.get("reference")
    problem = rules.check_reference(reference)
    if problem is not None:
        raise UsageError(f"{where}field 'reference': {problem}; correct it, or choose another task")
    return Labelled(str(fields.get("id", number)), reference, completion, label)


def _lines(found: Audit) -> Iterator[str]:
    for name, rate in found.rates().items():
        if rate["of"]:
            interval = f"{100 * rate['low']:.2f} to {100 * rate['high']:.2f} %"
            title = name if name == "unverified" else f"{name.replace('_', ' ')}s"
            yield f"{title}: {rate['errors']:.0f} of {rate['of']:.0f}, {interval}"
    yield f"gold: {_counts(found.gold)}"
    yield f"changed gold: {_counts(found.changed)}"
    listed = {"disagreements": found.disagreements, "failures": found.failures, "slowest": found.slowest}
    for title, cases in listed.items():
        if cases:
            yield f"\n{title}:"
        for case in cases:
            how = f", {case.how}" if case.how else ""
            line = f"  {case.id}: {case.verdict.verdict}, expected {case.expected}{how}: {case.verdict.reason}"
            yield f"{line} ({1000 * case.seconds:.1f} ms)"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) or "none"
