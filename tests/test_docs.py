"""The documentation is true: generated pages are current, commands print what is shown, Python runs, it builds."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pages
import pytest

from ponder.cli import COMMANDS, main
from ponder.settings import read_toml

DOCS = pages.ROOT / "docs"
WRITTEN = sorted([*DOCS.glob("guides/*.md"), *DOCS.glob("concepts/*.md")])
RECIPES = sorted({*(pages.ROOT / "recipes").glob("*.toml")} - {pages.ROOT / "recipes" / "loop.toml"})


def _generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current() -> None:
    for name, text in _generate().pages().items():
        path = DOCS / "reference" / name
        assert path.read_text(encoding="utf-8") == text, f"{path}: run python docs/generate.py"


def test_every_command_and_flag_is_in_the_reference() -> None:
    text = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    context = main.make_context("ponder", [], resilient_parsing=True)
    for name in COMMANDS:
        assert f"## ponder {name}\n" in text
        command = main.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            assert parameter.param_type_name == "argument" or parameter.opts[0] in text


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_recipes_parse(recipe: Path) -> None:
    assert read_toml(recipe)


def test_there_is_a_demo() -> None:
    demo = tomllib.loads((pages.ROOT / "recipes" / "demo.toml").read_text(encoding="utf-8"))
    assert demo["model"].startswith("simulated:"), "the demo must need no download"
    assert "random" in demo["scorer"], "every effect has its control"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: path.stem)
def test_commands_print_what_is_shown(page: Path, tmp_path: Path) -> None:
    folder = pages.place(tmp_path)
    for block in pages.blocks(page, "console"):
        for command in pages.commands(block):
            printed = pages.run(command, folder)
            assert pages.same(printed, command.printed), f"{page}:{block.line}: {command.text}\n{printed}"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: path.stem)
def test_other_commands_parse(page: Path) -> None:
    for block in pages.blocks(page, "sh"):
        for arguments in pages.ponder_lines(block):
            context = main.make_context("ponder", list(arguments))
            name, command, rest = main.resolve_command(context, [*context._protected_args, *context.args])
            assert command is not None
            command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: path.stem)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for block in pages.blocks(page, "python"):
        code = compile(block.body, f"{page}:{block.line}", "exec")
        if "openai:" not in block.body:
            exec(code, namespace)


def test_json_fields_are_those_of_the_reference() -> None:
    from ponder.types import UNITS

    text = (DOCS / "reference" / "files.md").read_text(encoding="utf-8")
    assert "{" + ", ".join(f'"{unit}"' for unit in UNITS) + "}" in text


def test_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the docs extra is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=pages.ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    loaded = re.compile(r"""<(?:link|script|img)\b[^>]*\b(?:href|src)=["']?(https?:[^"'> ]+)""")
    for page in (tmp_path / "site").rglob("*.html"):
        assert not loaded.findall(page.read_text(encoding="utf-8")), page
