"""Checks a second and errors on MATH-500 answers: ponder's rules against math-verify as it comes, in one process.

    python benchmarks/mathematics.py [--data ../shared/data] [--limit 500] [--towers 3] [--json FILE]

Each reference is checked as it is and written otherwise (label: correct), and changed so that it is wrong (label:
wrong), as `ponder.tasks.perturb` makes them; the answer stands in \\boxed{…}, so extraction counts on both sides. The
sides take turns reference by reference. math-verify runs with its defaults and parses each reference once; ponder's
caches are as in use. Then a few power towers, timed apart. Targets: at least 8 times the checks a second, no more
errors, no check beyond 2 s. Needs pip install 'ponder[math]' and MATH-500 (math/math500.jsonl below --data).
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import statistics
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ponder.measure.intervals import wilson
from ponder.tasks import math, perturb
from ponder.tasks.rules import MathRules

TARGET = 8.0
LIMIT = 2.0
TOWERS = [
    "9^{9^{9^{9}}}",
    "2^{2^{2^{2^{2^{2}}}}}",
    r"\frac{10^{10^{10}}}{10^{10^{10}}}",
    "((10!)!)!",
    r"\sin(10^{10^{10}})",
]


class Side:
    """One verifier: its times and its errors by label."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.errors: list[tuple[str, str, str, str]] = []

    def note(self, seconds: float, label: str, verdict: str, how: str, reference: str, answer: str) -> None:
        self.seconds.append(seconds)
        self.counts[label, verdict] += 1
        if verdict != label:
            self.errors.append((how, reference, answer, verdict))

    def report(self) -> dict[str, Any]:
        rates = {}
        for name, label in (("wrong that passed", "wrong"), ("correct that failed", "correct")):
            total = sum(count for (said, _), count in self.counts.items() if said == label)
            bad = sum(n for (said, verdict), n in self.counts.items() if said == label and _is_error(said, verdict))
            found = wilson(bad, total)
            rates[name] = {"errors": bad, "of": total, "low": float(found.low), "high": float(found.high)}
        return {
            "checks": len(self.seconds),
            "per_second": len(self.seconds) / sum(self.seconds),
            "median_ms": 1000 * statistics.median(self.seconds),
            "slowest_s": max(self.seconds),
            "unverified": sum(n for (_, verdict), n in self.counts.items() if verdict == "unverified"),
            "errors_by_how": dict(Counter(how for how, *_ in self.errors).most_common()),
            "rates": rates,
        }


def _is_error(label: str, verdict: str) -> bool:
    """What is wrong and passes, or is correct and does not."""
    return verdict == "correct" if label == "wrong" else verdict != "correct"


def cases(reference: str) -> list[tuple[str, str, str]]:
    """(label, how, answer)."""
    return [
        ("correct", "as it is", reference),
        *(("correct", how, answer) for how, answer in perturb.respelled(reference)),
        *(("wrong", how, answer) for how, answer in perturb.perturbed(reference)),
    ]


def ours(side: Side, reference: str, found: list[tuple[str, str, str]]) -> None:
    rules = MathRules()
    for label, how, answer in found:
        completion = rf"The answer is \boxed{{{answer}}}"
        began = time.perf_counter()
        verdict = rules.judge(reference, completion).verdict
        side.note(time.perf_counter() - began, label, verdict, how, reference, answer)


def bare(side: Side, reference: str, found: list[tuple[str, str, str]]) -> None:
    from math_verify import parse, verify

    began = time.perf_counter()
    gold = parse(f"${reference}$")
    shared = (time.perf_counter() - began) / len(found)
    for label, how, answer in found:
        completion = rf"The answer is \boxed{{{answer}}}"
        began = time.perf_counter()
        verdict = "correct" if verify(gold, parse(completion)) else "wrong"
        side.note(time.perf_counter() - began + shared, label, verdict, how, reference, answer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--limit", type=int, default=500, help="references")
    parser.add_argument("--towers", type=int, default=3, help="power towers, each up to 10 s for math-verify")
    parser.add_argument("--show", type=int, default=0, help="errors of each side that are printed")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    math.require()
    logging.disable(logging.CRITICAL)
    lines = (options.data / "math" / "math500.jsonl").read_text("utf-8").splitlines()[: options.limit]
    references = [json.loads(line)["answer"] for line in lines]
    sides = {"ponder": Side(), "math-verify": Side()}
    ours(Side(), "5", [("correct", "", r"\sqrt{25}")])  # what is loaded once is loaded
    bare(Side(), "5", [("correct", "", r"\sqrt{25}")])
    for reference in references:
        found = cases(reference)
        ours(sides["ponder"], reference, found)
        bare(sides["math-verify"], reference, found)
    report: dict[str, Any] = {name: side.report() for name, side in sides.items()}
    report["ratio"] = report["ponder"]["per_second"] / report["math-verify"]["per_second"]
    for name, check in (("ponder", ours), ("math-verify", bare)):
        tower = Side()
        check(tower, "5", [("wrong", "tower", text) for text in TOWERS[: options.towers]])
        report[name]["slowest_tower_s"] = max(tower.seconds, default=0.0)
        report[name]["towers_passed"] = sum(verdict == "correct" for _, verdict in tower.counts)
    errors = {name: sum(rate["errors"] for rate in report[name]["rates"].values()) for name in sides}
    slowest = max(report["ponder"]["slowest_s"], report["ponder"]["slowest_tower_s"])
    report["passed"] = report["ratio"] >= TARGET and errors["ponder"] <= errors["math-verify"] and slowest <= LIMIT
    report["machine"] = (
        f"{platform.machine()}, Python {platform.python_version()}, math-verify {version('math-verify')}"
    )
    for name, side in sides.items():
        figures = report[name]
        rates = "; ".join(
            f"{what}: {rate['errors']} of {rate['of']} ({100 * rate['low']:.2f} to {100 * rate['high']:.2f} %)"
            for what, rate in figures["rates"].items()
        )
        print(
            f"{name}: {figures['per_second']:,.0f} checks/s, median {figures['median_ms']:.3f} ms, "
            f"slowest {figures['slowest_s']:.3f} s, tower {figures['slowest_tower_s']:.3f} s; {rates}; "
            f"{figures['unverified']} unverified"
        )
        if figures["errors_by_how"]:
            print("  errors: " + ", ".join(f"{how} {count}" for how, count in figures["errors_by_how"].items()))
        for how, reference, answer, verdict in side.errors[: options.show]:
            print(f"  {verdict}, {how}: {answer}   against   {reference}")
    verdict = "passed" if report["passed"] else "FAILED"
    print(f"{report['ratio']:.1f} times the checks a second (target {TARGET:g}): {verdict}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    math.close()
    sys.exit(not report["passed"])


if __name__ == "__main__":
    main()
