"""What was asked and answered, append-only: one JSON object a line.

    {"kind": "run", …}                      the run that this journal belongs to (first line)
    {"kind": "asked", problem, keys, …}     a request went out (engines that bill)
    {"kind": "failed", problem, keys, …}    an attempt failed; its cost
    {"kind": "answered", problem, keys, …}  the outputs and the overhead
    {"kind": "scored" | "verdict", …}       what an impure scorer or verifier said
    {"kind": "commit"}                      lockstep: everything up to here is one work item

A line is the unit under free-running; under lockstep a whole wave is, and lines after the last commit are
dropped when the file is opened again. A torn last line (a killed process, a full disk) is cut off then, too.
"""

from __future__ import annotations

import array
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ponder.errors import StorageError, UsageError, storage_error

Event = dict[str, Any]


def dumps(value: object) -> str:
    """Compact JSON with sorted keys: the same value always gives the same bytes. It is always valid UTF-8: text with
    half a surrogate pair, which models do write, is escaped."""
    text = _encode(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return _escape(value)
    return text


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_escape = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


class Journal:
    """A journal on disk, or, without a path, one that keeps nothing.

    `header` is what the first line said (an empty dict for a new one). Raises StorageError naming the path if the
    file cannot be written, UsageError naming file and line if a line that was not the last cannot be read.
    """

    def __init__(self, path: Path | None = None, *, readonly: bool = False) -> None:
        self.path = path
        self.header: Event = {}
        self._offsets: dict[str, array.array[int]] = {}
        self._file: int | None = None
        self._end = 0
        self._broken: StorageError | None = None
        self._reader: int | None = None
        if path is None:
            return
        end = self._scan() if path.exists() else 0
        if path.exists():
            self._reader = os.open(path, os.O_RDONLY)
        if not readonly:
            self._open(end)

    @property
    def writable(self) -> bool:
        return self._file is not None

    def _scan(self) -> int:
        """Indexes the lines by problem and returns where the last whole work item ends."""
        assert self.path is not None
        good = end = 0
        pending: list[tuple[str, int]] = []
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    event = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    event = None
                if not isinstance(event, dict) or "kind" not in event:
                    if file.read(1):
                        raise UsageError(
                            f"{self.path}:{number}: not an event of a journal; restore a copy, or start a new run"
                        )
                    break  # torn by whatever stopped the last run: the work item is lost, nothing before it
                start, end = end, end + len(line)
                if number == 1:
                    self.header = event
                if "problem" in event:
                    pending.append((event["problem"], start))
                if event["kind"] == "commit" or self.header.get("schedule") != "lockstep" or number == 1:
                    good = end
                    for problem, offset in pending:
                        self._offsets.setdefault(problem, array.array("q")).append(offset)
                    pending.clear()
        return good

    def _open(self, end: int) -> None:
        assert self.path is not None
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._file, end)
            self._end = end
        except OSError as error:
            raise storage_error(self.path, error) from None

    def events(self, problem: str) -> list[Event]:
        """What the journal held for a problem when it was opened, in order."""
        if self._reader is None or problem not in self._offsets:
            return []
        found = []
        with os.fdopen(os.dup(self._reader), "rb") as file:
            for offset in self._offsets[problem]:
                file.seek(offset)
                found.append(json.loads(file.readline()))
        return found

    def problems(self) -> Iterator[str]:
        return iter(self._offsets)

    def all(self) -> Iterator[Event]:
        """Every event of the journal as it was when opened, problem by problem."""
        for problem in self._offsets:
            yield from self.events(problem)

    def append(self, *events: Event, commit: bool = False) -> None:
        """Writes events with one system call: after a kill they are there whole, or the last line is torn. After a
        failure the file ends with its last whole line, and takes no other."""
        if self._file is None:
            return
        if self._broken is not None:
            raise self._broken
        lines = [dumps(event) for event in events]
        if commit:
            lines.append('{"kind":"commit"}')
        data = ("\n".join(lines) + "\n").encode()
        try:
            written = os.write(self._file, data)
            while written < len(data):  # a full disk takes a part first and says so at the next write
                written += os.write(self._file, data[written:])
        except OSError as error:
            assert self.path is not None
            self._broken = storage_error(self.path, error)
            with suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise self._broken from None
        self._end += len(data)

    def close(self) -> None:
        for file in (self._file, self._reader):
            if file is not None:
                os.close(file)
        self._file = self._reader = None
