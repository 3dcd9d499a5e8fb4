"""ponder eval: accuracy against cost."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from ponder import building, results
from ponder.arms import scored
from ponder.cli.flags import FLAGS, shared
from ponder.cli.progress import Progress
from ponder.cli.written import again, made_by
from ponder.errors import UsageError
from ponder.evaluate import Plan, Run, label, run
from ponder.folder import Folder
from ponder.journal import Journal
from ponder.settings import Settings, parse_set, read_toml, resolve
from ponder.tables import placed


@click.command("eval")
@click.argument("recipe", required=False, type=click.Path(path_type=Path))
@shared(*FLAGS)
@click.option(
    "--replay",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="Read selectors and stop rules off a recorded run; no engine.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(recipe: Path | None, replay: Path | None, resume: bool, as_json: bool, **flags: Any) -> int:
    """Accuracy against cost on a task, one row for every search, selector, stop rule and number of samples given.
    Draws that are equal are shared. RECIPE is a TOML file whose keys are the flags' names."""
    flags["set"] = parse_set(flags["set"])
    if replay is not None:
        settings = _recorded(replay, recipe, flags)
        return _replay(replay, settings, as_json)
    settings, task_given = _settings(recipe, flags)
    try:
        return _fresh(settings, task_given, resume, as_json)
    except UsageError as error:
        raise (placed(error, recipe) if recipe else error) from None


def _settings(recipe: Path | None, flags: dict[str, Any]) -> tuple[Settings, bool]:
    resolved = resolve(flags, recipe)
    return resolved.settings, "task" in resolved.sources


def _fresh(settings: Settings, task_given: bool, resume: bool, as_json: bool) -> int:
    before = Folder.chosen(settings.out) if resume else None
    engine = building.engine(settings, before)  # without one, nothing else that is wrong matters yet
    plan = building.plan(settings, building.task(settings, task_given), building.parts(settings), engine)
    purse = building.purse(settings)
    building.fit(engine, settings, plan)
    folder = Folder.open(settings.out, "eval", resume)
    resumed = folder.journal.exists()
    recorded = settings.model_dump(by_alias=True) | {
        "task": building.task_name(settings, task_given),
        "base-url": building.masked(settings.base_url),
        "out": None,
    }
    folder.begin(recorded, label(engine, plan, purse), getattr(engine, "facts", None))
    journal = Journal(folder.journal)
    if not journal.header:
        schedule = plan.schedule or engine.capabilities.schedule
        journal.append(
            {"kind": "run", "schema": 1, "schedule": schedule, "policy": engine.policy}, commit=schedule == "lockstep"
        )
    try:
        with Progress(plan, purse, show=sys.stderr.isatty()) as progress:
            done = run(plan, engine, journal, purse, folder.samples, resumed=resumed, watch=progress.watch)
    except KeyboardInterrupt:
        click.echo(f"interrupted; what is done is kept. To go on:\n  {again(folder.path)}", err=True)
        return 130
    finally:
        journal.close()
    return _show(done, plan, engine.policy, folder, as_json)


def _recorded(replay: Path, recipe: Path | None, flags: dict[str, Any]) -> Settings:
    """The run's own settings, changed by flags (and a recipe): selectors, stop rules, samples."""
    if not (replay / "journal.jsonl").exists():
        raise UsageError(f"--replay {replay}: holds no journal.jsonl; name a run folder of `ponder eval`")
    values = {key: value for key, (value, _) in read_toml(replay / "recipe.toml").items()}
    if recipe is not None:
        values |= {key: value for key, (value, _) in read_toml(recipe).items()}
    changed = resolve(flags, environment={}, folder=replay / "none", user=replay / "none")
    recorded = values.get("set", {})
    for key in changed.sources:
        values[key] = getattr(changed.settings, key.replace("-", "_"))
    if "scorer" not in changed.sources and not scored(values["select"], values["search"]):
        values["scorer"] = []  # that of the run, which the selectors asked for now have no use for
    settings = Settings(**{key: value for key, value in values.items() if key != "set"})
    parts = building.split(recorded).parts
    told = {str(v) for k, v in (parts | building.split(changed.settings.set).parts).items() if k.endswith(".by")}
    in_use = {*settings.search, *settings.select, *settings.scorer, *settings.stop, settings.task, *told}
    kept = {k: v for k, v in parts.items() if k.partition(".")[0] in in_use}
    values["set"] = kept | building.split(recorded).driver | changed.settings.set
    for key in ("dollars", "seconds"):
        values.pop(key, None)  # nothing is spent
    return Settings(**values)


def _replay(replay: Path, settings: Settings, as_json: bool) -> int:
    plan = building.plan(settings, building.task(settings, True), building.parts(settings))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Folder.open(settings.out, "replay", False) if settings.out else Folder(Path(scratch))
        journal = Journal(replay / "journal.jsonl", readonly=True)
        try:
            done = run(plan, None, journal, building.purse(settings), folder.samples)
        finally:
            journal.close()
        folder.begin(settings.model_dump(by_alias=True) | {"out": None}, done.label)
        return _show(done, plan, journal.header.get("policy", ""), folder, as_json, kept=settings.out is not None)


def _show(done: Run, plan: Plan, model: str, folder: Folder, as_json: bool, *, kept: bool = True) -> int:
    found = results.document(done, plan.task, model, folder.samples)
    folder.write("report.json", json.dumps(found, indent=1) + "\n")
    command = made_by()
    report = (
        folder.write("report.html", results.page(done, plan.task, found, folder.samples, command)) if kept else None
    )
    if as_json:
        click.echo(json.dumps(found))
    else:
        _table(found, model, plan.task.name)
    for line in results.remarks(found):
        click.echo(line, err=True)
    if report:
        click.echo(f"page: {report}", err=True)
    return 0 if done.sound else 3


def _table(found: dict[str, Any], model: str, task: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{model} on {task}", title_justify="left", caption="tokens: generated, a problem", caption_justify="left"
    )
    columns, rows = results.table(found["rows"])
    for name, right in columns:
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 140).print(table)
