"""maj@k, exact over all k-subsets of the recorded samples: per-problem values.

With class sizes c_j and independent X_j ~ Bin(c_j, k/n), the counts in a random k-subset are
distributed as X given that all X sum to k. So

    P(class * wins) = 1/Z · sum_v P(X* = v) · integral_0^1 dy [x^(k-v)] A(x) · prod_j S_j(x, y),
    S_j(x, y) = sum_{i<v} P(X_j = i) x^i + y P(X_j = v) x^v,

where Z = P(Bin(n, k/n) = k), A is the generating function of the abstentions, and the integral over y is the mean
of 1/(t+1) over the number t of rivals tied at v. It is a polynomial in y of degree min(#{c_j >= v}, (k-v)/v), so that
Gauss-Legendre with degree//2 + 1 nodes is exact. The coefficient of x^(k-v) is read off with a discrete Fourier
transform just long enough that aliases lie where the binomial has next to none of its mass (NEGLIGIBLE).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ponder.measure.data import Draws, Estimates, Floats, Ints, checked, misses

Complexes = NDArray[np.complex128]

NEGLIGIBLE = 1e-14
STRONG = 6  # so many of the strongest rivals bound which counts can win
LOG_NEGLIGIBLE = -np.log(NEGLIGIBLE)


def maj_at_k(draws: Draws, ks: Iterable[int]) -> Estimates:
    """The chance that the plurality of k answers is correct (self-consistency, Wang et al. 2023), exactly.

    Ties break uniformly, abstentions never win, chances of several correct classes add up, a class without a verified
    member counts as not correct. `nothing` is the chance that all k abstain. Error about 1e-14. NaN where n < k.
    """
    wanted = checked(ks)
    abstain, sizes_n = draws.abstentions, draws.n
    nothing = misses(sizes_n, sizes_n - abstain, wanted)
    values = np.where(np.isnan(nothing), np.nan, 0.0)
    first = np.searchsorted(draws.owner, np.arange(draws.problems + 1))
    races: dict[int, list[Race]] = {}
    for i, n in enumerate(sizes_n.tolist()):
        table = slice(int(first[i]), int(first[i + 1]))
        sizes, winners = draws.size[table], draws.size[table][draws.verdict[table] == 1]
        for c in np.sort(winners).tolist():  # sorted: rows in another order give the same bytes
            rivals = np.delete(sizes, np.flatnonzero(sizes == c)[0])
            races.setdefault(n, []).append(Race(i, c, *np.unique(rivals, return_counts=True)))
    for column, k in enumerate(wanted):
        for n, runners in races.items():
            if k <= n:
                np.add.at(values[:, column], [r.problem for r in runners], win(runners, n, k))
    return Estimates(wanted, np.clip(values, 0.0, 1.0), nothing)


class Race(NamedTuple):
    """One class against the others of its problem. c: its size; rival [J]: the distinct sizes of the others,
    ascending; times [J]: how many classes have that size."""

    problem: int
    c: int
    rival: Ints
    times: Ints


def win(races: Sequence[Race], n: int, k: int) -> Floats:
    """The chance of each race's class to win the plurality of k of n samples: [races]."""
    if k <= 2 or k == n:
        return np.array([_win_simple(race, n, k) for race in races])
    out = np.empty(len(races))
    order = np.argsort([race.c for race in races], kind="stable")
    # As measured: larger batches save calls and cost padding.
    batch = 64 if k < 8 else 32 if k < 16 else 16 if k < 64 else 8 if k < 128 else 1
    for at in range(0, len(order), batch):
        rows = order[at : at + batch]
        some = [races[i] for i in rows.tolist()]
        width = max(1, *(len(race.rival) for race in some))
        rival, times = np.zeros((2, len(some), width), dtype=np.int64)
        for i, race in enumerate(some):
            rival[i, : len(race.rival)], times[i, : len(race.rival)] = race.rival[::-1], race.times[::-1]
        out[rows] = _win_many(np.array([race.c for race in some]), rival, times, n, k)
    return out


def _win_simple(race: Race, n: int, k: int) -> float:
    """k = 1, 2 and n, in closed form."""
    c, voters = race.c, int(race.rival @ race.times)
    if k == n:
        return 1.0 / (1 + int(race.times[race.rival == c].sum())) if c >= race.rival.max(initial=0) else 0.0
    if k == 1:
        return c / n
    return c * (c - 1 + 2 * (n - c - voters) + voters) / (n * (n - 1))


