"""From settings to the objects of a run: the one place where names become parts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ponder.arms import Parts, cross
from ponder.engines import load_engine
from ponder.engines.base import Engine
from ponder.errors import UsageError, unknown
from ponder.evaluate import Plan, check
from ponder.ledger import Price, Purse
from ponder.settings import Settings
from ponder.tasks import load_task
from ponder.tasks.base import Task
from ponder.types import Budget, Sampling

DRIVER = ("live", "schedule", "top_p", "top_k", "min_p")
"""`--set` keys of the driver and of sampling; keys with a dot belong to a part, the rest to the engine."""
TABLES = ("extra",)
"""`--set` keys of an engine whose value is a table; any other table holds the settings of a part."""


@dataclass(frozen=True, slots=True)
class Split:
    """`--set` values by whom they are for."""

    driver: dict[str, Any]
    parts: dict[str, Any]
    engine: dict[str, Any]


def split(values: dict[str, Any]) -> Split:
    tables = {k: v for k, v in values.items() if isinstance(v, dict) and k not in TABLES}
    flat = {f"{k}.{inner}": v for k, table in tables.items() for inner, v in table.items()}
    flat |= {k: v for k, v in values.items() if k not in tables}
    return Split(
        {k: v for k, v in flat.items() if k in DRIVER},
        {k: v for k, v in flat.items() if "." in k},
        {k: v for k, v in flat.items() if k not in DRIVER and "." not in k},
    )


def sampling(settings: Settings) -> Sampling:
    extra = {k: v for k, v in split(settings.set).driver.items() if k in ("top_p", "top_k", "min_p")}
    return Sampling(temperature=settings.temperature, max_tokens=settings.max_tokens, effort=settings.effort, **extra)


def engine(settings: Settings, before: dict[str, Any] | None = None) -> Engine:
    """`before`: the options that a run which goes on had chosen for its machine (environment.json, 'engine'); they
    hold again where nothing else is said. Raises UsageError for an unknown engine or option."""
    return load_engine(
        model(settings),
        sampling(settings),
        base_url=settings.base_url,
        api_key_env=settings.api_key_env,
        concurrency=settings.concurrency,
        settings=(before or {}) | split(settings.set).engine,
    )


def model(settings: Settings) -> str:
    """Raises UsageError if there is none."""
    if settings.model is None:
        raise UsageError("no model; add --model openai:NAME --base-url URL, or try --model simulated:school")
    return settings.model


def task_name(settings: Settings, given: bool) -> str:
    """The task that was asked for; a simulated model brings its own unless one is `given`."""
    if not given and settings.model and settings.model.startswith("simulated:"):
        return settings.model
    return settings.task


def task(settings: Settings, given: bool) -> Task:
    """The task of `task_name`."""
    name = task_name(settings, given)
    stem = f"{name}."
    return load_task(
        name, {k.removeprefix(stem): v for k, v in split(settings.set).parts.items() if k.startswith(stem)}
    )


def parts(settings: Settings) -> Parts:
    arms = cross(settings.search, settings.select, settings.scorer, settings.stop, settings.samples)
    for_parts = {k: v for k, v in split(settings.set).parts.items() if not k.startswith(f"{settings.task}.")}
    return Parts(arms, for_parts, settings.scorer)


def plan(settings: Settings, task_: Task, parts_: Parts, found: Engine | None = None) -> Plan:
    """Raises UsageError for a bad driver setting. How many problems are live follows the engine `found` if it has a
    best size of a batch: a larger one would only be longer until it is committed."""
    driver = split(settings.set).driver
    batch = found.capabilities.batch if found is not None else None
    usual = -(-batch // max(settings.samples)) if batch else max(64, settings.concurrency)
    live = driver.get("live", usual)
    schedule = driver.get("schedule")
    if not isinstance(live, int) or live < 1:
        raise UsageError(f"--set live={live}: must be a number of problems, at least 1")
    if schedule not in (None, "lockstep", "free"):
        raise unknown("schedule", str(schedule), ("lockstep", "free"))
    budget = Budget(generated=settings.tokens)
    return Plan(task_, parts_, sampling(settings), budget, settings.seed, settings.limit, live, schedule)


def purse(settings: Settings) -> Purse:
    price = Price.parse(settings.price) if settings.price else None
    return Purse(Budget(seconds=settings.seconds, dollars=settings.dollars), price)


def fit(found: Engine, settings: Settings, plan_: Plan) -> None:
    """Readies the engine for the plan. Raises CapabilityError if it cannot do what the parts need."""
    if "confidence" in plan_.parts.scorers and hasattr(found, "want_logprobs"):
        found.want_logprobs = True
    check(found, settings.model or "", plan_.parts)
    if plan_.schedule == "lockstep" and found.capabilities.schedule == "free":
        raise UsageError(f"--set schedule=lockstep: {settings.model} answers request by request; leave it out")


def masked(url: str | None) -> str | None:
    """A URL without user, password and query, which may hold a key."""
    return re.sub(r"\?.*", "?***", re.sub(r"//[^/@]*@", "//***@", url), flags=re.DOTALL) if url else url
