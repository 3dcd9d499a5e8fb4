"""Arms: the cells of a comparison, and which of them read the same draws."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    """One cell: a search, a stop rule, a number of samples, a selector and, if one of them needs it, a scorer."""

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
    """Arms that read the same draws: one search is run for all of them. `scorer` is the one that the search asks."""

    search: str
    stop: str
    samples: int
    scorer: str | None
    arms: tuple[Arm, ...]

    @property
    def exchangeable(self) -> bool:
        """Whether any subset of its chains is as good as another of its size, so that curves may be read off."""
        return self.stop == "fixed" and _says(self.search, "EXCHANGEABLE")


def _module(registry: Any, name: str) -> Any:
    where = dict(registry.items())[name].where
    return importlib.import_module(where.partition(":")[0])


def _says(search: str, constant: str) -> bool:
    return bool(getattr(_module(SEARCHES, search), constant, False))


def scored(selects: Sequence[str], searches: Sequence[str] = ()) -> bool:
    """Whether any of these selectors or searches uses scores. Raises UsageError for an unknown name."""
    return any(_module(SELECTORS, SELECTORS.check(name)).SCORES for name in selects) or any(
        _says(SEARCHES.check(name), "SCORES") for name in searches
    )


def cross(
    searches: Sequence[str],
    selects: Sequence[str],
    scorers: Sequence[str],
    stops: Sequence[str],
    samples: Sequence[int],
) -> list[Arm]:
    """A cell for every combination; where neither selector nor search uses scores there is none for each scorer. Raises
    UsageError for an unknown name, a selector without its scorer, a tree under a stop rule, a number below 1."""
    for name in searches:
        SEARCHES.check(name)
    for name in stops:
        STOPS.check(name)
    for name in scorers:
        SCORERS.check(name)
    if bad := [n for n in samples if n < 1]:
        raise UsageError(f"--samples {bad[0]}: must be at least 1")
    if scorers and not scored(selects, searches):
        raise UsageError(f"--scorer {scorers[0]}: no selector here uses scores; add --select best, or leave it out")
    for search, stop in product(searches, stops):
        if stop != "fixed" and not _says(search, "EXCHANGEABLE"):
            raise UsageError(f"--stop {stop}: search {search!r} ends by its own steps; leave one of the two out")
    arms: list[Arm] = []
    for search, stop, count, select in product(searches, stops, samples, selects):
        chooses = _module(SELECTORS, SELECTORS.check(select)).SCORES
        if not chooses and not (scorers and _says(search, "SCORES")):
            arms.append(Arm(search, stop, count, select))
            continue
        if not scorers:
            raise UsageError(f"--select {select} needs a scorer; add --scorer (known: {', '.join(SCORERS)})")
        arms += [Arm(search, stop, count, select, scorer) for scorer in scorers]
    return list(dict.fromkeys(arms))


def groups(arms: Sequence[Arm], by: Mapping[str, str] | None = None) -> list[Group]:
    """The searches to run, the largest first, so that one request can ask for all that the smaller ones share. A search
    that scores is run once for each scorer of its arms, or once with the scorer that it was told to go `by`."""
    cells: dict[tuple[str, str, int, str | None], list[Arm]] = {}
    for arm in arms:
        scorer = (by or {}).get(arm.search, arm.scorer) if _says(arm.search, "SCORES") else None
        cells.setdefault((arm.search, arm.stop, arm.samples, scorer), []).append(arm)
    found = [Group(*key, tuple(members)) for key, members in cells.items()]
    return sorted(found, key=lambda group: -group.samples)


def _own(arm: Arm, by: Mapping[str, str]) -> Arm:
    """The arm without a scorer, if its search goes by one of its own and its selector uses none."""
    return replace(arm, scorer=None) if arm.search in by and not scored([arm.select]) else arm


class Parts:
    """The components of the arms, built once from names and `--set` values.

    `settings` maps 'NAME.key' to a value. Raises UsageError for a component that is not in use or a key that it
    does not have.
    """

    def __init__(self, arms: Sequence[Arm], settings: Mapping[str, Any], scorers: Sequence[str] = ()) -> None:
        self._settings: dict[str, dict[str, Any]] = {}
        by = {
            search: SCORERS.check(str(name))
            for search in dict.fromkeys(arm.search for arm in arms)
            if _says(search, "SCORES") and (name := settings.get(f"{search}.by"))
        }
        self.arms = list(dict.fromkeys(_own(arm, by) for arm in arms))
        self.groups = groups(self.arms, by)
        scorers = [*scorers, *by.values()]
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
            if group.scorer is None and _says(group.search, "SCORES"):
                known = ", ".join(SCORERS)
                raise UsageError(f"--search {group.search} needs a scorer; add --scorer (known: {known})")

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
