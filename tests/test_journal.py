"""The journal: append-only, cut where it is torn, read by problem; and the record that is made of it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.engines.base import Output, Request, Result
from ponder.errors import StorageError, UsageError
from ponder.journal import Event, Journal, dumps
from ponder.record import LOST, Record, asked, failed
from ponder.types import Cost, Problem, Segment

FREE_RUN = {"kind": "run", "schedule": "free"}
LOCKSTEP = {"kind": "run", "schedule": "lockstep"}
ROOT = Problem("p", "What is 2 + 2?").root


def event(problem: str, number: int) -> Event:
    return {"kind": "scored", "problem": problem, "number": number}


def written(path: Path, *events: Event, commit: bool = False) -> Path:
    journal = Journal(path)
    journal.append(*events, commit=commit)
    journal.close()
    return path


def numbers(journal: Journal, problem: str) -> list[int]:
    return [e["number"] for e in journal.events(problem)]


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_dumps_is_compact_sorted_and_always_utf8() -> None:
    assert dumps({"b": [1, 2.5], "a": "é"}) == '{"a":"é","b":[1,2.5]}'
    torn = {"text": "é \ud83d"}  # half a surrogate pair, which no UTF-8 can hold
    assert json.loads(dumps(torn).encode()) == torn
    with pytest.raises(ValueError, match="JSON"):
        dumps(float("nan"))


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)))
def test_what_is_dumped_is_one_line_and_reads_back(value: dict[str, Any]) -> None:
    line = dumps(value).encode()
    assert b"\n" not in line
    assert json.loads(line) == value


# --- writing and reading ----------------------------------------------------------------------------------------------


def test_events_are_found_by_problem_in_order(tmp_path: Path) -> None:
    path = written(tmp_path / "j", FREE_RUN, event("a", 1), event("b", 2), event("a", 3))
    journal = Journal(path)
    assert journal.header == FREE_RUN
    assert numbers(journal, "a") == [1, 3]
    assert numbers(journal, "b") == [2]
    assert journal.events("c") == []
    assert list(journal.problems()) == ["a", "b"]
    assert [e["number"] for e in journal.all()] == [1, 3, 2]
    journal.append(event("a", 4))
    assert numbers(journal, "a") == [1, 3]  # as it was when it was opened
    journal.close()
    assert numbers(Journal(path), "a") == [1, 3, 4]


def test_without_a_path_nothing_is_kept() -> None:
    journal = Journal()
    journal.append(event("a", 1), commit=True)
    assert not journal.writable
    assert journal.events("a") == []
    journal.close()


def test_a_readonly_journal_is_not_touched(tmp_path: Path) -> None:
    path = written(tmp_path / "j", FREE_RUN, event("a", 1))
    path.write_bytes(path.read_bytes() + b'{"torn')
    before = path.read_bytes()
    journal = Journal(path, readonly=True)
    journal.append(event("a", 2))
    assert numbers(journal, "a") == [1]
    journal.close()
    assert path.read_bytes() == before


@given(st.data())
def test_a_free_running_journal_cut_anywhere_keeps_its_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("j") / "j"
    written(path, FREE_RUN, *(event("ab"[i % 2], i) for i in range(6)))
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = whole[:cut].count(b"\n")
    journal = Journal(path)
    assert sorted(numbers(journal, "a") + numbers(journal, "b")) == list(range(max(0, kept - 1)))
    journal.append(event("a", 9))  # goes on behind the last whole line
    journal.close()
    assert path.read_bytes().splitlines()[:-1] == whole.splitlines()[:kept]


@given(st.data())
def test_a_lockstep_journal_keeps_whole_waves_only(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("j") / "j"
    journal = Journal(path)
    journal.append(LOCKSTEP, commit=True)
    ends = [0, path.read_bytes().index(b"\n") + 1, path.stat().st_size]
    for wave in range(3):
        journal.append(event("a", wave), event("b", wave), commit=True)
        ends.append(path.stat().st_size)
    journal.close()
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    journal = Journal(path)
    waves = sum(end <= cut for end in ends[3:])
    assert numbers(journal, "a") == numbers(journal, "b") == list(range(waves))
    journal.close()
    assert path.stat().st_size == max(end for end in ends if end <= cut)


@pytest.mark.parametrize("garbage", ["nonsense", "", "3", "[]", '{"problem": "a"}', '{"kind": "asked", "pro'])
def test_garbage_before_the_end_is_named(tmp_path: Path, garbage: str) -> None:
    path = tmp_path / "j"
    path.write_text(f"{dumps(FREE_RUN)}\n{garbage}\n{dumps(event('a', 1))}\n")
    before = path.read_bytes()
    for readonly in (False, True):
        with pytest.raises(UsageError, match=r"j:2: ") as caught:
            Journal(path, readonly=readonly)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_no_room_takes_back_the_torn_line_and_stays_shut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other answers may arrive while the run winds down: none may follow half a line."""
    path = written(tmp_path / "j", FREE_RUN)
    before = path.read_bytes()
    journal = Journal(path)
    write, room = os.write, [10]

    def little(file: int, data: bytes) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[: room.pop()])

    monkeypatch.setattr(os, "write", little)
    with pytest.raises(StorageError, match="No space left") as caught:
        journal.append(event("a", 1))
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StorageError):
        journal.append(event("a", 2))
    journal.close()
    assert path.read_bytes() == before
    assert numbers(Journal(written(path, event("a", 3))), "a") == [3]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="absent"):
        Journal(tmp_path / "absent" / "j")


