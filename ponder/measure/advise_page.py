"""The page of `advise --html`: a sentence a lever with its interval and picture, then what they rest on. One file
without scripts, as the other pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from ponder.measure import words
from ponder.measure.page import frame, table
from ponder.measure.plots import Line, picture

MORE = """\
.first { font-size: 1.15rem; margin: 14px 0; }
h3 { font-size: .95rem; margin: 20px 0 4px; }
.levers { max-width: 760px; }
.levers svg { display: block; width: 100%; height: auto; }
"""
ROW, LEFT, WIDE = 30, 150, 720
FEW = 10  # chains at risk below which a step is not drawn
METHOD = (
    "A gain is the change of accuracy at the budget, on problems like these; its interval (95 %) holds which problems "
    "were asked and what the samples leave open. Where the samples hold the changed setting the gain is exact; "
    "otherwise they are drawn again as a fitted world, and the interval is widened by how far that world is off where "
    "it can be checked."
)


def page(document: Mapping[str, Any], *, title: str, command: str) -> str:
    facts = [
        f"{document['problems']:,} problems",
        f"{document['samples']:,} samples",
        f"budget: {document['affordable']:,.3g} samples a problem",
        *([f"scores: {document['scorer']}"] if document["scorer"] else []),
    ]
    body = [
        f'<p class="first">{escape(words.first(document))}</p>',
        *parts(document),
        *_notes(document["remarks"]),
        f"<h2>How</h2><p>{METHOD}</p>",
    ]
    return frame(title, facts, body, command, style=MORE)


def parts(document: Mapping[str, Any], *, below: bool = False) -> list[str]:
    """The sections; the loop's report takes them, too. below: their headings stand below one of the page's own."""
    sections = _sections(document)
    return [part.replace("<h2>", "<h3>").replace("</h2>", "</h3>") for part in sections] if below else sections


def _sections(document: Mapping[str, Any]) -> list[str]:
    said = "".join(f"<li>{escape(words.lever(found))}</li>" for found in document["levers"])
    return [
        "<h2>The levers</h2>",
        f'<figure class="levers">{bars(document["levers"])}</figure><ul>{said}</ul>',
        "<h2>The taste</h2>",
        f"<p>{escape(words.overhang(document))} {escape(words.ceiling(document))} {escape(words.noise(document))}</p>",
        _figures((_best_of_n(document), _best_words(document))),
        _taste_table(document["taste"]),
        "<h2>The length</h2>",
        f"<p>{escape(words.length(document))}</p>",
        _figures((_hazard(document["length"]), "The share of chains that go off track at a step, of those on track.")),
        "<h2>The votes</h2>",
        f"<p>{escape(words.votes(document))} {escape(words.selector(document))}</p>",
        _flip_table(document["votes"]),
    ]


def bars(levers: Sequence[Mapping[str, Any]]) -> str:
    """Gains with their intervals on one axis, in points; an <svg> in the page's colours. '' if no lever is said."""
    said = [found for found in levers if "gain" in found]
    if not said:
        return ""
    low = min(0.0, *(100 * found["low"] for found in said))
    high = max(0.0, *(100 * found["high"] for found in said))
    step = _step((high - low) or 1.0)
    first, last = step * (low // step), -step * (-high // step)

    def x(value: float) -> float:
        return float(LEFT + (WIDE - LEFT - 60) * (value - first) / ((last - first) or 1.0))

    height = ROW * len(said) + 44
    out = []
    ticks = [first + i * step for i in range(round((last - first) / step) + 1)]
    for tick in ticks:
        colour = "--muted" if abs(tick) < step / 2 else "--grid"
        out.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="6" y2="{height - 36}" stroke="var({colour})"/>')
        out.append(_text(x(tick), height - 20, f"{tick:+g}" if tick else "0", "middle"))
    out.append(_text(x((first + last) / 2), height - 3, "points of accuracy", "middle"))
    for i, found in enumerate(said):
        y = 6 + ROW * (i + 0.5)
        a, b, v = (x(100 * found[key]) for key in ("low", "high", "gain"))
        colour = f"var(--c{i})"
        out.append(_text(LEFT - 14, y + 4, words.TITLES[found["lever"]], "end"))
        out.append(f'<line x1="{a:.1f}" x2="{b:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>')
        out += [f'<line x1="{e:.1f}" x2="{e:.1f}" y1="{y - 4}" y2="{y + 4}" stroke="{colour}"/>' for e in (a, b)]
        out.append(f'<circle cx="{v:.1f}" cy="{y}" r="4.5" fill="{colour}"/>')
        out.append(_text(b + 8, y + 4, words.points(found["gain"]), "start"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {height}" role="img" '
        f'aria-label="Gain of each lever in points, with intervals">{"".join(out)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    shown = escape(text.replace("-", "−"))
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="var(--ink)" font-size="13">{shown}</text>'


def _step(span: float) -> float:
    """A round distance of ticks, four to eight of them."""
    for power in range(-3, 4):
        for digit in (1, 2, 5):
            if span / (digit * 10.0**power) <= 8:
                return float(digit * 10.0**power)
    return float(span)


def _best_words(document: Mapping[str, Any]) -> str:
    pooled = any(point["predicted"] is not None for point in document["taste"].get("curve", ()))
    return f"Best of N by this score: exact from the samples{', and predicted from all problems' if pooled else ''}."


def _best_of_n(document: Mapping[str, Any]) -> str:
    curve = document["taste"].get("curve")
    if not curve:
        return ""
    exact = [p for p in curve if p["exact"] is not None]
    more = [p for p in curve if p["predicted"] is not None]
    lines = [Line.of("predicted", more, ("k", "predicted", "low", "high"), 1)] if more else []
    lines.append(Line.of("exact", exact, ("k", "exact", "exact", "exact"), 0))
    share = all(0 <= p["exact"] <= 1 for p in exact)
    y = "accuracy" if share else "quality"
    return picture(lines, x="samples a problem, N", y=y, about="Best of N, exact and predicted", zero=not share)


def _hazard(found: Mapping[str, Any]) -> str:
    points = [point for point in found.get("by_depth", ()) if point["at_risk"] >= FEW]
    if not points:
        return ""
    line = replace(Line.of("hazard", points, ("depth", "value", "low", "high"), 4), bars=True)
    about = "Hazard of going off track by step"
    return picture([line], x="step", y="share that goes off track", about=about, even=True)


def _figures(*items: tuple[str, str]) -> str:
    made = [f"<figure>{svg}<figcaption>{escape(text)}</figcaption></figure>" for svg, text in items if svg]
    return f'<div class="figures">{"".join(made)}</div>' if made else ""


def _taste_table(taste: Mapping[str, Any]) -> str:
    if "omitted" in taste:
        return ""
    named = {"auroc": "AUROC within problems", "d_prime": "d′", "reach": "reach (samples)",
             "overhang": "overhang (reach / affordable)", "ceiling": "ceiling"}  # fmt: skip
    rows = [[label, *_cells(taste[name])] for name, label in named.items()]
    rows += [[f"noise, {found['domain'] or 'all'}: {found['how']}", *_cells(found)] for found in taste["noise"]]
    if "value" in taste["shared_error"]:
        rows.append(["error shared by equal wrong answers", *_cells(taste["shared_error"])])
    if "nu" in taste["tail"]:
        tail = taste["tail"]
        rows.append(["tail of the error, ν (heavy below 5)", *_cells({**tail, "value": tail["nu"], "bound": None})])
    return table(["", "value", "95 % interval", "bound"], rows)


def _cells(found: Mapping[str, Any]) -> list[str]:
    if found["value"] is None:
        return ["–", "", ""]
    low, high = ("…" if found[key] is None else f"{found[key]:.3g}" for key in ("low", "high"))
    return [f"{found['value']:.3g}", f"{low} to {high}", found.get("bound") or ""]


def _flip_table(votes: Mapping[str, Any]) -> str:
    rows = [
        [str(f["problem"]), _share(f["p"]), _share(f["margin"]), f"{f['dispersion']:.2f}", f["because"] or "not told"]
        for f in votes["won"][:12]
    ]
    return table(["won by more votes", "p", "margin", "dispersion", "because of"], rows) if rows else ""


def _share(found: Mapping[str, float]) -> str:
    return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})".replace("-", "−")


def _notes(remarks: Sequence[str]) -> list[str]:
    return [f"<h2>Notes</h2><ul>{''.join(f'<li>{escape(r)}</li>' for r in remarks)}</ul>"] if remarks else []
