"""Pictures as inline SVG that follows the page's colours, light or dark.

matplotlib draws with stand-in colours; afterwards each becomes a CSS variable of the page (page.py defines them), so
that one picture serves both schemes. Text stays text, in the reader's own fonts.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID = "#010203", "#040506", "#070809"
SERIES = tuple(f"#0a{i:02x}0f" for i in range(8))
"""Stand-in colours: they occur nowhere else, so they can be replaced safely."""
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_NAMES = {INK: "--ink", MUTED: "--muted", GRID: "--grid"} | {c: f"--c{i}" for i, c in enumerate(SERIES)}
WIDTH, HEIGHT = 4.6, 3.3
EVEN = 8  # ticks of an even axis
LABEL = 18
"""Characters of a line's name; a longer one is broken."""


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: x, value, low and high have one entry a point; None leaves a point out. `bars` draws the interval
    as a bar a point instead of a band (separate runs, not one set of draws)."""

    label: str
    x: Sequence[float | None]
    value: Sequence[float | None]
    low: Sequence[float | None]
    high: Sequence[float | None]
    colour: int = 0
    bars: bool = False

    @classmethod
    def of(cls, label: str, points: Sequence[Mapping[str, Any]], keys: Sequence[str], colour: int) -> Line:
        """Of points as documents have them; `keys`: where x, value, low and high stand."""
        x, value, low, high = ([point[key] for point in points] for key in keys)
        return cls(label, x, value, low, high, colour)

    def points(self) -> list[tuple[float, float, float, float]]:
        rows = zip(self.x, self.value, self.low, self.high, strict=True)
        return [(x, v, v if lo is None else lo, v if hi is None else hi) for x, v, lo, hi in rows
                if x is not None and v is not None]  # fmt: skip


def picture(
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    about: str,
    zero: bool = False,
    counts: bool = False,
    even: bool = False,
) -> str:
    """An <svg> of the lines over a log2 axis, named for screen readers. `zero`: a line at 0 (differences), else the
    scale is a share from 0 to at most 1. `counts`: x counts tokens, and its ticks are round numbers instead of
    doublings. `even`: the axis is linear, and x numbers things. '' if no line has a point."""
    drawn = [line for line in lines if line.points()]
    if not drawn:
        return ""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": about,
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
    }
    with rc_context(style):
        figure = Figure(figsize=(WIDTH, HEIGHT))
        FigureCanvasSVG(figure)
        names = [textwrap.fill(line.label, LABEL, break_long_words=False) for line in drawn]
        right = 0.14 + 0.079 * max(len(part) for name in names for part in name.split("\n"))
        axes = figure.add_axes((0.125, 0.15, 0.875 - right / WIDTH, 0.81))
        for line in drawn:
            _draw(axes, line)
        _scales(axes, drawn, zero, counts, even)
        _dress(axes, x, y)
        _labels(axes, drawn, names)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _clean(out.getvalue(), about)


def _draw(axes: Axes, line: Line) -> None:
    x, value, low, high = (list(column) for column in zip(*line.points(), strict=True))
    colour = SERIES[line.colour % len(SERIES)]
    if line.bars:
        spread = [[v - a for v, a in zip(value, low, strict=True)], [b - v for v, b in zip(value, high, strict=True)]]
        axes.errorbar(x, value, yerr=spread, fmt="none", ecolor=colour, elinewidth=1, capsize=2.5, alpha=0.65)
    else:
        axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
    mark = MARKS[line.colour % len(MARKS)]
    axes.plot(x, value, color=colour, linewidth=1.7, marker=mark, markersize=4, markeredgewidth=0)


def _scales(axes: Axes, lines: Sequence[Line], zero: bool, counts: bool, even: bool) -> None:
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

    points = [point for line in lines for point in line.points()]
    first, last = min(p[0] for p in points), max(p[0] for p in points)
    if not even:
        axes.set_xscale("log", base=2)
    if even:
        axes.set_xlim(first - 0.03 * (last - first) - 0.1, last + 0.03 * (last - first) + 0.1)
        ticks = [first + i for i in range(0, int(last - first) + 1, 1 + int(last - first) // EVEN)]
    elif first == last:
        axes.set_xlim(first / 2, last * 2)
        ticks = [first]
    else:
        axes.set_xlim(first / (last / first) ** 0.03, last * (last / first) ** 0.03)
        ticks = _round(first, last) if counts else _doublings(first, last)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([_short(tick) for tick in ticks])
    low, high = min(p[2] for p in points), max(p[3] for p in points)
    if zero:
        reach = max(0.02, high - low, abs(low), abs(high)) * 0.08
        axes.set_ylim(min(low, 0) - reach, max(high, 0) + reach)
        axes.axhline(0, color=MUTED, linewidth=1)
    else:
        room = 0.06 * max(0.05, high - low)
        bottom = 0.0 if low < 0.35 else low - room
        axes.set_ylim(bottom, 1.0 + room / 2 if high > 0.97 else high + room)


def _doublings(first: float, last: float) -> list[float]:
    """At most six ticks, a power of two apart, from the first point on."""
    step = 2.0
    while first * step**5 < last:
        step *= 2
    ticks = [first]
    while ticks[-1] * step <= last * 1.0001:
        ticks.append(ticks[-1] * step)
    return ticks


def _round(first: float, last: float) -> list[float]:
    """At most six of 1, 2, 5, 10, … within the points (of 1, 10, … over a long range); the first and last if none."""
    powers = range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**power for power in powers for step in steps]
        ticks = [tick for tick in ticks if first * 0.98 <= tick <= last * 1.02]
        if 2 <= len(ticks) <= 6:
            return ticks
    return [first, last]


def _short(value: float) -> str:
    if value >= 9.95e5:
        return f"{value / 1e6:.3g}M"
    return f"{value / 1000:.3g}k" if value >= 9_995 else f"{value:,.0f}" if value >= 10 else f"{value:.3g}"


def _dress(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(colors=INK, length=3, width=0.8)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)


def _labels(axes: Axes, lines: Sequence[Line], names: Sequence[str]) -> None:
    """Names at the ends of the lines, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    axes_height = 0.81 * HEIGHT * 72
    ends = sorted(((line.points()[-1][1] - low) / (high - low), i) for i, line in enumerate(lines))
    rows = max(name.count("\n") + 1 for name in names)
    place = spread([at for at, _ in ends], (1 + 11.5 * rows) / axes_height)
    for (_, i), at in zip(ends, place, strict=True):
        colour = SERIES[lines[i].colour % len(SERIES)]
        axes.annotate(names[i], (1.02, at), xycoords="axes fraction", color=colour, va="center", annotation_clip=False)


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Ascending places, at least `gap` apart and within [0, 1] if there is room, near the wanted ones."""
    blocks: list[list[float]] = []  # [sum of (wanted - offset), number, start]
    for at in wanted:
        blocks.append([at, 1])
        while len(blocks) > 1 and _start(blocks[-2], gap) + blocks[-2][1] * gap > _start(blocks[-1], gap):
            total, count = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + count]
    places = [_start(block, gap) + j * gap for block in blocks for j in range(int(block[1]))]
    if places and places[-1] > 1:
        places = [min(p, 1 - (len(places) - 1 - i) * gap) for i, p in enumerate(places)]
    return [max(p, i * gap) for i, p in enumerate(places)]


def _start(block: Sequence[float], gap: float) -> float:
    """Where the first of a block of labels goes, so that the block's middle is its mean wanted place."""
    return block[0] / block[1] - (block[1] - 1) * gap / 2


def _clean(svg: str, about: str) -> str:
    """Inline SVG: no prologue, no fixed size, no group ids; stand-in colours as CSS variables."""
    from html import escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    head, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    name = escape(about, quote=True)
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = f'<svg {spaces} {box[0]} role="img" aria-label="{name}">{rest}'
    svg = re.sub(r"(?:'?DejaVu Sans'?(?:, ?)?)+", "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", svg)
    for colour, variable in _NAMES.items():
        svg = svg.replace(colour, f"var({variable})")
    return re.sub(r"\s*\n\s*", "\n", svg).strip()
