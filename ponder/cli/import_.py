"""ponder import: sample rows from the logs of other tools."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click

from ponder.cli.written import SHOWN
from ponder.errors import UsageError, storage_error


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path(path_type=Path))
@click.option(
    "--from", "source", required=True, metavar="FORMAT", help="inspect, lm-eval, every-eval-ever, csv or jsonl."
)
@click.option(
    "--map", "pairs", multiple=True, metavar="FIELD=COLUMN", help="Where a field of the rows comes from (csv, jsonl)."
)
@click.option("--metric", metavar="NAME", help="Which metric or scorer of the log says what is correct.")
@click.option("--filter", "filter_", metavar="NAME", help="Which of lm-eval's filters gave the answer.")
@click.option(
    "--threshold", type=float, default=1.0, metavar="X", help="A graded value from X on is correct. [default: 1]"
)
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Where the rows go. [default: stdout]")
def command(
    files: tuple[Path, ...],
    source: str,
    pairs: tuple[str, ...],
    metric: str | None,
    filter_: str | None,
    threshold: float,
    out: Path | None,
) -> int:
    """Sample rows (JSONL, schema 1) from logs. Several files are pooled: records of the same problem become its
    samples, in order. A record that cannot be used is named on stderr and gives no row; the others are written all the
    same (exit 2)."""
    from ponder.imports import FORMATS
    from ponder.imports.base import Options

    fields = _fields(pairs, source)
    read = FORMATS.load(source)
    options = Options(metric, filter_, threshold, fields)
    written = bad = 0
    taken: dict[str, int] = {}
    with _output(out) as stream:
        for file, path in enumerate(files):
            for found in read(path, options):
                if found.error is not None:
                    bad += 1
                    if bad <= SHOWN:
                        click.echo(f"ponder: {found.where}: {found.error}", err=True)
                for row in found.rows:
                    _number(row, taken, file)
                    stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                    written += 1
        if not written:
            raise UsageError(f"{', '.join(map(str, files))}: no row could be made; is it a log of --from {source}?")
    if bad > SHOWN:
        click.echo(f"ponder: … and {bad - SHOWN:,} more bad records", err=True)
    click.echo(f"{written:,} rows, {len(taken):,} problems{f': {out}' if out else ''}", err=True)
    return 2 if bad else 0


def _number(row: dict[str, object], taken: dict[str, int], file: int) -> None:
    """Gives the row its sample number: its own in the first file, else the next of its problem."""
    problem = str(row["problem"])
    number = row.get("sample")
    if file or not isinstance(number, int):
        number = row["sample"] = taken.get(problem, 0)
    taken[problem] = max(taken.get(problem, 0), number + 1)


def _fields(pairs: tuple[str, ...], source: str) -> dict[str, str]:
    known = {
        "problem", "answer", "correct", "sample", "score", "scores", "quality", "tokens", "scorer_tokens", "policy",
        "domain", "finish", "reason", "text", "arms",
    }  # fmt: skip
    from ponder.errors import unknown

    if pairs and source not in ("csv", "jsonl"):
        raise UsageError(f"--map: {source} knows its own fields; leave it out, or use --from jsonl")
    fields: dict[str, str] = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        if not equals or not column:
            raise UsageError(f"--map {pair}: give FIELD=COLUMN, as in --map correct=passed")
        if name not in known:
            raise unknown("field", name, known, where="--map: ")
        fields[name] = column
    return fields


@contextmanager
def _output(out: Path | None) -> Iterator[TextIO]:
    """stdout, or a file that appears when it is whole."""
    if out is None:
        yield sys.stdout
        return
    part = out.with_name(f".{out.name}.part")
    try:
        with open(part, "w", encoding="utf-8") as stream:
            yield stream
        os.replace(part, out)
    except OSError as error:
        raise storage_error(out, error) from None
    finally:
        part.unlink(missing_ok=True)
