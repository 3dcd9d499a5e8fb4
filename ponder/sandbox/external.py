"""One run of a program of the machine's own, such as a proof checker, over files that hold what a model wrote.

    ended = run(["/usr/bin/coqc", "Answer.v"], folder, readable=["/usr/lib/ocaml"], limits=Limits(cpu=10))
    ended.how, ended.status, ended.output

The program sees the system's libraries and what it may read, all read-only, the folder as /box, where it starts and
may write, and a /tmp of its own: no network, no other process, no other file. It is not kept warm.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from ponder.sandbox import bwrap
from ponder.sandbox.worker import Broken, Limits

# The shell sets the limits and becomes the program. Past the soft limit of time comes SIGXCPU, which tells our limit
# from a kill by someone else; `-f` counts blocks of 512 bytes, `-v` KiB.
_LIMITED = 'ulimit -S -t "$1" && ulimit -H -t "$2" && ulimit -v "$3" && ulimit -f "$4" && shift 4 && exec "$@"'
_BY_SIGNAL = 128
How = Literal["exit", "cpu", "output", "killed", "late"]
_HOW: dict[int, How] = {
    signal.SIGXCPU: "cpu",
    signal.SIGXFSZ: "output",
    signal.SIGKILL: "killed",
    signal.SIGTERM: "killed",
}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended. `how`: 'exit', with its status; 'cpu' and 'output', beyond that limit; 'killed', by someone
    else; 'late', beyond the wall limit although it had processor time left. `output` and `errors` are what it wrote."""

    how: How
    status: int
    output: str
    errors: str


def run(
    line: Sequence[str],
    folder: Path,
    *,
    given: str = "",
    readable: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    limits: Limits,
    isolated: bool = True,
    together: bool = False,
) -> Ended:
    """Runs a command line once. `given` is its standard input; `together`: errors go where the output goes.

    Safe from several threads. Raises Broken if the sandbox cannot start it.
    """
    variables = {**bwrap.ENVIRONMENT, **(environment or {})}
    command = (
        [*jail(folder, [*readable, line[0]], limits, variables, "--die-with-parent"), *line] if isolated else list(line)
    )
    numbers = [limits.cpu, limits.cpu + 1, limits.memory // 1024, limits.file // 512]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(given.encode())
        files[0].seek(0)
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _LIMITED, "sh", *map(str, numbers), *command],
                stdin=files[0],
                stdout=files[1],
                stderr=subprocess.STDOUT if together else files[2],
                cwd=None if isolated else folder,
                env=variables,
                start_new_session=True,
            )
        except OSError as error:
            raise Broken(f"the sandbox did not start ({error})") from None
        late = False
        try:
            process.wait(limits.wall)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        status = process.returncode if process.returncode >= 0 else _BY_SIGNAL - process.returncode
        how: How = "late" if late else _HOW.get(status - _BY_SIGNAL, "exit")
        return Ended(how, status, _text(files[1]), _text(files[2]))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def jail(folder: Path, readable: Sequence[str], limits: Limits, variables: Mapping[str, str], *more: str) -> list[str]:
    """The arguments of bubblewrap, up to the command that it runs. It is to be started as the head of a group of
    processes, and the group to be killed. Raises Broken if there is no bubblewrap."""
    if why := bwrap.missing():
        raise Broken(why)
    line = bwrap.confined(variables)
    line += ["--size", str(limits.tmp), "--tmpfs", "/tmp", "--bind", str(folder), "/box"]
    bound: list[str] = []
    for path in [*bwrap.LIBRARIES, *readable]:
        if os.path.islink(path) and path in bwrap.LIBRARIES:
            line += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path) and not any(path == one or path.startswith(f"{one}/") for one in bound):
            line += ["--ro-bind", os.path.realpath(path), path]
            bound.append(path)
    return [*line, *bwrap.devices(), *more, "--chdir", "/box", "--remount-ro", "/", "--"]
