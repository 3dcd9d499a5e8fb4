"""What the curves are called. A leaf without numpy, so that the command line can name them without loading it."""

from __future__ import annotations

CURVES = {"pass": "pass@k", "maj": "maj@k", "best_of_n": "best of k", "weighted": "weighted vote"}
"""The curves of `curves --json`, and what each is called in tables and pictures."""
SCORED = ("best_of_n", "weighted")
"""Curves that need scores; their tokens include the scorer's."""
