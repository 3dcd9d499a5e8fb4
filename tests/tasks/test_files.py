"""The user's files: every way to be wrong has one line that names file, line and field; and the registry of tasks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ponder.errors import UsageError
from ponder.sandbox import missing
from ponder.tasks import FAMILIES, TASKS, load_rules, load_task, single
from ponder.tasks.files import Answered, BadLine, load_file, read_answers
from ponder.tasks.rules import RULES

GOOD = {"problem": "6 × 7?", "reference": 42}


def jsonl(folder: Path, *rows: Any, name: str = "mine.jsonl") -> Path:
    """A file of these rows; text stands for itself, bytes for raw lines."""
    path = folder / name
    lines = [r if isinstance(r, bytes) else (r if isinstance(r, str) else json.dumps(r)).encode() for r in rows]
    path.write_bytes(b"\n".join(lines))
    return path


def test_a_good_file(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        b"\xef\xbb\xbf" + json.dumps({**GOOD, "secret": "never shown"}).encode(),
        "",
        {"problem": "Half?", "reference": 0.1, "id": 7, "domain": "fractions"},
        {"problem": "Which?", "reference": "B", "kind": "choice", "id": "x"},
        '{"problem": "c", "reference": 123456789012345678901234567890.1}',
    )
    task = load_task(str(path))
    problems = {p.id: p for p in task.problems()}
    assert list(problems) == ["1", "7", "x", "5"]
    assert [p.domain for p in problems.values()] == [None, "fractions", None, None]
    assert [task.rules(i).kind for i in problems] == ["text", "text", "choice", "text"]  # 'B' is no number
    assert task.verify("x", "The answer is (B)").correct is True
    assert task.verify("5", "123456789012345678901234567890.1").correct is True  # not through a float
    assert "never" not in repr(list(problems.values()))
    assert "42" not in repr(problems["1"])
    assert [p.id for p in task.problems(2)] == ["1", "7"]
    assert len(task) == 4


@pytest.mark.parametrize(
    ("references", "kind"),
    [
        ([1, 2.5, "1/2", "$3"], "number"),
        ([1, "two"], "text"),
        (["5 cm"], "text"),
        (["x+1"], "text"),
        (["50%"], "number"),
    ],
)
def test_the_kind_of_a_file(tmp_path: Path, references: list[Any], kind: str) -> None:
    path = jsonl(tmp_path, *({"problem": "p", "reference": r} for r in references))
    assert load_rules(str(path)).kind == kind


@pytest.mark.parametrize("words", ["problem", "prompt", "question"])
def test_rows_of_kind_code(tmp_path: Path, words: str) -> None:
    """`tests` and no reference are enough; rows of other kinds beside them keep the kind that they would have alone."""
    path = jsonl(
        tmp_path,
        {words: "Double x.\nassert f(1) == 2", "tests": ["assert f(3) == 6"], "id": "a"},
        {words: "Double x.", "reference": "assert f(3) == 6", "kind": "code", "entry_point": "f", "domain": "easy"},
        GOOD,
    )
    task = load_task(str(path))
    assert [(p.id, p.domain, task.rules(p.id).kind) for p in task.problems()] == [
        ("a", None, "code"), ("2", "easy", "code"), ("3", None, "number")
    ]  # fmt: skip
    (first, *_) = task.problems(1)
    assert first.text == "Double x.\nassert f(1) == 2" and "f(3)" not in repr(first)
    rules = [task.rules(row) for row in ("a", "2")]
    assert [vars(own)["_inputs"] for own in rules] == [("f(1)",), ()] and vars(rules[1])["_entry"] == "f"
    with pytest.raises(UsageError, match="has rows of kinds code, number"):
        load_rules(str(path))
    if missing():
        pytest.skip(missing())
    verdicts = [task.verify(row, f"def f(x): return {body}").verdict for row in ("a", "2") for body in ("2 * x", "2")]
    assert verdicts == ["correct", "wrong"] * 2


def test_programs_in_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('problem,tests\nDouble x.,"assert f(3) == 6\nassert f(1) == 2"\n')
    assert load_rules(str(path)).kind == "code"


def test_rules_of_a_mixed_file_are_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path, GOOD, {**GOOD, "kind": "math"})
    with pytest.raises(UsageError, match=r"mine\.jsonl: has rows of kinds math, number; name one instead"):
        load_rules(str(path))


BAD: dict[str, tuple[Any, str]] = {
    "broken": ('{"problem": ', "2: broken JSON (Expecting value, column 13); "),
    "cut": ('{"problem": "a', "2: broken JSON (Unterminated string starting at, column 13); "),
    "trailing": ('{"problem": "a", "reference": 1} x', "2: broken JSON (Extra data, column 34); "),
    "list": ("[1]", "2: is a list, not an object; "),
    "null": ("null", "2: is null, not an object; "),
    "number": ("5", "2: is a number, not an object; "),
    "text": ('"a"', "2: is text, not an object; "),
    "nan": ('{"problem": "a", "reference": NaN}', "2: unusable JSON (NaN is no JSON number); "),
    "digits": (
        '{"problem": "a", "reference": ' + "9" * 5000 + "}",
        "2: unusable JSON (Exceeds the limit (4300 digits)",
    ),
    "deep": ("[" * 100_000, "2: unusable JSON (nested too deeply); "),
    "utf8": (b'{"problem": "\xff"}', "2: is not UTF-8 (byte 14 of the line); "),
    "no problem": ({"reference": 1}, "2: field 'problem': missing; "),
    "null problem": ({"problem": None, "reference": 1}, "2: field 'problem': missing; "),
    "empty problem": ({"problem": " ", "reference": 1}, "2: field 'problem': empty; "),
    "problem type": ({"problem": 5, "reference": 1}, "2: field 'problem': is a number; "),
    "surrogate": ('{"problem": "\\ud800", "reference": 1}', "2: field 'problem': holds half of a surrogate pair; "),
    "no reference": ({"problem": "a"}, "2: field 'reference': missing; "),
    "empty reference": ({"problem": "a", "reference": ""}, "2: field 'reference': empty; "),
    "reference list": ({"problem": "a", "reference": [1]}, "2: field 'reference': is a list; give text or a number"),
    "reference bool": ({"problem": "a", "reference": True}, "2: field 'reference': is true or false; "),
    "not a number": (
        {"problem": "a", "reference": "b", "kind": "number"},
        "2: field 'reference': 'b' is not a plain number; ",
    ),
    "not a letter": (
        {"problem": "a", "reference": 5, "kind": "choice"},
        "2: field 'reference': '5' is not one letter, A to Z; ",
    ),
    "id type": ({**GOOD, "id": 1.5}, "2: field 'id': is a number; give text or an integer"),
    "id bool": ({**GOOD, "id": True}, "2: field 'id': is true or false; "),
    "id empty": ({**GOOD, "id": ""}, "2: field 'id': empty; "),
    "twice": ({**GOOD, "id": 1}, "2: field 'id': '1' is also on line 1; "),
    "domain": ({**GOOD, "domain": 5}, "2: field 'domain': is a number; "),
    "kind type": ({**GOOD, "kind": ["math"]}, "2: field 'kind': is a list; "),
    "kind": ({**GOOD, "kind": "maths"}, "2: field 'kind': unknown kind 'maths'; did you mean 'math'?"),
    "code without tests": ({"problem": "a", "kind": "code"}, "2: field 'tests': missing; give tests such as "),
    "code and a number": ({**GOOD, "kind": "code"}, "2: field 'reference': is neither text nor a list of texts; "),
    "code without words": ({"tests": "assert f()"}, "2: field 'problem': missing; "),
    "code, words type": ({"prompt": 5, "tests": "assert f()"}, "2: field 'prompt': is a number; "),
    "not Python": ({"problem": "a", "tests": ["assert f("]}, "2: field 'tests': test 1 is not Python"),
    "no assertion": ({"problem": "a", "tests": "f(1)", "kind": "code"}, "2: field 'tests': asserts nothing; "),
    "entry point": (
        {"problem": "a", "tests": "assert f(1)", "entry_point": 5},
        "2: field 'tests': 'entry_point' is not ",
    ),
    "tests of another kind": (
        {"problem": "a", "tests": "assert f(1)", "kind": "text"},
        "2: field 'reference': missing; ",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_line_names_file_line_and_field(tmp_path: Path, case: str) -> None:
    row, message = BAD[case]
    path = jsonl(tmp_path, {**GOOD, "id": "1"}, row, GOOD)
    with pytest.raises(UsageError) as caught:
        load_file(path)
    assert str(caught.value).startswith(f"{path}:{message}")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_line_number_as_id_may_be_taken(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {**GOOD, "id": 2}, GOOD)
    with pytest.raises(
        UsageError, match=r":2: field 'id': '2' is also on line 1 \(a row without an id takes its line number\); "
    ):
        load_file(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for name, content, message in [
        ("empty.jsonl", b"", "empty.jsonl: is empty; "),
        ("blank.jsonl", b"\n \n", "blank.jsonl: is empty; "),
        ("empty.csv", b"", "empty.csv: is empty; "),
        ("head.csv", b"problem,reference\n", "head.csv: is empty; "),
        ("a.txt", b"x", "a.txt: is neither .jsonl nor .csv; "),
        ("utf16.jsonl", "{}".encode("utf-16"), "utf16.jsonl:1: is not UTF-8"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError) as caught:
            load_file(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path}/{message}")
    with pytest.raises(UsageError, match=r"absent\.jsonl: no such file; "):
        load_file(tmp_path / "absent.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UsageError, match=r"folder\.jsonl: cannot be read \(Is a directory\); "):
        load_file(tmp_path / "folder.jsonl")


def test_csv_with_quoted_lines(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes('\ufeffproblem,reference,id,other\r\n"a ""b"",\r\nc",1,,x\r\n\r\nd,"1,234",k,\r\n'.encode())
    task = load_file(path)
    assert [(p.id, p.text) for p in task.problems()] == [("2", 'a "b",\r\nc'), ("k", "d")]
    assert task.rules("k").kind == "number"
    assert task.verify("k", "1234").correct is True


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'problem,reference\n"a\nb\nc",1\nd\n', "5: has 1 fields, the header has 2; "),
        (b'problem,reference\n"a\nb",1\n\nc,\n', "5: field 'reference': missing; "),
        (b'problem,reference\n"a\nb",1\nc,2,3\n', "4: has 3 fields, the header has 2; "),
        (b'problem,reference\na,1\n"b\nc,1\n', "3: broken CSV (unexpected end of data); "),
        (b'problem,reference\n"a"b,1\n', "2: broken CSV ("),
        (b"problem,reference,reference\na,1,1\n", "1: field 'reference': is twice in the header; "),
        (b'problem,reference,id\n"a\nb",1,x\nc,2,x\n', "4: field 'id': 'x' is also on line 2; "),
        (b'problem,reference,kind\n"a\nb",1,\nc,f(2),code\n', "4: field 'reference': asserts nothing; "),
        (b"problem,answer\na,1\n", "1: field 'reference': not in the header (problem, answer); "),
        (b"prompt,tests\na,1\n", "1: field 'problem': not in the header (prompt, tests); "),
        (b"problem,reference\na,1\n\xff,1\n", "3: is not UTF-8 (byte 1 of the line); "),
        (b'problem,reference\n"a\n\xff",1\n', "3: is not UTF-8 (byte 1 of the line); "),
    ],
)
def test_a_bad_csv_row_names_its_first_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load_file(path)
    assert str(caught.value).startswith(f"{path}:{message}")
    assert "\n" not in str(caught.value)


def test_a_long_csv_field_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"problem,reference\n{'long ' * 60_000},1\n", "utf-8")
    (problem,) = load_file(path).problems()
    assert len(problem.text) > 131_072


def answer(**fields: Any) -> bytes:
    return json.dumps({"id": "a", "reference": 4, "completion": "4", **fields}).encode() + b"\n"


def test_lines_to_verify_stream_past_bad_ones() -> None:
    def endless() -> Any:
        yield from [
            answer(),
            b"\n",
            b"{\n",
            answer(id=7, completion=""),
            answer(reference="x"),
            answer(completion=5),
            answer(id=None),
            b'{"reference": 1, "completion": "1"}',
            b'{"id": 1, "completion": "1"}',
            b'{"id": 1, "reference": 1}',
            b'{"id": 1, "tests": ["assert f()"], "completion": "x"}',
            b"\xff",
            answer(other=[1]),
        ]
        raise AssertionError("read ahead")

    stream = read_answers(endless(), "<stdin>", RULES["number"])
    found = [next(stream) for _ in range(12)]
    good = [row for row in found if isinstance(row, Answered)]
    assert [(row.line, row.id, row.reference, row.judge().verdict) for row in good] == [
        (1, "a", "4", "correct"), (4, 7, "4", "wrong"), (13, "a", "4", "correct"),
    ]  # fmt: skip
    bad = [row for row in found if isinstance(row, BadLine)]
    assert [row.line for row in bad] == [3, 5, 6, 7, 8, 9, 10, 11, 12]
    for row, part in zip(
        bad,
        ["broken JSON", "field 'reference': 'x' is not", "field 'completion': is a number", "field 'id': missing", "field 'id': missing",
         "field 'reference': missing", "field 'completion': missing", "field 'tests': is for programs; use --task code", "is not UTF-8"],
        strict=True,
    ):  # fmt: skip
        assert row.message.startswith(f"<stdin>:{row.line}: {part}")
        assert "\n" not in row.message


def test_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"text", "number", "math", "choice", "gsm8k"} <= set(TASKS)
    assert all(
        entry.about and (entry.kind in RULES or ":" in entry.kind) for entry in [*TASKS.values(), *FAMILIES.values()]
    )
    assert {name: load_rules(name).kind for name in ("text", "math", "gsm8k")} == {
        "text": "text",
        "math": "math",
        "gsm8k": "number",
    }
    with pytest.raises(UsageError, match="unknown task 'gsm8'; did you mean 'gsm8k'"):
        load_task("gsm8")
    with pytest.raises(UsageError, match=r"task 'number' is rules alone"):
        load_task("number")
    with pytest.raises(UsageError, match=r"unknown option of task 'gsm8k': 'pth'; did you mean 'path'"):
        load_task("gsm8k", {"pth": "x"})
    for name in ("absent.jsonl", "absent.csv", "some/where"):
        with pytest.raises(UsageError, match="no such file"):
            load_task(name)
        with pytest.raises(UsageError, match="no such file"):
            load_rules(name)
    with pytest.raises(UsageError, match="is a folder"):
        load_task(f"{tmp_path}/")
    with pytest.raises(UsageError, match=r"unknown task 'nothing:x'"):
        load_task("nothing:x")


def test_one_problem_without_a_reference() -> None:
    task = single("6 × 7?", "math")
    (problem,) = task.problems()
    assert (problem.id, problem.text, len(task), list(task.problems(0))) == ("problem", "6 × 7?", 1, [])
    assert task.rules("problem").extract(r"\boxed{42}") == "42"
    verdict = task.verify("problem", r"\boxed{42}")
    assert (verdict.verdict, verdict.reason) == ("unverified", "no reference was given")
    assert single("x").rules("problem").kind == "text"
    with pytest.raises(UsageError, match="the problem is empty"):
        single(" ")


def test_the_registry_imports_nothing_heavy() -> None:
    code = "import sys, ponder.tasks; print([m for m in ('numpy', 'csv', 'json', 'fractions', 'ponder.tasks.rules') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "[]"
