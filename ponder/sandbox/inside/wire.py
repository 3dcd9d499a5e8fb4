"""How values cross from a program's process to the one that judges: plain data and nothing else.

The encoder runs beside the program and is not trusted. The decoder runs where the verdict is computed and is: it makes
only the types below, never looks anything up by a name from the other side, and refuses what is too big or too deep.

    N T F                none, true, false                 l t S Z q   list, tuple, set, frozenset, deque: count, items
    i f c s b B          int, float, complex, str, bytes,  d           dict: count, keys and values
                         bytearray                         r           range: three ints
    D Q                  decimal, fraction                 n           a builtin of BY_NAME, by its index
    o                    an object that stays where it is: its number and its type's name

A subclass is another type: an int that overloads equality would not be plain data. `Counter`, `defaultdict` and
`OrderedDict` cross as the dict, a named tuple as the tuple, that they are.
"""

from __future__ import annotations

import collections
import decimal
import fractions
import struct
from collections.abc import Callable
from typing import Any

MOST_BYTES = 16 * 1024 * 1024
"""Bytes of one message."""
DEEPEST = 400
"""Containers inside one another."""
MOST_ITEMS = 2_000_000

BY_NAME: tuple[Any, ...] = (
    *(int, float, complex, bool, str, bytes, bytearray, list, tuple, dict, set, frozenset, range, object, type),
    *(abs, all, any, ascii, bin, chr, divmod, enumerate, filter, hash, hex, isinstance, len, map, max, min, oct, ord),
    *(pow, print, repr, reversed, round, slice, sorted, sum, zip, type(None), Ellipsis, NotImplemented),
    *(ValueError, TypeError, KeyError, IndexError, ZeroDivisionError, Exception, RuntimeError, AttributeError),
)
"""What crosses as itself: tests hand types and builtin functions to a program, and get types back."""

_INDEX = {id(value): number for number, value in enumerate(BY_NAME)}
_DICTS = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)
_ITEMS: dict[type, bytes] = {list: b"l", tuple: b"t", set: b"S", frozenset: b"Z", collections.deque: b"q"}
_MAKERS: dict[int, Callable[[list[Any]], Any]] = {
    ord("l"): list,
    ord("t"): tuple,
    ord("S"): set,
    ord("Z"): frozenset,
    ord("q"): collections.deque,
}
_SIZE = struct.Struct("<I")
_DOUBLE = struct.Struct("<d")
_PAIR = struct.Struct("<dd")

ASKED = struct.Struct("<dqqqqq?")
"""A process for a program, as it is asked for: wall seconds, CPU seconds, bytes of memory, of a file and of /tmp, open
files, whether isolated."""
LIMITS = ("wall", "cpu", "memory", "file", "tmp", "files")
DONE = struct.Struct("<qd")
"""The status of a process that has ended, and its CPU seconds."""
KILL, LEAVE = b"kill", b"leave"
"""What else may be asked: to end the process and say how it ended, or only to end it."""


class Refused(Exception):
    """A value that does not cross, or bytes that are no value. The message is for the verdict's reason."""


def encode(value: Any, keep: Callable[[Any], tuple[int, str]] | None = None) -> bytes:
    """The bytes of a value. `keep` numbers an object that is not plain data, and names its type; without it such an
    object is refused. Raises Refused."""
    out: list[bytes] = []
    left = [MOST_ITEMS]
    _put(value, out, keep, DEEPEST, left)
    found = b"".join(out)
    if len(found) > MOST_BYTES:
        raise Refused(f"a value of more than {MOST_BYTES // 2**20} MiB")
    return found


def _put(value: Any, out: list[bytes], keep: Any, depth: int, left: list[int]) -> None:
    kind = type(value)
    left[0] -= 1
    if left[0] < 0:
        raise Refused(f"a value of more than {MOST_ITEMS:,} parts")
    if kind is int:
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        out += (b"i", _SIZE.pack(len(raw)), raw)
    elif kind is str:
        raw = value.encode("utf-8", "surrogatepass")
        out += (b"s", _SIZE.pack(len(raw)), raw)
    elif value is None or kind is bool:
        out.append(b"N" if value is None else b"T" if value else b"F")
    elif kind is float:
        out += (b"f", _DOUBLE.pack(value))
    elif kind is complex:
        out += (b"c", _PAIR.pack(value.real, value.imag))
    elif kind is bytes or kind is bytearray:
        out += (b"b" if kind is bytes else b"B", _SIZE.pack(len(value)), bytes(value))
    elif kind in _ITEMS or kind in _DICTS or _is_named_tuple(kind):
        _put_items(value, kind, out, keep, depth, left)
    elif kind is range:
        out.append(b"r")
        for part in (value.start, value.stop, value.step):
            _put(part, out, keep, depth, left)
    elif kind is decimal.Decimal:
        out.append(b"D")
        _put(str(value), out, keep, depth, left)
    elif kind is fractions.Fraction:
        out.append(b"Q")
        _put(value.numerator, out, keep, depth, left)
        _put(value.denominator, out, keep, depth, left)
    elif id(value) in _INDEX:
        out += (b"n", _SIZE.pack(_INDEX[id(value)]))
    elif keep is not None:
        number, name = keep(value)
        raw = name[:100].encode("utf-8", "replace")
        out += (b"o", _SIZE.pack(number), _SIZE.pack(len(raw)), raw)
    else:
        raise Refused(f"an object of type {kind.__name__}")


