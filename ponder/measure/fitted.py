"""The recorded samples as a world that can be drawn from again, with one thing changed at a time.

For each problem: a chance p from its posterior under the beta-binomial with unsolvable problems; its right and wrong
answers from a Pitman-Yor posterior (seen answers lose `discount`, unseen ones get it), wrong ones drawn to even shares
as far as all problems say; scores as the problem's own gap
between right and wrong, plus an error that chains of one wrong answer share, plus one of their own, resampled from the
residuals. All randomness is shared between settings, so that their differences are theirs.
Shapes: P problems, J answer classes, T chains, R draws of what is unknown, I chains' worlds inside each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ponder.measure.data import UNSCORED, Draws, Floats, Ints
from ponder.measure.fits import Likelihood
from ponder.measure.scatter import FEW_LEVELS, Scatter, scatter
from ponder.measure.taste import levels

WIDEST = 24  # answers of a problem that are kept apart
MOST_EVEN = 50.0
UNSEEN = 6  # classes for answers not seen yet; what is left are answers given once
RIGHT, WRONG, NONE = 1, 0, -1

Truths = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Setting:
    """What is changed: n chains, the odds of p, the scorer's noise."""

    n: int
    odds: float = 1.0
    noise: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """count, kind [P, J]: pseudo-counts of the classes, and RIGHT, WRONG or NONE (no answer). voting [J]: False for
    answers given once. shift [P, J], shift_sd: the shared error of a class. check: scores with few levels, resampled
    whole."""

    draws: Draws
    law: Likelihood
    count: Floats
    kind: Ints
    scatter: Scatter | None
    shift: Floats
    shift_sd: Floats
    check: tuple[Floats, Floats] | None

    @property
    def scored(self) -> bool:
        return self.scatter is not None or self.check is not None


def fit(draws: Draws) -> World:
    """Raises ValueError if no problem has a verified sample."""
    law = Likelihood.of(draws.verified, draws.successes)
    found = scatter(draws)
    check = None
    if draws.scores is not None and 1 < levels(draws) <= FEW_LEVELS:
        known = draws.scores != UNSCORED
        check = (draws.scores[known & (draws.correct == 1)], draws.scores[known & (draws.correct == 0)])
        check = check if len(check[0]) and len(check[1]) else None
    count, kind, where = _classes(draws)
    shift, shift_sd = _shifts(draws, found, where, count.shape)
    return World(draws, law, count, kind, found, shift, shift_sd, check)


def _classes(draws: Draws) -> tuple[Floats, Ints, Ints]:
    """(count, kind, the column of each class of the draws' table, -1 where it is not kept apart)."""
    wrong = draws.size[draws.verdict != 1]
    once, twice = int((wrong == 1).sum()), int((wrong == 2).sum())
    discount = min(once / (once + 2 * twice), 0.8) if once else 0.0
    first = np.searchsorted(draws.owner, np.arange(draws.problems + 1))
    even = _evenness(draws)
    most = min(int(np.max(np.diff(first), initial=0)), WIDEST)
    width = most + UNSEEN + 3  # kept, unseen, given once, no answer, a right answer never seen
    count, kind = np.zeros((draws.problems, width)), np.full((draws.problems, width), WRONG)
    where = np.full(len(draws.size), -1)
    abstain = draws.abstentions
    for i in range(draws.problems):
        table = np.arange(first[i], first[i + 1])
        right = draws.verdict[table] == 1
        order = table[np.lexsort((-draws.size[table], ~right))]  # right ones first, large ones first
        kept, rest = order[:most], order[most:]
        where[kept] = np.arange(len(kept))
        seen = np.count_nonzero(draws.verdict[kept] != 1)
        count[i, : len(kept)] = draws.size[kept] + np.where(
            draws.verdict[kept] == 1, 0, even / max(int(seen), 1) - discount
        )
        kind[i, : len(kept)] = np.where(draws.verdict[kept] == 1, RIGHT, WRONG)
        new = discount * np.count_nonzero(~right)
        count[i, most : most + UNSEEN] = 0.8 * new / UNSEEN
        count[i, most + UNSEEN] = 0.2 * new + float(draws.size[rest].sum())
        if not count[i][kind[i] == WRONG].sum():  # no wrong answer seen: what it would be is open
            count[i, most + UNSEEN] = 1.0
        kind[i, -2], count[i, -2] = NONE, abstain[i]
        kind[i, -1], count[i, -1] = RIGHT, 0.0 if right.any() else 1.0
    return count, kind, where


