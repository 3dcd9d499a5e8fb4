"""Code: programs in Python, judged by running tests (MBPP, HumanEval and EvalPlus, LiveCodeBench, the user's own).

The program runs in `ponder.sandbox`, the tests where the program does not. A reference is the tests: text, a list of
texts, or {"tests": …, "entry_point": NAME}. A test is Python with assertions, which may call any top-level name of the
program, or, for programs that read standard input, JSON: {"input": …, "output": …}, a list of these, or
{"inputs": […], "outputs": […]}.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from ponder.errors import UsageError
from ponder.sandbox import Finding, Limits, shared
from ponder.sandbox.inside.names import Study, Unclear
from ponder.tasks.base import Rules
from ponder.tasks.publictests import written_calls
from ponder.types import Verdict, correct, unverified, wrong

NO_PROGRAM = "no program in the completion"
REMEMBERED = 4096
"""Programs whose values on the inputs are kept for votes."""


class ProgramTests:
    """A reference, read. `tests` are Python, or `pairs` are (input, expected output). Raises Unclear."""

    def __init__(self, reference: Any) -> None:
        self.entry = ""
        if isinstance(reference, str):
            reference = _from_json(reference)
        if isinstance(reference, dict) and "tests" in reference:
            entry = reference.get("entry_point") or ""
            if not isinstance(entry, str) or (entry and not entry.isidentifier()):
                raise Unclear("'entry_point' is not a name")
            self.entry = entry
            reference = reference["tests"]
            if isinstance(reference, str):
                reference = _from_json(reference)
        items = [reference] if isinstance(reference, (str, dict)) else reference
        if not isinstance(items, list) or not all(isinstance(item, (str, dict)) for item in items):
            raise Unclear("is neither text nor a list of texts")
        self.pairs: list[tuple[str, str]] = []
        self.tests: list[str] = []
        for item in items:
            found = _from_json(item) if isinstance(item, str) else item
            if isinstance(found, str):
                if found.strip():
                    self.tests.append(textwrap.dedent(found) if found[:1].isspace() else found)
            else:
                self.pairs += _pairs(found)
        if self.pairs and self.tests:
            raise Unclear("has tests in Python and pairs of input and output; give one kind")
        if not self.pairs and not self.tests:
            raise Unclear("is empty")

    def study(self) -> None:
        """Raises Unclear for tests that cannot be run, or that nothing could fail."""
        if self.tests and not Study(self.tests, self.entry).checks:
            raise Unclear("asserts nothing; write tests such as 'assert f(2) == 4'")


class CodeRules(Rules):
    """Programs in Python. The answer is the whole program: the last fenced block of the completion, else all of it.

    `inputs` are calls (or standard inputs, with `script`) by whose outcomes programs are told apart in votes, with at
    most `written` more calls of the same names that the programs at hand write themselves; without any, programs are
    equal if their texts are.
    """

    kind = "code"
    structured = True
    sandboxed = True
    pure = False
    instruction = "Write the whole program in Python, in one fenced code block."

    def __init__(
        self,
        inputs: Sequence[str] = (),
        *,
        entry: str = "",
        script: bool = False,
        written: int = 0,
        sandbox: str = "",
        limits: Limits | None = None,
    ) -> None:
        self._inputs, self._entry, self._script, self._written = tuple(inputs), entry, script, written
        self._mode, self._limits = sandbox, limits
        self._outcomes: OrderedDict[tuple[str, tuple[str, ...]], str | None] = OrderedDict()

    def with_sandbox(self, mode: str) -> CodeRules:
        return CodeRules(
            self._inputs,
            entry=self._entry,
            script=self._script,
            written=self._written,
            sandbox=mode,
            limits=self._limits,
        )

    # --- answers

    def extract(self, text: str) -> str | None:
        """The program, or None if there is none."""
        return program_of(text)

    def canonical(self, answer: str) -> str:
        """The text, without white space at the ends of lines and of the whole."""
        return "\n".join(line.rstrip() for line in answer.strip().splitlines())

    def equal(self, left: str, right: str) -> bool:
        """Whether two programs do the same on the inputs."""
        found = self.outcomes(left)
        return found is not None and found == self.outcomes(right)

    def classes(self, answers: Sequence[str | None]) -> list[int | None]:
        """Equal programs by their outcomes on the inputs. One that comes to nothing on all of them abstains."""
        if not self._inputs:
            return super().classes(answers)
        inputs = self._inputs
        if self._written and not self._script:
            programs = [answer for answer in answers if answer is not None]
            inputs += tuple(written_calls(programs, inputs, self._written))
        seen: dict[str, int] = {}
        found: list[int | None] = []
        for answer in answers:
            outcome = None if answer is None else self.outcomes(answer, inputs)
            found.append(None if outcome is None else seen.setdefault(outcome, len(seen)))
        return found

    def outcomes(self, program: str, inputs: tuple[str, ...] = ()) -> str | None:
        """One text for what a program does on the inputs (the rules' own if none are given), None if it fails on all of
        them. Its own text if the sandbox could not tell: that is not the program's failure."""
        inputs = inputs or self._inputs
        text = self.canonical(program)
        if not inputs:
            return text
        key = (text, inputs)
        if key not in self._outcomes:
            self._outcomes[key] = self._scripted(program, inputs) if self._script else self._called(program, inputs)
            if len(self._outcomes) > REMEMBERED:
                self._outcomes.popitem(last=False)
        return self._outcomes[key]

    def _called(self, program: str, inputs: Sequence[str]) -> str | None:
        found = shared(self._mode).values(program, inputs, entry=self._entry, limits=self._limits)
        if isinstance(found, Finding):
            return None if found.verdict == "wrong" else self.canonical(program)
        if not any(kind == "value" for kind, _ in found):
            return None
        return json.dumps([[kind, text if kind in ("value", "raise") else ""] for kind, text in found])

    def _scripted(self, program: str, inputs: Sequence[str]) -> str | None:
        sandbox = shared(self._mode)
        found = [sandbox.script(program, given, limits=self._limits) for given in inputs]
        if any(isinstance(one, Finding) and one.verdict == "unverified" for one in found):
            return self.canonical(program)
        if not any(isinstance(printed, str) for printed in found):
            return None
        return json.dumps([_lines(printed) if isinstance(printed, str) else None for printed in found])

    # --- verdicts

    def check_reference(self, reference: Any) -> str | None:
        """None if the tests can be run, else what is wrong with them."""
        try:
            ProgramTests(reference).study()
        except Unclear as error:
            return str(error)
        return None

    def judge(self, reference: Any, completion: str) -> Verdict:
        """Runs the tests on the program. A completion without a program is wrong."""
        program = self.extract(completion)
        if program is None:
            return wrong(NO_PROGRAM)
        try:
            tests = ProgramTests(reference)
        except Unclear as error:
            return unverified(f"the tests: {error}")
        return verdict_of(self.find(program, tests))

    def find(self, program: str, tests: ProgramTests, *, every: bool = False) -> Finding:
        """What the tests say of a program. `every`: all of them, not only up to the first that fails."""
        sandbox = shared(self._mode)
        if tests.pairs:
            return self._pairs(program, tests.pairs, every)
        return sandbox.check(program, tests.tests, entry=tests.entry or self._entry, every=every, limits=self._limits)

    def _pairs(self, program: str, pairs: Sequence[tuple[str, str]], every: bool) -> Finding:
        """Each input is a run of its own. What it should print stays here."""
        passed, first = 0, ""
        for number, (given, expected) in enumerate(pairs, 1):
            found = shared(self._mode).script(program, given, limits=self._limits)
            if isinstance(found, Finding) and found.verdict == "unverified":
                return found
            if isinstance(found, Finding):
                why = f"{found.reason} on input {number} of {len(pairs)}"
            elif same_output(found, expected):
                passed += 1
                continue
            else:
                why = f"wrong output on input {number} of {len(pairs)}: {_short(found)}, not {_short(expected)}"
            first = first or why
            if not every:
                break
        if first:
            return Finding("wrong", first, passed, len(pairs))
        return Finding("correct", f"right output on all {len(pairs)} inputs", passed, len(pairs))


def row_tests(
    fields: Mapping[str, Any], where: str, rules: CodeRules, known: dict[str, str | None] | None = None
) -> Any:
    """The tests of a row, its `tests` or `reference` with its `entry_point`, if they can be run. `known` keeps what the
    last ones were found to be, for files where rows of one problem are together. Raises UsageError at `where`."""
    field = "tests" if fields.get("tests") is not None else "reference"
    if fields.get(field) is None:
        raise UsageError(f"{where}field 'tests': missing; give tests such as \"assert f(2) == 4\"")
    tests: Any = fields[field]
    if fields.get("entry_point") is not None:
        tests = {"tests": tests, "entry_point": fields["entry_point"]}
    known = {} if known is None else known
    key = json.dumps(tests, default=str)
    if key not in known:
        known.clear()
        known[key] = rules.check_reference(tests)
    if known[key] is not None:
        raise UsageError(f"{where}field {field!r}: {known[key]}; correct the tests")
    return tests


def verdict_of(found: Finding) -> Verdict:
    if found.verdict == "correct":
        return correct(found.reason)
    return wrong(found.reason) if found.verdict == "wrong" else unverified(found.reason)


_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)$")