def _put_items(value: Any, kind: type, out: list[bytes], keep: Any, depth: int, left: list[int]) -> None:
    if depth == 0:
        raise Refused(f"a value nested more than {DEEPEST} deep")
    if kind in _DICTS:
        pairs = list(value.items())
        out += (b"d", _SIZE.pack(len(pairs)))
        for key, item in pairs:
            _put(key, out, keep, depth - 1, left)
            _put(item, out, keep, depth - 1, left)
        return
    items = list(value)
    out += (_ITEMS.get(kind, b"t"), _SIZE.pack(len(items)))
    for item in items:
        _put(item, out, keep, depth - 1, left)


def _is_named_tuple(kind: type) -> bool:
    return kind.__bases__ == (tuple,) and hasattr(kind, "_fields")


def decode(raw: bytes, find: Callable[[int, str], Any] | None = None) -> Any:
    """The value that the bytes spell. `find` gives what stands here for an object that stayed there; without it such
    objects are refused. Raises Refused for bytes that are no value."""
    try:
        value, end = _Reader(raw, find).value(0, DEEPEST)
    except Refused:
        raise
    except Exception as error:  # cut off, unhashable, no number, no text: all the same to whoever asked
        raise Refused(f"no plain data ({type(error).__name__})") from None
    if end != len(raw):
        raise Refused("no plain data (bytes after its end)")
    return value


class _Reader:
    def __init__(self, raw: bytes, find: Callable[[int, str], Any] | None) -> None:
        self.raw, self.find = raw, find

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        raw = self.raw
        tag = raw[at]
        at += 1
        if tag in b"NTF":
            return (None if tag == 78 else tag == 84), at
        if tag in b"isbB":
            chunk, at = self.chunk(at)
            if tag == 105:
                return int.from_bytes(chunk, "little", signed=True), at
            if tag == 115:
                return chunk.decode("utf-8", "surrogatepass"), at
            return (chunk if tag == 98 else bytearray(chunk)), at
        if tag == 102:
            return _DOUBLE.unpack_from(raw, at)[0], at + 8
        if tag == 99:
            return complex(*_PAIR.unpack_from(raw, at)), at + 16
        if tag in _MAKERS or tag == 100:
            return self.items(tag, at, depth)
        return self.rare(tag, at, depth)

    def items(self, tag: int, at: int, depth: int) -> tuple[Any, int]:
        if depth == 0:
            raise Refused(f"a value nested more than {DEEPEST} deep")
        (count,) = _SIZE.unpack_from(self.raw, at)
        at += 4
        if count > len(self.raw) - at:
            raise Refused("no plain data (a count beyond its end)")
        items = []
        for _ in range(2 * count if tag == 100 else count):
            item, at = self.value(at, depth - 1)
            items.append(item)
        if tag == 100:
            return dict(zip(items[::2], items[1::2], strict=True)), at
        return _MAKERS[tag](items), at

    def rare(self, tag: int, at: int, depth: int) -> tuple[Any, int]:
        if tag == 110:
            (number,) = _SIZE.unpack_from(self.raw, at)
            return BY_NAME[number], at + 4
        if tag == 111:
            (number,) = _SIZE.unpack_from(self.raw, at)
            name, at = self.chunk(at + 4)
            if self.find is None:
                raise Refused("an object where plain data was due")
            return self.find(number, name.decode("utf-8", "replace")), at
        parts: list[Any] = []
        for _ in range({114: 3, 68: 1, 81: 2}[tag]):
            part, at = self.value(at, depth)
            parts.append(part)
        wanted = str if tag == 68 else int
        if any(type(part) is not wanted for part in parts):
            raise Refused("no plain data (parts of another type)")
        make: Any = {114: range, 68: decimal.Decimal, 81: fractions.Fraction}[tag]
        return make(*parts), at

    def chunk(self, at: int) -> tuple[bytes, int]:
        (size,) = _SIZE.unpack_from(self.raw, at)
        end = at + 4 + size
        if end > len(self.raw):
            raise Refused("no plain data (cut off)")
        return self.raw[at + 4 : end], end


# --- frames: four bytes of length, then a value


def read_exactly(read: Callable[[int], bytes], count: int) -> bytes:
    """`count` bytes. Raises EOFError if they end before."""
    parts = []
    while count:
        part = read(min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def read_frame(read: Callable[[int], bytes], most: int = 4 * MOST_BYTES) -> bytes:
    """Raises EOFError, and Refused if the frame would be too long."""
    (size,) = _SIZE.unpack(read_exactly(read, 4))
    if size > most:
        raise Refused("a message that is too long")
    return read_exactly(read, size)


def frame(raw: bytes) -> bytes:
    return _SIZE.pack(len(raw)) + raw
