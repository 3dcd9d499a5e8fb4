"""Progress of training where stderr is no terminal: a line a phase, and one now and then."""

from __future__ import annotations

import pytest

from ponder.cli.bars import EVERY, Bars


def test_lines_come_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with Bars(show=False, clock=lambda: now[0]) as bars:
        for step in range(1, 8):
            now[0] += EVERY / 3
            bars.watch("steer", step, 7, {"reward": step / 10, "dropped": 0.5, "tokens": 500.0, "norm": 3.0})
        bars.watch("steer", 1, 1, {"reward": 0.7, "seconds": 70.0, "done": 1})
    assert capsys.readouterr().err.splitlines() == [
        "steer: 3 of 7 · reward 0.3 · dropped 0.5 · 50 tokens/s",
        "steer: 6 of 7 · reward 0.6 · dropped 0.5 · 50 tokens/s",
        "steer: 70.0 s · reward 0.7",
    ]


def test_bars_do_not_print_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars(show=True) as bars:
        bars.watch("steer", 1, 2, {"reward": 0.5})
        bars.watch("steer", 1, 1, {"seconds": 1.0, "done": 1})
    assert "steer" in capsys.readouterr().err


def test_what_another_process_said_is_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    for show in (False, True):
        with Bars(show=show) as bars:
            bars.watch("seed 3: base: 1.0 s", 0, 0, {})
        assert "seed 3: base: 1.0 s" in capsys.readouterr().err
