"""One sample row (schema 1): is it sound, and what do its fields say.

A leaf of measure/: it knows JSON and the fields, and nothing of what is done with them.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ponder.errors import UsageError

PLAIN = "score"
"""The name of the scorer whose scores stand in a row's own field `score`."""
ABSENT = math.nan
"""An amount or score that a row does not give."""


class BadRow(ValueError):
    """What is wrong with a row: 'field …: …; hint'."""


def read_lines(path: str | Path) -> Iterator[tuple[int, Mapping[str, Any] | BadRow]]:
    """(line, row or what is wrong with it) of a JSONL file; blank lines are skipped."""
    try:
        stream = sys.stdin.buffer if str(path) == "-" else open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}; give a JSONL file of sample rows") from None
    with stream:
        try:
            for number, raw in enumerate(stream, 1):
                if raw.strip(b"\xef\xbb\xbf \t\r\n"):
                    yield number, _parsed(raw)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}; give a JSONL file of sample rows") from None


def decoded(raw: bytes) -> Any:
    """The value of one line of JSON. Raises BadRow."""
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadRow(f"is not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadRow(f"broken JSON ({error.msg}, column {error.colno}); write one object a line") from None
    except (ValueError, RecursionError):
        raise BadRow("unusable JSON; write one plain object a line") from None


def _parsed(raw: bytes) -> Mapping[str, Any] | BadRow:
    try:
        found = decoded(raw)
    except BadRow as error:
        return error
    if not isinstance(found, dict):
        return BadRow(f"is {kind(found)}, not an object; write {{'problem': …, 'answer': …, 'correct': …}}")
    return found


def problem_of(row: Mapping[str, Any]) -> str:
    value = row.get("problem")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise BadRow(f"field 'problem': {_wrong(row, 'problem')}; give the problem's id")
    return value


def answer_of(row: Mapping[str, Any]) -> str | None:
    """The answer as text; null and text without a visible character abstain."""
    if "answer" not in row:
        raise BadRow("field 'answer': missing; give text, or null where the chain gave no answer")
    value = row["answer"]
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if value is None:
        return None
    raise BadRow(f"field 'answer': is {kind(value)}; give text, or null where the chain gave no answer")


def verdict_of(row: Mapping[str, Any]) -> bool | None:
    value = row.get("correct")
    if "correct" not in row or not (value is None or isinstance(value, bool)):
        raise BadRow(f"field 'correct': {_wrong(row, 'correct')}; give true, false, or null for unverified")
    return value


def whole(row: Mapping[str, Any], name: str) -> int:
    value = row.get(name)
    if value is None:
        return -1
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        raise BadRow(
            f"field {name!r}: is {kind(value)} ({str(value)[:40]}); give a whole number from 0, or leave it out"
        )
    return value


def amount(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    if value is None:
        return ABSENT
    number = _number(value, name)
    if number < 0:
        raise BadRow(f"field {name!r}: is negative ({value}); give a number from 0, or leave it out")
    return number


def scores_of(row: Mapping[str, Any]) -> dict[str, float]:
    """{scorer: score}; of replicates the mean. Scores that are null are left out."""
    found: dict[str, float] = {}
    several = row.get("scores")
    if several is not None:
        if not isinstance(several, dict):
            raise BadRow(f"field 'scores': is {kind(several)}; give {{scorer: number}}")
        for name, value in several.items():
            values = value if isinstance(value, list) else [value]
            numbers = [_number(v, f"scores.{name}") for v in values if v is not None]
            if numbers:
                found[name] = math.fsum(numbers) / len(numbers)
    if row.get("score") is not None:
        found[PLAIN] = _number(row["score"], "score")
    return found


def arms_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    value = row.get("arms")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise BadRow("field 'arms': is not a list of names; give the arms that drew this chain")
    return tuple(sorted(set(value)))


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadRow(f"field {name!r}: is {kind(value)}; give a number or null")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadRow(f"field {name!r}: is {'NaN' if number != number else 'infinite'}; give a finite number or null")
    return number


def _wrong(row: Mapping[str, Any], name: str) -> str:
    if name not in row:
        return "missing"
    return "empty" if row[name] == "" else f"is {kind(row[name])}"


def kind(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object", str: "text"}
    return names.get(type(value), "null")
