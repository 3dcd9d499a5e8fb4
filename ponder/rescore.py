"""Scores for samples that are recorded already: rows go in, the same rows come out with what a scorer says of them.

A row's chain is rebuilt from its `text` and, where they mean that text, its `ids`. A scorer that reads prompts needs
the problem, too: the row's own `prompt`, or its `question` in the task's wording, else the task's problem of that id.
Rows are read some at a time, scored together and given back in order, so memory does not grow with the file.
"""

from __future__ import annotations

import inspect
import math
import tomllib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, cast, get_args

from ponder import building
from ponder.errors import UsageError
from ponder.journal import dumps
from ponder.measure.rows import BadRow, kind, problem_of, read_lines, scores_of, whole
from ponder.recorded import located
from ponder.scorers.base import Scorer, Seen
from ponder.settings import Settings, read_toml
from ponder.tasks import TASKS, load_rules, load_task
from ponder.tasks.base import Rules, Task
from ponder.tasks.equations import Generated
from ponder.types import Chain, Finish, Message, Problem, Rating, Segment

LOOP = "countdown"
"""The task of `ponder loop`."""
BATCH = 512
"""Rows that are scored together."""


# --- what was asked -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Source:
    """Where prompts come from if rows do not have them: `name` of a task (None: nowhere) and how it is loaded. `limit`
    and `seed`: the run's own."""

    name: str | None = None
    load: Callable[[], Task] | None = None
    limit: int | None = None
    seed: int = 0


def source(path: str | Path, task: str | None, options: Mapping[str, Any]) -> Source:
    """Of --task, else of the run whose samples these are. Raises UsageError if the run's recipe cannot be read."""
    found = _of_run(Path(path)) if str(path) != "-" else Source()
    return found if task is None else Source(task, lambda: load_task(task, options), None, found.seed)


