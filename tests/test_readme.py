"""The README is true: its tree is the disk's, its commands print what it says, its Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import pages
import pytest

from ponder.cli import main

README = pages.ROOT / "README.md"


def _tree() -> list[str]:
    """Paths below ponder/ as the README's tree names them, by indentation."""
    (block,) = [b for b in pages.blocks(README, "text") if b.body.startswith("ponder/\n")]
    found: list[str] = []
    folders: list[str] = []
    for line in block.body.splitlines()[1:]:
        if not line.startswith("  "):
            break
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        del folders[depth - 1 :]
        if name.endswith("/"):
            folders.append(name)
        else:
            found.append("".join(folders) + name)
    return found


def test_tree_is_the_disk() -> None:
    package = pages.ROOT / "ponder"
    on_disk = [str(p.relative_to(package)) for p in package.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    named = _tree()
    assert sorted(named) == sorted(set(named)), "a file is named twice"
    assert sorted(named) == sorted(on_disk)


def test_tree_says_what_each_file_is() -> None:
    (block,) = [b for b in pages.blocks(README, "text") if b.body.startswith("ponder/\n")]
    bare = [line for line in block.body.splitlines() if not line.rstrip().endswith("/") and len(line.split()) < 2]
    assert not bare


def test_folders_beside_the_package_are_there() -> None:
    (block,) = [b for b in pages.blocks(README, "text") if b.body.startswith("ponder/\n")]
    for line in block.body.splitlines():
        if not line.startswith(" "):
            assert (pages.ROOT / line.split()[0]).exists(), line


def test_commands_print_what_is_shown(tmp_path: Path) -> None:
    folder = pages.place(tmp_path)
    for block in pages.blocks(README, "console"):
        for command in pages.commands(block):
            printed = pages.run(command, folder)
            assert pages.same(printed, command.printed), f"README.md:{block.line}: {command.text}\n{printed}"


@pytest.mark.parametrize("block", pages.blocks(README, "sh"), ids=lambda block: f"line{block.line}")
def test_other_commands_parse(block: pages.Block) -> None:
    for arguments in pages.ponder_lines(block):
        context = main.make_context("ponder", list(arguments))
        name, command, rest = main.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        command.make_context(name, rest, parent=context)
    targets = set(re.findall(r"^([a-z]+):", (pages.ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make (\w+)", block.body, re.MULTILINE)) <= targets


def test_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, object] = {}
    for block in pages.blocks(README, "python"):
        code = compile(block.body, f"README.md:{block.line}", "exec")
        if "openai:" not in block.body:
            exec(code, namespace)
    assert capsys.readouterr().out.strip()
