"""`curves --to K`: the document of curves with points added up to K, exact within the data and extrapolated beyond."""

from __future__ import annotations

from typing import Any

import numpy as np

from ponder.measure.curves import estimator, mean_tokens, number, tokens
from ponder.measure.data import Floats
from ponder.measure.extrapolate import Point, beyond, coverage, selector
from ponder.measure.intervals import mean_interval
from ponder.measure.samples import Samples


def lengthen(document: dict[str, Any], samples: Samples, to: int, level: float = 0.95) -> dict[str, Any]:
    """`document` of `curves.document`, with the doublings up to `to` and `to` itself in each of its curves. Where the
    data cannot tell, value, low and high are null and `reason` says why."""
    draws, cost = samples.draws, tokens(samples)
    largest = int(draws.n.max())
    size = int(draws.verified.max(initial=0))
    wanted = beyond(largest, to)
    law = coverage(draws.verified, draws.successes, wanted) if wanted and size else None
    found = dict(document["curves"])
    for name, points in found.items():
        ks = [point["k"] for point in points]
        if to < largest:
            if to not in ks:
                added = _exact(name, samples, to, cost[name], level)
                found[name] = sorted([*points, added], key=lambda point: int(point["k"]))
            continue
        if law is None:
            continue
        if name == "pass":
            more: tuple[Point, ...] = law.points
        else:
            values = estimator(name)(draws, ks).values
            more = selector(values, ks, wanted, law.points)
        found[name] = [*points, *(_point(point, cost[name]) for point in more)]
    remarks = list(document["remarks"])
    if wanted:
        remarks.append(f"k above {largest} is extrapolated; its interval holds what the forms leave open, too")
        reasons = dict.fromkeys(p["reason"] for points in found.values() for p in points if p.get("reason"))
        remarks += [f"cannot be told from these data: {reason}" for reason in reasons]
    return document | {
        "curves": found,
        "to": to,
        "extrapolation": law.document() if law is not None else None,
        "remarks": remarks,
    }


def _point(point: Point, cost: Floats) -> dict[str, Any]:
    known = cost[~np.isnan(cost)]
    return {
        "k": point.k,
        "value": point.value,
        "low": point.low,
        "high": point.high,
        "tokens": float(point.k * known.mean()) if len(known) else None,
        "problems": len(cost),
        "extrapolated": True,
    } | ({"reason": point.reason} if point.reason else {})


def _exact(name: str, samples: Samples, k: int, cost: Floats, level: float) -> dict[str, Any]:
    values = estimator(name)(samples.draws, [k]).values[:, 0]
    interval = mean_interval(values, level)
    return {
        "k": k,
        "value": number(interval.value),
        "low": float(interval.low),
        "high": float(interval.high),
        "tokens": mean_tokens(values, cost, k),
        "problems": int(interval.problems),
        "extrapolated": False,
    }
