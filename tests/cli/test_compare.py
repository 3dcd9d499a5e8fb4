"""ponder compare: paired differences on common problems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running import ponder


def write(path: Path, right: dict[str, list[int]], **more: object) -> Path:
    rows = [
        {"problem": problem, "sample": j, "answer": "1" if c else "0", "correct": bool(c)} | more
        for problem, found in right.items()
        for j, c in enumerate(found)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    a = {f"p{i}": [1, 0, 0, 0] for i in range(40)} | {"only a": [1, 1, 1, 1]}
    b = {f"p{i}": [1, 1, 1, 0, 0, 0, 0, 0] for i in range(40)} | {"only b": [0, 0]}
    return write(tmp_path / "a.jsonl", a, tokens=5), write(tmp_path / "b.jsonl", b, tokens=9)


def test_the_difference_is_paired(pair: tuple[Path, Path]) -> None:
    done = ponder("compare", *pair, "--json")
    assert done.status == 0
    found = done.json
    assert (found["problems"], found["only_a"], found["only_b"]) == (40, ["only a"], ["only b"])
    points = found["differences"]["pass"]
    assert [p["k"] for p in points] == [1, 2, 4]
    assert (points[0]["a"], points[0]["b"]) == (0.25, 0.375)
    assert points[0]["difference"] == pytest.approx(0.125)
    assert points[0]["low"] < 0.125 < points[0]["high"]
    assert points[0]["verdict"] == "B is better"
    assert (points[1]["tokens_a"], points[1]["tokens_b"]) == (10, 18)


def test_the_other_way_round_is_the_negative(pair: tuple[Path, Path]) -> None:
    there = ponder("compare", *pair, "--json").json["differences"]["pass"]
    back = ponder("compare", *reversed(pair), "--json").json["differences"]["pass"]
    for one, other in zip(there, back, strict=True):
        assert one["difference"] == pytest.approx(-other["difference"])
        assert one["low"] == pytest.approx(-other["high"])


def test_the_same_samples_have_no_effect(pair: tuple[Path, Path]) -> None:
    found = ponder("compare", pair[0], pair[0], "--json").json
    for points in found["differences"].values():
        for p in points:
            assert p["difference"] == 0
            assert p["low"] < 0 < p["high"]
            assert p["verdict"] == "no effect"


def test_table_and_page(pair: tuple[Path, Path], tmp_path: Path) -> None:
    done = ponder("compare", *pair, "--html", tmp_path / "c.html")
    assert "40 problems in common; 1 only in A (only a); 1 only in B (only b)" in done.out
    assert "B is better" in done.out
    text = (tmp_path / "c.html").read_text()
    assert text.count("<svg") == 3
    assert "1 problems only in A" in text or "only in A" in text


def test_what_a_sample_of_b_is_worth(pair: tuple[Path, Path]) -> None:
    found = ponder("compare", *pair, "--json").json
    worth = found["multiplier"]["pass"]
    assert 0.9 < worth["low"] <= worth["value"] <= worth["high"] < 3
    assert worth["tokens"] == pytest.approx(worth["value"] * 5 / 9)
    assert found["independent"] == {"a": 5, "b": 9, "samples_a": 4, "samples_b": 8, "ratio": 1.8, "fits": False}
    words = ponder("compare", *pair).out
    assert "pass@k: one sample of B is worth" in words
    assert "1.80 times as many" in words


def test_what_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = write(tmp_path / "c.jsonl", {"q": [1, 0]})
    assert "no problem in common" in ponder("compare", pair[0], other).err
    assert ponder("compare", pair[0], other).status == 2
    assert "two with a comma" in ponder("compare", *pair, "--arm", "a,b,c").err


def test_two_arms_of_one_file(tmp_path: Path) -> None:
    one = write(tmp_path / "x.jsonl", {"p": [1, 0], "q": [1, 1]}, arms=["before"])
    two = [
        json.loads(line) | {"arms": ["after"], "sample": 9 + i} for i, line in enumerate(one.read_text().splitlines())
    ]
    one.write_text(one.read_text() + "".join(json.dumps(row) + "\n" for row in two))
    done = ponder("compare", one, one, "--arm", "before,after", "--json")
    assert done.status == 0, done.err
    assert done.json["a"]["name"].endswith("before")
    assert done.json["differences"]["pass"][0]["difference"] == 0
