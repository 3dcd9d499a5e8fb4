"""`ponder score`: recorded samples with another scorer's scores; what a run recorded itself comes out again."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from running import Done, ponder, rows, started

from ponder.registry import Entry
from ponder.rescore import cut, scored
from ponder.scorers import SCORERS
from ponder.scorers.base import PureScorer, Seen
from ponder.types import Chain, Rating


def written(path: Path, found: Sequence[object]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in found))
    return path


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def row(number: int, **more: object) -> dict[str, Any]:
    return {"problem": "p", "answer": str(number), "correct": number % 2 == 0, "sample": number, **more}


def without(found: Sequence[dict[str, Any]], *fields: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in fields} for row in found]


def refusal(done: Done) -> str:
    assert done.status == 2 and done.out == ""
    (line,) = done.err.strip().splitlines()
    return line


# --- without a model ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    done = ponder(
        "eval", "--model", "simulated:school", "--limit", 15, "--samples", 4, "--select", "best", "--scorer",
        "planted,random", "--seed", 3, "--out", folder,
    )  # fmt: skip
    assert done.status == 0
    return folder


def test_a_run_is_scored_as_it_scored_itself(run: Path, tmp_path: Path) -> None:
    before = rows(run)
    for name in ("planted", "random"):
        done = ponder("score", "--scorer", name, run)
        assert done.status == 0
        assert [r["scores"] for r in lines(done.out)] == [r["scores"] for r in before]
        assert without(lines(done.out), "scorer_tokens", "score", "steps") == before, "in order, nothing else changed"
        assert done.err.startswith(f"60 rows scored by {name}, 0 unscorable · 0 tokens read · AUROC within problems 0.")
    bare = written(tmp_path / "bare.jsonl", without(before, "scores", "key"))
    found = lines(ponder("score", "--scorer", "random", bare).out)
    assert [r["score"] for r in found] == [r["scores"]["random"] for r in found]
    named = written(tmp_path / "named.jsonl", [{**r, "seed": 3} for r in without(before, "scores", "key")])
    again = lines(ponder("score", "--scorer", "random", named).out)
    assert [r["score"] for r in again] == [r["scores"]["random"] for r in before], (
        "a row's own seed; e0, e1, … are keys"
    )
    assert [r["score"] for r in found] != [r["score"] for r in again]


def test_the_document_and_the_area_under_the_curve(run: Path, tmp_path: Path) -> None:
    out, before = run / "scored.jsonl", {path.name for path in run.iterdir()}
    done = ponder("score", "--scorer", "planted", run / "samples.jsonl", "--out", out, "--json")
    found = done.json
    assert {key: found[key] for key in found if key != "auroc"} == {
        "schema": 1, "scorer": "planted", "rows": 60, "scored": 60, "unscorable": 0, "bad": 0, "tokens": 0,
    }  # fmt: skip
    wins = pairs = 0.0
    own = lines(out.read_text())
    for a, b in product(own, own):
        if a["problem"] == b["problem"] and a["correct"] and not b["correct"]:
            left, right = a["scores"]["planted"], b["scores"]["planted"]
            pairs, wins = pairs + 1, wins + (left > right) + (left == right) / 2
    assert found["auroc"]["value"] == pytest.approx(wins / pairs, abs=1e-12)
    assert found["auroc"]["low"] <= found["auroc"]["value"] <= found["auroc"]["high"]
    assert {path.name for path in run.iterdir()} == before | {"scored.jsonl"}
    again = ponder("score", "--scorer", "planted", out)
    assert again.out == out.read_text(), "scored again it is the same"
    one = written(tmp_path / "one.jsonl", [row(0, text="")])
    assert ponder("score", "--scorer", "random", one, "--json", "--out", out).json["auroc"] is None


def test_bad_lines_are_named_and_the_others_are_done(tmp_path: Path) -> None:
    mixed = [
        row(0, mine={"kept": [1]}),
        "{broken",
        "[1]",
        row(1, problem=None),
        "",
        row(2, text=7),
        row(3, ids=[1, True]),
    ]
    mixed += [row(4, scores=[1]), row(5, steps=[1]), row(6, logprobs=["a"]), row(7, ids=[1], logprobs=[-1.0, -2.0])]
    mixed += [row(8, scorer_tokens=-1), '{"problem": "p", "x": NaN}', row(9, text="é\ud800", finish="refused")]
    path = written(tmp_path / "mixed.jsonl", mixed)
    done = ponder("score", "--scorer", "random", path)
    assert done.status == 2
    assert [r["sample"] for r in lines(done.out)] == [0, 9] and lines(done.out)[0]["mine"] == {"kept": [1]}
    said = [line for line in done.err.splitlines() if line.startswith(f"ponder: {path}:")]
    named = {int(line.split(":")[2]): line for line in said}
    assert sorted(named) == [2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13]
    for number, word in {4: "'problem'", 6: "'text'", 7: "'ids'", 8: "'scores'", 9: "'steps'", 13: "NaN"}.items():
        assert word in named[number]
    assert "no row can be used" in refusal(ponder("score", "--scorer", "random", written(path, ["{"])))
    assert "no rows" in refusal(ponder("score", "--scorer", "random", written(path, [])))


def test_confidence_where_log_probs_are_known(tmp_path: Path) -> None:
    own = [row(0, logprobs=[-1.0, -3.0]), row(1, ids=[5], logprobs=[-0.5], text="x"), row(2, text="none")]
    path = written(tmp_path / "s.jsonl", own)
    done = ponder("score", "--scorer", "confidence", path)
    assert [r["score"] for r in lines(done.out)] == [pytest.approx(math.exp(-2)), pytest.approx(math.exp(-0.5)), None]
    assert done.err.startswith("2 rows scored by confidence, 1 unscorable")
    none = ponder("score", "--scorer", "confidence", written(path, own[2:]))
    assert none.status == 3 and "no field 'logprobs'" in none.err


def test_what_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = run / "samples.jsonl"
    before = samples.read_bytes()
    (tmp_path / "link.jsonl").hardlink_to(samples)
    for out in (samples, tmp_path / "link.jsonl", run / ".." / run.name / "samples.jsonl"):
        assert "the samples themselves" in refusal(ponder("score", "--scorer", "random", run, "--out", out))
    assert "is a folder" in refusal(ponder("score", "--scorer", "random", run, "--out", tmp_path))
    assert "did you mean 'random'" in refusal(ponder("score", "--scorer", "rando", run))
    assert "holds no samples.jsonl" in refusal(ponder("score", "--scorer", "random", tmp_path))
    assert "No such file" in refusal(ponder("score", "--scorer", "random", tmp_path / "none.jsonl"))
    assert "add --out FILE" in refusal(ponder("score", "--scorer", "random", run, "--json"))
    assert "not in use here" in refusal(ponder("score", "--scorer", "random", run, "--set", "prm.path=x"))
    assert "not in use here" in refusal(ponder("score", "--scorer", "random", run, "--set", "device=cpu"))
    assert "'random' 'x'" in refusal(ponder("score", "--scorer", "random", run, "--set", "random.x=1")).replace(":", "")

    class Thinking:
        name, pure, needs = "thinking", True, {}  # type: ignore[var-annotated]

        def rate(self, seen: Seen, chains: Sequence[Chain]) -> Any:
            yield

    monkeypatch.setitem(SCORERS._entries, "thinking", Entry("ponder.scorers.random:build", "test"))
    monkeypatch.setattr(Entry, "load", lambda self: Thinking)
    assert "asks a model" in refusal(ponder("score", "--scorer", "thinking", run, "--out", tmp_path / "out.jsonl"))
    assert samples.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["link.jsonl"]


def test_a_kill_leaves_no_half_file(tmp_path: Path) -> None:
    out = tmp_path / "scored.jsonl"
    process = started("score", "--scorer", "random", "-", "--out", out, stdin=-1)
    assert process.stdin is not None
    for number in range(40_000):  # more than a pipe holds: some of it has been read and scored
        process.stdin.write(json.dumps(row(number)) + "\n")
    assert [p.name for p in tmp_path.iterdir()] == [".scored.jsonl.part"]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists()


def test_whose_score_a_row_has() -> None:
    scorer = PureScorer("prm")
    rating = Rating(0.25, (0.5, 0.25), tokens=9)
    steps = [{"text": "a\n\n", "valid": True}, {"text": "b", "valid": False}]
    bare = scored({"text": "a\n\nb"}, scorer, rating)
    assert bare == {
        "text": "a\n\nb", "score": 0.25, "scores": {"prm": 0.25}, "scorer_tokens": 9,
        "steps": [{"text": "a\n\n", "score": 0.5}, {"text": "b", "score": 0.25}],
    }  # fmt: skip
    assert scored(bare, scorer, rating) == bare
    other = {"score": 0.9, "scores": {"orm": 0.9}, "scorer_tokens": 4, "steps": steps}
    found = scored(other, scorer, rating)
    assert (found["score"], found["scores"], found["scorer_tokens"]) == (0.9, {"orm": 0.9, "prm": 0.25}, 13)
    assert [s["score"] for s in found["steps"]] == [0.5, 0.25] and found["steps"][0]["valid"] is True
    kept = scored({**other, "steps": [{**s, "score": 0.1} for s in steps]}, scorer, rating)
    assert [s["score"] for s in kept["steps"]] == [0.1, 0.1], "they are another scorer's"
    assert "steps" not in scored({"text": "one step"}, scorer, rating), "its steps are not these"
    assert cut("a;b; ", ";") == ["a;", "b; "] and cut("", ";") == [] and cut("a;b", ";") == ["a;", "b"]


# --- with one -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of a tiny model whose chains a reward model chose among, and that model; a value, too."""
    pytest.importorskip("torch", reason="needs ponder[local]")
    import torch

    from ponder.models.tiny import arithmetic_words, tiny_llama, word_tokenizer
    from ponder.models.tiny import save as write
    from ponder.scorers.checkpoint import Checkpoint, Sheet, save
    from ponder.train.prune import headed

    folder = tmp_path_factory.mktemp("trained")
    tokenizer = word_tokenizer(arithmetic_words(30))
    models = [tiny_llama(tokenizer, hidden=16, layers=1, heads=2, mlp=16, context=64, seed=seed) for seed in range(2)]
    with torch.no_grad():
        for parameter in (p for model in models for p in model.parameters()):
            parameter.mul_(4.0)
    head = headed(models[1]).eval()
    with torch.no_grad():
        head.score.weight.normal_(generator=torch.Generator().manual_seed(0))
    write(folder / "policy", models[0], tokenizer)
    save(folder / "prm", Checkpoint(Sheet("implicit", delimiter=";", beta=0.1), models[1], tokenizer, models[0]))
    save(folder / "value", Checkpoint(Sheet("value", delimiter=";"), head, tokenizer))
    done = ponder(
        "eval", "--model", folder / "policy", "--task", "countdown", "--set", "countdown.seed=7", "--limit", 4,
        "--samples", 5, "--max-tokens", 16, "--select", "best", "--scorer", "prm", "--out", folder / "run",
        "--set", f"prm.path={folder / 'prm'}",
    )  # fmt: skip
    assert done.status == 0, done.err
    return folder


