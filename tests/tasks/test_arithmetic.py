"""Arithmetic: expressions, judge, steps and problems, against Python's own reading of an expression."""

from __future__ import annotations

import ast
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import ponder

from ponder.errors import UsageError
from ponder.tasks import load_rules, load_task
from ponder.tasks.arithmetic import Arithmetic, ArithmeticRules, Node, parse, render, solution
from ponder.tasks.equations import read, value

RULES = ArithmeticRules()
NINE = {"expression": "( 3 + 4 ) * 2 - 5", "value": 9}
STEPS = "3 + 4 = 7 ; 7 * 2 = 14 ; 14 - 5 = 9"
DEFAULT = list(Arithmetic().problems())

NODES = st.recursive(
    st.integers(0, 9), lambda sides: st.tuples(st.sampled_from("+-*"), sides, sides), max_leaves=8
).filter(lambda node: not isinstance(node, int))


def from_python(text: str) -> Node:
    def tree(node: ast.expr) -> Node:
        if isinstance(node, ast.Constant):
            return int(str(node.value))
        assert isinstance(node, ast.BinOp)
        signs: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
        return (signs[type(node.op)], tree(node.left), tree(node.right))

    return tree(ast.parse(text.strip(), mode="eval").body)


# --- expressions


@given(NODES)
def test_expressions_are_read_as_python_reads_them(node: Node) -> None:
    text = render(node)
    assert parse(text) == parse(text.replace(" ", "")) == parse(f"{text} =") == from_python(text) == node
    tokens = text.split()
    for i, j in itertools.combinations((i for i, t in enumerate(tokens) if t in "()"), 2):
        without = " ".join(t for k, t in enumerate(tokens) if k not in (i, j))
        try:
            assert from_python(without) != node  # the fewest parentheses
        except SyntaxError:
            with pytest.raises(ValueError, match=r"is no complete|unmatched"):
                parse(without)


@pytest.mark.parametrize(
    "text",
    ["", "5", "3 +", "+ 3", "3 4", "3 4 + 1", "( 3 + 4", "3 + 4 )", "3 ) + ( 4", "( )", "3 ( 4 )", "( 3 ) ( 4 )", "3 + - 4", "-3 + 4", "3 / 4", "3 ** 4",
     "3 × 4", "03 + 4", "3.5 + 1", "x + 1", "3 + 4 = 7", "٣ + 4", "1234567890 + 1", "1 + " * 16 + "1", "(" * 999 + "1", "( " * 600 + "1 + 1" + " )" * 600, "= 3 + 4"],
)  # fmt: skip
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)
    with pytest.raises(UsageError, match="give one like"):
        solution(text)
    assert str(RULES.check_reference({"expression": text, "value": 7})).startswith('"expression": ')


# --- the judge


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (STEPS, "9"),
        (STEPS + " ;\n", "9"),
        ("7 * 2 = 14 ; so 14 - 5 = 9.", "9"),
        ("14 - 5 = 8", "8"),  # as written
        ("We get\n#### 9", "9"),
        ("(3 + 4) * 2 - 5 = 7 * 2 - 5 = 14 - 5 = 9", "9"),
        ("7 × 2 = 14, 14 − 5 = 9. The answer is \\boxed{9}", "9"),
        ("3 + 4 = 7 ; 7 * 2 = 14 ; 14 - 5 = -9", "-9"),
        ("", None),
        ("no number", None),
    ],
)
def test_answers(text: str, answer: str | None) -> None:
    assert RULES.extract(text) == answer
    for reference in (9, "9", NINE, json.dumps(NINE)):
        assert RULES.check_reference(reference) is None
        assert RULES.judge(reference, text).correct is (answer == "9")


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (STEPS, [True, True, True]),
        (STEPS + " ;\n", [True, True, True]),
        ("4 + 3 = 7 ; 2 * 7 = 14 ; 14 - 5 = 9", [True, True, True]),
        ("3 + 4 = 7 ; 7 * 2 = 14 ; 5 - 14 = 9", [True, True, False]),
        ("3 + 4 = 8 ; 8 * 2 = 16 ; 3 + 4 = 7 ; 7 * 2 = 14", [False, False, True, True]),
        ("4 * 2 = 8", [False]),  # parentheses first
        ("2 - 5 = 3", [False]),
        (STEPS + " ; 9 + 0 = 9", [True, True, True, False]),
        ("3 + 4 = 7 = 7 ; x ; 3 + 4 = 7 3 + 4 = 7", [False, False, False]),
        ("", []),
    ],
)
def test_steps(text: str, valid: list[bool]) -> None:
    assert RULES.valid_steps(NINE, text) == RULES.valid_steps(json.dumps(NINE), text) == valid
    assert len(RULES.steps(text)) == len(valid)
    assert RULES.valid_steps(9, text) is RULES.valid_steps("9", text) is None


