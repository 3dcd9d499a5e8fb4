"""One line a component: names, what they are in a sentence, and where they live, loaded when used.

A component module has a builder that takes its settings as keyword arguments; the arguments and their defaults
are what `--set NAME.key=value` may change.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, ItemsView, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ponder.errors import UsageError, unknown


@dataclass(frozen=True, slots=True)
class Entry:
    """A component: `where` is 'module:builder', `about` one sentence for lists and docs."""

    where: str
    about: str

    def load(self) -> Callable[..., Any]:
        module, _, name = self.where.partition(":")
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


class Registry:
    """The components of one kind, by name."""

    def __init__(self, kind: str, entries: Mapping[str, Entry]) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self._settings: dict[str, dict[str, Any]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def items(self) -> ItemsView[str, Entry]:
        return self._entries.items()

    def check(self, name: str) -> str:
        """The name itself. Raises UsageError with the nearest right name."""
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries)
        return name

    def load(self, name: str) -> Callable[..., Any]:
        """The component's builder. Raises UsageError with the nearest right name."""
        return self._entries[self.check(name)].load()

    def settings(self, name: str) -> dict[str, Any]:
        """What may be set, with the defaults."""
        if name not in self._settings:
            parameters = inspect.signature(self.load(name)).parameters.values()
            self._settings[name] = {
                p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty
            }
        return self._settings[name]

    def build(self, name: str, *arguments: Any, settings: Mapping[str, Any] | None = None, **fixed: Any) -> Any:
        """The component with its settings bound. Raises UsageError for a setting that it does not have or a value
        that it refuses."""
        builder = self.load(name)
        known = self.settings(name)
        for key in settings or {}:
            if key not in known:
                raise unknown(f"setting of {self.kind} {name!r}", key, known or ["(it has none)"])
            _check_type(f"--set {name}.{key}", (settings or {})[key], known[key])
        try:
            return builder(*arguments, **fixed, **(settings or {}))
        except (TypeError, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"--set {name}: {error}") from None


def _check_type(where: str, value: Any, default: Any) -> None:
    """A setting takes what its default is. Raises UsageError."""
    kinds: list[tuple[type, tuple[type, ...], str]] = [
        (bool, (bool,), "true or false"),
        (int, (int,), "a whole number"),
        (float, (int, float), "a number"),
        (str, (str,), "text"),
    ]
    for kind, accepted, words in kinds:
        if isinstance(default, kind):
            if not isinstance(value, accepted) or isinstance(value, bool) is not isinstance(default, bool):
                raise UsageError(f"{where}={value!r}: must be {words}, as its default {default!r} is")
            return
