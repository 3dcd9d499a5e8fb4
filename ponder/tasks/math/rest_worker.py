"""The process that asks math-verify: reads a line [reference, answer], writes a line [true, false or null, why].

It is run as a file, with nothing of ponder imported. Only math-verify's LaTeX reader is used: its reader of plain
expressions evaluates them as Python. 'Equal' must hold in both directions and be confirmed: numbers and expressions by
their difference at three points, to 40 digits; matrices entry by entry; anything else must be identical. 'Not equal' of
two expressions must be confirmed by a difference.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import resource
import sys
from typing import Any

MEMORY = 2 << 30
"""Bytes that the process may have."""
POINTS = (("13/8", "-7/16"), ("-21/32", "37/16"), ("45/64", "11/8"))
DIGITS = 40


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    # What is printed by a library must not be taken for an answer
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    judge(r"\int_0^1 \frac{x}{\sqrt{2}} dx", r"\sum_{k=1}^{2} k\cdotk")  # the readers build tables as they go
    answers.write(json.dumps(judge("1", "1")) + "\n")  # everything is loaded
    answers.flush()
    for line in sys.stdin:
        reference, answer = json.loads(line)
        answers.write(json.dumps(judge(reference, answer)) + "\n")
        answers.flush()


def judge(reference: str, answer: str) -> list[Any]:
    try:
        gold, found = read(reference), read(answer)
        if gold is None:
            return [None, "math-verify does not read the reference"]
        if found is None:
            return [False, "math-verify does not read the answer"]
        return decide(gold, found)
    except Exception as error:
        return [None, f"math-verify failed ({type(error).__name__})"]


def read(text: str) -> Any:
    """The one expression that the LaTeX is, or None."""
    library = importlib.import_module("math_verify")
    found = library.parse(
        "$" + text.replace("$", "") + "$",
        extraction_config=[library.LatexExtractionConfig()],
        fallback_mode="no_fallback",
        parsing_timeout=None,
    )
    return found[0] if found and not isinstance(found[0], str) else None


def decide(gold: Any, found: Any) -> list[Any]:
    verify = importlib.import_module("math_verify").verify
    settings: dict[str, Any] = {"float_rounding": 30, "numeric_precision": 60, "strict": True, "timeout_seconds": None}
    ways = {bool(verify(gold, found, **settings)), bool(verify(found, gold, **settings))}
    confirmed = difference(gold, found)
    if ways == {True}:
        return [True, ""] if confirmed is False else [None, "math-verify says equal, and nothing confirms it"]
    if ways == {False}:
        return [None, "math-verify says unequal, but they agree at all points"] if confirmed is False else [False, ""]
    return [None, "math-verify says equal one way round"]


def difference(gold: Any, found: Any) -> bool | None:
    """Whether they differ: True, False, or None if that cannot be computed."""
    sympy = importlib.import_module("sympy")
    if isinstance(gold, sympy.MatrixBase) and isinstance(found, sympy.MatrixBase):
        if gold.shape != found.shape:
            return True
        entries = [difference(a, b) for a, b in zip(list(gold), list(found), strict=True)]
        return True if True in entries else None if None in entries else False
    if isinstance(gold, sympy.Expr) and isinstance(found, sympy.Expr):
        return differ_at_points(gold, found)
    return False if gold == found else None


def differ_at_points(gold: Any, found: Any) -> bool | None:
    rational = importlib.import_module("sympy").Rational
    gold, found = gold.doit(), found.doit()  # limits and sums
    symbols = sorted(gold.free_symbols | found.free_symbols, key=str)
    for first, step in POINTS:
        place = {symbol: rational(first) + index * rational(step) for index, symbol in enumerate(symbols)}
        a, b = gold.subs(place), found.subs(place)
        size = max(1, abs(complex(a.evalf(15))))
        gap = abs((a - b).evalf(DIGITS, maxn=400))
        if not gap.is_number or not gap.is_finite:
            return None
        if gap > size * rational(1, 10**30):
            return True
    return False


if __name__ == "__main__":
    main()
