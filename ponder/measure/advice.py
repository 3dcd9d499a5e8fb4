"""The document of `advise --json`: steering, taste and length as they are, and what each lever would add.

What the data cannot tell is left out with its reason. design.md fixes the fields; the others may change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ponder.measure import length, predict, scatter, taste
from ponder.measure.agreement import auroc, d_prime
from ponder.measure.curves import estimator
from ponder.measure.data import Draws, Floats, doublings
from ponder.measure.details import Details
from ponder.measure.estimators import best_of_n_at_k
from ponder.measure.extrapolate import coverage
from ponder.measure.fits import Likelihood
from ponder.measure.flips import flips
from ponder.measure.intervals import difference_interval, mean_interval
from ponder.measure.levers import Advice, levers
from ponder.measure.mixture import ATOMS, Mixture
from ponder.measure.noise import hill
from ponder.measure.samples import Samples
from ponder.measure.taste import Told


def document(
    samples: Samples,
    details: Details,
    *,
    n: int | None = None,
    budget: float | None = None,
    pooled: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """n: chains that are affordable; budget: tokens a problem, from which n follows; neither: the samples there are."""
    draws = samples.draws
    known = np.isfinite(samples.generated)
    chain = float(samples.generated[known].mean()) if known.any() else None
    affordable = _affordable(n, budget, chain, draws)
    advice = levers(draws, affordable, tokens=chain is not None, seed=seed)
    return {
        "schema": 1,
        "problems": draws.problems,
        "samples": samples.rows,
        "affordable": affordable,
        "select": advice.select,
        "accuracy": _accuracy(draws, advice),
        "steering": steering(draws),
        "taste": tasted(samples, details, affordable, pooled=pooled),
        "length": lengths(details, chain),
        "levers": [lever.document() for lever in advice.levers],
        "fitted_off": {"level": advice.off[0], "last_doubling": advice.off[1]} if advice.off else None,
        "votes": flips(draws) | {"selector": selector(draws, affordable)},
        "unverified": int(draws.unverified.sum()),
        "scorer": samples.scorer,
        "level": 0.95,
        "remarks": list(samples.remarks),
    }


def _affordable(n: int | None, budget: float | None, chain: float | None, draws: Draws) -> float:
    from ponder.errors import UsageError

    if n is not None:
        return float(n)
    if budget is None:
        return float(taste.common(draws.n))
    if not chain:
        raise UsageError("--tokens: the rows have no `tokens`, so a budget buys no known number; give --samples N")
    if budget < chain:
        raise UsageError(f"--tokens {budget:g}: a chain has {chain:,.0f} tokens on average; give at least that")
    return budget / chain


def _accuracy(draws: Draws, advice: Advice) -> dict[str, Any] | None:
    """Of the affordable N, exactly; None beyond the data."""
    values = estimator(advice.select)(draws, [advice.n]).values[:, 0]
    if 4 * np.isnan(values).sum() > draws.problems:
        return None
    return {"k": advice.n} | Told.of(mean_interval(values)).document()


def selector(draws: Draws, affordable: float) -> dict[str, Any] | None:
    """What picking by score adds to the vote of as many samples, paired: a gain that a vote alone would not explain.
    None without scores."""
    if draws.scores is None:
        return None
    k = max(1, min(int(affordable), taste.common(draws.verified)))
    best, vote = (estimator(name)(draws, [k]).values[:, 0] for name in ("best_of_n", "maj"))
    return {"k": k} | Told.of(difference_interval(best, vote)).document()


def steering(draws: Draws) -> dict[str, Any]:
    """The distribution of p over problems: its beta-binomial fit, and how many problems no sample solved."""
    use = draws.verified > 0
    n, c = draws.verified[use], draws.successes[use]
    mean = mean_interval(c / n)
    found: dict[str, Any] = {"pass_at_1": Told.of(mean).document(), "unsolved": int(np.sum(c == 0))}
    size = int(n.max(initial=0))
    law = coverage(n, c, [8 * size])
    if law.form == "none":
        return found | {"omitted": law.points[0].reason}
    likelihood = Likelihood.of(n, c)
    best = likelihood.best
    found["p"] = {"alpha": best.alpha, "beta": best.beta, "never_solved": law.document()["never_solved"]}
    point = law.points[0]
    reason = {"reason": point.reason} if point.reason else {}
    found["coverage"] = {"k": point.k, "value": point.value, "low": point.low, "high": point.high} | reason
    return found | {"form": law.form, "held_out": law.document()["held_out"]}


NOTHING = Told(None, None, None).document()


def tasted(samples: Samples, details: Details, affordable: float, *, pooled: bool = True) -> dict[str, Any]:
    """What is carried, and the noise. pooled: best-of-N is predicted from the chains of all problems together, too."""
    predicted = _predicted(samples.draws, details) if pooled else None
    found = carried(samples, details, affordable, predicted)
    return found | (_replicates(details) if "omitted" in found else _noise(samples, details))


def carried(
    samples: Samples, details: Details, affordable: float, predicted: tuple[Floats, Sequence[int]] | None = None
) -> dict[str, Any]:
    """AUROC, d', reach, overhang, ceiling and N*. predicted: best-of-N [B, N] and its N, beside the exact one."""
    draws, empty = samples.draws, dict.fromkeys(("auroc", "d_prime", "reach", "ceiling", "overhang"), NOTHING)
    if draws.scores is None:
        return empty | {"omitted": "no scores; add them with `ponder score`"}
    size = taste.common(draws.verified)
    if draws.problems < 2 or size < 2:
        return empty | {"omitted": "a taste compares chains of one problem; draw several samples of several problems"}
    graded = _graded(details)
    ks, fine = doublings(size), taste.fine(size)
    values = _curve(draws, details, ks, graded)
    turned = taste.turn(_curve(draws, details, fine, graded), fine)
    reach = taste.reach_of_best(details.draws, details.quality) if graded else taste.reach(values, ks)
    if turned is not None and not graded and (reach.value is None or reach.value > (turned.at.value or 0)):
        reach = turned.at
    rule = f"P(the pick is the best) ≥ {taste.TAU:g}" if graded else f"a doubling adds ≥ {taste.EPSILON:g}, before N*"
    ceiling = _ceiling(draws, values, ks, reach, turned, graded)
    if turned is None and predicted is not None:
        turned = predict.turn(*predicted)
    return {
        "auroc": Told.of(auroc(draws)).document(),
        "d_prime": Told.of(d_prime(draws)).document(),
        "reach": reach.document(),
        "rule": rule,
        "overhang": reach.over(affordable).document(),
        "ceiling": ceiling.document(),
        "n_star": _turned(turned, size),
        "curve": _beside(values, ks, predicted, graded),
    }


