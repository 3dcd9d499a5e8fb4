"""ponder curves: exact accuracy under repeated sampling, from recorded samples."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ponder.cli.written import complain, made_by, write_page
from ponder.measure.names import CURVES


@click.command("curves")
@click.argument("samples", nargs=-1, required=True, metavar="SAMPLES…")
@click.option("--task", metavar="NAME|PATH", help="The task that says which answers are equal. [default: text]")
@click.option(
    "--scorer", metavar="NAME", help="Whose scores best-of-n and the weighted vote use. [default: the one there]"
)
@click.option("--arm", metavar="NAME", help="Only rows of this arm, or of arms whose names begin so.")
@click.option(
    "--to",
    metavar="K",
    type=click.IntRange(min=1, max=10**9),
    help="Points up to K samples, extrapolated beyond those recorded, with what that leaves open.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--html", metavar="FILE", type=click.Path(path_type=Path), help="Write a page with pictures.")
def command(
    samples: tuple[str, ...],
    task: str | None,
    scorer: str | None,
    arm: str | None,
    to: int | None,
    as_json: bool,
    html: Path | None,
) -> int:
    """Curves of accuracy against samples: pass@k, maj@k and, with scores, best of k and the weighted vote, for
    k = 1, 2, 4, …, n, each with a 95 % interval over problems. SAMPLES are JSONL files of sample rows, run folders,
    or -.

    A row that cannot be used is named on stderr and left out (exit 2)."""
    from ponder import recorded
    from ponder.measure import curves

    found = recorded.load(samples, task=task, scorer=scorer, arm=arm)
    document = curves.document(found)
    if to is not None:
        from ponder.measure.longer import lengthen

        document = lengthen(document, found, to)
    if html is not None:
        from ponder.measure.page import curves_page

        names = ", ".join(Path(name).name or name for name in samples)
        write_page(html, curves_page(document, title=f"Accuracy under repeated sampling: {names}", command=made_by()))
    if as_json:
        click.echo(json.dumps(document))
    else:
        _table(document)
    for remark in document["remarks"]:
        click.echo(f"note: {remark}", err=True)
    return complain(found.bad)


def _table(document: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    curves: Mapping[str, Sequence[Mapping[str, Any]]] = document["curves"]
    table = Table(
        title=f"{document['problems']:,} problems, {document['samples']:,} samples",
        title_justify="left",
        caption=_caption(document),
        caption_justify="left",
    )
    costs = any(point["tokens"] is not None for point in curves["pass"])
    for name in ("k", "problems", *(("tokens",) if costs else ()), *(CURVES[name] for name in curves)):
        table.add_column(name, justify="right", no_wrap=True)
    for i, point in enumerate(curves["pass"]):
        mark = "≈ " if point["extrapolated"] else ""
        cells = [f"{mark}{point['k']}", f"{point['problems']:,}", *([_count(point["tokens"])] if costs else [])]
        table.add_row(*cells, *(_span(points[i]) for points in curves.values()))
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _caption(document: Mapping[str, Any]) -> str:
    guesses = document["expected_guesses"]
    parts = ["value and 95 % interval over problems"]
    if document["scorer"]:
        parts.append(f"scores: {document['scorer']}")
    if guesses["value"] is not None and guesses["cap"] > 1:
        parts.append(f"expected guesses to a success, of at most {guesses['cap']}: {guesses['value']:.3g}")
    return "\n".join(parts)


def _span(point: Mapping[str, Any]) -> str:
    if point["value"] is None:
        return "–"
    return f"{point['value']:.3f}  {point['low']:.3f}–{point['high']:.3f}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"
