"""The hazard of going off track by hand, planted, and on real step labels; and the context-window argument."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from running import ROOT

from ponder.measure import details, length
from ponder.measure.agreement import first_error_f1

MISTAKES = ROOT.parent / "shared" / "data" / "mistakes"


def test_by_hand() -> None:
    t, f = (True, 10.0), (False, 10.0)
    found = length.track([(t, t, t), (t, f, t), (f,), (t, t), (), ((None, 1.0), t)], np.array([0, 0, 1, 1, 1, 1]))
    assert found is not None
    assert found.first.tolist() == [-1, 1, 0, -1]
    assert found.steps.tolist() == [3, 3, 1, 2]
    points = length.hazard(found)
    assert [(p["at_risk"], p["off_track"]) for p in points] == [(4, 1), (3, 1), (1, 0)]
    assert length.hazard_a_step(found).value == pytest.approx(2 / 8)
    assert length.half_life(found).value == 3  # .75, .75 · 2/3 = .5, .5


def rows(hazard: float, steps: int, problems: int = 80, n: int = 8) -> list[dict[str, object]]:
    random = np.random.default_rng(0)
    out = []
    for i in range(problems):
        for j in range(n):
            wrong = random.random(steps) < hazard
            valid = np.cumsum(wrong) == 0
            labels = [{"tokens": 10, "valid": bool(v)} for v in valid]
            right = bool(valid.all())
            out.append({"problem": f"p{i}", "sample": j, "answer": str(right), "correct": right, "steps": labels,
                        "tokens": 10 * steps})  # fmt: skip
    return out


def test_planted_hazard_and_half_life() -> None:
    more = details.of_rows(rows(0.1, 12))
    found = length.track(more.steps, more.draws.problem)
    assert found is not None
    step = length.hazard_a_step(found)
    assert step.low is not None and step.high is not None and step.low < 0.1 < step.high
    star = length.half_life(found)
    assert star.value == pytest.approx(np.floor(np.log(0.5) / np.log(0.9)), abs=1)
    assert star.bound is None
    lost = length.wasted(more)
    alive = 0.9 ** np.arange(13)
    expected = sum((alive[i] - alive[i + 1]) * (11 - i) for i in range(12)) / 12
    assert lost.low is not None and lost.high is not None and lost.low < expected < lost.high
    short = details.of_rows(rows(0.02, 6))
    found = length.track(short.steps, short.draws.problem)
    assert found is not None
    assert length.half_life(found).bound == "lower"
    assert length.half_life(found).value == 6


def test_tokens_of_right_and_wrong_chains_are_compared_within_problems() -> None:
    made = [
        {"problem": "a", "answer": "1", "correct": True, "tokens": 10},
        {"problem": "a", "answer": "2", "correct": False, "tokens": 30},
        {"problem": "b", "answer": "2", "correct": False, "tokens": 900},
    ]
    more = details.of_rows(made)
    found = length.tokens(more.draws, more.tokens)
    assert (found["right"].value, found["wrong"].value) == (10, 30)


def test_could_it_have_been_independent_chains() -> None:
    """Claim 21: the semi-private set fits flat chains, the public one does not."""
    closed = length.independent((33e6, 5.7e9), (6, 1024), 100)
    assert (closed.few, closed.many) == pytest.approx((55_000, 55_664), abs=1)
    assert closed.fits
    public = length.independent((111e6, 9.5e9), (6, 1024), 400)
    assert (public.few, public.many) == pytest.approx((46_250, 23_193), abs=1)
    assert not public.fits


EQUATION = re.compile(r"(?<![\w.])(-?\d+) ([-+*]) (-?\d+) = (-?\d+)(?![\w.]| [-+*])")


def first_false(steps: list[str]) -> int:
    """A simple scorer: the first step that holds a false equation of two plain numbers; -1 for none."""
    work = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}
    for at, step in enumerate(steps):
        for a, sign, b, c in EQUATION.findall(step):
            if work[sign](int(a), int(b)) != int(c):
                return at
    return -1


def test_first_errors_of_real_traces() -> None:
    path = MISTAKES / "multistep_arithmetic.jsonl"
    if not path.exists():
        pytest.skip("the shared data are not here")
    traces = [json.loads(line) for line in path.read_text().splitlines()]
    truth = np.array([-1 if t["mistake_index"] is None else t["mistake_index"] for t in traces])
    guess = np.array([first_false(t["steps"]) for t in traces])
    # By hand: in the first trace 7 - -28 is taken as 7 - 28 in step 3 (from 0).
    assert truth[0] == 3
    assert first_false(["7 + 4 = 11", "3 * 4 = 13", "1 + 1 = 3"]) == 1
    found = first_error_f1(guess, truth)
    wrong, right = truth >= 0, truth < 0
    assert float(found.erroneous.value) == pytest.approx(np.mean(guess[wrong] == truth[wrong]))
    assert float(found.correct.value) == pytest.approx(np.mean(guess[right] == -1))
    a, b = float(found.erroneous.value), float(found.correct.value)
    assert float(found.f1.value) == pytest.approx(2 * a * b / (a + b))
    steps = [tuple((k < m if m >= 0 else True, 1.0) for k in range(len(t["steps"])))
             for t, m in zip(traces, truth.tolist(), strict=True)]  # fmt: skip
    chains = length.track(steps, np.arange(len(traces)))
    assert chains is not None
    assert np.array_equal(chains.first, truth)
    assert length.hazard(chains)[0]["off_track"] == int(np.sum(truth == 0))