def _win_many(c: Ints, rival: Ints, times: Ints, n: int, k: int) -> Floats:
    """As `win` for B races, 2 < k < n. c [B]; rival, times [B, J], descending, padded with 0.

    Rows r are the counts v = first + r at which the class may win; T is the number of roots of unity."""
    p = k / n
    i = np.arange(min(k, _bulk(int(c.max()), int(c.min()), p)[1]) + 1)
    total = _peak(n, k)
    strong = rival[:, :STRONG]
    at = np.repeat(i[None], strong.shape[1] + 2, axis=0)
    at[-1] = k - i
    table = _pmf(np.column_stack((c, strong, n - c))[..., None], p, at)  # one call: they are many and small
    star, pmf, rest = table[:, 0], table[:, 1:-1], table[:, -1]  # [B, L], [B, STRONG, L], [B, L]
    beaten = _all(np.cumsum(pmf, axis=-1), times[:, :STRONG])
    live = star * np.minimum(rest, beaten) > NEGLIGIBLE * total  # bounds the term of v
    live[:, 0] = False
    first, last = np.argmax(live, axis=1), len(i) - 1 - np.argmax(live[:, ::-1], axis=1)
    lost: NDArray[np.bool_] = np.logical_not(np.any(live, axis=1))
    if lost.all():
        return np.zeros(len(c))
    first[lost] = last[lost] = 1
    v = first[:, None] + np.arange(int(np.max(last - first)) + 1)
    used = (v <= last[:, None]) & ~lost[:, None]
    v = np.minimum(v, last[:, None])
    star, beaten = np.take_along_axis(star, v, 1) * used, np.take_along_axis(beaten, v, 1)
    # A rival that cannot reach v (in floating point) is no rival there: it only adds to the free ones.
    able = int(np.max(np.count_nonzero(_reachable(rival, p) >= first[:, None], axis=1)))
    if not able:  # no rival can win or tie: the chance is that of the counts themselves
        return np.asarray(np.sum(star * np.take_along_axis(rest, v, 1), axis=1) / total)
    rival, times = rival[:, :able], times[:, :able]
    if able > STRONG:
        pmf = np.concatenate((pmf, _pmf(rival[:, STRONG:, None], p, i)), axis=1)
    below = np.cumsum(pmf[:, :able], axis=-1)
    reach = 1.0 - np.take_along_axis(below, (v - 1)[:, None], 2)
    needed = (reach > NEGLIGIBLE) & (rival[..., None] >= v[:, None])  # [B, J, R]
    free = (n - c)[:, None] - np.sum((rival * times)[..., None] * needed, axis=1)
    degree = np.minimum(np.sum(times[..., None] * needed, axis=1), (k - v) // v)
    row, y, share = _rules(tuple(np.max(degree // 2 + 1, axis=0).tolist()))

    low, high = _bulk(n - int(c.min()), n - int(c.max()), p)
    length = max(high - int(np.min(k - last)), int(np.max(k - first)) - low, 0) + 1
    x = _roots(length + -length % 8)
    length = len(x)
    base = np.log((1.0 - p) + p * x[1 % length])
    frees, where = np.unique(free, return_inverse=True)
    weight = np.bincount(where.ravel(), weights=(star * beaten).ravel())
    bound = weight @ np.exp(np.minimum(np.outer(frees, base.real), 0.0))  # of the spectrum; it falls
    x = x[:, : max(int(np.count_nonzero(bound > NEGLIGIBLE * total)), 1)]
    powers = np.exp(frees[:, None] * base[: x.shape[1]])
    terms = powers[where.reshape(free.shape)] * (x[(v - k) % length] * star[..., None])  # [B, R, T]
    product = terms[:, row] * share[:, None]  # [B, Q, T]
    xv, xi = x[v % length], x[i % length]
    rows = np.max(np.sum(needed, axis=2), axis=0)  # [J], falls
    for j in range(int(np.count_nonzero(rows))):
        stop = int(rows[j])
        at = np.take_along_axis(pmf[:, j], v[:, :stop], 1)[..., None] * xv[:, :stop]
        under = np.empty_like(at)
        under[:, 0] = np.where(i < first[:, None], pmf[:, j], 0.0) @ xi
        if len(c) > 1:  # numpy's cumsum along a middle axis is slow
            for r in range(1, stop):
                np.add(under[:, r - 1], at[:, r - 1], out=under[:, r])
        else:
            np.cumsum(at[:, :-1], axis=1, out=under[:, 1:])
            under[:, 1:] += under[:, :1]
        idle = ~needed[:, j, :stop]
        under[idle], at[idle] = 1.0, 0.0
        cut = int(np.searchsorted(row, stop))
        product[:, :cut] *= _powers(under[:, row[:cut]] + y[:cut, None] * at[:, row[:cut]], times[:, j])
    spectrum = product.sum(axis=1)
    # Of a real sequence's transform the other half is the conjugate; length is even.
    twice = np.where(np.arange(x.shape[1]) % (length // 2) == 0, 1.0, 2.0)
    return np.asarray(spectrum.real @ twice / (length * total))


@lru_cache(maxsize=1024)
def _peak(n: int, k: int) -> float:
    return float(_pmf(n, k / n, np.array(k)))


def _all(below: Floats, times: Ints) -> Floats:
    """prod_j below[b, j, i] ** times[b, j]: [B, L]."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.exp(np.sum(np.log(below) * times[..., None], axis=1)))


def _reachable(n: Ints, p: float) -> Floats:
    """Bin(n, p) exceeds it with negligible probability (Bernstein); at most n."""
    third = LOG_NEGLIGIBLE / 3
    return np.asarray(np.minimum(n, n * p + third + np.sqrt(third**2 + 2 * LOG_NEGLIGIBLE * n * p * (1 - p))))


@lru_cache(maxsize=64)
def _gauss(count: int) -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    y, share = np.polynomial.legendre.leggauss(count)
    return (y + 1) / 2, share / 2


@lru_cache(maxsize=1024)
def _rules(nodes: tuple[int, ...]) -> tuple[Ints, Floats, Floats]:
    """(row, y, share), each [Q]: Gauss-Legendre on [0, 1] with nodes[r] nodes for row r, the rows in order."""
    y, share = zip(*map(_gauss, nodes), strict=True)
    return np.repeat(np.arange(len(nodes)), nodes), np.concatenate(y), np.concatenate(share)


def _powers(x: Complexes, times: Ints) -> Complexes:
    """x[b] ** times[b] (0 as 1) by squaring; numpy's complex power goes through logarithms."""
    if int(times.max()) < 2:
        return x
    for power in set(times[times > 1].tolist()):
        some = times == power
        result, square = np.ones_like(x[some]), x[some]
        while power:
            if power & 1:
                result = result * square
            square, power = square * square, power >> 1
        x[some] = result
    return x


def _bulk(most: int, least: int, p: float) -> tuple[int, int]:
    """Outside [low, high] every Bin(n, p), least <= n <= most, has less than NEGLIGIBLE of its mass on either side
    (Bernstein)."""
    third = LOG_NEGLIGIBLE / 3
    low, high = (third + np.sqrt(third**2 + 2 * LOG_NEGLIGIBLE * n * p * (1 - p)) for n in (least, most))
    return max(0, int(least * p - max(low, high))), min(most, int(most * p + high) + 1)


@lru_cache(maxsize=8)
def _log_factorials(size: int) -> NDArray[np.longdouble]:
    return np.concatenate(([np.longdouble(0)], np.cumsum(np.log(np.arange(1, size, dtype=np.longdouble)))))


def _pmf(n: Ints | int, p: float, i: Ints) -> Floats:
    """P(Bin(n, p) = i), 0 outside 0…n; n and i broadcast. Logarithms are added in extended precision: those of
    factorials are large and cancel."""
    logs = _log_factorials(1 << (int(np.max(n)) + 1).bit_length())
    share = np.longdouble(p)
    j = np.clip(i, 0, n)
    log = logs[n] - logs[j] - logs[n - j] + j * np.log(share) + (n - j) * np.log1p(-share)
    return np.where(i == j, np.exp(log.astype(np.float64)), 0.0)


@lru_cache(maxsize=256)
def _roots(length: int) -> Complexes:
    """x_w^i for i = 0…length-1 and the first half of the roots of unity: [length, length//2+1]."""
    power = np.outer(np.arange(length), np.arange(length // 2 + 1)) % length
    return np.asarray(np.exp(2j * np.pi * power / length))
