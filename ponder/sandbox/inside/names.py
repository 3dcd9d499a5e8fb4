"""Which names of a test belong to the program, and the test made ready to run without it.

A name that the tests neither bind nor import is the program's, unless it is a builtin, a module that the test looks
into (`math.isclose`), or one of FOUND: a program that could replace `sorted` or `Counter` would judge itself. Where a
test uses no other name, the one such name that it calls is the program's: `assert sum(10, 15) == 6`.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import symtable
import sys
from collections.abc import Iterable, Sequence
from types import CodeType
from typing import Any

FOUND = {
    **dict.fromkeys(("Counter", "OrderedDict", "defaultdict", "deque", "namedtuple"), "collections"),
    **dict.fromkeys(("Any", "Dict", "List", "Optional", "Set", "Tuple", "Union"), "typing"),
    "Decimal": "decimal",
    "Fraction": "fractions",
    "isclose": "math",
}
"""Names that a test may use without an import, and where they are from."""

IN_PLACE, ASSERTED = "__in_place__", "__asserted__"
"""Called by the prepared tests: a call whose result nobody reads, and an assertion that was reached."""


class Unclear(ValueError):
    """Tests that cannot be used; the message says why."""


def parse(tests: Sequence[str]) -> list[ast.Module]:
    """Raises Unclear if a test is not Python."""
    found = []
    for number, test in enumerate(tests, 1):
        try:
            found.append(ast.parse(test))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            words = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
            raise Unclear(f"test {number} is not Python ({words})") from None
    return found


def of_program(tests: Sequence[str], entry: str = "") -> list[str]:
    """The names that the program must define, sorted. Raises Unclear if none can be told."""
    trees = parse(tests)
    bound: set[str] = set()
    used: set[str] = set()
    for test in tests:
        _scan(symtable.symtable(test, "<tests>", "exec"), bound, used, top=True)
    called, modules = _roles(trees)
    free = used - bound
    own = {name for name in free if not _is_known(name, called, modules)}
    if entry:
        return sorted(own | {entry})
    if own:
        return sorted(own)
    candidates = sorted(free & called)
    if len(candidates) == 1:
        return candidates
    if candidates:
        raise Unclear(f"cannot tell which of {', '.join(candidates)} the program defines; name it as entry_point")
    raise Unclear("the tests use no name of the program")


def prepare(test: str) -> CodeType:
    """A test compiled so that assertions are counted, and calls whose results nobody reads may change their
    arguments."""
    tree = ast.fix_missing_locations(_Prepare().visit(ast.parse(test)))
    return compile(tree, "<tests>", "exec", dont_inherit=True, optimize=0)


def trusted(names: Iterable[str]) -> dict[str, Any]:
    """What FOUND and the modules of the standard library give for these names."""
    found: dict[str, Any] = {}
    for name in names:
        if name in FOUND:
            found[name] = getattr(importlib.import_module(FOUND[name]), name)
        elif name in sys.stdlib_module_names and not name.startswith("_"):
            found[name] = importlib.import_module(name)
    return found


def free(tests: Sequence[str]) -> set[str]:
    """The names that the tests use and do not bind."""
    bound: set[str] = set()
    used: set[str] = set()
    for test in tests:
        _scan(symtable.symtable(test, "<tests>", "exec"), bound, used, top=True)
    return used - bound


def asserts(trees: Sequence[ast.Module]) -> int:
    """Assertions in the text."""
    return sum(isinstance(node, ast.Assert) for tree in trees for node in ast.walk(tree))


def _scan(table: symtable.SymbolTable, bound: set[str], used: set[str], *, top: bool) -> None:
    for symbol in table.get_symbols():
        if top and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()):
            bound.add(symbol.get_name())
        elif symbol.is_referenced() and (top or symbol.is_global()):
            used.add(symbol.get_name())
        elif symbol.is_declared_global() and symbol.is_assigned():
            bound.add(symbol.get_name())
    for child in table.get_children():
        _scan(child, bound, used, top=False)


def _roles(trees: Sequence[ast.Module]) -> tuple[set[str], set[str]]:
    """Names that are called, and names that something is looked up in."""
    called: set[str] = set()
    modules: set[str] = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                called.add(node.func.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                modules.add(node.value.id)
    return called, modules


def _is_known(name: str, called: set[str], modules: set[str]) -> bool:
    if name in FOUND or hasattr(builtins, name) or (name.startswith("__") and name.endswith("__")):
        return True
    return name in sys.stdlib_module_names and name in modules and name not in called


class _Prepare(ast.NodeTransformer):
    def visit_Assert(self, node: ast.Assert) -> Any:
        mark = ast.Expr(ast.Call(ast.Name(ASSERTED, ast.Load()), [], []))
        return [ast.copy_location(mark, node), node]

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        if isinstance(node.value, ast.Call):
            call = node.value
            node.value = ast.copy_location(
                ast.Call(ast.Name(IN_PLACE, ast.Load()), [call.func, *call.args], call.keywords), call
            )
        return node
