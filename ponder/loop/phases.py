"""The phases of the loop, in order. Each works in a folder of its own and writes `done.json` last, and is done once.

    base       supervised: random correct walks on training problems                           → checkpoints/base
    steer      reinforcement learning of a copy on verdicts                                    → checkpoints/steered
    chains     chains of both policies on training problems                                    → chains/*.npz
    prune      an implicit reward model of chains, from their outcomes                         → checkpoints/prm
    value      the value of where a chain stands, from the same chains                         → checkpoints/value
    distil     the base, trained on its own chains that the reward model picks; and on others  → checkpoints/student
    settle     held-out training problems: the best rule without the reward model; equal costs
    measure    test problems: chains of each policy, with what every arm picked
    compare    test problems: searches at equal tokens

A second round goes from `steer` to `distil` again, from the student of the first. A killed phase goes on from its last
checkpoint of training; sampling is done again, and gives the same, since chance is a function of names. Everything that
a phase reads of another it reads from the disk, so where a run was interrupted changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ponder.loop.policies import base, control, distil, steer
from ponder.loop.recipe import Recipe
from ponder.loop.rounds import Round, Run, rounds
from ponder.loop.searches import compare
from ponder.loop.tastes import chains, prune, value
from ponder.loop.trials import measure, settle

Phase = Callable[[Run, Path], dict[str, Any]]


def phases(recipe: Recipe) -> dict[str, Phase]:
    """In order, by name."""
    found: dict[str, Phase] = {"base": base}
    for turn in rounds(recipe):
        found[turn.named("steer")] = partial(steer, turn=turn)
        if turn.number == 1:
            found |= {f"steer-{name}": partial(control, name=name) for name in controls(recipe)}
        found[turn.named("chains")] = partial(chains, turn=turn)
        found[turn.named("prune")] = partial(prune, turn=turn)
        found[turn.named("value")] = partial(value, turn=turn)
        found[turn.named("distil")] = partial(distil, turn=turn)
    return found | {"settle": settle, "measure": measure, "compare": compare}


def controls(recipe: Recipe) -> list[str]:
    """The controls that are policies of their own."""
    return [name for name in recipe.controls if name != "random"]


__all__ = ["Phase", "Round", "Run", "controls", "phases"]
