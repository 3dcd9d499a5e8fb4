"""What each operation means: keys, allowances, refunds, shared draws, scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from harness import LastWord, One, converse, problem, seeded, shape
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.engines.base import Request
from ponder.engines.scripted import Reply, ScriptedEngine
from ponder.errors import SearchError
from ponder.journal import Journal
from ponder.ledger import Account, Purse
from ponder.ops import Ask, Drawn, Extend, Rated, Score, Scoring, Searching, top
from ponder.record import Record
from ponder.scorers.base import PureScorer, Seen
from ponder.session import Session, Setting
from ponder.types import FREE, Budget, Chain, Cost, Message, Problem, Rating, Segment


class Length(PureScorer):
    """Longer is better: something that looks at the text."""

    def rate(self, seen: Seen, chains: Sequence[Chain]) -> list[Rating]:
        return [Rating(min(1.0, len(chain.text) / 200)) for chain in chains]


def flat(n: int, until: str = "end") -> Callable[[Problem], Searching]:
    def search(problem: Problem) -> Searching:
        reply = yield Extend([problem.root], n=n, until=until)  # type: ignore[arg-type]
        return reply.chains  # type: ignore[union-attr]

    return search


def tree(problem: Problem) -> Searching:
    """Two levels: 6 first steps, the 2 best go on 3 ways each, the best of those are written to their ends."""
    reply = yield Extend([problem.root], n=6, until="step")
    ratings = yield Score(reply.chains)  # type: ignore[union-attr]
    kept = top(reply.chains, ratings, 2)  # type: ignore[union-attr, arg-type]
    reply = yield Extend(kept, n=3, until="step")
    ratings = yield Score(reply.chains)  # type: ignore[union-attr]
    kept = top(reply.chains, ratings, 3)  # type: ignore[union-attr, arg-type]
    reply = yield Extend(kept, n=1, until="end")
    return reply.chains  # type: ignore[union-attr]


def fixed(text: str, **reply: object) -> ScriptedEngine:
    return ScriptedEngine(lambda request, index: Reply(text, **reply))  # type: ignore[arg-type]


def test_extend_gives_as_many_as_asked_parent_major_with_paths_for_keys() -> None:
    seen: list[Drawn] = []

    def search(problem: Problem) -> Searching:
        first = yield Extend([problem.root], n=2, until="step")
        assert isinstance(first, Drawn)
        second = yield Extend(first.chains, n=[1, 3], until="end")
        assert isinstance(second, Drawn)
        seen.extend([first, second])
        return second.chains

    script = ScriptedEngine(lambda request, index: Reply("one step\n\nmore 1"))
    (one,) = converse(search, script)
    assert [c.key for c in seen[0].chains] == ["s0", "s1"]
    assert [c.finish for c in seen[0].chains] == ["step", "step"]
    assert seen[0].chains[0].text == "one step\n\n"
    assert [c.key for c in one.chains] == ["s0/e0", "s1/e0", "s1/e1", "s1/e2"]
    assert one.chains[1].parent == "s1" and one.chains[1].text.startswith("one step\n\none step")
    assert one.chains[0].answer == "1" and seen[0].chains[0].answer is None


def test_asking_again_continues_the_numbering_and_draws_something_new() -> None:
    def search(problem: Problem) -> Searching:
        first = yield Extend([problem.root], n=2)
        second = yield Extend([problem.root], n=2)
        return [*first.chains, *second.chains]  # type: ignore[union-attr]

    (one,) = converse(search)
    assert [c.key for c in one.chains] == ["e0", "e1", "e2", "e3"]
    assert shape(one.chains) == shape(converse(flat(4))[0].chains), "a wave draws what one request would"


def test_an_ended_chain_comes_back_unchanged_and_uncharged() -> None:
    def search(problem: Problem) -> Searching:
        first = yield Extend([problem.root], n=1)
        again = yield Extend(first.chains, n=3)  # type: ignore[union-attr]
        assert again.chains == first.chains * 3  # type: ignore[union-attr]
        return again.chains  # type: ignore[union-attr]

    (one,) = converse(search, fixed("four words end 7"))
    assert one.account.spent.generated == 4 and one.account.spent.samples == 1


def test_a_chain_at_a_step_says_where_it_stands_and_says_it_again_in_a_replay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The rules read the problem's text and the reply so far; an ended or cut chain stands where it stood before its
    last step, a refused one nowhere."""

    class Counted(LastWord):
        def state(self, problem: str, text: str) -> str | None:
            words = text.split()
            return f"{problem}: {len(words)} words" if len(words) != 3 else None

    monkeypatch.setattr("harness.LastWord", Counted)
    found: list[list[str | None]] = []

    def search(problem: Problem) -> Searching:
        first = yield Extend([problem.root], n=5, until="step")
        second = yield Extend(first.chains, n=2, until="step")  # type: ignore[union-attr]
        third = yield Extend(second.chains, until="step")  # type: ignore[union-attr]
        found.append([c.state for reply in (first, second, third) for c in reply.chains])  # type: ignore[union-attr]
        for chain in (*first.chains, *second.chains, *third.chains):  # type: ignore[union-attr]
            steps = Counted().steps(chain.text)
            words = len("".join(steps if chain.finish == "step" else steps[:-1]).split())
            stands = chain.drawn and words != 3
            assert chain.state == (f"say something about p: {words} words" if stands else None)
        return third.chains  # type: ignore[union-attr]

    budget, path = Budget(generated=60), tmp_path / "journal.jsonl"
    for offline in (False, True):
        (one,) = converse(search, budget=budget, path=path, offline=offline)
        assert one.failure is None
        assert {c.finish for c in one.chains} >= {"step", "budget", "refused"}
    assert found[0] == found[1] and len({*found[0]}) > 3
    assert problem().root.state is None


