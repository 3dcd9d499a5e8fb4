"""Warm workers for any number of threads: as many as there are checks at once, and no more than `most`."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ponder.errors import UsageError, unknown
from ponder.sandbox import bwrap
from ponder.sandbox.worker import Broken, Limits, Worker

MODES = ("bwrap", "none")
MOST = 64


def chosen(mode: str = "") -> str:
    """'bwrap' or 'none': the one that is asked for, else the variable PONDER_SANDBOX, else bwrap. Raises UsageError for
    another."""
    found = mode or os.environ.get("PONDER_SANDBOX", "") or MODES[0]
    if found not in MODES:
        raise unknown("sandbox", found, MODES)
    return found


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: the verdict, its reason, and how many of the tests passed."""

    verdict: Literal["correct", "wrong", "unverified"]
    reason: str
    passed: int = 0
    tests: int = 0


class Sandbox:
    """Runs programs. `mode`: 'bwrap', or 'none', which isolates nothing and is for those who ask for it."""

    def __init__(self, mode: str = "bwrap", limits: Limits | None = None, most: int = MOST) -> None:
        if most < 1:
            raise UsageError(f"sandbox workers: {most}; give at least 1")
        self.mode = chosen(mode)
        self.limits = limits or Limits()
        self._places = threading.BoundedSemaphore(most)
        self._idle: list[Worker] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def check(
        self, program: str, tests: Sequence[str], *, entry: str = "", every: bool = False, limits: Limits | None = None
    ) -> Finding:
        """Runs the tests on the program. `entry` names what it must define where the tests leave that open; `every`
        goes on after a test that failed, so that `passed` counts."""
        task = {"mode": "tests", "program": program, "tests": list(tests), "entry": entry, "all": every}
        found = self._run(task, limits)
        return found if isinstance(found, Finding) else Finding(*found)

    def values(
        self, program: str, calls: Sequence[str], *, entry: str = "", limits: Limits | None = None
    ) -> list[tuple[str, str]] | Finding:
        """For each call, an expression, what comes of it as ('value', text), ('raise', type) or ('wrong' or 'failed',
        why); texts are equal where values are. A Finding if that could not be told."""
        task = {"mode": "values", "program": program, "tests": list(calls), "entry": entry, "all": True}
        found = self._run(task, limits)
        return found if isinstance(found, (Finding, list)) else Finding(*found)

    def script(self, program: str, given: str, *, limits: Limits | None = None) -> str | Finding:
        """What the program prints when it is given a standard input, or how it failed."""
        found = self._run({"mode": "script", "program": program, "input": given}, limits)
        if isinstance(found, Finding):
            return found
        if found[0] == "printed":
            return bytes(found[1]).decode("utf-8", "replace")
        return Finding(*found)

    def close(self) -> None:
        """Ends the idle workers; a new check starts new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        if os.getpid() == self._owner:
            for worker in idle:
                worker.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, task: dict[str, Any], limits: Limits | None) -> Any:
        if self.mode == "bwrap" and (why := bwrap.missing()):
            return Finding("unverified", why)
        try:
            with self._worker() as worker:
                return worker.run(task, limits or self.limits)
        except Broken as error:
            return Finding("unverified", str(error))

    @contextlib.contextmanager
    def _worker(self) -> Iterator[Worker]:
        """An idle worker, or a new one, waiting for a place if all are taken."""
        with self._places:
            with self._lock:
                if os.getpid() != self._owner:  # a fork of ours: the workers are the parent's
                    self._idle, self._owner = [], os.getpid()
                worker = self._idle.pop() if self._idle else Worker(self.mode == "bwrap")
            try:
                yield worker
            except BaseException:
                worker.close()  # what it was doing is not known
                raise
            with self._lock:
                self._idle.append(worker)


_shared: dict[str, Sandbox] = {}
_shared_lock = threading.Lock()


def shared(mode: str = "") -> Sandbox:
    """The sandbox of this process: its workers serve everyone. `mode` as for `chosen`."""
    mode = chosen(mode)
    with _shared_lock:
        if mode not in _shared:
            _shared[mode] = Sandbox(mode)
            atexit.register(_shared[mode].close)
        return _shared[mode]
