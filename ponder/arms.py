"""Arms: the cells of a comparison, and which of them read the same draws."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from ponder.errors import UsageError
from ponder.ops import Search
from ponder.scorers import SCORERS
from ponder.scorers.base import Scorer
from ponder.search import SEARCHES
from ponder.select import SELECTORS, Select
from ponder.stop import STOPS
from ponder.tasks.base import Rules


@dataclass(frozen=True, slots=True)
class Arm:
    """One cell: a search, a stop rule, a number of samples, a selector and, if it needs one, a scorer."""

    search: str
    stop: str
    samples: int
    select: str
    scorer: str | None = None

    @property
    def name(self) -> str:
        """As in the rows' `arms` and `picked`."""
        parts = [self.search, self.stop, str(self.samples), self.select]
        return "/".join([*parts, self.scorer] if self.scorer else parts)


@dataclass(frozen=True, slots=True)
class Group:
    """Arms that read the same draws: one search is run for all of them."""

    search: str
    stop: str
    samples: int
    arms: tuple[Arm, ...]

    @property
    def exchangeable(self) -> bool:
        """Whether any subset of its chains is as good as another of its size, so that curves may be read off."""
        return self.stop == "fixed" and bool(getattr(_module(SEARCHES, self.search), "EXCHANGEABLE", False))


def _module(registry: Any, name: str) -> Any:
    where = dict(registry.items())[name].where
    return importlib.import_module(where.partition(":")[0])


def scored(selects: Sequence[str]) -> bool:
    """Whether any of these selectors uses scores. Raises UsageError for an unknown name."""
    return any(_module(SELECTORS, SELECTORS.check(name)).SCORES for name in selects)


def cross(
    searches: Sequence[str],
    selects: Sequence[str],
    scorers: Sequence[str],
    stops: Sequence[str],
    samples: Sequence[int],
) -> list[Arm]:
    """A cell for every combination; a selector that needs no score has none for each scorer. Raises UsageError for
    an unknown name, a selector without its scorer, a number below 1."""
    for name in searches:
        SEARCHES.check(name)
    for name in stops:
        STOPS.check(name)
    for name in scorers:
        SCORERS.check(name)
    if bad := [n for n in samples if n < 1]:
        raise UsageError(f"--samples {bad[0]}: must be at least 1")
    if scorers and not scored(selects):
        raise UsageError(f"--scorer {scorers[0]}: no selector here uses scores; add --select best, or leave it out")
    arms: list[Arm] = []
    for search, stop, count, select in product(searches, stops, samples, selects):
        SELECTORS.check(select)
        if not _module(SELECTORS, select).SCORES:
            arms.append(Arm(search, stop, count, select))
            continue
        if not scorers:
            raise UsageError(f"--select {select} needs a scorer; add --scorer (known: {', '.join(SCORERS)})")
        arms += [Arm(search, stop, count, select, scorer) for scorer in scorers]
    return list(dict.fromkeys(arms))


def groups(arms: Sequence[Arm]) -> list[Group]:
    """The searches to run, the largest first, so that one request can ask for all that the smaller ones share."""
    cells: dict[tuple[str, str, int], list[Arm]] = {}
    for arm in arms:
        cells.setdefault((arm.search, arm.stop, arm.samples), []).append(arm)
    found = [Group(*key, tuple(members)) for key, members in cells.items()]
    return sorted(found, key=lambda group: -group.samples)


class Parts:
    """The components of the arms, built once from names and `--set` values.

    `settings` maps 'NAME.key' to a value. Raises UsageError for a component that is not in use or a key that it
    does not have.
    """

    def __init__(self, arms: Sequence[Arm], settings: Mapping[str, Any], scorers: Sequence[str] = ()) -> None:
        self.arms = list(arms)
        self.groups = groups(arms)
        self._settings: dict[str, dict[str, Any]] = {}
        names = {n for a in arms for n in (a.search, a.stop, a.select, a.scorer)} | set(scorers)
        for key, value in settings.items():
            name, _, setting = key.partition(".")
            if name not in names:
                raise UsageError(
                    f"--set {key}: {name!r} is not in use here; in use: {', '.join(sorted(n for n in names if n))}"
                )
            self._settings.setdefault(name, {})[setting] = value
        wanted = dict.fromkeys([*scorers, *(a.scorer for a in arms if a.scorer)])
        self.scorers: dict[str, Scorer] = {n: SCORERS.build(n, settings=self._settings.get(n)) for n in wanted}
        self.selectors: dict[str, Select] = {
            n: SELECTORS.build(n, settings=self._settings.get(n)) for n in dict.fromkeys(a.select for a in arms)
        }
        for group in self.groups:  # a bad setting fails here, not at the first problem
            self.search(group, Rules())

    def search(self, group: Group, rules: Rules) -> Search:
        """The group's search with its stop rule bound to the problem's answer classes."""
        stop = STOPS.build(group.stop, group.samples, rules.classes, settings=self._settings.get(group.stop))
        return SEARCHES.build(group.search, stop, settings=self._settings.get(group.search))  # type: ignore[no-any-return]

    @property
    def needs(self) -> dict[str, str]:
        """{capability: who needs it} over all parts."""
        found: dict[str, str] = {}
        for group in self.groups:
            found |= getattr(_module(SEARCHES, group.search), "NEEDS", {})
        for scorer in self.scorers.values():
            found |= scorer.needs
        return found
