"""Programs and their tests: what is read from a completion, what the published sets' references are found to be, and
what programs that only look right are."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from ponder.errors import UsageError
from ponder.sandbox import missing
from ponder.tasks import codesets, load_rules, load_task
from ponder.tasks.base import RowTask
from ponder.tasks.code import CodeRules, ProgramTests, program_of, same_output
from ponder.tasks.publictests import calls_of, shown_tests, written_calls

DATA = Path(__file__).parents[2].parent / "shared" / "data"
RULES = CodeRules()

needs_sandbox = pytest.mark.skipif(bool(missing()), reason=missing() or "-")

# --- extraction


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("x = 1", "x = 1"),
        ("Here:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
        ("```\na\n```\nno:\n```py\nb\n\nc\n```", "b\n\nc\n"),
        ("```python\nx = '''\n````\n'''\n```", "x = '''\n"),  # four ticks close three
        ("````\n```\nx\n```\n````", "```\nx\n```\n"),
        ("~~~python\nx\n~~~", "x\n"),
        ("```python\nx = 1\ny = 2", "x = 1\ny = 2\n"),  # cut off
        ("inline ```x``` only", "inline ```x``` only"),
        ("a\n```\n\n```", None),
        ("", None),
        (" \n", None),
    ],
)
def test_the_last_fenced_block_else_everything(text: str, program: str | None) -> None:
    assert program_of(text) == program


def test_an_empty_completion_is_wrong() -> None:
    assert RULES.judge("assert f(1) == 1", "  ").verdict == "wrong"


# --- references


@pytest.mark.parametrize(
    "reference",
    [
        "assert f(1) == 2",
        ["assert f(1) == 2", "assert f(2) == 3"],
        '["assert f(1) == 2"]',
        {"tests": ["assert f(1) == 2"], "entry_point": "f"},
        '{"tests": "assert f(1) == 2", "entry_point": "f"}',
        {"tests": ["assert max(min(1, 2), 3) == 3"], "entry_point": "max"},
        '{"input": "1", "output": "2"}',
        '[{"input": "1", "output": "2", "testtype": "stdin"}]',
        ['{"input": "1", "output": "2"}'],
        {"inputs": ["1"], "outputs": [["2", "3"]]},
        "    assert f(1) == 2\n    assert f(2) == 3",
        "try:\n    f(1)\nexcept ValueError:\n    pass\nelse:\n    raise Exception",
    ],
)
def test_references_that_can_be_judged_against(reference: Any) -> None:
    assert RULES.check_reference(reference) is None


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("", "is empty"),
        ([], "is empty"),
        (["", " "], "is empty"),
        (3, "neither text nor a list"),
        (["assert f(1)", 3], "neither text nor a list"),
        ("assert f(1) =", "is not Python"),
        ("f(1)", "asserts nothing"),
        ("assert 1 == 1", "no name of the program"),
        ("assert max(min(1, 2), 3) == 3", "cannot tell which of max, min"),
        ("x" * 10**5 + "(", "is not Python"),
        ("(" * 10**4, "is not Python"),
        ({"tests": "assert f(1)", "entry_point": "f g"}, "'entry_point'"),
        ({"inputs": ["1"], "outputs": []}, "one length"),
        ([{"input": "1", "output": "2"}, "assert f(1)"], "one kind"),
        ({"input": "1"}, "without 'input' and 'output'"),
        ({"input": 1, "output": "2"}, "not text"),
    ],
)
def test_references_that_cannot(reference: Any, words: str) -> None:
    assert words in (RULES.check_reference(reference) or "")


def test_pairs_are_read_as_the_sets_have_them() -> None:
    assert ProgramTests('[{"input": "1\\n", "output": "2"}]').pairs == [("1\n", "2")]
    assert ProgramTests({"inputs": ["1", ["a", 2]], "outputs": ["2", "3"]}).pairs == [("1", "2"), ("a\n2", "3")]


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("1\n2\n", "1\n2", True), (" 1 \r\n2", "1\n2", True), ("1 2", "1\n2", False), ("0.50", "0.5", True), ("1.0 2", "1 2", True),
        ("1", "2", False), ("", "", True), ("", "1", False), ("nan", "NaN", False), ("a  b", "a b", False), ("1e3", "1000", True),
        ("inf", "Infinity", False),
    ],
)  # fmt: skip
def test_output_is_compared_line_by_line(printed: str, expected: str, same: bool) -> None:
    assert same_output(printed, expected) is same


# --- verdicts


@needs_sandbox
def test_the_verdict_is_of_the_program_in_the_completion() -> None:
    tests = ["assert f(1) == 2", "assert f(2) == 3"]
    right = RULES.judge(tests, "So:\n```python\ndef f(x):\n    return x + 1\n```\n")
    assert (right.verdict, right.reward) == ("correct", 1.0)
    wrong = RULES.judge(tests, "def f(x): return 2")
    assert (wrong.verdict, wrong.reward) == ("wrong", 0.0) and "f(2) gave 2" in wrong.reason
    assert RULES.judge("assert f(1) =", "def f(x): return 2").verdict == "unverified"


@needs_sandbox
def test_scripts_are_judged_by_what_they_print() -> None:
    tests = '[{"input": "1 2", "output": "3"}, {"input": "4 5", "output": "9"}]'
    assert RULES.judge(tests, "a, b = map(int, input().split())\nprint(a + b)").verdict == "correct"
    one = RULES.judge(tests, "print(3)")
    assert one.verdict == "wrong" and one.reason == "wrong output on input 2 of 2: '3', not '9'"
    assert RULES.judge(tests, "print(input())\nraise ValueError('x')").reason == "raised ValueError: x on input 1 of 2"


@needs_sandbox
def test_equal_programs_vote_together() -> None:
    rules = CodeRules(["f(1)", "f([2])", "f(-3)"])
    programs = [
        "def f(x): return x * 2", "def f(x):\n    return x + x", "def f(x): return 2", None, "def f(x): return 1 / 0",
        "def f(x): return x * 2\n", "def g(x): pass", "def f(x): return x and 2 * x",
    ]  # fmt: skip
    assert rules.classes(programs) == [0, 0, 1, None, None, 0, None, 0]
    assert rules.equal(str(programs[0]), str(programs[1])) and not rules.equal(str(programs[0]), str(programs[2]))
    assert CodeRules().classes(["a = 1 \n", "a = 1", "a = 2"]) == [0, 0, 1]


def test_without_a_sandbox_programs_are_told_apart_by_their_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not abstain: a vote among none would be wrong, where nothing was found out."""
    monkeypatch.setattr("ponder.sandbox.bwrap.missing", lambda: "no sandbox: none here")
    for rules in (CodeRules(["f(1)"]), CodeRules(["1"], script=True), CodeRules()):
        assert rules.classes(["a = 1", "a = 2", None, "a = 1 \n"]) == [0, 1, None, 0]


