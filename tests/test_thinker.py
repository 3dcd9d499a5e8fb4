"""ponder.Thinker: one answer from Python, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ponder
from ponder.cli.group import guarded

PROBLEM = "Problem 3 of the simulated world 'school'. Find its number."  # its answer is 8385


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def test_answer_confidence_cost_and_chains() -> None:
    thought = ponder.Thinker(model="simulated:school", samples=16, select="vote")(PROBLEM, task="number")
    assert thought.answer == "8385"
    assert len(thought.chains) == thought.cost.samples == 16
    agreeing = sum(chain.answer == "8385" for chain in thought.chains)
    assert thought.confidence == agreeing / 16
    assert thought.cost.generated == sum(chain.tokens for chain in thought.chains)
    assert not thought.cut


def test_the_same_seed_gives_the_same_thought_and_another_seed_others() -> None:
    first, again, other = (
        ponder.Thinker(model="simulated:school", samples=8, seed=seed)(PROBLEM, task="number") for seed in (0, 0, 1)
    )
    assert first == again
    assert [chain.text for chain in first.chains] != [chain.text for chain in other.chains]


def test_a_thinker_thinks_again_with_the_whole_budget() -> None:
    think = ponder.Thinker(model="simulated:school", samples=16, tokens=200)
    costs = [think(PROBLEM, task="number").cost.generated for _ in range(2)]
    assert costs[0] == costs[1] <= 200


def test_a_budget_cuts_and_says_so() -> None:
    thought = ponder.Thinker(model="simulated:school", samples=16, tokens=100)(PROBLEM, task="number")
    assert thought.cut
    assert thought.cost.generated <= 100
    assert any(chain.finish == "refused" for chain in thought.chains)


def test_no_time_gives_no_answer() -> None:
    thought = ponder.Thinker(model="simulated:school", seconds=1e-9)(PROBLEM, task="number")
    assert (thought.answer, thought.cost.generated) == (None, 0)


def test_scorers_and_their_settings() -> None:
    think = ponder.Thinker(
        model="simulated:school", samples=16, select="best", scorer="planted", set={"planted.dprime": 6}
    )
    thought = think(PROBLEM, task="number")
    assert thought.answer == "8385"
    assert thought.confidence is not None and thought.confidence > 0.9


def test_it_is_the_command_lines_answer(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["solve", "--model", "simulated:school", "--samples", "5", "--seed", "4", PROBLEM]
    assert guarded(__import__("ponder.cli", fromlist=["main"]).main, arguments) == 0
    thought = ponder.Thinker(model="simulated:school", samples=5, seed=4)(PROBLEM, task="number")
    assert capsys.readouterr().out.splitlines()[0] == thought.answer


def test_watch_is_told() -> None:
    events: list[str] = []
    think = ponder.Thinker(model="simulated:school", samples=4)
    think(PROBLEM, task="number", watch=lambda event, what: events.append(event))
    assert "answered" in events
    assert events[-1] == "found"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"samples": [1, 4]}, "samples"),
        ({"select": ["vote", "best"], "scorer": "random"}, "select"),
        ({"select": "best"}, "scorer"),
        ({"scorer": ["random", "planted"]}, "scorer"),
        ({"dollars": 1}, "price"),
        ({"samples": 0}, "samples"),
        ({"select": "votes"}, "did you mean 'vote'"),
    ],
)
def test_bad_settings_are_refused_when_it_is_made(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ponder.UsageError, match=said):
        ponder.Thinker(model="simulated:school", **settings)


def test_an_unknown_keyword_is_a_usage_error() -> None:
    with pytest.raises(ponder.UsageError, match="sampels"):
        ponder.Thinker(model="simulated:school", sampels=4)


def test_no_model_and_an_empty_problem_are_refused() -> None:
    with pytest.raises(ponder.UsageError, match="no model"):
        ponder.Thinker()(PROBLEM)
    with pytest.raises(ponder.UsageError, match="empty"):
        ponder.Thinker(model="simulated:school")("  ")


def test_what_the_engine_cannot_do_is_its_error() -> None:
    with pytest.raises(ponder.EngineError, match="simulated world"):
        ponder.Thinker(model="simulated:school")("What is 6 * 7?")
