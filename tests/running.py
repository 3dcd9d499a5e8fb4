"""Runs `ponder` for the end-to-end tests, in this process or in one of its own, and reads what it left."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ponder.cli import main
from ponder.cli.group import guarded

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Done:
    """How a command ended: exit status, stdout, stderr."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def ponder(*arguments: object) -> Done:
    """The command line in this process, where modules can be patched and nothing has to start."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = guarded(main, [str(argument) for argument in arguments])
    return Done(status, out.getvalue(), err.getvalue())


def started(*arguments: object, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "ponder", *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def apart(*arguments: object, env: Mapping[str, str] | None = None, timeout: float = 300, **options: Any) -> Done:
    """The same, waited for."""
    process = started(*arguments, env=env, **options)
    out, err = process.communicate(timeout=timeout)
    return Done(process.returncode, out, err)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def report(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text())


def digest(rows: list[dict[str, Any]]) -> str:
    """As the contract defines it, computed the long way: sorted by (problem, sample), sorted keys, compact JSON."""
    whole = hashlib.sha256()
    for row in sorted(rows, key=lambda row: (row["problem"], row["sample"])):
        line = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        whole.update(line.encode() + b"\n")
    return whole.hexdigest()


def once(found: list[dict[str, Any]]) -> Counter[str]:
    """Rows a problem, after checking that no (problem, sample) and no chain is there twice."""
    for field in ("sample", "key"):
        names = [(row["problem"], row[field]) for row in found]
        assert len(set(names)) == len(names), f"a {field} is there twice"
    return Counter(row["problem"] for row in found)


def problems(path: Path, count: int, **more: object) -> Path:
    """A task file of `count` problems whose answers are numbers."""
    lines = [{"id": f"p{i}", "problem": f"What is {i} + {i}?", "reference": 2 * i, **more} for i in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
