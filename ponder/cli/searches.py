"""ponder searches: the parts of a plan that are known."""

from __future__ import annotations

import json
from typing import Any

import click

from ponder.registry import Registry


def registries() -> list[Registry]:
    from ponder.scorers import SCORERS
    from ponder.search import SEARCHES
    from ponder.select import SELECTORS
    from ponder.stop import STOPS

    return [SEARCHES, SELECTORS, STOPS, SCORERS]


@click.command("searches")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(as_json: bool) -> None:
    """The searches, selectors, stop rules and scorers, with what --set may change in each."""
    found: dict[str, list[dict[str, Any]]] = {
        registry.kind: [
            {"name": name, "about": entry.about, "settings": registry.settings(name)}
            for name, entry in registry.items()
        ]
        for registry in registries()
    }
    if as_json:
        click.echo(json.dumps({"schema": 1, **{kind.replace(" ", "_"): entries for kind, entries in found.items()}}))
        return
    for kind, entries in found.items():
        click.echo(f"{kind}:")
        for entry in entries:
            click.echo(f"  {entry['name']:<12}{entry['about']}")
            for key, value in entry["settings"].items():
                click.echo(f"  {'':<12}  --set {entry['name']}.{key}={value}")
