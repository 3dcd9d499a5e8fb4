"""Advice on the loop's own chains: where the next unit of compute pays after steering, and how far each heuristic keeps
each policy on track, before and after. From the sample rows alone, by the parts of `ponder advise`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ponder.measure import advice, details
from ponder.measure.samples import draws_by_scorer, draws_of_rows

Row = Mapping[str, Any]

ARMS = {"before steering": "steer_off_prune_on", "after steering": "steer_on_prune_on"}
TASTES = ("random", "confidence", "guide")
"""No heuristic, the policy's own, and the trained one."""


def advised(rows: Sequence[Row]) -> dict[str, Any]:
    """advice: of the steered policy's chains the document of `advise --json`, by the guide. track: a row a policy and
    taste."""
    own = {when: [row for row in rows if arm in row["arms"]] for when, arm in ARMS.items()}
    last = list(own)[-1]
    return {
        "advice": {last: document(own[last], "guide")},
        "track": [row for when, some in own.items() for row in track(when, some)],
    }


def document(rows: Sequence[Row], scorer: str) -> dict[str, Any]:
    """What `advise --json` says of these rows, but for the prediction from all problems together."""
    name = scorer if any(row["scores"].get(scorer) is not None for row in rows) else None
    samples = draws_of_rows(rows, scorer=name)
    return advice.document(samples, details.of_rows(rows, scorer=samples.scorer), pooled=False)


def track(policy: str, rows: Sequence[Row], tastes: Sequence[str] = TASTES) -> list[dict[str, Any]]:
    """How far chains of a policy stay on track (hazard, L*), and among how many of them each taste can choose (reach,
    N*)."""
    more = details.of_rows(rows)
    length = advice.lengths(more, None)
    found = []
    for taste, samples in draws_by_scorer(rows, tastes).items():
        told = advice.carried(samples, more, len(rows) / samples.draws.problems)
        found.append(
            {"policy": policy, "taste": taste, "problems": samples.draws.problems, "samples": len(rows)}
            | {name: told.get(name) for name in ("auroc", "reach", "n_star", "ceiling")}
            | {name: length.get(name) for name in ("hazard", "l_star", "wasted")}
        )
    return found
