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
from ponder.types import Message

SHOTS = (
    (
        "A box holds 12 pencils. A school buys 15 boxes and hands out 100 pencils. How many pencils are left?",
        "15 boxes hold 15 * 12 = 180 pencils.\nAfter handing out 100 there are 180 - 100 = 80 pencils left.\n#### 80",
    ),
    (
        "Mia walks 3 km to work and the same way back, 5 days a week. How many kilometres does she walk in 4 weeks?",
        "A day is 3 * 2 = 6 km.\nA week is 6 * 5 = 30 km.\nFour weeks are 30 * 4 = 120 km.\n#### 120",
    ),
    (
        "A coat costs $80. It is sold at 25% off, and then a $5 coupon is taken off. What is the price?",
        "25% of 80 is 80 * 0.25 = 20 dollars.\nThe price is 80 - 20 = 60 dollars.\nWith the coupon it is 60 - 5 = 55 dollars.\n#### 55",
    ),
)
"""Worked examples of ours, in the form of the set's own solutions; none is a problem of the set."""


class GSM8KRules(NumberRules):
    """Plain numbers, asked for after three worked examples: the set's convention is few-shot, and a small model that
    sees how short a solution may be does not run into the cap."""

    def messages(self, text: str) -> tuple[Message, ...]:
        shots = [
            turn for question, answer in SHOTS for turn in (Message("user", question), Message("assistant", answer))
        ]
        return (*shots, Message("user", text))


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
