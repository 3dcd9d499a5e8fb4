"""What `client.py` and `inflight.py` share: the loopback server in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TEXT = "First we look at what is given. " * 12 + "\n\nThe answer is 4."


@contextmanager
def served(*options: str) -> Iterator[str]:
    """The address of a loopback server that answers every request with TEXT."""
    command = [sys.executable, str(ROOT / "tests" / "loopback.py"), "--text", TEXT, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)


def books(url: str) -> dict[str, Any]:
    """The server's own count."""
    with urllib.request.urlopen(f"{url}/ledger") as answer:
        return json.load(answer)  # type: ignore[no-any-return]