# --- records ----------------------------------------------------------------------------------------------------------


def request(*keys: str, allowance: int = 10) -> Request:
    return Request("p", ROOT, keys, tuple(range(len(keys))), allowance)


def output(text: str, tokens: int, finish: Any = "stop") -> Output:
    return Output((Segment(text, logprobs=(-0.5,) * tokens, ids=tuple(range(tokens)), tokens=tokens),), finish, tokens)


def undrawn(finish: Any, *keys: str) -> Result:
    return Result(tuple(Output((), finish, 0, "why") for _ in keys), Cost(requests=1))


def reloaded(path: Path, *events: Event, **options: Any) -> Record:
    journal = Journal(written(path, FREE_RUN, *events))
    try:
        return Record.load("p", journal, **options)
    finally:
        journal.close()


def test_a_record_reads_back_as_it_was(tmp_path: Path) -> None:
    record = Record("p", Journal())
    result = Result((output("one", 3), output("two", 4, "length")), Cost(prompt=5, requests=1), {"n": 2})
    lost = Cost(requests=1, generated=20, estimated=20)
    events = [
        asked(request("e0", "e1")),
        failed(request("e0", "e1"), lost, "500"),
        asked(request("e0", "e1")),
        record.answer(request("e0", "e1"), result, lost),
    ]
    again = reloaded(tmp_path / "j", *events)
    assert again.draws == record.draws
    assert again.overhead == record.overhead == [lost + Cost(prompt=5, requests=1)]
    assert not again.lost
    assert again.spent == Cost(generated=27, samples=2, prompt=5, requests=2, estimated=20)


def test_a_draw_is_found_under_its_allowance_or_if_it_fits() -> None:
    record = Record("p", Journal())
    record.answer(request("e0"), Result((output("short", 4),), Cost()), Cost())
    record.answer(request("e1", allowance=5), Result((output("cut", 5, "budget"),), Cost()), Cost())
    assert record.find("e0", 10) is record.find("e0", 4) is record.find("e0", 99)
    assert record.find("e0", 3) is None  # it would have been cut, and nobody knows where
    assert record.find("e1", 5) is not None
    assert record.find("e1", 10) is None  # it would have gone on
    assert record.find("e2", 10) is None


def test_what_was_in_flight_is_charged_once(tmp_path: Path) -> None:
    events = [asked(request("e0", "e1")), asked(request("e2")), failed(request("e2"), Cost(requests=1), "500")]
    record = reloaded(tmp_path / "j", *events)
    lost = Cost(generated=20, requests=1, estimated=20)
    assert record.lost == {"e0": lost, "e2": Cost(requests=1)}
    assert record.spent == lost + Cost(requests=1)
    lines = [json.loads(line) for line in (tmp_path / "j").read_text().splitlines()]
    assert lines[-1]["why"] == LOST
    again = Record.load("p", Journal(tmp_path / "j"))
    assert again.lost == record.lost
    assert len((tmp_path / "j").read_text().splitlines()) == len(lines)  # it is not lost a second time


