"""Runs the tests, in a process that never runs the program, and says what it found.

The program's process is a child of the zygote's, so nothing about the tests is in its memory. The tests run as they
are, with a proxy for each name that the program must define.
"""

from __future__ import annotations

import builtins
import os
import random
import select
import signal
import socket
import sys
import traceback
import types
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from . import jail, names, wire
from .remote import Failed, Process, Remote, Unsupported, call, start

Finding = tuple[str, str, int, int]
"""(correct, wrong or unverified; reason; tests passed; tests)."""


MEMORY = 2 * 2**30
"""Bytes that the examiner may use: more than a program may, since what it returns is read here."""


def serve(jobs: socket.socket, zygote: socket.socket, isolated: bool) -> None:
    """Does job after job until there is nobody who gives one: what was found goes out as one frame, before it the frame
    ("used",) once the program has answered."""
    if isolated:
        jail.limit(MEMORY, None, 0, 256)
        jail.drop_capabilities()
        jail.filter_calls()
    while True:
        try:
            task = wire.decode(wire.read_frame(jobs.recv))
        except EOFError:
            return
        # Out of time beyond what any test needs, the examiner dies: by what the program returned, as a rule.
        signal.setitimer(signal.ITIMER_PROF, 2 * task["limits"][1] + 5)
        found = _examine(jobs, zygote, isolated, task)
        signal.setitimer(signal.ITIMER_PROF, 0)
        jobs.sendall(wire.frame(wire.encode(found)))


def _examine(jobs: socket.socket, zygote: socket.socket, isolated: bool, task: dict[str, Any]) -> Any:
    process = start(zygote, isolated, task["limits"])
    told = False

    def tell() -> None:
        nonlocal told
        if not told:
            told = True
            jobs.sendall(wire.frame(wire.encode(("used",))))

    process.on_answer = tell
    try:
        return _script(process, task) if task["mode"] == "script" else _Examination(process, task).run()
    except OSError as error:
        return ("unverified", f"the sandbox failed: {error.strerror}", 0, 0)
    finally:
        process.leave()


@lru_cache(64)
def _studied(tests: tuple[str, ...], entry: str) -> tuple[names.Study, list[types.CodeType]]:
    """A group of programs is checked against the same tests."""
    study = names.Study(tests, entry)
    return study, study.prepared()


class _Examination:
    """One program against its tests, or its values on inputs."""

    def __init__(self, process: Process, task: dict[str, Any]) -> None:
        self.process, self.task = process, task
        self.tests: list[str] = task["tests"]
        self.module = types.ModuleType("__main__")
        self.reached = 0
        self.missing: list[str] = []

    def run(self) -> Any:
        random.seed(0)
        try:
            self.study, codes = _studied(tuple(self.tests), self.task["entry"])
        except names.Unclear as error:
            return ("unverified", str(error), 0, len(self.tests))
        first = self._set_up(self.study)
        if self.task["mode"] == "values":
            return [first or self._value(test) for test in self.tests]
        passed = 0
        for number, code in enumerate(codes, 1):
            if first and (self.process.failure or first[0] == "unverified" or not self.task["all"]):
                break
            failure = self._one(code, self.tests[number - 1], number)
            passed += failure is None
            first = first or failure
        return (*(first or self._settle(len(codes))), passed, len(codes))

    def _settle(self, count: int) -> tuple[str, str]:
        """The verdict where every test ended well."""
        if self.process.failure:
            return "wrong", self.process.failure
        if self.study.asserts and not self.reached:
            return ("wrong" if self.process.answered > 1 else "unverified"), "no assertion of the tests was reached"
        if self.process.answered <= 1:
            return "unverified", "the tests never called the program"
        return "correct", "passed the test" if count == 1 else f"passed all {count} tests"

    def _set_up(self, study: names.Study) -> tuple[str, str] | None:
        """Loads the program and puts its names where the tests find them; what went wrong, if anything did."""
        scope, own = self.module.__dict__, study.own
        scope.update(names.trusted(study.free - set(own)))
        scope[names.ASSERTED] = self._assert
        scope[names.IN_PLACE] = _in_place
        sys.modules["__main__"] = self.module
        try:
            found = self.process.load(self.task["program"], own)
        except Failed:
            return "wrong", self.process.failure
        except BaseException:
            if not self.process.raised:
                raise  # not the program's: there is none
            return "wrong", f"raised {self.process.raised} when it was loaded"
        for name in own:
            entry = found.get(name) if isinstance(found, dict) else None
            if not (type(entry) is tuple and len(entry) == 2):
                self.missing.append(name)
                scope.pop(name, None)
                if hasattr(builtins, name):
                    scope[name] = _Missing(name)  # or the builtin would do the program's work
            elif entry[0] == "exception":
                scope[name] = self._exception(name, entry[1])
            else:
                scope[name] = _named(entry[1], name)
        return None

    def _exception(self, name: str, bases: Any) -> Any:
        """A class that stands for one of the program's exceptions, so that a test may catch it by name."""
        process = self.process
        found = [getattr(builtins, base, None) for base in bases if type(base) is str] if type(bases) is list else []
        base = next((base for base in found if isinstance(base, type) and issubclass(base, Exception)), None)
        if base is None:
            return None
        process.exceptions[name] = type(name, (base,), {"__init__": lambda own, *_: process.only_raised(own)})
        return process.exceptions[name]

    def _assert(self) -> None:
        self.reached += 1

    def _one(self, code: types.CodeType, test: str, number: int) -> tuple[str, str] | None:
        """Runs one test. None if it ended well, and nothing has made the program wrong."""
        process = self.process
        process.raised = process.last = ""
        before = process.answered
        try:
            exec(code, self.module.__dict__)
        except Failed:
            pass
        except Unsupported as error:
            return "unverified", str(error)
        except SystemExit as error:  # the test's own, as unittest.main() ends: a program's exit is Failed
            if error.code not in (None, 0, False):
                return "wrong", self._words(number, test, f"the tests ended with status {error.code}")
        except NameError as error:
            if error.name in self.missing:
                return "wrong", f"the program defines no {error.name!r}"
            return self._raised(error, number, test, before)
        except BaseException as error:
            return self._raised(error, number, test, before)
        return ("wrong", process.failure) if process.failure else None

    def _raised(self, error: BaseException, number: int, test: str, before: int) -> tuple[str, str]:
        process = self.process
        if process.failure:
            return "wrong", process.failure
        line = _line(error, test)
        if isinstance(error, AssertionError):
            said = f"; {process.last}" if process.last else f"; raised {process.raised}" if process.raised else ""
            return "wrong", self._words(number, line, "failed") + said
        what = f"raised {process.raised or type(error).__name__ + ': ' + str(error)[:200]}"
        if process.answered == before:
            return "unverified", f"test {number} {what} before it called the program"
        return "wrong", f"{what} in {self._words(number, line, '')}".rstrip()

    def _words(self, number: int, line: str, what: str) -> str:
        place = f"test {number} of {len(self.tests)}" if len(self.tests) > 1 else "the test"
        return f"{place} {what}: {line[:160]}" if what else f"{place}: {line[:160]}"

    def _value(self, expression: str) -> Any:
        """The outcome of a call as text that is the same for equal outcomes; None if the process is gone."""
        process = self.process
        process.raised = ""
        try:
            value = eval(compile(expression, "<input>", "eval"), self.module.__dict__)
            return ("value", spell(value))
        except Failed:
            return ("failed", process.failure)
        except BaseException as error:
            return ("raise", type(error).__name__)


