"""Progress on stderr: problems done, tokens, dollars, time left."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from ponder.evaluate import Plan
from ponder.ledger import Purse


class Progress:
    """A rich progress bar that follows a run, or nothing where stderr is no terminal."""

    def __init__(self, plan: Plan, purse: Purse, *, show: bool) -> None:
        self._purse = purse
        self._bar: Any = None
        if show:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[spent]}"),
                TimeRemainingColumn(),
            )
            self._bar = Bar(*columns, console=Console(stderr=True))
            total = len(plan.task) if plan.limit is None else plan.limit
            self._task = self._bar.add_task("problems", total=total, spent="")

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def watch(self, event: str, what: Any) -> None:
        if not self._bar or event == "delta":
            return
        spent = self._purse.spent
        words = f"{spent.generated:,} tokens" + (f" · ${spent.dollars:.4f}" if self._purse.price else "")
        self._bar.update(self._task, advance=1 if event == "found" else 0, spent=words)
