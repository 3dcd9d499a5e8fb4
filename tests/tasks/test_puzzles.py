"""Puzzles of reasoning-gym: a right answer of every set is correct, no hostile one is, and problems come out the same."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from running import ponder

from ponder.errors import UsageError
from ponder.sandbox import Broken, Limits, missing
from ponder.tasks import load_task, puzzle_server, puzzlecheck, puzzles
from ponder.tasks.puzzlecheck import Scorers
from ponder.tasks.puzzles import PuzzleRules, PuzzleTask

ABSENT = importlib.util.find_spec("reasoning_gym") is None
needs_gym = pytest.mark.skipif(
    ABSENT or bool(missing()), reason="reasoning-gym is not installed" if ABSENT else missing() or "-"
)
WITHOUT_GOLD = ("boxnet", "rush_hour")
"""Sets that give no right answer: solved below."""
RULES = PuzzleRules()


def load(name: str, **options: Any) -> PuzzleTask:
    task = load_task(f"puzzles:{name}", {"size": 1, **options})
    assert isinstance(task, PuzzleTask)
    return task


def judged(task: PuzzleTask, answer: str | None, index: int = 0, seed: int = 0) -> str:
    verdict = task.verify(f"{task.name}:{seed}:{index}", f"So:\n<answer>{answer}</answer>")
    return verdict.verdict if verdict.correct is not None else f"unverified: {verdict.reason}"


# --- right answers


@needs_gym
def test_a_right_answer_of_every_set_is_correct() -> None:
    found = puzzles.names()
    assert len(found) >= 100
    without = []
    for name in found:
        task = load(name)
        gold = task.gold(f"puzzles:{name}:0:0")
        if gold is None:
            without.append(name)
        else:
            assert (name, judged(task, gold)) == (name, "correct")
    assert tuple(without) == WITHOUT_GOLD


@needs_gym
def test_a_solved_board_of_rush_hour_is_correct() -> None:
    task = load("rush_hour", config={"max_moves": 8}, size=2)
    for index, problem in enumerate(task.problems()):
        moves = rush_hour("".join(re.findall(r"^[A-Z.x]{6}$", problem.text, re.MULTILINE)))
        assert judged(task, " ".join(moves), index) == "correct"
        assert judged(task, " ".join(moves[:-1]), index) == "wrong"


@needs_gym
def test_a_plan_of_boxnet_is_correct() -> None:
    task = load("boxnet", size=2)
    for index, problem in enumerate(task.problems()):
        plan = boxnet(problem.text)
        assert judged(task, json.dumps(plan), index) == "correct"
        assert judged(task, json.dumps(plan[:-1]), index) == "wrong"


def rush_hour(board: str) -> list[str]:
    """The fewest moves, each by one square, that bring piece A to its exit; `board` has 36 squares. Breadth first."""
    places = {c: tuple(i for i in range(36) if board[i] == c) for c in sorted(set(board) - set(".x"))}
    walls = {i for i in range(36) if board[i] == "x"}
    queue: deque[tuple[dict[str, tuple[int, ...]], list[str]]] = deque([(places, [])])
    seen = {str(places)}
    while queue:
        state, moves = queue.popleft()
        if state["A"][0] == 16:
            return moves
        taken = walls.union(*state.values())
        for piece, squares in state.items():
            stride = squares[1] - squares[0]
            for sign, place in ((1, squares[-1] + stride), (-1, squares[0] - stride)):
                inside = 0 <= place < 36 and (stride == 6 or place // 6 == squares[0] // 6)
                if inside and place not in taken:
                    after = {**state, piece: tuple(square + sign * stride for square in squares)}
                    if str(after) not in seen:
                        seen.add(str(after))
                        queue.append((after, [*moves, f"{piece}{'+' if sign > 0 else '-'}1"]))
    raise AssertionError("no way out")


def boxnet(text: str) -> list[dict[str, str]]:
    """A plan that carries one box after the other to its target, a square a step."""
    plan = []
    squares = re.findall(r"square\[([\d.]+), ([\d.]+)\], I can observe (\[.*?\]), I can do", text)
    seen = {
        item.strip("' "): [float(x), float(y)] for x, y, items in squares for item in items[1:-1].split(",") if item
    }
    for box in [item for item in seen if item.startswith("box_")]:
        here, target = list(seen[box]), seen[f"target_{box[4:]}"]
        for axis in (0, 1):
            while here[axis] != target[axis]:
                agent = f"Agent[{here[0]}, {here[1]}]"
                here[axis] += 1 if target[axis] > here[axis] else -1
                plan.append({agent: f"move({box}, square[{here[0]}, {here[1]}])"})
        plan.append({f"Agent[{here[0]}, {here[1]}]": f"move({box}, target_{box[4:]})"})
    return plan


# --- what the sets' own scorers accept, and ours does not


@needs_gym
@pytest.mark.parametrize(
    ("name", "wanted", "answer"),
    [
        # the set, a pattern that the right answer has, an answer to which the set's scorer gives 1
        ("advanced_geometry", r"^\(.*\)$", "{},7"),
        ("coin_flip", r"^0\.000\d", "0"),
        ("complex_arithmetic", "", "nan"),
        ("countdown", "", "{} * sqrt(1)"),
        ("decimal_arithmetic", r"\.\d{6}$", "+"),
        ("fraction_simplification", "", "{} or 3/7"),
        ("game_of_life", "", "+"),
        ("game_of_life_halting", "^True$", "False"),
        ("gsm_symbolic", r"^\d+$", "{} or 7"),
        ("gsm_symbolic", r"^\d+$", "-{}"),
        ("gsm_symbolic", r"^\d+$", "not {}"),
        ("kakurasu", "", "not {}"),
        ("knights_knaves", "", "not {}"),
        ("letter_jumble", "", "{} and"),
        ("number_format", "", "{}1"),
        ("number_sorting", "", "[NaN]"),
        ("pool_matrix", "", "+"),
        ("puzzle24", "", "24 * 1 * 1 * 1"),
        ("quantum_lock", "", "{} I cannot"),
        ("sokoban", "", "not {}"),
        ("survo", "", "not {}"),
        ("time_intervals", r"^\d+ days$", "{} or 6 days"),
        ("time_intervals", r"^00:", "-{}"),
        ("word_sorting", "", "{}, zebra"),
    ],
)  # fmt: skip
def test_what_a_sets_own_scorer_takes_for_right_and_is_not_is_wrong(name: str, wanted: str, answer: str) -> None:
    """The answer is wrong, by our check alone: without it the verdict is correct."""
    task, index, gold = with_gold(name, wanted)
    hostile = written(name, answer, gold)
    assert judged(task, gold, index) == "correct"
    assert (hostile, judged(task, hostile, index)) == (hostile, "wrong")


def test_where_such_answers_are_rare() -> None:
    for name, right, wrong in (
        ("calendar_arithmetic", "-1", "5"),
        ("figlet_font", "abcdefghij", "abcdefghijx"),
        ("polynomial_equations", "", "anything"),
    ):
        assert puzzle_server.holds(name, right, {"answer": right})
        assert not puzzle_server.holds(name, wrong, {"answer": right})


def with_gold(name: str, wanted: str) -> tuple[PuzzleTask, int, str]:
    options = {"coin_flip": {"min_trials": 12}}
    task = load(name, size=1 if not wanted else 60, config=options.get(name, {}))
    for index, problem in enumerate(task.problems()):
        gold = task.gold(problem.id)
        if gold is not None and re.search(wanted, gold):
            return task, index, gold
    pytest.skip(f"no problem of {name} among 60 has such an answer")


def written(name: str, answer: str, gold: str) -> str:
    if name == "pool_matrix":
        return "\n".join(" ".join(f"{float(x) * 1.008:.4f}" for x in line.split()) for line in gold.splitlines())
    if name == "decimal_arithmetic":
        return str(float(gold) + 1e-6)
    if name == "number_sorting":
        return json.dumps([float("nan")] * len(json.loads(gold.replace("'", '"'))))
    if name == "game_of_life":
        return f"{gold[:-1]}, [1]]"
    return answer.replace("{}", gold)


# --- hostile answers


HOSTILE = [
    "", " ", "0", "-1", "True", "None", "null", "nan", "inf", "-inf", "[]", "{}", "[NaN]", "0/0", "oo", "zoo", "x - x",
    "9" * 5000, "1e400", "-" * 5000 + "1", "[" * 5000, "(" * 20_000, "9**9**9**9", "9^9^9^9", "{\"a\": " * 3000,
    "__import__('os').system('touch /tmp/pwned')", "exec(open('/etc/passwd').read())", "(lambda: 1)()",
    "[c for c in ().__class__.__base__.__subclasses__()]", "sympy.Symbol('x')", "E", "\x00", "\u0661" * 40,
]  # fmt: skip
EVALUATED = (
    "binary_matrix", "countdown", "intermediate_integration", "n_queens", "number_sorting", "polynomial_multiplication",
    "puzzle24", "simple_integration", "spiral_matrix", "string_insertion",
)  # fmt: skip
"""Sets whose scorers hand an answer to eval or sympy."""


@needs_gym
@pytest.mark.parametrize(
    "name", [*EVALUATED, "coin_flip", "complex_arithmetic", "game_of_life", "polynomial_equations"]
)
def test_a_hostile_answer_is_never_correct_and_does_no_harm(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(puzzlecheck, "LIMITS", Limits(cpu=1, memory=puzzlecheck.LIMITS.memory))
    marker = tmp_path / "pwned"
    answers = [*HOSTILE, f"open({str(marker)!r}, 'w')", f"__import__('pathlib').Path({str(marker)!r}).touch()"]
    task = load(name)
    gold = task.gold(f"puzzles:{name}:0:0") or ""
    for answer in answers:
        if answer.strip() != gold:
            assert (answer[:40], judged(task, answer)) == (answer[:40], "wrong")
    assert not marker.exists()
    assert judged(task, gold) == "correct"  # the process that served the others goes on


@needs_gym
@pytest.mark.parametrize("answer", ["1e99999999999", "1e-99999999999"])
def test_an_answer_that_takes_too_long_is_wrong(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(puzzlecheck, "LIMITS", Limits(cpu=1, memory=puzzlecheck.LIMITS.memory))
    assert judged(load("coin_flip"), answer) == "wrong"


@needs_gym
def test_less_than_one_is_no_reward_but_is_told() -> None:
    task = load("word_sorting")
    gold = (task.gold("puzzles:word_sorting:0:0") or "").split(", ")
    verdict = task.verify("puzzles:word_sorting:0:0", ", ".join([*gold[1:], gold[0]]))
    assert (verdict.verdict, verdict.reward) == ("wrong", 0.0)
    assert re.fullmatch(r"the set's scorer gives 0\.\d+ of 1", verdict.reason)


def test_where_the_answer_stands() -> None:
    for text, answer in (
        ("<answer>a</answer> no: <answer> b\nc </answer>", "b\nc"),
        ("Answer: 7", "7"),
        ("so \\boxed{9}", "9"),
        ("just this", "just this"),
        ("nothing: <answer></answer>", ""),
        ("<answer>cut off", None),
        ("", None),
    ):
        assert RULES.extract(text) == answer
    assert RULES.classes(["a", " a ", "A", None, "b"]) == [0, 0, 1, None, 2]


# --- problems and references


@needs_gym
@pytest.mark.parametrize("name", ["chain_sum", "ransom_note", "isomorphic_strings", "polynomial_multiplication"])
def test_problems_come_out_the_same_in_another_process(name: str) -> None:
    """The last three draw from sets of Python's, so their problems depend on its hash seed."""
    task = load(name, size=3, seed=5)
    here = [[p.id, p.text, task.gold(p.id)] for p in task.problems()]
    assert [one[0] for one in here] == [f"puzzles:{name}:5:{index}" for index in range(3)]
    program = (
        "import json; from ponder.tasks import load_task\n"
        f"task = load_task('puzzles:{name}', {{'size': 3, 'seed': 5}})\n"
        "print(json.dumps([[p.id, p.text, task.gold(p.id)] for p in task.problems()]))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "77"}
    said = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == here
    assert here != [[p.id, p.text, None] for p in load(name, size=3, seed=6).problems()]


@needs_gym
def test_a_problem_is_asked_in_the_sets_own_words() -> None:
    (problem,) = load("chain_sum", config='{"min_terms": 2, "max_terms": 2}').problems()
    assert problem.text.startswith("State the final answer to the following arithmetic problem:")
    assert problem.messages[0].content == f"{problem.text}\n\n{RULES.instruction}"
    assert problem.domain == "chain_sum"


@needs_gym
def test_problems_that_nobody_asks_for_are_not_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    make = puzzles._made
    monkeypatch.setattr(puzzles, "_made", lambda one, sandbox="": asked.append(one.get("index")) or make(one, sandbox))
    task = load("chain_sum", size=200)
    found = [problem.id for problem in task.problems(3)]
    assert found == ["puzzles:chain_sum:0:0", "puzzles:chain_sum:0:1", "puzzles:chain_sum:0:2"] and len(task) == 200
    assert task.gold("puzzles:chain_sum:0:7") and asked == [None, 0, 1, 2, 7]
    with pytest.raises(KeyError):
        task.gold("puzzles:chain_sum:0:200")


@needs_gym
@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("chain_sums", {}, "unknown set of puzzles: 'chain_sums'; did you mean 'chain_sum'"),
        ("composite", {}, "unknown set of puzzles"),
        ("", {}, "unknown set of puzzles"),
        ("chain_sum", {"config": "min_terms=2"}, "give JSON of an object with settings of chain_sum"),
        ("chain_sum", {"config": '{"seed": 1}'}, "without seed and size"),
        ("chain_sum", {"config": [1]}, "give JSON of an object"),
        ("chain_sum", {"config": '{"min_terms": 0}'}, "see puzzles.config"),
        ("chain_sum", {"config": '{"terms": 2}'}, "see puzzles.config"),
        ("chain_sum", {"size": 0}, "give a whole number from 1"),
        ("chain_sum", {"seed": -1}, "give a whole number from 0"),
        ("chain_sum", {"size": "9"}, "give a whole number"),
        ("chain_sum", {"sandbox": "jail"}, "unknown sandbox"),
        ("chain_sum", {"cap": 1}, "unknown option"),
    ],
)
def test_bad_settings_are_refused_in_one_line(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as found:
        load(name, **options)
    assert words in str(found.value) and "\n" not in str(found.value)


@needs_gym
def test_a_reference_that_cannot_be_used_is_unverified() -> None:
    task = load("chain_sum")
    good = task._rows["puzzles:chain_sum:0:0"].reference
    gold = task.gold("puzzles:chain_sum:0:0") or ""
    assert RULES.check_reference(good) is None and RULES.check_reference(json.dumps(good)) is None
    assert RULES.judge(json.dumps(good), gold).correct is True
    for change, words in (
        ({"version": "0.0.1"}, "was made by reasoning-gym 0.0.1"),
        ({"question": "0" * 16}, "comes out otherwise"),
        ({"seed": 1}, "comes out otherwise"),
        ({"name": "nothing"}, "cannot be made again"),
        ({"config": "{"}, "cannot be made again"),
        ({"index": 10**30}, "comes out otherwise"),
    ):
        verdict = RULES.judge({**good, **change}, gold)
        assert verdict.correct is None and words in verdict.reason, verdict.reason
    for bad in ("", "{", "[]", 7, None, {}, {**good, "seed": True}, {**good, "seed": "0"}, {**good, "name": 3}):
        assert RULES.check_reference(bad), bad
        assert RULES.judge(bad, gold).correct is None


def test_without_the_package_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'ponder\[puzzles\]'"):
        load("chain_sum")
    good = {"name": "a", "seed": 0, "size": 1, "index": 0, "config": "{}", "version": "1", "question": ""}
    verdict = RULES.judge(good, "7")
    assert verdict.correct is None and "pip install" in verdict.reason


@needs_gym
def test_a_server_that_dies_is_replaced_and_one_that_never_works_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    scorers = Scorers()
    assert len(scorers.ask({})["names"]) > 100
    scorers._idle[0]._process.kill()
    scorers._idle[0]._process.wait()
    assert len(scorers.ask({})["names"]) > 100
    scorers.close()
    monkeypatch.setattr("ponder.tasks.puzzlecheck._command", lambda isolated, folder: ["/bin/false"])
    with pytest.raises((Broken, OSError)):
        scorers.ask({})


@needs_gym
def test_verdicts_are_equal_from_threads_and_with_any_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(puzzlecheck, "LIMITS", Limits(cpu=1, memory=puzzlecheck.LIMITS.memory))
    rows, wanted = [], []
    for name in ("chain_sum", "word_ladder", "simple_integration"):
        task = load(name, size=2)
        for problem in task.problems():
            reference = task._rows[problem.id].reference
            for text in (task.gold(problem.id), "7", "", "9**9**9"):
                rows.append({"id": f"{problem.id}/{text}", "reference": reference, "completion": text})
                wanted.append("correct" if text == task.gold(problem.id) else "wrong")
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    said = []
    for workers in (1, 8):
        done = ponder("verify", "--task", "puzzles:chain_sum", str(file), "--workers", workers)
        assert (done.status, done.err) == (0, "")
        found = [json.loads(line) for line in done.out.splitlines()]
        said.append([(one["id"], one["verdict"], one["reason"]) for one in found])
    assert said[0] == said[1]
    assert [one[1] for one in said[0]] == wanted
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda row: RULES.judge(row["reference"], row["completion"]), rows))
    assert [(v.verdict, v.reason) for v in verdicts] == [one[1:] for one in said[0]]
