"""ponder compare: two sets of samples on the same problems."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ponder.cli.written import complain, made_by, write_page
from ponder.errors import UsageError
from ponder.measure.names import CURVES


@click.command("compare")
@click.argument("a")
@click.argument("b")
@click.option("--task", metavar="NAME|PATH", help="The task that says which answers are equal. [default: text]")
@click.option("--scorer", metavar="NAME[,NAME]", help="Whose scores to use; two names: of A, of B.")
@click.option("--arm", metavar="NAME[,NAME]", help="Only rows of this arm; two names: of A, of B.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--html", metavar="FILE", type=click.Path(path_type=Path), help="Write a page with pictures.")
def command(
    a: str, b: str, task: str | None, scorer: str | None, arm: str | None, as_json: bool, html: Path | None
) -> int:
    """The difference of B minus A on the problems that both have, for each curve and k, with a 95 % interval of the
    paired difference. A and B are files of sample rows or run folders; to compare two arms of one run, name it twice
    and give --arm ARM_A,ARM_B."""
    from ponder import recorded
    from ponder.measure import multiplier, paired

    arms, scorers = _pair("--arm", arm), _pair("--scorer", scorer)
    sides = [recorded.load([path], task=task, scorer=scorers[i], arm=arms[i]) for i, path in enumerate((a, b))]
    names = (a, b) if a != b or arms[0] == arms[1] else (f"{a} {arms[0]}", f"{b} {arms[1]}")
    document = paired.document(sides[0], sides[1], names)
    document["multiplier"] = multiplier.multipliers(*sides)
    document["independent"] = multiplier.flat(*sides)
    if html is not None:
        from ponder.measure.page import compare_page

        title = f"{Path(names[1]).name} against {Path(names[0]).name}"
        told = document | {"remarks": [*document["remarks"], *_worth(document)]}
        write_page(html, compare_page(told, title=title, command=made_by()))
    if as_json:
        click.echo(json.dumps(document))
    else:
        _table(document)
        for line in _worth(document):
            click.echo(line)
    for remark in document["remarks"]:
        click.echo(f"note: {remark}", err=True)
    return complain([*sides[0].bad, *sides[1].bad])


def _pair(flag: str, value: str | None) -> tuple[str | None, str | None]:
    parts = [None] if value is None else [part.strip() for part in value.split(",")]
    if len(parts) > 2 or "" in parts:
        raise UsageError(f"{flag} {value}: give one name, or two with a comma: of A, of B")
    return parts[0], parts[-1]


def _table(document: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"A: {document['a']['name']}\nB: {document['b']['name']}\n{_common(document)}",
        title_justify="left",
        caption="paired difference and its 95 % interval over problems",
        caption_justify="left",
    )
    for name in ("curve", "k", "problems", "A", "B", "B − A", "95 % interval", "verdict"):
        table.add_column(name, justify="left" if name in ("curve", "verdict") else "right", no_wrap=True)
    for name, points in document["differences"].items():
        for p in points:
            known = p["difference"] is not None
            cells = [_share(p["a"]), _share(p["b"]), _signed(p["difference"])]
            span = f"{_signed(p['low'])} to {_signed(p['high'])}" if known else "–"
            table.add_row(CURVES[name], str(p["k"]), f"{p['problems']:,}", *cells, span, p["verdict"])
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _worth(document: Mapping[str, Any]) -> list[str]:
    """A sentence a curve: how many samples of A one of B is worth."""
    lines = []
    for name, found in document["multiplier"].items():
        if "omitted" in found:
            lines.append(f"{CURVES[name]}: no multiplier, because {found['omitted']}")
        elif found["bound"]:
            word = "at least" if found["bound"] == "lower" else "at most"
            lines.append(f"{CURVES[name]}: one sample of B is worth {word} {found['value']:.3g} of A")
        else:
            span = f"{found['low']:.3g} to {found['high']:.3g}"
            tokens = f"; one token, {found['tokens']:.3g}" if "tokens" in found else ""
            lines.append(f"{CURVES[name]}: one sample of B is worth {found['value']:.3g} ({span}) of A{tokens}")
    if found := document["independent"]:
        fits = "as independent chains do" if found["fits"] else "which independent chains of one length would not"
        lines.append(
            f"tokens a sample: A {found['a']:,.0f} at {found['samples_a']:,} a problem, B {found['b']:,.0f} at "
            f"{found['samples_b']:,}: {found['ratio']:.2f} times as many, {fits}"
        )
    return lines


def _common(document: Mapping[str, Any]) -> str:
    words = f"{document['problems']:,} problems in common"
    for side in "ab":
        if missing := document[f"only_{side}"]:
            some = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
            words += f"; {len(missing):,} only in {side.upper()} ({some})"
    return words


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")
