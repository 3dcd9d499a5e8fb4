"""The simulated engine draws what its world says."""

from __future__ import annotations

import math

import pytest

from ponder.draws import counter
from ponder.engines import load_engine
from ponder.engines.base import Request
from ponder.errors import EngineError, UsageError
from ponder.tasks import load_task
from ponder.types import Chain, Problem, Sampling
from ponder.worlds import WORLDS, soundness, world


def draw(name: str, number: int, count: int, *, chain: Chain | None = None, stop: str | None = None, cap: int = 10_000):  # type: ignore[no-untyped-def]
    engine = load_engine(f"simulated:{name}", Sampling(max_tokens=cap))
    root = Problem(str(number), world(name).text(number)).root
    keys = tuple(f"e{i}" for i in range(count))
    seeds = tuple(counter(1, name, number, key) for key in keys)
    (result,) = engine.generate([Request(str(number), chain or root, keys, seeds, cap, stop)])
    return result.outputs


@pytest.mark.parametrize("name", list(WORLDS))
def test_the_share_of_right_answers_is_p(name: str) -> None:
    task = load_task(f"simulated:{name}")
    for number in range(4):
        p, n = world(name).p(number), 1500
        right = sum(task.verify(str(number), o.segments[0].text).correct is True for o in draw(name, number, n))
        assert abs(right / n - p) < 4.5 * math.sqrt(p * (1 - p) / n) + 1e-9, (name, number)


def test_steps_hold_all_the_state() -> None:
    (first,) = draw("school", 0, 1, stop="\n\n")
    assert first.finish == "step" and first.segments[0].text.endswith("\n\n")
    assert len(soundness(first.segments[0].text)) == 1
    root = Problem("0", world("school").text(0)).root
    unsound = Chain(
        "0", "s0", root.prompt, finish="step", segments=(first.segments[0].__class__("Step 1 carries 3: x.\n\n"),)
    )
    task = load_task("simulated:school")
    for output in draw("school", 0, 50, chain=unsound):
        assert task.verify("0", output.segments[0].text).correct is False
        assert len(soundness(output.segments[0].text)) == world("school").steps - 1


def test_a_cap_cuts_words_and_says_so() -> None:
    (output,) = draw("school", 1, 1, cap=5)
    assert output.finish == "length" and output.tokens == 5 == len(output.segments[0].text.split())
    assert output.segments[0].logprobs is not None and len(output.segments[0].logprobs) == 5


def test_the_same_seed_gives_the_same_chain_in_any_batch() -> None:
    assert draw("bimodal", 2, 3) == draw("bimodal", 2, 8)[:3]


def test_what_is_not_of_a_world_is_refused() -> None:
    engine = load_engine("simulated:school", Sampling())
    with pytest.raises(EngineError, match="--task simulated:school"):
        engine.generate([Request("p", Problem("p", "What is 2+2?").root, ("e0",), (1,), 10)])
    with pytest.raises(UsageError, match="did you mean 'school'"):
        load_engine("simulated:scool", Sampling())
