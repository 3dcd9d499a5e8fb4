"""CSV and JSONL with a field map: `--map correct=passed` reads the row's `correct` from the column `passed`.

In JSONL a column may be a path into the object ('scores.acc.value', 'choices.0.text'). Fields of sample rows that have
a column of their own name need no map; other columns are left out. CSV cannot tell an empty field from an absent one:
both are null.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ponder.errors import UsageError
from ponder.imports.base import Bad, Found, Options, Row, count, identity, objects, opened, text, verdict

FIELD_LIMIT = 16 * 1024 * 1024
"""Characters that one field of a CSV file may have."""


def jsonl_records(path: Path, options: Options) -> Iterator[Found]:
    for where, fields in objects(path):
        yield _found(where, fields, options, _at)


def csv_records(path: Path, options: Options) -> Iterator[Found]:
    csv.field_size_limit(FIELD_LIMIT)
    with opened(path) as stream:
        lines = (raw.decode("utf-8-sig" if number == 0 else "utf-8") for number, raw in enumerate(stream))
        reader = csv.reader(lines, strict=True)
        header: list[str] | None = None
        while True:
            where = f"{path}:{reader.line_num + 1}"
            try:
                cells = next(reader, None)
            except UnicodeDecodeError as error:
                raise UsageError(f"{where}: is not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from None
            except csv.Error as error:
                raise UsageError(f"{where}: broken CSV ({error}); check the quotes from here on") from None
            if cells is None:
                return
            if header is None:
                header = [name.strip() for name in cells]
                _check(header, options, where)
            elif cells and len(cells) != len(header):
                wrong = f"has {len(cells)} fields, the header has {len(header)}; quote fields that hold commas"
                yield Found(where, error=wrong)
            elif cells:
                row = {name: cell for name, cell in zip(header, cells, strict=True) if cell.strip()}
                yield _found(where, row | {"": None}, options, _column)


def _check(header: list[str], options: Options, where: str) -> None:
    for name in ("problem", "answer", "correct"):
        column = options.fields.get(name, name)
        if column not in header:
            known = ", ".join(header)
            raise UsageError(f"{where}: field {name!r}: no column {column!r} ({known}); add --map {name}=COLUMN")


def _found(
    where: str, fields: Mapping[str, Any] | Bad, options: Options, at: Callable[[Mapping[str, Any], str], Any]
) -> Found:
    try:
        if isinstance(fields, Bad):
            raise fields
        return Found(where, (_row(fields, options, at),))
    except Bad as error:
        return Found(where, error=str(error))


_MISSING = object()


def _column(fields: Mapping[str, Any], column: str) -> Any:
    return fields.get(column)  # the header was checked: an absent cell is an empty one


def _at(fields: Mapping[str, Any], column: str) -> Any:
    """The value at a name, or else at a path of names and list indices joined by dots; _MISSING if there is none."""
    if column in fields:
        return fields[column]
    value: Any = fields
    for part in column.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.lstrip("-").isdigit() and -len(value) <= int(part) < len(value):
            value = value[int(part)]
        else:
            return _MISSING
    return value


def _row(fields: Mapping[str, Any], options: Options, at: Callable[[Mapping[str, Any], str], Any]) -> Row:
    def get(name: str) -> Any:
        column = options.fields.get(name, name)
        value = at(fields, column)
        if value is _MISSING and (name in options.fields or name in ("problem", "answer", "correct")):
            raise Bad(f"field {column!r}: missing; add --map {name}=FIELD")
        return None if value is _MISSING else value

    column = options.fields.get
    row: Row = {
        "problem": identity(get("problem"), column("problem", "problem")),
        "answer": text(get("answer"), column("answer", "answer")),
        **verdict(get("correct"), column("correct", "correct"), options.threshold),
    }
    for name in ("sample", "tokens", "scorer_tokens"):
        if (number := count(get(name), column(name, name))) is not None:
            row[name] = number
    for name in ("score", "quality"):
        if (value := get(name)) is not None:
            row[name] = _number(value, column(name, name))
    for name in ("policy", "domain", "finish", "reason", "text"):
        if (words := text(get(name), column(name, name))) is not None:
            row[name] = words
    for name in ("scores", "arms"):
        if isinstance(value := get(name), str):
            value = _json(value, column(name, name))
        if value is not None:
            row[name] = value
    return row


def _number(value: object, name: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise Bad(f"field {name!r}: {str(value)[:40]!r} is no finite number; map another field, or none")
    return number


def _json(value: str, name: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        raise Bad(f"field {name!r}: is no JSON; write it as JSON, or map another field") from None
