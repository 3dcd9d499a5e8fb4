"""ponder doctor: what this installation can do, and where each setting comes from."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from typing import Any

import click

from ponder import __version__
from ponder.building import masked
from ponder.settings import KEYS, resolve

EXTRAS = {
    "data": ("datasets",),
    "llamacpp": ("xllamacpp",),
}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(as_json: bool) -> int:
    """Versions, extras, and the settings in force with the source of each; keys are never shown."""
    found = report()
    if as_json:
        click.echo(json.dumps(found))
        return 0
    click.echo(
        f"ponder {found['ponder']} · Python {found['python']} · {found['machine']} · {found['processors']} processors"
    )
    for name, extra in found["extras"].items():
        state = "installed" if extra["installed"] else f"absent: pip install 'ponder[{name}]'"
        click.echo(f"  [{name}] {state}")
    click.echo(f"API key: {found['api_key']}")
    click.echo("settings in force:")
    for key, setting in found["settings"].items():
        click.echo(f"  {key:<14}{setting['value']!s:<28} {setting['source']}")
    return 0


def report() -> dict[str, Any]:
    resolved = resolve({})
    values = resolved.settings.model_dump(by_alias=True)
    values["base-url"] = masked(values["base-url"])
    name = resolved.settings.api_key_env
    return {
        "schema": 1,
        "ponder": __version__,
        "python": sys.version.split()[0],
        "machine": platform.platform(),
        "processors": os.cpu_count(),
        "extras": {
            extra: {"installed": all(importlib.util.find_spec(m) is not None for m in modules), "modules": modules}
            for extra, modules in EXTRAS.items()
        },
        "api_key": f"{name} is set ({'*' * 8})" if os.environ.get(name) else f"{name} is not set",
        "settings": {key: {"value": values[key], "source": resolved.sources.get(key, "default")} for key in KEYS},
    }
