"""Recorded draws as arrays, and what an estimator returns for them.

A leaf of measure/: it knows problems, samples, answer classes, verdicts, scores and how subsets are counted, and
no estimator.
Shapes: P problems, S samples over all problems, A answer classes over all problems, K values of k.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Entries = ArrayLike | Sequence[object]
"""One problem's entries: an array, or a list in which None stands for what is missing."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UNSCORED = -np.inf
"""The score of a chain that its scorer could not rate (None in a sample row): sorted last, no weight."""


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """The recorded samples of P problems, flat. Build it with `Draws.of`, which checks it.

    starts [P+1]: problem i owns the samples starts[i]:starts[i+1]. label [S]: the row of its class in the class
    table, -1 where the chain abstains (no answer). correct [S]: 1, 0, or -1 for unverified. scores [S] or None;
    UNSCORED where the scorer gave none. keys: the problems' names; they seed what is random, so results do not
    depend on the order of problems.

    The class table, sorted by problem: owner [A] problem; size [A] members; verdict [A] 1, 0, or -1 if no member
    was verified. An unverified member changes nothing: equal answers have equal verdicts, so the class has the
    verdict of its verified members.
    """

    starts: Ints
    label: Ints
    correct: NDArray[np.int8]
    scores: Floats | None
    keys: tuple[str, ...]
    owner: Ints
    size: Ints
    verdict: NDArray[np.int8]

    @classmethod
    def of(
        cls,
        classes: Sequence[Entries],
        correct: Sequence[Entries],
        scores: Sequence[Entries] | None = None,
        keys: Iterable[str] | None = None,
    ) -> Draws:
        """From one sequence a problem: class ids (>= 0; -1 or None abstains), correctness (True, False, None),
        and scores (finite or None).

        Raises ValueError on different lengths, a class id below -1, a NaN or infinite score, and a class that holds
        both correct and wrong samples of one problem (keep such answers apart before calling)."""
        names = tuple(keys) if keys is not None else tuple(str(i) for i in range(len(classes)))
        if not len(classes) == len(correct) == len(names) or (scores is not None and len(scores) != len(classes)):
            raise ValueError("classes, correct, scores and keys must have one entry a problem")
        if len(set(names)) != len(names):
            raise ValueError("a problem's key occurs twice; merge its samples first")
        (ids, lengths), (truth, verdicts) = _flat(classes, -1, np.int64), _flat(correct, -1, np.int8)
        rated, ratings = _flat(scores, UNSCORED, np.float64) if scores is not None else (None, lengths)
        for name, sizes in (("correct", verdicts), ("scores", ratings)):
            if not np.array_equal(sizes, lengths):
                raise ValueError(f"{name} and classes have different numbers of samples in some problem")
        if ids.size and ids.min() < -1:
            raise ValueError("a class id is below -1; -1 means that the chain abstains")
        if rated is not None and not np.all(np.isfinite(rated) | (rated == UNSCORED)):
            raise ValueError("a score is NaN or infinite; give None where the scorer could not rate a chain")
        starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        label, owner, size, verdict = _table(np.repeat(np.arange(len(lengths)), lengths), ids, truth, names)
        return cls(starts, label, truth, rated, names, owner, size, verdict)

    @property
    def problems(self) -> int:
        return len(self.keys)

    @property
    def n(self) -> Ints:
        """Samples of each problem, unverified ones included: [P]."""
        return np.diff(self.starts)

    @property
    def problem(self) -> Ints:
        """The problem of each sample: [S]."""
        return np.repeat(np.arange(self.problems), self.n)

    @property
    def verified(self) -> Ints:
        """Samples of each problem with a verdict: [P]."""
        return self._count(self.correct >= 0)

    @property
    def successes(self) -> Ints:
        """Correct samples of each problem: [P]."""
        return self._count(self.correct == 1)

    @property
    def unverified(self) -> Ints:
        """Samples of each problem that the instrument failed to verify: [P]. Report it beside every accuracy."""
        return self._count(self.correct < 0)

    @property
    def abstentions(self) -> Ints:
        """Samples of each problem without an answer: [P]."""
        return self._count(self.label < 0)

    def as_wrong(self) -> Draws:
        """The other way of reporting: every unverified sample counts as wrong, unless its answer's class is known
        to be correct. With it pass@k keeps all n samples."""
        known = np.where(self.label >= 0, self.verdict[self.label], -1) if self.owner.size else self.correct
        settled = np.where(self.correct >= 0, self.correct, np.maximum(known, 0)).astype(np.int8)
        return dataclasses.replace(self, correct=settled, verdict=np.maximum(self.verdict, 0).astype(np.int8))

    def with_scores(self, scores: Entries) -> Draws:
        """The same draws under another scorer; scores [S], None or UNSCORED where there is none."""
        rated, _ = _flat([scores], UNSCORED, np.float64)
        if rated.shape != self.label.shape or not np.all(np.isfinite(rated) | (rated == UNSCORED)):
            raise ValueError("scores must be one finite number (or None) a sample")
        return dataclasses.replace(self, scores=rated)

    def rows(self) -> Iterable[slice]:
        """The samples of each problem, in order."""
        return (slice(a, b) for a, b in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True))

    def _count(self, mask: NDArray[np.bool_]) -> Ints:
        total = np.concatenate(([0], np.cumsum(mask)))
        return np.asarray(total[self.starts[1:]] - total[self.starts[:-1]], dtype=np.int64)


