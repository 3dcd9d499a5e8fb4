"""Where the next unit of compute pays: what each lever adds to the accuracy at a token budget.

The baseline is N chains a problem (what the budget affords) and the pick of the best-scored, or the vote without
scores. A lever changes one thing:

    samples    2 N chains, for twice the tokens
    taste      half the scorer's noise
    steering   odds of p times 1.5 in every problem
    length     chains 1.5 times shorter, so that the same tokens buy 1.5 N of them

Where the recorded samples hold the changed setting, its gain is the paired difference of exact curves. Otherwise the
samples are drawn again as a fitted world (fitted.py). Its interval holds which problems are asked (Bayesian
bootstrap), what the samples leave open of each, and the luck of the draws; and it is widened by how far the fitted
world is off where it can be checked: against the exact accuracy at n/2, and its gain from n/4 to n/2. A better taste
and other odds were never seen: a tenth of the gain is doubt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ponder.measure import fitted
from ponder.measure.curves import estimator
from ponder.measure.data import Draws, Floats
from ponder.measure.fitted import Setting
from ponder.measure.intervals import difference_interval
from ponder.measure.scatter import FEW_LEVELS, scatter
from ponder.measure.taste import common, levels

NAMES = ("samples", "taste", "steering", "length")
NOISE, ODDS = 0.5, 1.5
FARTHEST = 8
FEW = 10
CHAINS = 3_000_000  # simulated in all, about
Z = 1.96
DOUBT = 0.1  # of the gain of a world that was never seen (better taste, other odds)


@dataclass(frozen=True, slots=True)
class Lever:
    """gain, low, high: of accuracy, as fractions. once: the interval of the gain that is seen if each problem is tried
    once before and once after. how: 'exact' or 'fitted'. omitted: why nothing is said."""

    lever: str
    change: str = ""
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    once: tuple[float, float] | None = None
    how: str = ""
    omitted: str = ""

    def document(self) -> dict[str, Any]:
        if self.omitted:
            return {"lever": self.lever, "omitted": self.omitted}
        return {
            "lever": self.lever,
            "change": self.change,
            "gain": self.gain,
            "low": self.low,
            "high": self.high,
            "once": dict(zip(("low", "high"), self.once, strict=True)) if self.once else None,
            "how": self.how,
        }


@dataclass(frozen=True, slots=True)
class Advice:
    """select: 'best_of_n' or 'maj', the curve that is pulled up. n: chains that the budget affords. off: how far the
    fitted world is from the exact accuracy at half the samples, and from the gain of the doubling up to it."""

    select: str
    n: int
    levers: tuple[Lever, ...]
    off: tuple[float, float] | None


def levers(
    draws: Draws,
    affordable: float | None = None,
    *,
    tokens: bool = True,
    noise: float = NOISE,
    odds: float = ODDS,
    seed: int = 0,
) -> Advice:
    """affordable: N; without it, the samples a problem has. tokens: the rows say how long chains are. noise, odds: by
    what a better taste and steering multiply them."""
    select = "best_of_n" if draws.scores is not None else "maj"
    size = common(draws.n if select == "maj" else draws.verified)
    n = max(1, int(affordable if affordable is not None else size))
    why = _omissions(draws, n, size, tokens)
    if len(why) == len(NAMES):
        return Advice(select, n, tuple(Lever(name, omitted=why[name]) for name in NAMES), None)
    wide = {"samples": 2 * n, "length": int(1.5 * n)}
    found = {name: _exact(draws, select, n, k) for name, k in wide.items() if name not in why and k <= size}
    rest = [name for name in NAMES if name not in why and name not in found]
    off = None
    if rest:
        settings = {"base": Setting(n), **{name: Setting(k) for name, k in wide.items()}}
        settings |= {"taste": Setting(n, noise=noise), "steering": Setting(n, odds=odds)}
        simulated, off = _simulated(draws, select, size, rest, settings, seed)
        found |= simulated
    said = {name: replace(lever, change=_change(name, noise, odds)) for name, lever in found.items()}
    return Advice(select, n, tuple(said.get(name) or Lever(name, omitted=why[name]) for name in NAMES), off)


def _change(name: str, noise: float, odds: float) -> str:
    return {
        "samples": "twice the samples, at twice the tokens",
        "taste": "half the scorer's noise" if noise == NOISE else f"the scorer's noise × {noise:.3g}",
        "steering": f"odds of a right chain × {odds:.3g}",
        "length": "chains 1.5 times shorter: 1.5 times as many for the same tokens",
    }[name]


def _omissions(draws: Draws, n: int, size: int, tokens: bool) -> dict[str, str]:
    right, wrong = int(draws.successes.sum()), int((draws.verified - draws.successes).sum())
    every = ""
    if draws.problems < FEW:
        every = f"{draws.problems} problems say too little; give at least {FEW}"
    elif size < 4:
        every = f"{size} samples a problem say too little of how problems differ; draw at least 4"
    elif not right or not wrong:
        every = f"every sample is {'wrong' if wrong else 'right'}: what would change that cannot be told"
    elif n > FARTHEST * size:
        every = f"{n} samples are more than {FARTHEST} times the {size} drawn; draw more, or ask for fewer"
    if every:
        return dict.fromkeys(NAMES, every)
    found = {}
    if draws.scores is None:
        found["taste"] = "no scores; add them with `ponder score`"
    else:
        world = scatter(draws)
        if world is None:
            found["taste"] = "no problem has scored chains that are right and others that are wrong"
        elif levels(draws) <= FEW_LEVELS:
            found["taste"] = (
                f"the score has {levels(draws)} levels: it is a check, and half its noise has no meaning; "
                "count its false positives"
            )
    if not tokens:
        found["length"] = "the rows have no `tokens`"
    elif int(1.5 * n) <= n:
        found["length"] = f"{n} chain a problem: chains 1.5 times shorter make no room for another"
    return found


def _exact(draws: Draws, select: str, n: int, k: int) -> Lever:
    values = estimator(select)(draws, sorted({n, k})).values
    found = difference_interval(values[:, -1], values[:, 0])
    name = "samples" if k == 2 * n else "length"
    gain, low, high = (float(x) for x in (found.value, found.low, found.high))
    once = _once(gain, low, high, values[:, 0], values[:, -1])
    return Lever(name, gain=gain, low=low, high=high, once=once, how="exact")


def _once(gain: float, low: float, high: float, before: Floats, after: Floats) -> tuple[float, float]:
    """The interval widened by the luck of one try a problem, before and after; both [P]."""
    known = ~(np.isnan(before) | np.isnan(after))
    luck = sum(float((p[known] * (1 - p[known])).sum()) for p in (before, after)) / max(int(known.sum()), 1) ** 2
    down, up = (float(np.hypot(side, Z * np.sqrt(luck))) for side in (gain - low, high - gain))
    return gain - down, gain + up


def _simulated(
    draws: Draws, select: str, size: int, names: list[str], settings: dict[str, Setting], seed: int
) -> tuple[dict[str, Lever], tuple[float, float]]:
    """settings: 'base' and what each lever changes it to."""
    world = fitted.fit(draws)
    best = select == "best_of_n" and world.scored
    n = settings["base"].n
    used = {name: settings[name] for name in ("base", *names)}
    used |= {"half": Setting(size // 2), "quarter": Setting(size // 4)}
    widest = max(setting.n for setting in used.values())
    inner = 4
    outer = int(np.clip(CHAINS / (draws.problems * widest * inner), 24, 100))
    results = fitted.simulate(world, list(used.values()), best=best, outer=outer, inner=inner, seed=seed)
    right = dict(zip(used, results, strict=True))
    level, last = _off(draws, select, size, right)
    random = np.random.default_rng(seed + 1)
    weights = random.dirichlet(np.ones(draws.problems), outer)
    found = {}
    for name in names:
        gains = np.sum(weights * (right[name] - right["base"]), axis=1)
        value = float((right[name] - right["base"]).mean())
        steps = np.log2(max(settings[name].n / n, 1.0))
        more = settings[name].n > n
        extra = abs(last) * float(steps) if more else abs(level) / 2
        unseen = 0.0 if more else DOUBT * abs(value)
        reach = Z * float(np.sqrt(gains.std(ddof=1) ** 2 + (extra / 2) ** 2 + unseen**2))
        low, high = value - reach, value + reach
        means = [np.asarray(right[which].mean(axis=0)) for which in ("base", name)]
        once = _once(value, low, high, *means)
        found[name] = Lever(name, gain=value, low=low, high=high, once=once, how="fitted")
    return found, (level, last)


def _off(draws: Draws, select: str, size: int, right: dict[str, Floats]) -> tuple[float, float]:
    """How far the fitted world's accuracy at n/2 is from the exact one, and its gain from n/4 to n/2 (at n the
    exact one is a single pick a problem: noise)."""
    ks = [size // 4, size // 2]
    exact = estimator(select)(draws, ks).values
    known = ~np.isnan(exact).any(axis=1)
    if not known.any():
        return 0.0, 0.0
    few, many = exact[known].mean(axis=0)
    mine = [float(right[name][:, known].mean()) for name in ("quarter", "half")]
    return mine[1] - float(many), (mine[1] - mine[0]) - float(many - few)
