"""What an operation costs beyond the engine: milliseconds and peak memory at 1,000 and at 10,000 problems.

    python benchmarks/driver.py [--samples 4] [--rounds 3] [--json FILE]

Each case runs in a process of its own, so that its peak memory is its own. The engine is the scripted one with one
line for a reply; the search asks `--samples` times for one chain (an operation each); the task makes problems one at
a time. Time is that of `evaluate.run` alone, journal, samples and report rows included, imports not. Targets: at most
0.2 ms an operation at 10,000 problems, and at most 1.2 times the peak memory of 1,000.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ponder.arms import Group, Parts, cross
from ponder.engines.base import Request
from ponder.engines.scripted import ScriptedEngine
from ponder.evaluate import Plan, run
from ponder.journal import Journal
from ponder.ledger import Purse
from ponder.ops import Drawn, Extend, Search, Searching
from ponder.tasks.base import Rules
from ponder.tasks.rules import rules_for
from ponder.types import Budget, Chain, Problem, Sampling, Verdict

CASES = [(kept, budget) for kept in (False, True) for budget in (False, True)]
TARGET_MS, TARGET_MEMORY = 0.2, 1.2


class Lazy:
    """Sums, made when they are asked for."""

    name = "sums"

    def __init__(self, size: int) -> None:
        self._size = size
        self._rules = rules_for("number")

    def __len__(self) -> int:
        return self._size

    def problems(self, limit: int | None = None) -> Iterator[Problem]:
        for number in range(self._size):
            text = f"What is {number} + 1?"
            yield Problem(str(number), text, self._rules.messages(text))

    def rules(self, problem_id: str) -> Rules:
        return self._rules

    def verify(self, problem_id: str, completion: str) -> Verdict:
        return self._rules.judge(str(int(problem_id) + 1), completion)


class OneByOne(Parts):
    """The parts of an ordinary run, with a search that asks for its chains one operation at a time."""

    def search(self, group: Group, rules: Rules) -> Search:
        def search(problem: Problem) -> Searching:
            chains: list[Chain] = []
            for _ in range(group.samples):
                reply = yield Extend([problem.root])
                assert isinstance(reply, Drawn)
                chains += reply.chains
            return chains

        return search


def reply(request: Request, index: int) -> str:
    return f"First this, then that.\n\nThe answer is {request.seeds[index] % 7}."


def measure(problems: int, samples: int, kept: bool, budget: bool) -> dict[str, float]:
    """One run in this process."""
    parts = OneByOne(cross(["sample"], ["vote"], [], ["fixed"], [samples]), {})
    plan = Plan(Lazy(problems), parts, Sampling(), Budget(generated=100_000 if budget else None))
    engine = ScriptedEngine(reply)
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.jsonl" if kept else None)
        began, cpu = time.perf_counter(), time.process_time()
        done = run(plan, engine, journal, Purse(), Path(folder) / "samples.jsonl" if kept else None)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        journal.close()
    (tally,) = done.tallies.values()
    assert tally.problems == problems, f"{tally.problems} of {problems} problems came through"
    assert tally.cost.samples == problems * samples
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    operations = problems * samples
    return {"ms": 1000 * seconds / operations, "cpu_ms": 1000 * cpu / operations, "peak_mb": peak}


def apart(problems: int, samples: int, kept: bool, budget: bool) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--case", f"{problems},{samples},{int(kept)},{int(budget)}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each case; the median is shown")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        problems, samples, kept, budget = map(int, options.case.split(","))
        print(json.dumps(measure(problems, samples, bool(kept), bool(budget))))
        return
    print("| journal and samples | token budget | problems | ms/operation | CPU ms/operation | peak MB | × 1,000's |")
    print("|---|---|--:|--:|--:|--:|--:|")
    found = []
    for kept, budget in CASES:
        small = 0.0
        for problems in (1_000, 10_000):
            runs = [apart(problems, options.samples, kept, budget) for _ in range(options.rounds)]
            row = {name: sorted(each[name] for each in runs)[len(runs) // 2] for name in runs[0]}
            small = small or row["peak_mb"]
            ratio = row["peak_mb"] / small
            found.append({"kept": kept, "budget": budget, "problems": problems, "memory_ratio": ratio, **row})
            print(
                f"| {'on disk' if kept else 'none'} | {'yes' if budget else 'no'} | {problems:,} | {row['ms']:.3f} "
                f"| {row['cpu_ms']:.3f} | {row['peak_mb']:.1f} | {ratio:.2f} |",
                flush=True,
            )
    large = [row for row in found if row["problems"] == 10_000]
    met = all(row["ms"] <= TARGET_MS and row["memory_ratio"] <= TARGET_MEMORY for row in large)
    print(f"\ntargets (≤ {TARGET_MS} ms an operation, ≤ {TARGET_MEMORY} × the memory): {'met' if met else 'missed'}")
    if options.json:
        options.json.write_text(json.dumps({"rows": found, "met": met}, indent=1) + "\n")


if __name__ == "__main__":
    main()
