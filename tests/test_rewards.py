"""The reward functions of other trainers: both signatures, and no reward that is not a number in [0, 1]."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
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
    assert rewards("math")(prompts=["", ""], completions=["$3$", "$2$"], reference=["2", "2"]) == [0.0, 1.0]
    assert rewards("code")(prompts=[""], completions=["x"], tests=["assert f("]) == [None]  # the tests cannot be run


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


GRPO = """
import json, sys
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
import ponder.rewards
from ponder.models.tiny import tiny_llama, word_tokenizer

tokenizer = word_tokenizer(["go", "f=abs", "f=len", "f=str", "f=bool"])  # a word is a program
tests = ["assert f(-3) == 3", "assert f(2) == 2"]
rewarded, reward = [], ponder.rewards("code", workers=2)

def watched(**given):
    found = reward(**given)
    rewarded.append([given["completions"], found])
    return found

watched.__name__ = reward.__name__
trainer = GRPOTrainer(
    model=tiny_llama(tokenizer, seed=0),
    reward_funcs=[watched, reward],
    args=GRPOConfig(
        output_dir=sys.argv[1], max_steps=2, per_device_train_batch_size=16, num_generations=16, seed=0, bf16=False,
        max_completion_length=1, learning_rate=1e-2, logging_steps=1, report_to="none", use_cpu=True, save_strategy="no"
    ),
    train_dataset=Dataset.from_dict({"prompt": ["go"] * 4, "tests": [tests] * 4}),
    processing_class=tokenizer,
)
before = {name: value.clone() for name, value in trainer.model.named_parameters()}
trainer.train()
moved = sum(bool((value != before[name]).any()) for name, value in trainer.model.named_parameters())
logged = [row["rewards/ponder_code/mean"] for row in trainer.state.log_history if "rewards/ponder_code/mean" in row]
print(json.dumps([rewarded, logged, moved]))
"""


@needs_sandbox
def test_steps_of_trl_itself(tmp_path: Path) -> None:
    """Two steps of GRPO on a random tiny Llama whose words are programs: TRL logs the mean of our rewards, and they
    move the weights. The function is given twice: as it is, and wrapped to see what TRL calls it with."""
    for package in ("trl", "datasets"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    done = subprocess.run([sys.executable, "-c", GRPO, str(tmp_path)], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    rewarded, logged, moved = json.loads(done.stdout.splitlines()[-1])
    assert len(rewarded) == 2 and all(len(completions) == 16 for completions, _ in rewarded)
    for completions, found in rewarded:
        assert found == [float(text.strip() == "f=abs") for text in completions]
    assert logged == pytest.approx([sum(found) / 16 for _, found in rewarded])
    assert any(0 < mean < 1 for mean in logged) and moved > 0
