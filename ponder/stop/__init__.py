"""Stop rules: when enough has been drawn. One file each, one line here.

A rule is built with the largest number of samples and the task's answer classes, and is then a pure function
`stop(chains, ratings, left)` that returns how many to draw next; 0 ends.
"""

from ponder.registry import Entry, Registry

STOPS = Registry(
    "stop rule",
    {
        "fixed": Entry("ponder.stop.fixed:build", "all samples in one wave"),
        "adaptive": Entry(
            "ponder.stop.adaptive:build", "waves until the majority is clear (Beta posterior) or can no longer change"
        ),
    },
)
