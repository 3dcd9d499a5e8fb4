"""The checker: the share of a problem's own public tests that a chain's program passes. It sees no reference.

Public tests are what the problem's text shows: assertions and interpreter examples. A chain without a program is rated
0 (it surely fails them); a problem that shows no tests, or a machine without a sandbox, cannot be rated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ponder.scorers.base import Seen
from ponder.tasks.code import CodeRules, ProgramTests, program_of
from ponder.tasks.publictests import shown_tests
from ponder.types import Chain, Rating


class CheckerScorer:
    name = "checker"
    pure = False  # a machine without a sandbox rates otherwise

    def __init__(self, sandbox: str = "") -> None:
        self.needs: Mapping[str, str] = {}
        self._rules = CodeRules(sandbox=sandbox)

    def rate(self, seen: Seen, chains: Sequence[Chain]) -> list[Rating]:
        tests = shown_tests(seen.problem.text)
        known: dict[str, float | None] = {}
        return [Rating(_share(chain, tests, self._rules, known)) for chain in chains]


def _share(chain: Chain, tests: Sequence[str], rules: CodeRules, known: dict[str, float | None]) -> float | None:
    if not tests or not chain.ended or not chain.drawn:
        return None
    program = program_of(chain.reply)
    if program is None:
        return 0.0
    if program not in known:
        found = rules.find(program, ProgramTests(list(tests)), every=True)
        known[program] = None if found.verdict == "unverified" else found.passed / len(tests)
    return known[program]


def build(*, sandbox: str = "") -> CheckerScorer:
    """`sandbox`: 'bwrap' or 'none'; '' is the variable PONDER_SANDBOX, else bwrap."""
    return CheckerScorer(sandbox)
