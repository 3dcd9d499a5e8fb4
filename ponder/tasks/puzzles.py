"""Puzzles: the procedural tasks of reasoning-gym by name, judged by their own scorers.

    --task puzzles:chain_sum            --set puzzles.seed=7   --set 'puzzles.config={"min_terms": 2}'

Stojanovski et al. 2025, 'Reasoning Gym', arXiv 2505.24760. A reference says how its problem is generated, so it holds
nothing that a scorer would have to trust: {"name", "seed", "size", "index", "config", "version", "question"}, the last
being a hash of the text. The scorers run in a process of their own (`puzzle_server.py` says why).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ponder.errors import UsageError, unknown
from ponder.sandbox import Broken, bwrap, chosen
from ponder.tasks.base import Row, RowTask
from ponder.tasks.puzzlecheck import shared
from ponder.tasks.rules import NO_ANSWER, Spelled, TextRules
from ponder.types import Verdict, correct, unverified, wrong

INSTALL = "reasoning-gym is not installed; pip install 'ponder[puzzles]'"
FIELDS: dict[str, type] = {
    "name": str, "seed": int, "size": int, "index": int, "config": str, "version": str, "question": str,
}  # fmt: skip
MAX_CHARACTERS = 100_000
"""Characters that an answer may have."""

_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


class PuzzleRules(Spelled):
    """Puzzles. The answer is what stands between the last `<answer>` and `</answer>`, as the set asks for it, which may
    be nothing; without these, as of text: the last `\\boxed{…}`, '#### …' or 'Answer: …', else all of it. Answers are
    equal if their texts are.

    Correct: the set's scorer gives 1, and where it gives that to wrong answers, what `puzzle_server.STRICTER` asks
    holds besides. A score below 1 is no reward, but is named in the reason.
    """

    kind = "puzzle"
    structured = True
    sandboxed = True
    pure = False
    instruction = (
        "Think step by step. Then give the final answer alone, in exactly the form that was asked for, between "
        "<answer> and </answer>."
    )

    def __init__(self, *, sandbox: str = "") -> None:
        self._mode = sandbox

    def with_sandbox(self, mode: str) -> PuzzleRules:
        return PuzzleRules(sandbox=mode)

    def extract(self, text: str) -> str | None:
        """The answer, without white space around it; None if there is none."""
        tagged: list[str] = _TAG.findall(text)
        if tagged:
            return tagged[-1].strip()
        return None if "<answer>" in text else TextRules().extract(text)

    def canonical(self, answer: str) -> str:
        """The text without white space around it."""
        return answer.strip()

    def check_reference(self, reference: Any) -> str | None:
        """None if `reference` names a problem, else what is wrong with it. Nothing is generated."""
        found = _parsed(reference)
        return found if isinstance(found, str) else None

    def judge(self, reference: Any, completion: str) -> Verdict:
        """Asks the set's scorer. A completion without an answer is wrong."""
        answer = self.extract(completion)
        if answer is None:
            return wrong(NO_ANSWER)
        if len(answer) > MAX_CHARACTERS:
            return wrong(f"the answer has {len(answer)} characters")
        asked = _parsed(reference)
        if isinstance(asked, str):
            return unverified(f"the reference {asked}")
        if importlib.util.find_spec("reasoning_gym") is None:
            return unverified(INSTALL)
        if asked["version"] != (here := version()):
            return unverified(f"the problem was made by reasoning-gym {asked['version']}, here is {here}")
        try:
            found = shared(self._mode).ask({**asked, "answer": answer})
        except (Broken, OSError) as error:
            return unverified(f"no scorer: {error}")
        if "fault" in found:
            return unverified(f"the problem cannot be made again: {found['fault']}")
        if found["question"] != asked["question"]:
            return unverified("the problem comes out otherwise here than where it was made")
        if "late" in found:
            return unverified("the scorer was killed, or did not get its processor time")
        if "failed" in found:
            return wrong(str(found["failed"]))
        score = float(found["score"])
        return correct("the set's scorer gives 1") if score >= 1 else wrong(f"the set's scorer gives {score:.3g} of 1")


