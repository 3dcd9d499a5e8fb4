"""The command line's contract: names, JSON fields, exit statuses, what goes to stdout and what to stderr."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from running import ponder

PROBLEM = "Problem 3 of the simulated world 'school'. Find its number."  # its answer is 8385
MODEL = ("--model", "simulated:school")
COST = ["generated", "prompt", "cached", "scorer", "samples", "requests", "seconds", "flops", "dollars", "estimated"]
ROW = [
    "task", "model", "search", "select", "scorer", "stop", "samples", "problems", "accuracy", "low", "high",
    "unverified", "truncated", "cost",
]  # fmt: skip
HEAVY = ("torch", "scipy", "matplotlib", "openai", "pydantic", "numpy")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working folder, and no settings of whoever runs the tests."""
    import os

    for name in list(os.environ):
        if name.startswith(("PONDER_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def _stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


# --- solve --------------------------------------------------------------------------------------------------------


def test_solve_prints_the_answer_then_confidence_and_cost() -> None:
    done = ponder("solve", *MODEL, "--samples", 16, PROBLEM)
    answer, rest = done.out.splitlines()
    assert (done.status, answer, done.err) == (0, "8385", "")
    assert rest.startswith("confidence 0.44 · 16 chains · ")


def test_solve_json_is_one_document() -> None:
    found = ponder("solve", *MODEL, "--samples", 4, "--json", PROBLEM).json
    assert list(found) == ["schema", "answer", "confidence", "cost", "chains"]
    assert list(found["cost"]) == COST
    assert len(found["chains"]) == found["cost"]["samples"] == 4
    for chain in found["chains"]:
        assert {"answer", "finish", "tokens", "text"} <= chain.keys()
    assert sum(chain["tokens"] for chain in found["chains"]) == found["cost"]["generated"]


def test_solve_streams_events_and_the_answer_last() -> None:
    done = ponder("solve", *MODEL, "--samples", 3, "--stream", PROBLEM)
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event["event"] for event in events] == ["chain", "chain", "chain", "answer"]
    assert [event["key"] for event in events[:3]] == ["e0", "e1", "e2"]
    assert events[-1]["answer"] == json.loads(ponder("solve", *MODEL, "--samples", 3, "--json", PROBLEM).out)["answer"]


def test_solve_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    _stdin(monkeypatch, PROBLEM + "\n")
    assert ponder("solve", *MODEL, "--samples", 16, "-").out.splitlines()[0] == "8385"


def test_solve_says_that_the_budget_ended() -> None:
    done = ponder("solve", *MODEL, "--seconds", 1e-7, PROBLEM)
    assert done.status == 4
    assert "the budget ended" in done.err
    document = ponder("solve", *MODEL, "--seconds", 1e-7, "--json", PROBLEM)
    assert (document.status, document.json["answer"]) == (4, None)


def test_solve_without_a_model_gives_three_lines_to_copy() -> None:
    done = ponder("solve", "What is 17 * 23?")
    lines = [line for line in done.err.splitlines() if line.startswith("  ponder solve ")]
    assert (done.status, done.out, len(lines)) == (2, "", 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no problem"),
        ((*MODEL, ""), "empty"),
        ((*MODEL, PROBLEM, "--sampels", "4"), "did you mean --samples?"),
        (("--model", "simulated:schol", PROBLEM), "did you mean 'school'?"),
        ((*MODEL, PROBLEM, "--task", "nmber"), "did you mean 'number'?"),
        ((*MODEL, PROBLEM, "--samples", "1,4"), "samples"),
        ((*MODEL, PROBLEM, "--samples", "0"), "--samples"),
        ((*MODEL, PROBLEM, "--select", "best"), "needs a scorer"),
        ((*MODEL, PROBLEM, "--dollars", "1"), "--price"),
        ((*MODEL, PROBLEM, "--set", "bogus"), "key=value"),
        ((*MODEL, PROBLEM, "--set", "bogus=1"), "bogus"),
    ],
)
def test_solve_refuses_in_one_line(arguments: tuple[str, ...], said: str) -> None:
    done = ponder("solve", *arguments)
    assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert said in done.err


# --- eval ---------------------------------------------------------------------------------------------------------


def test_eval_json_has_the_fields_of_the_contract() -> None:
    done = ponder(
        "eval", *MODEL, "--limit", 5, "--samples", "1,4", "--select", "vote,best", "--scorer", "random", "--json"
    )
    found = done.json
    assert (done.status, found["schema"]) == (0, 1)
    assert [(row["samples"], row["select"], row["scorer"]) for row in found["rows"]] == [
        (1, "vote", None),
        (1, "best", "random"),
        (4, "vote", None),
        (4, "best", "random"),
    ]
    for row in found["rows"]:
        assert [key for key in row if key in ROW] == ROW
        assert list(row["cost"]) == COST
        assert row["problems"] == 5
        assert 0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1
        assert row["cost"]["samples"] == 5 * row["samples"]
    assert found["run"]["cost"]["samples"] == 20


