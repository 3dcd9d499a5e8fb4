"""Stop rules are pure functions: how many to draw next."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.errors import UsageError
from ponder.stop import STOPS
from ponder.stop.adaptive import beta_lead
from ponder.types import Chain, Left


def classes(answers):  # type: ignore[no-untyped-def]
    return [None if a is None else int(a) for a in answers]


def drawn(text: str) -> list[Chain]:
    """'1122-': answers, '-' abstains."""
    return [Chain("p", f"e{i}", answer=None if a == "-" else a, finish="stop") for i, a in enumerate(text)]


def more(name: str, samples: int, text: str, **settings: object) -> int:
    return STOPS.build(name, samples, classes, settings=settings)(drawn(text), None, Left())  # type: ignore[no-any-return]


def test_fixed_draws_all_at_once_and_then_nothing() -> None:
    assert [more("fixed", 5, "1" * n) for n in (0, 3, 5, 6)] == [5, 2, 0, 0]


@given(st.integers(0, 20), st.integers(0, 20))
def test_the_beta_criterion_equals_its_integral(first: int, second: int) -> None:
    """1 - I_half(a+1, b+1) by quadrature of the Beta density."""
    steps = 4000
    grid = [0.5 + 0.5 * (i + 0.5) / steps for i in range(steps)]
    whole = math.gamma(first + second + 2) / (math.gamma(first + 1) * math.gamma(second + 1))
    integral = sum(x**first * (1 - x) ** second for x in grid) * 0.5 / steps * whole
    assert beta_lead(first, second) == pytest.approx(integral, abs=1e-5)


def test_adaptive_needs_four_unanimous_votes_at_95_percent() -> None:
    assert beta_lead(3, 0) < 0.95 <= beta_lead(4, 0)
    assert more("adaptive", 16, "") == 4
    assert more("adaptive", 16, "1111") == 0
    assert more("adaptive", 16, "1112") == 4
    assert more("adaptive", 16, "----") == 4, "abstentions are no votes"


def test_adaptive_stops_when_the_vote_is_settled_or_all_is_drawn() -> None:
    assert more("adaptive", 6, "11112", lossless=True) == 0  # 3 ahead, 1 to come
    assert more("adaptive", 6, "1112", lossless=True) == 2  # 2 ahead, 2 to come: a tie is possible
    assert more("adaptive", 5, "12121") == 0
    assert more("adaptive", 6, "12121") == 1, "never more than the samples allow"


@given(st.text("123-", max_size=12))
def test_lossless_never_changes_the_winner(text: str) -> None:
    """If it stops early, no continuation gives another strict winner."""
    samples = 12
    if len(text) < samples and more("adaptive", samples, text, lossless=True) == 0:
        votes = sorted((text.count(a) for a in "123"), reverse=True)
        assert votes[0] - votes[1] > samples - len(text)


@pytest.mark.parametrize("settings", [{"tau": 0.4}, {"wave": 0}, {"waves": 3}])
def test_bad_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"adaptive|wave"):
        more("adaptive", 4, "", **settings)