def test_append_adds_a_given_segment_that_counts_no_tokens() -> None:
    prompts: list[str] = []

    def script(request: Request, index: int) -> str:
        prompts.append(request.chain.text)
        return "first try 1" if not request.chain.text else "second try 2"

    def search(problem: Problem) -> Searching:
        first = yield Extend([problem.root], n=1, until="step", append="Let me see. ")
        return first.chains  # type: ignore[union-attr]

    (one,) = converse(search, ScriptedEngine(script))
    (chain,) = one.chains
    assert chain.segments[0] == Segment("Let me see. ", kind="given") and prompts == ["Let me see. "]
    assert chain.text == "Let me see. second try 2" and one.account.spent.generated == 3
    assert one.account.spent.samples == 1, "a child of the root with given text is still a leaf of the root"


def test_samples_are_leaves_n_for_a_root_and_n_minus_one_for_any_other_parent() -> None:
    (one,) = converse(tree, fixed("a step\n\n", finish="stop"), scorers=[Length("length")])
    # 6 from the root; 2 parents x 3 children add 2 each; 3 parents x 1 child add none
    assert one.account.spent.samples == 6 + 4


def test_allowances_are_granted_in_index_order_and_refunds_go_to_those_that_wait() -> None:
    asked: list[tuple[str, int]] = []

    def script(request: Request, index: int) -> str:
        asked.append((request.keys[index], request.allowance))
        return "five words and then 9"

    (one,) = converse(flat(4), ScriptedEngine(script, cap=40), budget=Budget(generated=60), cap=40)
    # 60 = 40 + 20 at once; refunds of 35 and 15 let the others follow
    assert asked[:2] == [("e0", 40), ("e1", 20)]
    assert [key for key, _ in asked] == ["e0", "e1", "e2", "e3"]
    assert all(allowance >= 5 for _, allowance in asked) and one.account.spent.generated == 20


def test_a_budget_that_ends_leaves_refused_chains_and_cut_ones() -> None:
    (one,) = converse(flat(5), fixed("one two three four five six 8"), budget=Budget(generated=17), cap=7, group=1)
    finishes = [c.finish for c in one.chains]
    assert len(one.chains) == 5 and one.account.spent.generated == 17
    assert finishes == ["stop", "stop", "budget", "refused", "refused"]
    assert all(c.text == "" and not c.drawn for c in one.chains[3:])
    assert [c.key for c in one.session.written.values()] == ["e0", "e1", "e2"]  # type: ignore[union-attr]


def test_a_chain_at_the_cap_ends_by_length_not_by_budget() -> None:
    (one,) = converse(flat(1), ScriptedEngine(lambda r, i: "a b c d e f", cap=4), cap=4)
    assert one.chains[0].finish == "length" and one.chains[0].truncated


def test_a_sample_limit_refuses_the_rest() -> None:
    (one,) = converse(flat(5), budget=Budget(samples=3))
    assert [c.drawn for c in one.chains] == [True] * 3 + [False] * 2


