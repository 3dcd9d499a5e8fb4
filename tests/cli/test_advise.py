"""ponder advise: the document, the table, the page, budgets, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measure.planted import binary_rows
from running import ponder

LEVERS = ["samples", "taste", "steering", "length"]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    p = np.random.default_rng(1).beta(0.8, 1.4, 60)
    return write(tmp_path_factory.mktemp("advise") / "s.jsonl", binary_rows(p, 8, d=1.0))


def test_the_document(samples: Path) -> None:
    done = ponder("advise", samples, "--json")
    assert done.status == 0, done.err
    found = done.json
    assert (found["schema"], found["problems"], found["samples"]) == (1, 60, 480)
    for name in ("auroc", "d_prime", "reach", "ceiling", "overhang"):
        assert found["taste"][name].keys() == {"value", "low", "high", "bound"}
        assert found["taste"][name]["bound"] in ("lower", "upper", None)
    assert found["steering"]["pass_at_1"]["low"] < found["steering"]["pass_at_1"]["value"]
    assert [lever["lever"] for lever in found["levers"]] == LEVERS
    for lever in found["levers"]:
        assert lever.keys() >= {"lever", "change", "gain", "low", "high"}
        assert lever["once"]["low"] < lever["low"] <= lever["gain"] <= lever["high"] < lever["once"]["high"]
    assert ponder("advise", samples, "--json").out == done.out, "the same samples give the same advice"


def test_budgets(samples: Path) -> None:
    assert ponder("advise", samples, "--samples", 2, "--json").json["affordable"] == 2
    assert ponder("advise", samples, "--tokens", 40, "--json").json["affordable"] == 4
    both = ponder("advise", samples, "--samples", 2, "--tokens", 40)
    assert both.status == 2
    assert "give one" in both.err
    small = ponder("advise", samples, "--tokens", 3)
    assert small.status == 2
    assert "a chain has 10 tokens" in small.err


def test_the_table_and_the_page(samples: Path, tmp_path: Path) -> None:
    page = tmp_path / "advice.html"
    done = ponder("advise", samples, "--html", page)
    assert done.status == 0, done.err
    for words in ("Sample more", "Train the taste", "Steer", "Shorten the chains", "first:", "The taste reaches"):
        assert words in done.out, words
    text = page.read_text()
    assert text.count("<svg") == 2, "the levers, and best of N"
    assert not re.search(r"(?:src|href)=[\"']?(?!#)[a-z]+:", text.replace("xmlns", "")), "nothing is loaded"
    for title in ("Sample more", "Train the taste", "Steer", "Shorten the chains"):
        assert len(re.findall(rf"<li>{title}: [^<]*\([^<]* to [^<]*\)", text)) == 1, title


def test_what_is_not_there_is_left_out_with_its_reason(samples: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    bare = [{key: row[key] for key in ("problem", "answer", "correct")} for row in rows]
    found = ponder("advise", write(tmp_path / "bare.jsonl", bare), "--json").json
    levers = {lever["lever"]: lever for lever in found["levers"]}
    assert levers["taste"] == {"lever": "taste", "omitted": "no scores; add them with `ponder score`"}
    assert levers["length"] == {"lever": "length", "omitted": "the rows have no `tokens`"}
    assert "gain" in levers["steering"]
    assert found["taste"]["reach"]["value"] is None
    assert ponder("advise", tmp_path / "bare.jsonl", "--html", tmp_path / "bare.html").status == 0
    few = ponder("advise", write(tmp_path / "few.jsonl", rows[:16]), "--json").json
    assert all("2 problems" in lever["omitted"] for lever in few["levers"])
    one = ponder("advise", write(tmp_path / "one.jsonl", rows[:1]))
    assert one.status == 0, one.err
    assert "No lever can be judged" in one.out


def test_bad_lines_and_unknown_names(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(samples.read_text() + '{"problem": "p0"}\n')
    done = ponder("advise", path, "--json")
    assert done.status == 2
    assert done.json["samples"] == 480
    assert ":481: field 'answer': missing" in done.err
    assert "did you mean 'score'" in ponder("advise", samples, "--scorer", "scor").err
    assert "reads its samples twice" in ponder("advise", "-").err
    assert ponder("advise", tmp_path / "none.jsonl").status == 2


def test_a_run_folder_is_read(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ("--model", "simulated:school", "--task", "simulated:school", "--samples", "8", "--limit", "12")
    assert ponder("eval", *arguments, "--select", "best", "--scorer", "planted", "--out", run).status in (0, 3)
    found = ponder("advise", run, "--json")
    assert found.status == 0, found.err
    assert found.json["scorer"] in ("score", "planted")
    assert found.json["length"]["tokens_a_chain"] > 0


def test_of_a_run_with_several_arms_the_largest_is_chosen_and_named(samples: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    run = tmp_path / "run"
    run.mkdir()
    two = [row | {"arms": ["steer_off_prune_off", "steer_off_prune_on"]} for row in rows]
    two += [row | {"arms": ["steer_on_prune_on"], "sample": row["sample"] + 8} for row in rows if row["sample"] < 4]
    two += [row | {"arms": ["base/beam/8"], "sample": row["sample"] + 16} for row in rows]
    write(run / "samples.jsonl", two)
    done = ponder("advise", run, "--json")
    assert done.status == 0, done.err
    assert done.json["samples"] == 480
    said = "steer_off_prune_off is judged (480 rows); others, with --arm: steer_on_prune_on (240)"
    assert said in done.err and said in done.json["remarks"][0]
    other = ponder("advise", run, "--arm", "steer_on_prune_on", "--json")
    assert other.json["samples"] == 240 and not other.err
    refused = ponder("advise", run / "samples.jsonl")
    assert refused.status == 2 and "not interchangeable" in refused.err, "a plain file may hold anything"
    write(run / "samples.jsonl", [row | {"arms": ["base/beam/8"]} for row in rows])
    assert "not interchangeable" in ponder("advise", run).err


def test_a_selector_that_a_vote_would_not_replace_is_told(samples: Path, tmp_path: Path) -> None:
    """Claim 22: does a vote alone explain what picking by score reaches?"""
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    found = {}
    for name, score in (
        ("knows", lambda row: float(row["correct"]) + 0.01 * row["sample"]),
        ("says nothing", lambda row: 0.5),
    ):
        document = ponder("advise", write(tmp_path / "s.jsonl", [r | {"score": score(r)} for r in rows]), "--json").json
        found[name] = document["votes"]["selector"]
    assert found["knows"]["k"] == 8
    assert found["knows"]["low"] > 0
    assert found["says nothing"]["value"] < 0, "a pick at random is worse than the vote"
    bare = [{key: row[key] for key in ("problem", "answer", "correct")} for row in rows]
    assert ponder("advise", write(tmp_path / "bare.jsonl", bare), "--json").json["votes"]["selector"] is None