@needs_sandbox
def test_equal_scripts_vote_together() -> None:
    rules = CodeRules(["1 2", "3 4"], script=True)
    programs = [
        "a, b = map(int, input().split())\nprint(a + b)", "print(sum(map(int, input().split())))", "print(3)", "1 / 0"
    ]  # fmt: skip
    assert rules.classes(programs) == [0, 0, 1, None]


# --- public tests


def test_public_tests_are_what_the_words_show() -> None:
    text = (
        "Double it.\n\nassert f(1) == 2\n`assert f(2) == 4`\n>>> f(3)\n6\n    >>> f(\"a\")\n    'aa'\n>>> f(9)\n>>> g\n"
    )
    assert shown_tests(text) == ["assert f(1) == 2", "assert f(2) == 4", "assert f(3) == 6", "assert f(\"a\") == 'aa'"]
    assert calls_of(text) == ["f(1)", "f(2)", "f(3)", "f('a')"]
    assert calls_of("assert set(f((1, 2))) == set((1,))") == ["f((1, 2))"]
    assert calls_of("assert Solution().add(1, 2) == 3") == ["Solution().add(1, 2)"]
    assert shown_tests("assert that nothing is Python\nassert 1 == 1") == []


def test_programs_write_inputs_themselves() -> None:
    programs = [
        "def f(x): return f(x - 1)\nprint(f(2), f([1, 'a']))\nassert f(-3) == 4",
        "def f(x, y=1): return x\n# f(9)\nif __name__ == '__main__':\n    print(f(2, y=[None]))\n    print(f(2))",
        "g(4); f(print()); f(*[1]); f(n); f(7)", "not Python", "f(2)",
    ]  # fmt: skip
    assert written_calls(programs, ["f(7)", "f(8)"], 9) == ["f(2)", "f(-3)", "f(2, y=[None])", "f([1, 'a'])"]
    assert written_calls(programs, ["f(7)"], 1) == ["f(2)"]
    assert written_calls(["print(Solution().add(1, 2))"], ["Solution().add(3, 4)"], 9) == ["Solution().add(1, 2)"]