def _graded(details: Details) -> bool:
    return details.graded and details.draws.scores is not None


def _curve(draws: Draws, details: Details, ks: Sequence[int], graded: bool) -> Floats:
    """Exact best-of-N of the problems with enough samples, on the graded truth where there is one: [P', K]."""
    found = (best_of_n_at_k(details.draws, ks, details.quality) if graded else best_of_n_at_k(draws, ks)).values
    return np.asarray(found[~np.isnan(found).any(axis=1)])


def _ceiling(
    draws: Draws, values: Floats, ks: Sequence[int], reach: Told, turned: taste.Turn | None, graded: bool
) -> Told:
    if graded:
        curves = taste.weights(len(values)) @ values[:, -1]
        low, high = np.quantile(curves[1:], [0.025, 0.975])
        bound = "upper" if turned is not None else "lower"
        return Told(float(curves[0]), float(low), float(high), bound)
    if 1 < taste.levels(draws) <= scatter.FEW_LEVELS:
        use = draws.verified > 0
        return taste.check_ceiling(draws, ATOMS, Mixture.of(draws.verified[use], draws.successes[use]).weights)
    return taste.ceiling(values, ks, reach, turned)


def _predicted(draws: Draws, details: Details) -> tuple[Floats, Sequence[int]] | None:
    """(best-of-N [B, N], its N); None where chains of all problems do not make one pool."""
    size, graded = taste.common(draws.verified), _graded(details)
    if draws.scores is None or draws.problems < 2 or size < 2:
        return None
    most = min(predict.farthest(len(draws.label), graded=graded), 16 * size)
    ns = taste.fine(max(most, 2), 20)
    if graded:
        return predict.graded(details.draws, details.quality, ns), ns
    known = scatter.scatter(draws)
    if known is None or taste.levels(draws) <= scatter.FEW_LEVELS:
        return None
    return predict.binary(draws, known, ns), ns


def _turned(turned: taste.Turn | None, size: int) -> dict[str, Any]:
    if turned is None:
        return {"omitted": f"no number of guesses up to {size} is better than more of them, beyond noise"}
    names = ("value", "low", "high")
    return turned.at.document() | {
        "fitted": turned.fitted,
        "end": turned.end,
        "falls": dict(zip(names, turned.falls, strict=True)),
    }