def test_a_request_limit_counts_requests_not_chains() -> None:
    (one,) = converse(flat(6), budget=Budget(requests=2), group=2)
    assert [c.drawn for c in one.chains] == [True] * 4 + [False] * 2
    assert one.account.spent.requests == 2


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 120),
    st.integers(1, 30),
    st.integers(1, 12),
    st.integers(1, 5),
    st.sampled_from(["lockstep", "free"]),
)
def test_no_budget_is_ever_exceeded(tokens: int, cap: int, n: int, group: int, schedule: str) -> None:
    found = converse(
        flat(n),
        ScriptedEngine(seeded, cap=cap),
        names=["a", "b", "c"],
        budget=Budget(generated=tokens),
        cap=cap,
        group=group,
        schedule=schedule,  # type: ignore[arg-type]
    )
    for one in found:
        assert len(one.chains) == n
        assert sum(c.tokens for c in one.chains) == one.account.spent.generated <= tokens
        assert one.account.left().generated == tokens - one.account.spent.generated
        if any(c.finish == "refused" for c in one.chains):
            assert one.account.spent.generated == tokens, "nothing is refused while anything is left"


def test_score_rates_each_chain_once_and_is_read_as_a_sequence() -> None:
    calls: list[int] = []

    class Counting(Length):
        def rate(self, seen: Seen, chains: Sequence[Chain]) -> list[Rating]:
            calls.append(len(chains))
            return super().rate(seen, chains)

    def search(problem: Problem) -> Searching:
        reply = yield Extend([problem.root], n=3)
        chains = reply.chains  # type: ignore[union-attr]
        ratings = yield Score(chains)
        again = yield Score([*chains, chains[0]], by="length")
        assert isinstance(ratings, Rated) and list(again)[:3] == list(ratings) and again[3] == ratings[0]  # type: ignore[index, arg-type]
        return top(chains, ratings, 1)

    (one,) = converse(search, scorers=[Counting("length")])
    assert calls == [3] and len(one.chains) == 1


def test_the_verifier_is_not_for_inference() -> None:
    def search(problem: Problem) -> Searching:
        reply = yield Extend([problem.root], n=1)
        yield Score(reply.chains, by="verifier")  # type: ignore[union-attr]
        return []

    (one,) = converse(search)
    assert one.failure is not None and "granted only to training" in one.failure


class Judge:
    """A scorer that thinks: asks for a critique of each chain and reads a digit from it."""

    name = "judge"
    pure = False
    needs: Mapping[str, str] = MappingProxyType({})

    def rate(self, seen: Seen, chains: Sequence[Chain]) -> Scoring:
        return self._think(seen, chains)

    def _think(self, seen: Seen, chains: Sequence[Chain]) -> Scoring:
        ratings = []
        for chain in chains:
            reply = yield Ask([Message("user", f"judge: {chain.text}")], n=2)
            votes = [int(c.answer or 0) / 9 for c in reply.chains]  # type: ignore[union-attr]
            ratings.append(Rating(min(votes)))
        return ratings


def test_a_thinking_scorer_is_a_child_whose_tokens_are_scorer_tokens() -> None:
    def script(request: Request, index: int) -> str:
        return "I say 9" if "judge:" in request.chain.prompt[0].content else "an answer 4"

    def search(problem: Problem) -> Searching:
        reply = yield Extend([problem.root], n=3)
        ratings = yield Score(reply.chains)  # type: ignore[union-attr]
        assert [r.value for r in ratings] == [1.0] * 3  # type: ignore[union-attr]
        return reply.chains  # type: ignore[union-attr]

    (one,) = converse(search, ScriptedEngine(script), scorers=[Judge()])
    assert one.failure is None
    spent = one.account.spent
    assert spent.generated == 9 and spent.samples == 3
    assert spent.scorer == 3 * 2 * 3 + 3 * len(["judge:", "an", "answer", "4"])
    assert set(one.session.written) == {"e0", "e1", "e2"}, "its chains reach no row"  # type: ignore[union-attr]


class Reading:
    """A scorer with a model of its own: it reads each chain once, and remembers."""

    name, pure = "reading", False
    needs: Mapping[str, str] = MappingProxyType({})

    def __init__(self) -> None:
        self.read: list[str] = []

    def rate(self, seen: Seen, chains: Sequence[Chain]) -> list[Rating]:
        fresh = [0 if chain.text in self.read else len(chain.text.split()) for chain in chains]
        self.read += [chain.text for chain in chains]
        return [Rating(min(1.0, len(c.text) / 200), (0.5,), n) for c, n in zip(chains, fresh, strict=True)]