def same(found: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]]) -> None:
    assert [r["scores"]["prm"] for r in found] == pytest.approx([r["scores"]["prm"] for r in before], abs=1e-5)
    assert [r["score"] for r in found] == [r["scores"]["prm"] for r in found]
    for row in found:
        if "steps" in row:
            assert "".join(s["text"] for s in row["steps"]) == row["text"]
            assert row["steps"][-1]["score"] == row["score"]


def test_a_reward_model_says_again_what_it_said_in_the_run(trained: Path, tmp_path: Path) -> None:
    before, prm = rows(trained / "run"), ("--scorer", "prm", "--set", f"prm.path={trained / 'prm'}")
    assert any(";" in row["text"] for row in before) and len({row["score"] for row in before}) == len(before)
    assert max(row["score"] for row in before) - min(row["score"] for row in before) > 0.1
    done = ponder("score", *prm, trained / "run")
    assert done.status == 0, done.err
    found = lines(done.out)
    same(found, before)
    assert without(found, "scores", "score", "steps", "scorer_tokens") == without(before, "scores", "score")
    cost = json.loads((trained / "run" / "report.json").read_text())["rows"][0]["cost"]
    assert sum(row["scorer_tokens"] for row in found) == cost["scorer"]
    assert f"20 rows scored by prm, 0 unscorable · {cost['scorer']:,} tokens read" in done.err

    bare = without(before, "scores", "score", "key")
    task = ("--task", "countdown", "--set", "countdown.seed=7")
    path = written(tmp_path / "bare.jsonl", bare)
    same(lines(ponder("score", *prm, path, *task).out), before)
    told = [i for i, row in enumerate(before) if 0 not in row["ids"]]  # the pad token has no text
    assert len(told) > 10
    no_ids = lines(ponder("score", *prm, written(path, without(bare, "ids", "sample")), *task).out)
    same([no_ids[i] for i in told], [before[i] for i in told])
    written(path, bare)
    ended = [row for row in before if row["finish"] == "stop"]
    unended = written(tmp_path / "unended.jsonl", [{**row, "ids": row["ids"][:-1]} for row in ended])
    for row, was in zip(lines(ponder("score", *prm, unended, *task).out), ended, strict=True):
        assert row["score"] != pytest.approx(was["score"], abs=1e-5), "ids that mean the text are taken as they are"
    assert ended
    assert "give --task, or rows with 'prompt' or 'question'" in refusal(ponder("score", *prm, path))
    other = ponder("score", *prm, written(path, [*bare, {**bare[0], "problem": "sums:1"}]), *task)
    assert other.status == 2 and "bare.jsonl:21: field 'problem': task 'countdown' has no 'sums:1'" in other.err
    same(lines(other.out), before)


