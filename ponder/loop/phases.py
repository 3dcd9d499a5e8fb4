"""The phases of the loop. Each works in a folder of its own and writes `done.json` last, and is done once.

    base       supervised: random correct walks on training problems                     → checkpoints/base
    steer      reinforcement learning of a copy of the base on verdicts                  → checkpoints/steered
    prune      chains of both policies on training problems, an implicit reward model    → checkpoints/prm
    settle     held-out training problems: what the best rule without the reward model is
    measure    test problems: rows for each chain of each policy, with what every arm picked

A killed phase goes on from its last checkpoint of training; sampling is done again, and gives the same, since chance is
a function of names. Everything that a phase reads of another it reads from the disk, so where a run was interrupted
changes nothing.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ponder.draws import generator
from ponder.engines.hf import loading
from ponder.engines.hf.engine import HFEngine
from ponder.engines.hf.text import Texts
from ponder.errors import PonderError
from ponder.folder import Folder
from ponder.journal import dumps
from ponder.loop.recipe import Recipe
from ponder.models import tiny
from ponder.scorers import SCORERS
from ponder.scorers import checkpoint as scorer
from ponder.scorers.base import Seen
from ponder.scorers.checkpoint import Checkpoint, Sheet
from ponder.scorers.trained import Steps
from ponder.select import SELECTORS, Select, tie
from ponder.tasks.countdown import Countdown, solution
from ponder.train import prune as pruning
from ponder.train import sft
from ponder.train import steer as steering
from ponder.train.batches import Example
from ponder.train.prune import Judged
from ponder.train.rollouts import Group, groups
from ponder.types import Problem, Rating, Sampling
from ponder.whole import write_whole

Watch = Callable[[str, int, int, dict[str, float]], None]
"""Told (phase, step, steps, figures) as a phase goes on, and once, with step = steps, of a phase that is done."""

OFF = ("vote", "best/confidence")
"""The rules without the reward model, one of which is settled on training problems."""
BATCH = 512  # problems sampled at once
POLICIES = {"off": "base", "on": "steered"}


@dataclass(frozen=True, slots=True)
class Run:
    """What the phases share."""

    recipe: Recipe
    folder: Folder
    watch: Watch

    def path(self, phase: str) -> Path:
        return self.folder.path / phase

    def checkpoint(self, name: str) -> Path:
        return self.folder.path / "checkpoints" / name

    def task(self, split: str) -> Countdown:
        return self.recipe.task.task(split, self.recipe.seed)

    def training(self) -> tuple[Countdown, list[Problem], list[Problem]]:
        """The task, the problems that training sees, and those held out from it."""
        task, held = self.task("train"), self.recipe.task.held_out
        own = list(task.problems(self.recipe.task.train_problems + held))
        generator(self.recipe.seed, "held out").shuffle(own)  # they come easiest first
        return task, own[held:], own[:held]

    def engine(self, name: str) -> HFEngine:
        loaded = loading.load(
            str(self.checkpoint(name)), dtype="float32", shorter="float32", device=torch.device("cpu"), revision=""
        )
        return HFEngine(loaded, Sampling(temperature=1.0, max_tokens=self.recipe.measure.max_tokens), name=name)

    def told(self, phase: str) -> Callable[[int, int, dict[str, float]], None]:
        return lambda step, steps, figures: self.watch(phase, step, steps, figures)

    def sampled(
        self, phase: str, engine: HFEngine, task: Countdown, problems: Sequence[Problem], size: int
    ) -> Iterator[Group]:
        """Chains of a policy, some problems at a time."""
        cap, seed = self.recipe.measure.max_tokens, self.recipe.seed
        for start in range(0, len(problems), BATCH):
            part = problems[start : start + BATCH]
            yield from groups(engine, task, part, size, cap=cap, seed=seed, label=f"{phase}/{engine.name}")
            self.watch(f"{phase}: sampling {engine.name}", min(start + BATCH, len(problems)), len(problems), {})


Phase = Callable[[Run, Path], dict[str, Any]]


def phases(recipe: Recipe) -> dict[str, Phase]:
    """In order, by name."""
    found: dict[str, Phase] = {"base": base, "steer": lambda run, folder: steer(run, folder, "steered", run.recipe)}
    for control in (c for c in recipe.controls if c != "random"):
        found[f"steer-{control}"] = _control(control)
    return found | {"prune": prune, "settle": settle, "measure": measure}


def done(run: Run, name: str) -> dict[str, Any] | None:
    """What a finished phase found; None if it is not finished."""
    path = run.path(name) / "done.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def perform(run: Run, name: str, phase: Phase) -> dict[str, Any]:
    """Does a phase, unless it is done already. `seconds` counts the attempt that finished it."""
    found = done(run, name)
    if found is None:
        began = time.perf_counter()
        folder = run.path(name)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            found = phase(run, folder)
        except FloatingPointError as error:
            raise PonderError(f"{name}: {error}; lower its learning rate (optimiser.lr), or check the engine") from None
        found["seconds"] = time.perf_counter() - began
        write_whole(folder / "done.json", json.dumps(found, indent=1) + "\n")
    run.watch(name, 1, 1, {k: v for k, v in found.items() if isinstance(v, (int, float))} | {"done": 1})
    return found


# --- the policies -------------------------------------------------------------------------------------------------


def base(run: Run, folder: Path) -> dict[str, Any]:
    recipe = run.recipe
    sizes = asdict(recipe.model)
    tokenizer = tiny.word_tokenizer(tiny.arithmetic_words(sizes.pop("words")))
    model = tiny.tiny_llama(tokenizer, seed=recipe.seed, **sizes)
    _, problems, _ = run.training()
    shown = list(_demonstrations(recipe, tokenizer, problems))
    sft.train(recipe.base.config, model, shown, folder, run.told("base"))
    _anew(run.checkpoint("base"))
    tiny.save(run.checkpoint("base"), model, tokenizer)
    losses = [row["loss"] for row in metrics(folder)]
    tokens = sum(row["tokens"] for row in metrics(folder))
    return {"tokens": tokens, "loss": losses[-1], "demonstrations": len(shown), "parameters": tiny.parameters(model)}


def _demonstrations(recipe: Recipe, tokenizer: Any, problems: Sequence[Problem]) -> Iterator[Example]:
    """Random correct walks, as the model is to write them."""
    end = tokenizer.eos_token_id
    for problem in problems:
        target, _, given = problem.text.partition(":")
        numbers = [int(word) for word in given.replace(";", "").split()]
        draw = generator(recipe.seed, "demonstrations", problem.id)
        for _ in range(recipe.base.demonstrations):
            if (walk := solution(numbers, int(target), draw, recipe.task.most)) is not None:
                yield Example.after(tokenizer(problem.text)["input_ids"], [*tokenizer(walk)["input_ids"], end])


def steer(run: Run, folder: Path, name: str, recipe: Recipe) -> dict[str, Any]:
    engine = run.engine("base")
    task, problems, _ = run.training()
    start = run.engine("base").model if recipe.steer.config.kl else None
    steering.train(recipe.steer.config, engine, task, problems, folder, run.told(folder.name), start)
    _anew(run.checkpoint(name))
    tiny.save(run.checkpoint(name), engine.model, engine.tokenizer)
    rows = metrics(folder)
    last = rows[-max(1, len(rows) // 8) :]
    means = {key: sum(row[key] for row in last) / len(last) for key in ("reward", "dropped", "truncated")}
    return means | {"reward_first": rows[0]["reward"], "tokens": sum(row["tokens"] for row in rows)}


def _control(name: str) -> Phase:
    """Steering with what makes it work taken out."""

    def phase(run: Run, folder: Path) -> dict[str, Any]:
        config = run.recipe.steer.config
        if name == "zero":
            config = replace(config, optimiser=replace(config.optimiser, lr=0.0))
        else:
            config = replace(config, shuffled=True)
        return steer(run, folder, name, replace(run.recipe, steer=replace(run.recipe.steer, config=config)))

    return phase


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The figures of each step of a phase that trained; none if it did not."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _anew(path: Path) -> None:
    """Makes room for a checkpoint that a killed phase may have left."""
    if path.exists():
        shutil.rmtree(path)


# --- the reward model ---------------------------------------------------------------------------------------------


def prune(run: Run, folder: Path) -> dict[str, Any]:
    own = run.recipe.prune
    task, problems, held = run.training()
    first, second = run.engine("base"), run.engine("steered")
    steps = Steps(Texts.of(first.tokenizer, first.model), task.rules(held[0].id).delimiter)
    shares = [(first, problems[-own.problems :]), (second, problems[: own.steered])]
    data = [
        item
        for engine, asked in shares
        for group in run.sampled("prune", engine, task, asked, own.samples)
        for item in _judged(engine, group, steps)
    ]
    held_out = [
        item
        for engine in (first, second)
        for group in run.sampled("held", engine, task, held, run.recipe.measure.samples)
        for item in _judged(engine, group, steps)
    ]
    try:
        found = pruning.train(own.config, first.model, data, held_out, folder, run.told("prune"))
    except ValueError as error:  # the chains hold nothing to learn from
        raise PonderError(f"prune: {error}; {len(data)} chains were sampled: train the base for longer") from None
    _anew(run.checkpoint("prm"))
    about = {"chains": len(data), "held_out": len(held_out), "step": found.best.step, "auroc": found.best.auroc}
    sheet = Sheet("implicit", delimiter=task.rules(held[0].id).delimiter, beta=own.config.beta, trained_on=about)
    scorer.save(run.checkpoint("prm"), Checkpoint(sheet, found.model, first.tokenizer, first.model))
    return about | {
        "by_step": [None if math.isnan(value) else value for value in found.best.by_step],
        "tokens": sum(len(item.completion) for item in (*data, *held_out)),
    }


def _judged(engine: HFEngine, group: Group, steps: Steps) -> Iterator[Judged]:
    """A group's chains with their outcomes. The base's own log-probs of what it drew are known already."""
    prompt = engine.ids(group.problem.root)
    for chain, reward in zip(group.chains, group.rewards, strict=True):
        item = Judged.of(prompt, chain, steps, reward)
        if engine.name == "base":
            item = replace(item, reference=chain.logprobs)
        # Base and steered chains of a held-out problem are compared within their own policy.
        yield replace(item, problem=f"{engine.name}/{item.problem}")


# --- arms ---------------------------------------------------------------------------------------------------------


def rule(name: str) -> tuple[str, str | None]:
    """(selector, scorer) of a rule such as 'vote' or 'best/confidence'."""
    select, _, scored = name.partition("/")
    return select, scored or None


class Arms:
    """What each rule picks of a policy's chains for a problem."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._selectors: dict[str, Select] = {}

    def pick(self, task: Countdown, group: Group, name: str, ratings: dict[str, Sequence[Rating]]) -> int | None:
        """The index of the chain that stands for the answer, None if all abstain."""
        select, scored = rule(name)
        if select not in self._selectors:
            self._selectors[select] = SELECTORS.build(select)
        classes = task.rules(group.problem.id).classes([chain.answer for chain in group.chains])
        chosen = self._selectors[select](
            group.chains, ratings[scored] if scored else None, classes, tie(self._seed, group.problem.id)
        )
        return None if chosen.chain is None else group.chains.index(chosen.chain)