@pytest.mark.parametrize("search", [flat(4), tree], ids=["flat", "tree"])
def test_ratings_cost_in_a_replay_and_in_a_resumed_run_what_they_cost_at_first(
    search: Callable[[Problem], Searching], tmp_path: Path
) -> None:
    def rated(problem: Problem) -> Searching:
        chains = yield from search(problem)
        for _ in range(2):  # asked for twice, paid once
            yield Score(chains)
        return chains

    path, purse, scorer, names = tmp_path / "journal.jsonl", Purse(), Reading(), ("p", "q")
    live = converse(rated, path=path, scorers=[scorer], purse=purse, names=names)
    words = [sum(len(text.split()) for text in scorer.read)]
    assert [sum(one.account.spent.scorer for one in live)] == words and purse.spent.scorer == words[0] > 0
    later = Reading()
    for offline in (True, False):
        purse = Purse()
        again = converse(rated, path=path, scorers=[later], purse=purse, names=names, offline=offline)
        assert [one.account.spent for one in again] == [one.account.spent for one in live]
        assert later.read == [] and purse.spent == FREE, "nothing is read or paid again"
    journal = Journal(path, readonly=True)
    assert sum(Record.load(name, journal).spent.scorer for name in names) == words[0]


def test_a_journal_that_knows_no_tokens_of_ratings_loads_and_they_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    (live,) = converse(tree, path=path, scorers=[Reading()])
    lines = []
    for event in map(json.loads, path.read_text().splitlines()):
        event = {key: value for key, value in event.items() if event["kind"] != "scored" or key not in OLD}
        lines.append(json.dumps(event))
    path.write_text("\n".join(lines) + "\n")
    later = Reading()
    (again,) = converse(tree, path=path, scorers=[later], offline=True)
    assert shape(again.chains) == shape(live.chains) and later.read == []
    assert again.account.spent == replace(live.account.spent, scorer=0)


OLD = ("tokens", "chain")  # fields that 'scored' events did not have


class Selected(One):
    """A conversation with arms that differ in their selector alone: each has its chains rated for it."""

    def play(self) -> Any:
        yield from super().play()
        own = self.session.account  # type: ignore[union-attr]
        self.bills = []
        for name in ("reading", "reading", "judge", "reading", "judge"):
            self.session.account = own.fork()  # type: ignore[union-attr]
            ratings = yield from self.session.rate(self.chains, name)  # type: ignore[union-attr]
            self.bills.append((name, list(ratings), self.session.account.spent))  # type: ignore[union-attr]
        return self