class _Missing:
    """A name that the program should define, where the test would find a builtin of that name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise NameError(f"name {self.name!r} is not defined", name=self.name)


def _in_place(function: Any, *arguments: Any, **keywords: Any) -> Any:
    if type(function) is Remote:
        return call(function, arguments, keywords, give_back=True)
    return function(*arguments, **keywords)


def _named(value: Any, name: str) -> Any:
    if type(value) is Remote:
        object.__setattr__(value, "_words", name)
    return value


def _line(error: BaseException, test: str) -> str:
    """The line of the test that raised."""
    lines = test.splitlines()
    for found in reversed(traceback.extract_tb(error.__traceback__)):
        if found.filename == "<tests>" and found.lineno and found.lineno <= len(lines):
            return lines[found.lineno - 1].strip()
    return test.strip()


def spell(value: Any) -> str:
    """One spelling for values that are equal."""
    kind = type(value)
    if kind in (bool, int, float):
        return str(int(value)) if value == value and abs(value) < 2**53 and value == int(value) else repr(value)
    if kind in (list, tuple):
        return f"{kind.__name__}({','.join(map(spell, value))})"
    if kind in (set, frozenset):
        return f"set({','.join(sorted(map(spell, value)))})"
    if kind is dict:
        return f"dict({','.join(sorted(f'{spell(key)}:{spell(item)}' for key, item in value.items()))})"
    return f"{kind.__name__}:{object.__repr__(value) if kind is Remote else repr(value)}"


def _script(process: Process, task: dict[str, Any]) -> Any:
    """Runs a program that reads standard input: ("printed", output) or a finding."""
    printed: list[bytes] = []
    try:
        process.begin(("script", task["program"], task["input"]))
        _collect(process, process.output, printed.append)
    except Failed:
        pass
    how = process.end()
    failure = process.failure or (process.raised and f"raised {process.raised}") or how
    return ("wrong", failure, 0, 1) if failure else ("printed", b"".join(printed))


def _collect(process: Process, output: int, keep: Callable[[bytes], None]) -> None:
    """Reads both pipes until the program has closed them."""
    poll = select.poll()
    poll.register(output, select.POLLIN)
    poll.register(process.replies, select.POLLIN)
    waiting, size, said = {output, process.replies}, 0, b""
    while waiting:
        left = process.left()
        events = poll.poll(left * 1000) if left > 0 else []
        if not events:
            process.fail(f"time limit ({process.wall:g} s)")
        for descriptor, _ in events:
            part = os.read(descriptor, 1 << 20)
            if not part:
                poll.unregister(descriptor)
                waiting.discard(descriptor)
            elif descriptor == output:
                size += len(part)
                keep(part)
            elif len(said) < 65536:
                said += part
            if size > wire.MOST_BYTES:
                process.fail(f"printed more than {wire.MOST_BYTES // 2**20} MiB")
    process.raised = _said(said)


def _said(raw: bytes) -> str:
    """What a script says that it raised, if it says so in the right form."""
    try:
        found = wire.decode(raw[4:])
        return f"{found[1][0]}: {found[2]}" if found[0] == "raise" else ""
    except Exception:
        return ""