def test_lost_requests_are_charged_to_the_one_that_asks_for_any_of_their_keys() -> None:
    """A resumed run may ask at once for what was asked one by one before (a server that turned out to ignore n)."""
    record = Record("p", Journal(), lost={f"e{i}": Cost(requests=1, generated=10, estimated=10) for i in range(4)})
    assert record.take_lost(("e0", "e1", "e3")) == Cost(requests=3, generated=30, estimated=30)
    assert list(record.lost) == ["e2"]


@pytest.mark.parametrize("finish", ["error", "refused"])
def test_a_resumed_run_asks_again_for_what_was_not_drawn(tmp_path: Path, finish: str) -> None:
    first = Record("p", Journal())
    lost = Cost(requests=2, generated=10, estimated=10)
    keys = ("e0", "e1")
    events = [
        asked(request(*keys)),
        failed(request(*keys), lost, "cut"),
        first.answer(request(*keys), undrawn(finish, *keys), lost),
    ]
    # A replay finds what the run was given; the resumed run finds nothing, and knows what that cost.
    replayed = reloaded(tmp_path / "a", *events)
    assert replayed.draws["e1"][0].output.finish == finish
    assert replayed.spent == lost + Cost(requests=1)
    resumed = reloaded(tmp_path / "b", *events, retry_errors=True)
    assert not resumed.draws
    assert resumed.spent == replayed.spent
    # Its answer carries that cost, and is what a later replay finds: charged once, not beside the failure.
    spent = resumed.take_lost(keys)
    answer = resumed.answer(request(*keys), Result((output("x", 2), output("y", 3)), Cost(requests=1)), spent)
    for path, options in (("c", {}), ("d", {"retry_errors": True})):
        again = reloaded(tmp_path / path, *events, answer, **options)
        assert [again.draws[key][-1].output.tokens for key in keys] == [2, 3]
        assert all(len(again.draws[key]) == 1 for key in keys)
        assert again.spent == resumed.spent == lost + Cost(requests=2, generated=5, samples=2)


def test_a_refusal_under_another_allowance_is_not_superseded(tmp_path: Path) -> None:
    """One arm was refused with 4 tokens left, another drew the same key with 10: each finds its own."""
    record = Record("p", Journal())
    events = [
        record.answer(request("e0", allowance=4), undrawn("refused", "e0"), Cost(requests=1)),
        record.answer(request("e0", allowance=10), Result((output("long", 9),), Cost(requests=1)), Cost()),
    ]
    again = reloaded(tmp_path / "j", *events)
    for each in (record, again):
        small, large = each.find("e0", 4), each.find("e0", 10)
        assert small is not None
        assert small.output.finish == "refused"
        assert large is not None
        assert large.output.tokens == 9


def test_answers_that_were_short_are_met_again_one_by_one(tmp_path: Path) -> None:
    """A server gave one of four, then one of three: a replay waits as often as the run did."""
    record = Record("p", Journal())
    one = Result((output("x", 2),), Cost(requests=1))
    events = [
        record.answer(request("e0", "e1", "e2", "e3"), one, Cost()),
        record.answer(request("e1", "e2", "e3"), one, Cost()),
    ]
    assert not record.short  # the run itself knows
    again = reloaded(tmp_path / "j", *events)
    assert again.short == {("e1", 10): 1, ("e2", 10): 2, ("e3", 10): 2}


@pytest.mark.parametrize(
    "broken",
    [
        {"kind": "answered", "problem": "p", "keys": ["e0"], "allowance": 3, "overhead": {"tokens": 1}, "outputs": []},
        {"kind": "asked", "problem": "p", "keys": ["e0"]},
        {"kind": "asked", "problem": "p", "keys": [], "allowance": 3},
        {"kind": "scored", "problem": "p", "scorer": "s", "key": "e0", "value": 1},
    ],
)
def test_a_damaged_event_names_the_journal_and_the_problem(tmp_path: Path, broken: Event) -> None:
    with pytest.raises(UsageError, match="problem 'p' is damaged") as caught:
        reloaded(tmp_path / "j", broken)
    assert str(tmp_path / "j") in str(caught.value)
    assert "\n" not in str(caught.value)