@needs_sandbox
def test_inputs_that_programs_write_tell_them_apart() -> None:
    """All are right on the input that is shown; one of them shows where two others go apart."""
    programs = ["def f(x): return x * 2", "def f(x): return x + 1", "def f(x): return x + x\nprint(f(5))", None]
    assert CodeRules(["f(1)"]).classes(programs) == [0, 0, 0, None]
    assert CodeRules(["f(1)"], written=8).classes(programs) == [0, 1, 0, None]
    assert CodeRules(["f(1)"], written=8).classes(programs[:2]) == [0, 0]


# --- sets


def _published(name: str, file: Path) -> tuple[RowTask, list[dict[str, Any]]]:
    if not file.is_file():
        pytest.skip(f"{file} is not there: the published sets are not part of the project")
    if missing():
        pytest.skip(missing())
    text = file.read_text(encoding="utf-8")
    rows = json.loads(text) if file.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    return codesets.load(set=name, path=str(file), cpu=30), rows  # 123 computes for seconds


def _found(task: RowTask, programs: list[str]) -> dict[str, str]:
    problems = list(task.problems())
    return {
        problem.id: task.verify(problem.id, program).verdict
        for problem, program in zip(problems, programs, strict=True)
    }


EXCEPTIONS = {"737", "787", "794"}
"""MBPP: their references return a `re.Match`, and the tests ask only whether it is true. An object that is not plain
data is wrong, since what it is true of would be the program's to say."""


def test_every_reference_of_mbpp_is_correct_but_for_three() -> None:
    task, rows = _published("mbpp", DATA / "mbpp" / "mbpp.json")
    found = _found(task, [row["code"] for row in rows])
    assert {row for row, verdict in found.items() if verdict != "correct"} == EXCEPTIONS


def test_programs_that_only_look_right_are_not() -> None:
    """None, an early exit, and the value of the first test: on every ninth problem."""
    task, rows = _published("mbpp", DATA / "mbpp" / "mbpp.json")
    for number, (problem, row) in enumerate(zip(task.problems(), rows, strict=True)):
        if number % 9:
            continue
        name = task._rows[problem.id].rules._inputs[0].split("(")[0]  # type: ignore[attr-defined]
        first = row["test_list"][0]
        for program in (
            f"def {name}(*a, **k): return None",
            f"import os\ndef {name}(*a, **k): os._exit(0)",
            "raise SystemExit(0)",
            f"def {name}(*a, **k): return {first.partition('==')[2].strip() or None}",
        ):
            assert task.verify(problem.id, program).verdict == "wrong", (problem.id, program)


def humaneval() -> Path:
    """Where PONDER_DATA has it, else beside the other sets."""
    import os

    return Path(os.environ.get("PONDER_DATA", DATA)) / "humaneval" / "HumanEval.jsonl"


