"""One small self-contained HTML page from the document of `curves`, `compare` or `eval`.

Pictures, the tables under them, and how they were made. No script, no font, no request: it can be mailed, opened
offline, and its pictures copied into a paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from ponder.measure.names import CURVES
from ponder.measure.plots import SERIES, Line, picture

COLOURS = {name: i for i, name in enumerate(CURVES)}
METHOD = (
    "Each value is the exact mean over all ways to choose k of the recorded samples of a problem, averaged over "
    "problems. Intervals are for the mean over problems like these: a score interval under the exponential tilt of the "
    "problems' values, which for values 0 and 1 is Wilson's."
)


def curves_page(document: Mapping[str, Any], *, title: str, command: str) -> str:
    """The page of `curves --html`."""
    curves: Mapping[str, Any] = document["curves"]
    facts = [
        f"{document['problems']:,} problems",
        f"{document['samples']:,} samples",
        *([f"{document['unverified']:,} unverified"] if document["unverified"] else []),
        *([f"scores: {document['scorer']}"] if document["scorer"] else []),
    ]
    body = [_figures(_curve_lines(curves), "accuracy", title), _curve_table(curves), _guesses(document)]
    return _page(title, facts, body, command, document["level"], document["remarks"])


def compare_page(document: Mapping[str, Any], *, title: str, command: str) -> str:
    """The page of `compare --html`: the difference of B minus A."""
    a, b = document["a"]["name"], document["b"]["name"]
    facts = [f"{document['problems']:,} problems in common", f"A: {a}", f"B: {b}"]
    remarks = list(document["remarks"])
    only = {side: document[f"only_{side}"] for side in "ab"}
    remarks += [f"{len(m):,} problems only in {side.upper()}: {_some(m)}" for side, m in only.items() if m]
    found = document["differences"]
    lines = [Line.of(CURVES[n], points, ("k", "difference", "low", "high"), COLOURS[n]) for n, points in found.items()]
    svg = picture(lines, x="samples a problem, k", y="B − A", about=f"{title}: difference against samples", zero=True)
    figures = [_figure(svg, "Difference of B minus A on the same problems.")]
    for name, points in found.items():
        sides = [Line.of(key.upper(), points, (f"tokens_{key}", key, key, key), i) for i, key in enumerate("ab")]
        about = f"{title}: {CURVES[name]} against tokens"
        svg = picture(sides, x="all tokens a problem", y=CURVES[name], about=about, counts=True)
        figures.append(_figure(svg, f"{CURVES[name]} of both, against all tokens."))
    body = ['<div class="figures">' + "".join(figures) + "</div>", _difference_table(document)]
    return _page(title, facts, body, command, document["level"], remarks)


def eval_page(
    document: Mapping[str, Any], curves: Mapping[str, Any] | None, *, title: str = "", command: str = ""
) -> str:
    """The report of `ponder eval`: accuracy of each arm against samples and tokens, and, where the draws allow it, the
    curves read off them. `document` is that of `eval --json`, `curves` that of `curves --json`."""
    rows: Sequence[Mapping[str, Any]] = document["rows"]
    first = rows[0] if rows else {}
    title = title or f"{first.get('model', '')} on {first.get('task', '')}"
    facts = [f"{max((row['problems'] for row in rows), default=0):,} problems", f"{len(rows)} arms"]
    if document.get("label"):
        facts.append(f"promise: {document['label']}")
    body = [_figures(_eval_lines(rows), "accuracy", title), _eval_table(rows)]
    picked = sum(not row.get("exact", True) for row in rows)
    remarks = (
        [f"{picked} of {len(rows)} rows are shares of right picks of this run, with Wilson's interval"]
        if picked
        else []
    )
    if curves is not None:
        body += [
            "<h2>Read off the same draws</h2>",
            _figures(_curve_lines(curves["curves"]), "accuracy", f"{title}, curves"),
        ]
        body += [_curve_table(curves["curves"]), _guesses(curves)]
        remarks += curves["remarks"]
    return _page(title, facts, body, command, curves["level"] if curves else 0.95, remarks)


def _curve_lines(curves: Mapping[str, Any]) -> list[tuple[Line, Line]]:
    """(against samples, against tokens) for each curve."""
    found = []
    for name, points in curves.items():
        both = [Line.of(CURVES[name], points, (x, "value", "low", "high"), COLOURS[name]) for x in ("k", "tokens")]
        found.append((both[0], both[1]))
    return found


def _eval_lines(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Line, Line]]:
    """A line for each search, stop rule, selector and scorer, over the numbers of samples."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["search"], row["stop"], row["select"], row["scorer"]), []).append(row)
    varied = [len({key[i] for key in groups} - {None}) > 1 for i in range(4)]
    varied[2] = varied[2] or not any(varied)
    found = []
    for colour, (key, members) in enumerate(list(groups.items())[: len(SERIES)]):
        label = " ".join(str(part) for part, shown in zip(key, varied, strict=True) if shown and part)
        points = [{**row, "spent": _tokens(row)} for row in sorted(members, key=lambda row: int(row["samples"]))]
        both = [Line.of(label, points, (x, "accuracy", "low", "high"), colour) for x in ("samples", "spent")]
        found.append((replace(both[0], bars=True), replace(both[1], bars=True)))
    return found


