"""The whole loop, from nothing: a tiny language model learns a task, is steered and pruned, and both are measured.

    recipe.py    what a run is told
    phases.py    what it does, one function a phase, each resumable
    figures.py   report.json, from the sample rows alone
    page.py      report.html

Nothing is imported here: torch is loaded by the file that needs it.
"""
