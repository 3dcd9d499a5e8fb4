"""Chains sampled for training: groups of a problem's chains with the verifier's rewards.

Sampling for training is at temperature 1 without truncation, so that the engine's log-probs are the policy's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ponder.draws import counter
from ponder.engines.base import Engine, Request
from ponder.errors import CapabilityError
from ponder.tasks.base import Task
from ponder.types import TRUNCATED, Chain, Problem, Sampling, Verdict, wrong

RANGE = 1e-6  # of rewards, above which a group says what to prefer


@dataclass(frozen=True, slots=True)
class Group:
    """One problem's chains, with their verdicts and the version of the policy that wrote them."""

    problem: Problem
    chains: tuple[Chain, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def rewards(self) -> list[float]:
        return [verdict.reward for verdict in self.verdicts]

    @property
    def sound(self) -> bool:
        """Whether each chain was drawn and verified; a group that is not says nothing."""
        return all(c.drawn and v.correct is not None for c, v in zip(self.chains, self.verdicts, strict=True))

    @property
    def differs(self) -> bool:
        """Whether its rewards have a range: only then does it say what to prefer (`advantages.keeps`)."""
        return self.sound and max(self.rewards) - min(self.rewards) > RANGE

    @property
    def truncated(self) -> list[bool]:
        return [chain.finish in TRUNCATED for chain in self.chains]

    def cut_is_wrong(self) -> Group:
        """The same, but that a chain which ran into its cap earns nothing, whatever stands in what there is of it."""
        verdicts = [
            wrong("cut at its cap") if chain.finish in TRUNCATED and verdict.correct is not None else verdict
            for chain, verdict in zip(self.chains, self.verdicts, strict=True)
        ]
        return replace(self, verdicts=tuple(verdicts))

    @property
    def tokens(self) -> int:
        return sum(chain.tokens for chain in self.chains)


def fit(engine: Engine, sampling: Sampling) -> None:
    """Raises CapabilityError if the engine's chains cannot be trained on."""
    capable = engine.capabilities
    if not (capable.ids and capable.logprobs):
        raise CapabilityError(f"{engine.policy} gives no token ids and log-probs; train with a model in this process")
    if (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) != (1.0, 1.0, 0, 0.0):
        raise CapabilityError("training samples at temperature 1 without top-p, top-k or min-p; leave them out")


def groups(
    engine: Engine,
    task: Task,
    problems: Sequence[Problem],
    size: int,
    *,
    cap: int,
    seed: int,
    label: str,
    answers: bool = True,
) -> list[Group]:
    """`size` chains of at most `cap` tokens for each problem, in one batch. Chance is a function of (seed, label,
    problem, index): give each step a label of its own. `answers`: what chains answer and where they stood is read off
    them, which votes and values need and rewards do not."""
    requests = []
    for problem in problems:
        keys = tuple(f"e{index}" for index in range(size))
        seeds = tuple(counter(seed, label, problem.id, index) for index in range(size))
        requests.append(Request(problem.id, problem.root, keys, seeds, cap))
    found = []
    for problem, request, result in zip(problems, requests, engine.generate(requests), strict=True):
        chains, rules = [], task.rules(problem.id)
        for key, output in zip(request.keys, result.outputs, strict=True):
            chain = replace(
                problem.root,
                key=key,
                segments=output.segments,
                finish=output.finish,
                tokens=output.tokens,
                policy=engine.policy,
                reason=output.reason,
            )
            if answers:
                stood = rules.stood(problem.text, chain.reply) if chain.ended else None
                chain = replace(chain, answer=rules.extract(chain.reply), state=stood)
            chains.append(chain)
        verdicts = tuple(task.verify(problem.id, chain.reply) for chain in chains)
        found.append(Group(problem, tuple(chains), verdicts))
    return found
