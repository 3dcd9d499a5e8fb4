"""GSM8K: grade-school mathematics, 1,319 test and 7,473 training problems (Cobbe et al. 2021, arXiv 2110.14168).

Read from the published JSONL: {"question", "answer"}, the answer being worked steps and a last line '#### N'. Only the
question is shown to a model, only N is kept as the reference.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ponder.errors import UsageError
from ponder.tasks import sources
from ponder.tasks.base import Row, RowTask
from ponder.tasks.rules import NumberRules


class GSM8KRules(NumberRules):
    """Plain numbers. The prompt asks for short solutions, so that a small model does not run into its cap."""

    instruction = (
        "Let's think step by step, in a few short sentences. Write the calculation of each step, and then the final "
        "answer after ####."
    )


SOURCE = sources.Source("gsm8k", {"test": "gsm8k/test.jsonl", "train": "gsm8k/train.jsonl"}, "openai/gsm8k", "main")


def load(path: str | None = None, split: str = "test") -> RowTask:
    """The problems of a split, with ids 'gsm8k-test-0' … by line order.

    Looks at `path` (a file, or a folder that holds SPLIT.jsonl), then in the folder PONDER_DATA, then asks Hugging Face
    `datasets`. Raises UsageError if none of the three has it, or a row is broken.
    """
    return RowTask("gsm8k", list(_rows(sources.rows(SOURCE, path, split), split)))


def _rows(found: Iterable[tuple[str, dict[str, Any]]], split: str) -> Iterable[Row]:
    rules = GSM8KRules()
    for number, (where, fields) in enumerate(found):
        text = sources.text(fields, "question", where)
        _, marked, reference = sources.text(fields, "answer", where).rpartition("####")
        if not marked or rules.check_reference(reference.strip()):
            raise UsageError(f"{where}field 'answer': does not end in '#### N'; use the published file")
        yield Row(f"gsm8k-{split}-{number}", text, reference.strip(), rules)
