"""The reward functions of other trainers: both signatures, and no reward that is not a number in [0, 1]."""

from __future__ import annotations

import importlib.util
import inspect
import math
from typing import Any

import pytest

import ponder.rewards
from ponder.errors import UsageError
from ponder.rewards import rewards
from ponder.sandbox import missing
from ponder.types import Verdict

needs_sandbox = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
RIGHT, WRONG = "```python\ndef f(x): return x + 1\n```", "def f(x): return 2"
TESTS = ["assert f(1) == 2", "assert f(2) == 3"]


@needs_sandbox
def test_trl_gets_a_list_for_texts_and_for_messages() -> None:
    reward = ponder.rewards("code", workers=2)  # type: ignore[operator]
    found = reward(
        prompts=["p"] * 3,
        completions=[RIGHT, WRONG, ""],
        tests=[TESTS] * 3,
        trainer_state=None,
        completion_ids=[[1]] * 3,
    )
    assert found == [1.0, 0.0, 0.0] and reward.__name__ == "ponder_code"
    messages = [[{"role": "assistant", "content": text}] for text in (RIGHT, WRONG)]
    assert reward([[], []], messages, tests=["\n".join(TESTS)] * 2) == [1.0, 0.0]


@needs_sandbox
def test_verl_gets_a_number() -> None:
    compute_score = ponder.rewards("code")  # type: ignore[operator]
    assert compute_score("mbpp", RIGHT, TESTS, {"index": 1}) == 1.0
    assert compute_score(data_source="mbpp", solution_str=WRONG, ground_truth=TESTS, extra_info=None) == 0.0
    assert compute_score(data_source="mbpp", solution_str=RIGHT, ground_truth=None) == 0.0


def test_other_tasks_too() -> None:
    reward = rewards("number")
    assert reward(prompts=[""], completions=["The answer is 4."], answer=["4"]) == [1.0]
    assert rewards("number", column="n")(prompts=[""], completions=["5"], n=["4"]) == [0.0]
    assert rewards("math")(prompts=["", ""], completions=["$x$", "$2$"], reference=["y", "2"]) == [None, 1.0]


@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf, 7.0, -1.0])
def test_no_reward_is_beyond_its_range(reward: float, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rewards("number")
    monkeypatch.setattr(found, "judge", lambda *_: Verdict("correct", "x", reward))
    (many,) = found(prompts=[""], completions=["1"], reference=["1"])
    assert many is None or 0 <= many <= 1
    assert 0 <= found("", "1", "1") <= 1


def test_a_verifier_that_breaks_is_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    found = rewards("number")
    monkeypatch.setattr(type(found._rules), "judge", lambda *_: 1 / 0)
    assert found(prompts=[""], completions=["1"], reference=["1"]) == [None]
    assert found("", "1", "1") == 0.0


@pytest.mark.parametrize(
    ("settings", "given", "words"),
    [
        ({}, {"completions": ["1"]}, "no column tests or reference"),
        ({"column": "x"}, {"completions": ["1"], "tests": ["1"]}, "no column x"),
        ({}, {"completions": ["1"], "reference": "1"}, "not one reference a completion"),
        ({}, {"prompts": [""]}, "needs completions"),
        ({"workers": 0}, {}, "at least 1"),
        ({"sandbox": "docker"}, {}, "unknown sandbox"),
    ],
)  # fmt: skip
def test_misuse_is_named(settings: dict[str, Any], given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        rewards("number", **settings)(**given)


def test_with_trl_itself() -> None:
    """Only that its trainer takes such a function: it is called with keywords alone, and with None for what is left
    out."""
    if importlib.util.find_spec("trl") is None:
        pytest.skip("trl is not installed")
    from trl import GRPOTrainer

    assert "reward_funcs" in inspect.signature(GRPOTrainer.__init__).parameters
