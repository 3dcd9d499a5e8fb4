"""Chains of a policy on training problems, kept on the disk: reward models, values and students learn from the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ponder.engines.hf.text import Texts
from ponder.errors import UsageError
from ponder.tasks.base import Rules
from ponder.train.rollouts import Group
from ponder.types import Chain, Finish, Problem, Segment
from ponder.whole import whole_file

UNVERIFIED = -1


@dataclass(frozen=True, slots=True)
class Kept:
    """One chain. `logprobs`: of its tokens under the policy that drew it, at temperature 1. `correct` None:
    unverified."""

    problem: Problem
    sample: int
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    correct: bool | None
    finish: Finish

    def chain(self, texts: Texts, policy: str, rules: Rules | None = None) -> Chain:
        """`rules` tell where it stood before its last step."""
        root = self.problem.root
        text = texts.written(texts.ids(root), self.ids)
        segments = (Segment(text, ids=self.ids, logprobs=self.logprobs),)
        state = rules.stood(self.problem.text, text) if rules else None
        key, size = f"e{self.sample}", len(self.ids)
        return Chain(root.problem, key, root.prompt, segments, self.finish, tokens=size, policy=policy, state=state)


def save(path: Path, groups: Iterable[Group]) -> dict[str, Any]:
    """Writes the chains of each problem, and says how many there are and what they cost."""
    rows = [
        (group.problem.id, sample, chain, verdict.correct)
        for group in groups
        for sample, (chain, verdict) in enumerate(zip(group.chains, group.verdicts, strict=True))
        if chain.drawn
    ]
    ids = [[token for segment in chain.segments for token in segment.ids or ()] for _, _, chain, _ in rows]
    with whole_file(path) as part, part.open("wb") as file:
        np.savez(
            file,
            problem=np.array([problem for problem, *_ in rows]),
            sample=np.array([sample for _, sample, *_ in rows], dtype=np.int32),
            finish=np.array([chain.finish for _, _, chain, _ in rows]),
            correct=np.array([UNVERIFIED if c is None else int(c) for *_, c in rows], dtype=np.int8),
            length=np.array([len(own) for own in ids], dtype=np.int32),
            ids=np.array([token for own in ids for token in own], dtype=np.int32),
            logprobs=np.array([value for _, _, chain, _ in rows for value in chain.logprobs or ()], dtype=np.float32),
        )
    return {
        "chains": len(rows),
        "tokens": int(sum(map(len, ids))),
        "right": sum(correct is True for *_, correct in rows) / max(1, len(rows)),
    }


def read(path: Path, problems: Sequence[Problem]) -> Iterator[Kept]:
    """The chains of those of `problems` that the file holds, in its order. Raises UsageError for a damaged file."""
    known = {problem.id: problem for problem in problems}
    try:
        with np.load(path, allow_pickle=False) as found:
            kept = {name: found[name].tolist() for name in found.files}
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); start the run anew") from None
    at = 0
    columns = (kept[name] for name in ("problem", "sample", "finish", "correct", "length"))
    for problem, sample, finish, correct, length in zip(*columns, strict=True):
        start, at = at, at + length
        if problem in known:
            ids, logprobs = (tuple(kept[name][start:at]) for name in ("ids", "logprobs"))
            told = None if correct == UNVERIFIED else bool(correct)
            yield Kept(known[problem], sample, ids, logprobs, told, finish)
