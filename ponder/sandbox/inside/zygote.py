"""A warm process that forks an examiner for each check, and holds no secret that a program could find in its memory.

Programs, tests and verdicts travel over a socket of their own, which it hands to the examiner unread. It waits for the
examiner, ends what is left, and says when nothing is.
"""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import select
import socket
import sys
import time

from . import examiner, jail

WARM = (
    *("array", "ast", "bisect", "calendar", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal"),
    *("enum", "fractions", "functools", "hashlib", "heapq", "io", "itertools", "json", "math", "operator", "random"),
    *("re", "statistics", "string", "struct", "textwrap", "threading", "time", "traceback", "types", "typing"),
    "unicodedata",
)
"""Modules that programs import often: a fork has them already."""
GRACE = 10.0
"""Seconds beyond the wall limit that an examiner gets to say so."""


def main() -> None:
    if not jail.same_addresses():
        os.execv(sys.executable, sys.orig_argv)
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(null, standard)
    jail.adopt_orphans()
    for name in WARM:
        importlib.import_module(name)
    jail.compiled()
    gc.collect()
    gc.freeze()
    control.send(b"ready")
    os.dup2(null, 2)
    os.close(null)
    while _serve(control):
        pass


def _serve(control: socket.socket) -> bool:
    """One check. False when the other side is gone."""
    message, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
    if not message:
        return False
    settings = json.loads(message)
    alive, held = os.pipe()  # `held` is the examiner's alone: it closes when the examiner ends
    pid = os.fork()
    if pid == 0:
        try:
            control.close()
            os.close(alive)
            examiner.examine(socket.socket(fileno=descriptors[0]), settings)
        finally:
            os._exit(0)
    os.close(descriptors[0])
    os.close(held)
    gone = _wait(alive, control, time.monotonic() + settings["wall"] + GRACE)
    os.close(alive)
    if gone is None:
        return False
    status = _reap(pid, kill=not gone)
    control.send(json.dumps(status).encode())
    return True


def _wait(alive: int, control: socket.socket, deadline: float) -> bool | None:
    """True if the examiner ended, False if it is out of time, None if nobody waits for it."""
    poll = select.poll()
    poll.register(alive, select.POLLIN)
    poll.register(control.fileno(), 0)  # hanging up is reported all the same
    while (left := deadline - time.monotonic()) > 0:
        events = dict(poll.poll(left * 1000))
        if alive in events:
            return True
        if events:
            return None
    return False


def _reap(pid: int, kill: bool) -> dict[str, float | int]:
    """Waits until no child is left. The program's process dies with its parent, the examiner."""
    if kill:
        os.kill(pid, 9)
    examined, seconds = 0, 0.0
    while True:
        try:
            ended, status, used = os.wait4(-1, 0)
        except OSError as error:
            if error.errno == errno.ECHILD:
                return {"status": examined, "seconds": seconds}
            raise
        seconds += used.ru_utime + used.ru_stime
        if ended == pid:
            examined = status
