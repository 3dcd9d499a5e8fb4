"""Pictures and pages: self-contained, themed, and with labels that do not overlap."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.measure.page import eval_page
from ponder.measure.plots import Line, picture, spread


@given(st.lists(st.floats(-0.2, 1.2), max_size=8).map(sorted), st.floats(0.01, 0.11))
def test_labels_keep_their_order_and_distance(wanted: list[float], gap: float) -> None:
    places = spread(wanted, gap)
    assert len(places) == len(wanted)
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(places))
    assert all(-1e-9 <= at <= 1 + 1e-9 for at in places)


def test_labels_that_fit_stay_where_they_are() -> None:
    assert spread([0.1, 0.5, 0.9], 0.05) == [0.1, 0.5, 0.9]
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])


def test_a_picture_is_sound_svg_with_the_pages_colours() -> None:
    lines = [Line("pass@k", (1, 2, 4), (0.2, 0.4, None), (0.1, 0.2, None), (0.3, 0.6, None)),
             Line("a name that is far too long", (1,), (0.5,), (0.4,), (0.6,), 1, bars=True)]  # fmt: skip
    svg = picture(lines, x="k", y="accuracy", about='a <title> & "more"')
    root = ET.fromstring(svg)
    assert root.attrib["aria-label"] == 'a <title> & "more"'
    assert "width" not in root.attrib
    assert "var(--c0)" in svg
    assert "var(--c1)" in svg
    assert not re.search(r"#0[0a][0-9a-f]{2}0[0-9a-f]", svg)
    assert "DejaVu" not in svg
    assert picture(lines, x="k", y="accuracy", about="x") == picture(lines, x="k", y="accuracy", about="x")


@pytest.mark.parametrize("values", [(0.0,), (1.0, 1.0), (0.5, 0.5000001)])
def test_flat_and_single_points_can_be_drawn(values: tuple[float, ...]) -> None:
    x = [float(2**i) for i in range(len(values))]
    for zero in (False, True):
        for counts in (False, True):
            assert picture([Line("a", x, values, values, values)], x="k", y="y", about="a", zero=zero, counts=counts)


def test_nothing_to_draw_is_no_picture() -> None:
    assert picture([Line("a", (None,), (0.5,), (0.4,), (0.6,))], x="k", y="y", about="a") == ""


def row(samples: int, select: str, **more: Any) -> dict[str, Any]:
    return {
        "task": "t", "model": "<m>", "search": "sample", "select": select, "scorer": None, "stop": "fixed",
        "samples": samples, "problems": 10, "accuracy": 0.5, "low": 0.3, "high": 0.7, "unverified": 0, "truncated": 0,
        "cost": {"generated": 100 * samples, "scorer": 0},
    } | more  # fmt: skip


def test_the_report_of_eval() -> None:
    rows = [row(n, select) for n in (1, 4) for select in ("vote", "best")]
    rows.append(row(8, "vote", accuracy=None, low=None, high=None, exact=False, truncated=2))
    text = eval_page({"schema": 1, "label": "replay", "rows": rows}, None, command="ponder eval --model '<m>'")
    assert text.count("<svg") == 2
    assert "<m>" not in text, "what a user wrote must be escaped"
    assert "&lt;m&gt; on t" in text
    assert "1 of 5 rows are shares of right picks" in text
    assert "truncated" in text
    assert "unverified" not in text
    assert eval_page({"rows": []}, None).count("<svg") == 0
