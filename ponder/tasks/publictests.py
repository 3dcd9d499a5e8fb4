"""Public tests: what a problem's own words say that a program must do, which a model may read and a scorer may run.

Lines that begin with `assert`, and examples as an interpreter shows them ('>>> f(2)' and the value on the lines below).
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Sequence

from ponder.sandbox.inside.names import Study, Unclear

MOST = 50
LONGEST = 1000
"""Characters of a call that a program writes."""


def shown_tests(text: str) -> list[str]:
    """The tests that a text shows, in order, as assertions; those that are not Python are left out."""
    found: list[str] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        bare = line.strip().strip("`").strip()
        if bare.startswith("assert "):
            found.append(bare)
        elif line.strip().startswith(">>> "):
            example = _example(line.strip()[4:], lines[number + 1 :])
            if example:
                found.append(example)
    return [test for test in dict.fromkeys(found) if _is_test(test)][:MOST]


def calls_of(text: str, entry: str = "") -> list[str]:
    """The calls of the program in the tests that a text shows: inputs by which programs are told apart."""
    calls: list[str] = []
    for test in shown_tests(text):
        try:
            own = set(Study([test], entry).own)
        except Unclear:
            continue
        for node in ast.walk(ast.parse(test)):
            if isinstance(node, ast.Call) and _head(node) in own:
                calls.append(ast.unparse(node))
                break
    return list(dict.fromkeys(calls))


def written_calls(programs: Sequence[str], like: Sequence[str], most: int) -> list[str]:
    """Calls with literal arguments that programs write in their examples and tests of their own, of what the calls
    `like` call: those in most programs first. What a program expects of them is not asked."""
    bodies = [ast.parse(call, mode="eval").body for call in like]
    called = {ast.unparse(body.func) for body in bodies if isinstance(body, ast.Call)}
    count: Counter[str] = Counter()
    for program in programs:
        try:
            tree = ast.parse(program)
            found = {ast.unparse(node) for node in ast.walk(tree) if _is_literal_call(node, called)}
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
        count.update(call for call in found if len(call) <= LONGEST and call not in like)
    return sorted(count, key=lambda call: (-count[call], call))[:most]


def _is_literal_call(node: ast.AST, called: set[str]) -> bool:
    if not isinstance(node, ast.Call):
        return False
    try:
        if ast.unparse(node.func) not in called:
            return False
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
            ast.literal_eval(argument)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _head(node: ast.expr) -> str:
    """The name that a call begins with: Solution in Solution().add(1)."""
    while isinstance(node, (ast.Call, ast.Attribute)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _example(expression: str, after: list[str]) -> str:
    """An assertion for one line of an interpreter and the value below it, '' if there is none."""
    if not after:
        return ""
    value = after[0].strip().rstrip("'\"") if after[0].strip().endswith(('"""', "'''")) else after[0].strip()
    if not value or value.startswith(">>>"):
        return ""
    try:
        ast.literal_eval(value)
        ast.parse(expression, mode="eval")
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ""
    return f"assert {re.sub(r'[;]$', '', expression)} == {value}"


def _is_test(test: str) -> bool:
    try:
        return bool(Study([test]).own)
    except Unclear:
        return False
