"""Phases that learn what a good chain is: the chains of both policies, a reward model of them, a value of states."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ponder.engines.hf.engine import HFEngine
from ponder.engines.hf.text import Texts
from ponder.errors import PonderError
from ponder.loop import chains as kept
from ponder.loop.rounds import Round, Run, rounds
from ponder.scorers import SCORERS
from ponder.scorers import checkpoint as scorer
from ponder.scorers.base import Seen
from ponder.scorers.checkpoint import Checkpoint, Sheet
from ponder.scorers.trained import Steps, state_ids
from ponder.tasks.countdown import Countdown
from ponder.train import prune as pruning
from ponder.train import value as valuing
from ponder.train.labels import tree_labels
from ponder.train.once import anew
from ponder.train.prune import Judged
from ponder.train.stopping import Trained
from ponder.train.value import State
from ponder.types import Chain, Problem, Rating

RATED = 4096  # chains rated in one call


def chains(run: Run, folder: Path, turn: Round, name: str) -> dict[str, Any]:
    """Chains of one policy of the round, for training problems and for held-out ones."""
    own, size = run.recipe.prune, run.recipe.measure.samples
    task, problems, held = run.training()
    engine = run.engine(name)
    asked = problems[-own.problems :] if name == turn.start else problems[: own.steered]
    told = kept.save(folder / "train.npz", run.sampled(folder.name, engine, task, asked, own.samples))
    apart = kept.save(folder / "held.npz", run.sampled(f"{folder.name}/held", engine, task, held, size))
    return told | {"tokens": told["tokens"] + apart["tokens"]}


def sets(turns: Sequence[Round]) -> list[tuple[str, str]]:
    """(policy, the phase that drew its chains) of these rounds."""
    return [
        (policy, turn.named(phase))
        for turn in turns
        for policy, phase in ((turn.start, "chains-start"), (turn.steered, "chains-steered"))
    ]


def prune(run: Run, folder: Path, turn: Round) -> dict[str, Any]:
    """Learns from the chains of all rounds so far; what it is measured against is the base."""
    config = run.recipe.prune.config
    task, problems, held = run.training()
    base = run.engine("base")
    steps = Steps(Texts.of(base.tokenizer, base.model), _delimiter(task, held))
    data, apart = (
        [
            item
            for own in sets(rounds(run.recipe)[: turn.number])
            for item in _judged(run, own, part, asked, base, steps)
        ]
        for part, asked in (("train", problems), ("held", held))
    )
    try:
        found = pruning.train(config, base.model, data, apart, folder, run.told(folder.name))
    except ValueError as error:  # the chains hold nothing to learn from
        raise PonderError(f"{folder.name}: {error}; {len(data)} chains: train the base for longer") from None
    about = _about(found, len(data), len(apart))
    sheet = Sheet("implicit", delimiter=_delimiter(task, held), beta=config.beta, trained_on=about)
    scorer.save(anew(run.checkpoint(turn.prm)), Checkpoint(sheet, found.model, base.tokenizer, base.model))
    return about | _by_step(found)


def _judged(
    run: Run, own: tuple[str, str], part: str, problems: Sequence[Problem], base: HFEngine, steps: Steps
) -> Iterator[Judged]:
    """A policy's chains with their outcomes. The base's own log-probs of what it drew are known already."""
    name, phase = own
    texts = Texts.of(base.tokenizer, base.model)
    for row in kept.read(run.path(phase) / f"{part}.npz", problems):
        if row.correct is None:
            continue
        prompt = texts.ids(row.problem.root)
        ends = steps.ends((*prompt, *row.ids), len(prompt))
        reference = row.logprobs if name == "base" else None
        problem = f"{name}/{row.problem.id}"  # chains of one problem are compared within their policy
        yield Judged(problem, prompt, row.ids, ends, float(row.correct), reference=reference)


def value(run: Run, folder: Path, turn: Round) -> dict[str, Any]:
    """Learns from the chains of the policy that the round starts from: a state is good if one of those that came
    through it was right. Equal states of a problem are one."""
    task, problems, held = run.training()
    engine = run.engine(turn.start)
    data, apart = (
        [state for row in _by_problem(run, turn, part, asked) for state in _states(row, task, engine)]
        for part, asked in (("train", problems), ("held", held))
    )
    try:
        found = valuing.train(run.recipe.value.config, engine.model, data, apart, folder, run.told(folder.name))
    except ValueError as error:
        raise PonderError(f"{folder.name}: {error}; {len(data)} states: train the base for longer") from None
    about = _about(found, len(data), len(apart))
    scorer.save(
        anew(run.checkpoint(turn.value)), Checkpoint(Sheet("value", trained_on=about), found.model, engine.tokenizer)
    )
    return about | _by_step(found)


def _by_problem(run: Run, turn: Round, part: str, problems: Sequence[Problem]) -> list[list[kept.Kept]]:
    found: dict[str, list[kept.Kept]] = {}
    for row in kept.read(run.path(turn.named("chains-start")) / f"{part}.npz", problems):
        found.setdefault(row.problem.id, []).append(row)
    return list(found.values())


def _states(rows: Sequence[kept.Kept], task: Countdown, engine: HFEngine) -> Iterator[State]:
    """The states of one problem's chains with their labels."""
    texts = Texts.of(engine.tokenizer, engine.model)
    depths: dict[str, int] = {}
    leaves: list[tuple[str, bool]] = []
    names: dict[str, str] = {}
    for row in rows:
        path = str(row.sample)
        for depth, state in enumerate(passed(row.chain(texts, engine.name), row.problem, task), 1):
            path = f"{path}/{depth}"
            names[path] = state
            depths.setdefault(state, depth)
        leaves.append((f"{path}/end", row.correct is True))
    for state, (good, count) in tree_labels(leaves, "any", names.get).items():
        yield State(rows[0].problem.id, state_ids(engine.tokenizer, state), good, count, depths[state])


def passed(chain: Chain, problem: Problem, task: Countdown) -> list[str]:
    """The states that a finished chain came through, as far as its steps can be read."""
    rules = task.rules(problem.id)
    found: list[str] = []
    text = ""
    for step in rules.steps(chain.reply)[:-1]:
        text += step
        state = rules.state(problem.text, text)
        if state is None:
            break
        found.append(state)
    return found


def guide(run: Run, turn: Round) -> Any:
    """The taste of a round: its value of states and its reward model of chains, as one scorer."""
    folders = {"value": str(run.checkpoint(turn.value)), "prm": str(run.checkpoint(turn.prm))}
    return SCORERS.build("guide", settings=folders | {"device": "cpu"})


def rated(run: Run, turn: Round, found: Sequence[Chain]) -> list[Rating]:
    """A round's taste of finished chains, of many problems in one call."""
    scorer = guide(run, turn)
    ratings: list[Rating] = []
    for start in range(0, len(found), RATED):
        part = found[start : start + RATED]
        ratings += scorer.rate(Seen(Problem(part[0].problem, "")), part)  # it reads the chains alone
    return ratings


def _delimiter(task: Countdown, problems: Sequence[Problem]) -> str:
    delimiter: str = task.rules(problems[0].id).delimiter
    return delimiter


def _about(found: Trained, count: int, held: int) -> dict[str, Any]:
    return {"chains": count, "held_out": held, "step": found.best.step, "auroc": found.best.auroc}


def _by_step(found: Trained) -> dict[str, Any]:
    return {"by_step": [None if math.isnan(value) else value for value in found.best.by_step]}
