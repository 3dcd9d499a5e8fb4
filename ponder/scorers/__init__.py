"""Scorers: how good a chain looks, without the reference. One file each, one line here."""

from ponder.registry import Entry, Registry

SCORERS = Registry(
    "scorer",
    {
        "confidence": Entry(
            "ponder.scorers.confidence:build", "mean probability that the model gave to its own tokens"
        ),
        "checker": Entry(
            "ponder.scorers.checker:build", "share of the problem's own public tests that the program passes"
        ),
        "random": Entry("ponder.scorers.random:build", "a number from nothing: the control of every scorer"),
        "prm": Entry("ponder.scorers.trained:build_prm", "a trained reward model of a chain and of each of its steps"),
        "orm": Entry("ponder.scorers.trained:build_orm", "a trained reward model of a whole chain"),
        "value": Entry(
            "ponder.scorers.trained:build_value", "the trained value of an unfinished chain's state, its text alone"
        ),
        "guide": Entry(
            "ponder.scorers.guide:build",
            "the value of where a chain stands, at its end times what a reward model says",
        ),
        "planted": Entry(
            "ponder.scorers.planted:build", "a simulated world's own taste: its truth plus noise of a known size"
        ),
    },
)
