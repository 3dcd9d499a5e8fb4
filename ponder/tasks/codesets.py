"""Where problems of code are from: MBPP, HumanEval and EvalPlus, LiveCodeBench, by the fields that their rows have.

MBPP (Austin et al. 2021, arXiv 2108.07732, sanitized): {"prompt", "test_list", "test_imports"}; the text shows the
first test. HumanEval (Chen et al. 2021, arXiv 2107.03374) and EvalPlus: {"prompt", "test", "entry_point"}.
LiveCodeBench (Jain et al. 2024, arXiv 2403.07974): {"question_content", "public_test_cases", "private_test_cases",
"starter_code"}.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import pickle
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ponder.errors import UsageError, unknown
from ponder.sandbox import Limits, chosen
from ponder.tasks import sources
from ponder.tasks.base import Row, RowTask
from ponder.tasks.code import CodeRules
from ponder.tasks.publictests import MOST, calls_of

SOURCES = {
    "mbpp": sources.Source("code", {"test": "mbpp/mbpp.json"}, "google-research-datasets/mbpp", "sanitized"),
    "humaneval": sources.Source("code", {"test": "humaneval/HumanEval.jsonl"}, "openai/openai_humaneval"),
}


def load(
    set: str = "mbpp", path: str | None = None, sandbox: str = "", cpu: int = 5, memory: int = 512, written: int = 0
) -> RowTask:
    """The problems of a set ('mbpp', 'humaneval'), or of a file, whose rows tell by their fields what they are.

    `sandbox`: 'bwrap' or 'none'; `cpu` seconds and `memory` MiB a check; `written`: how many calls that programs write
    themselves tell them apart in votes, beside those that the problem shows. Raises UsageError if the set is found
    nowhere, or a row is none of the known forms.
    """
    if set not in SOURCES:
        raise unknown("set of code", set, SOURCES)
    chosen(sandbox)
    if cpu < 1 or memory < 64:
        raise UsageError(f"code.cpu={cpu}, code.memory={memory}: give at least 1 second and 64 MiB")
    if not 0 <= written <= MOST:
        raise UsageError(f"code.written={written}: give a number of calls, 0 to {MOST}")
    limits = Limits(cpu=cpu, memory=memory * 2**20)
    found = sources.rows(SOURCES[set], path, "test")
    name = set if path is None else Path(path).stem
    return RowTask("code", list(rows(found, name, sandbox, limits, written)))


def rows(
    found: Iterable[tuple[str, dict[str, Any]]],
    name: str,
    sandbox: str = "",
    limits: Limits | None = None,
    written: int = 0,
) -> Iterator[Row]:
    """Each row with its text, its tests, and rules that know the public inputs. Raises UsageError."""
    for number, (where, fields) in enumerate(found):
        row_id = str(fields.get("task_id") or fields.get("question_id") or fields.get("id") or f"{name}-{number}")
        text, reference, public, entry = _read(fields, where)
        script = isinstance(public, list)
        inputs = [pair["input"] for pair in public] if isinstance(public, list) else calls_of(public, entry)
        rules = CodeRules(inputs, entry=entry, script=script, written=written, sandbox=sandbox, limits=limits)
        problem = rules.check_reference(reference)
        if problem is not None:
            raise UsageError(f"{where}the tests: {problem}; use the published file")
        yield Row(row_id, text, reference, rules, fields.get("domain"))


def _read(fields: dict[str, Any], where: str) -> tuple[str, Any, Any, str]:
    """(text, reference, public tests as text or pairs, entry point) of a row."""
    if "test_list" in fields:
        return _mbpp(fields, where)
    if "entry_point" in fields and "test" in fields:
        return _humaneval(fields, where)
    if "question_content" in fields:
        return _livecodebench(fields, where)
    if "tests" in fields:
        text = sources.text(fields, "prompt" if "prompt" in fields else "problem", where)
        entry = str(fields.get("entry_point") or "")
        return text, {"tests": fields["tests"], "entry_point": entry}, text, entry
    raise UsageError(f"{where}has none of 'tests', 'test_list', 'test' and 'question_content'; give one of these")


def _mbpp(fields: dict[str, Any], where: str) -> tuple[str, Any, Any, str]:
    tests = fields["test_list"]
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
        raise UsageError(f"{where}field 'test_list': is not a list of tests; use the published file")
    imports = [*(fields.get("test_imports") or []), fields.get("test_setup_code") or ""]
    before = "\n".join(line for line in imports if line)
    words = sources.text(fields, "prompt" if "prompt" in fields else "text", where)
    text = f"{words}\n\nYour program must pass this test:\n{tests[0]}"
    return text, [f"{before}\n{tests[0]}", *tests[1:]] if before else tests, tests[0], ""


def _humaneval(fields: dict[str, Any], where: str) -> tuple[str, Any, Any, str]:
    """The prompt is the head of a function. What else it defines belongs to the tests: a program that brings a
    `poly` of its own would otherwise say itself where its polynomial is zero."""
    prompt, test = sources.text(fields, "prompt", where), sources.text(fields, "test", where)
    entry = sources.text(fields, "entry_point", where)
    helpers = _helpers(prompt, entry)
    text = f"Complete this function:\n\n{prompt.strip()}"
    return text, {"tests": [f"{helpers}{test}\ncheck({entry})"], "entry_point": entry}, prompt, entry


def _helpers(prompt: str, entry: str) -> str:
    """What a prompt defines beside the function that is asked for."""
    try:
        tree = ast.parse(prompt)
    except SyntaxError:  # a prompt that ends in a bare head
        tree = ast.parse(prompt + "\n    pass")
    kept = [node for node in tree.body if getattr(node, "name", "") != entry and not isinstance(node, ast.Expr)]
    return "".join(ast.unparse(node) + "\n\n" for node in kept)


def _livecodebench(fields: dict[str, Any], where: str) -> tuple[str, Any, Any, str]:
    public = _cases(fields.get("public_test_cases"), where)
    cases = public + _cases(fields.get("private_test_cases") or "[]", where)
    text = sources.text(fields, "question_content", where)
    starter = fields.get("starter_code") or ""
    if starter:
        text += f"\n\nComplete this:\n\n{starter}"
    if not cases:
        raise UsageError(f"{where}has no test cases; use the published file")
    if all(case.get("testtype") != "functional" for case in cases):
        return text, [{"input": c["input"], "output": c["output"]} for c in cases], public, ""
    metadata = fields.get("metadata") or {}
    name = (json.loads(metadata) if isinstance(metadata, str) else metadata).get("func_name", "")
    if not isinstance(name, str) or not name.isidentifier():
        raise UsageError(f"{where}field 'metadata': names no 'func_name'; use the published file")
    target = f"Solution().{name}" if "class Solution" in starter else name
    tests = [_functional(case, target, where) for case in cases]
    return text, {"tests": tests, "entry_point": target.partition("(")[0]}, "\n".join(tests[: len(public)]), ""


def _functional(case: dict[str, Any], target: str, where: str) -> str:
    """A call with the arguments that the lines of the input spell in JSON."""
    try:
        arguments = [repr(json.loads(line)) for line in case["input"].splitlines() if line.strip()]
        return f"assert {target}({', '.join(arguments)}) == {json.loads(case['output'])!r}"
    except ValueError:
        raise UsageError(f"{where}a functional test case is not JSON; use the published file") from None


def _cases(found: Any, where: str) -> list[dict[str, Any]]:
    """Test cases as a list, as JSON, or as the set packs its private ones: base64 of zlib of a pickled text of JSON."""
    try:
        if isinstance(found, str):
            found = json.loads(found if found.lstrip()[:1] == "[" else _unpack(found))
        good = isinstance(found, list) and all(
            isinstance(case, dict) and isinstance(case.get("input"), str) and isinstance(case.get("output"), str)
            for case in found
        )
    except (ValueError, zlib.error, pickle.UnpicklingError, EOFError):
        good = False
    if not good:
        raise UsageError(f"{where}test cases that cannot be read; use the published file")
    return found  # type: ignore[no-any-return]


class _TextOnly(pickle.Unpickler):
    """Reads a pickled text, and nothing that would have to be looked up."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name}")


def _unpack(packed: str) -> str:
    return str(_TextOnly(io.BytesIO(zlib.decompress(base64.b64decode(packed)))).load())
