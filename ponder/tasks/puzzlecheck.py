"""The talk with `puzzle_server.py`: warm processes that score answers, as many as there are processors."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import json
import os
import select
import signal
import site
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ponder.sandbox import Broken, Limits, bwrap, chosen
from ponder.sandbox.external import jail
from ponder.tasks.puzzle_server import PATIENCE

SERVER = Path(__file__).parent / "puzzle_server.py"
LIMITS = Limits(cpu=5, memory=2 * 2**30)
START = 120.0
"""Seconds that a process may take to import everything and to answer for the first time."""
MOST = max(1, os.cpu_count() or 1)
"""Processes at once; each takes 0.3 GB."""
LATE = 30.0
"""Seconds beyond the server's own patience after which a process that gives no sign is given up."""


class Scorers:
    """Lends processes to threads. `mode`: 'bwrap', or 'none', which isolates nothing."""

    def __init__(self, mode: str = "") -> None:
        self.mode = chosen(mode)
        self._idle: list[_Process] = []
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(MOST)
        self._owner = os.getpid()

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """What the server says. Raises Broken if it failed twice."""
        with self._slots:
            return self._ask(question)

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        raw = json.dumps({**question, "cpu": LIMITS.cpu, "memory": LIMITS.memory}).encode() + b"\n"
        for again in (True, False):
            with self._lock:
                if os.getpid() != self._owner:  # a fork of ours: the processes are the parent's
                    self._idle, self._owner = [], os.getpid()
                process = self._idle.pop() if self._idle else None
            process = process or _Process(self.mode != "none")
            try:
                found = process.ask(raw)
            except (OSError, Broken):
                process.close()
                if not again:
                    raise
                continue
            except BaseException:
                process.close()
                raise
            with self._lock:
                self._idle.append(process)
            return found
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Ends the idle processes."""
        with self._lock:
            idle, self._idle = self._idle, []
        if os.getpid() == self._owner:
            for process in idle:
                process.close()


class _Process:
    """One server. Raises Broken if it does not start."""

    def __init__(self, isolated: bool) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ponder-puzzles-")
        self._wait = START
        try:
            self._process = subprocess.Popen(
                _command(isolated, Path(self._folder.name)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_variables(),
                start_new_session=True,
            )
        except (OSError, Broken):
            self._folder.cleanup()
            raise

    def ask(self, raw: bytes) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(raw)
        self._process.stdin.flush()
        said, until = b"", time.monotonic() + self._wait + PATIENCE * LIMITS.cpu + LATE
        while not said.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            part = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            if not part:
                raise Broken("the scorer's process ended" if ready else "the scorer's process gives no sign")
            said += part
        self._wait = 0.0
        found: dict[str, Any] = json.loads(said)
        return found

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        self._folder.cleanup()


def _packages() -> list[str]:
    """Where reasoning_gym and what it needs is installed."""
    found = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    spec = importlib.util.find_spec("reasoning_gym")
    if spec is not None and spec.origin is not None:
        found.insert(0, str(Path(spec.origin).parents[1]))
    return [path for path in dict.fromkeys(found) if os.path.isdir(path)]


def _variables() -> dict[str, str]:
    return {**bwrap.ENVIRONMENT, "PYTHONPATH": ":".join(_packages()), "OPENBLAS_NUM_THREADS": "1"}


def _command(isolated: bool, folder: Path) -> list[str]:
    python = os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]
    line = [python, "-s", "-S", "-P", str(SERVER)]
    if not isolated:
        return line
    readable = [*bwrap.interpreter(), python, *_packages(), str(SERVER)]
    return [*jail(folder, readable, LIMITS, _variables()), *line]


_shared: dict[str, Scorers] = {}
_shared_lock = threading.Lock()


def shared(mode: str = "") -> Scorers:
    """The processes of this process: they serve everyone."""
    mode = chosen(mode)
    with _shared_lock:
        if mode not in _shared:
            _shared[mode] = Scorers(mode)
            atexit.register(_shared[mode].close)
        return _shared[mode]
