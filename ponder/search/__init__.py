"""Searches: which chains get written. One file each, one line here.

A module says whether its chains are interchangeable (`EXCHANGEABLE`), what its engine must be able to do (`NEEDS`) and,
if it yields Score, that it does (`SCORES`): it is then run once for each scorer, unless its setting `by` names one.
Interchangeable chains are drawn under a stop rule. A tree ends by its own steps; it asks the stop rule, always `fixed`,
once, and is told --samples.
"""

from ponder.registry import Entry, Registry

SEARCHES = Registry(
    "search",
    {
        "sample": Entry(
            "ponder.search.sample:build", "independent chains from the root, as many as the stop rule asks for"
        ),
        "beam": Entry("ponder.search.beam:build", "a tree pruned step by step: a scorer keeps the best of each level"),
        "steered": Entry("ponder.search.steered:build", "one chain that takes at each step what the scorer likes best"),
    },
)