def test_rows_may_say_themselves_what_was_asked(trained: Path, tmp_path: Path) -> None:
    from ponder.tasks import load_rules, load_task

    before, prm = rows(trained / "run"), ("--scorer", "prm", "--set", f"prm.path={trained / 'prm'}")
    asked = {problem.id: problem for problem in load_task("countdown", {"seed": 7}).problems(4)}
    bare = without(before, "scores", "score")
    path = tmp_path / "own.jsonl"
    own: list[dict[str, Any]] = [{**row, "question": asked[row["problem"]].text} for row in bare]
    same(lines(ponder("score", *prm, written(path, own), "--task", "countdown").out), before)
    turns = {name: [{"role": m.role, "content": m.content} for m in p.messages] for name, p in asked.items()}
    own = [{**row, "prompt": turns[row["problem"]]} for row in bare]
    same(lines(ponder("score", *prm, written(path, own)).out), before)
    own = [{**row, "prompt": turns[row["problem"]][0]["content"]} for row in bare]
    same(lines(ponder("score", *prm, written(path, own)).out), before)
    assert load_rules("countdown").instruction in own[0]["prompt"]
    done = ponder("score", *prm, written(path, [*own, {**own[0], "prompt": [1]}, {**bare[0], "question": 1}]))
    assert done.status == 2 and "own.jsonl:21: field 'prompt'" in done.err and "22: field 'question'" in done.err