def _tokens(row: Mapping[str, Any]) -> float | None:
    spent = row["cost"]["generated"] + row["cost"].get("scorer", 0)
    return spent / row["problems"] if spent and row["problems"] else None


def _figures(lines: Sequence[tuple[Line, Line]], y: str, title: str) -> str:
    samples, tokens = ([pair[i] for pair in lines] for i in range(2))
    left = picture(samples, x="samples a problem, k", y=y, about=f"{title}: {y} against samples")
    right = picture(tokens, x="all tokens a problem", y=y, about=f"{title}: {y} against all tokens", counts=True)
    words = "Against all tokens, a scorer's included where it is used."
    return f'<div class="figures">{_figure(left, "Against samples.")}{_figure(right, words)}</div>'


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>" if svg else ""


def _curve_table(curves: Mapping[str, Any]) -> str:
    first = next(iter(curves.values()))
    cost = any(point["tokens"] is not None for point in first)
    head = ["k", "problems", *(["tokens"] if cost else []), *(CURVES[name] for name in curves)]
    rows = []
    for i, point in enumerate(first):
        cells = [str(point["k"]), f"{point['problems']:,}", *([_count(point["tokens"])] if cost else [])]
        rows.append([*cells, *(_span(points[i]) for points in curves.values())])
    return table(head, rows)


def _difference_table(document: Mapping[str, Any]) -> str:
    head = ["curve", "k", "problems", "A", "B", "B − A", "verdict"]
    rows = []
    for name, points in document["differences"].items():
        for p in points:
            cells = [CURVES[name], str(p["k"]), f"{p['problems']:,}", _share(p["a"]), _share(p["b"])]
            rows.append([*cells, _span({**p, "value": p["difference"]}, signed=True), p["verdict"]])
    return table(head, rows)


def _eval_table(rows: Sequence[Mapping[str, Any]]) -> str:
    head = [
        "search",
        "stop",
        "select",
        "scorer",
        "samples",
        "problems",
        "accuracy",
        "tokens",
        "truncated",
        "unverified",
    ]
    cells = [
        [
            *(str(row[key] or "") for key in head[:4]),
            str(row["samples"]),
            f"{row['problems']:,}",
            _span({"value": row["accuracy"], "low": row["low"], "high": row["high"]}),
            _count(_tokens(row)),
            str(row["truncated"]),
            str(row["unverified"]),
        ]
        for row in rows
    ]
    same = {name for i, name in enumerate(head[:2]) if len({row[i] for row in cells}) == 1}
    idle = {name for i, name in enumerate(head) if all(row[i] in ("", "0") for row in cells)} & {"scorer", *head[-2:]}
    keep = [i for i, name in enumerate(head) if name not in same | idle]
    return table([head[i] for i in keep], [[row[i] for i in keep] for row in cells])


