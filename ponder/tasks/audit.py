"""How far verdicts can be trusted: error rates against labels, gold answers that fail, changed ones that pass.

    errors   labelled completions: false positives and negatives with Wilson intervals, and each disagreement in full
    gold     every reference, as a completion '\\boxed{…}', must be correct, and written otherwise too
    changed  every reference changed so that it is wrong (`perturb`) must not be correct

A label says what is true by other means than these rules. 'unverified' is no error, and is counted apart.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ponder.measure.intervals import wilson
from ponder.tasks import math, perturb
from ponder.tasks.base import Rules
from ponder.tasks.rules import RULES
from ponder.types import Verdict

SLOWEST = 10
"""Cases that are listed as the slowest."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A completion and whether it is correct; `label` is None where nobody has said."""

    id: str
    reference: Any
    completion: str
    label: bool | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One check. `expected`: what the verdict should have been."""

    id: str
    reference: str
    answer: str
    expected: str
    verdict: Verdict
    seconds: float
    how: str = ""


@dataclass
class Audit:
    """`labels`: how often (label, verdict) came. `disagreements`: verdicts against the label. `gold`, `changed`: how
    often each verdict came; `failures`: those that should not have."""

    labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    disagreements: list[Case] = field(default_factory=list)
    gold: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    failures: list[Case] = field(default_factory=list)
    slowest: list[Case] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether every gold answer verified and no changed one did."""
        return not self.failures

    def rates(self) -> dict[str, dict[str, float]]:
        """False positives among what is wrong, false negatives among what is correct, unverified among all: each the
        rate and its 95 % Wilson interval."""
        found = {}
        for name, label, verdict in (("false_positive", "wrong", "correct"), ("false_negative", "correct", "wrong")):
            total = sum(count for (said, _), count in self.labels.items() if said == label)
            found[name] = _rate(self.labels[label, verdict], total)
        total = sum(self.labels.values())
        found["unverified"] = _rate(sum(n for (_, verdict), n in self.labels.items() if verdict == "unverified"), total)
        return found

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "schema": 1,
            "labelled": {f"{label}/{verdict}": count for (label, verdict), count in sorted(self.labels.items())},
            "rates": self.rates(),
            "gold": dict(self.gold),
            "changed": dict(self.changed),
            "failures": [_row(case) for case in self.failures],
            "disagreements": [_row(case) for case in self.disagreements],
            "slowest": [_row(case) for case in self.slowest],
        }


def audit(rules: Rules, rows: Iterable[Labelled]) -> Audit:
    """Judges every row, and each distinct reference as it is, written otherwise, and changed."""
    if rules.kind == "math" and math.installed():
        math.prepare()  # what is loaded once is no check's time
    found = Audit()
    references: dict[str, Any] = {}
    for row in rows:
        references.setdefault(str(row.reference), row.reference)
        if row.label is None:
            continue
        expected = "correct" if row.label else "wrong"
        case = _case(rules, row.id, row.reference, row.completion, expected, found)
        found.labels[expected, case.verdict.verdict] += 1
        if case.verdict.verdict not in (expected, "unverified"):
            found.disagreements.append(case)
    if rules.kind in RULES and not rules.structured:
        for number, (text, reference) in enumerate(references.items(), 1):
            _references(rules, f"reference {number}", text, reference, found)
    return found


def _references(rules: Rules, row_id: str, text: str, reference: Any, found: Audit) -> None:
    spellings = perturb.respelled(text) if rules.kind == "math" else []
    for how, answer in [("as it is", text), *spellings]:
        case = _case(rules, row_id, reference, rf"\boxed{{{answer}}}", "correct", found, how)
        found.gold[case.verdict.verdict] += 1
        if case.verdict.verdict != "correct":
            found.failures.append(case)
    if rules.kind in ("math", "number"):
        for how, answer in perturb.perturbed(text):
            case = _case(rules, row_id, reference, rf"\boxed{{{answer}}}", "wrong", found, how)
            found.changed[case.verdict.verdict] += 1
            if case.verdict.verdict == "correct":
                found.failures.append(case)


def _case(
    rules: Rules, row_id: str, reference: Any, completion: str, expected: str, found: Audit, how: str = ""
) -> Case:
    started = time.perf_counter()
    verdict = rules.judge(reference, completion)
    seconds = time.perf_counter() - started
    case = Case(row_id, str(reference), rules.extract(completion) or "", expected, verdict, seconds, how)
    found.slowest = sorted([*found.slowest, case], key=lambda one: -one.seconds)[:SLOWEST]
    return case


def _rate(errors: int, total: int) -> dict[str, float]:
    if total == 0:
        return {"errors": 0, "of": 0}
    found = wilson(errors, total)
    return {"errors": errors, "of": total, "rate": errors / total, "low": float(found.low), "high": float(found.high)}


def _row(case: Case) -> dict[str, Any]:
    return {
        "id": case.id,
        "reference": case.reference,
        "answer": case.answer,
        "expected": case.expected,
        "verdict": case.verdict.verdict,
        "reason": case.verdict.reason,
        "how": case.how,
        "seconds": round(case.seconds, 6),
    }