def program_of(text: str) -> str | None:
    """The last fenced block, else the whole text; None if that is empty. A block that is not closed ends with the text,
    and is none if there is nothing in it."""
    block: list[str] | None = None
    found: list[str] | None = None
    mark = ""
    for line in text.splitlines():
        fence = _FENCE.match(line)
        if block is None:
            if fence and not (fence[1][0] == "`" and "`" in fence[2]):
                block, mark = [], fence[1]
        elif fence and fence[1].startswith(mark) and not fence[2].strip():
            found, block = block, None
        else:
            block.append(line)
    if block and any(line.strip() for line in block):
        found = block
    program = text if found is None else "\n".join(found) + "\n"
    return program if program.strip() else None


def same_output(printed: str, expected: str) -> bool:
    """Line by line, white space at the ends aside; a line of numbers may spell them otherwise ('0.50' is '0.5')."""
    left, right = _lines(printed), _lines(expected)
    return len(left) == len(right) and all(map(_same_line, left, right))


def _same_line(left: str, right: str) -> bool:
    if left == right:
        return True
    ours, theirs = _numbers(left), _numbers(right)
    return ours is not None and ours == theirs


def _numbers(line: str) -> list[Decimal] | None:
    words = line.split()
    if len(line) > 100_000 or not words:
        return None
    try:
        found = [Decimal(word) for word in words]
    except InvalidOperation:
        return None
    return found if all(number.is_finite() for number in found) else None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def _from_json(text: str) -> Any:
    """The objects that a text spells in JSON, else the text: a list of literals would be Python all the same."""
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    items = found if isinstance(found, list) else [found]
    return found if items and all(isinstance(item, (dict, str)) for item in items) else text


def _pairs(item: Any) -> list[tuple[str, str]]:
    """(input, output) of {"input", "output"}, of {"inputs", "outputs"}, or of a list of them."""
    if isinstance(item, list):
        return [pair for one in item for pair in _pairs(one)]
    if not isinstance(item, dict):
        raise Unclear("mixes texts and objects; give one kind")
    if "inputs" in item:
        inputs, outputs = item["inputs"], item.get("outputs")
        if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
            raise Unclear("'inputs' and 'outputs' are not lists of one length")
        return [_pair(given, printed) for given, printed in zip(inputs, outputs, strict=True)]
    if "input" not in item or "output" not in item:
        raise Unclear("an object without 'input' and 'output'")
    return [_pair(item["input"], item["output"])]


def _pair(given: Any, printed: Any) -> tuple[str, str]:
    """Lists are lines, as some sets have them."""
    texts = ["\n".join(map(str, part)) if isinstance(part, list) else part for part in (given, printed)]
    if not all(isinstance(part, str) for part in texts):
        raise Unclear("an 'input' or 'output' that is not text")
    return texts[0], texts[1]


def _short(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 80 else text[:80] + "…")