def _guesses(document: Mapping[str, Any]) -> str:
    found = document["expected_guesses"]
    if found["value"] is None or found["cap"] < 2:
        return ""
    never = f"; {found['never']:,} problems had no success" if found["never"] else ""
    return (
        f"<p>Expected guesses to the first success, giving up after {found['cap']}: {found['value']:.3g} "
        f'<span class="range">({found["low"]:.3g} to {found["high"]:.3g})</span>{never}.</p>'
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML of this module's making; the head and plain words are escaped here."""
    top = "".join(f"<th scope=col>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide" tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    return text if text.startswith('<span class="value">') else escape(text)


def _span(point: Mapping[str, Any], *, signed: bool = False) -> str:
    if point["value"] is None:
        return "–"
    value, low, high = (
        f"{point[key]:{'+' if signed else ''}.3f}".replace("-", "−") for key in ("value", "low", "high")
    )
    return f'<span class="value">{value}</span> <span class="range">{low} to {high}</span>'


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _page(
    title: str, facts: Sequence[str], body: Sequence[str], command: str, level: float, remarks: Sequence[str]
) -> str:
    notes = "".join(f"<li>{escape(remark)}</li>" for remark in remarks)
    ending = [f"<h2>Notes</h2><ul>{notes}</ul>"] if notes else []
    how = f"<h2>How</h2><p>{METHOD} Bands and ranges: {level:.0%}.</p>"
    return frame(title, facts, [*body, *ending, how], command)


def frame(title: str, facts: Sequence[str], body: Sequence[str], command: str, *, style: str = "") -> str:
    """A whole page of parts that are HTML already; `style` is added to the pages' own."""
    made = f"<h2>Made by</h2><pre>{escape(command)}</pre>" if command else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<style>\n{STYLE}{style}</style>\n</head>\n<body>\n<main>\n'
        f'<h1>{escape(title)}</h1>\n<p class="facts">{escape(" · ".join(facts))}</p>\n'
        + "\n".join(part for part in body if part)
        + f"\n{made}\n</main>\n</body>\n</html>\n"
    )


STYLE = """\
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c2127; --muted: #5d6873; --grid: #e3e7eb; --code: #f3f5f7;
  --c0: #0b62b0; --c1: #b3500a; --c2: #17774a; --c3: #8a3b9c; --c4: #a5243d; --c5: #5b6200;
  --c6: #00707f; --c7: #555f6b; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181c; --ink: #e6eaee; --muted: #9aa5b0; --grid: #2b323a; --code: #1e242a;
    --c0: #6cb4f5; --c1: #f2a15c; --c2: #62cf98; --c3: #d59be6; --c4: #f58a9c; --c5: #c9cf6a;
    --c6: #5fd0de; --c7: #b4bec9; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 1.45rem; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 28px 0 6px; }
p, ul { max-width: 75ch; margin: 6px 0; }
ul { padding-left: 1.2em; }
.facts, .range, figcaption { color: var(--muted); }
.facts { overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr));
  gap: 12px 28px; margin: 16px 0; }
figure { margin: 0; max-width: 620px; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { font-size: .87rem; }
.wide { overflow-x: auto; margin: 14px 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 14px 4px 0; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--grid); }
th { font-weight: 600; border-bottom-color: var(--muted); }
.range { font-size: .85em; }
pre { background: var(--code); padding: 10px 12px; border-radius: 4px; white-space: pre-wrap; overflow-wrap: anywhere;
  font-size: .87rem; margin: 6px 0; }
@media print { :root { color-scheme: light; } main { max-width: none; padding: 0; } }
"""