def _beside(
    values: Floats, ks: Sequence[int], predicted: tuple[Floats, Sequence[int]] | None, graded: bool
) -> list[dict[str, Any]]:
    """Exact and predicted best-of-N; graded predictions are gains over the mean, set on the exact value at 1."""
    exact = values.mean(axis=0)
    points = []
    base = float(exact[0]) if graded else 0.0
    pool, ns = predicted if predicted is not None else (np.zeros((0, 0)), ())
    for k in sorted({*ks, *ns}):
        point: dict[str, Any] = {"k": k, "exact": float(exact[ks.index(k)]) if k in ks else None, "predicted": None}
        if len(ns) and k <= ns[-1]:
            curves = np.array([np.interp(np.log(k), np.log(ns), row) for row in pool]) + base
            low, high = np.quantile(curves[1:], [0.025, 0.975])
            point |= {"predicted": float(curves[0]), "low": float(low), "high": float(high)}
        points.append(point)
    return points


def _noise(samples: Samples, details: Details) -> dict[str, Any]:
    """e against Q by domain, its tail, what chains of one answer share of it, and what replicates say."""
    draws, graded = samples.draws, _graded(details)
    shared = scatter.shared_error(draws)
    found: dict[str, Any] = {
        "noise": _by_domain(samples, details, graded),
        "shared_error": shared.document()
        if shared.value is not None
        else {"omitted": "no problem has wrong chains that agree and others that differ"},
        "tail": _tail(draws, details, graded),
    }
    return found | _replicates(details)


def _replicates(details: Details) -> dict[str, Any]:
    """What several scores of one scorer for each chain say of its error; {} where rows have one."""
    if details.replicates is None:
        return {}
    use = np.isfinite(details.replicates).any(axis=1)
    told = scatter.replicates(details.replicates[use], details.draws.problem[use])
    found = {"random": told.random, "share": told.share, "identified": False, "reason": told.reason}
    return {"replicates": found}


def _by_domain(samples: Samples, details: Details, graded: bool) -> list[dict[str, Any]]:
    """e/sigma_Q within problems: graded, from the regression on Q; else sd(e) over the gap of right and wrong, 1/d'."""
    rows = []
    for name, problems in details.domains.items():
        if graded:
            found = scatter.graded_noise(details.draws, details.quality, problems)
            told = found.ratio if found else Told(None, None, None)
        else:
            keys = {details.draws.keys[i] for i in problems.tolist()}
            told = _inverse(Told.of(d_prime(_only(samples.draws, keys))))
        if told.value is not None:
            how = "sd(e)/sd(Q)" if graded else "sd(e)/(right - wrong) = 1/d'"
            rows.append({"domain": name or None, "problems": len(problems), "how": how} | told.document())
    return rows


def _inverse(told: Told) -> Told:
    """1/d'; where d' may be 0 or less there is no upper limit."""
    if told.value is None or told.value <= 0:
        return Told(None, None, None)
    high = 1 / told.low if told.low is not None and told.low > 0 else None
    return Told(1 / told.value, 1 / told.high if told.high else 0.0, high, None if high else "lower")


def _only(draws: Draws, keys: set[str]) -> Draws:
    """The draws of these problems."""
    use = [i for i, key in enumerate(draws.keys) if key in keys]
    rows = list(draws.rows())
    scores = draws.scores
    return Draws.of(
        [draws.label[rows[i]] for i in use],
        [draws.correct[rows[i]] for i in use],
        None if scores is None else [[None if s == -np.inf else s for s in scores[rows[i]].tolist()] for i in use],
        [draws.keys[i] for i in use],
    )


def _tail(draws: Draws, details: Details, graded: bool) -> dict[str, Any]:
    """Hill's index of |e|: graded, of the regression's errors; else of the wrong chains' scores about their mean."""
    if graded:
        noise = scatter.graded_noise(details.draws, details.quality)
        errors = noise.errors if noise else np.zeros(0)
    else:
        known = scatter.scatter(draws)
        errors = known.wrong if known else np.zeros(0)
    try:
        told = hill(errors)
    except ValueError as error:
        return {"omitted": str(error)}
    return {"nu": told.nu, "low": told.low, "high": told.high, "used": told.used, "heavy": told.high < 5}


def lengths(details: Details, chain: float | None) -> dict[str, Any]:
    """Tokens a chain, the hazard of going off track, L*, the wasted share, and how many come back."""
    sizes = length.tokens(details.draws, details.tokens)
    found: dict[str, Any] = {
        "tokens_a_chain": chain,
        "right": sizes["right"].document(),
        "wrong": sizes["wrong"].document(),
    }
    track = length.track(details.steps, details.draws.problem)
    if track is None:
        return found | {"omitted": "the rows have no `steps` with `valid`"}
    return found | {
        "hazard": length.hazard_a_step(track).document(),
        "by_depth": length.hazard(track),
        "l_star": length.half_life(track).document(),
        "wasted": length.wasted(details).document(),
        "recovered": length.recovered(details),
    }
