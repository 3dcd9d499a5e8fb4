"""ponder: better answers from any language model for a budget.

    import ponder
    think = ponder.Thinker(model="openai:gpt-4o-mini", samples=16, select="vote")
    think("What is 17 * 23?", task="number").answer

Names load when they are used: importing ponder loads no model library, no statistics and no client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ponder.errors import CapabilityError, EngineError, PonderError, SearchError, StorageError, UsageError
    from ponder.ops import Ask, Drawn, Extend, Rated, Score, top
    from ponder.thinker import Thinker, Thought
    from ponder.types import Budget, Chain, Cost, Message, Problem, Rating, Segment, Verdict

_HOMES = {
    "ponder.thinker": ("Thinker", "Thought"),
    "ponder.rewards": ("rewards",),
    "ponder.ops": ("Ask", "Drawn", "Extend", "Rated", "Score", "top"),
    "ponder.types": ("Budget", "Chain", "Cost", "Message", "Problem", "Rating", "Segment", "Verdict"),
    "ponder.errors": ("CapabilityError", "EngineError", "PonderError", "SearchError", "StorageError", "UsageError"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Ask",
    "Budget",
    "CapabilityError",
    "Chain",
    "Cost",
    "Drawn",
    "EngineError",
    "Extend",
    "Message",
    "PonderError",
    "Problem",
    "Rated",
    "Rating",
    "Score",
    "SearchError",
    "Segment",
    "StorageError",
    "Thinker",
    "Thought",
    "UsageError",
    "Verdict",
    "top",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ponder' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
