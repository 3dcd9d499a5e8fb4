"""ponder curves: the document, the table, the page, exit statuses; and the shared samples."""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from pathlib import Path

import pytest
from running import ROOT, ponder

SAMPLES = ROOT.parent / "shared" / "data" / "samples"
POINT = {"k", "value", "low", "high", "tokens", "problems", "extrapolated"}


def made(path: Path, seed: int = 0, problems: int = 6, n: int = 8, **more: object) -> Path:
    draw = random.Random(seed)
    lines = []
    for i in range(problems):
        for j in range(n):
            right = draw.random() < (i + 1) / (problems + 2)
            line = {
                "problem": f"p{i}",
                "sample": j,
                "answer": "1" if right else str(draw.randint(2, 4)),
                "correct": right,
            }
            lines.append(line | {"tokens": 10 * (j + 1), "score": round(draw.random(), 3)} | more)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_document(tmp_path: Path) -> None:
    done = ponder("curves", made(tmp_path / "s.jsonl"), "--json")
    assert done.status == 0
    found = done.json
    assert (found["schema"], found["problems"], found["samples"]) == (1, 6, 48)
    assert list(found["curves"]) == ["pass", "maj", "best_of_n", "weighted"]
    for points in found["curves"].values():
        assert [point["k"] for point in points] == [1, 2, 4, 8]
        for point in points:
            assert point.keys() >= POINT
            assert 0 <= point["low"] <= point["value"] <= point["high"] <= 1
            assert point["low"] < point["high"]
            assert point["tokens"] == 45 * point["k"]
            assert point["extrapolated"] is False
    first = {name: points[0]["value"] for name, points in found["curves"].items()}
    assert max(first.values()) - min(first.values()) < 1e-12
    for p, m, g, h in zip(
        found["curves"]["pass"], found["curves"]["maj"], found["gap"], found["pass_hat"], strict=True
    ):
        assert g["value"] == pytest.approx(p["value"] - m["value"])
        assert h["value"] <= m["value"] + 1e-12
    assert 1 <= found["expected_guesses"]["value"] <= 8


def test_the_order_of_rows_and_files_does_not_matter(tmp_path: Path) -> None:
    whole = made(tmp_path / "s.jsonl")
    lines = whole.read_text().splitlines()
    random.Random(1).shuffle(lines)
    halves = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for half, part in zip(halves, (lines[:20], lines[20:]), strict=True):
        half.write_text("\n".join(part))
    assert ponder("curves", *halves, "--json").out == ponder("curves", whole, "--json").out


def test_the_table_and_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = ponder("curves", made(tmp_path / "s.jsonl"), "--html", page)
    assert done.status == 0
    for words in ("6 problems, 48 samples", "pass@k", "weighted vote", "tokens"):
        assert words in done.out
    text = page.read_text()
    assert len(text) < 300_000
    assert text.count("<svg") == 2, "against samples and against tokens"
    assert not re.search(r"(?:src|href)=[\"']?(?!#)[a-z]+:", text.replace("xmlns", "")), "nothing is loaded"
    assert "#0a" not in text, "stand-in colours must become variables"
    assert "prefers-color-scheme: dark" in text
    assert "Made by" in text


def test_a_bad_line_is_named_and_the_rest_is_done(tmp_path: Path) -> None:
    path = made(tmp_path / "s.jsonl")
    path.write_text(path.read_text() + '{"problem": "p0"}\n')
    done = ponder("curves", path, "--json")
    assert done.status == 2
    assert done.json["samples"] == 48
    assert f"{path}:49: field 'answer': missing" in done.err


def test_what_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "s.jsonl")
    assert ponder("curves", tmp_path / "none.jsonl").status == 2
    assert "holds no samples.jsonl" in ponder("curves", tmp_path).err
    assert "unknown task" in ponder("curves", path, "--task", "maths").err
    assert "did you mean 'score'" in ponder("curves", path, "--scorer", "scor").err
    assert "--to" in ponder("curves", path, "--to", "0").err


def test_points_beyond_the_samples_are_marked(tmp_path: Path) -> None:
    path = made(tmp_path / "s.jsonl", problems=30, n=8)
    found = ponder("curves", path, "--to", 48, "--json").json
    for points in found["curves"].values():
        assert [point["k"] for point in points] == [1, 2, 4, 8, 16, 32, 48]
        assert [point["extrapolated"] for point in points] == [False] * 4 + [True] * 3
        for point in points:
            assert point.keys() >= POINT
            assert point["tokens"] == 45 * point["k"]
            assert point["value"] is None or 0 <= point["low"] <= point["value"] <= point["high"] <= 1
    covered = [point["value"] for point in found["curves"]["pass"]]
    assert covered == sorted(covered)
    table = ponder("curves", path, "--to", 48).out
    assert "≈ 48" in table
    within = ponder("curves", path, "--to", 5, "--json").json["curves"]["pass"]
    assert [point["k"] for point in within] == [1, 2, 4, 5, 8]
    assert not any(point["extrapolated"] for point in within)
    few = made(tmp_path / "few.jsonl", problems=3, n=4)
    told = ponder("curves", few, "--to", 16, "--json").json
    assert told["curves"]["pass"][-1]["value"] is None
    assert "3 problems say too little" in told["curves"]["pass"][-1]["reason"]


def test_a_task_file_says_which_answers_are_equal(tmp_path: Path) -> None:
    task = tmp_path / "task.jsonl"
    task.write_text('{"id": "a", "problem": "half?", "reference": "0.5"}\n')
    path = tmp_path / "s.jsonl"
    rows = [{"problem": "a", "answer": answer, "correct": answer != "3"} for answer in ("1/2", "0.5", "3")]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert ponder("curves", path, "--task", task, "--json").json["curves"]["maj"][-1]["value"] == 1.0
    assert ponder("curves", path, "--json").json["curves"]["maj"][-1]["value"] == pytest.approx(2 / 3)
    path.write_text(path.read_text().replace('"a"', '"b"'))
    assert "has no problem 'b'" in ponder("curves", path, "--task", task).err


def test_a_run_folder_is_read(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ("--model", "simulated:school", "--task", "simulated:school", "--samples", "1,4", "--limit", "5")
    assert ponder("eval", *arguments, "--out", run).status in (0, 3)
    found = ponder("curves", run, "--json")
    assert found.status == 0, found.err
    assert [p["k"] for p in found.json["curves"]["maj"]] == [1, 2, 4]


@pytest.mark.parametrize(
    ("name", "problems", "n"), [("game24_gpt4_direct", 100, 100), ("cruxeval_codellama7b_input", 800, 10)]
)
def test_shared_samples(name: str, problems: int, n: int) -> None:
    path = SAMPLES / f"{name}.jsonl"
    if not path.exists():
        pytest.skip("the shared samples are not here")
    done = ponder("curves", path, "--json")
    assert done.status == 0
    found = done.json
    assert (found["problems"], found["samples"]) == (problems, problems * n)
    right: dict[str, list[bool]] = defaultdict(list)
    for line in path.read_text().splitlines():
        row = json.loads(line)
        right[row["problem"]].append(row["correct"])
    mean = sum(sum(r) / len(r) for r in right.values()) / len(right)
    curve = found["curves"]["pass"]
    assert curve[0]["value"] == pytest.approx(mean, abs=1e-12)
    assert curve[-1]["value"] == pytest.approx(sum(any(r) for r in right.values()) / len(right), abs=1e-12)
    values = [point["value"] for point in curve]
    assert values == sorted(values)
    assert all(m["value"] <= p["value"] + 1e-12 for m, p in zip(found["curves"]["maj"], curve, strict=True))
