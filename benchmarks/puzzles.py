"""Puzzles: a right answer of each problem of every set is correct; how often a changed or hostile one is.

    python benchmarks/puzzles.py [--problems N]     N problems a set, 3 unless given

Asks the scorers in this process, so that 15,000 answers take a minute: the answers are those of this file. Each that is
correct and not the right answer spelled otherwise (case, spaces, zeros, brackets) is printed.
"""

from __future__ import annotations

import argparse
import copy
import os
import re
import signal
import sys
import warnings
from typing import Any

from ponder.tasks import puzzle_server as server

HOSTILE = [
    "", "0", "1", "-1", "True", "False", "yes", "no", "None", "null", "nan", "NaN", "inf", "-inf", "[]", "{}", "[NaN]",
    "[[NaN]]", "()", "''", "[[]]", "0 or 1", "A", "x", "C", "infeasible", "impossible", "nan+nanj", "nan, nan",
    "NaN NaN", "x/0", "oo", "zoo", '{"a":1}',
]  # fmt: skip


def changed(gold: str) -> list[str]:
    found = [
        f"{gold} {gold}",
        f"{gold}, {gold}",
        f"{gold} x",
        f"{gold}1",
        f"not {gold}",
        gold[:-1],
        gold[1:],
        f"-{gold}",
    ]
    found += [f"{gold} 7", f"{gold}\n{gold}", f"7 or {gold}"]
    try:
        value = float(gold)
    except ValueError:
        return found
    return [*found, str(value + 0.001), str(value * 1.001), str(value + 1), str(-value - 1e-4), str(int(value) + 1)]


def spelled(text: str) -> str:
    """One spelling of what a set may take as the same answer."""
    text = re.sub(r"(\.\d*?)0+(?!\d)", r"\1", re.sub(r"[\s()$]", "", text.lower())).replace(".0", ".")
    return re.sub(r"(?<![\d.])0+(?=[\d.])", "", re.sub(r"\.(?!\d)", "", text))


def alone(data: Any, entry: dict[str, Any], answer: str) -> float:
    """What the set's scorer gives; 0 if it raises or takes more than two seconds."""
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        return float(data.score_answer(answer=answer, entry=copy.deepcopy(entry)))
    except Exception:
        return 0.0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def holds(name: str, answer: str, entry: dict[str, Any]) -> bool:
    return name not in server.STRICTER or server.holds(name, answer, entry)


def late(*_: object) -> None:
    raise TimeoutError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=3)
    count = parser.parse_args().problems
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    try:
        gym = server.guarded()
    except ImportError:
        print("skipped: reasoning-gym is not installed")
        return 0
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, late)
    asked = golds = refused = loose = hits = 0
    sets = server.serve(gym, {})["names"]
    for name in sets:
        data = server.dataset(gym, name, 0, count, "{}")
        entries = [data[index] for index in range(count)]
        right = [server.gold(entry) for entry in entries]
        for entry, gold in zip(entries, right, strict=True):
            if gold is not None:
                golds += 1
                good = alone(data, entry, gold) >= 1 and (
                    name not in server.STRICTER or server.holds(name, gold, entry)
                )
                refused += not good
            others = [one for one in right if one is not None and one != gold]
            for answer in [*HOSTILE, *others, entry["question"], *(changed(gold) if gold else [])]:
                if gold is not None and spelled(answer) == spelled(gold):
                    continue
                asked += 1
                if alone(data, entry, answer.strip()) >= 1:
                    loose += 1
                    if holds(name, answer.strip(), entry):
                        hits += 1
                        print(f"  {name}: {answer[:60]!r} for {(gold or 'no answer')[:60]!r}")
    print(f"{len(sets)} sets, {golds} right answers, {refused} of them refused")
    print(f"{asked} other answers: the sets' scorers give 1 to {loose}, ponder to the {hits} above")
    return 0


if __name__ == "__main__":
    sys.exit(main())
