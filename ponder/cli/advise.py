"""ponder advise: where the next unit of compute pays, from recorded samples."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ponder.cli.written import complain, made_by, write_page
from ponder.errors import UsageError


@click.command("advise")
@click.argument("samples", nargs=-1, required=True, metavar="SAMPLES|RUN…")
@click.option("--samples", "n", metavar="N", type=click.IntRange(min=1), help="Chains a problem that you can afford.")
@click.option(
    "--tokens",
    metavar="T",
    type=click.FloatRange(min=1),
    help="Generated tokens a problem that you can afford. [default: the samples there are]",
)
@click.option("--task", metavar="NAME|PATH", help="The task that says which answers are equal. [default: text]")
@click.option("--scorer", metavar="NAME", help="Whose taste is judged. [default: the one there]")
@click.option(
    "--arm",
    metavar="NAME",
    help="Only rows of this arm, or of arms whose names begin so. [default: a run's largest of independent chains]",
)
@click.option("--seed", metavar="N", type=int, default=0, show_default=True, help="Seed of what is simulated.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--html", metavar="FILE", type=click.Path(path_type=Path), help="Write a page with pictures.")
def command(
    samples: tuple[str, ...],
    n: int | None,
    tokens: float | None,
    task: str | None,
    scorer: str | None,
    arm: str | None,
    seed: int,
    as_json: bool,
    html: Path | None,
) -> int:
    """What more samples, a better taste, better chances and shorter chains would each add at your budget, with 95 %
    intervals; how far the scorer's taste reaches, and where chains go off track. SAMPLES are JSONL files of sample
    rows, or run folders.

    What these samples cannot tell is left out, and the reason said."""
    if n is not None and tokens is not None:
        raise UsageError("--samples and --tokens: give one, the other follows from it")
    if "-" in samples:
        raise UsageError("-: advise reads its samples twice; write them to a file first")
    from ponder import recorded
    from ponder.measure import advice, details

    chosen = recorded.largest(samples) if arm is None else None
    if chosen is not None:
        arm = chosen[0]
    found = recorded.load(samples, task=task, scorer=scorer, arm=arm)
    paths = [recorded.located(path) for path in samples]
    more = details.read(paths, scorer=found.scorer, choose=recorded.chooser(arm))
    document = advice.document(found, more, n=n, budget=tokens, seed=seed)
    if chosen is not None:
        document["remarks"].insert(0, chosen[1])
    if html is not None:
        from ponder.measure.advise_page import page

        names = ", ".join(Path(name).name or name for name in samples)
        write_page(html, page(document, title=f"Where the next unit of compute pays: {names}", command=made_by()))
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

    from ponder.measure import words

    at = document["accuracy"]
    budget = f"budget: {document['affordable']:,.3g} samples a problem"
    if at is not None:
        picked = {"maj": "by vote", "best_of_n": f"by {document['scorer']}"}[document["select"]]
        budget += f", accuracy {picked} {at['value']:.3f}"
    table = Table(
        title=f"{document['problems']:,} problems, {document['samples']:,} samples; {budget}",
        title_justify="left",
        caption="gain of each lever in points, 95 % interval",
        caption_justify="left",
    )
    for name in ("lever", "change", "gain", "95 % interval"):
        table.add_column(name, justify="left" if name in ("lever", "change") else "right")
    for found in document["levers"]:
        if "omitted" in found:
            table.add_row(words.TITLES[found["lever"]], found["omitted"], "–", "–")
            continue
        gain, low, high = (words.points(found[key]) for key in ("gain", "low", "high"))
        table.add_row(words.TITLES[found["lever"]], found["change"], gain, f"{low} to {high}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for sentence in (
        words.first,
        words.overhang,
        words.ceiling,
        words.noise,
        words.length,
        words.votes,
        words.selector,
    ):
        if said := sentence(document):
            console.print(said, highlight=False)