def test_a_step_that_stands_in_several_places_may_mean_any() -> None:
    twice = {"expression": "( 3 + 4 ) - ( 1 * ( 3 + 4 ) )", "value": 0}
    assert RULES.valid_steps(twice, "3 + 4 = 7 ; 1 * 7 = 7 ; 3 + 4 = 7 ; 7 - 7 = 0") == [True] * 4
    assert RULES.valid_steps(twice, "3 + 4 = 7 ; 1 * 7 = 7 ; 7 - 7 = 0") == [True, True, False]
    many = {"expression": " + ".join(["1 * 1"] * 8), "value": 8}
    started = time.process_time()
    assert RULES.valid_steps(many, "1 * 1 = 1 ;" * 1000) == [True] * 8 + [False] * 992
    assert time.process_time() - started < 2.0


@given(NODES, st.integers(0, 20), st.sampled_from([0, 2, 4]), st.integers(0, 30))
def test_solutions_are_right_and_changed_ones_are_not(node: Node, step: int, place: int, number: int) -> None:
    expression = render(node)
    try:
        text = solution(expression)
    except UsageError:
        assert "is outside 0" in str(RULES.check_reference({"expression": expression, "value": 0}))
        return
    reference = {"expression": expression, "value": eval(expression)}
    steps = text.split(" ; ")
    assert RULES.check_reference(reference) is None
    assert RULES.judge(reference, text).correct is True
    assert RULES.valid_steps(reference, text) == [True] * len(steps)
    step %= len(steps)
    tokens = steps[step].split()
    tokens[place] = str(number)
    changed = " ; ".join([*steps[:step], " ".join(tokens), *steps[step + 1 :]])
    valid = RULES.valid_steps(reference, changed)
    assert valid is not None and all(valid[:step])
    true = value(int(tokens[0]), tokens[1], int(tokens[2])) == int(tokens[4])
    assert true or not valid[step]
    last = steps[-1].split()[-1] if step < len(steps) - 1 else tokens[4]
    assert RULES.judge(reference, changed).correct is (int(last) == reference["value"])
    if all(valid):  # every step of a full reduction is right: so is its end
        assert read(changed).equations[-1].result == reference["value"]


# --- references


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ({"expression": "3 + 4", "value": 8}, '"value" is 8, the expression\'s is 7'),
        ({"expression": "3 - 4", "value": -1}, '"expression": 3 - 4 is outside 0'),
        ({"expression": "999999999 * 9", "value": 8999999991}, '"expression": 999999999 * 9 is outside'),
        ({"expression": "3 + 4", "value": True}, '"value" is no whole number'),
        ({"expression": "3 + 4", "value": "7"}, '"value" is no whole number'),
        ({"expression": 7, "value": 7}, '"expression" is no text'),
        ({"expression": "3 + 4"}, '"value" is missing'),
        ({"value": 7}, '"expression" is missing'),
        ("{", "is neither an object nor JSON"),
        ("x", "'x' is not a plain number"),
        (None, "is null"),
        (True, "is true or false"),
        ([7], "is a list"),
    ],
)
def test_bad_references(reference: Any, problem: str) -> None:
    assert str(RULES.check_reference(reference)).startswith(problem)


