"""The tree cache: bounded, and never right by accident."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ponder.engines.hf.kv import Run
from ponder.engines.hf.tree import Node, TreeCache


def run(ids: tuple[int, ...]) -> Run:
    """Keys that are the ids themselves, so that a path can be read back."""
    return Run([torch.tensor(ids, dtype=torch.float32)[None, :, None]], [torch.zeros(1, len(ids), 1)])


def spelled(node: Node) -> tuple[int, ...]:
    return tuple(int(x) for part in node.path() for x in part.run.keys[0][0, :, 0])


def put(tree: TreeCache, key: str, parent: Node | None, ids: tuple[int, ...]) -> Node:
    return tree.put(("p", key), parent, ids, run(ids[len(parent.ids) if parent else 0 :]))


def test_the_deepest_ancestor_that_the_ids_begin_with_is_found() -> None:
    tree = TreeCache(100)
    root = put(tree, "", None, (1, 2, 3))
    step = put(tree, "s0", root, (1, 2, 3, 4))
    assert tree.find(("p", "s0/s1"), (1, 2, 3, 4, 5)) is step
    assert tree.find(("p", "s0"), (1, 2, 3, 4, 5, 6)) is step
    assert tree.find(("p", "s0"), (1, 2, 3, 9, 5)) is root
    assert tree.find(("p", "s7"), (1, 2, 3, 4)) is root
    assert tree.find(("p", ""), (1, 2, 3)) is root
    assert tree.find(("q", "s0"), (1, 2, 3, 4, 5)) is None
    assert tree.find(("p", ""), (7, 7, 7, 7)) is None


def test_a_key_that_means_another_text_forgets_what_rested_on_the_old_one() -> None:
    tree = TreeCache(100)
    root = put(tree, "", None, (1, 2, 3))
    put(tree, "s0", root, (1, 2, 3, 4))
    other = put(tree, "", None, (5, 6))
    assert len(tree) == 1 and tree.tokens == 2
    assert tree.find(("p", "s0"), (5, 6, 7)) is other


def test_a_chain_that_is_read_on_replaces_its_node_and_changes_none() -> None:
    tree = TreeCache(100)
    root = put(tree, "", None, (1, 2))
    step = put(tree, "s0", root, (1, 2, 3))
    longer = put(tree, "s0", step, (1, 2, 3, 4, 5))
    other = put(tree, "s0", step, (1, 2, 3, 7))
    assert spelled(step) == (1, 2, 3) and spelled(longer) == (1, 2, 3, 4, 5) and spelled(other) == (1, 2, 3, 7)
    assert tree.find(("p", "s0"), (1, 2, 3, 7, 8)) is other and tree.tokens == 4
    child = put(tree, "s0/s0", longer, (1, 2, 3, 4, 5, 6))
    assert spelled(child) == (1, 2, 3, 4, 5, 6)


def test_what_was_unused_for_longest_goes_and_never_what_others_rest_on() -> None:
    tree = TreeCache(10)
    root = put(tree, "", None, (1, 2, 3, 4))
    first = put(tree, "s0", root, (1, 2, 3, 4, 5, 6))
    put(tree, "s1", root, (1, 2, 3, 4, 7, 8))
    assert tree.find(("p", "s0"), (*first.ids, 9)) is first
    put(tree, "s2", root, (1, 2, 3, 4, 9, 9, 9))
    assert tree.find(("p", "s1"), (1, 2, 3, 4, 7, 8, 0)) is root
    assert tree.find(("p", "s0"), (*first.ids, 9)) is first
    assert tree.tokens == 9 <= tree.limit
    tree.clear()
    assert len(tree) == tree.tokens == 0 and tree.find(("p", "s0"), (*first.ids, 9)) is None


def test_a_parent_that_went_in_between_is_made_part_of_the_child() -> None:
    tree = TreeCache(4)
    root = put(tree, "", None, (1, 2, 3))
    put(tree, "s9", None, (7, 7, 7, 7))
    assert len(tree) == 1
    step = put(tree, "s0", root, (1, 2, 3, 4))
    assert spelled(step) == (1, 2, 3, 4) and step.parent is None and tree.tokens == 4


Steps = st.lists(
    st.tuples(st.sampled_from(["", "s0", "s1", "s0/s0", "s0/s1", "s1/s0"]), st.lists(st.integers(0, 2), max_size=3)),
    max_size=30,
)


@given(Steps, st.integers(0, 12))
def test_whatever_happens_it_gives_only_true_prefixes_and_stays_within_its_limit(
    steps: list[tuple[str, list[int]]], limit: int
) -> None:
    tree = TreeCache(limit)
    for key, more in steps:
        ids = (1, *more, 2)
        node = tree.find(("p", key), ids)
        if node is not None:
            assert spelled(node) == node.ids == ids[: len(node.ids)]
        kept = tree.put(("p", key), node, ids, run(ids[len(node.ids) if node else 0 :]))
        assert spelled(kept) == ids
        held = list(tree._nodes.values())
        assert tree.tokens == sum(len(n.run) for n in held)
        assert all(n.parent is None or n.parent in held for n in held)
        assert tree.tokens <= max(limit, len(ids))
