"""The program's process as the examiner sees it: requests, deadlines, and objects that stay over there.

An object that is not plain data is a `Remote`: it can be called, asked for attributes, walked through and handed back
to the program. It cannot be compared, printed, counted or tested, since the answer would be the program's own.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import reprlib
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import Any, NoReturn

from . import wire

UNCATCHABLE = (StopIteration, StopAsyncIteration, GeneratorExit, KeyboardInterrupt, SystemExit)
"""What must not reach a test as it is: raised by a program, these would end its loops early, or the test itself."""


class Failed(BaseException):
    """The program cannot be right any more, whatever the test does about it."""


class Unsupported(BaseException):
    """The test asks for something that this verifier cannot do."""


class Process:
    """The program's process, and the pipes to it. `failure`: why the program is wrong; it stays once it is set."""

    def __init__(self, zygote: socket.socket, requests: int, replies: int, output: int, cpu: int, wall: float) -> None:
        self.cpu, self.wall = cpu, wall
        self.replies, self.output = replies, output
        self._zygote = zygote
        self.failure = ""
        self.raised = ""
        self.answered = 0
        self.last = ""
        self.on_answer: Callable[[], None] = lambda: None
        self.exceptions: dict[str, type[BaseException]] = {}
        self._requests = requests
        self._deadline = time.monotonic() + wall
        self._callbacks: list[Callable[..., Any]] = []
        self._raising = False
        self._ended = False
        self._how = ""

    # --- requests

    def begin(self, request: tuple[Any, ...]) -> None:
        """Says what to run. Raises OSError if the process did not come to be, or could not give up what it must: then
        no program has run. A short request waits for the process in the pipe, which saves a turn."""
        raw = wire.frame(wire.encode(request))
        early = len(raw) <= select.PIPE_BUF
        if early:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._requests, raw)
        poll = select.poll()
        poll.register(self.replies, select.POLLIN)
        sign = os.read(self.replies, 1) if poll.poll(max(0.0, self.left()) * 1000) else b""
        if sign != b"+":
            said = os.read(self.replies, 200).decode() if sign == b"-" else "it did not start"
            raise OSError(0, f"no process for the program: {said}")
        if not early:
            self._write(raw)

    def load(self, source: str, names: list[str]) -> dict[str, Any]:
        """What the program defines of these names."""
        self.begin(("module", source, names))
        return self._read(self._answer())[0]  # type: ignore[no-any-return]

    def ask(self, request: tuple[Any, ...]) -> tuple[Any, Any]:
        """(value, changed arguments). Raises what the program raised as the nearest builtin, and Failed."""
        if self.failure:
            raise Failed(self.failure)
        self.send(request)
        while True:
            answer = self._answer()
            if answer[0] != "callback":
                return self._read(answer)
            self.send(self._call_back(*answer[1:]))

    def _read(self, answer: tuple[Any, ...]) -> tuple[Any, Any]:
        kind = answer[0]
        if kind == "value":
            return answer[1], answer[2]
        if kind == "refused":
            self.fail(f"returned {answer[1]}")
        if kind == "exit":
            self.fail(f"the program exited (status {answer[1]})")
        bases, text = answer[1], answer[2]
        self.raised = f"{bases[0]}: {text}" if text else bases[0]
        raise self._exception(bases, text)

    def _exception(self, bases: list[str], text: str) -> BaseException:
        for name in bases:
            found = self.exceptions.get(name) or getattr(builtins, name, None)
            if isinstance(found, type) and issubclass(found, BaseException) and not issubclass(found, UNCATCHABLE):
                try:
                    self._raising = True
                    return found(text)
                except TypeError:  # one that wants more than a text
                    continue
                finally:
                    self._raising = False
        return RuntimeError(text)

    def only_raised(self, error: object) -> None:
        """How the stand-ins of the program's own exceptions begin: a test that makes one would get an object."""
        if not self._raising:
            self.fail(f"returned an object of type {type(error).__name__}")

    def _call_back(self, number: int, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, ...]:
        try:
            return ("return", self._callbacks[number](*arguments, **keywords))
        except Exception as error:
            return ("throw", f"{type(error).__name__}: {error}"[:200])

    # --- frames

    def send(self, request: tuple[Any, ...]) -> None:
        try:
            raw = wire.frame(wire.encode(request, self._keep))
        except wire.Refused as error:
            raise Unsupported(f"the tests give the program {error}") from None
        self._write(raw)

    def _write(self, raw: bytes) -> None:
        try:
            while raw:
                self._wait(self._requests, select.POLLOUT)
                raw = raw[os.write(self._requests, raw[:4096]) :]  # no more than surely fits without waiting
        except OSError:
            self.died()

    def _answer(self) -> tuple[Any, ...]:
        try:
            raw = wire.read_frame(self._take, wire.MOST_BYTES)
            if self.answered or len(raw) > 4096:
                self.on_answer()  # from here on what happens may be the program's doing
            found = wire.decode(raw, self._find)
        except EOFError:
            self.died()
        except wire.Refused as error:
            self.fail(f"answered with {error}")
        if not (isinstance(found, tuple) and _is_answer(found)):
            self.fail("answered with something that is no answer")
        self.answered += 1
        return found

    def _take(self, count: int) -> bytes:
        self._wait(self.replies, select.POLLIN)
        return os.read(self.replies, count)

    def _wait(self, descriptor: int, event: int) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        left = self._deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            self.fail(f"time limit ({self.wall:g} s)")

    def left(self) -> float:
        """Seconds until the wall limit."""
        return self._deadline - time.monotonic()

    def _keep(self, value: Any) -> tuple[int, str]:
        if type(value) is Remote:
            return object.__getattribute__(value, "_number"), ""
        if callable(value) and not isinstance(value, type):
            self._callbacks.append(value)
            return len(self._callbacks) - 1, "()"
        raise wire.Refused(f"an object of type {type(value).__name__}")

    def _find(self, number: int, kind: str) -> Remote:
        return Remote(self, number, kind)

    # --- ends

    def fail(self, why: str) -> NoReturn:
        """From here on the program is wrong."""
        self.failure = self.failure or why
        raise Failed(self.failure)

    def died(self) -> NoReturn:
        """It closed its pipe: because it ended, as a rule."""
        self.fail(self.end() or "the program exited (status 0)")

    def end(self) -> str:
        """Kills the process and waits for it and all that it started: how it ended, '' if well. One that was ending by
        itself keeps its status."""
        if self._ended:
            return self._how
        self._ended = True
        self._zygote.send(wire.KILL)
        status, seconds = wire.DONE.unpack(self._zygote.recv(wire.DONE.size))
        self._close()
        if os.WIFEXITED(status):
            self._how = f"the program exited (status {os.WEXITSTATUS(status)})" if os.WEXITSTATUS(status) else ""
        elif os.WTERMSIG(status) != signal.SIGKILL:
            self._how = f"the program was killed ({_signal(os.WTERMSIG(status))})"
        elif seconds >= self.cpu / 2:  # the kernel's limit counts ticks, which may run ahead of the time used
            self._how = f"time limit ({self.cpu} s of processor time)"
        else:
            self._how = "the program stopped answering"
        return self._how

    def leave(self) -> None:
        """The program is not needed any more: its process is killed, and nobody waits for that."""
        if not self._ended:
            self._ended = True
            self._zygote.send(wire.LEAVE)
            self._close()

    def _close(self) -> None:
        for descriptor in (self._requests, self.replies, self.output):
            os.close(descriptor)