def _parsed(reference: Any) -> dict[str, Any] | str:
    """The reference, or what is wrong with it."""
    if isinstance(reference, str):
        try:
            reference = json.loads(reference)
        except (ValueError, RecursionError):
            return "is no JSON object"
    if not isinstance(reference, Mapping):
        return f"is no object with {', '.join(FIELDS)}"
    found: dict[str, Any] = {}
    for name, kind in FIELDS.items():
        value = reference.get(name)
        if isinstance(value, bool) or not isinstance(value, kind):
            return f'"{name}" is missing' if value is None else f'"{name}" is {str(value)[:40]!r}, not of its kind'
        found[name] = value
    return found


# --- problems


class PuzzleTask(RowTask):
    """Problems of one set, each generated when it is asked for. `common`: what their references share.

    Raises UsageError if the set refuses its settings."""

    def __init__(self, common: Mapping[str, Any], sandbox: str = "") -> None:
        super().__init__(f"puzzles:{common['name']}", [])
        self._its_rules, self._common, self._sandbox = PuzzleRules(sandbox=sandbox), common, sandbox
        self._golds: dict[str, str | None] = {}
        self._numbers = {f"{self.name}:{common['seed']}:{index}": index for index in range(common["size"])}
        self._row(next(iter(self._numbers)))

    def __len__(self) -> int:
        return len(self._numbers)

    def gold(self, problem_id: str) -> str | None:
        """A right answer, where the set has one, for tests and examples."""
        self._row(problem_id)
        return self._golds[problem_id]

    def _ids(self) -> Iterable[str]:
        return self._numbers

    def _row(self, problem_id: str) -> Row:
        if problem_id not in self._rows:
            asked = {**self._common, "index": self._numbers[problem_id]}
            made = _made(asked, self._sandbox)
            self._golds[problem_id] = made["gold"]
            reference = {**asked, "question": made["question"]}
            self._rows[problem_id] = Row(problem_id, made["text"], reference, self._its_rules, asked["name"])
        return self._rows[problem_id]


def load(name: str = "", size: int = 200, seed: int = 0, config: Any = "{}", sandbox: str = "") -> PuzzleTask:
    """`size` problems of a set, generated from the seed, with ids 'puzzles:NAME:SEED:INDEX'. `config`: settings of the
    set itself, an object or JSON of one.

    Raises UsageError if reasoning-gym is missing, the set is unknown, or it refuses its settings.
    """
    known = names()
    if name not in known:
        raise unknown("set of puzzles:", name, known)
    chosen(sandbox)
    settings = _settings(name, config)
    for option, given, low in (("size", size, 1), ("seed", seed, 0)):
        if isinstance(given, bool) or not isinstance(given, int) or not low <= given < 2**31:
            raise UsageError(f"puzzles.{option}={given!r}: give a whole number from {low} to {2**31 - 1}")
    common = {"name": name, "seed": seed, "size": size, "config": json.dumps(settings), "version": version()}
    return PuzzleTask(common, sandbox)


def names() -> list[str]:
    """The sets that reasoning-gym has. Raises UsageError if it is missing."""
    if importlib.util.find_spec("reasoning_gym") is None:
        raise UsageError(f"task puzzles: {INSTALL}")
    found: list[str] = _made({})["names"]
    return found


def _made(asked: dict[str, Any], sandbox: str = "") -> dict[str, Any]:
    """What the server says. It reads no text of a model's here, so it may run without a sandbox where there is none."""
    try:
        made = shared("none" if bwrap.missing() else sandbox).ask(asked)
    except (Broken, OSError) as error:
        raise UsageError(f"task puzzles: {error}; see ponder doctor") from None
    if "fault" in made:
        raise UsageError(f"task puzzles:{asked.get('name', '')}: {made['fault']}; see puzzles.config")
    return made


def version() -> str:
    """Of the reasoning-gym that is installed."""
    return importlib.metadata.version("reasoning_gym")


def _settings(name: str, config: Any) -> dict[str, Any]:
    try:
        found = json.loads(config) if isinstance(config, str) else config
    except ValueError:
        found = None
    if not isinstance(found, dict) or {"seed", "size"} & set(found):
        raise UsageError(
            f"puzzles.config={config!r}: give JSON of an object with settings of {name}, without seed and size"
        )
    return found
