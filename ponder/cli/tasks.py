"""ponder tasks: what can be asked."""

from __future__ import annotations

import json

import click


@click.command("tasks")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(as_json: bool) -> None:
    """The registered tasks. A path to a JSONL or CSV file with `problem` and `reference` is a task, too."""
    from ponder.tasks import FAMILIES, TASKS
    from ponder.worlds import WORLDS

    found = [{"name": name, "about": entry.about} for name, entry in TASKS.items()]
    found += [{"name": f"{name}:NAME", "about": one.about} for name, one in FAMILIES.items() if name != "simulated"]
    found += [{"name": f"simulated:{world.name}", "about": world.about} for world in WORLDS.values()]
    found.append(
        {"name": "PATH", "about": "your own JSONL or CSV: problem, reference, and optionally id, domain, kind"}
    )
    if as_json:
        click.echo(json.dumps({"schema": 1, "tasks": found}))
        return
    for entry in found:
        click.echo(f"{entry['name']:<22}{entry['about']}")