def test_verify_reads_numbers_and_objects_as_text(tmp_path: Path) -> None:
    given = [9, "9", json.dumps(NINE), json.dumps({**NINE, "value": 8}), 8]
    rows = [{"id": i, "reference": r, "completion": STEPS} for i, r in enumerate(given)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = ponder("verify", "--task", "arithmetic", tmp_path / "a.jsonl")
    found = [(row["id"], row["verdict"]) for row in map(json.loads, done.out.splitlines())]
    assert found == [(0, "correct"), (1, "correct"), (2, "correct"), (4, "wrong")]
    assert (done.status, "a.jsonl:4: field 'reference': \"value\" is 8" in done.err) == (2, True)


# --- problems


def naive(terms: int, high: int, most: int) -> set[str]:
    """Every expression as text with parentheses anywhere, read by Python, kept if no subtree is out of range."""

    def trees(size: int) -> list[Node]:
        if size == 1:
            return list(range(1, high + 1))
        splits = ((trees(k), trees(size - k)) for k in range(1, size))
        return [(op, a, b) for left, right in splits for a in left for b in right for op in "+-*"]

    def fine(node: Node) -> bool:
        return isinstance(node, int) or (0 <= eval(render(node)) <= most and fine(node[1]) and fine(node[2]))

    return {render(node).replace(" ", "") for node in trees(terms) if fine(node)}


@pytest.mark.parametrize(("terms", "high", "most"), [(2, 9, 99), (3, 4, 99), (3, 3, 5), (4, 2, 3)])
def test_the_problems_are_all_that_exist(terms: int, high: int, most: int) -> None:
    found: list[str] = []
    for split in ("test", "train"):
        task = Arithmetic(terms, high, most, split)
        with pytest.raises(UsageError, match=r"9999 problems of split .* were asked for, \d+ exist") as caught:
            task.problems(9999)
        exist = int(str(caught.value).split(" exist")[0].split()[-1])
        found += [problem.id.removeprefix("arithmetic:") for problem in task.problems(exist)]
    assert len(found) == len(set(found))
    assert set(found) == naive(terms, high, most)


def test_the_default_problems() -> None:
    started = time.process_time()
    assert list(Arithmetic().problems()) == DEFAULT and len(DEFAULT) == len({p.id for p in DEFAULT}) == 200
    assert time.process_time() - started < 1.0
    task = load_task("arithmetic")
    for problem in DEFAULT:
        assert problem.id == f"arithmetic:{problem.text.removesuffix(' =').replace(' ', '')}"
        assert sum(token.isdigit() for token in problem.text.split()) == 4
        text = solution(problem.text)
        assert all(0 <= equation.result <= 99 for equation in read(text).equations)
        assert task.verify(problem.id, text).correct is True
        assert task.valid_steps(problem.id, text) == [True, True, True]
    train = {problem.id for problem in Arithmetic(split="train").problems(3000)}
    assert not train & {problem.id for problem in Arithmetic(seed=3).problems(2000)}
    assert list(Arithmetic().problems(7)) == DEFAULT[:7]
    assert [p.id for p in Arithmetic(seed=1).problems()] != [p.id for p in DEFAULT]


def test_the_problems_are_the_same_in_another_process() -> None:
    script = "from ponder.tasks import load_task; print([p.text for p in load_task('arithmetic').problems()])"
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
        )  # fmt: skip
        assert done.stdout == f"{[p.text for p in DEFAULT]}\n"


def test_more_than_can_be_found_is_said() -> None:
    with pytest.raises(UsageError, match="200 problems of split 'test' were asked for, 0 were found in 50000 draws"):
        Arithmetic(terms=8, high=1000, most=0).problems()
    with pytest.raises(UsageError, match="must be at least 1"):
        Arithmetic().problems(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terms": 1}, "--task arithmetic: terms=1: must be 2 to 8"),
        ({"high": True}, "--task arithmetic: high=True: must be 1 to 1000"),
        ({"most": -1}, "--task arithmetic: most=-1: must be 0 to 1000000"),
        ({"split": 3}, "unknown split of arithmetic '3'"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_task("arithmetic", options)
    assert str(caught.value).startswith(message)


def test_ids() -> None:
    task = Arithmetic()
    assert task.verify("arithmetic:(3+4)*2-5", STEPS).correct is True
    assert load_rules("arithmetic").kind == task.rules("arithmetic:3+4").kind == "number"
    for bad in (
        "arithmetic:",
        "arithmetic:3",
        "arithmetic:(3+4)",
        "arithmetic:3 + 4",
        "arithmetic:3-4",
        "countdown:3+4",
        "3+4",
    ):
        with pytest.raises(KeyError):
            task.rules(bad)
