"""Phases that try the policies: what is settled on training problems, and the 2×2 with its controls on test ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ponder.journal import dumps
from ponder.loop.recipe import Recipe
from ponder.loop.rounds import Run, rounds
from ponder.loop.searches import sizes
from ponder.loop.tastes import rated
from ponder.scorers import SCORERS
from ponder.scorers.base import Seen
from ponder.select import SELECTORS, Select, tie
from ponder.tasks.countdown import Countdown
from ponder.train.once import done
from ponder.train.rollouts import Group
from ponder.types import Rating
from ponder.whole import write_whole

OFF = ("vote", "best/confidence")
"""The rules without the reward model, one of which is settled on training problems."""


class Arms:
    """What each rule, such as 'vote' or 'best/confidence', picks of a policy's chains for a problem."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._selectors: dict[str, Select] = {}

    def pick(self, task: Countdown, group: Group, name: str, ratings: dict[str, Sequence[Rating]]) -> int | None:
        """The index of the chain that stands for the answer, None if all abstain."""
        select, _, scored = name.partition("/")
        if select not in self._selectors:
            self._selectors[select] = SELECTORS.build(select)
        classes = task.rules(group.problem.id).classes([chain.answer for chain in group.chains])
        chosen = self._selectors[select](
            group.chains, ratings[scored] if scored else None, classes, tie(self._seed, group.problem.id)
        )
        return None if chosen.chain is None else group.chains.index(chosen.chain)


def settle(run: Run, folder: Path) -> dict[str, Any]:
    """The mean accuracy of each rule without the reward model over both policies, on training problems that no training
    has seen, and there the sizes at which searches cost the same."""
    task, _, held = run.training()
    confidence = SCORERS.build("confidence")
    arms = Arms(run.recipe.seed)
    policies = ("base", run.last.steered)
    right = {name: dict.fromkeys(policies, 0) for name in OFF}
    tokens = 0
    for policy in policies:
        for group in run.sampled("settle", run.engine(policy), task, held, run.recipe.measure.samples):
            tokens += group.tokens
            ratings = {"confidence": confidence.rate(Seen(group.problem, run.recipe.seed), group.chains)}
            for name in OFF:
                index = arms.pick(task, group, name, ratings)
                right[name][policy] += index is not None and group.verdicts[index].correct is True
    shares = {name: {policy: n / len(held) for policy, n in own.items()} for name, own in right.items()}
    best = max(OFF, key=lambda name: sum(right[name].values()))
    return {"off": best, "problems": len(held), "accuracy": shares, "tokens": tokens, "sizes": sizes(run, policies)}


def measure(run: Run, folder: Path) -> dict[str, Any]:
    """Chains of each policy for each test problem, and what each arm picks: rows.jsonl."""
    recipe = run.recipe
    settled = done(run.path("settle"))
    assert settled is not None
    task = run.task("test")
    problems = list(task.problems(recipe.task.test_problems))
    others = {name: SCORERS.build(name) for name in ("confidence", "random")}
    arms = Arms(recipe.seed)
    rows: list[dict[str, Any]] = []
    for policy, own in measured(recipe, settled["off"]).items():
        groups = list(run.sampled("measure", run.engine(policy), task, problems, recipe.measure.samples))
        drawn = [chain for group in groups for chain in group.chains]
        asked = any(name.endswith("/guide") for name in own.values())
        ratings = rated(run, run.last, drawn) if asked else [Rating(None)] * len(drawn)
        for group in groups:
            part, ratings = ratings[: len(group.chains)], ratings[len(group.chains) :]
            seen = Seen(group.problem, recipe.seed)
            scores = {"guide": part} | {name: list(other.rate(seen, group.chains)) for name, other in others.items()}
            picks = {arm: arms.pick(task, group, name, scores) for arm, name in own.items()}
            rows += _rows(task, group, policy, scores, picks, recipe.seed)
    write_whole(folder / "rows.jsonl", "".join(dumps(row) + "\n" for row in rows))
    return {key: sum(row[key] for row in rows) for key in ("tokens", "scorer_tokens")} | {"rows": len(rows)}


def measured(recipe: Recipe, off: str) -> dict[str, dict[str, str]]:
    """{policy: {arm: rule}}: the 2×2, its controls, and the other policies of the rounds, whose chains alone matter."""
    on, last = f"{recipe.measure.on}/guide", rounds(recipe)[-1]
    found: dict[str, dict[str, str]] = {}
    for key, policy in (("off", "base"), ("on", last.steered)):
        found[policy] = {f"steer_{key}_prune_off": off, f"steer_{key}_prune_on": on}
        if "random" in recipe.controls:
            found[policy][f"steer_{key}_prune_random"] = f"{recipe.measure.on}/random"
    for turn in rounds(recipe):
        for name in (turn.steered, turn.student, turn.random):
            if name not in found:
                found[name] = {f"{name}_prune_off": off}
    for control in (c for c in recipe.controls if c != "random"):
        found[control] = {f"steer_{control}_prune_off": off}
    return found


def _rows(
    task: Countdown,
    group: Group,
    policy: str,
    ratings: dict[str, Sequence[Rating]],
    picks: dict[str, int | None],
    seed: int,
) -> Iterator[dict[str, Any]]:
    """The sample rows of one policy's chains for a problem."""
    problem = group.problem.id
    reference = task.reference(problem.partition(":")[2])
    for i, (chain, verdict) in enumerate(zip(group.chains, group.verdicts, strict=True)):
        texts = task.rules(problem).steps(chain.reply)
        checked: Sequence[bool | None] = task.valid_steps(problem, chain.reply) or ()
        valid = checked if len(checked) == len(texts) else (None,) * len(texts)
        found = ratings["guide"][i].steps
        scores = found if len(found) == len(texts) else (None,) * len(texts)
        yield {
            "problem": problem,
            "policy": policy,
            "numbers": reference["numbers"],
            "target": reference["target"],
            "text": chain.text,
            "answer": chain.answer,
            "correct": verdict.correct,
            "reason": verdict.reason,
            "finish": chain.finish,
            "ids": [token for segment in chain.segments for token in segment.ids or ()],
            "tokens": chain.tokens,
            "scorer_tokens": ratings["guide"][i].tokens,
            "score": ratings["guide"][i].value,
            "scores": {name: own[i].value for name, own in ratings.items()},
            "steps": [
                {"text": t, "valid": v, "score": s} for t, v, s in zip(texts, valid, scores, strict=True)
            ],
            "seed": seed,
            "arms": list(picks),
            "picked": [arm for arm, index in picks.items() if index == i],
        }  # fmt: skip
