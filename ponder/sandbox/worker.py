"""One warm process and the talk with it: a job goes in, a finding comes out, nothing of it stays."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
from dataclasses import asdict, dataclass
from typing import Any

from ponder.sandbox import bwrap
from ponder.sandbox.inside import wire

START = 60.0
"""Seconds that a warm process may take to start."""
LATE = 30.0
"""Seconds beyond its wall limit after which a check that gives no sign is given up, and the worker with it."""


class Broken(Exception):
    """The instrument failed, not the program. The message says how."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one check: processor seconds, bytes of memory, of one file, of /tmp, and open files."""

    cpu: int = 3
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

    def run(self, task: dict[str, Any], limits: Limits) -> Any:
        """What the examiner found. Raises Broken if the sandbox failed twice."""
        raw = wire.frame(wire.encode(task))
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
        assert self._control is not None
        settings = {**asdict(limits), "wall": limits.wall, "isolated": self._isolated}
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                socket.send_fds(self._control, [json.dumps(settings).encode()], [theirs.fileno()])
            ours.settimeout(limits.wall + LATE)
            used, found = self._talk(ours, raw)
        self._control.settimeout(LATE)
        status = self._control.recv(4096)
        if not status:
            raise Broken("the sandbox ended")
        if found is not None:
            return found
        if used:
            return ("wrong", "the tests did not end on what the program returned", 0, 0)
        return ("unverified", f"the tests ran out of time or memory without the program ({_how(status)})", 0, 0)

    def _talk(self, job: socket.socket, raw: bytes) -> tuple[bool, Any]:
        """Sends the task: (the program has answered at least once, what was found or None)."""
        assert self._control is not None
        used = False
        try:
            self._send(job, raw)
            while True:
                found = wire.decode(wire.read_frame(job.recv))
                if found != ("used",):
                    return used, found
                used = True
        except (EOFError, ConnectionError):
            return used, None

    def _send(self, job: socket.socket, raw: bytes) -> None:
        """Gives up at once if the warm process is gone: nobody would ever read it."""
        view = memoryview(raw)
        while view:
            _, ready, _ = select.select([], [job], [], LATE)
            if not ready:
                raise Broken("the sandbox takes no job")
            view = view[job.send(view[: 1 << 16]) :]


def _how(status: bytes) -> str:
    code = json.loads(status)["status"]
    return f"signal {os.WTERMSIG(code)}" if os.WIFSIGNALED(code) else f"status {code}"
