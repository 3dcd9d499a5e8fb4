#!/usr/bin/env python3
"""Writes the pages of docs/reference that come from code: commands, settings, engines, parts, tasks.

python docs/generate.py            write them
python docs/generate.py --check    exit 1 if a committed page differs from what the code says
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from ponder.building import DRIVER
from ponder.cli import COMMANDS, main
from ponder.cli.flags import FLAGS
from ponder.cli.searches import registries
from ponder.engines import openai_wire, scripted
from ponder.engines.base import Capabilities
from ponder.engines.hf.engine import declared as declared_by_hf
from ponder.engines.openai import OpenAIEngine
from ponder.engines.required import REQUIRED
from ponder.engines.simulated import SimulatedEngine
from ponder.settings import Settings, flag
from ponder.tasks import FAMILIES, TASKS, Entry, load_rules
from ponder.types import Sampling
from ponder.worlds import WORLDS

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py from the code; do not edit. -->\n\n"

SOURCES = """\
A value comes from the flag, else the recipe, else the environment, else `./ponder.toml`, else the user's file
(`~/.config/ponder/ponder.toml`), else the default. `ponder doctor` shows the source of each. In Python, the keyword
arguments of `ponder.Thinker` have the same names with `_` for `-`."""

OTHERS = """\
Searches, selectors, stop rules and scorers take `NAME.key=value`: see [Parts](parts.md). Tasks do, too: see
[Tasks](tasks.md)."""

PROMISED = """\
**Bold** is promised: an engine that declares less fails the conformance suite (`tests/engines`), which also holds each
to what it declares. The other values may change."""

DECLARED = """\
A server's column is what is declared before the first request, with default settings. What the server then refuses is
left out for the rest of the run; `--set without=seed,stop` says so from the start, and `--set continue=prefill` or
`continue=vllm` lets a chat server write on. A model in this process knows its context once it is loaded; its draws are
a function of their seeds in float32, in a shorter type also of the batch. `scripted` is for tests and has no name on
the command line."""

LOADED = {"context": "the model's", "batch": "2 × `rows`"}
"""What a model in this process declares once it is loaded."""

NAMES = """\
`--task` takes one of these names, or the path of a JSONL or CSV file. A name that is rules alone serves `solve` and
`verify`, not `eval`."""


def pages() -> dict[str, str]:
    """{file name: text} of every generated page."""
    found = {"cli": cli(), "settings": settings(), "engines": engines(), "parts": parts(), "tasks": tasks()}
    return {f"{name}.md": NOTE + text.rstrip() + "\n" for name, text in found.items()}


def cli() -> str:
    lines = ["# Commands", "", _sentence(main.help), ""]
    context = main.make_context("ponder", [], resilient_parsing=True)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        lines += [f"## ponder {name}", "", "```text", f"ponder {name} {' '.join(command.collect_usage_pieces(inner))}"]
        lines += ["```", "", _sentence(command.help), ""]
        for parameter in command.get_params(inner):
            record = parameter.get_help_record(inner)
            if record is not None and record[1]:
                lines.append(f"- `{record[0]}`: {_sentence(record[1]).replace('[', chr(92) + '[')}")
        lines.append("")
    lines += [
        "## Exit status",
        "",
        _table(
            ("status", "meaning"),
            [
                ("0", "done"),
                ("1", "failure: the engine, a file, or no answer that could be read"),
                ("2", "bad usage, or a bad input line (the good lines are done all the same)"),
                ("3", "finished on sound input, but some records failed or are unverified"),
                ("4", "`solve`: the budget ended without an answer"),
                ("130", "interrupted: what is done is kept, and the line that resumes is printed"),
            ],
        ),
    ]
    return "\n".join(lines)


def settings() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        key = flag(name)
        if key == "set":
            continue
        default = "" if field.default in (None, []) else _plain(field.default)
        help_text = FLAGS[key]["help"].partition(" [default")[0]
        rows.append((f"`{key}`", default, f"`PONDER_{key.upper().replace('-', '_')}`", help_text))
    wire = openai_wire.Options()
    spelled = {"continue": "continuing"}
    options = []
    for name, (_, wanted) in openai_wire._RULES.items():
        value = getattr(wire, spelled.get(name, name))
        options.append((f"`{name}`", _plain(value) if value not in (None, frozenset(), {}) else "", wanted))
    driver = {
        "live": ("the larger of 64 and `concurrency`", "problems open at once, admitted in order (W)"),
        "schedule": ("the engine's own", "`lockstep` or `free`"),
        "top_p": ("`1.0`", "nucleus sampling"),
        "top_k": ("`0`", "only the k likeliest tokens; 0 is no limit"),
        "min_p": ("`0.0`", "least probability relative to the likeliest token"),
    }
    assert set(driver) == set(DRIVER), "a driver setting has no line in docs/generate.py"
    return "\n".join(
        [
            "# Settings",
            "",
            SOURCES,
            "",
            _table(("key and flag", "default", "environment", "meaning"), rows),
            "",
            "## `--set`, or a `[set]` table",
            "",
            "The driver and sampling:",
            "",
            _table(("key", "default", "meaning"), [(f"`{key}`", *driver[key]) for key in DRIVER]),
            "",
            "The `openai` engine:",
            "",
            _table(("key", "default", "takes"), options),
            "",
            OTHERS,
        ]
    )


def engines() -> str:
    def server(**options: object) -> Capabilities:
        url = "http://127.0.0.1:8000/v1"
        return OpenAIEngine("NAME", base_url=url, sampling=Sampling(), options=options).capabilities

    declared = {
        "openai, chat": server(),
        "openai, completions": server(api="completions"),
        "hf": declared_by_hf(),
        "simulated": SimulatedEngine.capabilities,
        "scripted": scripted.CAPABILITIES,
    }
    assert list(declared) == list(REQUIRED), "an engine has no promise, or a promise no engine"
    rows = []
    for field in dataclasses.fields(Capabilities):
        cells = [_declared(name, field.name, getattr(found, field.name)) for name, found in declared.items()]
        rows.append((f"`{field.name}`", *cells))
    return "\n".join(
        [
            "# Engines and what each declares",
            "",
            "A search or scorer that needs what an engine does not declare is refused before the first request.",
            "",
            _table(("capability", *declared), rows),
            "",
            PROMISED,
            "",
            *(inspect.getdoc(Capabilities) or "").splitlines()[2:],
            "",
            DECLARED,
        ]
    )


def parts() -> str:
    titles = {
        "search": ("Searches", "Which chains get written: `--search`."),
        "selector": ("Selectors", "Which answer is given: `--select`."),
        "stop rule": ("Stop rules", "When enough has been drawn: `--stop`."),
        "scorer": ("Scorers", "How good a chain looks, without the reference: `--scorer`."),
    }
    lines = ["# Parts", "", "The components of a plan. `ponder searches` prints the same.", ""]
    for registry in registries():
        title, about = titles[registry.kind]
        rows = [
            (
                f"`{name}`",
                entry.about,
                ", ".join(f"`{name}.{k}={_toml(v)}`" for k, v in registry.settings(name).items()),
            )
            for name, entry in registry.items()
        ]
        lines += [f"## {title}", "", about, "", _table(("name", "what it does", "`--set`, with defaults"), rows), ""]
    return "\n".join(lines)


def tasks() -> str:
    def row(name: str, entry: Entry) -> tuple[str, ...]:
        has = "yes" if entry.load else "rules alone"
        kind = load_rules(name).kind
        return (f"`{name}`", entry.about, kind, has, ", ".join(f"`{name}.{o}`" for o in entry.options))

    rows = [row(name, entry) for name, entry in TASKS.items()]
    rows += [row(f"{prefix}:NAME", entry) for prefix, entry in FAMILIES.items()]
    worlds = [(f"`{world.name}`", world.about) for world in WORLDS.values()]
    return "\n".join(
        [
            "# Tasks",
            "",
            NAMES,
            "",
            _table(("name", "what it asks", "answers", "problems", "`--set`"), rows),
            "",
            "## Simulated worlds",
            "",
            "p is the probability that one chain of a problem is right.",
            "",
            _table(("name", "population"), worlds),
        ]
    )


def _declared(engine: str, capability: str, value: object) -> str:
    """A cell of the engines' table; what is promised is bold."""
    cell = LOADED.get(capability, "") if engine == "hf" else ""
    cell = cell or _plain_capability(value)
    promised = capability in ("bills", "schedule", *REQUIRED[engine].has)
    return f"**{cell}**" if promised else cell


def _plain_capability(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else str(value)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return f"`{','.join(map(str, value))}`"
    return f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(head), "|" + " --- |" * len(head), *(line(row) for row in rows)])


def run(check: bool) -> int:
    stale = 0
    for name, text in pages().items():
        path = REFERENCE / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if check:
            print(f"{path}: is not what the code says; run python docs/generate.py", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(path)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(run(check="--check" in sys.argv[1:]))
