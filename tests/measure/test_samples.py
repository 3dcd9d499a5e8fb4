"""Sample rows: what is read, what is refused, and that the order of rows does not matter."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ponder import recorded
from ponder.errors import UsageError
from ponder.measure import curves
from ponder.measure.samples import Samples, draws_by_scorer, draws_of_rows, read


def row(problem: object = "p", answer: object = "1", correct: object = True, **more: object) -> dict[str, Any]:
    return {"problem": problem, "answer": answer, "correct": correct, **more}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return path


def classes_of(samples: Samples) -> list[tuple[int, int]]:
    """(size, verdict) of each class, sorted."""
    return sorted(zip(samples.draws.size.tolist(), samples.draws.verdict.tolist(), strict=True))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"problem": "p", "answer": "1"', "broken JSON"),
        ("[1]", "is a list, not an object"),
        ('{"answer": "1", "correct": true}', "field 'problem': missing"),
        ('{"problem": "", "answer": "1", "correct": true}', "field 'problem': empty"),
        ('{"problem": "p", "correct": true}', "field 'answer': missing"),
        ('{"problem": "p", "answer": ["1"], "correct": true}', "field 'answer': is a list"),
        ('{"problem": "p", "answer": "1"}', "field 'correct': missing"),
        ('{"problem": "p", "answer": "1", "correct": 1}', "field 'correct': is a number"),
        ('{"problem": "p", "answer": "1", "correct": true, "sample": -1}', "field 'sample'"),
        ('{"problem": "p", "answer": "1", "correct": true, "sample": 1.5}', "field 'sample'"),
        ('{"problem": "p", "answer": "1", "correct": true, "score": NaN}', "field 'score': is NaN"),
        ('{"problem": "p", "answer": "1", "correct": true, "score": 1e999}', "field 'score': is infinite"),
        ('{"problem": "p", "answer": "1", "correct": true, "scores": {"a": Infinity}}', "'scores.a': is infinite"),
        ('{"problem": "p", "answer": "1", "correct": true, "scores": 3}', "field 'scores': is a number"),
        ('{"problem": "p", "answer": "1", "correct": true, "tokens": -2}', "field 'tokens': is negative"),
        ('{"problem": "p", "answer": "1", "correct": true, "arms": "a"}', "field 'arms': is not a list"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_and_the_others_are_read(tmp_path: Path, line: str, words: str) -> None:
    path = write(tmp_path / "s.jsonl", [row(), "", line, row(answer="2", correct=False)])
    found = read([path])
    assert found.rows == 2
    assert len(found.bad) == 1
    assert found.bad[0].startswith(f"{path}:3: ")
    assert words in found.bad[0]
    assert ";" in found.bad[0], "no hint"


def test_bytes_that_are_no_utf8_and_a_mark_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(row()).encode() + b'\n{"problem": "\xff"}\n')
    found = read([path])
    assert (found.rows, len(found.bad)) == (1, 1)
    assert "is not UTF-8" in found.bad[0]


def test_no_usable_row_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no rows"):
        read([write(tmp_path / "empty.jsonl", [])])
    with pytest.raises(UsageError, match=r"bad.jsonl:1: field 'problem'"):
        read([write(tmp_path / "bad.jsonl", [{"answer": "1"}])])
    with pytest.raises(UsageError, match="No such file"):
        read([tmp_path / "absent.jsonl"])


def test_an_answer_both_correct_and_wrong_names_both_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", [row(), row("q"), row("q", correct=None), row("q", correct=False)])
    with pytest.raises(UsageError, match=rf"{path}:4: .*'1' of problem 'q' is wrong here and correct at {path}:2"):
        read([path])


def test_classes_that_only_normalisation_merges_stay_apart_if_they_disagree() -> None:
    agree = draws_of_rows([row(answer="a  b"), row(answer="a b"), row(answer=" a\u00a0b")])
    assert classes_of(agree) == [(3, 1)]
    rows = [row(answer="a  b"), row(answer="a b", correct=False), row(answer=" a b"), row(answer="a\tb", correct=None)]
    apart = draws_of_rows(rows)
    assert classes_of(apart) == [(1, -1), (1, 0), (2, 1)]
    assert any("counted" in remark or "count as different" in remark for remark in apart.remarks)
    assert classes_of(draws_of_rows([row(answer="A"), row(answer="a", correct=False)])) == [(1, 0), (1, 1)], (
        "case counts"
    )


def test_the_task_says_which_answers_are_equal() -> None:
    rows = [row(answer="1/2"), row(answer="0.5"), row(answer="2", correct=False), row(answer=None, correct=False)]
    assert classes_of(draws_of_rows(rows, classes=recorded.equality("math"))) == [(1, 0), (2, 1)]
    assert draws_of_rows(rows).draws.abstentions.tolist() == [1]


def test_numbers_as_answers_and_blank_answers() -> None:
    found = draws_of_rows([row(answer=42), row(answer="42"), row(answer="  ", correct=False), row(7, None, None)])
    assert classes_of(found) == [(2, 1)]
    assert found.draws.keys == ("7", "p")
    assert found.draws.unverified.tolist() == [1, 0]


def test_a_sample_number_given_twice_names_both_lines(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", [row(sample=0), row("q", sample=0), row(sample=1)])
    assert read([first]).rows == 3
    second = write(tmp_path / "b.jsonl", [row(), row(sample=1)])
    with pytest.raises(UsageError, match=rf"{second}:2: field 'sample': 1 of problem 'p' is also at {first}:3"):
        read([first, second])


def test_rows_without_a_number_are_numbered_in_order() -> None:
    assert draws_of_rows([row(), row(), row(sample=0)]).draws.n.tolist() == [3]


def test_scores_are_chosen_by_scorer() -> None:
    rows = [row(scores={"a": 0.1, "b": [0.2, 0.4]}), row(answer="2", correct=False, scores={"a": 0.9, "b": None})]
    both = draws_of_rows(rows)
    assert both.scorer is None
    assert both.scorers == ("a", "b")
    assert any("--scorer" in remark for remark in both.remarks)
    each = draws_by_scorer(rows, ["b", "none", "a"])
    assert list(each) == ["b", "a"]
    assert all(np.array_equal(each[s].draws.scores, draws_of_rows(rows, scorer=s).draws.scores) for s in each)
    found = draws_of_rows(rows, scorer="b").draws.scores
    assert found is not None
    assert sorted(found.tolist()) == [-np.inf, pytest.approx(0.3)]
    with pytest.raises(UsageError, match="unknown scorer 'c'"):
        draws_of_rows(rows, scorer="c")
    with pytest.raises(UsageError, match="no row has a score"):
        draws_of_rows([row()], scorer="a")
    assert draws_of_rows([row(score=0.5, scores={"a": 0.1, "b": 1})]).scorer == "score"


def test_shuffled_rows_give_the_same_bytes() -> None:
    draw = random.Random(5)
    rows = [
        row(
            f"p{i}", draw.choice(["1", "1 ", "2", "3", None]), None, tokens=draw.randint(1, 99) / 7, score=draw.random()
        )
        for i in range(12)
        for _ in range(draw.randint(3, 9))
    ]
    for one in rows:
        one["correct"] = draw.choice([True, None]) if one["answer"] == "1" else one["answer"] == "1 " or None
    want = None
    for _ in range(5):
        draw.shuffle(rows)
        got = json.dumps(curves.document(draws_of_rows(rows)))
        want = want or got
        assert got == want


def test_tokens_are_means_a_problem_and_a_scorer_is_paid_where_it_is_used() -> None:
    rows = [
        row(tokens=10, scorer_tokens=2, score=1),
        row(answer="2", correct=False, tokens=30, scorer_tokens=4, score=0),
    ]
    found = curves.document(draws_of_rows(rows))["curves"]
    assert [p["tokens"] for p in found["pass"]] == [20, 40]
    assert [p["tokens"] for p in found["best_of_n"]] == [23, 46]
    assert curves.document(draws_of_rows([row()]))["curves"]["pass"][0]["tokens"] is None


def test_problems_with_fewer_samples_drop_out_above_their_n() -> None:
    rows = [row("a"), row("a", "2", False), *(row("b", "1", True) for _ in range(4))]
    points = curves.document(draws_of_rows(rows))["curves"]["pass"]
    assert [(p["k"], p["problems"]) for p in points] == [(1, 2), (2, 2), (4, 1)]
    only = curves.document(draws_of_rows([row(correct=None), row()]))["curves"]["pass"]
    assert (only[1]["value"], only[1]["problems"], only[1]["low"]) == (None, 0, None)


def test_unverified_samples_are_reported_both_ways() -> None:
    found = curves.document(draws_of_rows([row(), row(answer="2", correct=None)]))
    point = found["curves"]["pass"][0]
    assert (point["value"], point["value_all"], found["unverified"]) == (1.0, 0.5, 1)


def test_refused_chains_are_no_samples() -> None:
    found = draws_of_rows([row(), row(answer=None, correct=False, finish="refused")])
    assert found.rows == 1
    assert any("refused" in remark for remark in found.remarks)


def test_negative_scores_leave_the_weighted_vote_out() -> None:
    found = curves.document(draws_of_rows([row(score=-1), row(answer="2", correct=False, score=2)]))
    assert list(found["curves"]) == ["pass", "maj", "best_of_n"]
    assert any("weighted" in remark for remark in found["remarks"])


FIXED, ADAPTIVE, TREE = "sample/fixed/4/vote", "sample/adaptive/8/vote", "beam/fixed/4/vote"


def test_arms_of_interchangeable_draws_are_read() -> None:
    choose = recorded.chooser(None)
    assert choose([(FIXED,), ("sample/fixed/16/vote", FIXED), (ADAPTIVE, FIXED)]) == [True, True, True]
    assert choose([("mine",), ("mine",)]) == [True, True]
    assert choose([()]) == [True]


def test_trees_and_adaptive_draws_are_never_subsampled() -> None:
    for arm in (TREE, ADAPTIVE):
        with pytest.raises(UsageError, match=rf"{arm}.*not interchangeable.*--arm {FIXED}"):
            recorded.chooser(None)([(FIXED,), (arm,)])
        with pytest.raises(UsageError, match="not interchangeable"):
            recorded.chooser(arm)([(FIXED,), (arm,)])
    assert recorded.chooser(FIXED)([(FIXED,), (TREE,), (ADAPTIVE, FIXED)]) == [True, False, True]
    assert recorded.chooser("sample")([(FIXED,), (TREE,), (ADAPTIVE,)]) == [True, False, False]


def test_different_labels_need_a_choice() -> None:
    with pytest.raises(UsageError, match="choose one with --arm"):
        recorded.chooser(None)([("before",), ("after",)])
    assert recorded.chooser("after")([("before",), ("after",)]) == [False, True]
    with pytest.raises(UsageError, match="did you mean 'after'"):
        recorded.chooser("aftr")([("before",), ("after",)])


def test_a_hundred_thousand_rows_are_read_in_seconds_and_little_memory() -> None:
    import tracemalloc

    def rows(count: int) -> Any:
        return (row(f"p{i // 50}", str(i % 7), i % 7 == 0, sample=i % 50, text="x" * 2000) for i in range(count))

    tracemalloc.start()
    try:
        found = draws_of_rows(rows(20_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.draws.problems == 400
    assert peak < 20e6, "texts must not be kept"
