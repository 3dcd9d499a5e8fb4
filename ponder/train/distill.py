"""Distillation: the model learns to write at once what a search found (expert iteration; STaR, arXiv 2203.14465;
ReST-EM, arXiv 2312.06585).

    verdict    chains that the verifier accepted
    score      each problem's chains of the best score, of the problems whose best is highest; no reference is needed
    random     any chains: the control, which says what mere training on own chains does

Equal chains of a problem count once. What is left is learned by `sft`, from the model as it is given: give it the base,
not the student of the round before, so that errors do not add up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ponder.draws import generator
from ponder.errors import UsageError, unknown
from ponder.train import sft
from ponder.train.batches import Example
from ponder.train.trainer import Optimiser, Progress

By = Literal["verdict", "score", "random"]


@dataclass(frozen=True, slots=True)
class Found:
    """A finished chain that a search wrote, and what is known of it. `ids`: the completion's, with its end token.
    `correct` None: unverified. `score`: of any scorer, higher is better."""

    problem: str
    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    correct: bool | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """`by`: what decides; of it, at most `each` chains a problem, at most the `share` of those that stands highest, and
    at most `most` in all (0: no limit; give a control the number of what it is compared with). The rest as in
    `sft`."""

    by: By = "verdict"
    each: int = 4
    share: float = 1.0
    most: int = 0
    steps: int = 400
    batch: int = 32
    tokens: int = 65536
    seed: int = 0
    every: int = 100
    optimiser: Optimiser = field(default_factory=lambda: Optimiser(lr=1e-3, warmup=20, final=0.1))

    def check(self) -> None:
        """Raises UsageError naming the field."""
        if self.by not in get_args(By):
            raise unknown("by", self.by, get_args(By), "distill: ")
        if not 0 < self.share <= 1:
            raise UsageError(f"distill: share = {self.share}: above 0, and at most 1")
        if self.most < 0:
            raise UsageError(f"distill: most = {self.most}: a number of chains, 0 for no limit")
        for name in ("each", "steps", "batch", "tokens", "every"):
            if getattr(self, name) < 1:
                raise UsageError(f"distill: {name} = {getattr(self, name)}: must be at least 1")

    @property
    def sft(self) -> sft.Config:
        return sft.Config(self.steps, self.batch, self.tokens, self.seed, self.every, self.optimiser)


def choose(
    rows: Iterable[Found], by: By, *, each: int = 4, share: float = 1.0, most: int = 0, seed: int = 0
) -> list[Found]:
    """The chains to learn from, in the order of their problems. A function of the set of rows: their order has no say,
    and chance, which also breaks ties, is a function of (seed, problem).

    'verdict' takes correct chains, 'score' those that have a score. An empty completion is never taken; leave out
    those that ran into a cap, for their end is not one."""
    problems: dict[str, dict[tuple[int, ...], Found]] = {}
    for row in rows:
        if row.ids and (row.correct is True or by != "verdict") and (row.score is not None or by != "score"):
            own = problems.setdefault(row.problem, {})
            if row.ids not in own or (row.score or 0.0) > (own[row.ids].score or 0.0):
                own[row.ids] = row
    taken: list[tuple[float, float, Found]] = []  # (-score, chance, chain)
    for problem in sorted(problems):
        chance = generator(seed, "distill", problem)
        ranked = []
        for _, row in sorted(problems[problem].items()):
            worth = (row.score or 0.0) if by == "score" else 0.0
            ranked.append((-worth, chance.random(), row))
        taken += sorted(ranked, key=lambda item: item[:2])[:each]
    count = math.ceil(share * len(taken))
    kept = sorted(taken, key=lambda item: item[:2])[: min(count, most) if most else count]
    return sorted((row for _, _, row in kept), key=lambda row: (row.problem, row.ids))


def train(
    config: Config,
    model: Any,
    rows: Sequence[Found],
    folder: Path | None = None,
    progress: Progress | None = None,
) -> list[Found]:
    """Chooses, trains `model` in place on what was chosen and returns that; goes on from `folder` if it holds a
    checkpoint. Raises UsageError for a bad configuration, ValueError if nothing is chosen."""
    config.check()
    chosen = choose(
        rows, config.by, each=config.each, share=config.share, most=config.most, seed=config.seed
    )  # fmt: skip
    if not chosen:
        raise ValueError(f"no chain to learn from: {len(rows)} were found, none of them fits by = {config.by!r}")
    sft.train(config.sft, model, [Example.after(row.prompt_ids, row.ids) for row in chosen], folder, progress)
    return chosen
