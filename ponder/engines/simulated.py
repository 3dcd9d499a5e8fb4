"""An engine that writes chains of a simulated world (`ponder.worlds`): no model, exact truth.

Draws are a function of the seed alone, so runs keep the *schedule* promise. A token is a word. Log-probs are made so
that the confidence of a sound chain is higher on average than that of an unsound one. There is no temperature: a
world's chance is its own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from ponder.engines.base import Attempts, Capabilities, Output, Request, Result
from ponder.errors import EngineError
from ponder.types import Cost, Finish, Sampling, Segment
from ponder.worlds import World, asked, soundness, world

WORDS = [
    "so",
    "then",
    "take",
    "the",
    "first",
    "part",
    "and",
    "add",
    "what",
    "is",
    "left",
    "over",
    "to",
    "see",
    "that",
    "it",
    "must",
    "be",
    "even",
    "because",
    "we",
    "know",
    "this",
    "holds",
]


_TOKEN = re.compile(r"\S+\s*")


class SimulatedEngine:
    """`simulated:NAME`. Raises EngineError for a prompt that is no problem of a simulated world."""

    capabilities = Capabilities(
        bills=False,
        schedule="lockstep",
        continues=True,
        steps=True,
        logprobs=True,
        n=True,
        seed=True,
        temperature=False,
    )

    def __init__(self, name: str, sampling: Sampling) -> None:
        self.world = world(name)
        self.policy = f"simulated:{name}"
        self._cap = sampling.max_tokens

    def generate(self, requests: Sequence[Request]) -> list[Result]:
        return [self._answer(request) for request in requests]

    async def ask(self, request: Request, attempts: Attempts) -> Result:
        return self._answer(request)

    async def close(self) -> None:
        pass

    def _answer(self, request: Request) -> Result:
        prompt = "\n\n".join(message.content for message in request.chain.prompt)
        found = asked(prompt)
        if found is None:
            raise EngineError(f"{self.policy} can only answer problems of a simulated world; add --task {self.policy}")
        before = request.chain.text
        outputs = tuple(self._write(*found, before, random.Random(seed), request) for seed in request.seeds)
        return Result(outputs, Cost(prompt=len(prompt.split()) + len(before.split()), requests=1))

    def _write(self, place: World, problem: int, before: str, draw: random.Random, request: Request) -> Output:
        """Goes on from `before`, whose steps hold all the state."""
        sound = soundness(before)
        parts: list[str] = []
        logprobs: list[float] = []
        finish: Finish = "stop"
        for number in range(len(sound) + 1, place.steps + 1):
            ok = draw.random() < place.p(problem) ** (1 / place.steps)
            sound.append(ok)
            size = 1 + int(draw.expovariate(1 / place.words))
            value = 2 * draw.randrange(500) + (0 if ok else 1)
            parts.append(f"Step {number} carries {value}: {' '.join(draw.choices(WORDS, k=size))}.\n\n")
            logprobs += _logprobs(draw, ok, len(parts[-1].split()))
            if request.stop:
                finish = "step"
                break
        else:
            answer = place.answer(problem) if all(sound) else place.rival(problem, draw)
            parts.append(f"The answer is {answer}.")
            logprobs += _logprobs(draw, all(sound), 4)
        text = "".join(parts)
        tokens = len(logprobs)
        if tokens > request.allowance:
            text, tokens = "".join(_TOKEN.findall(text)[: request.allowance]).rstrip(), request.allowance
            finish = "length" if request.allowance >= self._cap else "budget"
        return Output((Segment(text, logprobs=tuple(logprobs[:tokens]), tokens=tokens),), finish, tokens)


def _logprobs(draw: random.Random, ok: bool, count: int) -> list[float]:
    rate = 3.0 if ok else 2.2
    return [-draw.expovariate(rate) for _ in range(count)]


def build(name: str, sampling: Sampling) -> SimulatedEngine:
    return SimulatedEngine(name, sampling)
