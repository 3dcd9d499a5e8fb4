"""TOML files whose tables are dataclasses: checked whole, with file, line and field in what is refused.

A table's keys are its dataclass's fields. If one of them is named `config`, its own fields stand in the same table, so
that a phase and the training method that it runs are one table.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ponder.errors import UsageError, unknown

FIXED = {"seed": "one seed at the top is the seed of all", "shuffled": 'add "shuffled" to controls'}
"""Fields of configurations that are not for tables, and what to do instead."""


def text(path: Path) -> str:
    """A file's text. Raises UsageError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; give the path of a recipe, or none for the default") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); give a TOML file") from None


def values(text: str, name: str) -> dict[str, Any]:
    """What a TOML text holds. Raises UsageError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise UsageError(
            f"{name}:{line[1] if line else 1}: not TOML: {error}; quote strings and write key = value"
        ) from None


def put(values: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with others in their place: {'steer.steps': 4} is the key of a table. Raises UsageError."""
    for key, value in given.items():
        *outer, last = key.split(".")
        table: Any = values
        for name in outer:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise UsageError(f"--set {key}: {name!r} is not a table of the recipe; give TABLE.key=value")
        table[last] = value
    return values


@dataclass(frozen=True, slots=True)
class Place:
    """Where the values of a recipe stand, for errors."""

    name: str
    text: str

    def at(self, table: str, key: str) -> str:
        """'file:line: table.key'; the line is that of the key, else of its table, and left out if neither is seen."""
        line = self.line(table, key) or (self.line(*table.rpartition(".")[::2]) if table else 0)
        name = ".".join(part for part in (table, key) if part)
        return f"{self.name}{f':{line}' if line else ''}: {name}"

    def line(self, table: str, key: str) -> int:
        """Of a key in a table, or of a table's head; 0 if it is not found."""
        current = ""
        for number, line in enumerate(self.text.splitlines(), 1):
            if head := re.match(r"\s*\[\s*([\w.]+)\s*\]", line):
                current = head[1]
                if (table, key) in (("", current), (current, "")):
                    return number
            if current == table and key and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", line):
                return number
        return 0


def placed(error: UsageError, recipe: Path) -> UsageError:
    """What a command refused, at the place in its recipe that it speaks of: `--set prm.path=…`, `--scorer prm`,
    "scorer 'prm' …". The same error if it names a file already, or nothing that the recipe has."""
    message, lines = str(error), text(recipe)
    place = Place(str(recipe), lines)
    for found in re.finditer(r"--set (\w+)\.(\w+)|(?:--)?([a-z][a-z-]*)", message):
        part, key, word = found[1], found[2], found[3]
        for table, name in ((f"set.{part}", key), ("", "set")) if part else (("", word),):
            if place.line(table, name):
                return type(error)(f"{place.at(table, name)}: {message}")
    quoted = re.findall(r"'([^']+)'", message)
    for number, line in enumerate(lines.splitlines(), 1):
        if any(value in line for value in quoted):
            return type(error)(f"{recipe}:{number}: {message}")
    return error


T = TypeVar("T")


def built(kind: type[T], values: Mapping[str, Any], place: Place, table: str = "", default: T | None = None) -> T:
    """A dataclass from a table's values, the rest as in `default`; the fields of its `config` stand in the same
    table."""
    own = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    usual: Any = kind() if default is None else default
    hints = get_type_hints(kind)
    inner = hints.pop("config", None)
    own.pop("config", None)
    others = {f.name for f in fields(inner)} - FIXED.keys() if inner else set()
    for key in values:
        if key in own or key in others:
            continue
        where = place.at(table, key)
        if key in FIXED:
            raise UsageError(f"{where}: is not set here; {FIXED[key]}")
        if key == "split":
            raise UsageError(f"{where}: training takes split 'train' and measuring 'test', so that they never overlap")
        raise unknown("key", key, [*own, *others], f"{where}: ")
    given = [key for key in own if key in values]
    taken = {key: _value(hints[key], values[key], place, table, key, getattr(usual, key)) for key in given}
    if inner:
        rest = {key: value for key, value in values.items() if key in others}
        try:
            taken["config"] = built(inner, rest, place, table, usual.config)
        except UsageError as error:
            if str(error).startswith(place.name):
                raise
            raise UsageError(f"{named(str(error), place, table)}: {error}") from None
    return replace(usual, **taken)  # type: ignore[no-any-return]


def _value(hint: Any, value: Any, place: Place, table: str, key: str, default: Any) -> Any:
    """The value, if it is of the type; whole numbers are numbers too. Raises UsageError."""
    if is_dataclass(hint):
        if not isinstance(value, dict):
            raise UsageError(f"{place.at(table, key)} = {value!r}: must be a table")
        return built(hint, value, place, f"{table}.{key}" if table else key, default)  # type: ignore[arg-type]
    origin = get_origin(hint)
    if origin is Literal:
        if value not in get_args(hint):
            raise UsageError(f"{place.at(table, key)} = {value!r}: one of {', '.join(map(repr, get_args(hint)))}")
        return value
    if origin is list:
        (item,) = get_args(hint)
        if not isinstance(value, list) or not all(isinstance(v, item) and not isinstance(v, bool) for v in value):
            words = {str: "names", int: "whole numbers"}[item]
            raise UsageError(f"{place.at(table, key)} = {value!r}: must be a list of {words}")
        return value
    assert origin is None or origin is UnionType, hint
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[hint]
    right = isinstance(value, (int, float) if hint is float else hint) and isinstance(value, bool) is (hint is bool)
    if not right:
        raise UsageError(f"{place.at(table, key)} = {value!r}: must be {words}")
    return float(value) if hint is float else value


def named(message: str, place: Place, table: str) -> str:
    """Where the first field that a message names stands."""
    found = re.search(r"(?:^|: )(\w+)(?: =| is| '|,)", message)
    return place.at(table, found[1] if found else "")
