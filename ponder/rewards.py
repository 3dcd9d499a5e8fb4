"""A task's verifier as a reward function of other trainers, in one line.

    import ponder.rewards
    GRPOTrainer(..., reward_funcs=ponder.rewards("code"))               TRL
    compute_score = ponder.rewards("code")                              verl: a file that custom_reward_function names

The module itself can be called, so that the line is the same whatever was imported before.

TRL calls it with lists, `(prompts, completions, **columns)`, and gets a list: 1.0 for correct, 0.0 for wrong and None
for unverified, which TRL leaves out of the mean. verl calls it for one completion, `(data_source, solution_str,
ground_truth, extra_info)`, and gets a number; an unverified one is 0.0 there, since verl knows no other. The reference
is the column `tests` or `reference` (TRL), or `ground_truth` (verl). A reward is never nan or infinite.
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ponder.errors import UsageError
from ponder.tasks import load_rules
from ponder.types import Verdict, unverified

COLUMNS = ("tests", "reference", "answer", "ground_truth", "solution")
"""Where TRL's data set may keep the reference, in the order in which they are looked for."""


class Rewards:
    """Both signatures in one object. `__name__` is what TRL logs it as."""

    def __init__(self, task: str, column: str = "", workers: int = 1, sandbox: str = "") -> None:
        self.__name__ = f"ponder_{task}"
        self._rules = load_rules(task)
        self._column, self._workers = column, workers
        if workers < 1:
            raise UsageError(f"workers={workers}: give at least 1")
        if self._rules.sandboxed:
            self._rules = self._rules.with_sandbox(sandbox)
        elif sandbox:
            raise UsageError(f"sandbox={sandbox!r}: task {task!r} needs none; leave it out")

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """A list of rewards if there are `completions`, else the one of `solution_str`."""
        names = ("data_source", "solution_str", "ground_truth", "extra_info")
        if "completions" in keywords:
            if arguments:
                keywords["prompts"] = arguments[0]
            return self._many(keywords)
        if len(arguments) > 1 and not isinstance(arguments[1], str):
            return self._many({**keywords, **dict(zip(("prompts", "completions"), arguments, strict=False))})
        given = {**keywords, **dict(zip(names, arguments, strict=False))}
        if "solution_str" not in given:
            raise UsageError("a reward needs completions (TRL) or solution_str (verl); see ponder.rewards")
        return _number(self.judge(given.get("ground_truth"), given["solution_str"])) or 0.0

    def judge(self, reference: Any, completion: Any) -> Verdict:
        """The verdict on one completion, text or a list of messages."""
        text = _text(completion)
        problem = self._rules.check_reference(reference) if reference is not None else "is missing"
        if problem is not None:
            return unverified(f"the reference {problem}")
        try:
            return self._rules.judge(reference, text)
        except Exception as error:  # the instrument's failure: a training run goes on
            return unverified(f"the verifier raised {type(error).__name__}: {error}")

    def _many(self, given: dict[str, Any]) -> list[float | None]:
        completions = given["completions"]
        references = self._references(given, len(completions))
        with ThreadPoolExecutor(self._workers) as pool:
            verdicts = list(pool.map(self.judge, references, completions))
        return [_number(verdict) for verdict in verdicts]

    def _references(self, given: dict[str, Any], count: int) -> Sequence[Any]:
        columns = (self._column,) if self._column else COLUMNS
        column = next((name for name in columns if given.get(name) is not None), None)
        if column is None:
            raise UsageError(f"the data set has no column {' or '.join(columns)}; name it, as in column='tests'")
        found: Sequence[Any] = given[column]
        if isinstance(found, str) or len(found) != count:
            raise UsageError(f"column {column!r}: not one reference a completion ({count})")
        return found


def rewards(task: str, *, column: str = "", workers: int = 1, sandbox: str = "") -> Rewards:
    """The rewards of a task. `column`: of TRL's data set, if it is none of COLUMNS; `workers`: checks at once;
    `sandbox`: 'none' checks code, proofs and puzzles without one.

    Raises UsageError if the task or the sandbox is unknown.
    """
    if sandbox:
        from ponder.sandbox import chosen

        chosen(sandbox)
    return Rewards(task, column, workers, sandbox)


def _text(completion: Any) -> str:
    """TRL gives messages for conversational data: the last one is the answer."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, Sequence) and completion and isinstance(completion[-1], dict):
        return str(completion[-1].get("content") or "")
    return ""


def _number(verdict: Verdict) -> float | None:
    """None for unverified. Whatever a verifier says, no reward is beyond [0, 1]."""
    if verdict.verdict == "unverified" or not math.isfinite(verdict.reward):
        return None
    return min(1.0, max(0.0, float(verdict.reward)))


class _Callable(types.ModuleType):
    """`ponder.rewards` is this module as soon as anyone has imported it."""

    def __call__(self, task: str, **settings: Any) -> Rewards:
        return rewards(task, **settings)


sys.modules[__name__].__class__ = _Callable