def test_the_loop_s_rows_are_asked_as_its_recipe_says(trained: Path, tmp_path: Path) -> None:
    before, folder = rows(trained / "run"), tmp_path / "loop"
    folder.mkdir()
    (folder / "recipe.toml").write_text("seed = 7\n[task]\nnumbers = 4\ntest_problems = 4\n[model]\nhidden = 16\n")
    written(folder / "samples.jsonl", without(before, "key", "scores", "score"))
    done = ponder("score", "--scorer", "prm", "--set", f"prm.path={trained / 'prm'}", folder)
    assert done.status == 0, done.err
    same(lines(done.out), before)


def test_the_value_of_rows_that_are_not_finished(trained: Path, tmp_path: Path) -> None:
    from ponder.scorers.base import Seen
    from ponder.types import Problem

    first = rows(trained / "run")[0]
    own = [{"problem": first["problem"], "answer": None, "correct": False, "text": " 1 + 2 = 3 | 3 4 5 ;", "finish": f}
           for f in ("step", "stop")]  # fmt: skip
    own.append({**own[0], "text": " nothing ;"})
    own.append({**own[0], "prompt": "as it was asked"})
    path = written(tmp_path / "s.jsonl", own)
    arguments = ("--scorer", "value", "--set", f"value.path={trained / 'value'}", "--task", "countdown")
    done = ponder("score", *arguments, path)
    assert done.status == 0 and done.err.startswith("2 rows scored by value, 2 unscorable")
    scorer = SCORERS.build("value", settings={"path": str(trained / "value")})
    target = first["problem"].split(":")[1]
    chain = Chain(first["problem"], "s0", finish="step", state=f"{target} : 3 4 5 ;")
    (expected,) = scorer.rate(Seen(Problem("p", "")), [chain])
    found = [row["score"] for row in lines(done.out)]
    assert found == [pytest.approx(expected.value, abs=1e-5), None, None, found[0]]


def test_a_folder_that_cannot_be_used_is_said_before_any_row(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert "add --set prm.path=FOLDER" in refusal(ponder("score", "--scorer", "prm", trained / "run", "--out", out))
    wrong = ("--scorer", "prm", "--set", f"prm.path={trained / 'value'}")
    assert "kind 'value'" in refusal(ponder("score", *wrong, trained / "run", "--out", out))
    assert list(tmp_path.iterdir()) == []
