"""One warm process and the talk with it: a job goes in, a finding comes out, nothing of it stays."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
from dataclasses import dataclass
from typing import Any

from ponder.sandbox import bwrap
from ponder.sandbox.inside import wire

START = 60.0
"""Seconds that a warm process may take to start."""
LATE = 30.0
"""Seconds beyond all limits after which a check that gives no sign is given up, and the worker with it."""
MOST = 1000
"""Checks of one examiner."""


class Broken(Exception):
    """The instrument failed, not the program. The message says how."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one check: processor seconds, bytes of memory, of one file, of /tmp, and open files."""

    cpu: int = 5
    memory: int = 512 * 2**20
    file: int = 16 * 2**20
    tmp: int = 16 * 2**20
    files: int = 64

    @property
    def wall(self) -> float:
        """Seconds by the clock: a busy machine does not make a program wrong."""
        return 10.0 * self.cpu


class Worker:
    """Serves one check at a time. Not for several threads at once: the pool lends it."""

    def __init__(self, isolated: bool = True) -> None:
        self._isolated = isolated
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._jobs: socket.socket | None = None
        self._checks = 0

    def run(self, task: dict[str, Any], limits: Limits) -> Any:
        """What the examiner found. Raises Broken if the sandbox failed twice."""
        limited = {**task, "limits": tuple(getattr(limits, name) for name in wire.LIMITS)}
        raw = wire.frame(wire.encode(limited))
        try:
            return self._run(raw, limits)
        except (OSError, EOFError, wire.Refused, Broken):
            self.close()  # a worker that was killed from outside, perhaps: once more with a new one
        try:
            return self._run(raw, limits)
        except (OSError, EOFError, wire.Refused) as error:
            self.close()
            raise Broken(f"the sandbox failed ({type(error).__name__}: {error})") from None
        except Broken:
            self.close()
            raise

    def start(self) -> None:
        """Starts the warm process if it is not there. Raises Broken with what it said."""
        if self._process is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                bwrap.started(self._isolated),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=dict(bwrap.ENVIRONMENT),
                start_new_session=True,
            )
        self._control = ours
        ours.settimeout(START)
        try:
            ready = ours.recv(16) == b"ready"
        except OSError:
            ready = False
        assert self._process.stderr is not None
        if not ready:
            os.killpg(self._process.pid, signal.SIGKILL)
            said = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines() or ["no message"]
            self.close()
            raise Broken(f"the sandbox did not start ({said[-1][:200]})")
        self._process.stderr.close()

    def close(self) -> None:
        """Ends the warm process and all below it."""
        self._leave()
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            if self._process.stderr is not None:
                self._process.stderr.close()
        self._process = self._control = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def _run(self, raw: bytes, limits: Limits) -> Any:
        self.start()
        jobs = self._examiner()
        # Time for the program, and for the examiner to run out of its own on a busy machine.
        jobs.settimeout(limits.wall + 10 * (2 * limits.cpu + 5) + LATE)
        used, found = self._talk(jobs, raw)
        if found is not None:
            return found
        self._leave()
        if used:
            return ("wrong", "the tests did not end on what the program returned", 0, 0)
        return ("unverified", "the tests ran out of time or memory without the program", 0, 0)

    def _examiner(self) -> socket.socket:
        """The socket of an examiner: a new one after MOST checks, so that nothing grows for ever."""
        assert self._control is not None
        self._checks += 1
        if self._jobs is None or self._checks > MOST:
            self._leave()
            ours, theirs = socket.socketpair()
            with theirs:
                socket.send_fds(self._control, [b"examiner"], [theirs.fileno()])
            self._jobs, self._checks = ours, 1
        return self._jobs

    def _leave(self) -> None:
        """What it was doing is not known: the next check gets a new one."""
        if self._jobs is not None:
            self._jobs.close()
        self._jobs = None

    def _talk(self, jobs: socket.socket, raw: bytes) -> tuple[bool, Any]:
        """Sends the task: (the program has answered at least once, what was found or None)."""
        used = False
        try:
            self._send(jobs, raw)
            while True:
                found = wire.decode(wire.read_frame(jobs.recv))
                if found != ("used",):
                    return used, found
                used = True
        except (EOFError, ConnectionError):
            if not self._alive():
                raise  # not the examiner alone has ended: that is not the program's doing
            return used, None

    def _alive(self) -> bool:
        """Whether the warm process is there: it hangs up when it ends."""
        assert self._control is not None
        poll = select.poll()
        poll.register(self._control, 0)
        return not poll.poll(100)

    def _send(self, job: socket.socket, raw: bytes) -> None:
        """Gives up if nobody reads."""
        view = memoryview(raw)
        while view:
            _, ready, _ = select.select([], [job], [], LATE)
            if not ready:
                raise Broken("the sandbox takes no job")
            view = view[job.send(view[: 1 << 16]) :]
