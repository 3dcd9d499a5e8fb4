"""How often verdicts are wrong: real answers of models, with labels that were made by other means.

    python benchmarks/errors.py [--data ../shared/data] [--json FILE]

Sources, and who says what is correct:

    answers    tests/tasks/corpora/answers.jsonl: small models on GSM8K and MATH, labelled by recipes/answers.py
    game24     GPT-4's expressions for 24 (samples/game24_gpt4_direct.jsonl): Python's own arithmetic on fractions
    mistakes   PaLM's worked steps (mistakes/*.jsonl): the set's own answers and targets, as texts

The last two are read below --data, and left out where they are not there. Rates count each completion to a reference
once, since equal ones are judged alike; their intervals are Wilson's at 95 %.
"""

from __future__ import annotations

import argparse
import ast
import json
import operator
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from ponder.tasks import load_rules, math
from ponder.tasks.audit import Audit, Labelled, audit

CORPUS = Path(__file__).parents[1] / "tests" / "tasks" / "corpora" / "answers.jsonl"
MISTAKES = {
    "multistep_arithmetic": "number",
    "logical_deduction": "choice",
    "tracking_shuffled_objects": "choice",
    "word_sorting": "text",
    "dyck_languages": "text",
}
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def value(text: str) -> Fraction | None:
    """What an arithmetic expression is worth by Python's grammar; None if it divides by zero."""

    def of(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return _OPERATORS[type(node.op)](of(node.left), of(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -of(node.operand)
        assert isinstance(node, ast.Constant)
        return Fraction(node.value)

    try:
        return of(ast.parse(text.strip(), mode="eval").body)
    except ZeroDivisionError:
        return None


def sources(data: Path) -> Iterator[tuple[str, str, list[Labelled]]]:
    """(name, task, rows) of each source that is there."""
    by_set: dict[tuple[str, str], list[Labelled]] = {}
    for row in lines(CORPUS):
        rows = by_set.setdefault((row["source"], row["set"]), [])
        rows.append(Labelled(row["id"], row["reference"], row["completion"], row["label"]))
    for (source, task), rows in by_set.items():
        yield f"{source} on {task}", task, rows
    game = data / "samples" / "game24_gpt4_direct.jsonl"
    if game.is_file():
        written = [row["answer"].rpartition("=")[0].strip() for row in lines(game) if row["answer"]]
        found = [Labelled(str(i), "24", rf"\boxed{{{text}}}", value(text) == 24) for i, text in enumerate(written)]
        yield "GPT-4 on expressions for 24", "math", found
    for name, task in MISTAKES.items():
        path = data / "mistakes" / f"{name}.jsonl"
        if path.is_file():
            yield f"PaLM on {name}", task, [_mistake(row, i) for i, row in enumerate(lines(path))]


def _mistake(row: dict[str, Any], number: int) -> Labelled:
    label = (row["answer"] or "").strip() == row["target"].strip()
    return Labelled(str(number), row["target"].strip(), "\n".join(row["steps"]), label)


def distinct(rows: list[Labelled]) -> list[Labelled]:
    """The first row of each completion to each reference."""
    return list({(str(row.reference), row.completion): row for row in reversed(rows)}.values())[::-1]


def figures(found: Audit, rows: list[Labelled]) -> dict[str, Any]:
    """`rows`: all of them; the counts in `found` are of distinct ones."""
    return {
        "answers": len(rows),
        "correct": sum(row.label is True for row in rows),
        "distinct": sum(found.labels.values()),
        **found.rates(),
        "slowest_s": max((case.seconds for case in found.slowest), default=0.0),
    }


def _percent(rate: dict[str, Any]) -> str:
    """Errors of how many, and up to where the interval goes."""
    return f"{rate['errors']} of {rate['of']:,}" + (f" (at most {100 * rate['high']:.2f} %)" if rate["of"] else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    math.require()
    report: dict[str, Any] = {}
    everything: list[Labelled] = []
    total = Audit()
    for name, task, rows in sources(options.data):
        found = audit(load_rules(task), distinct(rows))
        report[name] = figures(found, rows)
        everything += rows
        total.labels += found.labels
        total.disagreements += found.disagreements
        total.slowest += found.slowest
        for case in found.disagreements:
            print(f"{name}, {case.id}: {case.verdict.verdict}, labelled {case.expected}: {case.verdict.reason}")
    report["all"] = figures(total, everything)
    width = max(map(len, report))
    for name, one in report.items():
        print(
            f"{name:{width}}  {one['answers']:6,} answers ({one['correct']:,} correct), {one['distinct']:,} distinct: "
            f"false positives {_percent(one['false_positive'])}, false negatives {_percent(one['false_negative'])}, "
            f"unverified {_percent(one['unverified'])}, slowest {one['slowest_s']:.3f} s"
        )
    if options.json:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    math.close()
    sys.exit(0)


if __name__ == "__main__":
    main()
