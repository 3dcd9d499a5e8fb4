"""Searches: which chains get written. One file each, one line here."""

from ponder.registry import Entry, Registry

SEARCHES = Registry(
    "search",
    {
        "sample": Entry(
            "ponder.search.sample:build", "independent chains from the root, as many as the stop rule asks for"
        ),
    },
)
