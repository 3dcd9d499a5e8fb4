"""The checker rates by public tests alone."""

from __future__ import annotations

import pytest

from ponder.sandbox import missing
from ponder.scorers import SCORERS
from ponder.scorers.base import Seen
from ponder.types import Chain, Problem, Segment

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")

PROBLEM = Problem("p", "Double it.\nassert f(1) == 2\nassert f(2) == 4\nassert f(0) == 0")


def chain(text: str, finish: str = "stop") -> Chain:
    return Chain("p", "e0", segments=(Segment(text),), finish=finish)  # type: ignore[arg-type]


def rated(problem: Problem, *chains: Chain) -> list[float | None]:
    scorer = SCORERS.build("checker")
    assert not scorer.pure and not scorer.needs
    return [rating.value for rating in scorer.rate(Seen(problem), chains)]


def test_the_share_of_public_tests_that_pass() -> None:
    found = rated(
        PROBLEM,
        chain("```python\ndef f(x): return 2 * x\n```"),
        chain("def f(x): return 2"),
        chain("def f(x): return 3"),
        chain("I cannot.\n```\n```"),
        chain("import os\ndef f(x): return 2 if x == 1 else os._exit(0)"),
        chain("def f(x): return 2 * x", "length"),
    )
    assert found == [1.0, pytest.approx(1 / 3), 0.0, 0.0, pytest.approx(1 / 3), 1.0]


def test_what_cannot_be_rated_is_not() -> None:
    assert rated(Problem("p", "Double it."), chain("def f(x): return 2 * x")) == [None]
    assert rated(PROBLEM, chain("def f(x): return 2 * x", "step"), chain("", "error")) == [None, None]


def test_without_a_sandbox_nothing_is_rated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponder.sandbox.bwrap.missing", lambda: "no sandbox: none here")
    assert rated(PROBLEM, chain("def f(x): return 2 * x")) == [None]
