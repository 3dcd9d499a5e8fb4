"""What became of the policies' chains, round by round, and of their steps: from the sample rows alone.

How many chains are right, how many steps are not (counted by a checker that neither reward nor scorer has used), and
what the taste knows of either, by step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ponder.measure.agreement import auroc
from ponder.measure.data import Draws
from ponder.measure.intervals import mean_interval, ratio_interval

Row = Mapping[str, Any]

APART = ("zero", "shuffled", "student-random")
"""Policies that are controls, by how their names begin."""


def rounds(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One entry a policy, in the order in which they were made. Chains of searches are not looked at."""
    own = [row for row in rows if not any("/" in arm for arm in row["arms"])]
    policies = [name for name in dict.fromkeys(row["policy"] for row in own) if not name.startswith(APART)]
    return [_policy(name, own) for name in sorted(policies, key=_order)]


def _number(policy: str) -> int:
    """The round that made a policy: 'steered' 1, 'steered-2' 2, the base 0."""
    _, dash, number = policy.rpartition("-")
    return 0 if policy == "base" else int(number) if dash and number.isdigit() else 1


def _order(policy: str) -> tuple[int, bool]:
    return _number(policy), policy.startswith("student")


def _policy(policy: str, rows: Sequence[Row]) -> dict[str, Any]:
    """A policy's unpruned chains: how many are right, how many of their steps are not, and what the reward model knows
    of either."""
    problems: dict[str, list[Row]] = {}
    for row in rows:
        if row["policy"] == policy:
            problems.setdefault(row["problem"], []).append(row)
    own = list(problems.values())
    checked = [
        [step["valid"] for row in chains for step in row["steps"] if step["valid"] is not None] for chains in own
    ]
    rates = [1 - sum(valid) / len(valid) if valid else math.nan for valid in checked]
    invalid = ratio_interval(rates, [len(valid) for valid in checked])
    passed = mean_interval([sum(row["correct"] is True for row in chains) / len(chains) for chains in own])
    depth = max((len(row["steps"]) for chains in own for row in chains), default=0)
    chains_by_step = [
        [[(row, row["steps"][k]) for row in chains if len(row["steps"]) > k] for chains in own] for k in range(depth)
    ]
    return {
        "round": _number(policy),
        "policy": policy,
        "pass_at_1": _interval(passed),
        "invalid_steps": _interval(invalid) | {"steps": sum(map(len, checked))},
        "auroc": {
            "outcome": _auroc([[(row["correct"], row["score"]) for row in chains] for chains in own]),
            "by_step": [
                {
                    "step": k + 1,
                    "chains": sum(map(len, there)),
                    "outcome": _auroc([[(row["correct"], step["score"]) for row, step in chains] for chains in there]),
                    "validity": _auroc([[(step["valid"], step["score"]) for _, step in chains] for chains in there]),
                }
                for k, there in enumerate(chains_by_step)
            ],
        },
    }


def _interval(found: Any) -> dict[str, Any]:
    return {"value": float(found.value), "low": float(found.low), "high": float(found.high)}


def _auroc(groups: Sequence[Sequence[tuple[bool | None, float | None]]]) -> dict[str, Any] | None:
    """Within problems, averaged by pairs; None if no problem has a pair."""
    own = [[(t, s) for t, s in group if t is not None and s is not None] for group in groups]
    own = [group for group in own if len({t for t, _ in group}) == 2]
    if not own:
        return None
    truth, scores = ([[pair[i] for pair in group] for group in own] for i in range(2))
    return _interval(auroc(Draws.of([[None] * len(group) for group in own], truth, scores)))
