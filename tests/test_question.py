"""A problem under every arm: shared draws, who pays for what, and the rows that record it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ponder.arms import Arm, Parts, cross
from ponder.engines.base import Request
from ponder.engines.scripted import ScriptedEngine
from ponder.errors import UsageError
from ponder.evaluate import Plan, run
from ponder.journal import Journal
from ponder.ledger import Purse
from ponder.ops import Ask, Extend, Searching
from ponder.registry import Entry
from ponder.scorers import SCORERS
from ponder.scorers.base import Seen
from ponder.search import SEARCHES
from ponder.tasks.base import Row, RowTask
from ponder.tasks.rules import NumberRules
from ponder.types import Budget, Chain, Message, Problem, Rating, Sampling, Verdict

EXCHANGEABLE = False


def pruning_tree(stop: object) -> object:
    """A search for these tests: 3 first steps, all go on; the first two are returned."""

    def search(problem: Problem) -> Searching:
        first = yield Extend([problem.root], n=3, until="step")
        rest = yield Extend(first.chains, n=[2, 1, 0])  # type: ignore[union-attr]
        return rest.chains[:2]  # type: ignore[union-attr]

    return search


class Thinking:
    name, pure, needs = "thinking", False, {}  # type: ignore[var-annotated]

    def rate(self, seen: Seen, chains: Sequence[Chain]) -> Any:
        def think():  # type: ignore[no-untyped-def]
            yield Ask([Message("user", "rate them")], n=1)
            return [Rating(0.5) for _ in chains]

        return think()


@pytest.fixture(autouse=True)
def parts_for_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEARCHES._entries, "pruning_tree", Entry(f"{__name__}:pruning_tree", "test"))
    monkeypatch.setitem(SCORERS._entries, "thinking", Entry(f"{__name__}:Thinking", "test"))
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _here())


def _here() -> Any:
    import types

    module = types.ModuleType(__name__)
    module.__dict__.update(globals())
    return module


def task(count: int = 2, rules: NumberRules | None = None) -> RowTask:
    return RowTask("t", [Row(f"q{i}", f"question {i}", str(i), rules or NumberRules()) for i in range(count)])


def answer_by_seed(request: Request, index: int) -> str:
    if request.stop and not request.chain.text:
        return "a first step\n\nmore"
    return f"the answer is {request.seeds[index] % 3}"


def play(arms: list[Arm], tmp_path: Path, *, count: int = 2, budget: Budget | None = None, rules: Any = None) -> Any:
    rows: list[dict[str, Any]] = []
    found = {}

    def watch(event: str, what: Any) -> None:
        if event == "found":
            rows.extend(what.rows)
            found[what.problem] = what

    engine = ScriptedEngine(answer_by_seed)
    plan = Plan(task(count, rules), Parts(arms, {}), Sampling(), budget or Budget())
    done = run(plan, engine, Journal(), Purse(), tmp_path / "samples.jsonl", watch=watch)
    return done, rows, found, engine


def test_equal_draws_are_shared_between_arms_and_charged_to_each(tmp_path: Path) -> None:
    arms = cross(["sample"], ["vote", "best"], ["random"], ["fixed", "adaptive"], [1, 4, 8])
    done, rows, _, _ = play(arms, tmp_path)
    assert len(arms) == 12 and len(rows) == 2 * 8
    assert done.cost.samples == 16, "the run pays once"
    for arm in arms:
        tally = done.tallies[arm.name]
        assert tally.problems == 2
        if arm.stop == "fixed":
            assert tally.cost.samples == 2 * arm.samples, "each arm pays for all it used"
    assert [row["sample"] for row in rows] == [*range(8)] * 2
    for row in rows:
        drew = {name.split("/")[2] for name in row["arms"] if "/fixed/" in f"/{name}"}
        assert ("1" in drew) == (row["sample"] < 1) and ("4" in drew) == (row["sample"] < 4) and "8" in drew


def test_exactly_one_chain_is_picked_for_each_problem_and_arm(tmp_path: Path) -> None:
    arms = cross(["sample"], ["vote", "weighted"], ["random"], ["fixed"], [3, 5])
    _, rows, _, _ = play(arms, tmp_path)
    for name in ("q0", "q1"):
        picked = [arm for row in rows if row["problem"] == name for arm in row["picked"]]
        assert sorted(picked) == sorted(arm.name for arm in arms)


def test_tree_rows_count_a_shared_prefix_once_and_pruned_branches_have_rows(tmp_path: Path) -> None:
    done, rows, found, _ = play([Arm("pruning_tree", "fixed", 4, "vote")], tmp_path, count=1)
    assert not done.failures
    assert [(row["key"], row["tokens"]) for row in rows] == [("s2", 3), ("s0/e0", 7), ("s0/e1", 4), ("s1/e0", 7)]
    cost = found["q0"].given["pruning_tree/fixed/4/vote"].cost
    assert sum(row["tokens"] for row in rows) == cost.generated == 21
    assert cost.samples == 4 == len(rows)
    assert rows[0]["correct"] is False and rows[0]["answer"] is None and "pruned" in rows[0]["reason"]


def test_only_the_arm_that_scores_pays_for_scoring(tmp_path: Path) -> None:
    arms = cross(["sample"], ["vote", "best"], ["thinking"], ["fixed"], [4])
    done, rows, _, _ = play(arms, tmp_path)
    vote, best = (done.tallies[arm.name].cost for arm in arms)
    assert vote.scorer == 0 and best.scorer > 0 and vote.generated == best.generated
    assert len(rows) == 8, "what a scorer thinks has no rows"


def test_a_verifier_that_breaks_is_unverified_and_counted_apart(tmp_path: Path) -> None:
    class Broken(NumberRules):
        def judge(self, reference: Any, completion: str) -> Verdict:
            raise OSError("checker gone")

    done, rows, _, _ = play(cross(["sample"], ["vote"], [], ["fixed"], [2]), tmp_path, rules=Broken())
    (tally,) = done.tallies.values()
    assert tally.unverified == 2 and not done.sound and not done.failures
    assert all(row["correct"] is None and "checker gone" in row["reason"] for row in rows)


def test_arms_are_crossed_and_checked() -> None:
    arms = cross(["sample"], ["vote", "best"], ["random", "confidence"], ["fixed"], [2])
    assert [arm.name for arm in arms] == [
        "sample/fixed/2/vote",
        "sample/fixed/2/best/random",
        "sample/fixed/2/best/confidence",
    ]
    with pytest.raises(UsageError, match="needs a scorer"):
        cross(["sample"], ["best"], [], ["fixed"], [2])
    with pytest.raises(UsageError, match="did you mean 'vote'"):
        cross(["sample"], ["votes"], [], ["fixed"], [2])
    with pytest.raises(UsageError, match="not in use"):
        Parts(arms, {"adaptive.tau": 0.9})
    with pytest.raises(UsageError, match=r"adaptive.*tua"):
        Parts(cross(["sample"], ["vote"], [], ["adaptive"], [2]), {"adaptive.tua": 0.9})
