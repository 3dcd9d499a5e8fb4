"""What is written in a Markdown page and can be run: the README's and the guides' code blocks.

```console   '$ ' starts a command, '> ' continues it, the rest is what it prints (stdout and stderr). Run and compared,
             in one shell folder a page, in order; '…' in the page stands for any text of one line.
```sh        commands that need a server or a download: not run, but each `ponder` line must parse.
```python    run in order in one namespace a page; a block that names 'openai:' is only compiled.

    python tests/pages.py PAGE…    writes what the commands print into the pages
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"^```(?P<kind>\w+)[^\n]*\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_SECONDS = re.compile(r'(?<="seconds": )[0-9.e-]+')


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its lines and the page's line where the body starts."""

    kind: str
    body: str
    line: int


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a console block and what the page says that it prints."""

    shown: str  # as in the page, with '$ ' and '> '
    text: str
    printed: str


def blocks(page: Path, kind: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(kind, match["body"], text.count("\n", 0, match.start("body")) + 1)
        for match in _BLOCK.finditer(text)
        if match["kind"] == kind
    ]


def commands(block: Block) -> Iterator[Command]:
    shown: list[str] = []
    printed: list[str] = []
    for line in [*block.body.splitlines(), None]:
        if line is None or line.startswith("$ "):
            if shown:
                yield Command("\n".join(shown), "\n".join(part[2:] for part in shown), "\n".join(printed))
            shown, printed = [line or ""], []
        elif line.startswith("> ") and not printed:
            shown.append(line)
        else:
            printed.append(line)


def run(command: Command, folder: Path) -> str:
    """What the command prints in `folder`, without white space at the ends of lines."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PONDER_", "OPENAI_"))}
    done = subprocess.run(
        ["bash", "-c", command.text],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=300,
        check=False,
        env=inherited
        | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "XDG_CONFIG_HOME": str(folder / "none"),
            "COLUMNS": "100",
            "NO_COLOR": "1",
        },
    )
    if "Traceback (most recent call last)" in done.stdout:
        raise AssertionError(f"{command.text}\n{done.stdout}")
    return _SECONDS.sub("…", tidy(done.stdout)).replace(str(folder), "…")


def tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())


def same(printed: str, shown: str) -> bool:
    pattern = "[^\n]*".join(re.escape(part) for part in tidy(shown).split("…"))
    return re.fullmatch(pattern, printed) is not None


def place(folder: Path) -> Path:
    """Makes `folder` look like the checkout's root to a page's commands."""
    (folder / "recipes").symlink_to(ROOT / "recipes")
    return folder


def ponder_lines(block: Block) -> list[list[str]]:
    """The arguments of each `ponder` command of a block, continuation lines joined."""
    joined = block.body.replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in joined.splitlines() if line.startswith("ponder ")]
    return [words[1:] for words in lines]


def fill(page: Path) -> None:
    """Writes into the page what its commands print; a line that holds '…' and still fits is kept."""
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as made:
        folder = place(Path(made))
        for block in blocks(page, "console"):
            lines = []
            for command in commands(block):
                printed = run(command, folder)
                lines += [command.shown, command.printed if same(printed, command.printed) else printed]
            body = "\n".join(line for line in lines if line) + "\n"
            text = text.replace(f"```console\n{block.body}```", f"```console\n{body}```")
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        fill(Path(name))