def test_eval_fields_are_documented() -> None:
    row = ponder("eval", *MODEL, "--limit", 2, "--json").json["rows"][0]
    page = (Path(__file__).parents[2] / "docs" / "reference" / "files.md").read_text()
    assert not [key for key in row if f'"{key}"' not in page]


def test_eval_writes_a_run_folder_and_keeps_stdout_for_data() -> None:
    done = ponder("eval", *MODEL, "--limit", 3, "--samples", 2, "--out", "run", "--json")
    assert {"recipe.toml", "environment.json", "journal.jsonl", "samples.jsonl", "report.json", "report.html"} <= {
        path.name for path in Path("run").iterdir()
    }
    assert json.loads(Path("run/report.json").read_text()) == done.json
    assert "page: run/report.html" in done.err
    rows = [json.loads(line) for line in Path("run/samples.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    assert {"problem", "sample", "answer", "correct", "tokens", "arms", "picked", "finish", "reason"} <= rows[0].keys()


def test_eval_goes_on_and_refuses_what_it_must() -> None:
    again = ("eval", *MODEL, "--limit", 3, "--samples", 2, "--out", "run", "--json")
    first = ponder(*again, "--resume")  # an absent folder is started
    assert first.status == 0
    assert ponder(*again).status == 2
    resumed = ponder(*again, "--resume")
    assert (resumed.status, resumed.json["digest"]) == (0, first.json["digest"])
    changed = ponder(*again, "--resume", "--seed", 7)
    assert changed.status == 2
    assert "seed" in changed.err


def test_eval_replays_other_arms_without_an_engine() -> None:
    ponder("eval", *MODEL, "--limit", 5, "--samples", 8, "--out", "run")
    done = ponder(
        "eval", "--replay", "run", "--samples", "2,8", "--select", "weighted", "--scorer", "planted", "--json"
    )
    assert (done.status, done.json["label"]) == (0, "replay")
    assert [(row["samples"], row["select"]) for row in done.json["rows"]] == [(2, "weighted"), (8, "weighted")]
    assert ponder("eval", "--replay", "nowhere").status == 2


def test_eval_takes_a_recipe_and_flags_change_it() -> None:
    Path("recipe.toml").write_text('model = "simulated:school"\nsamples = [1, 2]\nlimit = 3\n')
    assert [row["samples"] for row in ponder("eval", "recipe.toml", "--json").json["rows"]] == [1, 2]
    found = ponder("eval", "recipe.toml", "--samples", 4, "--out", "other", "--json").json
    assert [row["samples"] for row in found["rows"]] == [4]


def test_eval_names_the_line_of_a_bad_recipe() -> None:
    Path("recipe.toml").write_text('model = "simulated:school"\n\nsampels = 3\n')
    done = ponder("eval", "recipe.toml")
    assert done.status == 2
    assert "recipe.toml:3: unknown key 'sampels'; did you mean 'samples'?" in done.err


def test_eval_that_a_limit_ended_exits_3() -> None:
    done = ponder("eval", *MODEL, "--limit", 3, "--seconds", 1e-7, "--json")
    assert (done.status, done.json["run"]["not_started"], done.json["run"]["ended_by"]) == (3, 3, "seconds")


# --- verify -------------------------------------------------------------------------------------------------------


def _answers(path: Path, count: int) -> list[dict[str, Any]]:
    rows = [
        {"id": f"r{i}", "reference": i, "completion": f"The answer is {i if i % 3 else i + 1}.", "other": "kept out"}
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def _verdicts(out: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in out.splitlines()]
    for row in found:
        assert list(row) == ["id", "verdict", "reward", "reason", "seconds"]
        del row["seconds"]
    return found


def test_verify_keeps_the_order_whatever_the_workers() -> None:
    rows = _answers(Path("a.jsonl"), 200)
    one = ponder("verify", "--task", "number", "a.jsonl")
    eight = ponder("verify", "--task", "number", "a.jsonl", "--workers", 8)
    assert (one.status, eight.status) == (0, 0)
    assert _verdicts(one.out) == _verdicts(eight.out)
    assert [row["id"] for row in _verdicts(one.out)] == [row["id"] for row in rows]
    assert [row["verdict"] for row in _verdicts(one.out)] == ["correct" if i % 3 else "wrong" for i in range(200)]
    assert all(row["reason"] for row in _verdicts(one.out))


def test_verify_names_bad_lines_and_judges_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        '{"id": "a", "reference": 1, "completion": "The answer is 1."}',
        "not JSON",
        '{"id": "b", "completion": "1"}',
        "",
        '{"id": "c", "reference": 1, "completion": "The answer is 2."}',
        '{"reference": 1, "completion": "1"}',
    ]
    _stdin(monkeypatch, "\n".join(lines) + "\n")
    done = ponder("verify", "--task", "number", "-", "--workers", 8)
    assert done.status == 2
    assert [(row["id"], row["verdict"]) for row in _verdicts(done.out)] == [("a", "correct"), ("c", "wrong")]
    said = done.err.splitlines()
    assert [line.split(":")[2] for line in said] == ["2", "3", "6"]
    assert "field 'reference'" in said[1]
    assert "field 'id'" in said[2]


def test_verify_exits_3_for_what_it_cannot_judge() -> None:
    Path("a.jsonl").write_text('{"id": 1, "reference": "x \\\\equiv 1", "completion": "\\\\boxed{x \\\\equiv 4}"}\n')
    done = ponder("verify", "--task", "math", "a.jsonl")
    (row,) = _verdicts(done.out)
    assert (done.status, row["verdict"], row["reward"]) == (3, "unverified", 0.0)


@pytest.mark.parametrize(
    "arguments", [("a.jsonl",), ("--task", "nmber", "a.jsonl"), ("--task", "number", "absent.jsonl")]
)
def test_verify_refuses_in_one_line(arguments: tuple[str, ...]) -> None:
    _answers(Path("a.jsonl"), 1)
    done = ponder("verify", *arguments)
    assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)


# --- tasks, searches, doctor --------------------------------------------------------------------------------------


def test_tasks_lists_names_worlds_and_files() -> None:
    names = [task["name"] for task in ponder("tasks", "--json").json["tasks"]]
    assert {"text", "number", "math", "gsm8k", "simulated:school", "PATH"} <= set(names)
    shown = ponder("tasks")
    assert (shown.status, [line.split()[0] for line in shown.out.splitlines()]) == (0, names)


def test_searches_lists_parts_and_what_may_be_set() -> None:
    found = ponder("searches", "--json").json
    assert list(found) == ["schema", "search", "selector", "stop_rule", "scorer"]
    assert {"vote", "best", "weighted"} <= {part["name"] for part in found["selector"]}
    (adaptive,) = [part for part in found["stop_rule"] if part["name"] == "adaptive"]
    assert adaptive["settings"] == {"tau": 0.95, "wave": 4, "lossless": False}
    assert "--set adaptive.wave=4" in ponder("searches").out


def test_doctor_shows_the_source_of_each_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Path("ponder.toml").write_text('seed = 5\nmodel = "simulated:rival"\nlimit = 9\n')
    (tmp_path / "config" / "ponder").mkdir(parents=True)
    (tmp_path / "config" / "ponder" / "ponder.toml").write_text('temperature = 0.5\nseed = 6\n[set]\n"live" = 3\n')
    monkeypatch.setenv("PONDER_MODEL", "simulated:school")
    settings = ponder("doctor", "--json").json["settings"]
    assert settings["model"] == {"value": "simulated:school", "source": "environment PONDER_MODEL"}
    assert settings["seed"]["value"] == 5
    assert settings["seed"]["source"].endswith("ponder.toml:1")
    assert settings["temperature"]["value"] == 0.5
    assert settings["temperature"]["source"].endswith("config/ponder/ponder.toml:1")
    assert settings["samples"] == {"value": [1], "source": "default"}
    shown = ponder("doctor").out
    assert "environment PONDER_MODEL" in shown


def test_doctor_shows_how_models_run_here() -> None:
    found = ponder("doctor", "--json").json["local"]
    assert found["dtype"] in ("float32", "bfloat16") and found["threads"] >= 1 and found["ms"]
    assert f"models in this process: {found['device']}, {found['dtype']}" in ponder("doctor").out


def test_doctor_never_shows_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1")
    monkeypatch.setenv("PONDER_BASE_URL", "http://user:hidden@host/v1")
    for done in (ponder("doctor"), ponder("doctor", "--json")):
        assert done.status == 0
        assert "OPENAI_API_KEY is set" in done.out
        assert "sk-secret-1" not in done.out + done.err
        assert "hidden" not in done.out + done.err


def test_doctor_names_the_bad_value() -> None:
    Path("ponder.toml").write_text("seed = 1\nsamples = 0\n")
    done = ponder("doctor")
    assert done.status == 2
    assert "ponder.toml:2: samples" in done.err


# --- the program --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("evl",), "did you mean 'eval'?"),
        (("eval", "--modle", "x"), "did you mean --model?"),
        (("solve", "a", "b"), "b"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(arguments: tuple[str, ...], said: str) -> None:
    done = ponder(*arguments)
    assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert said in done.err


@pytest.mark.parametrize(
    "code",
    [
        "import ponder",
        "from ponder.cli.group import guarded; from ponder.cli import main; assert guarded(main, ['--help']) == 0",
        "from ponder.cli.group import guarded; from ponder.cli import main; assert guarded(main, ['tasks']) == 0",
    ],
    ids=["import", "help", "tasks"],
)
def test_start_loads_nothing_heavy(code: str) -> None:
    started = time.perf_counter()
    program = f"import sys; {code}; print(*[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    print(f"{code}: {time.perf_counter() - started:.2f} s, Python's own start included")
    assert done.stderr.strip() == ""
