"""What every reader of logs needs: options, findings, values, and lines."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ponder.errors import UsageError
from ponder.measure.rows import BadRow, decoded

Row = dict[str, Any]


class Bad(ValueError):
    """What is wrong with a record: 'field …: …; what to do'."""


@dataclass(frozen=True, slots=True)
class Options:
    """`metric`: which of a log's metrics or scorers says what is correct. `filter`: which of lm-eval's filters gave the
    answer. `threshold`: a graded value from here on is correct. `fields`: sample-row field -> column."""

    metric: str | None = None
    filter: str | None = None
    threshold: float = 1.0
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """A record's rows, or why it has none. `where`: 'FILE:LINE' or 'FILE: sample 7, epoch 2'."""

    where: str
    rows: tuple[Row, ...] = ()
    error: str | None = None


def verdict(value: object, name: str, threshold: float) -> Row:
    """`correct`, and `quality` where the value is graded. Raises Bad for what cannot be read as right or wrong."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return {"correct": None}
    if isinstance(value, bool):
        return {"correct": value}
    if isinstance(value, str):
        word = value.strip().lower()
        if word in WORDS:
            return {"correct": WORDS[word]}
        try:
            value = float(word)
        except ValueError:
            raise Bad(f"field {name!r}: {word[:40]!r} is neither right nor wrong; map another field") from None
        if math.isnan(value):
            return {"correct": None}
    if not isinstance(value, (int, float)):
        raise Bad(f"field {name!r}: is no single value; choose one with --metric")
    if value in (0, 1):
        return {"correct": bool(value) if threshold == 1.0 else value >= threshold}
    if not 0 <= value <= 1 and threshold == 1.0:
        raise Bad(f"field {name!r}: {value:g} lies outside [0, 1]; say with --threshold from where on it is correct")
    graded: Row = {"correct": value >= threshold}
    return graded | ({"quality": value} if 0 <= value <= 1 else {})


WORDS: dict[str, bool | None] = {
    "c": True, "correct": True, "true": True, "yes": True, "right": True, "pass": True, "passed": True,
    "i": False, "incorrect": False, "false": False, "no": False, "wrong": False, "n": False, "fail": False,
    "failed": False, "": None, "null": None, "none": None, "unverified": None,
}  # fmt: skip
"""Inspect's letters, and what people write in tables."""


def text(value: object, name: str) -> str | None:
    """An answer or text as text. Raises Bad for lists and objects."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    raise Bad(f"field {name!r}: is {'a list' if isinstance(value, list) else 'an object'}; map a field that holds text")


def identity(value: object, name: str) -> str:
    """A problem's id as text. Raises Bad if it is missing."""
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise Bad(f"field {name!r}: {'missing' if value in (None, '') else 'is no text or integer'}; give an id")
    return str(value)


def count(value: object, name: str) -> int | None:
    """A number of tokens. Raises Bad for anything that is no whole number from 0."""
    if value is None:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not number >= 0 or number != math.floor(number) or math.isinf(number):
        raise Bad(f"field {name!r}: {str(value)[:40]!r} is no whole number from 0; map another field, or none")
    return int(number)


def objects(path: Path) -> Iterator[tuple[str, Mapping[str, Any] | Bad]]:
    """('FILE:LINE', object or what is wrong) of a JSONL file, .gz too; blank lines are skipped."""
    with opened(path) as stream:
        for number, raw in enumerate(stream, 1):
            if raw.strip(b"\xef\xbb\xbf \t\r\n"):
                yield f"{path}:{number}", _object(raw)


def opened(path: Path) -> BinaryIO:
    """Raises UsageError naming the path."""
    try:
        if path.suffix == ".gz":
            return gzip.open(path, "rb")  # type: ignore[return-value]
        return open(path, "rb")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}; check the path") from None


def _object(raw: bytes) -> Mapping[str, Any] | Bad:
    try:
        found = decoded(raw)
    except BadRow as error:
        return Bad(str(error))
    return found if isinstance(found, dict) else Bad("is no object; write one object a line")
