"""The user's own problems: JSONL or CSV; and the lines that `ponder verify` reads.

A row has `problem` (the text), `reference` (text or a number), and optional `id` (text or an integer; else the number
of its line in the file), `domain` and `kind` (number, math, choice, text, code; else number if every reference of the
file is a plain number without a unit, else text). A row of kind code has `tests`, and if need be `entry_point` (see
ponder.tasks.code); one with `tests` and no `reference` is of that kind. Other fields are never shown to a model. Bad
input raises UsageError with one line, 'FILE:LINE: field …: what is wrong; what to do'.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ponder import errors
from ponder.errors import UsageError
from ponder.tasks import numbers
from ponder.tasks.base import Row, RowTask, Rules
from ponder.tasks.rules import KINDS, RULES, rules_for
from ponder.types import Verdict

SUFFIXES = (".jsonl", ".csv")
"""Endings of the files that are read here."""
FIELD_LIMIT = 16 * 1024 * 1024
"""Characters that one field of a CSV file may have."""
WORDS = ("problem", "prompt", "question")
"""Where a row of kind code may have its text, as sets of programs name it."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A good line for `ponder verify`. `id` is as the line spells it, text or integer; `line` counts from 1."""

    line: int
    id: str | int
    reference: str
    completion: str
    rules: Rules

    def judge(self) -> Verdict:
        return self.rules.judge(self.reference, self.completion)


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be used. `message` is the one line to print: 'FILE:LINE: …'."""

    line: int
    message: str


def load_file(path: str | Path) -> RowTask:
    """The task of a JSONL or CSV file. Raises UsageError on the first bad line, or if the file cannot be read."""
    found: list[Row | tuple[str, dict[str, Any], Rules | None]] = []
    seen: dict[str, int] = {}
    for line, fields in read_objects(path):
        where = f"{path}:{line}: "
        row_id = _row_id(fields, line, where)
        if row_id in seen:
            hint = "" if "id" in fields else " (a row without an id takes its line number)"
            first = seen[row_id]
            raise UsageError(f"{where}field 'id': {row_id!r} is also on line {first}{hint}; give each row its own")
        seen[row_id] = line
        if fields.get("domain") is not None:
            _text(fields, "domain", where)
        rules = _kind_rules(fields, where)
        if rules is not None and rules.kind == "code":
            found.append(_program(row_id, fields, where))
            continue
        _text(fields, "problem", where)
        _reference(fields, rules, where)
        found.append((row_id, fields, rules))
    if not found:
        raise UsageError(f'{path}: is empty; write one problem a line: {{"problem": …, "reference": …}}')
    references = [row[1]["reference"] for row in found if not isinstance(row, Row)]
    default = RULES["number" if all(map(_is_bare_number, references)) else "text"]
    return RowTask(Path(path).name, [row if isinstance(row, Row) else _plain(*row, default) for row in found])


def _plain(row_id: str, fields: Mapping[str, Any], rules: Rules | None, default: Rules) -> Row:
    return Row(row_id, fields["problem"], str(fields["reference"]), rules or default, fields.get("domain"))


def _program(row_id: str, fields: Mapping[str, Any], where: str) -> Row:
    """A row of kind code. Its rules know the inputs that its text shows. Raises UsageError."""
    from ponder.tasks.code import CodeRules, row_tests
    from ponder.tasks.publictests import calls_of

    text = _text(fields, next((name for name in WORDS if fields.get(name) is not None), "problem"), where)
    tests = row_tests(fields, where, CodeRules())
    entry = fields.get("entry_point") or ""
    return Row(row_id, text, tests, CodeRules(calls_of(text, entry), entry=entry), fields.get("domain"))


def file_rules(path: str | Path) -> Rules:
    """The rules that hold for every row of a file. Raises UsageError if there are several kinds, or as load_file."""
    task = load_file(path)
    kinds = {task.rules(problem.id).kind for problem in task.problems()}
    if len(kinds) > 1:
        raise UsageError(f"{path}: has rows of kinds {', '.join(sorted(kinds))}; name one instead, as in --task number")
    return rules_for(kinds.pop())


def read_answers(lines: Iterable[bytes], name: str, rules: Rules) -> Iterator[Answered | BadLine]:
    """What `ponder verify` judges, streaming: for each JSONL line {"id", "reference", "completion"} (other fields are
    left alone) the row, or what is wrong with it. A bad line never stops the ones after it; blank lines are skipped.
    Several completions may share an id. Programs and their tests are read by ponder.tasks.codelines.
    """
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        where = f"{name}:{number}: "
        try:
            fields = _object(raw, where, first=number == 1)
            if fields.get("id") is None:
                raise UsageError(f"{where}field 'id': missing; give each line an id")
            _row_id(fields, number, where)
            if "tests" in fields and "reference" not in fields:
                raise UsageError(f"{where}field 'tests': is for programs; use --task code, or give a 'reference'")
            completion = _text(fields, "completion", where, may_be_empty=True)
            reference = _reference(fields, rules, where)
            yield Answered(number, fields["id"], reference, completion, rules)
        except UsageError as error:
            yield BadLine(number, str(error))


def read_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, fields) of each row of a JSONL or CSV file; a row of several lines has the number of its first.

    Raises UsageError if the file is absent, unreadable, not UTF-8, of another format, or a row is broken.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{path}: is neither .jsonl nor .csv; convert it and name it so")
    try:
        with open(path, "rb") as file:
            yield from _csv_rows(file, path) if suffix == ".csv" else _json_rows(file, path)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from None


def _json_rows(file: Iterable[bytes], path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, raw in enumerate(file, 1):
        if raw.strip():
            yield number, _object(raw, f"{path}:{number}: ", first=number == 1)


def _csv_rows(file: Iterable[bytes], path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows as objects without their empty fields, which CSV cannot tell from absent ones."""
    decoded = (_decode(raw, f"{path}:{number}: ", first=number == 1) for number, raw in enumerate(file, 1))
    reader = csv.reader(decoded, strict=True)
    header: list[str] | None = None
    while True:
        number = reader.line_num + 1
        where = f"{path}:{number}: "
        limit = csv.field_size_limit(FIELD_LIMIT)  # a setting of the whole process: put back after each row
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise UsageError(f"{where}broken CSV ({error}); check the quotes of the row that starts here") from None
        finally:
            csv.field_size_limit(limit)
        if row is None:
            return
        if not row:
            continue
        if header is None:
            header = _header([name.strip() for name in row], where)
            continue
        if len(row) != len(header):
            hint = "quote fields that hold commas, and double the quotes inside"
            raise UsageError(f"{where}has {len(row)} fields, the header has {len(header)}; {hint}")
        yield number, {name: value for name, value in zip(header, row, strict=True) if value.strip()}


