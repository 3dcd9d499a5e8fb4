"""Settings: from flags, a recipe, the environment, ./ponder.toml and the user's file, each value with its source.

The keys are the flags' names. Unknown keys and bad values are refused with file, line and the nearest right name.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ponder.errors import UsageError


def _listed(value: object) -> object:
    """'vote,best' and 16 are lists, too."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if isinstance(value, list) else [value]


Names = Annotated[list[str], BeforeValidator(_listed)]
Counts = Annotated[list[Annotated[int, Field(ge=1)]], BeforeValidator(_listed)]


class Settings(BaseModel):
    """Everything that a command may be told. Field names are the flags' names with '_' for '-'."""

    model_config = ConfigDict(extra="forbid", alias_generator=lambda n: n.replace("_", "-"), populate_by_name=True)

    model: str | None = None
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    task: str = "text"
    search: Names = ["sample"]
    select: Names = ["vote"]
    scorer: Names = []
    stop: Names = ["fixed"]
    samples: Counts = [1]
    tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    seconds: Annotated[float, Field(gt=0)] | None = None
    dollars: Annotated[float, Field(gt=0)] | None = None
    price: str | None = None
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.8
    effort: str | None = None
    concurrency: Annotated[int, Field(ge=1)] = 16
    seed: int = 0
    limit: Annotated[int, Field(ge=1)] | None = None
    out: str | None = None
    set: dict[str, Any] = {}


def flag(name: str) -> str:
    return name.replace("_", "-")


KEYS = tuple(flag(name) for name in Settings.model_fields)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings in force and, for each key that is not a default, where it came from."""

    settings: Settings
    sources: dict[str, str]


def resolve(
    flags: Mapping[str, Any],
    recipe: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    user: Path | None = None,
) -> Resolved:
    """Flags, then the recipe, the environment (PONDER_MODEL, …), ./ponder.toml, the user's file, then defaults. A
    `set` table is merged key by key. Raises UsageError."""
    environment = os.environ if environment is None else environment
    local = (folder or Path.cwd()) / "ponder.toml"
    layers = [_flags(flags)]
    if recipe is not None:
        layers.append(read_toml(recipe))
    layers.append(_environment(environment))
    layers += [read_toml(path) for path in (local, user or user_file()) if path.exists()]
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for layer in layers:
        for key, (value, source) in layer.items():
            if key == "set":
                values["set"] = value | values.get("set", {})
                sources.setdefault("set", source)
            elif key not in values:
                values[key], sources[key] = value, source
    return Resolved(Settings(**values), sources)


def user_file() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "ponder" / "ponder.toml"


Layer = dict[str, tuple[Any, str]]


def _flags(flags: Mapping[str, Any]) -> Layer:
    layer: Layer = {}
    for name, value in flags.items():
        if value is not None and value != () and value != {}:
            key = flag(name)
            layer[key] = (_valid(key, value, f"--{key}"), "flag")
    return layer


def _environment(environment: Mapping[str, str]) -> Layer:
    layer: Layer = {}
    for key in KEYS:
        name = f"PONDER_{key.upper().replace('-', '_')}"
        if key != "set" and environment.get(name):
            layer[key] = (_valid(key, environment[name], f"{name} (environment)"), f"environment {name}")
    return layer


def read_toml(path: Path) -> Layer:
    """A recipe or a ponder.toml. Raises UsageError naming file, line and field."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; give the path of a recipe (recipes/*.toml)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); give a TOML file") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise UsageError(
            f"{path}:{line[1] if line else 1}: not TOML: {error}; quote strings and write key = value"
        ) from None
    layer: Layer = {}
    for key, value in data.items():
        place = f"{path}:{_line(text, key)}: "
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else "keys are the flags' names: " + ", ".join(KEYS)
            raise UsageError(f"{place}unknown key {key!r}; {hint}")
        layer[key] = (_valid(key, value, f"{place}{key}"), f"{path}:{_line(text, key)}")
    return layer


def _line(text: str, key: str) -> int:
    """Where a top-level key stands in TOML text, from 1."""
    pattern = re.compile(rf"""^\s*\[?\s*["']?{re.escape(key)}["']?\s*(=|\]|\.)""")
    return next((n for n, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)


def _valid(key: str, value: Any, where: str) -> Any:
    try:
        return getattr(Settings(**{key: value}), key.replace("-", "_"))
    except ValidationError as error:
        found = error.errors()[0]
        got = found.get("input")
        raise UsageError(
            f"{where}: {found['msg'][0].lower()}{found['msg'][1:]}, got {got!r}; see `ponder --help`"
        ) from None


def parse_set(pairs: tuple[str, ...]) -> dict[str, Any]:
    """'key=value' strings, values as TOML would read them, else as text. Raises UsageError."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {pair}: give key=value, for example --set adaptive.wave=8")
        try:
            found[key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = text
    return found
