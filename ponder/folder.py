"""A run folder: what was asked (recipe.toml), with what (environment.json), what came (journal, samples, report)."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from ponder.errors import UsageError, storage_error
from ponder.whole import write_whole

MAY_CHANGE = frozenset({"seconds", "dollars", "price", "concurrency", "base-url", "api-key-env", "out"})
"""Settings that a resumed run may have otherwise: they change neither prompts nor draws."""
LOCAL = ("torch", "transformers", "tokenizers")
"""Packages on which the draws of a model in this process depend."""


class Folder:
    """The files of one run. Raises StorageError naming the path when one cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, out: str | None, name: str, resume: bool) -> Folder:
        """Makes the folder. A non-empty one is refused without `resume`; an absent one is started."""
        if not out:
            return cls(_unused(Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"))
        path = Path(out)
        if path.exists() and not path.is_dir():
            raise UsageError(f"--out {path}: is a file; name a folder")
        if path.exists() and any(path.iterdir()) and not resume:
            raise UsageError(f"--out {path}: is not empty; add --resume to go on with it, or name another folder")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(path, error) from None
        return cls(path)

    @staticmethod
    def chosen(out: str | None) -> dict[str, Any]:
        """What the engine of the run in `out` had chosen for its machine; nothing if there is no such run."""
        try:
            found = json.loads((Path(out or "") / "environment.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        engine = found.get("engine") if isinstance(found, dict) else None
        return engine if isinstance(engine, dict) else {}

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.toml"

    def write(self, name: str, text: str) -> Path:
        """Writes a file whole or not at all."""
        return write_whole(self.path / name, text)

    def begin(self, recipe: dict[str, Any], label: str, engine: dict[str, Any] | None = None) -> None:
        """Writes recipe.toml and environment.json, or, when resuming, checks that the recipe is the same. `engine`:
        what the engine says of the machine that it runs on."""
        if self.recipe.exists():
            self._same(recipe)
        self.write("recipe.toml", to_toml(recipe))
        self.write("environment.json", json.dumps(environment(label, engine), indent=1, sort_keys=True) + "\n")

    def _same(self, recipe: dict[str, Any]) -> None:
        import tomllib

        before = tomllib.loads(self.recipe.read_text(encoding="utf-8"))
        for key in sorted((before.keys() | recipe.keys()) - MAY_CHANGE):
            was, now = before.get(key), recipe.get(key)
            if was != now and (was or now != {}):  # an empty table is not written
                raise UsageError(
                    f"{self.recipe}: {key} was {was!r}, now {now!r}; resume with the same settings, "
                    "or choose another --out"
                )


def _unused(path: Path) -> Path:
    """Makes the folder, or, where another run has just made it, PATH-2, PATH-3, …"""
    number = 1
    while True:
        candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            candidate.mkdir(parents=True)
            return candidate
        except FileExistsError:
            number += 1
        except OSError as error:
            raise storage_error(candidate, error) from None


def environment(label: str, engine: dict[str, Any] | None = None) -> dict[str, Any]:
    """Versions, machine, commit: what a reader needs to judge whether a figure should come out again."""
    packages = {}
    for name in ("ponder", "openai", "pydantic", "numpy", "scipy", *(LOCAL if engine else ())):
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = "absent"
    return {
        "label": label,
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "python": sys.version.split()[0],
        "packages": packages,
        "machine": platform.platform(),
        "processors": os.cpu_count(),
        "engine": engine or {},
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _git(*arguments: str) -> str | None:
    """What git says of ponder's own checkout; None where it is installed without one."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def to_toml(values: dict[str, Any]) -> str:
    """TOML of flat settings: strings, numbers, booleans, lists of them, and one level of tables."""
    flat = {k: v for k, v in values.items() if v is not None and not isinstance(v, dict)}
    lines = [f"{key} = {_toml(value)}" for key, value in flat.items()]
    for name, table in values.items():
        if isinstance(table, dict) and table:
            lines += ["", f"[{name}]", *(f'"{key}" = {_toml(value)}' for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{k}" = {_toml(v)}' for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON allows it, TOML does not