def settle(run: Run, folder: Path) -> dict[str, Any]:
    """The mean accuracy of each rule over both policies, on training problems that no training has seen."""
    task, _, held = run.training()
    confidence = SCORERS.build("confidence")
    arms = Arms(run.recipe.seed)
    right = {name: dict.fromkeys(POLICIES.values(), 0) for name in OFF}
    tokens = 0
    for policy in POLICIES.values():
        for group in run.sampled("settle", run.engine(policy), task, held, run.recipe.measure.samples):
            tokens += group.tokens
            seen = Seen(group.problem, run.recipe.seed)
            ratings = {"confidence": confidence.rate(seen, group.chains)}
            for name in OFF:
                index = arms.pick(task, group, name, ratings)
                right[name][policy] += index is not None and group.verdicts[index].correct is True
    shares = {name: {policy: n / len(held) for policy, n in own.items()} for name, own in right.items()}
    best = max(OFF, key=lambda name: sum(right[name].values()))
    return {"off": best, "problems": len(held), "accuracy": shares, "tokens": tokens}


def measure(run: Run, folder: Path) -> dict[str, Any]:
    """Writes samples.jsonl."""
    recipe = run.recipe
    settled = done(run, "settle")
    assert settled is not None
    task = run.task("test")
    problems = list(task.problems(recipe.task.test_problems))
    prm = SCORERS.build("prm", settings={"path": str(run.checkpoint("prm")), "device": "cpu"})
    others = {name: SCORERS.build(name) for name in ("confidence", "random")}
    arms = Arms(recipe.seed)
    rows: dict[str, list[dict[str, Any]]] = {problem.id: [] for problem in problems}
    for policy, own in _measured(recipe, settled["off"]).items():
        prm.use(prm.checkpoint)  # forgets what it has read: no arm reads at the cost of another
        for group in run.sampled("measure", run.engine(policy), task, problems, recipe.measure.samples):
            seen = Seen(group.problem, recipe.seed)
            before = prm.tokens
            ratings: dict[str, Sequence[Rating]] = {"prm": prm.rate(seen, group.chains)}
            spent = prm.tokens - before
            ratings |= {name: other.rate(seen, group.chains) for name, other in others.items()}
            picks = {arm: arms.pick(task, group, name, ratings) for arm, name in own.items()}
            found = rows[group.problem.id]
            found += _rows(task, group, policy, ratings, picks, len(found), spent, recipe.seed)
    ordered = [row for problem in sorted(rows) for row in rows[problem]]
    write_whole(run.folder.samples, "".join(dumps(row) + "\n" for row in ordered))
    return {
        "rows": len(ordered),
        "tokens": sum(row["tokens"] for row in ordered),
        "scorer_tokens": sum(row["scorer_tokens"] for row in ordered),
    }


