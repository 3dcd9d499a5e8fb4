"""Labels of the nodes of sampled trees, from their leaves: how often what was sampled below a node was correct.

Monte-Carlo estimation as in Math-Shepherd (arXiv 2312.08935): c of n completions below a node are correct; hard labels
are 1[c > 0], soft ones c/n, to be fitted by the binomial likelihood, which is cross-entropy with weight n.

Pure functions; no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from ponder.errors import UsageError
from ponder.types import lineage

How = Literal["any", "share"]


def tree_labels(
    leaves: Iterable[tuple[str, bool]], how: How = "any", name: Callable[[str], str | None] = lambda key: key
) -> dict[str, tuple[int, int]]:
    """(c, n) of every node above the leaves of one problem, by its key, the root '' included, in order of appearance.

    `leaves`: (key, correct), keys being paths such as 's0/s2/e1'; a leaf is no node, and one given twice counts once.
    'share': c of the n leaves below the node are correct. 'any': (1, 1) if one of them is, else (0, 1).
    Nodes of one `name(key)`, such as their state, are one node; those named None are left out.

    Raises UsageError for a leaf that is given as correct and as wrong, or that is above another."""
    if how not in ("any", "share"):
        raise UsageError(f"labels {how!r}: 'any' or 'share'")
    known: dict[str, bool] = {}
    for key, correct in leaves:
        if known.setdefault(key, correct) is not correct:
            raise UsageError(f"leaf {key!r} is given as correct and as wrong; give each chain once")
    found: dict[str, tuple[int, int]] = {}
    for key, correct in known.items():
        above = lineage(key)[:-1]
        if inner := next((node for node in above if node in known), None):
            raise UsageError(f"leaf {inner!r} is above leaf {key!r}; give the ends of chains only")
        for own in dict.fromkeys(own for node in above if (own := name(node)) is not None):
            c, n = found.get(own, (0, 0))
            found[own] = (c + correct, n + 1)
    return found if how == "share" else {own: (int(c > 0), 1) for own, (c, _) in found.items()}