@pytest.mark.parametrize("scored", [0, 2], ids=["by selectors", "by the search, too"])
def test_each_arm_pays_for_the_ratings_that_it_uses_once(
    scored: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Fresh or not, of a model that reads or of one that thinks; the run pays once."""
    monkeypatch.setattr("harness.One", Selected)

    def script(request: Request, index: int) -> str:
        return "I say 9" if "judge:" in request.chain.prompt[0].content else f"an answer {request.seeds[index] % 9}"

    def search(problem: Problem) -> Searching:
        reply = yield Extend([problem.root], n=4)
        for name in ("reading", "judge") if scored else ():
            yield Score(reply.chains[:scored], by=name)  # type: ignore[union-attr]
        return reply.chains  # type: ignore[union-attr]

    path, purse = tmp_path / "journal.jsonl", Purse()
    found = []
    for offline in (False, True):
        scorers, engine = [Reading(), Judge()], None if offline else ScriptedEngine(script)
        (one,) = converse(search, engine, scorers=scorers, path=path, purse=purse, offline=offline)
        assert one.failure is None
        found.append(one.bills)  # type: ignore[attr-defined]
        before = one.account.spent
        read, thought = 4 * 3, 4 * (2 * 3 + 4)  # words of the chains; of two judgements of each, and of their prompts
        for name, _, spent in one.bills:  # type: ignore[attr-defined]
            mine, other = (read, thought) if name == "reading" else (thought, read)
            assert spent.scorer == mine + other * scored // 4
            requests = 4 if name == "judge" else scored
            assert spent.requests - before.requests == (requests - scored if name == "judge" else 0)
        assert before.scorer == (read + thought) * scored // 4
        assert purse.spent.scorer == read, "what was thought was drawn: it is among the run's generated tokens"
    assert found[0] == found[1]


def test_a_rating_holds_for_its_text_not_for_a_key_alone(tmp_path: Path) -> None:
    """Under a smaller budget an arm's chain of the same key is cut: another text, another rating, live and replayed."""
    journal = Journal(tmp_path / "journal.jsonl")
    record, scorer = Record("p", journal), Reading()
    chains = [
        Chain("p", "e0", segments=(Segment(text),), finish=finish)  # type: ignore[arg-type]
        for text, finish in (("one two three 4", "stop"), ("one two", "budget"), ("one two", "length"))
    ]

    def rated(record: Record, chain: Chain) -> tuple[Rating, Cost]:
        session = Session(problem(), LastWord(), Account(), record, Setting(), {"reading": scorer}, "reading")
        with pytest.raises(StopIteration) as end:
            next(session.rate([chain], "reading"))
        return end.value.value[0], session.account.spent

    live = [rated(record, chain) for chain in (*chains, chains[0])]
    assert live[0][0] != live[1][0] and live[3] == live[0] and live[0][1] == Cost(scorer=4)
    journal.close()
    known = len(scorer.read)
    loaded = Record.load("p", Journal(tmp_path / "journal.jsonl", readonly=True))
    assert [rated(loaded, chain) for chain in (*chains, chains[0])] == live
    assert [r.tokens for r, _ in live] == [4, 2, 0, 4] and len(scorer.read) == known == 3


def test_only_what_is_not_known_is_rated(tmp_path: Path) -> None:
    """A later search asks for some known ratings and some new ones: what was said stays said."""
    scorer, record = Reading(), Record("p", Journal())
    chains = [Chain("p", f"e{i}", segments=(Segment(f"chain {i}"),), finish="stop") for i in range(4)]
    for wanted in (chains[:2], chains):
        session = Session(problem(), LastWord(), Account(), record, Setting(), {"reading": scorer}, "reading")
        with pytest.raises(StopIteration):
            next(session.rate(wanted, "reading"))
        assert session.account.spent.scorer == 2 * len(wanted)
    assert scorer.read == [chain.text for chain in chains] and record.spent.scorer == 8


def test_ask_makes_a_new_root_with_ended_chains_below_it() -> None:
    def search(problem: Problem) -> Searching:
        first = yield Ask([Message("user", "revise this")], n=2)
        second = yield Ask([Message("user", "revise this")], n=1)
        return [*first.chains, *second.chains]  # type: ignore[union-attr]

    (one,) = converse(search)
    keys = [c.key for c in one.chains]
    assert len({k.split("/")[0] for k in keys}) == 1 and [k.split("/")[1] for k in keys] == ["e0", "e1", "e2"]
    assert all(c.ended and c.prompt[0].content == "revise this" for c in one.chains)
    assert one.account.spent.samples == 3


@pytest.mark.parametrize(
    ("search", "said"),
    [
        (lambda p: iter([42]), "yielded int"),
        (lambda p: iter([Extend([p.root, p.root], n=[1])]), "does not fit 2 chains"),
        (lambda p: iter([Score([p.root])]), "names no scorer"),
        (lambda p: iter([Score([p.root], by="prm")]), "does not have"),
    ],
)
def test_a_search_that_breaks_the_protocol_is_a_record(search: object, said: str) -> None:
    def wrapped(problem: Problem) -> Searching:
        yield from search(problem)  # type: ignore[operator]
        return []

    (one,) = converse(wrapped)
    assert one.failure is not None and said in one.failure


def test_a_search_must_return_chains() -> None:
    def search(problem: Problem) -> Searching:
        yield Extend([problem.root], n=1)
        return None  # type: ignore[return-value]

    (one,) = converse(search)
    assert one.failure is not None and "not a sequence of chains" in one.failure and "SearchError" in one.failure


@pytest.mark.parametrize("value", [1.5, -0.1])
def test_a_rating_outside_its_range_is_refused(value: float) -> None:
    class Wild(PureScorer):
        def rate(self, seen: Seen, chains: Sequence[Chain]) -> list[Rating]:
            return [Rating(value) for _ in chains]

    def search(problem: Problem) -> Searching:
        yield Score([problem.root])
        return []

    (one,) = converse(search, scorers=[Wild("wild")])
    assert one.failure is not None and "[0, 1]" in one.failure


def test_a_search_is_tested_with_lists() -> None:
    """No driver, no engine: the generator is fed replies by hand."""
    root = problem().root
    running = tree(problem())
    extend = next(running)
    assert isinstance(extend, Extend) and extend.counts() == [6]
    chains = tuple(Chain("p", f"s{i}", finish="step", segments=(Segment("x" * i),)) for i in range(6))
    score = running.send(Drawn(chains, left=None))  # type: ignore[arg-type]
    assert isinstance(score, Score) and score.chains == chains
    after = running.send(Rated(tuple(Rating(i / 6) for i in range(6)), left=None))  # type: ignore[arg-type]
    assert isinstance(after, Extend) and [c.key for c in after.chains] == ["s5", "s4"]
    assert root.finish is None


def test_search_error_is_a_ponder_error() -> None:
    assert issubclass(SearchError, RuntimeError)
