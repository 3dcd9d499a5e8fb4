"""ponder loop: the whole loop, from nothing to a report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from ponder.cli.written import again, made_by
from ponder.folder import Folder


@click.command("loop")
@click.argument("recipe", required=False, type=click.Path(path_type=Path))
@click.option("--out", metavar="DIR", help="The run folder. [default: runs/loop-TIME]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--seed", metavar="N", type=int, help="Seed of all randomness. [default: the recipe's]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout: report.json.")
def command(recipe: Path | None, out: str | None, resume: bool, seed: int | None, as_json: bool) -> int:
    """A tiny model learns a task, is steered by reinforcement learning and pruned by a reward model, and both are
    measured: accuracy with and without each, at equal tokens. RECIPE is a TOML file (recipes/loop.toml is the default);
    with --resume, the run's own."""
    from ponder.engines.hf import loading

    loading.installed()
    from ponder.loop.recipe import read
    from ponder.loop.run import run

    if resume and recipe is None and out and Folder(Path(out)).recipe.exists():
        recipe = Folder(Path(out)).recipe
    wanted = read(recipe, seed)
    folder = Folder.open(out, "loop", resume)
    try:
        with Progress(show=sys.stderr.isatty()) as progress:
            report = run(wanted, folder, progress.watch, made_by())
    except KeyboardInterrupt:
        click.echo(f"interrupted; what is done is kept. To go on:\n  {again(folder.path)}", err=True)
        return 130
    if as_json:
        click.echo(json.dumps(report))
    else:
        _show(report)
    click.echo(f"page: {folder.path / 'report.html'}", err=True)
    return 0


class Progress:
    """Bars where stderr is a terminal, else a line for each phase that is done."""

    def __init__(self, *, show: bool) -> None:
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        if show:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bars = Bars(*columns, TextColumn("{task.fields[told]}"), console=Console(stderr=True))

    def __enter__(self) -> Progress:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    def watch(self, phase: str, step: int, steps: int, figures: dict[str, float]) -> None:
        over = "done" in figures
        if over and not self._bars:
            words = [f"{name} {figures[name]:.3g}" for name in ("loss", "reward", "auroc") if name in figures]
            click.echo(" · ".join([f"{phase}: {figures['seconds']:.1f} s", *words]), err=True)
        if self._bars and not (over and phase in self._tasks):
            shown = ("loss", "reward", "dropped", "auroc", "seconds")
            told = " ".join(f"{name} {figures[name]:.3g}" for name in shown if name in figures)
            if phase not in self._tasks:
                self._tasks[phase] = self._bars.add_task(phase, total=steps, told="")
            self._bars.update(self._tasks[phase], completed=step, total=steps, told=told)


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
    for name, found in report["effects"].items():
        spread = 100 * (found["se"] or 0)
        click.echo(f"{name}: {found['points']:+.1f} points ± {spread:.1f}: {found['verdict']}")
