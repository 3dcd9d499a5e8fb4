"""Progress of training on stderr: bars of phases on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import click

SHOWN = ("loss", "reward", "dropped", "auroc")
EVERY = 30.0  # seconds between lines of one phase


class Bars:
    """Bars where stderr is a terminal, else a line for each phase that is done, and one every so often before."""

    def __init__(self, *, show: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._clock = clock
        self._last: dict[str, float] = {}  # when a phase was heard of
        self._said = clock()
        if show:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bars = Progress(*columns, TextColumn("{task.fields[told]}"), console=Console(stderr=True))

    def __enter__(self) -> Bars:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    def watch(self, phase: str, step: int, steps: int, figures: dict[str, float]) -> None:
        """As `ponder.train.once.Watch`. With steps = 0, `phase` is a line that another process has said."""
        if steps == 0:
            say = self._bars.console.print if self._bars else lambda line: click.echo(line, err=True)
            say(phase)
            return
        now, over = self._clock(), "done" in figures
        words = [f"{name} {figures[name]:.3g}" for name in SHOWN if name in figures]
        if not over and "tokens" in figures and phase in self._last and now > self._last[phase]:
            words.append(f"{figures['tokens'] / (now - self._last[phase]):,.0f} tokens/s")
        self._last[phase] = now
        if self._bars:
            if over and phase in self._tasks:
                return
            if over:
                words.append(f"{figures['seconds']:.1f} s")
            if phase not in self._tasks:
                self._tasks[phase] = self._bars.add_task(phase, total=steps, told="")
            self._bars.update(self._tasks[phase], completed=step, total=steps, told=" ".join(words))
        elif over:
            click.echo(" · ".join([f"{phase}: {figures['seconds']:.1f} s", *words]), err=True)
        elif now - self._said >= EVERY:
            self._said = now
            click.echo(" · ".join([f"{phase}: {step:,} of {steps:,}", *words]), err=True)
