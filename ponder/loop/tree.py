"""A drawing of one problem's tree: steps as boxes, what went on as lines, what was pruned pale. Inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

Row = Mapping[str, Any]

WIDTH, GAP, HEIGHT, LINE = 190, 26, 20, 26  # of a box, between boxes, of a box, between boxes below each other: pixels
MORE = """\
.tree { font: 12px ui-monospace, 'SF Mono', Menlo, Consolas, monospace; }
.tree rect { stroke: var(--grid); fill: color-mix(in srgb, var(--c2) calc(var(--s) * 45%), var(--paper)); }
.tree text { fill: var(--ink); } .tree path { stroke: var(--muted, #999); fill: none; stroke-width: 1.5; }
.tree .pruned { opacity: .45; } .tree .picked rect { stroke: var(--c4); stroke-width: 2.5; }
"""


@dataclass(slots=True)
class Node:
    """A step: what it says, its score, whether the tree went on from it or it ended; `row`: of the chain it ends."""

    key: str
    text: str
    score: float | None
    row: Row | None = None
    y: float = 0.0


def tree(rows: Sequence[Row], arm: str) -> str:
    """One problem's tree as `arm` wrote it, from its rows (one a leaf): SVG, '' if there is none."""
    nodes = _nodes([row for row in rows if arm in row["arms"]])
    if not nodes:
        return ""
    below: dict[str, list[str]] = {}
    for key in nodes:
        below.setdefault(key.rpartition("/")[0], []).append(key)
    count = _place(nodes, below, "", 0)
    depth = max(key.count("/") for key in nodes) + 1
    lines = [_line(nodes, key) for key in nodes if "/" in key]
    boxes = [_box(node, arm, key in below) for key, node in nodes.items()]
    size = f"0 0 {depth * (WIDTH + GAP)} {count * LINE + 4}"
    return (
        f'<svg class="tree" viewBox="{size}" width="{depth * (WIDTH + GAP)}" role="img" '
        f'aria-label="the tree of one problem">{"".join(lines)}{"".join(boxes)}</svg>'
    )


def _nodes(rows: Sequence[Row]) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for row in rows:
        parts = row["key"].split("/")
        steps = row.get("steps") or [{"text": row["text"], "score": row.get("score")}]
        if len(steps) != len(parts):
            continue
        for i, step in enumerate(steps):
            key = "/".join(parts[: i + 1])
            found.setdefault(key, Node(key, step["text"], step.get("score")))
        found[row["key"]].row = row
        if found[row["key"]].score is None:
            found[row["key"]].score = row.get("score") or (row.get("scores") or {}).get("guide")
    return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def _order(key: str) -> list[tuple[str, int]]:
    """Siblings as they were written: s2 before s10."""
    return [(part.rstrip("0123456789"), int(part[len(part.rstrip("0123456789")) :] or 0)) for part in key.split("/")]


def _place(nodes: Mapping[str, Node], below: Mapping[str, Sequence[str]], key: str, row: int) -> int:
    """Gives each node its line, a parent the middle of its children; returns the next free line."""
    first = row
    for child in below.get(key, ()):
        row = _place(nodes, below, child, row)
    row = row if key in below else row + 1
    if key:
        own = [nodes[child].y for child in below.get(key, ())]
        nodes[key].y = (own[0] + own[-1]) / 2 if own else float(first)
    return row


def _at(node: Node) -> tuple[float, float]:
    return node.key.count("/") * (WIDTH + GAP) + 2, node.y * LINE + 3


def _line(nodes: Mapping[str, Node], key: str) -> str:
    (x0, y0), (x1, y1) = _at(nodes[key.rpartition("/")[0]]), _at(nodes[key])
    x0, y0, y1 = x0 + WIDTH, y0 + HEIGHT / 2, y1 + HEIGHT / 2
    return f'<path d="M{x0:g} {y0:g}C{x0 + GAP / 2:g} {y0:g} {x1 - GAP / 2:g} {y1:g} {x1:g} {y1:g}"/>'


def _box(node: Node, arm: str, goes_on: bool) -> str:
    x, y = _at(node)
    row = node.row
    ended = row is not None and row["finish"] != "step"
    kind = "" if goes_on else "ended" if ended else "pruned"
    if row is not None and arm in row["picked"]:
        kind += " picked"
    mark = ("✓ " if row["correct"] else "✗ ") if ended and row is not None else ""
    told = "" if node.score is None else f"{node.score:.2f}"
    words = f"{mark}{node.text.strip(' ;')}"
    return (
        f'<g class="{kind}"><rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="4" '
        f'style="--s:{node.score or 0:.2f}"/><text x="{x + 6:g}" y="{y + 14:g}">{escape(words)}</text>'
        f'<text x="{x + WIDTH - 6:g}" y="{y + 14:g}" text-anchor="end">{told}</text></g>'
    )
