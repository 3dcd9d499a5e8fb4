"""The command line. Each command is a file; the list here is all that `ponder --help` loads."""

from __future__ import annotations

import sys

import click

from ponder.cli.group import Group, guarded

COMMANDS = {
    "solve": "An answer to one problem, how sure it is, and what it cost.",
    "eval": "Accuracy against cost on a task, for every search, selector and budget given.",
    "loop": "The whole loop from nothing: a tiny model is trained, steered and pruned, and both are measured.",
    "train": "A pretrained model is trained by one method (sft, steer, prune, distill) and measured before and after.",
    "curves": "Exact accuracy under repeated sampling, from recorded samples, with intervals.",
    "compare": "The paired difference of two sets of samples on the same problems.",
    "advise": "Where the next unit of compute pays: samples, taste, steering or length, with intervals.",
    "score": "Scores of a scorer, added to samples that are recorded already.",
    "import": "Sample rows from the logs of other tools: Inspect, lm-eval, Every Eval Ever, CSV, JSONL.",
    "verify": "Verdicts for completions: JSONL in, JSONL out.",
    "tasks": "The tasks that are known, and how to bring your own.",
    "searches": "The searches, selectors, stop rules and scorers that are known.",
    "doctor": "What this installation can do, and where each setting comes from.",
}


@click.group(
    cls=Group,
    commands_about=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="ponder", message="%(version)s")
def main() -> None:
    """Better answers from any language model for a budget: sample, check, score, vote, measure."""


def entry() -> None:
    """The `ponder` program: maps errors to one line on stderr and the exit status of the contract."""
    sys.exit(guarded(main))
