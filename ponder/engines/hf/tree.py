"""The tree cache: keys and values of chains that may be continued, by chain key, each shared prefix once.

A chain's node holds only what the chain added to its parent's node. A node is used only for a sequence that really
begins with its token ids, so a key that means another text (the next problem with the same id) is a miss, never a
wrong answer. Beyond `limit` tokens the nodes unused for longest go, leaves first; a miss is computed again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from ponder.engines.hf.kv import Run
from ponder.types import lineage

Key = tuple[str, str]
"""(problem, chain key)."""


@dataclass(slots=True, eq=False)
class Node:
    """Keys and values of positions start … len(ids) - 1 of the sequence `ids`; those before are its parents'. Nothing
    of it is ever changed but the count of its children."""

    key: Key
    parent: Node | None
    ids: tuple[int, ...]
    run: Run
    children: int = 0

    @property
    def start(self) -> int:
        return len(self.parent.ids) if self.parent else 0

    def path(self) -> list[Node]:
        """From the root to this node."""
        nodes: list[Node] = []
        node: Node | None = self
        while node is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]


class TreeCache:
    """At most `limit` tokens. `tokens` counts what it holds now."""

    def __init__(self, limit: int) -> None:
        self.limit, self.tokens = limit, 0
        self._nodes: OrderedDict[Key, Node] = OrderedDict()
        self._chains: dict[str, dict[str, None]] = {}  # of each problem, so that a key's own are found among few

    def __len__(self) -> int:
        return len(self._nodes)

    def find(self, key: Key, ids: tuple[int, ...]) -> Node | None:
        """The deepest node of the chain or its ancestors with which `ids` begins."""
        problem, chain = key
        for ancestor in reversed(lineage(chain)):
            node = self._nodes.get((problem, ancestor))
            if node is not None and ids[: len(node.ids)] == node.ids:
                for used in reversed(node.path()):  # the root last: it must outlive what rests on it
                    if self._nodes.get(used.key) is used:
                        self._nodes.move_to_end(used.key)
                return node
        return None

    def put(self, key: Key, parent: Node | None, ids: tuple[int, ...], run: Run) -> Node:
        """Keeps a chain's `run`, what comes after `parent` of its ids. A node is never changed, since rows may rest on
        it: one of the same key (`parent` itself, if the chain has been read on) is replaced."""
        while parent is not None and (parent.key == key or self._nodes.get(parent.key) is not parent):
            run, parent = parent.run.join(run), parent.parent  # it is replaced, or has gone since it was found
        self._drop(key)
        node = Node(key, parent, ids, run)
        if parent is not None:
            parent.children += 1
        self._nodes[key] = node
        self._chains.setdefault(key[0], {})[key[1]] = None
        self.tokens += len(run)
        self._shrink(node)
        return node

    def clear(self) -> None:
        """Forgets everything: the weights have changed."""
        self._nodes.clear()
        self._chains.clear()
        self.tokens = 0

    def _drop(self, key: Key) -> None:
        """Forgets a chain, if it is known, and all that rests on it: the key has come to mean another text."""
        if key not in self._nodes:
            return
        problem, stem = key[0], f"{key[1]}/" if key[1] else ""
        for chain in [c for c in self._chains[problem] if c == key[1] or c.startswith(stem)]:
            self._forget(self._nodes[problem, chain])

    def _shrink(self, kept: Node) -> None:
        """Leaves go first, those unused for longest first; what they rested on may be a leaf then."""
        gone = True
        while gone and self.tokens > self.limit:
            gone = False
            for node in [n for n in self._nodes.values() if n is not kept and n.children == 0]:
                if self.tokens <= self.limit:
                    return
                self._forget(node)
                gone = True

    def _forget(self, node: Node) -> None:
        del self._nodes[node.key]
        problem, chain = node.key
        del self._chains[problem][chain]
        if not self._chains[problem]:
            del self._chains[problem]
        self.tokens -= len(node.run)
        if node.parent is not None:
            node.parent.children -= 1