def _header(names: list[str], where: str) -> list[str]:
    for needed, instead in (("problem", ""), ("reference", "tests")):
        if needed not in names and instead not in names:
            raise UsageError(f"{where}field {needed!r}: not in the header ({', '.join(names)}); add that column")
    for name in names:
        if name and names.count(name) > 1:
            raise UsageError(f"{where}field {name!r}: is twice in the header; rename one column")
    return names


def _decode(raw: bytes, where: str, *, first: bool) -> str:
    try:
        return raw.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{where}is not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8") from None


def _object(raw: bytes, where: str, *, first: bool = False) -> dict[str, Any]:
    """The object that a line holds. Decimals stay exact (Decimal); NaN and Infinity are refused."""
    text = _decode(raw, where, first=first).rstrip("\r\n")
    try:
        found = json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise UsageError(f"{where}broken JSON ({error.msg}, column {error.colno}); write one object a line") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).partition(";")[0]
        raise UsageError(f"{where}unusable JSON ({reason}); write one plain JSON object a line") from None
    if not isinstance(found, dict):
        raise UsageError(f'{where}is {_type(found)}, not an object; write {{"problem": …, "reference": …}}')
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _row_id(fields: Mapping[str, Any], line: int, where: str) -> str:
    value = fields.get("id")
    if value is None:
        return str(line)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(fields, "id", where, wanted="text or an integer")


def _kind_rules(fields: Mapping[str, Any], where: str) -> Rules | None:
    """The rules that a row asks for, None if it leaves that to the file."""
    if fields.get("kind") is None:
        return rules_for("code") if fields.get("tests") is not None and fields.get("reference") is None else None
    kind = _text(fields, "kind", where).strip()
    if kind not in KINDS:
        raise errors.unknown("kind", kind, KINDS, where=f"{where}field 'kind': ")
    return rules_for(kind)


def _reference(fields: Mapping[str, Any], rules: Rules | None, where: str) -> str:
    """The reference as text, if the rules (None: any) can judge against it."""
    value = fields.get("reference")
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        value = str(value)
    elif isinstance(value, (dict, list)) and rules is not None and rules.structured:
        value = json.dumps(value, default=str)  # such rules read it from text, too
    else:
        value = _text({"reference": value} if value is not None else {}, "reference", where, wanted="text or a number")
    problem = rules.check_reference(value) if rules is not None else None
    if problem is not None and rules is not None:
        raise UsageError(f"{where}field 'reference': {problem}; correct it, or choose another kind than {rules.kind!r}")
    return value


def _text(fields: Mapping[str, Any], name: str, where: str, *, wanted: str = "text", may_be_empty: bool = False) -> str:
    """A field that must be text. Raises UsageError if it is missing, empty, of another type, or no valid Unicode."""
    value = fields.get(name)
    if value is None:
        raise UsageError(f"{where}field {name!r}: missing; give {wanted}")
    if not isinstance(value, str):
        raise UsageError(f"{where}field {name!r}: is {_type(value)}; give {wanted}")
    if not value.strip() and not may_be_empty:
        raise UsageError(f"{where}field {name!r}: empty; give {wanted}")
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise UsageError(f"{where}field {name!r}: holds half of a surrogate pair; write the character itself")
    return value


def _type(value: object) -> str:
    names = {bool: "true or false", int: "a number", Decimal: "a number", list: "a list", dict: "an object"}
    return "text" if isinstance(value, str) else names.get(type(value), "null")


def _is_bare_number(reference: object) -> bool:
    found = numbers.parse(str(reference))
    return found is not None and not found.unit
