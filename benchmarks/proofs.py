"""The shipped theorems: every reference proof verifies, and how many resist automatic tactics.

    python benchmarks/proofs.py [--fast | --short]     --fast: leaves the reference proofs out
                                                       --short: as --fast, with auto, eauto, intuition and lia alone

An attempt is one tactic without induction, for at most five seconds: auto, intuition, congruence, firstorder, lia, nia,
ring, each also after computing and after taking the first variable apart. A theorem resists if all fail. Needs coqc.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ponder.tasks.proof import load
from ponder.tasks.rocq import Rocq
from ponder.tasks.theorems import Listed, files, listed

BASE = (
    "auto with arith datatypes",
    "eauto 6 with arith datatypes",
    "intuition auto with arith datatypes",
    "congruence",
    "lia",
    "nia",
    "ring",
    "easy",
    "firstorder",
)
SHAPES = (
    "{}",
    "intros; {}",
    "intros; simpl; {}",
    "intros; simpl in *; subst; {}",
    "let x := fresh in intros x; destruct x; intros; simpl; {}",
)
SHORT = (*BASE[:3], "lia")


def resisting(found: list[Listed], tactics: Sequence[str] = BASE) -> set[str]:
    """The ids of the theorems of one file that every attempt leaves unproved. One run of coqc."""
    first = found[0].theorem
    attempts = [shape.format(tactic) for shape in SHAPES for tactic in tactics]
    tries = " | ".join(f"timeout 5 solve [ {attempt} ]" for attempt in attempts)
    lines = [first.header, "Require Import Arith Lia Ring List.", first.definitions]
    for one in found:
        lines += [f"Goal {one.theorem.statement}.", f'first [ {tries} | idtac "resists {one.id}" ].', "Abort."]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tries.v"
        file.write_text("\n".join(lines), encoding="utf-8")
        command = ["coqc", "-q", "-noglob", "-w", "none", str(file)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=540, check=False)
    if ended.returncode != 0:
        sys.exit(f"{found[0].id}: {ended.stderr}")
    return set(re.findall(r"^resists (\S+)$", ended.stdout, re.MULTILINE))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--short", action="store_true")
    arguments = parser.parse_args()
    if why := Rocq().missing():
        print(f"skipped: {why}")
        return 0
    theorems = [list(listed(file)) for file in files()]
    tactics = SHORT if arguments.short else BASE
    resists = set().union(*(resisting(found, tactics) for found in theorems))
    print(f"{'file':12} theorems  need induction  of these resist  others that resist")
    soft: list[str] = []
    for found in theorems:
        marked = [one.id for one in found if one.induction]
        hard = [name for name in marked if name in resists]
        others = [one.id for one in found if one.id in resists and not one.induction]
        soft += [name for name in marked if name not in resists]
        print(f"{found[0].id.partition(':')[0]:12} {len(found):8}  {len(marked):14}  {len(hard):15}  {len(others):18}")
    print(f"marked and resisting: {len(resists & {o.id for f in theorems for o in f if o.induction})}")
    print(f"marked, yet proved by an attempt: {', '.join(soft) or 'none'}")
    if arguments.fast or arguments.short:
        return 0
    task = load()
    seconds: list[float] = []
    for problem in task.problems():
        started = time.perf_counter()
        verdict = task.verify(problem.id, task.proof(problem.id))
        seconds.append(time.perf_counter() - started)
        if verdict.correct is not True:
            print(f"{problem.id}: {verdict.verdict}: {verdict.reason}")
            return 1
    seconds.sort()
    median, slowest = seconds[len(seconds) // 2], seconds[-1]
    print(f"{len(seconds)} of {len(task)} reference proofs verify; median {median:.2f} s, slowest {slowest:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