def _is_answer(found: tuple[Any, ...]) -> bool:
    """Whether the frame has the shape of an answer: only then is it read."""
    shapes: dict[Any, tuple[Any, ...]] = {
        "value": (object, (tuple, type(None))),
        "raise": (list, str),
        "exit": (str,),
        "refused": (str,),
        "callback": (int, tuple, dict),
    }
    if not found or type(found[0]) is not str or found[0] not in shapes or len(found) != len(shapes[found[0]]) + 1:
        return False
    if not all(isinstance(part, shape) for part, shape in zip(found[1:], shapes[found[0]], strict=True)):
        return False
    if found[0] == "callback":
        return all(type(key) is str for key in found[3])
    return found[0] != "raise" or (bool(found[1]) and all(type(name) is str for name in found[1]))


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Remote:
    """An object of the program's."""

    __slots__ = ("_kind", "_number", "_process", "_words")

    def __init__(self, process: Process, number: int, kind: str, words: str = "") -> None:
        put = object.__setattr__
        put(self, "_process", process)
        put(self, "_number", number)
        put(self, "_kind", kind)
        put(self, "_words", words)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return call(self, arguments, keywords, give_back=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = self._process.ask(("get", self, name))[0]
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        self._process.ask(("set", self, name, value))

    def __iter__(self) -> Any:
        return iter(self._process.ask(("items", self))[0])

    def __repr__(self) -> str:
        return f"<an object of type {self._kind}>"


def _refuse(self: Remote, *_: Any) -> NoReturn:
    process: Process = self._process
    process.fail(f"returned an object of type {self._kind}")


for _name in (
    *("eq", "ne", "lt", "le", "gt", "ge", "bool", "getitem", "contains", "str", "format", "hash", "int"),
    *("float", "index", "complex", "add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "floordiv"),
    *("rfloordiv", "mod", "rmod", "divmod", "pow", "rpow", "and", "rand", "or", "ror", "xor", "rxor", "neg", "abs"),
    *("round", "bytes", "reversed", "next", "setitem", "delitem", "enter", "exit"),
):
    setattr(Remote, f"__{_name}__", _refuse)


def call(target: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], *, give_back: bool) -> Any:
    """The value of a call in the program's process. `give_back`: lists, dicts and sets that the program changed are
    changed here, too; only where the test reads no result, since a program that empties the list it is compared with
    would otherwise be right."""
    process: Process = target._process
    process.last = ""
    value, changed = process.ask(("call", target, arguments, keywords, give_back))
    process.last = f"{target._words or target._kind}({_short_list(arguments, keywords)}) gave {short(value)}"
    if give_back and changed is not None:
        for mine, theirs in zip(arguments, changed, strict=False):
            _become(mine, theirs)
    return value


def _become(mine: Any, theirs: Any) -> None:
    if type(mine) is not type(theirs):
        return
    if type(mine) in (list, bytearray):
        mine[:] = theirs
    elif type(mine) in (dict, set):
        mine.clear()
        mine.update(theirs)


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 80


def short(value: Any) -> str:
    """A few words that show a value, whatever it is."""
    try:
        return _repr.repr(value)[:120]
    except Exception:
        return f"<{type(value).__name__}>"


def _short_list(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> str:
    return ", ".join(
        [short(value) for value in arguments] + [f"{key}={short(value)}" for key, value in keywords.items()]
    )


def start(zygote: socket.socket, isolated: bool, limits: tuple[Any, ...]) -> Process:
    """Asks the zygote for the program's process, and does not wait for it."""
    requests, replies, output = os.pipe(), os.pipe(), os.pipe()
    theirs = (requests[0], replies[1], output[1])
    socket.send_fds(zygote, [wire.ASKED.pack(*limits, isolated)], theirs)
    for descriptor in theirs:
        os.close(descriptor)
    return Process(zygote, requests[1], replies[0], output[0], limits[1], limits[0])
