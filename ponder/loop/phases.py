"""The phases of the loop, in order. Each works in a folder of its own and writes `done.json` last, and is done once.

    base             supervised: random correct walks on training problems                     → checkpoints/base
    steer            reinforcement learning of a copy on verdicts                              → checkpoints/steered
    chains-start     chains of the policy that was steered, on training problems               → its folder
    value            the value of where a chain stands, from these                             → checkpoints/value
    chains-steered   chains of the steered policy                                              → its folder
    prune            an implicit reward model of chains, from the outcomes of both             → checkpoints/prm
    distil           the base, trained on those of its chains that the two models pick         → checkpoints/student
    settle           held-out training problems: the best rule without the reward model; equal costs
    measure          test problems: chains of each policy, with what every arm picked
    compare-POLICY   test problems: searches at equal tokens, on the base and on the steered policy

A second round goes from `steer` to `distil` again, from the student of the first. A killed phase goes on from its last
checkpoint of training; sampling is done again, and gives the same, since chance is a function of names. Everything that
a phase reads of another it reads from the disk, so neither where a run was interrupted nor what ran beside it changes
anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ponder.loop.policies import base, control, distil, steer
from ponder.loop.recipe import Recipe
from ponder.loop.rounds import Run, rounds
from ponder.loop.searches import compare
from ponder.loop.tastes import chains, prune, value
from ponder.loop.trials import measure, settle

Work = Callable[[Run, Path], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Phase:
    """`needs`: names of the phases whose results it reads, directly."""

    work: Work
    needs: tuple[str, ...] = ()


def phases(recipe: Recipe) -> dict[str, Phase]:
    """In order, by name; none comes before what it needs."""
    found = {"base": Phase(base)}
    before: tuple[str, ...] = ("base",)
    sampled: tuple[str, ...] = ()
    for turn in rounds(recipe):
        steered, first, second = (turn.named(name) for name in ("steer", "chains-start", "chains-steered"))
        prm, worth, student = (turn.named(name) for name in ("prune", "value", "distil"))
        sampled += (first, second)
        found |= {
            steered: Phase(partial(steer, turn=turn), before),
            first: Phase(partial(chains, turn=turn, name=turn.start), before),
            worth: Phase(partial(value, turn=turn), (first,)),
            second: Phase(partial(chains, turn=turn, name=turn.steered), (steered,)),
            prm: Phase(partial(prune, turn=turn), sampled),
            student: Phase(partial(distil, turn=turn), (first, prm, worth)),
        }
        before = (student,)
    others = {f"steer-{name}": Phase(partial(control, name=name), ("base",)) for name in controls(recipe)}
    last = rounds(recipe)[-1]
    found |= others | {"settle": Phase(settle, (last.named("prune"), last.named("value"), last.named("steer")))}
    for policy in ("base", last.steered):
        found[f"compare-{policy}"] = Phase(partial(compare, policy=policy), ("settle",))
    return found | {"measure": Phase(measure, ("settle", *before, *others))}


def controls(recipe: Recipe) -> list[str]:
    """The controls that are policies of their own."""
    return [name for name in recipe.controls if name != "random"]
