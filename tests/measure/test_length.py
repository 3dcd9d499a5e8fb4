"""The hazard of going off track by hand, planted, and on real step labels; and the context-window argument."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

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


PLAIN = re.compile(r"[-+*()\d\s]*\d[-+*()\d\s]*")


def value(side: str) -> int | None:
    """Of plain arithmetic, up to a full stop; None for anything else."""
    text = side.partition(". ")[0].strip().rstrip(".")
    try:
        return int(eval(text)) if PLAIN.fullmatch(text) else None
    except (SyntaxError, TypeError):
        return None


def first_false(steps: list[str]) -> int:
    """A simple scorer: the first step in which two sides of an '=' are plain arithmetic and differ; -1 for none."""
    for at, step in enumerate(steps):
        sides = [value(part) for part in step.split("=")]
        if any(None not in pair and pair[0] != pair[1] for pair in itertools.pairwise(sides)):
            return at
    return -1


HAND = {  # trace: (label, what the scorer says), each computed by hand
    0: (3, 3),  # (7 - -7 * 4) is 35, not 7 - 28
    1: (-1, 2),  # -6 + 5 - 72 is -73, not -67; the label misses it
    2: (2, 2),  # 5 + 3 - -2 * 2 is 12, not 5 + 3 - 4
    3: (1, 1),  # -9 + 1 + -1 is -9, not -9 + -1
    4: (4, 4),  # -6 + 4 + 9 is 7, not -2 + 13
    5: (3, 3),  # (0 - -3) + (2 + -9 - 5 + 8) is -1, not (0) + (-2)
    6: (2, 2),  # -6 - 4 - 6 + 0 is -16, not -16 - 6 + 0
    7: (1, 1),  # -1 - -8 + -4 is 3, not -1 + 4 - -8
    8: (1, 1),  # -5 + 4 + 9 is 8, not -1 + 13
    9: (-1, -1),
    11: (2, -1),  # 0 * 5 - -1 - -5 is 6, as written; the label is wrong
    12: (-1, -1),
    24: (-1, 5),  # -10 + 32 + 2 + 25 is 49, not 15; the label misses it
    34: (-1, 1),  # -6 + -12 is -18, not -8; the label misses it
}


@pytest.fixture(scope="module")
def traces() -> list[dict[str, Any]]:
    path = MISTAKES / "multistep_arithmetic.jsonl"
    if not path.exists():
        pytest.skip("the shared data are not here")
    return [json.loads(line) for line in path.read_text().splitlines()]


def labels(some: list[dict[str, Any]]) -> Any:
    return np.array([-1 if t["mistake_index"] is None else t["mistake_index"] for t in some])


def test_first_errors_of_real_traces_by_hand(traces: list[dict[str, Any]]) -> None:
    some = [traces[i] for i in HAND]
    assert labels(some).tolist() == [label for label, _ in HAND.values()]
    guess = [first_false(t["steps"]) for t in some]
    assert guess == [said for _, said in HAND.values()]
    found = first_error_f1(guess, labels(some))
    # Of 9 traces with an error (0, 2 to 8, 11) 8 are found, of 5 without (1, 9, 12, 24, 34) 2 are passed.
    assert float(found.erroneous.value) == pytest.approx(8 / 9)
    assert float(found.correct.value) == pytest.approx(2 / 5)
    assert float(found.f1.value) == pytest.approx(16 / 29)


def test_first_errors_of_all_real_traces(traces: list[dict[str, Any]]) -> None:
    """The scorer finds 230 of 238 first errors at their step, and passes 47 of the 62 traces without: counted apart."""
    truth, guess = labels(traces), np.array([first_false(t["steps"]) for t in traces])
    hits = [(t, t == g) for t, g in zip(truth.tolist(), guess.tolist(), strict=True)]
    assert (sum(ok for t, ok in hits if t >= 0), sum(t >= 0 for t, _ in hits)) == (230, 238)
    assert (sum(ok for t, ok in hits if t < 0), sum(t < 0 for t, _ in hits)) == (47, 62)
    found = first_error_f1(guess, truth)
    assert float(found.erroneous.value) == pytest.approx(230 / 238)
    assert float(found.correct.value) == pytest.approx(47 / 62)
    assert float(found.f1.value) == pytest.approx(2 * 230 / 238 * 47 / 62 / (230 / 238 + 47 / 62))


def stepped(some: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sample rows, all of one problem: steps are sound before the labelled one, which is not; none after it counts."""
    return [
        {"problem": "all", "answer": t["answer"], "correct": t["answer"] == t["target"],
         "steps": [{"valid": k != m, "tokens": 1} for k in range(len(t["steps"]) if m < 0 else m + 1)]}
        for t, m in zip(some, labels(some).tolist(), strict=True)
    ]  # fmt: skip


def test_hazard_and_recovery_of_real_traces_by_hand(traces: list[dict[str, Any]]) -> None:
    more = details.of_rows(stepped([traces[i] for i in HAND]))
    found = length.track(more.steps, more.draws.problem)
    assert found is not None
    # First errors: three at step 1 (3, 7, 8), three at 2 (2, 6, 11), two at 3 (0, 5), one at 4 (4). Of the five traces
    # without one, 24 and 34 have six steps, the others four.
    points = [(p["at_risk"], p["off_track"]) for p in length.hazard(found)]
    assert points == [(14, 0), (14, 3), (11, 3), (8, 2), (3, 1), (2, 0)]
    # 14/14 · 11/14 · 8/11 · 6/8 = .43: half of them are on track for three steps.
    assert length.half_life(found).value == 3
    assert length.hazard_a_step(found).value == pytest.approx(9 / 52)
    back = length.recovered(more)
    assert back is not None
    # Of the 9 with a wrong step only 11 has the right answer; of all 14 these are 9, 11 and 12.
    assert (back["chains"], back["value"]) == (9, pytest.approx(1 / 9))
    assert back["fresh"]["value"] == pytest.approx(3 / 14)
    assert back["difference"]["value"] == pytest.approx(1 / 9 - 3 / 14)


def test_recovery_is_weighed_by_the_chains_that_need_it() -> None:
    """Problem a: 3 of 4 chains go wrong, 1 of them ends right, 2 of 4 in all; b: 1 of 2 goes wrong and stays so."""
    made = [("a", False, True), ("a", False, False), ("a", False, False), ("a", True, True)]
    made += [("b", False, False), ("b", True, True), ("c", True, False)]
    more = details.of_rows([
        {"problem": p, "answer": str(right), "correct": right, "steps": [{"valid": valid, "tokens": 1}]}
        for p, valid, right in made
    ])  # fmt: skip
    back = length.recovered(more)
    assert back is not None
    assert (back["chains"], back["problems"]) == (4, 2)
    assert back["value"] == pytest.approx(1 / 4)
    assert back["fresh"]["value"] == pytest.approx((3 * 2 / 4 + 1 * 1 / 2) / 4)
    assert length.recovered(details.of_rows([{"problem": "a", "answer": "1", "correct": True}])) is None
