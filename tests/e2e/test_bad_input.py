"""Bad input: one clear line on stderr, exit 2, nothing on stdout, nothing written, no request sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Loopback
from running import Done, ponder, problems, report, rows


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, and no settings from outside."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as server:
        yield server


def refused(done: Done, *parts: str) -> None:
    """One line, exit 2, with all `parts` in it; nothing was written to the working folder."""
    assert done.status == 2, done
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("ponder: ")
    for part in parts:
        assert part in line
    assert not list(Path().rglob("runs")), "a run folder was made"


WORLD = ("eval", "--model", "simulated:school", "--limit", "2")
TASK = ("eval", "--task", "simulated:school")
SOLVE = ("solve", "--model", "simulated:school")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("evl",), ("unknown command 'evl'", "did you mean 'eval'?")),
        (("zzz",), ("unknown command 'zzz'", "known: ", "solve")),
        (("eval", "--modle", "x"), ("unknown flag --modle", "did you mean --model?")),
        (("eval", "--zzz"), ("unknown flag --zzz", "eval --help")),
        (("solve", "--smaples", "3", "x"), ("unknown flag --smaples", "--samples")),
        ((*WORLD, "--out"), ("--out", "--help")),
        ((*WORLD, "a.toml", "b.toml"), ("b.toml",)),
        ((*WORLD, "--task", "gsm8"), ("unknown task 'gsm8'", "did you mean 'gsm8k'?")),
        ((*WORLD, "--task", "absent.jsonl"), ("absent.jsonl", "no such file")),
        ((*WORLD, "--task", "number"), ("task 'number'", "give a file")),
        (("eval", "--model", "simulated:scool"), ("unknown simulated world 'scool'", "did you mean 'school'?")),
        ((*TASK, "--model", "opnai:x"), ("unknown engine 'opnai'", "did you mean 'openai'?")),
        ((*TASK, "--model", "openai:"), ("no name after the colon",)),
        ((*TASK, "--model", "./some/folder"), ("--model ./some/folder", "no such folder")),
        (TASK, ("no model", "--model")),
        ((*TASK, "--model", "openai:x"), ("no API key", "OPENAI_API_KEY")),
        ((*WORLD, "--base-url", "http://localhost:1/v1"), ("--base-url", "leave it out")),
        ((*WORLD, "--search", "smple"), ("unknown search 'smple'", "did you mean 'sample'?")),
        ((*WORLD, "--select", "vot"), ("unknown selector 'vot'", "did you mean 'vote'?")),
        ((*WORLD, "--stop", "fixd"), ("unknown stop rule 'fixd'", "did you mean 'fixed'?")),
        ((*WORLD, "--scorer", "randm"), ("unknown scorer 'randm'", "did you mean 'random'?")),
        ((*WORLD, "--select", "best"), ("--select best needs a scorer", "--scorer")),
        ((*WORLD, "--samples", "x"), ("--samples", "'x'")),
        ((*WORLD, "--samples", "0"), ("--samples", "0")),
        ((*WORLD, "--samples", "4,-1"), ("--samples", "-1")),
        ((*WORLD, "--tokens", "0"), ("--tokens", "'0'")),
        ((*WORLD, "--max-tokens", "many"), ("--max-tokens", "'many'")),
        ((*WORLD, "--limit", "0"), ("--limit", "'0'")),
        ((*WORLD, "--temperature", "-1"), ("--temperature", "'-1'")),
        ((*WORLD, "--temperature", "nan"), ("--temperature", "'nan'")),
        ((*WORLD, "--seconds", "0"), ("--seconds", "'0'")),
        ((*WORLD, "--concurrency", "0"), ("--concurrency", "'0'")),
        ((*WORLD, "--dollars", "1"), ("a dollar limit needs a price", "--price IN,OUT")),
        ((*WORLD, "--dollars", "1", "--price", "1"), ("--price '1'", "IN,OUT")),
        ((*WORLD, "--dollars", "1", "--price", "1,-2"), ("--price '1,-2'", "at least 0")),
        ((*WORLD, "--set", "live"), ("--set live", "key=value")),
        ((*WORLD, "--set", "live=0"), ("--set live=0", "at least 1")),
        ((*WORLD, "--set", "schedule=fre"), ("unknown schedule 'fre'", "did you mean 'free'?")),
        ((*WORLD, "--set", "junk=1"), ("unknown setting of engine 'simulated'", "'junk'")),
        ((*WORLD, "--set", "adaptive.wave=2"), ("--set adaptive.wave", "not in use")),
        ((*WORLD, "--stop", "adaptive", "--set", "adaptive.wav=2"), ("'wav'", "did you mean 'wave'?")),
        ((*WORLD, "--stop", "adaptive", "--set", "adaptive.wave=0"), ("--set adaptive", "at least 1")),
        ((*WORLD, "--stop", "adaptive", "--set", "adaptive.wave=four"), ("--set adaptive.wave='four'", "whole number")),
        ((*WORLD, "--stop", "adaptive", "--set", "adaptive.wave=true"), ("--set adaptive.wave=True", "whole number")),
        ((*WORLD, "--stop", "adaptive", "--set", "adaptive.tau=2"), ("--set adaptive", "tau=2")),
        (("eval", "absent.toml"), ("absent.toml: no such file",)),
        (("eval", "--replay", "absent"), ("--replay absent", "journal.jsonl")),
        (SOLVE, ("no problem",)),
        ((*SOLVE, "--samples", "1,4", "x"), ("samples=[1, 4]", "ponder eval")),
        ((*SOLVE, "--task", "numbr", "x"), ("unknown task 'numbr'", "did you mean 'number'?")),
        ((*SOLVE, "  "), ("problem is empty",)),
        (("verify", "--task", "numbr", "absent.jsonl"), ("unknown task 'numbr'", "did you mean 'number'?")),
        (("verify", "--task", "number", "absent.jsonl"), ("absent.jsonl",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)  # fmt: skip
def test_bad_usage(arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    refused(ponder(*arguments), *parts)


SCORED = 'model = "simulated:school"\nselect = "best"\nscorer = "prm"\n'


# --- recipes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        ('model = "simulated:school"\nsampels = 4\n', 2, ("unknown key 'sampels'", "did you mean 'samples'?")),
        ('max_tokens = 4\nmodel = "simulated:school"\n', 1, ("unknown key 'max_tokens'", "did you mean 'max-tokens'?")),
        ("\n\n[sett]\nx = 1\n", 3, ("unknown key 'sett'", "did you mean 'set'?")),
        ("zzzzz = 1\n", 1, ("unknown key 'zzzzz'", "samples")),
        (SCORED, 3, ("scorer 'prm' needs a trained model", "prm.path=FOLDER")),
        (SCORED + '[set.prm]\npath = "nowhere"\n', 5, ("prm.path=nowhere", "no such folder")),
        (SCORED + 'set = {"prm.path" = "nowhere"}\n', 4, ("prm.path=nowhere", "no such folder")),
        (SCORED.replace("prm", "planted").replace("school", "schol"), 1, ("schol",)),
        ('# a comment\nsamples = "many"\n', 2, ("samples", "'many'")),
        ("samples = [1, 2.5]\n", 1, ("samples", "2.5")),
        ('model = "simulated:school"\n\ntemperature = -1\n', 3, ("temperature", "-1")),
        ("model = 3\n", 1, ("model", "3")),
        ("seconds = 0\n", 1, ("seconds", "0")),
        ("model = simulated:school\n", 1, ("not TOML",)),
        ('model = "simulated:school"\nsamples = 1\nsamples = 2\n', 3, ("not TOML",)),
    ],
)
def test_a_bad_recipe_is_named_by_file_line_and_key(text: str, line: int, parts: tuple[str, ...]) -> None:
    Path("bad.toml").write_text(text)
    refused(ponder("eval", "bad.toml"), f"bad.toml:{line}: ", *parts)


def test_a_bad_ponder_toml_and_a_bad_variable_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ponder.toml").write_text("samples = 4\nmodle = 'x'\n")
    refused(ponder(*WORLD), "ponder.toml:2: ", "unknown key 'modle'", "did you mean 'model'?")
    Path("ponder.toml").unlink()
    monkeypatch.setenv("PONDER_SAMPLES", "lots")
    refused(ponder(*WORLD), "PONDER_SAMPLES", "'lots'")


# --- task files -------------------------------------------------------------------------------------------------------

GOOD = '{"id": "a", "problem": "What is 1 + 1?", "reference": 2}\n'


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        (GOOD + '{"problem": "What is', 2, ("broken JSON", "one object a line")),
        (GOOD + "[1, 2]\n", 2, ("a list", "not an object")),
        (GOOD + '{"id": "b", "reference": 2}\n', 2, ("field 'problem'", "missing")),
        (GOOD + '{"id": "b", "problem": "x"}\n', 2, ("field 'reference'", "missing")),
        (GOOD + '{"id": "b", "problem": 3, "reference": 2}\n', 2, ("field 'problem'",)),
        (GOOD + GOOD, 2, ("field 'id'", "'a' is also on line 1")),
        ('{"problem": "x", "reference": 1, "kind": "nmber"}\n', 1, ("field 'kind'", "did you mean 'number'?")),
        ('{"problem": "x", "reference": 1, "kind": "code"}\n', 1, ("field 'reference'", "correct the tests")),
        ('{"problem": "x", "tests": ["assert f("]}\n', 1, ("field 'tests'", "not Python", "correct the tests")),
        ('{"problem": "x", "reference": NaN}\n', 1, ("NaN",)),
    ],
)
def test_a_bad_line_of_a_task_is_named_before_any_request(
    server: Loopback, text: str, line: int, parts: tuple[str, ...]
) -> None:
    Path("bad.jsonl").write_text(text)
    done = ponder("eval", "--model", "openai:toy", "--base-url", server.url, "--task", "bad.jsonl")
    refused(done, f"bad.jsonl:{line}: ", *parts)
    assert server.ledger.requests == 0


def test_an_empty_task_and_a_broken_csv() -> None:
    Path("empty.jsonl").write_text("\n")
    refused(ponder("eval", "--model", "simulated:school", "--task", "empty.jsonl"), "empty.jsonl: is empty")
    Path("bad.csv").write_text("problem,answer\nx,1\n")
    refused(ponder("eval", "--model", "simulated:school", "--task", "bad.csv"), "bad.csv:1: ", "'reference'")
    Path("bytes.jsonl").write_bytes(GOOD.encode() + b"\xff\n")
    refused(ponder("eval", "--model", "simulated:school", "--task", "bytes.jsonl"), "bytes.jsonl:2: ", "UTF-8")


# --- a server that cannot do what is needed ---------------------------------------------------------------------------


def test_a_missing_capability_is_named_before_the_first_request(server: Loopback) -> None:
    task = problems(Path("task.jsonl"), 3)
    run = ("eval", "--model", "openai:toy", "--base-url", server.url, "--task", task)
    for without in ("without=logprobs", "logprobs=false"):
        done = ponder(*run, "--select", "best", "--scorer", "confidence", "--set", without)
        refused(done, "scorer 'confidence' needs 'logprobs'", "openai:toy", "choose another --scorer")
    refused(ponder(*run, "--set", "schedule=lockstep"), "schedule=lockstep", "request by request")
    refused(ponder(*run, "--set", "strem=true"), "unknown openai option 'strem'", "did you mean 'stream'?")
    refused(ponder(*run, "--set", "without=sed"), "unknown capability 'sed'", "did you mean 'seed'?")
    assert server.ledger.requests == 0
    # The same server without that scorer, or not declared so, is good enough.
    assert ponder(*run, "--set", "without=logprobs", "--out", "a").status == 0
    assert ponder(*run, "--select", "best", "--scorer", "confidence", "--out", "b").status == 0
    assert all(0 < row["score"] < 1 for row in rows(Path("b")))


def test_a_table_of_extra_fields_reaches_the_server(server: Loopback) -> None:
    """A table is not taken for the settings of a part named 'extra'."""
    task = problems(Path("task.jsonl"), 1)
    done = ponder(
        "eval", "--model", "openai:toy", "--base-url", server.url, "--task", task, "--out", "run",
        "--set", 'extra={user = "u", top_a = 0.5}',
    )  # fmt: skip
    assert done.status == 0, done.err
    assert (server.seen[0]["user"], server.seen[0]["top_a"]) == ("u", 0.5)


# --- run folders ------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_not_empty_is_refused_and_left_alone() -> None:
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    refused(ponder(*WORLD, "--out", "full"), "--out full", "not empty", "--resume")
    assert [path.name for path in Path("full").iterdir()] == ["mine.txt"]
    Path("file").write_text("")
    refused(ponder(*WORLD, "--out", "file"), "--out file", "is a file")


def test_resume_starts_what_is_absent_or_empty() -> None:
    Path("empty").mkdir()
    for name in ("absent", "empty"):
        done = ponder(*WORLD, "--out", name, "--resume", "--json")
        assert done.status == 0, done.err
        assert len(rows(Path(name))) == 2


def test_resume_of_a_finished_run_changes_nothing() -> None:
    first = ponder(*WORLD, "--out", "run", "--json")
    samples, journal = (Path("run", name).read_bytes() for name in ("samples.jsonl", "journal.jsonl"))
    second = ponder(*WORLD, "--out", "run", "--resume", "--json")
    assert second.status == 0, second.err
    assert second.json == first.json
    assert Path("run", "samples.jsonl").read_bytes() == samples
    assert Path("run", "journal.jsonl").read_bytes() == journal


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (("--seed", "1"), "seed"),
        (("--samples", "4"), "samples"),
        (("--temperature", "0.1"), "temperature"),
        (("--select", "best", "--scorer", "random"), "scorer"),
        (("--set", "live=3"), "set"),
        (("--tokens", "100"), "tokens"),
        (("--model", "simulated:rival"), "model"),
        (("--max-tokens", "64"), "max-tokens"),
    ],
)
def test_resume_with_other_settings_is_refused(change: tuple[str, ...], key: str) -> None:
    assert ponder(*WORLD, "--samples", "2", "--out", "run").status == 0
    before = {path: path.read_bytes() for path in Path("run").iterdir()}
    refused(ponder(*WORLD, "--samples", "2", *change, "--out", "run", "--resume"), "run/recipe.toml", f"{key} was ")
    assert {path: path.read_bytes() for path in Path("run").iterdir()} == before


def test_resume_may_have_another_server_price_and_limit(server: Loopback) -> None:
    task = problems(Path("task.jsonl"), 2)
    run = ("eval", "--model", "openai:toy", "--task", task, "--out", "run")
    assert ponder(*run, "--base-url", server.url).status == 0
    more = ("--base-url", f"{server.url}/", "--price", "1,1", "--dollars", "5", "--concurrency", "3", "--resume")
    done = ponder(*run, *more)
    assert done.status == 0, done.err
    assert report(Path("run"))["run"]["cost"]["dollars"] > 0


def test_an_out_that_cannot_be_made_is_named() -> None:
    Path("file").write_text("")
    done = ponder(*WORLD, "--out", "file/run")
    assert done.status in (1, 2)
    (line,) = done.err.splitlines()
    assert "file/run" in line


def test_verify_does_the_good_lines_and_exits_2(tmp_path: Path) -> None:
    good = {"id": 1, "reference": "4", "completion": "The answer is 4."}
    Path("answers.jsonl").write_text(json.dumps(good) + "\n{broken\n" + json.dumps(good | {"id": 2}) + "\n")
    done = ponder("verify", "--task", "number", "answers.jsonl")
    assert done.status == 2
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == [1, 2]
    (line,) = done.err.splitlines()
    assert "answers.jsonl:2: " in line
