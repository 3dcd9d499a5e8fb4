"""A warm process that forks the processes of programs, and holds no secret that a program could find in its memory.

It forks an examiner, which gets programs and tests over a socket of its own, and for each check, as the examiner asks,
a process for the program, in namespaces of its own. What the other side closes ends here: without the examiner the
program's process is killed, without the worker in ponder's process everything is.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import shutil
import signal
import socket
import sys
import tempfile

from . import examiner, jail, program, wire

WARM = (
    *("array", "ast", "bisect", "calendar", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal"),
    *("enum", "fractions", "functools", "hashlib", "heapq", "io", "itertools", "json", "math", "operator", "random"),
    *("re", "statistics", "string", "struct", "textwrap", "threading", "time", "traceback", "types", "typing"),
    "unicodedata",
)
"""Modules that programs import often: a fork has them already."""
LATER = 20
"""Milliseconds after which a process that was left to die is looked after, if there is nothing else to do."""


def main(isolated: bool) -> None:
    if not jail.same_addresses():
        os.execv(sys.executable, sys.orig_argv)
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(null, standard)
    for name in WARM:
        importlib.import_module(name)
    jail.compiled()
    gc.collect()
    gc.freeze()
    control.send(b"ready")
    os.dup2(null, 2)
    os.close(null)
    zygote = Zygote(control, isolated)
    try:
        zygote.serve()
    finally:
        zygote.bury()


class Zygote:
    """`examiner`, `program` and `dying` are the processes that there are, 0 for none."""

    def __init__(self, control: socket.socket, isolated: bool) -> None:
        self.control, self.isolated = control, isolated
        self.examiner = self.program = self.dying = 0
        self.asks: socket.socket | None = None
        self.folder = ""

    def serve(self) -> None:
        """Until the other side is gone."""
        while True:
            poll = select.poll()
            poll.register(self.control, select.POLLIN)
            if self.asks is not None:
                poll.register(self.asks, select.POLLIN)
            ready = {descriptor for descriptor, _ in poll.poll(LATER if self.dying else None)}
            if not ready:
                self.dying = self.dying if os.waitpid(self.dying, os.WNOHANG) == (0, 0) else 0
            elif self.control.fileno() in ready:
                message, descriptors, _, _ = socket.recv_fds(self.control, 16, 1)
                if not message:
                    return
                self._new_examiner(descriptors[0])
            elif self.asks is not None:
                self._answer(self.asks)

    def bury(self) -> None:
        """Ends examiner and program."""
        if self.asks is not None:
            self.asks.close()
        self.asks = None
        self._leave_program()
        self._leave_program()
        if self.examiner:
            os.kill(self.examiner, signal.SIGKILL)
            os.waitpid(self.examiner, 0)
        self.examiner = 0

    def _new_examiner(self, jobs: int) -> None:
        self.bury()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.examiner = os.fork()
        if self.examiner == 0:
            try:
                jail.refuse_to_outlive_parent()
                self.control.close()
                ours.close()
                examiner.serve(socket.socket(fileno=jobs), theirs, self.isolated)
            finally:
                os._exit(0)
        os.close(jobs)
        theirs.close()
        self.asks = ours

    def _answer(self, asks: socket.socket) -> None:
        message, descriptors, _, _ = socket.recv_fds(asks, wire.ASKED.size, 3)
        if not message:
            self.bury()
        elif message == wire.KILL:
            asks.send(wire.DONE.pack(*self._end_program()))
        elif message == wire.LEAVE:
            self._leave_program()
        else:
            self._new_program(message, descriptors)

    def _new_program(self, message: bytes, descriptors: list[int]) -> None:
        """Where nothing is isolated it gets a folder of its own for a /tmp."""
        self._end_program()
        if not self.isolated:
            self.folder = tempfile.mkdtemp(prefix="ponder-code-")
        try:
            self.program = jail.fork(self.isolated)
        except OSError as error:
            os.write(descriptors[1], f"-{error.strerror}".encode())
        else:
            if self.program == 0:
                settings = dict(zip((*wire.LIMITS, "isolated"), wire.ASKED.unpack(message), strict=True))
                program.begin({**settings, "folder": self.folder or "/tmp"}, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def _leave_program(self) -> None:
        """Kills the program's process. It runs no more, but what the kernel does to end its namespaces takes a while:
        only the one after the next check waits for it."""
        if self.dying:
            os.waitpid(self.dying, 0)
        self.dying = 0
        if self.folder or not self.program:
            self._end_program()
        else:
            os.kill(self.program, signal.SIGKILL)
            self.dying, self.program = self.program, 0

    def _end_program(self) -> tuple[int, float]:
        """(status, CPU seconds) of the program's process, when it and all that it started are gone."""
        if not self.program:
            return 0, 0.0
        os.kill(self.program, signal.SIGKILL)
        _, status, used = os.wait4(self.program, 0)
        self.program = 0
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = ""
        return status, used.ru_utime + used.ru_stime
