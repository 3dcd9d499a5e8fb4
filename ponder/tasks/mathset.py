"""MATH: competition mathematics (Hendrycks et al. 2021, arXiv 2103.03874). Its test split is MATH-500 (Lightman et al.
2023, arXiv 2305.20050).

Read from the published JSONL ({"problem", "solution", "answer", "subject", "unique_id"}) or a JSON list of {"problem",
"final_answer"}. Only the problem is shown to a model. The domain is the subject.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ponder.errors import UsageError
from ponder.tasks import sources
from ponder.tasks.base import Row, RowTask
from ponder.tasks.rules import RULES

SOURCE = sources.Source("math", {"test": "math/math500.jsonl", "train": "math/train_qa.json"}, "HuggingFaceH4/MATH-500")


def load(path: str | None = None, split: str = "test") -> RowTask:
    """The problems of a split, with their `unique_id` as ids, else 'math-train-0' … by line order.

    Looks at `path` (a file, or a folder that holds the split's file), then in the folder PONDER_DATA, then asks Hugging
    Face `datasets` (test only). Raises UsageError if none of the three has it, or a row is broken.
    """
    return RowTask("math", list(_rows(sources.rows(SOURCE, path, split), split)))


def _rows(found: Iterable[tuple[str, dict[str, Any]]], split: str) -> Iterable[Row]:
    rules = RULES["math"]
    seen: dict[str, str] = {}
    for number, (where, fields) in enumerate(found):
        row_id = sources.text(fields, "unique_id", where) if "unique_id" in fields else f"math-{split}-{number}"
        if row_id in seen:
            raise UsageError(f"{where}field 'unique_id': {row_id!r} is also at {seen[row_id]}; give each row its own")
        seen[row_id] = where.rstrip(": ")
        if fields.get("final_answer") == "":  # two training problems were published without their answers
            continue
        reference = sources.text(fields, "final_answer" if "final_answer" in fields else "answer", where)
        domain = sources.text(fields, "subject", where) if "subject" in fields else None
        yield Row(row_id, sources.text(fields, "problem", where), reference, rules, domain)
