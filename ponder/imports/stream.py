"""One large JSON object, read member by member: memory holds one value (or one element of one list) at a time."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

CHUNK = 1 << 16
_BLANK = re.compile(r"[ \t\r\n]*")
_TOKEN = re.compile(r'["\\\[\]{}]')


def members(stream: BinaryIO, *, each: str, skip: Collection[str] = ()) -> Iterator[tuple[str, int, Any]]:
    """(key, index, value) of a JSON object's members; those named `skip` are passed over without being built, and of
    the list named `each` every element comes by itself (its index from 0). Raises ValueError on broken JSON."""
    text = _Text(stream)
    text.expect("{")
    if text.peek() == "}":
        return
    while True:
        key = text.value()
        if not isinstance(key, str):
            raise ValueError("a key is no text")
        text.expect(":")
        if key == each and text.peek() == "[":
            yield from _elements(text, key)
        elif key in skip:
            text.skip()
        else:
            yield key, 0, text.value()
        if text.expect(",", "}") == "}":
            return


def _elements(text: _Text, key: str) -> Iterator[tuple[str, int, Any]]:
    text.expect("[")
    if text.peek() == "]":
        text.expect("]")
        return
    index = 0
    while True:
        yield key, index, text.value()
        index += 1
        if text.expect(",", "]") == "]":
            return


class _Text:
    """A window on the stream. `at` is where reading stands in `buffer`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._json = json.JSONDecoder()
        self.buffer, self.at, self.ended = "", 0, False

    def _more(self, size: int = CHUNK) -> bool:
        """Reads on, forgetting what was consumed; False at the end."""
        if self.ended:
            return False
        raw = self._stream.read(size)
        self.ended = not raw
        self.buffer = self.buffer[self.at :] + self._decode(raw, self.ended)
        self.at = 0
        return True

    def peek(self) -> str:
        """The next character that is not blank, left there. Raises ValueError at the end."""
        while True:
            match = _BLANK.match(self.buffer, self.at)
            assert match is not None
            self.at = match.end()
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self._more():
                raise ValueError("it ends early")

    def expect(self, *wanted: str) -> str:
        found = self.peek()
        if found not in wanted:
            raise ValueError(f"{found!r} stands where {' or '.join(wanted)} should")
        self.at += 1
        return found

    def value(self) -> Any:
        """The next value, whole. A window that cuts it grows by doubling."""
        self.peek()
        size = CHUNK
        while True:
            try:
                found, end = self._json.raw_decode(self.buffer, self.at)
            except json.JSONDecodeError as error:
                if not self._more(size):
                    raise ValueError(f"{error.msg} near its end") from None
            else:
                if end < len(self.buffer) or not self._more(size):  # a number at the edge may go on
                    self.at = end
                    return found
            size *= 2

    def skip(self) -> None:
        """Passes over the next value without building it."""
        if self.peek() not in "[{":
            self.value()
            return
        depth = 0
        while True:
            match = _TOKEN.search(self.buffer, self.at)
            if match is None:
                self.at = len(self.buffer)
                if not self._more():
                    raise ValueError("it ends early")
                continue
            self.at = match.start()
            if match[0] == '"':
                self.value()
                continue
            self.at += 1
            depth += 1 if match[0] in "[{" else -1
            if not depth:
                return
