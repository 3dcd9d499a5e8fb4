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


class Study:
    """What the tests are made of. `own`: the names that the program must define, sorted; `free`: all that the tests
    use and do not bind; `asserts`: assertions in their text. Raises Unclear."""

    def __init__(self, tests: Sequence[str], entry: str = "") -> None:
        self._trees = [_parse(test, number) for number, test in enumerate(tests, 1)]
        bound: set[str] = set()
        used: set[str] = set()
        for test in tests:
            _scan(symtable.symtable(test, "<tests>", "exec"), bound, used, top=True)
        self.free = used - bound
        self.asserts, called, modules = 0, set(), set()
        for tree in self._trees:
            for node in ast.walk(tree):
                if isinstance(node, ast.Assert):
                    self.asserts += 1
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    called.add(node.func.id)
                elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    modules.add(node.value.id)
        self.checks = self.asserts > 0 or any(map(_checks, self._trees))
        self.own = _own(self.free, called, modules, entry)

    def prepared(self) -> list[CodeType]:
        """The tests compiled so that assertions are counted, and calls whose results nobody reads may change their
        arguments. Once only: it changes the trees."""
        return [
            compile(ast.fix_missing_locations(_Prepare().visit(tree)), "<tests>", "exec", dont_inherit=True, optimize=0)
            for tree in self._trees
        ]


def trusted(names: Iterable[str]) -> dict[str, Any]:
    """What FOUND and the modules of the standard library give for these names."""
    found: dict[str, Any] = {}
    for name in names:
        if name in FOUND:
            found[name] = getattr(importlib.import_module(FOUND[name]), name)
        elif name in sys.stdlib_module_names and not name.startswith("_"):
            found[name] = importlib.import_module(name)
    return found


def _parse(test: str, number: int) -> ast.Module:
    try:
        return ast.parse(test)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        words = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        raise Unclear(f"test {number} is not Python ({words})") from None


def _checks(tree: ast.Module) -> bool:
    """Whether a test without assertions can fail all the same: it raises, or calls `self.assertEqual` and the like."""
    return any(
        isinstance(node, ast.Raise)
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr.startswith("assert"))
        for node in ast.walk(tree)
    )


def _own(free: set[str], called: set[str], modules: set[str], entry: str) -> list[str]:
    own = {name for name in free if not _is_known(name, called, modules)}
    if entry:
        return sorted(own | {entry})
    if own:
        return sorted(own)
    candidates = sorted(free & called)
    if len(candidates) > 1:
        raise Unclear(f"cannot tell which of {', '.join(candidates)} the program defines; name it as entry_point")
    if not candidates:
        raise Unclear("the tests use no name of the program")
    return candidates


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
