"""Beam search: its waves, its pruning and its merging with lists; budgets, replays and arms over the real spine."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from harness import converse, problem, shape
from hypothesis import given, settings
from hypothesis import strategies as st
from running import digest, ponder, report, rows

from ponder.arms import Parts, cross
from ponder.errors import UsageError
from ponder.ops import Drawn, Extend, Rated, Score, Searching
from ponder.scorers.base import PureScorer, Seen
from ponder.search.beam import beam, build, distinct, read, spread
from ponder.types import Budget, Chain, Finish, Left, Rating

PROBLEM = problem()
Grow = Callable[[Chain, str], Chain]
Rate = Callable[[Chain], float | None]


def below(parent: Chain, key: str, finish: Finish = "step", state: str | None = None) -> Chain:
    return replace(parent, key=key, finish=finish, state=state)


@dataclass
class Played:
    """A search that was fed by hand: its waves as (until, parents' keys, counts), all it saw, what it returned."""

    waves: list[tuple[str, list[str], list[int]]] = field(default_factory=list)
    written: list[Chain] = field(default_factory=list)
    scored: list[list[str]] = field(default_factory=list)
    by: set[str | None] = field(default_factory=set)
    chains: Sequence[Chain] = ()


def play(search: Searching, grow: Grow, rate: Rate = lambda chain: 0.5) -> Played:
    """`grow` writes each new chain; with until='end' it is asked until the chain has ended."""
    played = Played()
    reply: Any = None
    while True:
        try:
            asked = search.send(reply)
        except StopIteration as end:
            played.chains = end.value
            return played
        if isinstance(asked, Extend):
            played.waves.append((asked.until, [c.key for c in asked.chains], asked.counts()))
            new = []
            for parent, count in zip(asked.chains, asked.counts(), strict=True):
                assert not parent.ended, "a chain that ended was extended"
                for number in range(count):
                    chain = grow(parent, f"{parent.key}/{number}".lstrip("/"))
                    while asked.until == "end" and not chain.ended:
                        chain = grow(chain, f"{chain.key}/+")
                    new.append(chain)
            played.written += new
            reply = Drawn(tuple(new), Left())
        else:
            assert isinstance(asked, Score)
            played.scored.append([c.key for c in asked.chains])
            played.by.add(asked.by)
            reply = Rated(tuple(Rating(rate(c)) for c in asked.chains), Left())


def endless(parent: Chain, key: str) -> Chain:
    return below(parent, key, "stop" if "+" in key else "step")


# --- waves


def test_the_waves_of_a_shape() -> None:
    """8/3,12/4,5 with the scores of the last number in the key: the best go first, and take what does not divide."""
    levels, final = read("8/3,12/4,5")
    assert (levels, final) == ([(8, 3), (12, 4)], 5)
    played = play(beam(PROBLEM, levels=levels, final=final), endless, lambda c: int(c.key.split("/")[-1]) / 10)
    assert played.waves == [
        ("step", [""], [8]),
        ("step", ["7", "6", "5"], [4, 4, 4]),
        ("end", ["7/3", "6/3", "5/3", "7/2"], [2, 1, 1, 1]),
    ]
    assert [c.key for c in played.chains] == ["7/3/0/+", "7/3/1/+", "6/3/0/+", "5/3/0/+", "7/2/0/+"]
    assert [len(keys) for keys in played.scored] == [8, 12]


@pytest.mark.parametrize(
    ("settings", "waves"),
    [
        ({}, [([16], "step"), ([4] * 4, "step"), ([4] * 4, "step"), ([1] * 4, "end")]),
        ({"live": 5}, [([16], "step"), ([4, 3, 3, 3, 3], "step"), ([4, 3, 3, 3, 3], "step"), ([1] * 5, "end")]),
        ({"width": 99}, [([16], "step"), ([16], "step"), ([16], "step"), ([1], "end")]),
        ({"width": 8, "final": 16}, [([16], "step"), ([8] * 2, "step"), ([8] * 2, "step"), ([8] * 2, "end")]),
        ({"final": 2}, [([16], "step"), ([4] * 4, "step"), ([4] * 4, "step"), ([1, 1, 0, 0], "end")]),
        ({"shape": "6/2"}, [([6], "step"), ([1, 1], "end")]),
        ({"shape": "6/2", "final": 5}, [([6], "step"), ([3, 2], "end")]),
        ({"shape": " 3/3 , 2/1 , 1 "}, [([3], "step"), ([1, 1, 0], "step"), ([1], "end")]),
        ({"shape": "7"}, [([7], "end")]),
    ],
    ids=str,
)
def test_the_waves_of_settings(settings: dict[str, Any], waves: list[tuple[list[int], str]]) -> None:
    search = build(lambda chains, ratings, left: 16, **{"steps": 3, **settings})
    played = play(search(PROBLEM), endless)
    assert [(counts, until) for until, _, counts in played.waves] == waves


@pytest.mark.parametrize(
    "settings",
    [{"live": -1}, {"width": 0}, {"steps": 0}, {"final": -1}, {"shape": "8/3,5", "final": 2}]
    + [{"shape": s} for s in ("3/8", "8/0", "0/0", "8,4/2", "8/3,", "/", "8/3/2", "0", "8/3;4", "-1", "x", ",", "٣")],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^beam: "):
        build(lambda chains, ratings, left: 4, **settings)


def test_it_asks_the_scorer_that_it_was_told() -> None:
    for by, asked in (("", {None}), ("judge", {"judge"})):
        assert play(build(lambda chains, ratings, left: 4, steps=2, by=by)(PROBLEM), endless).by == asked


def test_spread() -> None:
    assert [spread(12, 5), spread(4, 2), spread(2, 4), spread(5, 1)] == [[3, 3, 2, 2, 2], [2, 2], [1, 1, 0, 0], [5]]


# --- pruning


def test_ended_chains_leave_the_beam_and_wait_in_the_pool() -> None:
    """Only fresh chains are scored; truncated, refused and failed ones are not extended. They come back in order."""
    ends: dict[str, Finish] = {"1": "stop", "2": "length", "3": "refused", "4": "error", "0/0": "budget", "0/1": "stop"}
    played = play(
        beam(PROBLEM, levels=[(6, 1)] * 5),
        lambda p, key: below(p, key, "stop" if "+" in key else ends.get(key, "step")),
    )
    assert played.scored == [["0", "5"], [f"0/{i}" for i in range(2, 6)], *played.scored[2:]]
    assert [c.key for c in played.chains][:6] == ["1", "2", "3", "4", "0/0", "0/1"]


def test_it_ends_where_nothing_can_go_on() -> None:
    for finish in ("stop", "refused", "error", "length", "budget"):
        played = play(beam(PROBLEM, levels=[(3, 1)] * 9), lambda p, key, f=finish: below(p, key, f))  # type: ignore[misc]
        assert len(played.waves) == 1 and len(played.chains) == 3 and not played.scored


def test_a_chain_that_takes_ever_smaller_steps_is_written_to_its_end() -> None:
    played = play(build(lambda chains, ratings, left: 2, steps=7)(PROBLEM), endless)
    assert [until for until, *_ in played.waves] == ["step"] * 7 + ["end"]


def test_chains_without_a_score_come_last_in_their_order() -> None:
    scores = {"0": None, "1": None, "2": 0.0, "3": 0.4}
    played = play(beam(PROBLEM, levels=[(4, 3)]), endless, lambda c: scores[c.key[:1]])
    assert played.waves[1][1] == ["3", "2", "0"]
    played = play(beam(PROBLEM, levels=[(4, 2)]), endless, lambda c: None)
    assert played.waves[1][1] == ["0", "1"]


# --- merging


def test_equal_states_are_merged_into_the_best_scored() -> None:
    states = {"0": "a", "1": "b", "2": "a", "3": None, "4": None, "5": "b", "6": "c"}
    scores = {"0": 0.5, "1": 0.9, "2": 0.6, "3": 0.1, "4": 0.2, "5": 0.9, "6": None}

    def grow(parent: Chain, key: str) -> Chain:
        return below(parent, key, "step" if key in states else "stop", states.get(key))

    merged = play(beam(PROBLEM, levels=[(7, 7)]), grow, lambda c: scores[c.key])
    assert merged.waves[1][1] == ["1", "2", "4", "3", "6"], "a tie goes to the first, and no state is like no other"
    plain = play(beam(PROBLEM, levels=[(7, 7)], merge=False), grow, lambda c: scores[c.key])
    assert plain.waves[1][1] == ["1", "5", "2", "0", "4", "3", "6"]


def test_a_merged_level_is_as_large_as_any_other() -> None:
    played = play(
        beam(PROBLEM, levels=[(6, 3)] * 2), lambda p, key: below(p, key, "stop" if "+" in key else "step", "s")
    )
    assert [counts for *_, counts in played.waves] == [[6], [6], [1]]


# --- properties

LEVELS = st.lists(
    st.integers(1, 12).flatmap(lambda d: st.tuples(st.just(d), st.integers(1, d))), min_size=1, max_size=5
)


@st.composite
def forests(draw: st.DrawFn) -> Grow:
    """A world of chains by key alone: each ends with some chance, and stands in one of few states, or in none."""
    seed, many = draw(st.integers(0, 10**6)), draw(st.integers(1, 6))
    ending = draw(st.sampled_from([0.0, 0.2, 0.6]))

    def grow(parent: Chain, key: str) -> Chain:
        chance = random.Random(f"{seed} {key}")
        finish = (
            chance.choice(["stop", "stop", "length", "refused"]) if chance.random() < ending or "+" in key else "step"
        )
        good = (parent.answer or "1") if chance.random() < 0.5 else "0"
        state = f"{good}{chance.randrange(many)}" if finish == "step" and chance.random() < 0.8 else None
        return replace(below(parent, key, finish, state), answer=good)  # `answer`: whether every step was good

    return grow


@settings(max_examples=300)
@given(LEVELS, st.integers(0, 9), st.booleans(), forests())
def test_no_level_is_larger_than_its_shape_and_a_perfect_scorer_loses_nothing(
    levels: list[tuple[int, int]], final: int, merge: bool, grow: Grow
) -> None:
    def perfect(chain: Chain) -> float:
        return float(chain.answer or 0)

    played = play(beam(PROBLEM, levels=levels, final=final, merge=merge), grow, perfect)
    by_key = {chain.key: chain for chain in played.written}
    *steps, last = played.waves
    for (until, _, counts), (draw, _) in zip(steps, levels, strict=False):
        assert until == "step" and sum(counts) == draw and max(counts) - min(counts) <= 1
        assert counts == sorted(counts, reverse=True)
    for (_, parents, _), (_, keep) in zip(played.waves[1:], levels, strict=False):
        assert len(parents) == len(set(parents)) <= keep
        states = [s for key in parents if (s := by_key[key].state) is not None]
        assert not merge or len(states) == len(set(states))
    if last[0] == "end":
        assert sum(last[2]) == (final or len(last[1])) and len(played.waves) == len(levels) + 1
    assert all(chain.ended for chain in played.chains)
    assert Counter(c.key for c in played.chains) == Counter(c.key for c in played.written if c.ended)
    # Wherever a good step was among the proposals of a level, a good one is kept; all good chains that ended are there.
    for (_, parents, _), scored in zip(played.waves[1:], played.scored, strict=True):
        assert any(by_key[k].answer == "1" for k in scored) <= (by_key[parents[0]].answer == "1")


# --- over the spine


class Even(PureScorer):
    """Likes chains with many of one word; cannot tell of every seventh."""

    def rate(self, seen: Seen, chains: Sequence[Chain]) -> list[Rating]:
        return [Rating(c.text.count("alpha") / (1 + len(c.text)) if len(c.text) % 7 else None) for c in chains]


@settings(max_examples=60)
@given(
    LEVELS, st.integers(0, 5), st.one_of(st.none(), st.integers(1, 150)), st.one_of(st.none(), st.integers(1, 20)),
    st.integers(1, 30), st.integers(1, 5), st.sampled_from(["lockstep", "free"]),
)  # fmt: skip
def test_no_budget_is_exceeded_and_a_replay_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, levels: list[tuple[int, int]], final: int, tokens: int | None,
    samples: int | None, cap: int, group: int, schedule: str,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("beam") / "journal.jsonl"
    budget = Budget(generated=tokens, samples=samples)

    def run(offline: bool) -> list[Any]:
        return converse(
            lambda p: beam(p, levels=levels, final=final), names=["a", "b"], scorers=[Even("even")], budget=budget,
            cap=cap, group=group, path=path, offline=offline, schedule=None if offline else schedule,  # type: ignore[arg-type]
        )  # fmt: skip

    for one, again in zip(run(False), run(True), strict=True):
        spent = one.account.spent
        assert one.failure is None and one.chains and all(c.ended for c in one.chains)
        assert sum(c.tokens for c in one.session.written.values()) == spent.generated <= (tokens or spent.generated)
        assert spent.samples <= (samples or spent.samples)
        if tokens is None and samples is None:
            assert all(c.finish in ("stop", "length") for c in one.chains)
        assert shape(again.chains) == shape(one.chains) and again.account.spent == spent


@pytest.mark.parametrize("search", ["beam", "steered"])
@pytest.mark.parametrize("more", [(), ("--tokens", 150), ("--tokens", 30)], ids=["free", "150", "30"])
def test_eval_runs_it_and_replays_it(tmp_path: Path, search: str, more: tuple[object, ...]) -> None:
    done = ponder(
        "eval", "--model", "simulated:school", "--search", f"sample,{search}", "--select", "vote,best", "--scorer",
        "planted,random", "--samples", "3,8", "--limit", 25, "--out", tmp_path / "run", "--json", *more,
    )  # fmt: skip
    assert done.status == 0, done.err
    found = done.json["rows"]
    trees = [row for row in found if row["search"] == search]
    assert len(trees) == 2 * 2 * 2 and len(found) == 8 + 2 * 3, "a tree for each scorer, whatever the selector"
    assert not any(row["exact"] for row in trees) and {row["scorer"] for row in trees} == {"planted", "random"}
    assert all(row["unverified"] == 0 and row["problems"] == 25 for row in found)
    assert all(row["exact"] for row in found if row["search"] == "sample") or more
    if more:
        assert all(row["cost"]["generated"] <= 25 * int(str(more[1])) for row in found)
    again = ponder("eval", "--replay", tmp_path / "run", "--out", tmp_path / "again", "--json")
    assert again.status == 0 and again.json["digest"] == done.json["digest"] == digest(rows(tmp_path / "run"))
    assert (tmp_path / "again" / "samples.jsonl").read_bytes() == (tmp_path / "run" / "samples.jsonl").read_bytes()
    for one, other in zip(found, again.json["rows"], strict=True):
        assert one | {"cost": None} == other | {"cost": None} and one["cost"] == pytest.approx(other["cost"], abs=1e-5)


def test_pruning_by_a_good_scorer_pays_and_by_a_random_one_does_not(tmp_path: Path) -> None:
    done = ponder(
        "eval", "--model", "simulated:school", "--search", "sample,beam,steered", "--scorer", "planted,random",
        "--select", "vote,best", "--samples", 8, "--limit", 200, "--set", "planted.dprime=3",
        "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    right = {(row["search"], row["scorer"]): row["accuracy"] for row in done.json["rows"] if row["select"] == "vote"}
    assert right["beam", "planted"] > 0.9 > right["sample", None] + 0.2
    assert right["steered", "planted"] > 0.9 and right["steered", "random"] < 0.6
    assert abs(right["beam", "random"] - right["sample", None]) < 0.1
    assert report(tmp_path / "run")["digest"]


def test_a_tree_that_outlives_its_budget_has_no_answer_and_is_wrong(tmp_path: Path) -> None:
    """Nothing ended, but the model was heard: not counting the problem would flatter the tree."""
    done = ponder(
        "eval", "--model", "simulated:school", "--search", "steered", "--scorer", "planted",
        "--samples", 4, "--limit", 30, "--tokens", 90, "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    (row,) = done.json["rows"]
    assert done.status == 0 and row["problems"] == 30 and row["unverified"] == 0
    assert row["refused"] > 0 and row["accuracy"] == row["accuracy_all"] < 0.9


def test_a_branch_that_the_journal_does_not_hold_is_not_a_wrong_answer(tmp_path: Path) -> None:
    """Another scorer takes another way, which nobody has drawn: unverified, and said."""
    run = (
        "eval",
        "--model",
        "simulated:school",
        "--search",
        "steered",
        "--select",
        "best",
        "--samples",
        4,
        "--limit",
        20,
    )
    assert ponder(*run, "--scorer", "planted", "--out", tmp_path / "run").status == 0
    other = ponder("eval", "--replay", tmp_path / "run", "--scorer", "random", "--json")
    (row,) = other.json["rows"]
    assert other.status == 3 and 0 < row["unverified"] == row["refused"] < 20
    assert "the journal holds no more" in other.err


# --- its scorer


def test_the_scorer_of_a_search_is_loaded_needed_and_settable() -> None:
    vote = cross(["sample", "beam"], ["vote"], [], ["fixed"], [4])
    parts = Parts(vote, {"beam.by": "confidence"})
    assert list(parts.scorers) == ["confidence"] and parts.needs["logprobs"] == "scorer 'confidence'"
    assert [(g.search, g.scorer) for g in parts.groups] == [("sample", None), ("beam", "confidence")]
    assert Parts(vote, {"beam.by": "planted", "planted.dprime": 3.0}).scorers["planted"].name == "planted"

    both = cross(["sample", "beam"], ["vote", "best"], ["random", "planted"], ["fixed"], [4])
    assert [a.name for a in both] == [
        "sample/fixed/4/vote", "sample/fixed/4/best/random", "sample/fixed/4/best/planted", "beam/fixed/4/vote/random",
        "beam/fixed/4/vote/planted", "beam/fixed/4/best/random", "beam/fixed/4/best/planted",
    ]  # fmt: skip
    assert [(g.search, g.scorer, len(g.arms)) for g in Parts(both, {}).groups] == [
        ("sample", None, 3), ("beam", "random", 2), ("beam", "planted", 2),
    ]  # fmt: skip
    # One tree, whose chains the selectors judge by their own scorers: the vote has no use for any.
    told = Parts(both, {"beam.by": "confidence"})
    assert [(g.search, g.scorer, len(g.arms)) for g in told.groups] == [("sample", None, 3), ("beam", "confidence", 3)]
    assert [a.name for a in told.arms if a.search == "beam"] == [
        "beam/fixed/4/vote", "beam/fixed/4/best/random", "beam/fixed/4/best/planted",
    ]  # fmt: skip
    assert set(told.scorers) == {"random", "planted", "confidence"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--search beam needs a scorer; add --scorer"),
        (("--set", "beam.by=plantd"), "unknown scorer 'plantd'; did you mean 'planted'?"),
        (("--set", "beam.by=5"), "unknown scorer '5'"),
        (("--set", "sample.by=planted"), "'sample' is not in use here"),
        (("--scorer", "planted", "--stop", "fixed,adaptive"), "--stop adaptive: search 'beam' ends by its own steps"),
        (("--scorer", "planted", "--set", "beam.shape=3/8"), "beam: shape='3/8': give DRAW/KEEP"),
        (("--scorer", "planted", "--set", "beam.live=2.5"), "must be a whole number"),
    ],
)
def test_what_cannot_run_is_refused_before_the_first_request(
    tmp_path: Path, arguments: tuple[object, ...], said: str
) -> None:
    done = ponder("eval", "--model", "simulated:school", "--search", "beam", "--out", tmp_path / "run", *arguments)
    assert done.status == 2 and said in done.err and len(done.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_search_without_a_step_is_refused_to_a_chat_server(tmp_path: Path) -> None:
    done = ponder(
        "eval", "--model", "openai:toy", "--base-url", "http://127.0.0.1:9/v1", "--task", "simulated:school",
        "--search", "beam", "--scorer", "random", "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.status == 2 and "search 'beam' needs 'continues'" in done.err


@pytest.mark.parametrize("search", ["beam", "steered"])
def test_solve(search: str) -> None:
    ask = ("solve", "--model", "simulated:school", "--search", search, "--samples", 8, "--json")
    text = "Problem 3 of the simulated world 'school'. Find its number."
    done = ponder(*ask, "--scorer", "planted", text)
    assert done.status == 0 and done.json["answer"].isdigit()
    assert done.json == ponder(*ask, "--set", f"{search}.by=planted", text).json
    with pytest.raises(UsageError, match="needs a scorer"):
        Parts(cross([search], ["vote"], [], ["fixed"], [8]), {})


def test_distinct_tells_a_state_from_a_key() -> None:
    chains = [Chain("p", "0", state="1"), Chain("p", "1"), Chain("p", "2", state="")]
    assert distinct([*chains, Chain("p", "3", state=""), Chain("p", "4", state="1")]) == chains


@pytest.mark.parametrize(
    "scoring",
    [("--scorer", "planted,random"), ("--set", "beam.by=planted", "--set", "steered.by=random")],
    ids=["scorer", "by"],
)
def test_a_vote_over_trees_runs_and_replays(tmp_path: Path, scoring: tuple[object, ...]) -> None:
    """No selector scores, the searches do; a scorer named by a search keeps its settings in a replay."""
    done = ponder(
        "eval", "--model", "simulated:school", "--search", "sample,beam,steered", *scoring, "--set",
        "planted.dprime=3", "--samples", 4, "--limit", 20, "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    again = ponder("eval", "--replay", tmp_path / "run", "--json")
    assert again.status == 0 and again.json["digest"] == done.json["digest"]
