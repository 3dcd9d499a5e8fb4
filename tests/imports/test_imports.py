"""ponder import: each format's rows, what is bad, and memory."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import logs
import pytest
import zstandard
from running import ponder

from ponder.errors import UsageError
from ponder.imports.base import Bad, Options, verdict
from ponder.imports.inspect import records
from ponder.imports.stream import members


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def lines(path: Path, found: list[Any]) -> Path:
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in found))
    return path


# Inspect ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["log.eval", "log.json"])
def test_inspect_logs(tmp_path: Path, name: str) -> None:
    samples = [logs.inspect_sample(*one) for one in logs.attempts(3, 4)]
    path = logs.write_inspect(tmp_path / name, samples)
    done = ponder("import", path, "--from", "inspect")
    assert done.status == 0, done.err
    found = rows(done.out)
    assert [(r["problem"], r["sample"]) for r in found] == [(str(i + 1), j) for i in range(3) for j in range(4)]
    assert [r["correct"] for r in found] == [s["scores"]["match"]["value"] == "C" for s in samples]
    assert [r["answer"] for r in found] == [s["scores"]["match"]["answer"] for s in samples]
    assert [r["tokens"] for r in found] == [s["output"]["usage"]["output_tokens"] for s in samples]
    assert {r["policy"] for r in found} == {logs.MODEL}
    assert done.err == "12 rows, 3 problems\n"


def test_inspect_scores_of_all_kinds(tmp_path: Path) -> None:
    base = logs.inspect_sample(0, 0, "q", "1", "1", 5)
    values = ["C", "I", "P", "N", 1, 0, 0.25, True, False, {"a": 1}, "maybe"]
    samples = [base | {"id": i, "scores": {"s": {"value": v, "answer": "x"}}} for i, v in enumerate(values)]
    done = ponder("import", logs.write_inspect(tmp_path / "l.json", samples), "--from", "inspect")
    assert done.status == 2
    found = rows(done.out)
    assert [r["correct"] for r in found] == [True, False, False, False, True, False, False, True, False]
    assert [r.get("quality") for r in found] == [None, None, 0.5, None, None, None, 0.25, None, None]
    assert found[3]["answer"] is None, "no answer abstains"
    assert "sample 10: field 'scores.s.value': is no single value" in done.err
    assert "sample 11: field 'scores.s.value': 'maybe' is neither right nor wrong" in done.err
    graded = ponder("import", tmp_path / "l.json", "--from", "inspect", "--threshold", "0.5")
    assert [r["correct"] for r in rows(graded.out)][2] is True


def test_inspect_scorer_error_limit_and_graders(tmp_path: Path) -> None:
    base = logs.inspect_sample(0, 0, "q", "1", "1", 5)
    two = base | {"scores": {"a": {"value": "C", "answer": "1"}, "b": {"value": "I", "answer": "1"}}}
    path = logs.write_inspect(tmp_path / "two.eval", [two])
    assert "choose one with --metric" in ponder("import", path, "--from", "inspect").err
    assert rows(ponder("import", path, "--from", "inspect", "--metric", "b").out)[0]["correct"] is False
    usage = {logs.MODEL: {"output_tokens": 5}, "judge": {"output_tokens": 40}}
    failed = {k: v for k, v in base.items() if k != "scores"} | {"epoch": 2, "error": {"message": "the server died"}}
    cut = base | {"epoch": 3, "limit": {"type": "token", "limit": 5}, "model_usage": usage}
    bare = {k: v for k, v in base.items() if k != "scores"} | {"epoch": 4}
    done = ponder("import", logs.write_inspect(tmp_path / "l.json", [base, failed, cut, bare]), "--from", "inspect")
    found = rows(done.out)
    assert (found[1]["correct"], found[1]["reason"]) == (None, "the server died")
    assert (found[2]["finish"], found[2]["tokens"], found[2]["verifier_tokens"]) == ("length", 5, 40)
    assert done.status == 2
    assert "sample 4: field 'scores': missing" in done.err


def test_inspect_zstandard_members(tmp_path: Path) -> None:
    samples = [logs.inspect_sample(*one) for one in logs.attempts(2, 2)]
    stored = tmp_path / "l.eval"
    texts = {f"samples/{s['id']}_epoch_{s['epoch']}.json": json.dumps(s) for s in samples}
    texts["header.json"] = json.dumps(logs.HEADER)
    with zipfile.ZipFile(stored, "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, zstandard.ZstdCompressor().compress(text.encode()))
    raw = bytearray(stored.read_bytes())  # say of each member that it is compressed with method 93
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = raw.find(mark)
        while start >= 0:
            raw[start + at : start + at + 2] = (93).to_bytes(2, "little")
            start = raw.find(mark, start + 4)
    stored.write_bytes(raw)
    assert [f.rows[0]["problem"] for f in records(stored, Options())] == ["1", "1", "2", "2"]


def test_what_is_no_inspect_log(tmp_path: Path) -> None:
    for name, text in (("a.json", "{}"), ("b.json", "[1]"), ("c.json", '{"samples": [{"id": 1'), ("d.eval", "PK junk")):
        (tmp_path / name).write_text(text)
        done = ponder("import", tmp_path / name, "--from", "inspect")
        assert done.status == 2, name
        assert name in done.err
    with zipfile.ZipFile(tmp_path / "e.eval", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "holds no header.json" in ponder("import", tmp_path / "e.eval", "--from", "inspect").err


@pytest.mark.parametrize("chunk", [1, 7, 1 << 16])
def test_a_document_is_read_member_by_member(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr("ponder.imports.stream.CHUNK", chunk)
    value = {
        "a": 12345,
        "x": {"deep": ["]", '"', {"é": "\\"}]},
        "list": [1, "two", {"three": [3]}, 4.5],
        "empty": [],
        "z": None,
    }
    stream = io.BytesIO(json.dumps(value, indent=1, ensure_ascii=False).encode())
    found = list(members(stream, each="list", skip=("x",)))
    assert found == [
        ("a", 0, 12345), *(("list", i, v) for i, v in enumerate(value["list"])), ("empty", 0, []), ("z", 0, None),
    ]  # fmt: skip
    assert list(members(io.BytesIO(b" {} "), each="list")) == []
    with pytest.raises(ValueError, match=r"ends early|near its end"):
        list(members(io.BytesIO(b'{"list": [1, '), each="list"))


# lm-evaluation-harness ------------------------------------------------------------------------------------------------


def test_lm_eval_pools_files_and_needs_a_filter(tmp_path: Path) -> None:
    files = [logs.write_lm_eval(tmp_path / f"samples_{seed}.jsonl", 5, seed) for seed in range(3)]
    refused = ponder("import", *files, "--from", "lm-eval")
    assert refused.status == 2
    assert "strict-match, flexible-extract; choose one with --filter" in refused.err
    done = ponder("import", *files, "--from", "lm-eval", "--filter", "strict-match")
    found = rows(done.out)
    assert done.status == 0
    assert sorted((r["problem"], r["sample"]) for r in found) == [(str(i), j) for i in range(5) for j in range(3)]
    assert all(r["answer"] is None and not r["correct"] for r in found if r["problem"] in "03"), "[invalid] abstains"
    assert "no line has filter" in ponder("import", *files, "--from", "lm-eval", "--filter", "x").err


def test_lm_eval_metrics_repeats_and_choices(tmp_path: Path) -> None:
    line = logs.lm_eval_lines(1, "q", "5", "5")[0]
    choice = {
        "doc_id": 2, "target": 1, "filter": line["filter"], "acc": 1.0, "acc_norm": 0.0, "metrics": ["acc", "acc_norm"],
        "resps": [[[-3.0, False]], [[-1.0, False]]], "filtered_resps": [["-3.0", "False"], ["-1.0", "False"]],
    }  # fmt: skip
    repeats = line | {"doc_id": 3, "filtered_resps": [["5", "6"]], "resps": [["=5", "=6"]], "exact_match": [1.0, 0.0]}
    vote = repeats | {"doc_id": 4, "exact_match": 1.0}
    strange = {"doc_id": 5, "filter": line["filter"], "filtered_resps": ["x"], "metrics": ["bleu", "chrf"], "bleu": 0.1}
    path = lines(tmp_path / "s.jsonl", [line, choice, repeats, vote, strange, "{"])
    done = ponder("import", path, "--from", "lm-eval")
    assert done.status == 2
    found = rows(done.out)
    assert [(r["problem"], r["answer"], r["correct"]) for r in found] == [
        ("1", "5", True), ("2", "1", True), ("3", "5", True), ("3", "6", False),
    ]  # fmt: skip
    assert f"{path}:4: field 'exact_match': 1 value for 2 answers" in done.err
    assert f"{path}:5: field 'metrics': has bleu, chrf" in done.err
    assert f"{path}:6: broken JSON" in done.err
    norm = ponder("import", lines(path, [choice]), "--from", "lm-eval", "--metric", "acc_norm")
    assert (rows(norm.out)[0]["answer"], rows(norm.out)[0]["correct"]) == (None, False)
    said = repeats | {"filtered_resps": [["False", "True"]]}  # two answers, no log-likelihood
    assert [r["answer"] for r in rows(ponder("import", lines(path, [said]), "--from", "lm-eval").out)] == [
        "False",
        "True",
    ]


# Every Eval Ever ------------------------------------------------------------------------------------------------------


def test_every_eval_ever(tmp_path: Path) -> None:
    records_ = [logs.eee_record(*one) for one in logs.attempts(2, 3)]
    failed = records_[0] | {"error": "timeout", "evaluation": {"score": 0.0, "is_correct": False}}
    broken = {k: v for k, v in records_[0].items() if k != "evaluation"}
    path = lines(tmp_path / "x_samples.jsonl", [*records_, failed, broken])
    done = ponder("import", path, "--from", "every-eval-ever")
    assert done.status == 2
    found = rows(done.out)
    assert [r["sample"] for r in found] == [0, 1, 2, 0, 1, 2, 3]
    assert [r["correct"] for r in found[:6]] == [r["evaluation"]["is_correct"] for r in records_]
    assert found[0]["tokens"] == records_[0]["token_usage"]["output_tokens"]
    assert (found[6]["correct"], found[6]["reason"]) == (None, "timeout")
    assert f"{path}:8: field 'evaluation.is_correct': missing" in done.err
    other = [r | {"evaluation_name": "more sums"} for r in records_]
    lines(path, [*records_, *other])
    assert "choose one with --metric" in ponder("import", path, "--from", "every-eval-ever").err
    assert len(rows(ponder("import", path, "--from", "every-eval-ever", "--metric", "sums").out)) == 6


# CSV and JSONL --------------------------------------------------------------------------------------------------------


def test_csv_with_a_map(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('task id,reply,passed,cost\n1,"a, b",yes,12\n1,,no,\n2,"x\ny",,3\n3,z,perhaps,1\n4,z\n')
    maps = [f"--map={pair}" for pair in ("problem=task id", "answer=reply", "correct=passed", "tokens=cost")]
    done = ponder("import", path, "--from", "csv", *maps)
    assert done.status == 2
    assert rows(done.out) == [
        {"problem": "1", "answer": "a, b", "correct": True, "tokens": 12, "sample": 0},
        {"problem": "1", "answer": None, "correct": False, "sample": 1},
        {"problem": "2", "answer": "x\ny", "correct": None, "tokens": 3, "sample": 0},
    ]
    assert f"{path}:6: field 'passed': 'perhaps' is neither right nor wrong" in done.err
    assert f"{path}:7: has 2 fields, the header has 4" in done.err
    missing = ponder("import", path, "--from", "csv")
    assert "field 'problem': no column 'problem'" in missing.err
    assert "--map problem=COLUMN" in missing.err


def test_jsonl_with_paths(tmp_path: Path) -> None:
    good = {"q": {"id": 3}, "choices": [{"text": "7"}], "grade": {"value": 0.5}, "usage": 9, "score": 0.2, "extra": 1}
    path = lines(tmp_path / "r.jsonl", [good, {"q": {}}, good | {"score": "high"}])
    maps = [
        f"--map={p}" for p in ("problem=q.id", "answer=choices.0.text", "correct=grade.value", "tokens=usage")
    ]  # fmt: skip
    done = ponder("import", path, "--from", "jsonl", *maps, "--threshold", "0.5")
    assert done.status == 2
    want = {"problem": "3", "answer": "7", "correct": True, "quality": 0.5, "tokens": 9, "score": 0.2, "sample": 0}
    assert rows(done.out) == [want]
    assert f"{path}:2: field 'q.id': missing; add --map problem=FIELD" in done.err
    assert f"{path}:3: field 'score': 'high' is no finite number" in done.err


def test_values_that_say_right_or_wrong() -> None:
    for value, want in (("1", True), ("0.0", False), ("TRUE", True), ("nan", None), (None, None), (float("nan"), None)):
        assert verdict(value, "x", 1.0)["correct"] is want
    for value in ([1], 7, "7"):
        with pytest.raises(Bad):
            verdict(value, "x", 1.0)
    assert verdict(7, "x", 5.0)["correct"] is True


# The command ----------------------------------------------------------------------------------------------------------


def test_what_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "r.jsonl", [{"problem": "p", "answer": "1", "correct": True}])
    assert "did you mean 'inspect'" in ponder("import", path, "--from", "inspct").err
    assert "FIELD=COLUMN" in ponder("import", path, "--from", "jsonl", "--map", "x").err
    assert "did you mean 'correct'" in ponder("import", path, "--from", "jsonl", "--map", "corect=x").err
    assert "knows its own fields" in ponder("import", path, "--from", "lm-eval", "--map", "answer=x").err
    assert "No such file" in ponder("import", tmp_path / "none", "--from", "jsonl").err
    assert "no row could be made" in ponder("import", lines(tmp_path / "e.jsonl", []), "--from", "jsonl").err


def test_out_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    good = {"problem": "p", "answer": "1", "correct": True}
    out = tmp_path / "out.jsonl"
    files = [logs.write_lm_eval(tmp_path / "a.jsonl", 3, 0)]
    assert ponder("import", *files, "--from", "lm-eval", "--out", out).status == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl"]
    assert ponder("import", lines(tmp_path / "b.jsonl", [good, "{"]), "--from", "jsonl", "--out", out).status == 2
    assert len(rows(out.read_text())) == 1
    assert ponder("curves", out, "--json").status == 0


def test_errors_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        list(records(tmp_path / "none.eval", Options()))


@pytest.mark.parametrize("kind", ["inspect", "jsonl"])
def test_a_hundred_thousand_records_in_bounded_memory(tmp_path: Path, kind: str) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.json"
        sample = {"id": 0, "epoch": 1, "scores": {"s": {"value": "C", "answer": "4"}}, "input": "x" * 300}
        flat = {"problem": "0", "answer": "4", "correct": True, "text": "x" * 300}
        with open(path, "w") as file:
            file.write('{"eval": {"model": "m"}, "samples": [' if kind == "inspect" else "")
            for i in range(count):
                if kind == "inspect":
                    file.write(("," if i else "") + json.dumps(sample | {"id": i // 100, "epoch": i % 100 + 1}))
                else:
                    file.write(json.dumps(flat | {"problem": str(i // 100)}) + "\n")
            file.write("]}" if kind == "inspect" else "")
        code = (
            "import sys, resource; from ponder.cli import main; from ponder.cli.group import guarded\n"
            f"status = guarded(main, ['import', {str(path)!r}, '--from', {kind!r}, '--out', {str(path) + '.out'!r}])\n"
            "print(status, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200)
        status, size = done.stdout.split()
        assert status == "0", done.stderr
        assert f"{count:,} rows" in done.stderr
        return int(size)

    small, large = peak(10_000), peak(100_000)
    assert large - small < 20_000, f"{small} kB for 10,000 records, {large} kB for 100,000"
