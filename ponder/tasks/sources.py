"""Where published sets are found: a path, the folder PONDER_DATA, or Hugging Face `datasets`, in this order."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ponder import errors
from ponder.errors import UsageError
from ponder.tasks import files


@dataclass(frozen=True, slots=True)
class Source:
    """A published set: its name, the file of each split below PONDER_DATA, its place on Hugging Face. A split whose
    file is not JSONL is not on Hugging Face."""

    name: str
    splits: Mapping[str, str]
    hub: str
    config: str | None = None


def rows(source: Source, path: str | None, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """('FILE:LINE: ', fields) of each row of a split. Raises UsageError if the split is unknown, or found nowhere."""
    if split not in source.splits:
        raise errors.unknown(f"split of {source.name}", split, source.splits)
    if path is not None:
        return _read(_inside(Path(path), source.splits[split]))
    folder = os.environ.get("PONDER_DATA")
    if folder and (local := Path(folder) / source.splits[split]).is_file():
        return _read(local)
    if source.splits[split].endswith(".jsonl") and importlib.util.find_spec("datasets") is not None:
        return _from_hub(source, split, folder)
    raise _nowhere(source, split, folder, "")


def text(fields: Mapping[str, Any], name: str, where: str) -> str:
    """A field that must be text that is not empty. Raises UsageError that names it."""
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        state = "missing" if value is None else "empty" if isinstance(value, str) else "not text"
        raise UsageError(f"{where}field {name!r}: {state}; use the published file")
    return value


def _inside(path: Path, wanted: str) -> Path:
    """The file itself, or in a folder the split's file, with or without the set's own folder above it."""
    if not path.is_dir():
        return path
    near = path / Path(wanted).name
    return near if near.is_file() else path / wanted


def _read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.suffix.lower() == ".json":
        yield from _read_list(path)
        return
    for line, fields in files.read_objects(path):
        yield f"{path}:{line}: ", fields


def _read_list(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file that is one JSON list; a row is named by its place in it, from 1."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: broken JSON ({error.msg}); use the published file") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: unusable JSON ({type(error).__name__}); use the published file") from None
    if not isinstance(found, list) or not found:
        raise UsageError(f"{path}: is not a list of problems; use the published file")
    for number, fields in enumerate(found, 1):
        if not isinstance(fields, dict):
            raise UsageError(f"{path}: item {number}: is not an object; use the published file")
        yield f"{path}: item {number}: ", fields


def _from_hub(source: Source, split: str, folder: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        loaded = importlib.import_module("datasets").load_dataset(source.hub, source.config, split=split)
    except Exception as error:  # the library raises its network's, its cache's and its own errors
        reason = " ".join(str(error).split())[:200]
        raise _nowhere(source, split, folder, f" (Hugging Face: {type(error).__name__}: {reason})") from None
    for number, fields in enumerate(loaded):
        yield f"{source.hub} {split}, row {number}: ", dict(fields)


def _nowhere(source: Source, split: str, folder: str | None, why: str) -> UsageError:
    file = source.splits[split]
    looked = f"{folder} has no {file}" if folder else "PONDER_DATA is not set"
    hub = " (test split only)" if any(not name.endswith(".jsonl") for name in source.splits.values()) else ""
    return UsageError(
        f"task {source.name!r}: the {split} split was not found{why}; give its file with "
        f"--set {source.name}.path=FILE, or set PONDER_DATA to a folder that holds {file} ({looked}), "
        f"or pip install 'ponder[data]'{hub}"
    )
