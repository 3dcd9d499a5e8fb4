"""Tasks by name. To add one: its file, and one line in TASKS (or in FAMILIES, for names of the form 'prefix:rest').

load_task("gsm8k")            problems and rules, from where the set is found
load_task("mine.jsonl")       the user's own file
load_rules("number")          rules alone, which load no data: what `ponder verify` uses
single("6 × 7 = ?", "math")   one problem without a reference: what `ponder solve` uses
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ponder import errors
from ponder.types import Problem, Verdict, unverified

if TYPE_CHECKING:
    from ponder.tasks.base import Rules, Task


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered task. `kind`: the rules that hold for all its problems, by kind or as
    'module:class' where the task has its own. `load`: 'module:function', imported when it
    is called; '' if the task is rules alone and has no problems. `options`: keywords that `load` takes."""

    about: str
    kind: str
    load: str = ""
    options: tuple[str, ...] = ()


TASKS: dict[str, Entry] = {
    "text": Entry("any text, compared after NFKC with white space collapsed", "text"),
    "number": Entry("plain numbers, compared exactly", "number"),
    "math": Entry("competition mathematics, MATH-500", "math", "ponder.tasks.mathset:load", ("path", "split")),
    "choice": Entry("multiple choice, one letter", "choice"),
    "code": Entry(
        "programs in Python, judged by tests; MBPP, HumanEval or a file",
        "ponder.tasks.code:CodeRules",
        "ponder.tasks.codesets:load",
        ("set", "path", "sandbox", "cpu", "memory", "written"),
    ),
    "gsm8k": Entry(
        "grade-school mathematics, 1,319", "ponder.tasks.gsm8k:GSM8KRules", "ponder.tasks.gsm8k:load", ("path", "split")
    ),
    "proof": Entry(
        "theorems to prove in Rocq (Coq), or Lean by reference",
        "ponder.tasks.proof:ProofRules",
        "ponder.tasks.proof:load",
        ("path", "need", "goals", "sandbox", "cpu", "memory"),
    ),
    "arc": Entry(
        "ARC-AGI-1: grids, two attempts", "ponder.tasks.arc:ArcRules", "ponder.tasks.arc:load", ("split", "set")
    ),
    "countdown": Entry(
        "reach a target with given numbers; generated",
        "ponder.tasks.countdown:CountdownRules",
        "ponder.tasks.countdown:Countdown",
        ("numbers", "high", "low_target", "high_target", "most", "split", "seed", "walks", "fold"),
    ),
    "arithmetic": Entry(
        "the value of an expression, step by step; generated",
        "ponder.tasks.arithmetic:ArithmeticRules",
        "ponder.tasks.arithmetic:Arithmetic",
        ("terms", "high", "most", "split", "seed"),
    ),
}
"""Tasks by name."""

FAMILIES: dict[str, Entry] = {
    "puzzles": Entry(
        "a set of reasoning-gym's puzzles by name; generated",
        "ponder.tasks.puzzles:PuzzleRules",
        "ponder.tasks.puzzles:load",
        ("size", "seed", "config", "sandbox"),
    ),
    "simulated": Entry("a simulated world's problems, with known truth", "number", "ponder.tasks.simulated:build"),
}
"""Tasks named 'prefix:rest', by prefix; `load` gets the rest as its first argument."""


def load_task(name: str, options: Mapping[str, Any] | None = None) -> Task:
    """The task of a registered name ('gsm8k', 'prefix:rest') or of a path to JSONL or CSV.

    Raises UsageError if the name or an option is unknown, the file is absent or bad, the data set is found nowhere, or
    the task is rules alone.
    """
    options = dict(options or {})
    entry, rest = _find(name)
    known = entry.options if entry is not None else ()
    for option in options:
        if option not in known:
            raise errors.unknown(f"option of task {name!r}:", option, known or ["none"])
    if entry is None:
        from ponder.tasks.files import load_file

        return load_file(name)
    if not entry.load:
        raise errors.UsageError(f"task {name!r} is rules alone, without problems; give a file, as in --task mine.jsonl")
    module, _, function = entry.load.partition(":")
    load = getattr(importlib.import_module(module), function)
    task: Task = load(*rest, **options)
    return task


def load_rules(name: str) -> Rules:
    """The rules of a task, without its data set; of a file, the rules that hold for all its rows.

    Raises UsageError if the name is unknown, or the file is absent, bad, or has rows of several kinds.
    """
    entry, _ = _find(name)
    if entry is None:
        from ponder.tasks.files import file_rules

        return file_rules(name)
    module, colon, own = entry.kind.partition(":")
    if colon:
        rules: Rules = getattr(importlib.import_module(module), own)()
        return rules
    from ponder.tasks.rules import rules_for

    return rules_for(entry.kind)


def single(text: str, task: str = "text") -> Single:
    """A task of one problem without a reference. Raises UsageError as load_rules, or if the text is empty."""
    if not text.strip():
        raise errors.UsageError("the problem is empty; give its text, or - and the text on standard input")
    return Single(text, load_rules(task), task)


class Single:
    """One problem, with id 'problem', that nobody has a reference for: every verdict is unverified."""

    def __init__(self, text: str, rules: Rules, name: str = "text") -> None:
        self.name = name
        self._rules = rules
        self.problem = Problem("problem", text, rules.messages(text))

    def __len__(self) -> int:
        return 1

    def problems(self, limit: int | None = None) -> Iterator[Problem]:
        return iter(() if limit is not None and limit < 1 else (self.problem,))

    def rules(self, problem_id: str) -> Rules:
        return self._rules

    def verify(self, problem_id: str, completion: str) -> Verdict:
        return unverified("no reference was given")

    def valid_steps(self, problem_id: str, text: str) -> list[bool] | None:
        return None


def _find(name: str) -> tuple[Entry | None, tuple[str, ...]]:
    """The entry of a name and what its loader gets first, or (None, ()) for a file that is there."""
    if name in TASKS:
        return TASKS[name], ()
    prefix, colon, rest = name.partition(":")
    if colon and prefix in FAMILIES:
        return FAMILIES[prefix], (rest,)
    path = Path(name)
    if path.suffix.lower() in (".jsonl", ".csv") or "/" in name or os.sep in name or path.is_file():
        if not path.is_file():
            found = "is a folder" if path.is_dir() else "no such file"
            raise errors.UsageError(f"task {name!r}: {found}; give a .jsonl or .csv file, or a name (see ponder tasks)")
        return None, ()
    raise errors.unknown("task", name, [*TASKS, *(f"{prefix}:" for prefix in FAMILIES)])
