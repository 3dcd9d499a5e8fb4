"""A busy machine changes no verdict: eight processes that compute for ever beside the checks, one worker and eight."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from running import ponder

from ponder.sandbox import Limits, missing
from ponder.tasks.code import CodeRules

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")

TESTS = ["assert f(1) == 2", "assert f(2) == 3", "assert f(-1) == 0"]
PROGRAMS = {
    "right": ("def f(x): return x + 1", "correct"),
    "right, and slow": ("def f(x):\n    for _ in range(400_000): pass\n    return x + 1", "correct"),
    "right, and it waits": ("import time\ndef f(x):\n    time.sleep(.05)\n    return x + 1", "correct"),
    "right, in a thread": (
        "import threading\ndef f(x):\n    a = []\n    t = threading.Thread(target=lambda: a.append(x + 1))\n"
        "    t.start()\n    t.join()\n    return a[0]",
        "correct",
    ),
    "wrong": ("def f(x): return x * 2", "wrong"),
    "by chance": ("import random\ndef f(x): return x + random.choice([1, 2])", "wrong"),
    "it raises": ("def f(x): return x[0]", "wrong"),
    "it exits": ("import os\ndef f(x): os._exit(0)", "wrong"),
    "it eats memory": ("def f(x): return len(bytearray(2**31))", "wrong"),
    "no program": ("", "wrong"),
}
LOOP = "def f(x):\n    while True: pass"


@pytest.fixture
def busy() -> Iterator[None]:
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(8)]
    yield
    for process in burning:
        process.kill()
        process.wait()


def test_verdicts_are_the_same_under_load(busy: None, tmp_path: Path) -> None:
    """Through the command with one worker and eight, and from threads; the reasons, too."""
    file = tmp_path / "a.jsonl"
    lines = [{"id": name, "tests": TESTS, "completion": program} for name, (program, _) in PROGRAMS.items()]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines * 2))
    found = []
    for workers in (1, 8):
        done = ponder("verify", "--task", "code", "--workers", workers, file)
        assert done.status == 0, done.err
        found.append([json.loads(line) for line in done.out.splitlines()])
    wanted = [verdict for _, verdict in PROGRAMS.values()] * 2
    assert [row["verdict"] for row in found[0]] == [row["verdict"] for row in found[1]] == wanted
    assert [row["reason"] for row in found[0]] == [row["reason"] for row in found[1]]
    rules = CodeRules(limits=Limits(cpu=1))
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda line: rules.judge(line["tests"], str(line["completion"])), lines))
        looped = list(pool.map(lambda _: rules.judge(TESTS, LOOP), range(2)))
    assert [verdict.reason for verdict in verdicts] == [row["reason"] for row in found[0][: len(lines)]]
    assert {(verdict.verdict, verdict.reason[:10]) for verdict in looped} == {("wrong", "time limit")}
