"""Groups of chains: what of them says what to prefer."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs ponder[local]")

from ponder.train.rollouts import Group
from ponder.types import Chain, Finish, Problem, Segment, Verdict, correct, unverified, wrong


def group(*found: tuple[Finish, Verdict]) -> Group:
    chains = [
        Chain("p", f"e{i}", segments=(Segment("x", ids=(1,), logprobs=(-1.0,)),), finish=finish, tokens=1)
        for i, (finish, _) in enumerate(found)
    ]
    return Group(Problem("p", "?"), tuple(chains), tuple(verdict for _, verdict in found))


def test_a_cut_chain_earns_nothing_whatever_it_says() -> None:
    found = group(("stop", correct("7")), ("length", correct("7")), ("length", wrong("8")), ("stop", wrong("8")))
    assert found.rewards == [1, 1, 0, 0] and found.truncated == [False, True, True, False]
    cut = found.cut_is_wrong()
    assert cut.rewards == [1, 0, 0, 0] and cut.chains == found.chains
    assert cut.verdicts[1].reason != found.verdicts[1].reason and cut.verdicts[3] == found.verdicts[3]


def test_what_could_not_be_verified_stays_so() -> None:
    found = group(("length", unverified("no checker")), ("stop", correct("7"))).cut_is_wrong()
    assert not found.sound and not found.differs and found.verdicts[0].correct is None
