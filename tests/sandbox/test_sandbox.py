"""What honest programs may do, what tests may ask, and what the sandbox says when it cannot."""

# ruff: noqa: E501  (tables of programs)

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ponder.errors import UsageError
from ponder.sandbox import Finding, Limits, Sandbox, bwrap

NODE = """
class Node:
    def __init__(self, value):
        self.value, self.left, self.right = value, None, None
def depth(node):
    return 0 if node is None else 1 + max(depth(node.left), depth(node.right))
class Bad(ValueError): pass
def check(x):
    if x < 0: raise Bad('negative')
    return x
LIMIT = 7
def count(n):
    for i in range(n): yield i
def apply(f, x): return f(x)
def order(x): x.sort()
def adder(n): return lambda x: x + n
def pair(): return (1, 2.5, 'ß', b'x', None, True, {1, 2}, {'a': [3]}, frozenset([1]), 1j, range(3), 10 ** 40)
"""

RIGHT: dict[str, tuple[str, list[str]]] = {
    "objects of its own classes": (
        NODE,
        ["root = Node(1)", "root.left = Node(2)\nroot.left.right = Node(3)", "assert depth(root) == 3 and root.left.value == 2"],
    ),
    "an exception by its own name": (
        NODE,
        ["try:\n    check(-1)\n    assert False\nexcept Bad as error:\n    assert str(error) == 'negative'", "assert check(1) == 1"],
    ),
    "an exception by its base": (NODE, ["try:\n    check(-1)\n    assert False\nexcept ValueError:\n    pass", "assert check(2) == 2"]),
    "a value": (NODE, ["assert LIMIT == 7 and check(LIMIT) == 7"]),
    "a generator": (NODE, ["assert list(count(3)) == [0, 1, 2]", "assert sum(count(4)) == 6"]),
    "a function of the test's": (NODE, ["def double(x): return 2 * x\nassert apply(double, 3) == 6", "assert apply(len, 'ab') == 2"]),
    "a list changed in place": (NODE, ["x = [3, 1, 2]\norder(x)\nassert x == [1, 2, 3]"]),
    "a function that it returns": (NODE, ["assert adder(2)(3) == 5"]),
    "every kind of plain data": (
        NODE,
        ["assert pair() == (1, 2.5, 'ß', b'x', None, True, {1, 2}, {'a': [3]}, frozenset([1]), 1j, range(3), 10 ** 40)"],
    ),
    "a builtin's name": ("def sum(a, b): return a * b", ["assert sum(3, 4) == 12"]),
    "a builtin by a name of its own": ("f, g = abs, set", ["assert f(-2) == 2", "assert g([1, 1]) == {1}"]),
    "imports of the tests": ("def root(x): return x ** .5", ["import math\nassert math.isclose(root(2), math.sqrt(2))"]),
    "a module that only the program imports": ("import math\ndef root(x): return x ** .5", ["assert math.isclose(root(2), 2 ** .5)"]),
    "methods": ("class Solution:\n    def add(self, a, b): return a + b", ["assert Solution().add(1, 2) == 3"]),
    "keyword arguments": ("def f(a, *, b=1): return a + b", ["assert f(1, b=4) == 5"]),
    "named tuples and counters": (
        "from collections import Counter, namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)\ndef g(s): return Counter(s)",
        ["assert f() == (1, 2)", "assert g('aab') == {'a': 2, 'b': 1}"],
    ),
    "unittest": (
        "def f(x): return x + 1",
        ["import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(f(1), 2)\nif __name__ == '__main__': unittest.main()"],
    ),
    "a lot of output": ("def f(x):\n    for _ in range(100000): print('x' * 100)\n    return x", ["assert f(1) == 1"]),
    "a file in /tmp": ("def f(x):\n    open('/tmp/a', 'w').write(x)\n    return open('a').read()", ["assert f('ß') == 'ß'"]),
    "threads": (
        "from concurrent.futures import ThreadPoolExecutor as T\ndef f(x):\n    with T(4) as pool: return list(pool.map(abs, x))",
        ["assert f([-1, 2]) == [1, 2]"],
    ),
    "asyncio": ("import asyncio\nasync def g(x): return x\ndef f(x): return asyncio.run(g(x))", ["assert f(3) == 3"]),
    "dataclasses": ("from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 1\ndef f(): return A().x", ["assert f() == 1"]),
    "deep recursion": ("import sys\nsys.setrecursionlimit(10**5)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)", ["assert f(20000) == 20000"]),
    "a large answer": ("def f(n): return list(range(n))", ["assert len(f(300000)) == 300000"]),
    "a main block is not run": ("def f(): return 1\nif __name__ == '__main__': input()", ["assert f() == 1"]),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_right_programs_are_correct(name: str, sandbox: Sandbox) -> None:
    found = sandbox.check(*RIGHT[name])
    assert found.verdict == "correct", found


WRONG: dict[str, tuple[str, list[str], str]] = {
    "a test that fails": ("def f(x): return x", ["assert f(1) == 1", "assert f(2) == 3"], "test 2 of 2 failed: assert f(2) == 3; f(2) gave 2"),
    "it raises": ("def f(x): return 1 / 0", ["assert f(1) == 1"], "raised ZeroDivisionError"),
    "no assertion is reached": ("def f(): return []", ["for x in f():\n    assert x == 1"], "no assertion of the tests was reached"),
    "the time limit": ("def f(x):\n    while True: pass", ["assert f(1)"], "time limit"),
    "the wall limit": ("import time\ndef f(x): time.sleep(1000)", ["assert f(1)"], "time limit"),
    "a builtin that is not the right one": ("f = len", ["assert f([2]) == 2"], "f([2]) gave 1"),
    "a builtin that raises": ("f = len", ["assert f(2) == 2"], "raised TypeError"),
    "a name is missing": ("def g(x): return 1", ["assert f(1) == 1"], "defines no 'f'"),
    "a builtin's name is missing": ("def g(x): return 1", ["assert max(1, 2) == 2"], "defines no 'max'"),
    "an object where truth is asked": ("import re\ndef f(x): return re.match('a', x)", ["assert f('a')"], "returned an object of type Match"),
    "an exception made by the test": ("class f(Exception): pass", ["assert f(3)"], "returned an object of type f"),
    "keys that collide": ("def f(): return [i * (2**61 - 1) for i in range(60000)]", ["assert len(set(f())) == 3"], ""),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_programs_are_wrong_with_the_reason(name: str, sandbox: Sandbox) -> None:
    program, tests, reason = WRONG[name]
    found = sandbox.check(program, tests, limits=Limits(cpu=1))
    assert found.verdict == "wrong" and reason in found.reason, found


UNSURE = {
    "tests that never call": (["assert True or f(1) == 1"], "never called"),
    "tests that raise by themselves": (["assert 1 / 0 == f(1)"], "before it called the program"),
    "tests that loop by themselves": (["while True: pass\nassert f(1) == 1"], "without the program"),
    "tests that are no Python": (["assert f(1) ="], "is not Python"),
    "tests that hand over an object": (["class A: pass\nassert f(A()) == 1"], "the tests give the program an object of type A"),
    "tests with two builtins and nothing else": (["assert max(min(1, 2), 3) == 3"], "name it as entry_point"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSURE)
def test_what_the_tests_do_wrong_is_not_the_programs_fault(name: str, sandbox: Sandbox) -> None:
    tests, reason = UNSURE[name]
    found = sandbox.check("def f(x): return 1\ndef g(): pass", tests, limits=Limits(cpu=1))
    assert found.verdict == "unverified" and reason in found.reason, found


def test_every_test_is_counted_where_asked(sandbox: Sandbox) -> None:
    tests = ["assert f(1) == 1", "assert f(2) == 0", "assert f(3) == 3"]
    assert sandbox.check("def f(x): return x", tests, every=True).passed == 2
    assert sandbox.check("def f(x): return x", tests).passed == 1
    found = sandbox.check("import os\ndef f(x): return x if x < 2 else os._exit(0)", tests, every=True)
    assert (found.verdict, found.passed) == ("wrong", 1)


def test_values_are_equal_where_outcomes_are(sandbox: Sandbox) -> None:
    calls = ["f({3, 1, 2})", "f([])", "f(0)"]
    first = sandbox.values("def f(x): return {'b': x, 'a': 1.0}", calls)
    assert first == sandbox.values("def f(x): return dict(a=1, b=x)", calls)
    assert first != sandbox.values("def f(x): return dict(a=2, b=x)", calls)
    raised = sandbox.values("def f(x): return 1 / x", calls)
    assert raised == [("raise", "TypeError"), ("raise", "TypeError"), ("raise", "ZeroDivisionError")]
    gone = sandbox.values("import os\ndef f(x): os._exit(3)", calls)
    assert isinstance(gone, list) and all(kind == "failed" for kind, _ in gone)


SCRIPTS: dict[str, tuple[str, str, Any]] = {
    "input": ("a, b = map(int, input().split())\nprint(a + b)", "1 2\n", "3\n"),
    "sys.stdin": ("import sys\nprint(sum(map(int, sys.stdin.read().split())))", "1\n2\n3", "6\n"),
    "descriptor 0": ("import os\nprint(len(os.read(0, 100)))", "abc", "3\n"),
    "a main block": ("def main(): print(input())\nif __name__ == '__main__': main()", "ß\n", "ß\n"),
    "exit after the output": ("import sys\nprint(1)\nsys.exit()", "", "1\n"),
    "a thread": ("import threading\nthreading.Thread(target=lambda: print(2)).start()", "", "2\n"),
    "it raises": ("print(1)\n[][0]", "", "raised IndexError: list index out of range"),
    "it fails": ("import sys\nsys.exit(3)", "", "the program exited (status 3)"),
    "it loops": ("while True: pass", "", "time limit (1 s of processor time)"),
    "it prints for ever": ("while True: print('x' * 1000000)", "", "printed more than 16 MiB"),
    "it dies": ("import ctypes\nctypes.string_at(0)", "", "the program was killed (SIGSEGV)"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_read_and_print(name: str, sandbox: Sandbox) -> None:
    program, given, expected = SCRIPTS[name]
    found = sandbox.script(program, given, limits=Limits(cpu=1))
    assert (found.reason if isinstance(found, Finding) else found) == expected


def test_seeds_are_fixed_and_nothing_stays(sandbox: Sandbox) -> None:
    """The same draws, hashes, orders of sets and files, check after check and worker after worker."""
    program = "import random, os\nA = []\ndef f():\n    A.append(1)\n    return [random.random(), hash('a'), list({'a', 'b', 'c'}), A, os.listdir('/tmp')]"
    found = [sandbox.values(program, ["f()"]) for _ in range(3)]
    with Sandbox() as other:
        found.append(other.values(program, ["f()"]))
    assert all(one == found[0] for one in found)


def test_nothing_of_the_machine_is_there(sandbox: Sandbox) -> None:
    program = (
        "import os\ndef see(): return [sorted(os.listdir('/')), os.getuid(), os.path.exists('/proc'), sorted(os.environ)]\n"
        "def writable(): return [d for d, _, _ in os.walk('/') if os.access(d, os.W_OK)]"
    )
    os.environ["PONDER_SECRET"] = "x"
    found = sandbox.check(
        program,
        [
            "names, user, proc, variables = see()",
            "assert not {'home', 'root', 'work', 'etc'} & set(names) - {'root', 'etc'}, names",
            "assert not proc and user == 65534 and 'PONDER_SECRET' not in variables",
            "assert writable() == ['/tmp']",
        ],
    )
    assert found.verdict == "correct", found


def test_threads_get_the_verdicts_that_one_gets_in_their_own_order() -> None:
    if bwrap.missing():
        pytest.skip(bwrap.missing())
    programs = [f"def f(x): return x + {number % 3}" for number in range(60)]
    tests = ["assert f(1) == 2"]
    with Sandbox() as sandbox:
        one = [sandbox.check(program, tests) for program in programs]
        with ThreadPoolExecutor(8) as pool:
            eight = list(pool.map(lambda program: sandbox.check(program, tests), programs))
        assert len(sandbox._idle) <= 8
    assert [found.verdict for found in one] == [("wrong", "correct", "wrong")[number % 3] for number in range(60)]
    assert one == eight


def test_a_worker_outlives_the_thread_that_started_it(sandbox: Sandbox) -> None:
    found: list[Finding] = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: found.append(sandbox.check("def f(): return 1", ["assert f() == 1"])))
        thread.start()
        thread.join()
    pids = {worker.pid for worker in sandbox._idle}
    assert [one.verdict for one in found] == ["correct"] * 2 and len(pids) == 1


def test_a_worker_that_was_killed_is_replaced() -> None:
    if bwrap.missing():
        pytest.skip(bwrap.missing())
    with Sandbox() as sandbox:
        assert sandbox.check("def f(): return 1", ["assert f() == 1"]).verdict == "correct"
        pid = sandbox._idle[0].pid
        assert pid is not None
        os.killpg(pid, signal.SIGKILL)
        assert sandbox.check("def f(): return 1", ["assert f() == 1"]).verdict == "correct"
        assert sandbox._idle[0].pid != pid


def test_closing_ends_all_processes() -> None:
    if bwrap.missing():
        pytest.skip(bwrap.missing())
    sandbox = Sandbox()
    sandbox.check("def f(): return 1", ["assert f() == 1"])
    pid = sandbox._idle[0].pid
    assert pid is not None
    sandbox.close()
    for _ in range(500):  # what it started dies by itself, a moment later
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    raise AssertionError("its group is still there")


def test_without_namespaces_every_verdict_is_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bwrap, "missing", lambda: "no sandbox: none here")
    with Sandbox() as sandbox:
        for found in (sandbox.check("x", ["assert f()"]), sandbox.script("x", ""), sandbox.values("x", ["f()"])):
            assert found == Finding("unverified", "no sandbox: none here")


def test_what_bwrap_says_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bwrap, "binary", lambda: "/bin/false")
    bwrap.missing.cache_clear()
    try:
        assert bwrap.missing().startswith("no sandbox: ") and "--sandbox none" in bwrap.missing()
    finally:
        bwrap.missing.cache_clear()


def test_a_sandbox_that_does_not_start_is_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bwrap, "missing", lambda: "")
    monkeypatch.setattr(bwrap, "started", lambda isolated: ["sh", "-c", "echo broken >&2; exit 1"])
    found = Sandbox().check("x", ["assert f()"])
    assert found == Finding("unverified", "the sandbox did not start (broken)")


def test_none_isolates_nothing_and_judges_the_same() -> None:
    with Sandbox("none") as sandbox:
        for name in ("objects of its own classes", "a list changed in place", "asyncio"):
            program, tests = RIGHT[name]
            assert sandbox.check(program, tests).verdict == "correct"
        assert sandbox.check("import os\ndef f(): os._exit(0)", ["assert f()"]).verdict == "wrong"
        assert sandbox.check("import os\ndef f(): os.fork()", ["assert f()"]).reason.startswith(
            "raised PermissionError"
        )
        found = sandbox.check("def f():\n    while True: pass", ["assert f()"], limits=Limits(cpu=1))
        assert found.reason.startswith("time limit")
        assert sandbox.script("print(input())", "a") == "a\n"


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown sandbox 'docker'"):
        Sandbox("docker")
