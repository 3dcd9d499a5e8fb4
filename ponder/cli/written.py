"""What commands share that write: pages, how bad lines are named, and the command line itself."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ponder.whole import write_whole

SHOWN = 20
"""Bad lines that are named one by one."""


def complain(bad: Sequence[str]) -> int:
    """Names bad lines on stderr; the exit status: 2 if there are any."""
    for message in bad[:SHOWN]:
        click.echo(f"ponder: {message}", err=True)
    if len(bad) > SHOWN:
        click.echo(f"ponder: … and {len(bad) - SHOWN:,} more bad lines", err=True)
    return 2 if bad else 0


def made_by() -> str:
    """The command line, as it can be typed again."""
    return shlex.join(["ponder", *sys.argv[1:]])


def again(folder: Path) -> str:
    """The command line that resumes the run in a folder."""
    words = [word for word in sys.argv[1:] if word != "--resume"]
    if not any(word == "--out" or word.startswith("--out=") for word in words):
        words += ["--out", str(folder)]
    return shlex.join(["ponder", *words, "--resume"])


def write_page(path: Path, text: str) -> None:
    """Writes a page whole or not at all, and says where. Raises StorageError."""
    click.echo(f"page: {write_whole(path, text)}", err=True)
