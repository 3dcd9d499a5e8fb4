"""ponder score: what a scorer says of samples that are recorded already."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import click

from ponder.building import Split, split
from ponder.cli.flags import shared
from ponder.cli.written import complain
from ponder.errors import UsageError
from ponder.settings import parse_set
from ponder.whole import whole_file


@click.command("score")
@click.argument("samples", metavar="SAMPLES")
@click.option("--scorer", "name", required=True, metavar="NAME", help="Whose scores: prm, orm, value, confidence, …")
@click.option(
    "--task", metavar="NAME|PATH", help="The task that was sampled, for what was asked. [default: the run's own]"
)
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Where the rows go. [default: stdout]")
@shared("set")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout: what came of it. Needs --out.")
def command(samples: str, name: str, task: str | None, out: Path | None, as_json: bool, **flags: Any) -> int:
    """Adds a scorer's scores to sample rows: `scores`, `score` and the steps' scores where there were none, and
    `scorer_tokens`. SAMPLES is a JSONL file of sample rows, a run folder, or -.

    Rows keep their order and all their other fields. A row that cannot be used is named on stderr and left out (exit
    2)."""
    from ponder import recorded, rescore
    from ponder.scorers import SCORERS

    if as_json and out is None:
        raise UsageError("--json prints what came of it, and the rows need a place; add --out FILE")
    SCORERS.check(name)
    own, options = _sorted(split(parse_set(flags["set"])), name, task)
    _other(out, recorded.located(samples))
    source = rescore.source(samples, task, options)
    scorer = SCORERS.build(name, settings=own)
    with _output(out) as stream:
        found = rescore.rescore(samples, scorer, source, stream.write)
    _show(found, scorer.needs, as_json)
    return complain(found.bad) or (0 if found.scored else 3)


def _sorted(values: Split, name: str, task: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the scorer and of the task. Raises UsageError for any other."""
    own: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for key, value in (values.driver | values.engine | values.parts).items():
        if key.startswith(f"{name}."):
            own[key.removeprefix(f"{name}.")] = value
        elif task and key.startswith(f"{task}."):
            options[key.removeprefix(f"{task}.")] = value
        else:
            known = f"{name}.KEY" + (f" or {task}.KEY" if task else "")
            raise UsageError(f"--set {key}: is not in use here; give {known}")
    return own, options


def _other(out: Path | None, samples: str | Path) -> None:
    """Raises UsageError if the output would take the place of the samples."""
    if out is None or str(samples) == "-":
        return
    if out.is_dir():
        raise UsageError(f"--out {out}: is a folder; name a file")
    same = out.exists() and Path(samples).exists() and os.path.samefile(out, samples)
    if same or os.path.realpath(out) == os.path.realpath(samples):
        raise UsageError(f"--out {out}: are the samples themselves; name another file")


@contextmanager
def _output(out: Path | None) -> Iterator[TextIO]:
    """stdout, or a file that appears when it is whole."""
    if out is None:
        yield sys.stdout
        return
    with whole_file(out) as part:
        try:
            with open(part, "w", encoding="utf-8") as stream:
                yield stream
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _show(found: Any, needs: Mapping[str, str], as_json: bool) -> None:
    area = found.auroc()
    if as_json:
        document = {"schema": 1, "scorer": found.scorer, "rows": found.scored + found.unscorable}
        document |= {"scored": found.scored, "unscorable": found.unscorable, "bad": len(found.bad)}
        click.echo(json.dumps(document | {"tokens": found.tokens, "auroc": area}))
    words = [f"{found.scored:,} rows scored by {found.scorer}, {found.unscorable:,} unscorable"]
    words.append(f"{found.tokens:,} tokens read")
    if area is not None:
        low, high = (f"{area[end]:.3f}" if area[end] is not None else "?" for end in ("low", "high"))
        words.append(f"AUROC within problems {area['value']:.3f} ({low}–{high})")
    click.echo(" · ".join(words), err=True)
    if not found.scored and "logprobs" in needs:
        click.echo(
            f"note: {found.scorer} needs each token's log-prob, and the rows have no field 'logprobs'; read it off a "
            f"run's journal with `ponder eval --replay RUN --select best --scorer {found.scorer}`",
            err=True,
        )
