"""Runs that are stopped: killed at random instants, interrupted, out of room, with a torn journal. All go on."""

from __future__ import annotations

import json
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import Ask, Loopback, word
from running import Done, apart, digest, once, ponder, problems, report, rows, started

WORLD = (
    "eval", "--model", "simulated:school", "--samples", "8", "--stop", "fixed,adaptive", "--select", "vote,best",
    "--scorer", "planted",
)  # fmt: skip


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def journal(folder: Path) -> Path:
    return folder / "journal.jsonl"


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal(folder).read_text().splitlines()]


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until something is seen of the run, or it has ended by itself."""
    end = time.monotonic() + 30
    while not happened() and process.poll() is None:
        assert time.monotonic() < end, "the run did not get going"
        time.sleep(0.002)


def killed(draw: random.Random, folder: Path, *arguments: object, longest: float) -> bool:
    """Starts a run, kills it at an instant drawn at random after it began to write, and says whether that came
    before its end."""
    process = started(*arguments, "--out", folder, "--resume")
    before = size(journal(folder))
    if draw.random() < 0.85:  # else: while it is still starting
        wait_for(lambda: size(journal(folder)) > before, process)
    time.sleep(draw.uniform(0, longest))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def test_killed_ten_times_the_server_is_asked_only_for_what_was_in_flight(tmp_path: Path) -> None:
    draw, concurrency, kills = random.Random(1), 8, 0
    task, folder = problems(tmp_path / "task.jsonl", 60), tmp_path / "run"
    answered = Counter[tuple[str, int]]()

    def reply(ask: Ask) -> Any:
        answered[ask.prompt, ask.body["seed"]] += 1
        return word(ask)

    with Loopback(reply, latency=0.04, keep=False) as server:
        run = (
            "eval", "--model", "openai:toy", "--base-url", server.url, "--task", task, "--samples", 8, "--set", "n=1",
            "--concurrency", concurrency, "--max-tokens", 32,
        )  # fmt: skip
        for _ in range(10):
            recorded = {(e["problem"], k) for e in _whole(folder) if e["kind"] == "answered" for k in e["keys"]}
            kills += killed(draw, folder, *run, longest=0.5)
            now = Counter((e["problem"], k) for e in _whole(folder) if e["kind"] == "answered" for k in e["keys"])
            assert set(now) >= recorded
            assert not now or max(now.values()) == 1
        assert kills >= 8, "the runs ended before they could be killed: make them slower"
        done = apart(*run, "--out", folder, "--resume")
        books = server.ledger
    assert done.status == 0, done.err
    assert once(rows(folder)) == Counter({f"p{i}": 8 for i in range(60)})
    # A draw's request was answered again only if its first answer had not arrived when the run was killed.
    assert len(answered) == 480
    assert sum(answered.values()) - 480 <= kills * concurrency
    asked = Counter(key for e in events(folder) if e["kind"] == "asked" for key in [(e["problem"], *e["keys"])])
    lost = Counter(key for e in events(folder) if e["kind"] == "failed" for key in [(e["problem"], *e["keys"])])
    assert asked - lost == Counter(dict.fromkeys(asked, 1))  # asked again as often as it was lost, and no more
    assert sum(lost.values()) <= kills * concurrency
    # What was lost was charged, as an estimate: never less than the server's bill, and by no more than the estimates.
    cost = report(folder)["run"]["cost"]
    assert cost["samples"] == 480
    assert cost["estimated"] == 32 * sum(lost.values())
    assert books.completion <= cost["generated"]
    assert cost["generated"] - cost["estimated"] <= books.completion
    assert books.requests <= cost["requests"] == 480 + sum(lost.values())
    replayed = ponder("eval", "--replay", folder, "--out", tmp_path / "replay", "--json")
    assert replayed.json["rows"] == report(folder)["rows"]
    assert replayed.json["digest"] == report(folder)["digest"] == digest(rows(folder))


def _whole(folder: Path) -> Iterator[dict[str, Any]]:
    """The events of a journal whose last line may be torn."""
    if journal(folder).exists():
        for line in journal(folder).read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield json.loads(line)


def test_killed_ten_times_a_schedule_run_has_the_digest_of_an_unbroken_one(tmp_path: Path) -> None:
    draw, kills = random.Random(2), 0
    run = (*WORLD, "--limit", 600, "--set", "live=2")
    unbroken = ponder(*run, "--out", tmp_path / "unbroken", "--json")
    assert unbroken.status == 0
    assert unbroken.json["label"] == "schedule"
    folder = tmp_path / "run"
    for _ in range(10):
        kills += killed(draw, folder, *run, longest=0.15)
        if (folder / "samples.jsonl").exists():
            whole = (folder / "samples.jsonl").read_bytes().splitlines(keepends=True)
            once([json.loads(line) for line in whole if line.endswith(b"\n")])
    assert kills >= 8, "the runs ended before they could be killed: make them longer"
    done = apart(*run, "--out", folder, "--resume", "--json")
    assert done.status == 0, done.err
    assert done.json["digest"] == unbroken.json["digest"] == digest(rows(folder))
    assert (folder / "samples.jsonl").read_bytes() == (tmp_path / "unbroken" / "samples.jsonl").read_bytes()
    assert done.json["rows"] == unbroken.json["rows"]
    assert once(rows(folder)).total() == 600 * 8


@pytest.mark.parametrize("kind", ["server", "simulated"])
def test_ctrl_c_prints_the_line_that_goes_on(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "my run"  # the line must be quoted where it has to be
    with Loopback(latency=0.05, keep=False) as server:
        run: tuple[object, ...] = (*WORLD, "--limit", 600, "--set", "live=2", "--out", folder)
        if kind == "server":
            task = problems(tmp_path / "task.jsonl", 40)
            run = ("eval", "--model", "openai:toy", "--base-url", server.url, "--task", task, "--samples", 8)
            run = (*run, "--set", "n=1", "--concurrency", 4, "--out", folder)
        process = started(*run)
        wait_for(lambda: size(journal(folder)) > 3000, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=200)
        assert process.returncode == 130
        assert out == ""
        assert "Traceback" not in err
        first, line = err.splitlines()
        assert first.startswith("interrupted; what is done is kept")
        words = shlex.split(line)
        assert words == ["ponder", *map(str, run), "--resume"]
        kept = sum(e["kind"] == "answered" for e in events(folder))
        assert kept
        before = server.ledger.requests
        done = ponder(*words[1:])
        assert done.status == 0, done.err
    if kind == "server":
        assert once(rows(folder)) == Counter({f"p{i}": 8 for i in range(40)})
        assert server.ledger.requests - before == 320 - kept
    else:
        assert once(rows(folder)).total() == 600 * 8


def test_ctrl_c_names_the_folder_that_was_chosen_for_it(tmp_path: Path) -> None:
    """Without --out the folder has a name of its own, which the line must give."""
    process = started(*WORLD, "--limit", 3000, "--set", "live=2", env={"PONDER_OUT": str(tmp_path / "chosen")})
    wait_for(lambda: size(journal(tmp_path / "chosen")) > 3000, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 130
    assert f"--out {tmp_path / 'chosen'} --resume" in err


# --- no room ----------------------------------------------------------------------------------------------------------

SMALL = (*WORLD, "--limit", "60", "--set", "live=4")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    assert ponder(*SMALL, "--out", folder).status == 0
    return folder


def check_no_room(done: Done, path: Path) -> None:
    assert done.status == 1, done.err
    assert done.out == ""
    (line,) = done.err.strip().splitlines()
    assert str(path) in line
    assert "make room" in line
    assert "--resume" in line


def check_goes_on(folder: Path, whole: Path) -> None:
    done = ponder(*SMALL, "--out", folder, "--resume")
    assert done.status == 0, done.err
    assert (folder / "samples.jsonl").read_bytes() == (whole / "samples.jsonl").read_bytes()
    assert report(folder)["digest"] == report(whole)["digest"]


@pytest.mark.parametrize("limit", [2_500, 30_000, 150_000])
def test_a_file_that_cannot_grow(tmp_path: Path, whole: Path, limit: int) -> None:
    """A limit on the size of files stands for a full disk: the same error, at any place, without being root."""
    assert limit < size(journal(whole))

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = apart(*SMALL, "--out", tmp_path / "run", preexec_fn=little_room)
    check_no_room(done, journal(tmp_path / "run"))
    assert journal(tmp_path / "run").read_bytes().endswith(b"\n")  # what did not fit was taken back
    check_goes_on(tmp_path / "run", whole)


def test_a_full_disk(tmp_path: Path, whole: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    if (
        not mounted
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=128k", "ponder-test", str(place)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no file system can be mounted here; test_a_file_that_cannot_grow stands in")
    try:
        done = apart(*SMALL, "--out", place / "run")
        check_no_room(done, place / "run")
        subprocess.run(["mount", "-o", "remount,size=8m", str(place)], check=True)
        check_goes_on(place / "run", whole)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_under_a_server_loses_no_answer(tmp_path: Path) -> None:
    """Many requests are in flight when the first write fails; none of the others may break the journal."""
    task, folder = problems(tmp_path / "task.jsonl", 20), tmp_path / "run"

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_001, 9_001))

    with Loopback(latency=0.01, keep=False) as server:
        run = ("eval", "--model", "openai:toy", "--base-url", server.url, "--task", task, "--samples", 8)
        run = (*run, "--set", "n=1", "--concurrency", "16", "--out", str(folder))
        done = apart(*run, preexec_fn=little_room)
        check_no_room(done, journal(folder))
        kept = sum(e["kind"] == "answered" for e in events(folder))
        before = server.ledger.requests
        done = ponder(*run, "--resume")
        assert done.status == 0, done.err
        assert server.ledger.requests - before == 160 - kept
    assert once(rows(folder)) == Counter({f"p{i}": 8 for i in range(20)})


# --- a journal that is torn or broken ---------------------------------------------------------------------------------


def cut(whole: Path, folder: Path, at: int) -> None:
    folder.mkdir()
    for name in ("recipe.toml", "environment.json"):
        shutil.copy(whole / name, folder)
    journal(folder).write_bytes(journal(whole).read_bytes()[:at])


def test_a_journal_cut_anywhere_gives_the_same_run(tmp_path: Path, whole: Path) -> None:
    """In the middle of a line, of a wave, of the header; at the end of a line without its commit."""
    data = journal(whole).read_bytes()
    draw = random.Random(3)
    lines = [i for i, byte in enumerate(data, 1) if byte == 10]
    header = lines[0]
    places = [0, 5, header, header + 3, len(data) - 1, *draw.sample(range(len(data)), 4), *draw.sample(lines, 3)]
    assert any(not data[:at].endswith(b'{"kind":"commit"}\n') for at in lines if at in places)
    for number, at in enumerate(places):
        cut(whole, tmp_path / str(number), at)
        check_goes_on(tmp_path / str(number), whole)


def test_a_torn_wave_is_dropped_whole(tmp_path: Path, whole: Path) -> None:
    data = journal(whole).read_bytes()
    commit = data.index(b'{"kind":"commit"}\n', len(data) // 2)
    cut(whole, tmp_path / "run", commit)  # every line of the wave is there, the commit is not
    check_goes_on(tmp_path / "run", whole)
    assert journal(tmp_path / "run").read_bytes() == data  # the wave was drawn again, once


GARBAGE = [b"garbage\n", b"\n", b"[1]\n", b'{"problem": "3"}\n', b'{"kind": "answered", "pro\n']


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_in_the_middle_is_named(tmp_path: Path, whole: Path, garbage: bytes) -> None:
    lines = journal(whole).read_bytes().splitlines(keepends=True)
    lines[6] = garbage
    cut(whole, tmp_path / "run", 0)
    journal(tmp_path / "run").write_bytes(b"".join(lines))
    for run in ([*SMALL, "--out", tmp_path / "run", "--resume"], ["eval", "--replay", tmp_path / "run"]):
        done = ponder(*run)
        assert done.status == 2
        (line,) = done.err.strip().splitlines()
        assert line.startswith(f"ponder: {journal(tmp_path / 'run')}:7: ")
        assert "copy" in line
    assert journal(tmp_path / "run").read_bytes() == b"".join(lines)  # nothing was thrown away
    assert not (tmp_path / "run" / "samples.jsonl").exists()


def test_a_damaged_event_names_its_problem(tmp_path: Path, whole: Path) -> None:
    data = journal(whole).read_text().replace('"allowance":', '"alowance":')
    cut(whole, tmp_path / "run", 0)
    journal(tmp_path / "run").write_text(data)
    done = ponder(*SMALL, "--out", tmp_path / "run", "--resume")
    assert done.status == 2
    (line,) = done.err.strip().splitlines()
    assert str(journal(tmp_path / "run")) in line
    assert "problem '0'" in line
