"""The exception tree. Every message ends in what to do.

    PonderError               exit 1
    ├── UsageError            exit 2   a flag, a name, a recipe, an input line
    │   └── CapabilityError   exit 2   an engine that cannot do what a search or scorer needs
    ├── EngineError           exit 1   the engine cannot go on (a refused key, an unknown model)
    ├── StorageError          exit 1   a file cannot be written or read (a full disk)
    └── SearchError           exit 1   a search broke the protocol of operations

They also inherit the standard type a reader would expect, and pickle.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PonderError(Exception):
    """Base of all errors that ponder raises on purpose. `exit_status` is what the command line returns."""

    exit_status = 1


class UsageError(PonderError, ValueError):
    """Bad usage or bad input: one line that names file, line and field, and a hint."""

    exit_status = 2


class CapabilityError(UsageError):
    """What was asked needs a capability that the engine does not declare. Raised before the first request."""


class EngineError(PonderError, RuntimeError):
    """The engine cannot serve any problem of this run."""


class StorageError(PonderError, OSError):
    """A file of the run cannot be written or read."""


class SearchError(PonderError, RuntimeError):
    """A search, scorer or stop rule broke the protocol of operations. Recorded with its problem."""


def storage_error(path: object, error: OSError) -> StorageError:
    """One line that names the path, whatever the system's message was."""
    return StorageError(
        f"{path}: {error.strerror or error}; make room or choose another --out, then run again with --resume"
    )


def unknown(what: str, name: str, known: Iterable[str], where: str = "") -> UsageError:
    """'unknown task 'gsm'; did you mean 'gsm8k'? (known: …)'"""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(names)
    return UsageError(f"{where}unknown {what} {name!r}; {hint}")