def _flat(parts: Sequence[Entries], missing: float, dtype: type) -> tuple[NDArray[Any], Ints]:
    """All problems' entries in one array, and how many each has; None becomes `missing`."""
    arrays: list[NDArray[Any]] = []
    for part in parts:
        array = np.atleast_1d(np.asarray(part))
        if array.dtype == object:
            array = np.array([missing if x is None else x for x in array])
        arrays.append(array.astype(dtype))
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)
    return np.concatenate(arrays) if arrays else np.empty(0, dtype), lengths


def _table(
    problem: Ints, ids: Ints, truth: NDArray[np.int8], names: tuple[str, ...]
) -> tuple[Ints, Ints, Ints, NDArray[np.int8]]:
    """label [S] and the class table (owner, size, verdict), each [A]."""
    answered = ids >= 0
    stride = int(ids.max(initial=0)) + 1
    pairs, inverse, size = np.unique(
        problem[answered] * stride + ids[answered], return_inverse=True, return_counts=True
    )
    label = np.full(len(ids), -1, dtype=np.int64)
    label[answered] = inverse
    right = np.bincount(inverse, weights=truth[answered] == 1, minlength=len(pairs)) > 0
    wrong = np.bincount(inverse, weights=truth[answered] == 0, minlength=len(pairs)) > 0
    if np.any(right & wrong):
        key = int(pairs[np.flatnonzero(right & wrong)[0]])
        raise ValueError(
            f"problem {names[key // stride]!r}: answer class {key % stride} holds both correct and wrong samples; "
            "keep answers that disagree in classes of their own"
        )
    verdict = np.where(right, 1, np.where(wrong, 0, -1)).astype(np.int8)
    return label, pairs // stride, size.astype(np.int64), verdict


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Per-problem values of one estimator. values [P, K]: NaN where the problem has fewer than k samples.

    nothing [P, K] or None: the probability that no answer wins (all k abstain, or carry no weight); such draws
    count as wrong in `values`. stderr [P, K] or None: the standard error of values that come from sampled subsets
    (0 where exact).
    """

    ks: tuple[int, ...]
    values: Floats
    nothing: Floats | None = None
    stderr: Floats | None = None

    @property
    def problems(self) -> Ints:
        """How many problems have a value at each k: [K]."""
        return np.asarray(np.sum(~np.isnan(self.values), axis=0), dtype=np.int64)

    @property
    def mean(self) -> Floats:
        """The mean over the problems that have a value: [K]; NaN where none has."""
        return _column_mean(self.values)

    @property
    def mean_stderr(self) -> Floats:
        """Of `mean`, from sampling subsets alone (problems are seeded independently): [K]; 0 where exact."""
        if self.stderr is None:
            return np.zeros(len(self.ks))
        return np.asarray(np.sqrt(np.nansum(self.stderr**2, axis=0)) / np.maximum(self.problems, 1))


def _column_mean(values: Floats) -> Floats:
    count = np.sum(~np.isnan(values), axis=0)
    total = np.nansum(values, axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def doublings(n: int) -> tuple[int, ...]:
    """1, 2, 4, … below n, and n itself. Raises ValueError if n < 1."""
    if n < 1:
        raise ValueError(f"a curve needs at least one sample, not {n}")
    return (*(1 << i for i in range((n - 1).bit_length())), n) if n > 1 else (1,)


def checked(ks: Iterable[int]) -> tuple[int, ...]:
    """ks as a tuple; raises ValueError unless all are integers >= 1."""
    found = tuple(int(k) for k in ks)
    if not found or min(found) < 1:
        raise ValueError(f"k must be at least 1, not {list(found)}")
    return found


@lru_cache(maxsize=64)
def miss_table(n: int, ks: tuple[int, ...]) -> Floats:
    """C(n-c, k) / C(n, k) for c = 0…n: [n+1, K]; NaN where k > n.

    The product over i < c of (n-k-i)/(n-i), as a recursion in c: each factor is exact to an ulp, so the relative
    error is at most about c ulps, where log-gamma loses thousands (ln 1024! is 6,078)."""
    k = np.array(ks, dtype=np.float64)
    i = np.arange(n, dtype=np.float64)[:, None]
    factors = np.maximum(n - k - i, 0.0) / (n - i)
    table = np.concatenate((np.ones((1, len(ks))), np.cumprod(factors, axis=0)))
    table[:, k > n] = np.nan
    table.flags.writeable = False
    return table


def misses(n: ArrayLike, c: ArrayLike, ks: Iterable[int]) -> Floats:
    """The probability that none of k drawn without replacement is among the c: C(n-c, k) / C(n, k).

    n, c [P], 0 <= c <= n; [P, K], NaN where n < k. Raises ValueError on impossible counts."""
    total, hits = np.broadcast_arrays(np.asarray(n, dtype=np.int64), np.asarray(c, dtype=np.int64))
    wanted = checked(ks)
    if np.any(hits < 0) or np.any(hits > total):
        raise ValueError("counts must satisfy 0 <= c <= n")
    out = np.empty((*total.shape, len(wanted)))
    for size in np.unique(total).tolist():
        rows = total == size
        out[rows] = miss_table(size, wanted)[hits[rows]]
    return out
