"""Scorers of the spine: confidence, the random control, a world's planted taste."""

from __future__ import annotations

import math
from statistics import mean

import pytest

from ponder.scorers import SCORERS
from ponder.scorers.base import Seen
from ponder.types import Chain, Problem, Rating, Segment

SEEN = Seen(Problem("p", "text"), seed=3)


def chain(*segments: Segment, key: str = "e0") -> Chain:
    return Chain("p", key, segments=segments, finish="stop")


def test_confidence_is_the_geometric_mean_probability() -> None:
    written = Segment("a b", logprobs=(math.log(0.5), math.log(0.125)), tokens=2)
    given = Segment("given ", kind="given")
    scorer = SCORERS.build("confidence")
    assert scorer.rate(SEEN, [chain(given, written)])[0].value == pytest.approx(0.25)
    assert scorer.rate(SEEN, [chain(Segment("no log-probs")), chain()]) == [Rating(None), Rating(None)]
    assert scorer.needs == {"logprobs": "scorer 'confidence'"}


def test_random_is_uniform_and_the_same_for_the_same_chain() -> None:
    scorer = SCORERS.build("random")
    chains = [chain(key=f"e{i}") for i in range(4000)]
    values = [r.value or 0.0 for r in scorer.rate(SEEN, chains)]
    assert values == [r.value for r in scorer.rate(SEEN, chains)]
    assert abs(mean(values) - 0.5) < 0.02 and min(values) >= 0 and max(values) < 1


def test_planted_separates_sound_from_unsound_by_its_dprime() -> None:
    from statistics import NormalDist

    scorer = SCORERS.build("planted", settings={"dprime": 2.0})
    z = NormalDist().inv_cdf
    sound = [
        z(scorer.rate(SEEN, [chain(Segment("Step 1 carries 4: x.\n\n"), key=f"e{i}")])[0].value) for i in range(3000)
    ]
    unsound = [
        z(scorer.rate(SEEN, [chain(Segment("Step 1 carries 5: x.\n\n"), key=f"u{i}")])[0].value) for i in range(3000)
    ]
    assert mean(sound) - mean(unsound) == pytest.approx(2.0, abs=0.12)
    (rating,) = scorer.rate(SEEN, [chain(Segment("Step 1 carries 4: x.\n\nStep 2 carries 5: x.\n\n"), key="s0/s0")])
    assert len(rating.steps) == 2 and rating.value == rating.steps[-1]
