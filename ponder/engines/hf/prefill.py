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
    """The cached nodes of as many of the first prefixes as one pass over `tokens` tokens takes, at least one. A node
    holds at most latest[i] tokens, if given: what comes after is wanted."""
    found: list[Node | None] = []
    widest = 0
    for i, prefix in enumerate(prefixes):
        node = tree.find(prefix.key, prefix.ids if latest is None else prefix.ids[: latest[i] + 1])
        widest = max(widest, len(prefix.ids) - (len(node.ids) if node else 0))
        if found and widest * (len(found) + 1) > tokens:
            break
        found.append(node)
    return found


def fill(
    forward: Forward, tree: TreeCache, prefixes: Sequence[Prefix], found: Sequence[Node | None], wide: int = 1
) -> Filled:
    """Computes what the nodes `found` lack of the prefixes, in one pass, and keeps what is to be kept. `wide`: of how
    many last tokens logits are taken; of a prefix with fewer fresh ones, only those."""
    before = [len(node.ids) if node else 0 for node in found]
    kv = KV(len(found), max(len(prefix.ids) for prefix in prefixes))
    for row, node in enumerate(found):
        for part in node.path() if node else ():
            kv.paste(row, part.start, part.run)
    fresh = [prefix.ids[start:] for prefix, start in zip(prefixes, before, strict=True)]
    logits = forward.read(kv, fresh, before, min(wide, max(map(len, fresh))))
    nodes = list(found)
    for row, (prefix, node) in enumerate(zip(prefixes, found, strict=True)):
        if prefix.keep:
            run = kv.cut(row, before[row], len(prefix.ids))
            nodes[row] = tree.put(prefix.key, node, prefix.ids, run)
    return Filled(kv, logits, before, nodes)