def _measured(recipe: Recipe, off: str) -> dict[str, dict[str, str]]:
    """{policy: {arm: rule}}: the 2×2 and its controls."""
    on = recipe.measure.on
    found = {}
    for key, policy in POLICIES.items():
        found[policy] = {f"steer_{key}_prune_off": off, f"steer_{key}_prune_on": f"{on}/prm"}
        if "random" in recipe.controls:
            found[policy][f"steer_{key}_prune_random"] = f"{on}/random"
    for control in (c for c in recipe.controls if c != "random"):
        found[control] = {f"steer_{control}_prune_off": off}
    return found


def _rows(
    task: Countdown,
    group: Group,
    policy: str,
    ratings: dict[str, Sequence[Rating]],
    picks: dict[str, int | None],
    first: int,
    spent: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """The sample rows of one policy's chains for a problem. The scorer's tokens, shared prompts once, are spread evenly
    over the chains."""
    problem = group.problem.id
    reference = task.reference(problem.partition(":")[2])
    each, rest = divmod(spent, len(group.chains))
    for i, (chain, verdict) in enumerate(zip(group.chains, group.verdicts, strict=True)):
        texts = task.rules(problem).steps(chain.reply)
        checked: Sequence[bool | None] = task.valid_steps(problem, chain.reply) or ()
        valid = checked if len(checked) == len(texts) else (None,) * len(texts)
        found = ratings["prm"][i].steps
        scores = found if len(found) == len(texts) else (None,) * len(texts)
        yield {
            "problem": problem,
            "sample": first + i,
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
            "scorer_tokens": each + (i < rest),
            "score": ratings["prm"][i].value,
            "scores": {name: own[i].value for name, own in ratings.items()},
            "steps": [
                {"text": t, "valid": v, "score": s} for t, v, s in zip(texts, valid, scores, strict=True)
            ],
            "seed": seed,
            "arms": list(picks),
            "picked": [arm for arm, index in picks.items() if index == i],
        }  # fmt: skip
