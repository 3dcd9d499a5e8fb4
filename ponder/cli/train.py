"""ponder train: a pretrained model is trained by one method and measured before and after."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from ponder.cli.bars import Bars
from ponder.cli.written import again
from ponder.folder import Folder
from ponder.settings import parse_set


@click.command("train")
@click.argument("method", metavar="sft|steer|prune|distill")
@click.argument("recipe", required=False, type=click.Path(path_type=Path))
@click.option("--out", metavar="DIR", help="The run folder. [default: runs/METHOD-TIME]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--seed", metavar="N", type=int, help="Seed of all randomness. [default: the recipe's]")
@click.option("--plan", "planned", is_flag=True, help="Print the memory that it needs, and end.")
@click.option("--set", "changes", metavar="KEY=VALUE", multiple=True, help="Any key of the recipe, as TABLE.key=value.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout: report.json.")
def command(
    method: str,
    recipe: Path | None,
    out: str | None,
    resume: bool,
    seed: int | None,
    planned: bool,
    changes: tuple[str, ...],
    as_json: bool,
) -> int:
    """Trains a model on a task: sft (given completions), steer (reinforcement learning on verdicts), prune (a reward
    model of its chains) or distill (what a search found). RECIPE is a TOML file (recipes/train); with --resume, the
    run's own."""
    from ponder.engines.hf import loading

    loading.installed()
    from ponder.errors import UsageError, unknown
    from ponder.training.recipe import METHODS, read

    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if recipe is None:
        if not (resume and out and Folder(Path(out)).recipe.exists()):
            raise UsageError(f"ponder train {method}: no recipe; give a TOML file (see recipes/train)")
        recipe = Folder(Path(out)).recipe
    wanted = read(method, recipe, seed, parse_set(changes))
    if planned:
        return _plan(wanted, as_json)
    from ponder.train.parallel import here
    from ponder.training.run import checked, opened, run

    parts = checked(wanted)
    folder = opened(out, method, resume)
    try:
        with Bars(show=sys.stderr.isatty() and here().main) as bars:
            report = run(wanted, parts, folder, bars.watch)
    except KeyboardInterrupt:
        click.echo(f"interrupted; what is done is kept. To go on:\n  {again(folder.path)}", err=True)
        return 130
    if not here().main:
        return 0
    if as_json:
        click.echo(json.dumps(report))
    else:
        _show(report)
    click.echo(f"checkpoint: {folder.path / 'checkpoints' / ('prm' if method == 'prune' else 'policy')}", err=True)
    return 0


def _plan(recipe: Any, as_json: bool) -> int:
    from ponder.training.plan import plan

    found = plan(recipe)
    if as_json:
        click.echo(json.dumps(found.as_dict()))
    else:
        for line in found.lines():
            click.echo(line)
    return 0


def _show(report: dict[str, Any]) -> None:
    names = {"pass@1": ("before", "after", "gain")}
    if "rules" in report:
        names = {name: (name, "", "") for name in report["rules"]}
    elif "greedy_gain" in report:
        names["greedy"] = ("greedy_before", "greedy_after", "greedy_gain")
    lines = [("", "rule", "accuracy", "gain")] if "rules" in report else [("", "before", "after", "gain")]
    for title, (before, after, gain) in names.items():
        if "rules" in report:
            found = report["rules"][before]
            lines.append(("", title, _share(found), _gain(found["gain"])))
        else:
            lines.append((title, _share(report[before]), _share(report[after]), _gain(report[gain])))
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    for line in lines:
        click.echo("  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).strip())
    click.echo(f"{report['tokens']:,} tokens, {report['seconds']:.0f} s")


def _share(found: dict[str, Any]) -> str:
    return f"{found['accuracy']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _gain(found: dict[str, Any]) -> str:
    spread = f" ± {100 * found['se']:.1f}" if found["se"] is not None else ""
    return f"{found['points']:+.1f} points{spread}: {found['verdict']}"
