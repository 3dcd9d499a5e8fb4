"""Public tests: what a problem's own words say that a program must do, which a model may read and a scorer may run.

Lines that begin with `assert`, and examples as an interpreter shows them ('>>> f(2)' and the value on the lines below).
"""

from __future__ import annotations

import ast
import re

from ponder.sandbox.inside.names import Study, Unclear

MOST = 50


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
