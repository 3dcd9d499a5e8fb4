"""Training that stops on what held-out problems say, looked at now and then; the best weights are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ponder.errors import UsageError
from ponder.measure.agreement import auroc
from ponder.measure.data import Draws
from ponder.train.trainer import Progress, Trainer
from ponder.whole import whole_file


class Counts(Protocol):
    """What the configurations of such training share: `steps` at most, a look at the held-out problems every `check`
    of them, `patience` looks without getting better; `batch` in equal halves; `tokens` of a micro-batch."""

    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def check(self) -> int: ...
    @property
    def patience(self) -> int: ...


def sound(config: Counts) -> None:
    """Raises UsageError for counts out of their range."""
    if min(config.steps, config.tokens, config.check, config.patience) < 1 or config.batch < 2 or config.batch % 2:
        raise UsageError("steps, tokens, check and patience must be at least 1, batch an even number from 2 on")


@dataclass(frozen=True, slots=True)
class Check:
    """What was found at a step: the mean loss since the check before, the AUROC within held-out problems of whole
    chains, and of chains up to their first step, second, … (NaN where no problem has a correct and a wrong one).
    `brier`: of values only."""

    step: int
    loss: float
    auroc: float
    by_step: tuple[float, ...] = ()
    brier: float | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """`model`: the best weights, a transformers model of its own, in evaluation mode. `best`: the check they are of."""

    model: Any
    best: Check
    history: tuple[Check, ...]


class Best:
    """Keeps the weights of the best check so far, and says when to stop: `by`, which is to be as high as may be, has
    reached `target`, or has not grown for `patience` checks. With a folder they are in `best.pt`, written before the
    trainer's own checkpoint of the same step; a run that goes on from `step` takes the checks after it again, and gets
    the same. `main`: whether this process writes them."""

    def __init__(
        self,
        judge: nn.Module,
        patience: int,
        target: float = float("inf"),
        *,
        folder: Path | None = None,
        step: int = 0,
        by: Callable[[Check], float] = lambda check: check.auroc,
        main: bool = True,
    ) -> None:
        self._judge, self._patience, self._target, self._by = judge, patience, target, by
        self._path, self._main = None if folder is None else folder / "best.pt", main
        self.history: list[Check] = []
        self._weights: dict[str, Tensor] = {}
        if self._path is not None and self._path.exists():
            kept = torch.load(self._path, map_location=next(judge.parameters()).device, weights_only=True)
            self._weights = kept["weights"]
            self.history = [Check(**row) for row in kept["history"] if row["step"] <= step]

    @property
    def best(self) -> Check:
        """The first of the best checks."""
        return max(self.history, key=self._by)

    @property
    def done(self) -> bool:
        if not self.history:
            return False
        late = sum(check.step > self.best.step for check in self.history)
        return self._by(self.best) >= self._target or late >= self._patience

    def add(self, check: Check) -> None:
        self.history.append(check)
        if self.best is check:
            self._weights = {name: value.detach().clone() for name, value in self._judge.state_dict().items()}
        if self._path is not None and self._main:
            with whole_file(self._path) as part:
                torch.save({"weights": self._weights, "history": [asdict(check) for check in self.history]}, part)

    def restore(self) -> None:
        """Gives the module its best weights."""
        self._judge.load_state_dict(self._weights)


def improve(
    trainer: Trainer,
    best: Best,
    losses: Callable[[int], Iterable[Tensor]],
    look: Callable[[int, float], Check],
    progress: Progress | None,
) -> None:
    """Takes steps on `losses`(step) until they are done or `best` says so, and gives the module its best weights.

    `look`(step, mean loss since the last look) asks the held-out problems, and finds the same in all processes; the
    trainer's `every` is how often. The module is the one that the trainer was given."""
    module, given, world, total = trainer.model, trainer.given, trainer.world, 0.0
    module.train()
    while trainer.step < trainer.steps and not best.done:
        parts = [0.0]
        norm = trainer.update(_noted(losses(trainer.step), parts))
        (loss,) = world.total(sum(parts))
        total += loss
        figures = {"loss": loss, "norm": norm}
        if trainer.step % trainer.every == 0 or trainer.step == trainer.steps:
            trainer.publish()
            given.eval()
            check = look(trainer.step, total / ((trainer.step - 1) % trainer.every + 1))
            module.train()
            best.add(check)
            figures["auroc"], total = check.auroc, 0.0
            if check.brier is not None:
                figures["brier"] = check.brier
        trainer.log(**figures)
        trainer.maybe_save()
        if progress and world.main:
            progress(trainer.step, trainer.steps, figures)
    trainer.close()
    best.restore()
    given.eval()


def _noted(losses: Iterable[Tensor], into: list[float]) -> Iterator[Tensor]:
    for loss in losses:
        into.append(float(loss.detach()))
        yield loss


def within(groups: Sequence[str], truth: Sequence[bool], values: Sequence[float]) -> float:
    """AUROC within groups, averaged by pairs; NaN if none has a pair."""
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    own = list(members.values())
    correct, scored = [[truth[i] for i in m] for m in own], [[values[i] for i in m] for m in own]
    return float(auroc(Draws.of([[None] * len(m) for m in own], correct, scored)).value)
