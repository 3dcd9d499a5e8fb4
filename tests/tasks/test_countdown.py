"""Countdown: judge, answer, steps and problems, against a checker and an enumeration that share nothing with them."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import ponder

from ponder.errors import UsageError
from ponder.tasks import load_rules, load_task, single
from ponder.tasks.countdown import Countdown, CountdownRules, checked_state, solution
from ponder.tasks.equations import read

RULES = CountdownRules()
SIX = {"numbers": [4, 7, 3, 6], "target": 6}
GOOD = " 6 * 4 = 24 | 24 7 3 ; 7 - 3 = 4 | 4 24 ; 24 / 4 = 6"
DEFAULT = list(Countdown().problems())
Steps = list[tuple[int, str, int, int]]


def right(numbers: list[int], target: int, steps: Steps) -> bool:
    """The contract, the long way."""
    left = list(numbers)
    if len(steps) != len(numbers) - 1:
        return False
    for a, op, b, c in steps:
        if op == "/" and b == 0:
            return False
        if c * b != a if op == "/" else {"+": a + b, "-": a - b, "*": a * b}[op] != c:
            return False
        for operand in (a, b):
            if operand not in left:
                return False
            left.remove(operand)
        left.append(c)
    return steps[-1][3] == target


def written(steps: Steps) -> str:
    return " ; ".join(f"{a} {op} {b} = {c}" for a, op, b, c in steps)


def parsed(text: str) -> Steps:
    return [(e.left, e.op, e.right, e.result) for e in read(text).equations]


def solved(index: int, chance: random.Random) -> tuple[list[int], int, Steps]:
    target, _, *numbers, _ = DEFAULT[index].text.split()
    shown = [int(n) for n in numbers]
    text = solution(shown, int(target), chance)
    assert text is not None
    return shown, int(target), parsed(text)


# --- the judge


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD, None),
        (GOOD.replace(" ", ""), None),
        ("First 6*4=24. Then\n7 - 3 = 4, so\n24 / 4\t=\n6.", None),
        ("$6 * 4 = 24$ → `7 - 3 = 4` (left: 4, 24) and \\(24 / 4 = 6\\)", None),
        ("1. 6 * 4 = 24\n2. 7 - 3 = 4\n3. 24 / 4 = 6\n#### 6", None),
        ("6 * 4 = 24 | 99 99 ; 7 - 3 = 4 | nothing ; 24 / 4 = 6 $", None),
        ("7 - 3 = 4 ; 4 * 6 = 24 ; 24 / 4 = 6", None),
        ("", "0 equations, expected 3 for 4 numbers"),
        ("6 * 4 is 24", "0 equations"),
        ("6 * 4 = 24 ; 7 - 3 = 4", "2 equations, expected 3"),
        (GOOD + " ; 6 + 0 = 6", "4 equations"),
        ("6 * 4 = 25 ; 7 - 3 = 4 ; 25 / 4 = 6", "6 * 4 = 25 is false"),
        ("6 * 4 = 24 ; 6 - 3 = 3 ; 24 / 4 = 6", "6 - 3 = 3: 6 is not left"),
        ("4 * 4 = 16 ; 7 - 3 = 4 ; 16 / 4 = 4", "4 * 4 = 16: 4 is not left"),
        ("6 * 4 = 24 ; 7 - 3 = 4 ; 24 + 4 = 28", "reaches 28, expected 6"),
        ("6 * 4 = 24 ; 7 - 3 = 4 ; 24 / 5 = 4", "24 / 5 = 4 is false"),
    ],
)
def test_the_judge(text: str, reason: str | None) -> None:
    verdict = RULES.judge(SIX, text)
    assert verdict == RULES.judge(json.dumps(SIX), text)
    assert (verdict.correct, verdict.reason.startswith(reason or "reaches 6")) == (reason is None, True), verdict


HOSTILE = [
    "3 + 4 + 5 = 12", "3 + 4 = 7 = 7", "3 + 4 = 7 + 0", "3 + 4 = 7 + 0 = 7", "3 - 5 = -2", "-3 + 5 = 2", "- 3 + 5 = 2", "+3 + 4 = 7",
    "3.5 * 2 = 7", "3 * 2.5 = 7", "3 + 4 = 7.0", "3 + 4 = 7,0", ".5 * 2 = 1", "3,4 + 1 = 5", "1,000 + 1 = 1,001", "3 + 4 = 7:1",
    "(3+4) * 2 = 14", "2 * (3+4) = 14", "3 + 4 = (7)", "(1 + 2) 3 + 4 = 7", "3 + 4 = 7 (2)", "3 + 4 = 7(2)", "2(3)4 + 1 = 5",
    "3 × 4 = 12", "8 ÷ 4 = 2", "8 − 4 = 4", "8 – 4 = 4", "−3 + 4 = 1", "3 ∗ 4 = 12", "3 + 4 = 7 × 1", "2 · 3 + 4 = 7", "3 + 4 = 7²", "3² + 4 = 7",
    "٣ + 4 = 7", "٣4 + 3 = 7", "3 + 4 = 7٣", "3 + 4 = 7 ٣", "𝟑 + 4 = 7", "３ + 4 = 7", "3 + 4 ＝ 7", "3 ＋ 4 = 7", "3 + 4 = 7\u200b1", "3\u00a0+ 4 = 7",
    "03 + 4 = 7", "3 + 04 = 7", "3 + 4 = 07", "00 + 0 = 0", "1e3 * 1 = 1", "1 * 1e3 = 1", "1 * 1 = 1e3", "0x1 + 1 = 2", "1_0 + 1 = 2", "3 + 4 = 7x",
    "x = 7", "3 + x = 7", "= 7", "3 + 4 =", "3 + 4 == 7", "3 + 4 <= 7", "3 + 4 != 7", "3 + 4 => 7", "3 + 4 := 7", "7 = 3 + 4", "3 4 = 12", "= = =",
    "2 x 3 + 4 = 7", "3 + 4 = 7 x 2", "3 + 4 = 7 X2", "2 times 3 + 4 = 7", "2 \\times 3 + 4 = 7", "3 + 4 = 7 \\times 2", "3 + 4 = 7!", "3 + 4 = 7 !", "3 + 4 = 7%",
    "3 // 1 = 3", "3 ** 1 = 3", "3 ^ 1 = 3", "3 % 2 = 1", "**3 + 4 = 7**", "1 2 + 3 = 5", "3 + 4 = 7 8", "3 +\n4 + 5 = 9", "3 + 4 = 7\n+ 1", "3 + 4 = 7\n- 1",
    "1000000000 + 1 = 1000000001", "1" * 10_000 + " + 1 = 2", "1 + " + "1" * 10_000 + " = 2", "1 + 1 = " + "2" * 10_000, "\uff1d 3 + 4 = 7",
    "3 + 4 = 7 = ", "3 + 4 = \u202e7", "3 /4/ 1 = 3", "(3 + 4) = 7", "3 + (4) = 7", "|3| + 4 = 7", "3 + 4 = |7|", "3! + 1 = 7", "3 + 4 = 7e", "7 = 7",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_equation_neither_passes_nor_hides(text: str) -> None:
    assert read(text).malformed >= 1
    assert RULES.extract(text) is None
    verdict = RULES.judge({"numbers": [3, 4], "target": 7}, text)
    assert (verdict.correct, "malformed" in verdict.reason) == (False, True)
    for joined in (f"{GOOD} ; {text}", f"{text} ; {GOOD}", f"{text}\n;{GOOD}"):
        assert RULES.judge(SIX, joined).correct is False
        assert RULES.extract(joined) is None


@pytest.mark.parametrize(
    ("text", "correct"),
    [("5 - 5 = 0 ; 0 * 9 = 0", True), ("5 / 5 = 1 ; 1 * 9 = 9", False), ("0 / 9 = 0", False), ("5 - 5 = 0 ; 0 / 9 = 0", True), ("5 - 5 = 0 ; 9 / 0 = 0", False)],
)  # fmt: skip
def test_zero(text: str, correct: bool) -> None:
    assert RULES.judge({"numbers": [5, 9, 5], "target": 0}, text).correct is correct
    assert RULES.judge({"numbers": [0, 0], "target": 0}, "0 / 0 = 0").correct is False


@pytest.mark.parametrize(
    "text",
    ["1 + " * 250_000, "1 + " * 250_000 + "=", "1 + 1 = " * 125_000, "=" * 10**6, "1" * 10**6 + "=", " " * 10**6 + "=", "1+1=2;" * 166_000,
     "=\n" + " " * 10**6, ("1+1=2" + " " * 5_000) * 200, "x" * 10**6 + " 1+1=2", "1+1=2 " + "x" * 10**6, ";" * 10**6],
    ids=lambda text: f"{text[:8]}…",
)  # fmt: skip
def test_hostile_text_is_read_in_linear_time(text: str) -> None:
    for work in (RULES.extract, lambda text: RULES.judge(SIX, text), read):
        started = time.process_time()
        work(text)
        assert time.process_time() - started < 10.0  # quadratic would take minutes
    started = time.process_time()
    RULES.valid_steps(SIX, text)
    assert time.process_time() - started < 10.0


# --- properties


@given(st.integers(0, len(DEFAULT) - 1), st.randoms(use_true_random=False))
def test_solutions_are_correct_and_their_steps_valid(index: int, chance: random.Random) -> None:
    numbers, target, steps = solved(index, chance)
    assert right(numbers, target, steps) and all(1 <= c <= 30 for *_, c in steps)
    text = solution(numbers, target, chance)
    assert text is not None
    assert Countdown().verify(DEFAULT[index].id, text).correct is True
    assert Countdown().valid_steps(DEFAULT[index].id, text) == [True] * (len(numbers) - 1)
    assert checked_state(text, {"numbers": numbers, "target": target}) == (target, (target,))
    left = Counter(numbers)
    for step in text.split(" ; ")[:-1]:
        equation, _, listed = step.partition(" | ")
        a, _, b, _, c = equation.split()
        left = left - Counter([int(a), int(b)]) + Counter([int(c)])
        assert Counter(int(n) for n in listed.split()) == left


@given(st.integers(0, len(DEFAULT) - 1), st.randoms(use_true_random=False), st.integers(0, 2), st.sampled_from([0, 1, 2, 3]), st.integers(0, 40))  # fmt: skip
def test_any_change_is_judged_as_the_brute_force_judges(
    index: int, chance: random.Random, step: int, place: int, number: int
) -> None:
    numbers, target, steps = solved(index, chance)
    changed: list[Any] = list(steps[step])
    changed[place] = "+-*/"[number % 4] if place == 1 else number
    steps[step] = tuple(changed)
    reference = {"numbers": numbers, "target": target}
    assert RULES.judge(reference, written(steps)).correct is right(numbers, target, steps)
    valid = RULES.valid_steps(reference, written(steps))
    if right(numbers, target, steps):
        assert all(valid)
    assert all(valid[:step])


EQUATIONS = st.tuples(st.integers(0, 4), st.sampled_from("+-*/"), st.integers(0, 4), st.integers(0, 4))


def independent(one: tuple[int, str, int, int], other: tuple[int, str, int, int]) -> bool:
    return one[3] not in (other[0], other[2]) and other[3] not in (one[0], one[2])


@given(st.lists(EQUATIONS, min_size=1, max_size=6), st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_the_answer_forgets_the_order_of_independent_steps_and_of_operands(steps: Steps, chance: random.Random) -> None:
    answer = RULES.extract(written(steps))
    assert answer is not None
    assert RULES.extract(answer) == answer == RULES.canonical(answer)
    for _ in range(30):
        at = chance.randrange(len(steps))
        a, op, b, c = steps[at]
        if op in "+*":
            steps[at] = (b, op, a, c)
        if at and independent(steps[at - 1], steps[at]):
            steps[at - 1 : at + 1] = [steps[at], steps[at - 1]]
        assert RULES.extract(written(steps)) == answer
    assert Counter(len(part.split()) for part in answer.split(" ; ")) == Counter({5: len(steps)})


@given(st.lists(EQUATIONS, min_size=1, max_size=3), st.lists(st.integers(0, 4), min_size=4, max_size=4), st.integers(0, 4), st.randoms(use_true_random=False))  # fmt: skip
@settings(max_examples=300)
def test_chains_with_one_answer_are_equally_right(
    steps: Steps, numbers: list[int], target: int, chance: random.Random
) -> None:
    by_answer: dict[str | None, set[bool]] = {}
    for order in itertools.permutations(steps):
        text = written(list(order))
        verdict = RULES.judge({"numbers": numbers, "target": target}, text)
        assert verdict.correct is right(numbers, target, list(order))
        by_answer.setdefault(RULES.extract(text), set()).add(verdict.correct is True)
    assert all(len(verdicts) == 1 for verdicts in by_answer.values())


def test_the_answer_is_what_is_written() -> None:
    assert RULES.extract("4 + 3 = 8 | 8 1") == "3 + 4 = 8"  # nothing is evaluated
    assert RULES.extract(GOOD) == "4 * 6 = 24 ; 7 - 3 = 4 ; 24 / 4 = 6"
    assert RULES.extract("7 - 3 = 4 ; 4 * 6 = 24 ; 24 / 4 = 6") == "7 - 3 = 4 ; 4 * 6 = 24 ; 24 / 4 = 6"  # uses that 4
    assert RULES.extract("9 / 3 = 3 ; 8 - 1 = 7 ; 7 * 3 = 21") == "8 - 1 = 7 ; 9 / 3 = 3 ; 3 * 7 = 21"
    # A result is used only by what comes after it: these are two answers, and only one is right without a second 7.
    uses, ignores = "3 + 4 = 7 ; 7 - 2 = 5", "7 - 2 = 5 ; 3 + 4 = 7"
    assert (RULES.extract(uses), RULES.extract(ignores)) == (uses, ignores)
    assert [RULES.judge({"numbers": [3, 4, 2], "target": 5}, t).correct for t in (uses, ignores)] == [True, False]
    assert [RULES.extract(t) for t in ("", "no", "6", "3 + 4 = 7 = 7")] == [None] * 4
    assert RULES.extract(" ; ".join(["1 + 1 = 2"] * 99)) is not None
    assert RULES.extract(" ; ".join(["1 + 1 = 2"] * 100)) is None
    assert RULES.classes([RULES.extract(GOOD), None, "6 * 4 = 24 ; 7 - 3 = 4 ; 24 / 4 = 6", "x"]) == [0, None, 0, 1]


# --- steps


@pytest.mark.parametrize(
    ("text", "valid", "left"),
    [
        (GOOD, [True, True, True], (6,)),
        (GOOD + " ;\n", [True, True, True], (6,)),
        ("", [], (3, 4, 6, 7)),
        (" 6 * 4 = 24 ;", [True], (3, 7, 24)),
        (" 6 * 4 = 24 ; 7 -", [True, False], (3, 7, 24)),
        (" 6 * 4 = 24 ; 7 - 3", [True, False], (3, 7, 24)),
        ("7 - 3 = 4 ; 4 * 6 = 24 ; 24 + 4 = 28", [True, True, True], (28,)),  # valid, and of no use
        ("6 * 4 = 25 ; 25 - 7 = 18 ; 7 - 3 = 4 ; 6 * 4 = 24", [False, False, True, True], None),
        ("6 * 4 = 24 7 - 3 = 4 ; 7 - 3 = 4", [False, True], None),
        ("6 * 4 = 24 | 7 - 3 = 4 ; 7 - 3 = 4", [False, True], None),  # two in one step
        ("6 * 4 = 24 ; ; so ; 7 - 3 = 4", [True, False, False, True], None),
        ("6 * 4 = 24 = 24 ; 6 * 4 = 24", [False, True], None),
    ],
)
def test_steps(text: str, valid: list[bool], left: tuple[int, ...] | None) -> None:
    assert "".join(RULES.steps(text)) == text
    assert len(RULES.steps(text)) == len(valid)
    assert RULES.valid_steps(SIX, text) == valid
    assert checked_state(text, SIX) == (None if left is None else (6, left))


SAID = "6 : 4 7 3 6 ;"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "6 : 3 4 6 7 ;"),
        (" \n", "6 : 3 4 6 7 ;"),
        (" 6 * 4 = 24 | 24 7 3 ;", "6 : 3 7 24 ;"),
        (" 6 * 4 = 24 | 24 7 3 ; \n", "6 : 3 7 24 ;"),
        ("6*4=24|24 7 3;7-3=4|4 24;", "6 : 4 24 ;"),
        (GOOD + " ;", None),  # no list after the last step
        (GOOD + " | 6 ;", "6 : 6 ;"),
        (" 6 * 4 = 25 | 1 1 100 ;", "6 : 1 1 100 ;"),  # what it says, true or not
        (" 6 * 4 = 24 | 24 7 3 ; 7 - 3 = 4 ;", None),
        (" 6 * 4 = 24 | 24 7 3 ; 7 - 3", None),  # unfinished
        (" 6 * 4 = 24 | 24 7", None),
        (" 6 * 4 = 24 | 24 7 3 ; ;", None),
        (" 6 * 4 = 24 | ;", None),
        (" 6 * 4 = 24 | 9 | 24 7 3 ;", "6 : 3 7 24 ;"),
        *((f" 6 * 4 = 24 | {listed} ;", None) for listed in ("24, 7, 3", "24 07", "-1 2", "2.5", "24 7 left", "٣", "1" * 10)),
        (" 6 * 4 = 24 | 0 " + "9" * 9 + " ;", "6 : 0 999999999 ;"),
    ],
)  # fmt: skip
def test_the_state_is_what_the_chain_says_is_left(text: str, said: str | None) -> None:
    assert RULES.state(SAID, text) == said


@pytest.mark.parametrize(
    "problem", ["", "6", "6 :", "6 : ;", ": 4 7 ;", "6 : 4 7", "6 5 : 4 7 ;", "x : 4 7 ;", "6 : 4 x ;", "6 : 4 : 7 ;", "06 : 4 ;", "Reach 6 : 4 7 ;", "6 : 4 ; 7 ;", "6 ; : 4 7 ;"]
)  # fmt: skip
def test_a_problem_in_other_words_has_no_states(problem: str) -> None:
    assert RULES.state(problem, "") is None and RULES.state(problem, "6 * 4 = 24 | 24 7 3 ;") is None


@given(st.integers(0, len(DEFAULT) - 1), st.randoms(use_true_random=False))
def test_an_honest_chain_stands_where_the_check_says(index: int, chance: random.Random) -> None:
    numbers, target, _ = solved(index, chance)
    text = solution(numbers, target, chance) or ""
    for cut in range(len(numbers) - 1):
        start = "".join(f" {step} ;" for step in text.split(" ; ")[:cut])
        checked = checked_state(start, {"numbers": numbers, "target": target})
        assert checked is not None
        assert RULES.state(DEFAULT[index].text, start) == f"{checked[0]} : {' '.join(map(str, checked[1]))} ;"
    assert RULES.state(DEFAULT[index].text, text) is None
    assert load_rules("arithmetic").state(DEFAULT[index].text, "") is None


def test_a_hostile_text_has_its_state_in_linear_time() -> None:
    for text in ("|" * 10**6, "| 1 " * 250_000 + ";", ";" * 10**6, "1 " * 500_000 + ";", "|" + " " * 10**6 + ";"):
        started = time.process_time()
        RULES.state(SAID, text)
        RULES.state(text, "")
        assert time.process_time() - started < 2.0


def test_other_tasks_cannot_tell() -> None:
    assert load_rules("number").valid_steps("1", "1 + 1 = 2") is None
    assert load_task("simulated:school").valid_steps("0", "1 + 1 = 2") is None
    assert single("x", "countdown").valid_steps("problem", GOOD) is None
    task = load_task("countdown")
    (problem,) = task.problems(1)
    assert task.valid_steps(problem.id, "1 + 1 = 3") == [False]
    with pytest.raises(KeyError):
        task.valid_steps("countdown:6:4-3", "")


# --- references


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        (SIX, None),
        (json.dumps(SIX), None),
        ({"numbers": (1, 2), "target": 0, "other": "ignored"}, None),
        ({"numbers": [1], "target": 1}, '"numbers" has 1, must have 2 to 100'),
        ({"numbers": [1] * 101, "target": 1}, '"numbers" has 101'),
        ({"numbers": "12", "target": 1}, '"numbers" is no list'),
        ({"numbers": [1, -2], "target": 1}, '"numbers", item 2, is -2, must be a whole number'),
        ({"numbers": [True, 2], "target": 1}, '"numbers", item 1, is true'),
        ({"numbers": [1, 2.0], "target": 1}, '"numbers", item 2, is 2.0'),
        ({"numbers": [1, "2"], "target": 1}, '"numbers", item 2, is "2"'),
        ({"numbers": [1, 10**9], "target": 1}, '"numbers", item 2, is 1000000000'),
        ({"numbers": [1, 2], "target": -1}, '"target" is -1'),
        ({"numbers": [1, 2], "target": None}, '"target" is null'),
        ({"numbers": [1, 2]}, '"target" is missing'),
        ({"target": 2}, '"numbers" is missing'),
        (6, "is no object"),
        ("[1]", "is no object"),
        (None, "is no object"),
        ("6 : 4 7 3 6", "is neither an object nor JSON"),
        ("[" * 100_000, "is neither an object nor JSON"),
        ('{"numbers": [1, ' + "9" * 5000 + '], "target": 1}', "is neither an object nor JSON"),
    ],
)  # fmt: skip
def test_references(reference: Any, problem: str | None) -> None:
    found = RULES.check_reference(reference)
    assert found is None if problem is None else found is not None and found.startswith(problem), found
    if problem is not None:
        with pytest.raises(UsageError, match="countdown reference: "):
            RULES.judge(reference, GOOD)


def _verified(path: Path, *references: Any) -> Any:
    rows = [{"id": i, "reference": r, "completion": GOOD} for i, r in enumerate(references)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ponder("verify", "--task", "countdown", path)


def test_verify_reads_references_as_json_text(tmp_path: Path) -> None:
    done = _verified(tmp_path / "a.jsonl", json.dumps(SIX), json.dumps({**SIX, "target": 7}), "{}")
    assert [json.loads(line)["verdict"] for line in done.out.splitlines()] == ["correct", "wrong"]
    assert (done.status, "a.jsonl:3: field 'reference': \"numbers\" is missing" in done.err) == (2, True)


def test_verify_reads_references_as_objects(tmp_path: Path) -> None:
    done = _verified(tmp_path / "a.jsonl", SIX, {**SIX, "target": 7}, {"target": 1}, {"numbers": [1, 2.5], "target": 1})
    assert [json.loads(line)["verdict"] for line in done.out.splitlines()] == ["correct", "wrong"]
    assert [line.split(": ")[2:4] for line in done.err.splitlines()] == [
        ["field 'reference'", '"numbers" is missing; correct it, or choose another kind than \'countdown\''],
        ["field 'reference'", '"numbers", item 2, is "2.5", must be a whole number from 0 to 999999999; correct it, or choose another kind than \'countdown\''],
    ]  # fmt: skip


# --- problems


def naive(numbers: tuple[int, ...], most: int) -> set[int]:
    if len(numbers) == 1:
        return {numbers[0]}
    found: set[int] = set()
    for a, b, *rest in itertools.permutations(numbers):
        results = [a + b, a - b, a * b, *([a // b] if b and a % b == 0 else [])]
        for c in results:
            if 1 <= c <= most:
                found |= naive((c, *rest), most)
    return found


@pytest.mark.parametrize(
    ("numbers", "high", "low", "top", "most"), [(2, 5, 1, 30, 30), (3, 4, 5, 30, 30), (3, 5, 1, 9, 12), (4, 3, 5, 20, 20)]
)  # fmt: skip
def test_the_problems_are_all_that_exist(numbers: int, high: int, low: int, top: int, most: int) -> None:
    expected = {
        f"countdown:{t}:{'-'.join(map(str, given))}"
        for given in itertools.combinations_with_replacement(range(1, high + 1), numbers)
        for t in naive(given, most)
        if low <= t <= top
    }
    found: list[str] = []
    for split in ("test", "train"):
        task = Countdown(numbers, high, low, top, most, split)
        with pytest.raises(UsageError, match=r"10000 problems of split .* were asked for, \d+ exist") as caught:
            task.problems(10_000)
        exist = int(str(caught.value).split(" exist")[0].split()[-1])
        assert len(task) == len(list(task.problems())) == min(200, exist)
        found += [problem.id for problem in task.problems(exist)]
    assert sorted(found) == sorted(expected)


def test_the_default_set() -> None:
    started = time.process_time()
    assert len(list(Countdown(seed=5).problems())) == 200
    assert time.process_time() - started < 10.0
    tests, train = Countdown().problems(3039), Countdown(split="train").problems(6162)
    ids = [{problem.id for problem in split} for split in (tests, train)]
    assert (len(ids[0]), len(ids[1]), ids[0] & ids[1]) == (3039, 6162, set())
    for limit in (3040, 10**9):
        with pytest.raises(
            UsageError, match=f"{limit} problems of split 'test' were asked for, 3039 exist; lower --limit"
        ):
            Countdown().problems(limit)
    other = {problem.id for problem in Countdown(seed=9, high=5, most=60, high_target=60).problems()}
    assert not other & ids[1]  # the split does not depend on the other options


def test_problems_are_shuffled_by_the_seed_alone() -> None:
    assert list(load_task("countdown", {"seed": 0}).problems()) == DEFAULT
    assert list(Countdown().problems(20)) == DEFAULT[:20]
    assert [p.id for p in Countdown(seed=1).problems()] != [p.id for p in DEFAULT]
    target, colon, *numbers, end = DEFAULT[0].text.split()
    assert DEFAULT[0].id == f"countdown:{target}:{'-'.join(sorted(numbers))}" and (colon, end) == (":", ";")
    assert any(p.text.split()[2:-1] != sorted(p.text.split()[2:-1]) for p in DEFAULT)
    assert DEFAULT[0].messages[0].content == f"{DEFAULT[0].text}\n\n{RULES.instruction}"
    script = (
        "from ponder.tasks import load_task; print([(p.id, p.text) for o in ({}, {'numbers': 6, 'high': 100}) "
        "for p in load_task('countdown', o).problems(50)])"
    )
    expected = [
        (p.id, p.text) for o in ({}, {"numbers": 6, "high": 100}) for p in load_task("countdown", o).problems(50)
    ]
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
        )  # fmt: skip
        assert done.stdout == f"{expected}\n"


def test_large_spaces_are_drawn_and_never_hang() -> None:
    task = Countdown(numbers=6, high=100)
    problems = list(task.problems())
    assert len(task) == len({problem.id for problem in problems}) == 200
    assert list(task.problems(30)) == problems[:30] == list(Countdown(numbers=6, high=100).problems(30))
    for problem in problems[:20]:
        target, _, *numbers, _ = problem.text.split()
        text = solution([int(n) for n in numbers], int(target), random.Random(0))
        assert text is not None and task.verify(problem.id, text).correct is True
    with pytest.raises(UsageError, match=r"5 problems of split 'test' were asked for, \d were found in 11000 draws"):
        Countdown(6, 1000, 9999, 9999, 10_000).problems(5)


def test_a_solution_is_none_only_where_there_is_none() -> None:
    chance = random.Random(1)
    for numbers in itertools.combinations_with_replacement(range(4), 3):
        for target in range(0, 13):
            text = solution(list(numbers), target, chance, most=12)
            assert (text is not None) == (target in naive(numbers, 12)), (numbers, target)
            if text is not None:
                assert RULES.judge({"numbers": list(numbers), "target": target}, text).correct is True
    assert len({solution([4, 7, 3, 6], 6, random.Random(seed)) for seed in range(20)}) > 5
    assert solution([4, 7, 3, 6], 6, random.Random(3)) == solution([4, 7, 3, 6], 6, random.Random(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"numbers": 1}, "--task countdown: numbers=1: must be 2 to 6"),
        ({"numbers": 7}, "--task countdown: numbers=7: must be 2 to 6"),
        ({"numbers": True}, "--task countdown: numbers=True: must be 2 to 6"),
        ({"numbers": "4"}, "--task countdown: numbers='4': must be 2 to 6"),
        ({"high": 0}, "--task countdown: high=0: must be 1 to 1000"),
        ({"most": 0}, "--task countdown: most=0: must be 1 to 10000"),
        ({"low_target": 31}, "--task countdown: low_target=31: must be 1 to 30"),
        ({"high_target": 4}, "--task countdown: high_target=4: must be 5 to 30"),
        ({"high_target": 31}, "--task countdown: high_target=31: must be 5 to 30"),
        ({"seed": 1.5}, "--task countdown: seed=1.5: must be"),
        ({"split": "tests"}, "unknown split of countdown 'tests'; did you mean 'test'?"),
        ({"number": 4}, "unknown option of task 'countdown': 'number'"),
    ],
)  # fmt: skip
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_task("countdown", options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_limits_and_ids() -> None:
    for limit in (0, -1):
        with pytest.raises(UsageError, match="must be at least 1"):
            Countdown().problems(limit)
    with pytest.raises(UsageError, match="0 exist"):
        Countdown(numbers=2, high=1, low_target=20).problems()
    task = Countdown()
    assert task.verify("countdown:6:3-4-6-7", GOOD).correct is True
    assert task.rules("countdown:6:3-4-6-7").kind == "countdown"
    for bad in ("", "6:3-4-6-7", "countdown", "countdown:6", "countdown:6:4-3", "countdown:06:3-4", "countdown:6:x", "countdown:6:3", "arithmetic:6:3-4", "countdown:6:3--4"):  # fmt: skip
        with pytest.raises(KeyError):
            task.rules(bad)


def test_walks_meet_easy_problems_first() -> None:
    """The same problems in another order: those with many solutions come early, each once, and no split is crossed."""
    walked = [p.id for p in load_task("countdown", {"walks": True}).problems(400)]
    every = [p.id for p in load_task("countdown").problems(3039)]
    assert len(set(walked)) == 400 and set(walked) <= set(every)
    assert walked == [p.id for p in load_task("countdown", {"walks": True}).problems(500)][:400]
    rng = random.Random(0)

    def ease(ids: list[str]) -> float:
        """How often an unguided walk happens on the target."""
        hits = 0
        for key in ids:
            _, target, numbers = key.split(":")
            for _ in range(40):
                left = [int(n) for n in numbers.split("-")]
                while len(left) > 1:
                    a, b = rng.sample(range(len(left)), 2)
                    x, y = left[a], left[b]
                    found = rng.choice([x + y, x * y, x - y if x >= y else x + y])
                    left = [n for i, n in enumerate(left) if i not in (a, b)] + [found]
                hits += left[0] == int(target)
        return hits / len(ids)

    assert ease(walked[:150]) > 1.5 * ease(every[:150])
