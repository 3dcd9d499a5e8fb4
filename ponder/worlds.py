"""Simulated worlds: populations of problems whose truth is known, for demos, tests and measurement.

A world says for each problem how likely one chain is to be right (p), which wrong answers rival the right one, and
how long a chain is. The simulated engine writes chains of that world, the simulated task asks and verifies, the
planted scorer sees the truth through noise. Every number comes from a counter, so a world has no size.

A chain has `steps` steps. Each is sound with probability p^(1/steps), and a sound step carries an even number, an
unsound one an odd number: that is all the truth there is in the text. The last line gives the right answer if
every step was sound, else a rival.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from ponder.draws import counter, generator
from ponder.errors import unknown

WORLD_SEED = 20_240_912
"""Fixes the populations, so that `simulated:NAME` is the same world in every run whatever its --seed."""


@dataclass(frozen=True, slots=True)
class World:
    """`chance` draws p for a problem. `rivals`: weights of the wrong answers, one each. `words`: mean tokens a step.
    `like`: the world whose draws of p it shares, so that problem for problem one is a function of the other."""

    name: str
    about: str
    chance: Callable[[random.Random], float]
    rivals: tuple[float, ...]
    steps: int = 3
    words: int = 12
    like: str = ""

    def p(self, problem: int) -> float:
        """The probability that one chain of this problem is right."""
        return self.chance(generator(WORLD_SEED, self.like or self.name, problem, "p"))

    def answer(self, problem: int) -> int:
        """The right answer."""
        return 10 + counter(WORLD_SEED, self.name, problem, "answer") % 9000

    def rival(self, problem: int, draw: random.Random) -> int:
        """A wrong answer, drawn by the rivals' weights; rival j is the right answer plus j + 1."""
        (chosen,) = draw.choices(range(len(self.rivals)), self.rivals)
        return self.answer(problem) + 1 + chosen

    def text(self, problem: int) -> str:
        return f"Problem {problem} of the simulated world '{self.name}'. Find its number."


def _even(count: int) -> tuple[float, ...]:
    return (1.0,) * count


def _weak(r: random.Random) -> float:
    return r.betavariate(0.5, 12)


WORLDS = {
    world.name: world
    for world in (
        World(
            "school",
            "p ~ Beta(1, 1.2): easy and hard problems, a few likely mistakes",
            lambda r: r.betavariate(1.0, 1.2),
            (4, 3, 2, 1, 1, 1, 1, 1),
        ),
        World(
            "bimodal",
            "p is near .05 or near .9, and little between",
            lambda r: r.betavariate(2, 38) if r.random() < 0.5 else r.betavariate(18, 2),
            (3, 2, 1, 1),
        ),
        World(
            "rival",
            "p = .45 against one rival at .40: a vote needs many samples",
            lambda r: 0.45,
            (0.40, 0.05, 0.05, 0.05),
        ),
        World(
            "scattered",
            "p = .10 against twelve even rivals: a vote wins although p is small",
            lambda r: 0.10,
            _even(12),
        ),
        World("misled", "p = .30 against a rival at .50: more samples hurt a vote", lambda r: 0.30, (0.50, 0.10, 0.10)),
        World(
            "close",
            "p = .12 against a rival at .10, the rest scattered: a small p and a small margin",
            lambda r: 0.12,
            (0.10, *(0.0065,) * 120),
        ),
        World(
            "unsolved",
            "three problems in ten are never solved, the others have p ~ Beta(0.8, 1.5): coverage ends at .7",
            lambda r: r.betavariate(0.8, 1.5) * (r.random() > 0.3),
            _even(4),
        ),
        World(
            "scarce",
            "p ~ Beta(0.3, 3): coverage keeps rising, as a power of the samples",
            lambda r: r.betavariate(0.3, 3.0),
            _even(6),
        ),
        World(
            "spread",
            "p is logit-normal, which no fitted form of coverage is",
            lambda r: 1 / (1 + math.exp(-r.gauss(-1.5, 1.8))),
            (3, 2, 2, 1, 1),
        ),
        World(
            "long",
            "chains of twelve steps, each unsound with chance .1: half are off track after six",
            lambda r: 0.9**12,
            (3, 2, 1, 1),
            steps=12,
            words=4,
        ),
        World("weak", "p ~ Beta(0.5, 12): a guess of `strong` is worth ten of these", _weak, _even(6)),
        World(
            "strong",
            "the problems of `weak`, each guess worth ten of its guesses",
            lambda r: 1 - (1 - _weak(r)) ** 10,
            _even(6),
            like="weak",
        ),
    )
}

_PROBLEM = re.compile(r"Problem (\d+) of the simulated world '(\w+)'")
_NUMBER = re.compile(r"carries (\d+)")


def world(name: str) -> World:
    """Raises UsageError with the nearest right name."""
    if name not in WORLDS:
        raise unknown("simulated world", name, WORLDS)
    return WORLDS[name]


def asked(prompt: str) -> tuple[World, int] | None:
    """Which problem of which world a prompt asks for, or None."""
    match = _PROBLEM.search(prompt)
    return (world(match[2]), int(match[1])) if match and match[2] in WORLDS else None


def soundness(text: str) -> list[bool]:
    """For each step written so far whether it is sound."""
    return [int(number) % 2 == 0 for number in _NUMBER.findall(text)]
