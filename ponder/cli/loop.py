"""ponder loop: the whole loop, from nothing to a report."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from ponder.cli.bars import Bars
from ponder.cli.written import again, made_by
from ponder.errors import UsageError
from ponder.folder import Folder
from ponder.settings import parse_set

PHASES = 2  # that ever run side by side


@click.command("loop")
@click.argument("recipe", required=False, type=click.Path(path_type=Path))
@click.option("--out", metavar="DIR", help="The run folder. [default: runs/loop-TIME]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--seed", metavar="N", type=int, help="Seed of all randomness. [default: the recipe's]")
@click.option("--seeds", metavar="N", type=int, help="Runs with seeds SEED, SEED + 1, …. [default: the recipe's, 1]")
@click.option("--jobs", metavar="N", type=int, default=0, help="Seeds, or phases, at a time. [default: as cores allow]")
@click.option("--set", "given", metavar="KEY=VALUE", multiple=True, help="Of the recipe: controls=all, steer.lr=1e-4.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout: report.json.")
def command(
    recipe: Path | None,
    out: str | None,
    resume: bool,
    seed: int | None,
    seeds: int | None,
    jobs: int,
    given: tuple[str, ...],
    as_json: bool,
) -> int:
    """A tiny model learns a task, is steered by reinforcement learning and pruned by a reward model, and both are
    measured: accuracy with and without each, at equal tokens. RECIPE is a TOML file (recipes/loop.toml is the default);
    with --resume, the run's own."""
    from ponder.engines.hf import loading

    loading.installed()
    from ponder.loop.recipe import read

    if resume and recipe is None and out and Folder(Path(out)).recipe.exists():
        recipe = Folder(Path(out)).recipe
    said = {key: value for key, value in {"seed": seed, "seeds": seeds}.items() if value is not None}
    wanted = read(recipe, parse_set(given) | said)
    if jobs < 0:
        raise UsageError(f"--jobs {jobs}: must be at least 1 (0: as cores allow)")
    folder = Folder.open(out, "loop", resume)
    try:
        with Bars(show=sys.stderr.isatty()) as bars:
            report = _run(wanted, folder, bars.watch, jobs)
    except KeyboardInterrupt:
        click.echo(f"interrupted; what is done is kept. To go on:\n  {again(folder.path)}", err=True)
        return 130
    if as_json:
        click.echo(json.dumps(report))
    else:
        _show(report)
    click.echo(f"page: {folder.path / 'report.html'}", err=True)
    return 0


def _run(recipe: Any, folder: Folder, watch: Any, jobs: int) -> dict[str, Any]:
    from ponder.loop import run, seeds

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    jobs = jobs or max(1, cores // recipe.threads)
    if recipe.seeds > 1:
        return seeds.run(recipe, folder, watch, made_by(), jobs)
    return run.run(recipe, folder, watch, made_by(), min(jobs, PHASES))


def _show(report: dict[str, Any]) -> None:
    cells, rules = report["two_by_two"], report["rules"]

    def cell(name: str) -> str:
        return f"{cells[name]['accuracy']:.3f} ± {cells[name]['se'] or 0:.3f}"

    head = ("", f"pruning off ({rules['off']})", f"pruning on ({rules['on']})")
    lines = [head] + [
        (f"steering {key}", cell(f"steer_{key}_prune_off"), cell(f"steer_{key}_prune_on")) for key in ("off", "on")
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    for line in lines:
        click.echo("  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip())
    over = report.get("over_seeds", {})
    for name, found in report["effects"].items():
        spread = 100 * (found["se"] or 0)
        words = f"{name.replace('_', ' ')}: {found['points']:+.1f} points ± {spread:.1f}: {found['verdict']}"
        if name in over:
            own = over[name]
            words += f" · over seeds {own['mean']:+.1f} ({own['low']:+.1f} to {own['high']:+.1f}, {own['level']:.0%})"
        click.echo(words)