def _of_run(path: Path) -> Source:
    """A file beside a run's own samples is of the run, too."""
    folder = path if path.is_dir() else path.parent
    recipe = folder / "recipe.toml"
    if not recipe.is_file() or not (folder / "samples.jsonl").is_file():
        return Source()
    try:
        values = tomllib.loads(recipe.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{recipe}: cannot be read ({error}); restore it, or name the sample file alone") from None
    if isinstance(values.get("task"), dict):
        return _of_loop(values)
    settings = Settings(**{key: value for key, (value, _) in read_toml(recipe).items()})
    return Source(settings.task, lambda: building.task(settings, True), settings.limit, settings.seed)


def _of_loop(values: Mapping[str, Any]) -> Source:
    """The test problems of `ponder loop`, as its recipe has them."""
    options = {key: value for key, value in values["task"].items() if key in TASKS[LOOP].options}
    options |= {"seed": values.get("seed", 0)}
    return Source(LOOP, lambda: load_task(LOOP, options), None, options["seed"])


class Problems:
    """The problems of rows. The task is loaded when a row first needs it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._task: Task | None = None
        self._rules: Rules | None = None
        self._by_id: dict[str, Problem] = {}

    def of(self, row: Mapping[str, Any], where: str) -> Problem:
        """What the row's chain answers. Raises BadRow, or UsageError where no row like it can be understood."""
        name, question = problem_of(row), row.get("question")
        if row.get("prompt") is not None:
            messages = _messages(row["prompt"])
            own = self._found(name) if self._holds_problems else None  # states are read off the task's own words
            return Problem(name, own.text if own else "\n\n".join(m.content for m in messages), messages)
        if isinstance(question, str):
            return Problem(name, question, self.rules(name).messages(question))
        if question is not None:
            raise BadRow(f"field 'question': is {kind(question)}; give the problem's text")
        if self.source.name is None:
            raise UsageError(
                f"{where}: what problem {name!r} asked is not known; give --task, or rows with 'prompt' or 'question'"
            )
        if (found := self._found(name)) is None:
            raise BadRow(f"field 'problem': task {self.source.name!r} has no {name!r}; give the task that was sampled")
        return found

    def rules(self, name: str) -> Rules:
        """The rules that hold for a problem; plain ones if no task is known."""
        if self._task is not None:
            try:
                return self._task.rules(name)
            except KeyError:
                raise BadRow(f"field 'problem': task {self.source.name!r} has no {name!r}") from None
        if self._rules is None:
            self._rules = load_rules(self.source.name) if self.source.name else Rules()
        return self._rules

    @property
    def _holds_problems(self) -> bool:
        name = self.source.name
        return name is not None and (name not in TASKS or bool(TASKS[name].load))

    def _found(self, name: str) -> Problem | None:
        if self._task is None:
            assert self.source.load is not None
            self._task = self.source.load()
            if not isinstance(self._task, Generated):
                self._by_id = {problem.id: problem for problem in self._task.problems(self.source.limit)}
        if not isinstance(self._task, Generated):
            return self._by_id.get(name)
        try:
            rules = self._task.rules(name)
        except KeyError:
            return None
        text = self._task.text(name.partition(":")[2])
        return Problem(name, text, rules.messages(text))


def _messages(prompt: object) -> tuple[Message, ...]:
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    if isinstance(prompt, list) and prompt and all(isinstance(turn, dict) for turn in prompt):
        turns = [(turn.get("role"), turn.get("content")) for turn in prompt]
        if all(isinstance(role, str) and isinstance(content, str) for role, content in turns):
            return tuple(Message(role, content) for role, content in turns)
    raise BadRow("field 'prompt': is neither text nor messages; give text, or a list of {role, content}")


# --- what was written ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Item:
    """A row that can be scored: its chain, and the problem and seed that a scorer may look at."""

    row: Mapping[str, Any]
    chain: Chain
    seen: Seen
    where: str


def chain_of(row: Mapping[str, Any], key: str, problem: Problem, *, needs_text: bool) -> Chain:
    """The chain that a row tells of. Without a finish it ended by itself. Raises BadRow."""
    text, ids, logprobs = row.get("text"), row.get("ids"), row.get("logprobs")
    finish = row.get("finish", "stop")
    finish = finish if finish in get_args(Finish) else "stop" if finish is None else "length"
    chain = replace(problem.root, key=key, finish=cast(Finish, finish))
    if text is None and needs_text and chain.drawn:
        raise BadRow("field 'text': missing; a chain is scored by its text")
    if text is not None and not isinstance(text, str):
        raise BadRow(f"field 'text': is {kind(text)}; give what the model wrote")
    if ids is not None and not (isinstance(ids, list) and all(type(i) is int and i >= 0 for i in ids)):
        raise BadRow("field 'ids': is no list of token ids; leave it out to have the text tokenised")
    if logprobs is not None and not (isinstance(logprobs, list) and all(map(_finite, logprobs))):
        raise BadRow("field 'logprobs': is no list of numbers; give one a token, or leave it out")
    if ids is not None and logprobs is not None and len(ids) != len(logprobs):
        raise BadRow(f"field 'logprobs': has {len(logprobs)} numbers for {len(ids)} ids; give one a token")
    if not text and not ids and not logprobs:
        return chain
    segment = Segment(
        text or "", ids=None if ids is None else tuple(ids), logprobs=None if logprobs is None else tuple(logprobs)
    )
    return replace(chain, segments=(segment,))


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


# --- scoring ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Summary:
    """What came of it. `tokens`: read by the scorer. `bad`: a message for each row that could not be used."""

    scorer: str
    scored: int = 0
    unscorable: int = 0
    tokens: int = 0
    bad: list[str] = field(default_factory=list)
    _problems: dict[str, int] = field(default_factory=dict)
    _problem: array[int] = field(default_factory=lambda: array("q"))
    _correct: array[int] = field(default_factory=lambda: array("b"))
    _value: array[float] = field(default_factory=lambda: array("d"))

    def add(self, row: Mapping[str, Any], problem: str, rating: Rating) -> None:
        self.tokens += rating.tokens
        if rating.value is None:
            self.unscorable += 1
            return
        self.scored += 1
        if isinstance(row.get("correct"), bool):
            self._problem.append(self._problems.setdefault(problem, len(self._problems)))
            self._correct.append(row["correct"])
            self._value.append(rating.value)

    def auroc(self) -> dict[str, float | None] | None:
        """Within problems, over the rows that are scored and verified, with its 95 % interval over problems; None if
        no problem has a correct and a wrong one."""
        groups: list[tuple[list[bool], list[float]]] = [([], []) for _ in self._problems]
        for problem, correct, value in zip(self._problem, self._correct, self._value, strict=True):
            groups[problem][0].append(bool(correct))
            groups[problem][1].append(value)
        groups = [group for group in groups if len({*group[0]}) == 2]
        if not groups:
            return None
        from ponder.measure.agreement import auroc
        from ponder.measure.data import Draws

        truth, values = zip(*groups, strict=True)
        found = auroc(Draws.of([[None] * len(own) for own in truth], truth, values))
        numbers = {"value": float(found.value), "low": float(found.low), "high": float(found.high)}
        return {name: number if math.isfinite(number) else None for name, number in numbers.items()}


def rescore(path: str | Path, scorer: Scorer, source: Source, write: Callable[[str], Any]) -> Summary:
    """Scores the rows of a file or run folder ('-': standard input) and writes each, in order, as a line of JSON. Rows
    that cannot be used are named in the summary. Raises UsageError if none can, if it is nowhere said what was asked,
    or if the scorer would have to ask a model."""
    summary, problems, name = Summary(scorer.name), Problems(source), str(located(path))
    scorer.needs  # noqa: B018  (a trained scorer opens its folder here, before the first row)
    items: list[Item] = []

    def flush() -> None:
        for item, rating in zip(items, _ratings(scorer, items), strict=True):
            try:
                line = dumps(scored(item.row, scorer, rating))
            except ValueError:
                summary.bad.append(f"{item.where}: a field holds NaN or infinity; write null")
                continue
            summary.add(item.row, item.chain.problem, rating)
            write(line + "\n")
        items.clear()

    for line, row in read_lines(name):
        where = f"{name}:{line}"
        try:
            items.append(_item(row, line, scorer, problems, where))
        except BadRow as error:
            summary.bad.append(f"{where}: {error}")
        if len(items) == BATCH:
            flush()
    flush()
    if not summary.scored + summary.unscorable:
        told = f"no row can be used; {summary.bad[0]}" if summary.bad else "no rows; give a JSONL file of sample rows"
        raise UsageError(f"{name}: {told}")
    return summary


def _item(row: Mapping[str, Any] | BadRow, line: int, scorer: Scorer, problems: Problems, where: str) -> Item:
    """A pure scorer is a function of the chain and its key, as the run named it; what it was asked is not needed. For
    others a row's line is its key, so that no two rows are taken for one chain."""
    if isinstance(row, BadRow):
        raise row
    scores_of(row)
    whole(row, "scorer_tokens")
    if not isinstance(steps := row.get("steps", []), list) or not all(isinstance(step, dict) for step in steps):
        raise BadRow("field 'steps': is no list of objects; leave it out")
    sample = whole(row, "sample")
    own = row.get("key") if isinstance(row.get("key"), str) else f"e{sample if sample >= 0 else line}"
    problem = Problem(problem_of(row), "") if scorer.pure else problems.of(row, where)
    chain = chain_of(row, str(own) if scorer.pure else f"e{line}", problem, needs_text=not scorer.pure)
    if chain.segments and not scorer.pure:
        rules = problems.rules(problem.id)
        where_it_stands = rules.stood if chain.ended else rules.state
        chain = replace(chain, state=where_it_stands(problem.text, chain.reply))
    seed = row.get("seed")
    return Item(row, chain, Seen(problem, seed if type(seed) is int else problems.source.seed), where)


def _ratings(scorer: Scorer, items: Sequence[Item]) -> Iterator[Rating]:
    """In one call where the scorer takes chains of several problems, else a call for each run of rows of a problem."""
    mixes = getattr(scorer, "mixes", False)
    for _, group in groupby(items, key=lambda item: None if mixes else (item.seen.problem.id, item.seen.seed)):
        own = list(group)
        found = scorer.rate(own[0].seen, [item.chain for item in own])
        if inspect.isgenerator(found):
            found.close()
            raise UsageError(
                f"--scorer {scorer.name}: asks a model; use `ponder eval --replay RUN --select best --scorer "
                f"{scorer.name}` with an engine"
            )
        yield from cast(Iterable[Rating], found)


def scored(row: Mapping[str, Any], scorer: Scorer, rating: Rating) -> dict[str, Any]:
    """The row with a rating. `score`, and the scores of its steps, are this scorer's if they were already or if there
    were none; what was read is added to `scorer_tokens` unless this scorer had read the row before."""
    known = row.get("scores") or {}
    before = known.get(scorer.name)
    ours = row.get("score") is None or (before is not None and row["score"] == before)
    found = {**row, "scores": {**known, scorer.name: rating.value}}
    if ours:
        found["score"] = rating.value
    if scorer.name not in known or row.get("scorer_tokens") is None:
        found["scorer_tokens"] = (row.get("scorer_tokens") or 0) + rating.tokens
    steps = row.get("steps") or [{"text": text} for text in cut(str(row.get("text") or ""), _delimiter(scorer))]
    if rating.steps and len(steps) == len(rating.steps) and (ours or all(s.get("score") is None for s in steps)):
        found["steps"] = [{**step, "score": score} for step, score in zip(steps, rating.steps, strict=True)]
    return found


def _delimiter(scorer: Scorer) -> str:
    checkpoint = getattr(scorer, "checkpoint", None)
    return str(checkpoint.sheet.delimiter) if checkpoint is not None else Rules.delimiter


def cut(text: str, delimiter: str) -> list[str]:
    """A text's steps, each with its delimiter; white space after the last belongs to the step before it."""
    parts = text.split(delimiter)
    steps = [part + delimiter for part in parts[:-1]] + parts[-1:]
    if len(steps) > 1 and not steps[-1].strip():
        steps[-2:] = [steps[-2] + steps[-1]]
    return steps if text else []