def _evenness(draws: Draws) -> float:
    """The concentration A of a problem's wrong answers about even shares: of J seen answers w_j, chi-square over J - 1
    is about (w + A)/(1 + A), w being how many they are."""
    wrong = draws.verdict != 1
    owner, size = draws.owner[wrong], draws.size[wrong].astype(np.float64)
    seen = np.bincount(owner, minlength=draws.problems)
    total = np.bincount(owner, weights=size, minlength=draws.problems)
    use = (seen > 1) & (total > seen)
    if not use.any():
        return 0.0
    mean = total / np.maximum(seen, 1)
    square = np.bincount(owner, weights=(size - mean[owner]) ** 2 / mean[owner], minlength=draws.problems)
    excess = float(square[use].sum() / (seen[use] - 1).sum())
    w = float(np.average(total[use], weights=seen[use] - 1))
    return float(np.clip((w - excess) / (excess - 1), 0.0, MOST_EVEN)) if excess > 1 else MOST_EVEN


def _shifts(draws: Draws, found: Scatter | None, where: Ints, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """The shared error of each class: its posterior mean and standard deviation [P, J]."""
    shift, sd = np.zeros(shape), np.zeros(shape)
    if found is None or found.shared <= 0:
        return shift, sd
    variance = float(np.mean(found.wrong**2))
    shared, own = found.shared * variance, (1 - found.shared) * variance
    sd[:] = np.sqrt(shared)
    use = (draws.correct == 0) & (draws.label >= 0) & np.isfinite(found.centred)
    label, problem = draws.label[use], draws.problem[use]
    members = np.maximum(np.bincount(problem, minlength=draws.problems), 1)
    level = np.bincount(problem, weights=found.centred[use], minlength=draws.problems) / members
    n = np.bincount(label, minlength=len(where)).astype(np.float64)
    total = np.bincount(label, weights=found.centred[use] - level[problem], minlength=len(where))
    for k in np.flatnonzero((where >= 0) & (n > 0)):
        at = draws.owner[k], where[k]
        shift[at] = total[k] * shared / (n[k] * shared + own)
        sd[at] = np.sqrt(shared * own / (n[k] * shared + own))
    return shift, sd


def simulate(
    world: World, settings: Sequence[Setting], *, best: bool, outer: int, inner: int, seed: int = 0
) -> list[Floats]:
    """For each setting whether the pick is right, averaged over `inner` worlds: [R, P] each. best: by score, else by
    vote."""
    random = np.random.default_rng(seed)
    problems, chains = world.draws.problems, max(setting.n for setting in settings)
    found = [np.zeros((outer, problems)) for _ in settings]
    right = world.kind == RIGHT
    for r, (alpha, beta, zero) in enumerate(world.law.draw(random, outer)):
        p = _chances(world, alpha, beta, zero, random)
        mass = random.standard_gamma(np.maximum(world.count, 1e-12))
        tables = [_cumulative(np.where(side, mass, 0.0)) for side in (right, ~right)]
        gap, shift = _score_parts(world, random)
        for _ in range(inner):
            u, v, jitter = random.random((3, problems, chains), dtype=np.float32)
            picks = [_columns(table, v) for table in tables]
            error = _errors(world, random, (problems, chains)) if best else None
            known: dict[float, tuple[Truths, Ints]] = {}
            for at, setting in enumerate(settings):
                if setting.odds not in known:
                    q = setting.odds * p / (1 - p + setting.odds * p)
                    hit = u < q[:, None]
                    known[setting.odds] = (hit, np.where(hit, picks[0], picks[1]))
                hit, column = known[setting.odds][0][:, : setting.n], known[setting.odds][1][:, : setting.n]
                if error is not None:
                    won = _best(world, hit, column, gap, shift, error, jitter, setting)
                else:
                    won = _vote(world, column, jitter)
                found[at][r] += won / inner
    return found


def _chances(world: World, alpha: float, beta: float, zero: float, random: np.random.Generator) -> Floats:
    """p of each problem from its posterior: [P]."""
    from scipy.special import betaln

    n, c = world.draws.verified, world.draws.successes
    p = random.beta(alpha + c, beta + n - c)
    seen = (1 - zero) * np.exp(betaln(alpha, beta + n) - betaln(alpha, beta))
    never = (c == 0) & (random.random(len(n)) < zero / np.maximum(zero + seen, 1e-300))
    return np.where(never, 0.0, p)


def _cumulative(mass: Floats) -> Floats:
    total = np.cumsum(mass, axis=1)
    return np.asarray((total / total[:, -1:]).astype(np.float32))


def _columns(table: Floats, v: Floats) -> Ints:
    """The class that each uniform v [P, T] falls on."""
    column = np.zeros(v.shape, dtype=np.int64)
    for j in range(table.shape[1] - 1):
        if float(table[:, j].min()) >= 1.0:
            break
        column += v >= table[:, j, None]
    return column


def _vote(world: World, column: Ints, jitter: Floats) -> Floats:
    """1 where the most frequent answer is right; ties at random: [P]."""
    problems, width = world.kind.shape
    flat = (np.arange(problems)[:, None] * width + column).ravel()
    count = np.bincount(flat, minlength=problems * width).reshape(problems, width).astype(np.float64)
    count[world.kind == NONE] = 0
    count[:, _once(width)] = np.minimum(count[:, _once(width)], 1)
    place = np.argmax(count + 0.5 * _spread(jitter, width), axis=1)
    rows = np.arange(problems)
    return np.asarray((count[rows, place] > 0) & (world.kind[rows, place] == RIGHT), dtype=np.float64)


def _once(width: int) -> int:
    """The column of answers given once."""
    return width - 3


def _spread(jitter: Floats, width: int) -> Floats:
    """[P, width] numbers in [0, 1), from those of the chains."""
    place = np.arange(width) % jitter.shape[1]
    return np.asarray((jitter[:, place] + 0.618 * np.arange(width)) % 1.0)


def _score_parts(world: World, random: np.random.Generator) -> tuple[Floats, Floats]:
    """(gap [P], shift [P, J]) of one draw of what is unknown."""
    if world.scatter is None:
        return np.zeros(world.draws.problems), world.shift
    gap = world.scatter.gap + world.scatter.gap_sd * random.standard_normal(world.draws.problems)
    if not world.shift_sd.any():
        return gap, world.shift
    return gap, world.shift + world.shift_sd * random.standard_normal(world.shift.shape)


def _errors(world: World, random: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Own errors of chains, were they right and were they wrong: [P, T] each. With a check, whole scores."""
    if world.check is not None:
        right, wrong = world.check
    else:
        assert world.scatter is not None
        right, wrong = world.scatter.right, world.scatter.wrong * np.sqrt(1 - world.scatter.shared)
    at = random.random((2, *shape), dtype=np.float32)
    good, bad = ((len(values) * u).astype(np.int32) for values, u in zip((right, wrong), at, strict=True))
    return right[good], wrong[bad]


def _best(
    world: World,
    hit: Truths,
    column: Ints,
    gap: Floats,
    shift: Floats,
    error: tuple[Floats, Floats],
    jitter: Floats,
    setting: Setting,
) -> Floats:
    """1 where the best-scored chain is right: [P]."""
    n = setting.n
    own = np.where(hit, error[0][:, :n], error[1][:, :n])
    if world.check is not None:
        score = own + 1e-9 * jitter[:, :n]
    else:
        if world.shift_sd.any():
            own = own + np.where(hit, 0.0, np.take_along_axis(shift, column, axis=1))
        score = np.where(hit, gap[:, None], 0.0) + setting.noise * own + 1e-9 * jitter[:, :n]
    score = np.where(np.take_along_axis(world.kind, column, axis=1) == NONE, -np.inf, score)
    top = np.argmax(score, axis=1)
    return np.asarray(hit[np.arange(len(hit)), top], dtype=np.float64)
