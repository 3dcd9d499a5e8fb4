"""Reading given tokens: several sequences in one pass, each from where the tree cache ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ponder.engines.hf.forward import Forward
from ponder.engines.hf.kv import KV
from ponder.engines.hf.tree import Key, Node, TreeCache


@dataclass(frozen=True, slots=True)
class Prefix:
    """A sequence to read, at least one token, that rows may go on from. `key` names its chain in the tree cache; it
    is kept there, in full, if `keep`."""

    ids: tuple[int, ...]
    key: Key
    keep: bool = False


@dataclass(slots=True)
class Filled:
    """Prefix i is in row i of `kv`; `logits` [rows, wide, V] are those of its last tokens, right-aligned. `cached`:
    how many of its tokens the tree cache had; `nodes`: its place there, if it has one."""

    kv: KV
    logits: Tensor
    cached: list[int]
    nodes: list[Node | None]


def fitting(
    tree: TreeCache, prefixes: Sequence[Prefix], tokens: int, latest: Sequence[int] | None = None
) -> list[Node | None]:
    """The cached nodes of as many of the first prefixes as one pass over `tokens` tokens takes, at least one. What
    comes at position latest[i] or later is read all the same (default: the last token), since its logits are wanted."""
    found: list[Node | None] = []
    widest = 0
    for i, prefix in enumerate(prefixes):
        node = tree.find(prefix.key, prefix.ids)
        widest = max(widest, len(prefix.ids) - known(prefix, node, latest[i] if latest else None))
        if found and widest * (len(found) + 1) > tokens:
            break
        found.append(node)
    return found


def known(prefix: Prefix, node: Node | None, latest: int | None = None) -> int:
    """How many of a prefix's first tokens need not be read."""
    return min(len(node.ids) if node else 0, len(prefix.ids) - 1 if latest is None else latest)


def fill(
    forward: Forward,
    tree: TreeCache,
    prefixes: Sequence[Prefix],
    found: Sequence[Node | None],
    latest: Sequence[int] | None = None,
) -> Filled:
    """Computes what the nodes `found` lack of the prefixes, in one pass, and keeps what is to be kept. Logits are
    those of position latest[i] (default: the last) and later."""
    before = [
        known(p, node, latest[i] if latest else None) for i, (p, node) in enumerate(zip(prefixes, found, strict=True))
    ]
    wide = max(len(p.ids) - latest[i] for i, p in enumerate(prefixes)) if latest else 1
    kv = KV(len(found), max(len(prefix.ids) for prefix in prefixes))
    for row, node in enumerate(found):
        for part in node.path() if node else ():
            kv.paste(row, part.start, part.run, before[row])
    fresh = [prefix.ids[start:] for prefix, start in zip(prefixes, before, strict=True)]
    logits = forward.read(kv, fresh, before, wide)
    nodes = list(found)
    for row, (prefix, node) in enumerate(zip(prefixes, found, strict=True)):
        if prefix.keep and (node is None or len(node.ids) < len(prefix.ids)):
            run = kv.cut(row, len(node.ids) if node else 0, len(prefix.ids))
            nodes[row] = tree.put(prefix.key, node, prefix.ids, run)
    return Filled(kv, logits, before, nodes)
