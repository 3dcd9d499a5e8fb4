"""What training reads beside problems: completions to imitate, and the sample rows of earlier runs.

Both are read and checked before weights are loaded; a bad line is refused with its number. Rows on test problems are
refused: what is learned from them could not be measured on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ponder.draws import generator
from ponder.engines.hf.text import Texts
from ponder.errors import UsageError
from ponder.tasks import arithmetic, countdown, files
from ponder.train.batches import Example
from ponder.train.distill import Found
from ponder.training.problems import Split
from ponder.training.recipe import Recipe
from ponder.types import TRUNCATED, Chain, Message, Problem


@dataclass(frozen=True, slots=True)
class Written:
    """A completion to imitate, and the chain that it extends."""

    root: Chain
    completion: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """One sample row. `ids`: of the completion, where the row has them."""

    problem: Problem
    text: str
    ids: tuple[int, ...] | None
    correct: bool | None
    score: float | None
    finish: str | None


def completions(recipe: Recipe, split: Split) -> list[Written]:
    """What `sft` imitates: the lines of its file, or worked solutions. Raises UsageError."""
    own = recipe.own
    if not own.data:
        return [Written(p.root, text) for p in split.train for text in worked(recipe, p, own.each)]
    tests = {problem.text for problem in split.test} | {m.content for p in split.test for m in p.messages}
    rules = split.task.rules(next(iter(split.pool)))
    found = []
    for line, fields in _lines(recipe, "data"):
        where = f"{own.data}:{line}: "
        if "problem" in fields:
            text = _text(fields, "problem", where)
            root = Problem("", text, rules.messages(text)).root
        else:
            text = _text(fields, "prompt", where)
            root = Chain("", prompt=(Message("user", text),))
        if text in tests:
            raise UsageError(f"{where}is a test problem, so training and testing would overlap; leave it out")
        found.append(Written(root, _text(fields, "completion", where)))
    return found


def worked(recipe: Recipe, problem: Problem, each: int) -> Iterator[str]:
    """Solutions by the task's own method, all different. Raises UsageError for a task that has none."""
    if recipe.task == "arithmetic":
        yield arithmetic.solution(problem.text)
    elif recipe.task == "countdown":
        target, _, given = problem.text.partition(":")
        numbers = [int(word) for word in given.replace(";", "").split()]
        draw = generator(recipe.seed, "demonstrations", problem.id)
        most = recipe.settings.get("most", 30)
        walks = (countdown.solution(numbers, int(target), draw, most) for _ in range(each))
        yield from dict.fromkeys(walk for walk in walks if walk is not None)
    else:
        raise UsageError(
            f"{recipe.place.at('sft', '')}: task {recipe.task!r} has no worked solutions; give data = a JSONL file of "
            '{"problem", "completion"}'
        )


def examples(written: Sequence[Written], texts: Texts, end: int) -> list[Example]:
    """As the model is to write them, with the token that ends a chain."""
    return [Example.after(texts.ids(one.root), (*encoded(texts, one.completion), end)) for one in written]


def rows(recipe: Recipe, split: Split, path: str = "") -> list[Drawn]:
    """The sample rows in a file (default: the recipe's), all on training problems. Raises UsageError."""
    tests = {problem.id for problem in split.test}
    found = []
    for line, fields in _lines(recipe, "samples", path):
        where = f"{path or recipe.own.samples}:{line}: "
        name = _text(fields, "problem", where)
        if name in tests:
            raise UsageError(f"{where}{name!r} is a test problem, so training and testing would overlap; leave it out")
        if name not in split.pool:
            raise UsageError(f"{where}{name!r} is no training problem of this task; raise problems.train, or check it")
        ids, score, finish = fields.get("ids"), fields.get("score"), fields.get("finish")
        if ids is not None and not (isinstance(ids, list) and all(type(i) is int and i >= 0 for i in ids)):
            raise UsageError(f"{where}field 'ids': must be a list of token ids; leave it out")
        if score is not None and (not isinstance(score, (int, float, Decimal)) or isinstance(score, bool)):
            raise UsageError(f"{where}field 'score': must be a number or null")
        text = fields.get("text")
        if not isinstance(text, str):
            raise UsageError(f"{where}field 'text': missing; give rows with the chains' texts, as ponder writes them")
        correct = fields["correct"] if "correct" in fields else split.task.verify(name, text).correct
        if correct not in (True, False, None):
            raise UsageError(f"{where}field 'correct': must be true, false or null")
        worth = None if score is None else float(score)
        found.append(Drawn(split.pool[name], text, tuple(ids) if ids else None, correct, worth, finish))
    if not found:
        raise UsageError(f"{path or recipe.own.samples}: holds no row; give the samples.jsonl of a run")
    return found


def found(drawn: Sequence[Drawn], texts: Texts, end: int) -> list[Found]:
    """Chains that ended by themselves, for `distill`."""
    whole = [row for row in drawn if row.finish not in TRUNCATED and row.text]
    return [
        Found(row.problem.id, texts.ids(row.problem.root), ids_of(row, texts, end), row.correct, row.score)
        for row in whole
    ]


def ids_of(row: Drawn, texts: Texts, end: int) -> tuple[int, ...]:
    """The row's own ids if this tokenizer reads its text in them, else those of the text, ended unless it was cut."""
    if row.ids is not None and texts.decode(row.ids).strip() == row.text.strip():
        return row.ids
    return (*encoded(texts, row.text), *(() if row.finish in TRUNCATED else (end,)))


def encoded(texts: Texts, text: str) -> tuple[int, ...]:
    return tuple(texts.tokenizer(text, add_special_tokens=False)["input_ids"])


def _lines(recipe: Recipe, key: str, path: str = "") -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        yield from files.read_objects(path or getattr(recipe.own, key))
    except UsageError as error:
        raise error if path else UsageError(f"{recipe.place.at(recipe.method, key)}: {error}") from None


def _text(fields: dict[str, Any], name: str, where: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{where}field {name!r}: {'missing' if value is None else 'must be text'}; see `ponder train`")
    return value
