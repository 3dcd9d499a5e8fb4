"""Each claim has a world in which it is true."""

from __future__ import annotations

import numpy as np
import pytest
from running import ponder

from ponder.measure import details, length
from ponder.measure.flips import vote_accuracy
from ponder.worlds import WORLDS, soundness, world


def chances(name: str, problems: int = 2000) -> np.ndarray:
    return np.array([world(name).p(i) for i in range(problems)])


def test_coverage_ends_or_rises_as_a_power() -> None:
    assert np.mean(chances("unsolved") == 0) == pytest.approx(0.3, abs=0.03)
    missed = [np.mean((1 - chances("scarce")) ** k) for k in (100, 200, 400)]
    assert missed[1] / missed[0] == pytest.approx(2**-0.3, abs=0.03)
    assert missed[2] / missed[1] == pytest.approx(2**-0.3, abs=0.03)


def test_one_guess_of_the_strong_is_ten_of_the_weak() -> None:
    np.testing.assert_allclose(chances("strong", 50), 1 - (1 - chances("weak", 50)) ** 10)


def test_more_votes_help_or_hurt() -> None:
    for name, low, high in (
        ("rival", 0.56, 0.95),
        ("close", 0.20, 0.92),
        ("scattered", 0.11, 0.82),
        ("misled", 0.35, 0),
    ):
        place = world(name)
        p, weights = place.p(0), np.array(place.rivals)
        rivals = ((1 - p) * weights / weights.sum()).tolist()
        assert vote_accuracy(p, rivals, 6, draws=4000) == pytest.approx(low, abs=0.1), name
        assert vote_accuracy(p, rivals, 1024, draws=2000) == pytest.approx(high, abs=0.05), name


def test_long_chains_leave_the_track_half_way(tmp_path) -> None:  # type: ignore[no-untyped-def]
    arguments = ("--model", "simulated:long", "--task", "simulated:long", "--samples", "8", "--limit", "40")
    assert ponder("eval", *arguments, "--out", tmp_path / "run").status in (0, 3)
    import json

    rows = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    for row in rows:
        valid = np.cumprod(soundness(row["text"])).astype(bool)
        row["steps"] = [{"valid": bool(v), "tokens": 4} for v in valid]
    more = details.of_rows(rows)
    found = length.track(more.steps, more.draws.problem)
    assert found is not None
    star, hazard = length.half_life(found), length.hazard_a_step(found)
    assert star.value == pytest.approx(6, abs=1)
    assert hazard.low is not None and hazard.high is not None and hazard.low < 0.1 < hazard.high


def test_worlds_say_what_they_are() -> None:
    assert all(place.about and place.rivals for place in WORLDS.values())