def test_every_reference_of_humaneval_is_correct() -> None:
    task, rows = _published("humaneval", humaneval())
    found = _found(task, [row["prompt"] + row["canonical_solution"] for row in rows])
    assert len(found) == 164 and set(found.values()) == {"correct"}


HUMANEVAL = {
    "task_id": "X/1",
    "prompt": "import math\n\n\ndef poly(xs, x):\n    return sum(c * x ** i for i, c in enumerate(xs))\n\n\ndef find_zero(xs):\n"
    '    """ A zero of a polynomial.\n    >>> round(find_zero([1, 2]), 2)\n    -0.5\n    """\n',
    "entry_point": "find_zero",
    "test": "METADATA = {}\n\ndef check(candidate):\n    assert math.fabs(poly([1, 2], candidate([1, 2]))) < 1e-4\n",
    "canonical_solution": "    return -xs[0] / xs[1]\n",
}


@needs_sandbox
def test_helpers_of_a_prompt_are_not_the_programs_to_replace(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps(HUMANEVAL) + "\n")
    task = load_task("code", {"path": str(file)})
    right = HUMANEVAL["prompt"] + HUMANEVAL["canonical_solution"]
    assert task.verify("X/1", right).verdict == "correct"
    assert task.verify("X/1", "def poly(xs, x): return 0\ndef find_zero(xs): return 5").verdict == "wrong"


@needs_sandbox
def test_livecodebench_rows_of_both_kinds(tmp_path: Path) -> None:
    private = json.dumps([{"input": "[2]\n3", "output": "5", "testtype": "functional"}])
    rows = [
        {
            "question_id": "a", "question_content": "Add.", "starter_code": "",
            "public_test_cases": '[{"input": "1 2", "output": "3", "testtype": "stdin"}]', "private_test_cases": "[]",
        },
        {
            "question_id": "b", "question_content": "Add to the first.", "starter_code": "class Solution:\n    def add(self, xs, y):",
            "public_test_cases": '[{"input": "[1]\\n2", "output": "3", "testtype": "functional"}]', "metadata": '{"func_name": "add"}',
            "private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(private))).decode(),
        },
    ]  # fmt: skip
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = codesets.load(path=str(file))
    assert task.verify("a", "print(sum(map(int, input().split())))").verdict == "correct"
    assert task.verify("b", "class Solution:\n    def add(self, xs, y): return xs[0] + y").verdict == "correct"
    assert task.verify("b", "class Solution:\n    def add(self, xs, y): return 3").verdict == "wrong"
    assert task.rules("b").classes(["class Solution:\n    def add(self, xs, y): return 3"]) == [0]


def test_a_pickle_that_is_more_than_text_is_refused(tmp_path: Path) -> None:
    packed = base64.b64encode(zlib.compress(pickle.dumps(Path("x")))).decode()
    row = {"question_id": "a", "question_content": "x", "public_test_cases": "[]", "private_test_cases": packed}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UsageError, match="cannot be read"):
        codesets.load(path=str(tmp_path / "a.jsonl"))


@needs_sandbox
def test_the_users_own_rows(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"id": 7, "problem": "Double.\nassert f(1) == 2", "tests": ["assert f(3) == 6"]}) + "\n")
    task = load_task("code", {"path": str(file), "cpu": 1})
    assert task.verify("7", "def f(x): return 2 * x").verdict == "correct"
    assert task.rules("7").classes(["def f(x): return 2 * x", "def f(x): return x + x"]) == [0, 0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"set": "mbbp"}, "did you mean 'mbpp'"), ({"sandbox": "docker"}, "unknown sandbox"), ({"cpu": 0}, "at least 1 second"), ({"written": -1}, "0 to 50"),
        ({"path": "nowhere.jsonl"}, "no such file"),
    ],
)  # fmt: skip
def test_options_are_checked(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        codesets.load(**options)


def test_rules_alone_load_no_data() -> None:
    assert load_rules("code").kind == "code"
