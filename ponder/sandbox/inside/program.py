"""The process that a program runs in. Nothing here is trusted once the program has begun: whatever it says is data.

It loads the program, then answers requests from the examiner, one frame each:

    ("call", object, arguments, keywords, give back)     ("get", object, name)     ("set", object, name, value)
    ("items", object)                                    ("return", value)   ("throw", text)   answers to a callback

    ("value", value, changed arguments or None)   ("raise", names of the type and its bases, text)
    ("exit", status)   ("refused", text)   ("callback", number, arguments, keywords)

A program that reads standard input and prints runs as a script instead, and its output is what it is judged by.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
import types
from collections.abc import Callable
from typing import Any, NoReturn

from . import jail, wire

STAYS = object()
"""A top-level name that the program does not define."""


def begin(settings: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """In the process that was forked for a program: gives up what it must, says so, and serves."""
    status = 1
    try:
        jail.refuse_to_outlive_parent()
        null = os.open(os.devnull, os.O_RDWR)
        requests, replies, output = descriptors
        for number, descriptor in enumerate((null, output, null, requests, replies)):
            os.dup2(descriptor, 100 + number)
        for number in range(5):
            os.dup2(100 + number, number)
        os.closerange(5, 65536)
        os.setsid()
        if settings["isolated"]:
            jail.private_tmp(settings["tmp"])
        os.chdir(settings["folder"])
        os.umask(0o077)
        jail.limit(settings["memory"], settings["cpu"], settings["file"], settings["files"])
        jail.drop_capabilities()
        jail.filter_calls()
        os.write(4, b"+")
        Server(3, 4).start()
    except EOFError:
        status = 0
    finally:
        os._exit(status)


class Server:
    """Answers requests about one program."""

    def __init__(self, requests: int, replies: int) -> None:
        self._read: Callable[[int], bytes] = lambda count: os.read(requests, count)
        self._replies = replies
        self._objects: list[Any] = []
        self._module = types.ModuleType("solution")

    def start(self) -> None:
        """Serves until the examiner ends this process."""
        kind, source, names = wire.decode(wire.read_frame(self._read))
        if kind == "script":
            run_script(source, names, self._replies)
        os.dup2(0, 1)  # what it prints is nobody's: to the null device
        self._reply(self._attempt(lambda: self._load(source, names)))
        self._serve()

    def _serve(self) -> Any:
        """Answers until a callback's answer comes, which it returns."""
        while True:
            request = wire.decode(wire.read_frame(self._read), self._find)
            if request[0] in ("return", "throw"):
                return request
            self._reply(self._attempt(lambda request=request: getattr(self, "_" + request[0])(*request[1:])))  # type: ignore[misc]

    def _load(self, source: str, names: list[str]) -> Any:
        module = self._module
        sys.modules["solution"] = module
        random.seed(0)
        exec(compile(source, "<program>", "exec"), module.__dict__)
        found: dict[str, Any] = {}
        for name in names:
            value = module.__dict__.get(name, STAYS)
            if value is STAYS:
                continue
            raises = isinstance(value, type) and issubclass(value, BaseException)
            if callable(value) and any(value is builtin for builtin in wire.BY_NAME) and not raises:
                value = _called(value)
            found[name] = ("exception", _bases(value)) if raises else ("value", value)
        return found, None

    def _call(self, target: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], give_back: bool) -> Any:
        before = wire.encode(arguments, self._keep) if give_back else b""
        value = target(*arguments, **keywords)
        changed = give_back and wire.encode(arguments, self._keep) != before
        return value, arguments if changed else None

    def _get(self, target: Any, name: str) -> Any:
        return getattr(target, name), None

    def _set(self, target: Any, name: str, value: Any) -> Any:
        setattr(target, name, value)
        return None, None

    def _items(self, target: Any) -> Any:
        return list(itertools.islice(iter(target), wire.MOST_ITEMS)), None

    def _attempt(self, do: Callable[[], Any]) -> bytes:
        """The frame that says how it went."""
        try:
            return wire.encode(("value", *do()), self._keep)
        except wire.Refused as error:
            return wire.encode(("refused", str(error)))
        except SystemExit as error:
            return wire.encode(("exit", str(error.code)[:100]))
        except BaseException as error:
            return wire.encode(("raise", _bases(type(error)), _text(error)))

    def _reply(self, raw: bytes) -> None:
        write_all(self._replies, wire.frame(raw))

    def _keep(self, value: Any) -> tuple[int, str]:
        for number, known in enumerate(self._objects[-8:], max(0, len(self._objects) - 8)):
            if known is value:
                return number, type(value).__name__
        self._objects.append(value)
        return len(self._objects) - 1, type(value).__name__

    def _find(self, number: int, kind: str) -> Any:
        return self._callback(number) if kind == "()" else self._objects[number]

    def _callback(self, number: int) -> Callable[..., Any]:
        def callback(*arguments: Any, **keywords: Any) -> Any:
            self._reply(wire.encode(("callback", number, arguments, keywords), self._keep))
            answer = self._serve()
            if answer[0] == "throw":
                raise RuntimeError(answer[1])
            return answer[1]

        return callback


def _called(builtin: Callable[..., Any]) -> Callable[..., Any]:
    """A builtin that the program gives one of its own names (`largest = max`) is called here, as the program."""
    return lambda *arguments, **keywords: builtin(*arguments, **keywords)


def run_script(source: str, given: str, replies: int) -> NoReturn:
    """Runs the program as a script that is given a standard input; how it failed goes to `replies`."""
    file = os.open("input", os.O_RDWR | os.O_CREAT, 0o600)
    os.unlink("input")
    write_all(file, given.encode("utf-8", "surrogateescape"))
    os.lseek(file, 0, os.SEEK_SET)
    os.dup2(file, 0)
    os.close(file)
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv[:] = ["program.py"]
    random.seed(0)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    status = 0
    try:
        exec(compile(source, "<program>", "exec"), module.__dict__)
        _wait_for_threads()
        sys.stdout.flush()
    except SystemExit as error:
        _wait_for_threads()
        sys.stdout.flush()
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:
        write_all(replies, wire.frame(wire.encode(("raise", _bases(type(error)), _text(error)))))
        status = 1
    os._exit(status & 255)


def _wait_for_threads() -> None:
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def write_all(descriptor: int, raw: bytes) -> None:
    while raw:
        raw = raw[os.write(descriptor, raw[: 1 << 20]) :]


def _bases(kind: type) -> list[str]:
    return [str(base.__name__)[:100] for base in kind.__mro__[:20]]


def _text(error: BaseException) -> str:
    try:
        return str(error)[:300]
    except BaseException:
        return ""
