"""math-verify behind guards: what is refused, what is confirmed, and that no check outlives its limit."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest

from ponder.errors import UsageError
from ponder.tasks import math
from ponder.tasks.math import judge, rest
from ponder.tasks.rules import MathRules

MATH = MathRules()
WORKER = rest.Worker
needs_math_verify = pytest.mark.skipif(not math.installed(), reason="math-verify is not installed")


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    yield
    math.close()


@pytest.mark.parametrize(
    "text",
    ["9^{9^{9}}", "2^3^4", "x^{10000}", "9" * 30, "(10!)!", "5000!", "x = 5", "x < 5", r"x \le 5", r"x \in A", "1, 2", "1; 2",
     "3x+4y+14=0", "{" * 40, "x" * 500, "x^{a^{b}}", r"\sum_{k=1}^{n} k = 3"],
)  # fmt: skip
def test_what_is_not_handed_over(text: str) -> None:
    assert rest.refused(text)
    for pair in ((text, "5"), ("5", text)):
        found, reason = rest.same(*pair)
        assert found is None and "is not read here" in reason


@pytest.mark.parametrize(
    "text", [r"\int_0^1 x\,dx", r"\sum_{k=1}^{10} k^{2}", "1,234", r"\frac{10!}{8!}", r"x^{2}y^{3}"]
)
def test_what_is_handed_over(text: str) -> None:
    assert rest.refused(text) == ""


def test_without_the_extra_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "installed", lambda: False)
    with pytest.raises(UsageError, match=r"pip install 'ponder\[math\]'"):
        math.require()


def stuck(program: str) -> type[rest.Worker]:
    """A worker whose process runs a piece of Python once it was asked."""
    body = f"print('[1]', flush=True)\ninput()\n{program}"
    return type("Stuck", (WORKER,), {"__init__": lambda self: WORKER.__init__(self, ["-c", body])})


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("while True: pass", "took more than"),
        ("import time; time.sleep(100)", "took more than"),
        ("raise SystemExit", "process ended"),
        ("import os; os.abort()", "process ended"),
        ("print('no json')", "process failed"),
        ('print(\'{"no": "pair"}\')', "process failed"),
    ],
)
def test_a_process_that_hangs_or_breaks_is_killed_from_any_thread(
    monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    monkeypatch.setattr(rest, "Worker", stuck(program))
    monkeypatch.setattr(rest, "SECONDS", 0.2)
    monkeypatch.setattr(rest, "WALL_SECONDS", 0.6)
    workers = rest.Workers()
    try:
        with ThreadPoolExecutor(3) as pool:
            results = list(pool.map(lambda _: workers.ask("1", "2"), range(3)))
    finally:
        workers.close()
    assert [found for found, _ in results] == [None] * 3
    assert all(reason in why for _, why in results), results


def test_processes_end_when_they_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "Worker", stuck("print('[true, \"\"]', flush=True)\ninput()"))
    workers = rest.Workers()
    assert workers.ask("1", "1") == (True, "")
    (worker,) = workers._idle
    workers.close()
    assert worker.process.poll() is not None
    assert workers._idle == []


CASES = [
    (r"\int_0^1 x\,dx", r"\frac{1}{2}", "correct"),
    (r"\frac{1}{2}", r"\int_0^1 2x\,dx", "wrong"),
    (r"\sum_{k=1}^{10} k", "55", "correct"),
    ("56", r"\sum_{k=1}^{10} k", "wrong"),
    (r"\lim_{x \to 0} \frac{\sin(x)}{x}", "1", "correct"),
    ("2", r"\lim_{x \to 0} \frac{\sin(x)}{x}", "wrong"),
    (r"\begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix}", r"\nothing{4}", "unverified"),
    ("5", r"\nothing{5}", "wrong"),
    (r"\frac{1}{2}", "0.5", "correct"),
    (r"\sqrt{8}", r"2\sqrt{2}", "correct"),
    ("9", "9^{9^{9^9}}", "wrong"),
]  # fmt: skip


def verdicts(case: tuple[str, str, str]) -> str:
    reference, answer, _ = case
    return MATH.judge(reference, rf"\boxed{{{answer}}}").verdict


@needs_math_verify
def test_what_only_math_verify_reads() -> None:
    assert [(*case[:2], verdicts(case)) for case in CASES if case[2] != "unverified"] == [
        case for case in CASES if case[2] != "unverified"
    ]


@needs_math_verify
def test_verdicts_are_equal_with_one_and_eight_threads_and_under_load() -> None:
    alone = [verdicts(case) for case in CASES]
    running = True

    def load() -> None:
        while running:
            sum(range(10_000))

    threads = [threading.Thread(target=load, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(verdicts, CASES * 3)) == alone * 3
    finally:
        running = False
        for thread in threads:
            thread.join()


@needs_math_verify
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_verdicts_are_equal_in_other_processes(method: str) -> None:
    alone = [verdicts(case) for case in CASES]
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        assert list(pool.map(verdicts, CASES)) == alone


@needs_math_verify
def test_a_slow_check_is_stopped_and_the_next_one_is_answered() -> None:
    assert rest.same(r"\sum_{k=1}^{n} k", r"\frac{n(n+1)}{2}")[0] in (None, True)
    assert rest.same(r"\int_0^1 x\,dx", r"\frac{1}{2}") == (True, "")


@needs_math_verify
def test_its_known_errors_are_not_ours() -> None:
    for reference, answer in [("3x+4y+14=0", "3*x-1*y+13=0"), ("4", "1 2 3 4"), ("1/2^{99}", "1/2^{98}")]:
        for left, right in ((reference, answer), (answer, reference)):
            assert MATH.judge(left, rf"\boxed{{{right}}}").correct is not True


@needs_math_verify
def test_the_process_is_warm_and_used_again() -> None:
    math.prepare()
    (first,) = rest._workers._idle
    assert rest.same(r"\int_0^1 x\,dx", r"\frac{1}{2}")[0] is True
    (second,) = rest._workers._idle
    assert first is second and first.asked >= 2
    assert os.getpgid(first.process.pid) != os.getpgid(0)  # an interrupt of the terminal does not reach it
