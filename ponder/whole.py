"""Files and folders that are written whole or not at all: beside their place first, then moved to it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ponder.errors import storage_error


def cache_folder() -> Path:
    """Where what can be made again is kept for this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ponder"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a path to write to; the file appears when the block ends well. Raises StorageError naming `path`."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise storage_error(path, error) from None


def write_whole(path: Path, text: str) -> Path:
    """Writes a file whole or not at all. Raises StorageError."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Gives the path of a folder to make and fill, which becomes `path` when the block ends well. It must be absent or
    empty by then. It is made one folder deeper than the temporary one, which other users may not enter. Raises
    OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as beside:
        part = Path(beside) / path.name
        yield part
        os.replace(part, path)
