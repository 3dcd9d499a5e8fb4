"""What our own reading does not cover: math-verify, in a process of its own, behind guards.

Guards, before it is asked: both texts are LaTeX of at most 400 characters without equations, lists, towers of powers,
exponents or numbers of many digits, factorials of factorials: its own judgement of those is what has been found wrong
(equations with other coefficients, '1 2 3 4' for 4, 1/2^99 for 1/2^98) or slow. After it has said 'equal', in both
directions, a second computation must agree (`rest_worker`). All else is None: the instrument cannot tell.

The process is warm and used again. Its check may take `SECONDS` of processor time, so that verdicts do not depend on
the machine's load, and `WALL_SECONDS` by the clock; then it is killed, from whichever thread waits for it. No signals
are used, so this works in threads, and a forked process starts its own. The first check waits for the start, which
loads sympy (`prepare` does that ahead).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SECONDS = 1.0
"""Processor seconds of one check."""
WALL_SECONDS = 60.0
"""Seconds by the clock of one check, in case it waits for something: long, since a busy machine is no failure."""
START_SECONDS = 120.0
CHECKS = 5000
"""Checks after which a process is replaced: sympy keeps what it computed."""
MAX_CHARS = 400
PROGRAM = Path(__file__).with_name("rest_worker.py")
MOST = max(1, min(4, os.cpu_count() or 1))
"""Processes at once."""

_TOWER = re.compile(r"\^\s*\{[^{}]*\^|\^\s*\S\s*\^|\^\s*\{[^{}]*\{[^{}]*\^")
_LONG_EXPONENT = re.compile(r"\^\s*\{?\s*[-+(]*\s*[0-9]{4}")
_LONG_NUMBER = re.compile(r"[0-9]{30}")
_FACTORIALS = re.compile(r"!\s*[)}]*\s*!|[0-9]{4}\s*!|!\s*[)}]*\s*\^")
_RELATION = re.compile(r"[=<>]|\\(?:le|ge|ne|lt|gt|leq|geq|neq|approx|equiv|in|sim)(?![A-Za-z])")
_UNDER = re.compile(r"_\s*\{[^{}]*\}")
"""'\\sum_{k=1}' is no equation."""
_COMMA = re.compile(r"(?<!\\),(?![0-9]{3}(?![0-9]))|(?<!\\);|\\text\s*\{\s*(?:and|or)")
_NESTED = 12


def refused(text: str) -> str:
    """Why a text is not handed to math-verify, or ''."""
    if len(text) > MAX_CHARS:
        return f"longer than {MAX_CHARS} characters"
    if _TOWER.search(text) or _LONG_EXPONENT.search(text) or text.count("^") > 12:
        return "a tower of powers or a large exponent"
    if _LONG_NUMBER.search(text) or _FACTORIALS.search(text):
        return "a large number"
    if _RELATION.search(_UNDER.sub("", text)):
        return "an equation or inequality"
    if _COMMA.search(text):
        return "a list"
    return "nested deeply" if max(text.count("{"), text.count("(")) > 3 * _NESTED else ""


def same(reference: str, answer: str) -> tuple[bool | None, str]:
    """Whether both are equal, and why not known. Never raises."""
    for text, what in ((reference, "reference"), (answer, "answer")):
        if reason := refused(text):
            return None, f"the {what} is not read here ({reason})"
    try:
        return _workers.ask(reference, answer)
    except (OSError, ValueError) as error:
        return None, f"math-verify could not be asked ({type(error).__name__})"


def prepare() -> None:
    """Starts a process, if none is there, and waits until it can be asked."""
    same("1", "1")


class Died(Exception):
    """The process was killed or ended. The message says why."""


class Worker:
    """One process: a question and an answer a line, after a first line that says that it is loaded. `program`: what
    Python runs."""

    def __init__(self, program: Sequence[str] = (str(PROGRAM),)) -> None:
        limits = {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-I", *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **limits},
            process_group=0,  # an interrupt of the terminal is not for it
        )
        self.asked = 0
        self._started = False
        self._unread = b""

    def start(self) -> None:
        """Waits until everything is loaded. Raises Died."""
        if not self._started:
            self._read(START_SECONDS, START_SECONDS)
            self._started = True

    def ask(self, reference: str, answer: str) -> tuple[bool | None, str]:
        """Raises Died, or ValueError for an answer that is none."""
        assert self.process.stdin is not None
        self.asked += 1
        self.process.stdin.write(json.dumps([reference, answer]).encode() + b"\n")
        self.process.stdin.flush()
        reply: Any = json.loads(self._read(SECONDS, WALL_SECONDS))
        if not (isinstance(reply, list) and len(reply) == 2 and reply[0] in (True, False, None)):
            raise ValueError("no pair of a verdict and a reason")
        return reply[0], str(reply[1])

    def kill(self) -> None:
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what was not written any more
                    stream.close()
        self.process.wait()

    def _read(self, seconds: float, wall: float) -> bytes:
        """The next line. Raises Died after `seconds` of the process's time or `wall` by the clock."""
        assert self.process.stdout is not None
        used, ends = self._used(), time.monotonic() + wall
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if selector.select(0.05):
                    piece = os.read(self.process.stdout.fileno(), 65536)
                    if not piece:
                        raise Died("math-verify's process ended")
                    self._unread += piece
                elif time.monotonic() > ends or self._used() - used > seconds:
                    raise Died(f"math-verify took more than {seconds:g} s")
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _used(self) -> float:
        """Processor seconds so far; by the clock where the system does not say."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, IndexError, ValueError):
            return time.monotonic()


class Workers:
    """The processes of this one: handed out one a thread, at most MOST."""

    def __init__(self) -> None:
        self._idle: list[Worker] = []
        self._free = threading.Semaphore(MOST)
        self._lock = threading.Lock()

    def ask(self, reference: str, answer: str) -> tuple[bool | None, str]:
        with self._free:
            worker: Worker | None = None
            try:
                worker = self._take()
                found, why = worker.ask(reference, answer)
            except (Died, OSError, ValueError) as error:
                if worker is not None:
                    worker.kill()
                    self._give(Worker())  # it loads while nobody waits
                return None, str(error) if isinstance(error, Died) else f"math-verify's process failed ({error})"
            except BaseException:  # an interrupt: the answer that comes later must meet no other question
                if worker is not None:
                    worker.kill()
                raise
            self._give(worker)
            return found, why

    def close(self) -> None:
        """Ends the processes that nobody waits for."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.kill()

    def _take(self) -> Worker:
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is not None and worker.process.poll() is not None:
            worker.kill()
            worker = None
        worker = worker or Worker()
        try:
            worker.start()
        except BaseException:
            worker.kill()
            raise
        return worker

    def _give(self, worker: Worker) -> None:
        if worker.asked >= CHECKS:
            worker.kill()
            return
        with self._lock:
            self._idle.append(worker)


_workers = Workers()


def close() -> None:
    """Ends the idle processes; the next check starts one again."""
    _workers.close()


def _after_fork() -> None:
    """A forked process leaves its parent's processes alone and starts its own."""
    global _workers
    _workers = Workers()


os.register_at_fork(after_in_child=_after_fork)
