"""The phase that compares searches at equal tokens, those that scorers read included.

`samples` chains are drawn and re-ranked by the guide; what that costs a problem, every other search may spend:

    greedy        one chain without chance: the least that an answer costs, however much may be spent
    vote, confident    more chains instead of a scorer
    rerank, weighted   the guide picks the best chain; the guide weighs the votes
    beam          a tree: the guide prunes steps by the value of where they lead, equal states are one
    random        the same tree, pruned at random; the guide picks at its end
    steered       one chain, each step the best of several

How many chains and how wide a tree that buys is found on training problems that nothing was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ponder import evaluate
from ponder.arms import Arm, Parts
from ponder.errors import PonderError
from ponder.evaluate import Plan
from ponder.journal import Journal, dumps
from ponder.ledger import Purse
from ponder.loop.rounds import Run
from ponder.question import Finding
from ponder.tasks.countdown import Countdown
from ponder.train.once import done
from ponder.types import Budget, Problem, Sampling
from ponder.whole import write_whole

LIVE = 1024  # chains drawn at once, about
NARROWEST = 4  # tree: it has three waves


@dataclass(frozen=True, slots=True)
class Cell:
    """One search, and the rules by which answers are read off it: {name: (selector, scorer)}."""

    search: str
    samples: int
    read: Mapping[str, tuple[str, str | None]]
    settings: Mapping[str, Any]
    temperature: float = 1.0

    def arm(self, name: str) -> Arm:
        return Arm(self.search, "fixed", self.samples, *self.read[name])


def cells(run: Run, sizes: Mapping[str, int], *, random: bool) -> dict[str, Cell]:
    """The searches to run; `sizes`: how many chains or how wide. `random`: the tree that is pruned at random, too."""
    taste = {
        "guide.value": str(run.checkpoint(run.last.value)),
        "guide.prm": str(run.checkpoint(run.last.prm)),
        "guide.device": "cpu",
    }
    found: dict[str, Cell] = {}
    for name, size in sizes.items():
        if name == "greedy":
            found[name] = Cell("sample", size, {name: ("vote", None)}, {}, temperature=0.0)
        elif name == "vote":
            plain = {name: ("vote", None), "confident": ("best", "confidence")}
            found[name] = Cell("sample", size, plain, {})
        elif name == "rerank":
            both = {name: ("best", "guide"), "weighted": ("weighted", "guide")}
            found[name] = Cell("sample", size, both, taste)
        elif name == "steered":
            found[name] = Cell("steered", size, {name: ("vote", "guide")}, taste)
        else:
            tree = taste | {"beam.shape": shape(size, run.recipe.task.numbers)}
            found[name] = Cell("beam", size, {name: ("weighted", "guide")}, tree)
            if random:
                by = tree | {"beam.by": "random"}
                found["random"] = Cell("beam", size, {"random": ("weighted", "guide")}, by)
    return found


def shape(width: int, numbers: int) -> str:
    """Of a tree for problems of so many numbers, which take one step less: 8/3,12/4,5 for 8 and 4. Few first steps, of
    which most lead nowhere, more second ones below the best."""
    first = f"{width}/{max(1, round(width * 3 / 8))}"
    more = f"{round(width * 1.5)}/{max(1, width // 2)}"
    return ",".join([first, *[more] * (numbers - 3), str(max(1, round(width * 5 / 8)))])


def sizes(run: Run, policies: Sequence[str]) -> dict[str, dict[str, dict[str, int]]]:
    """{policy: {samples: {search: its size}}} at which each search costs what re-ranking `samples` chains does."""
    own = run.recipe.compare
    task, _, held = run.training()
    found: dict[str, dict[str, dict[str, int]]] = {policy: {} for policy in policies}
    for policy in policies:
        for samples in own.samples:
            first = cells(run, dict.fromkeys(("rerank", "beam", "steered"), samples), random=False)
            costs = {name: _cost(_findings(run, policy, cell, task, held[: own.pilot])) for name, cell in first.items()}
            generated, scorer = costs["rerank"]
            ratio = {name: (generated + scorer) / sum(cost) for name, cost in costs.items()}
            found[policy][str(samples)] = {
                "greedy": 1,
                "vote": round(samples * (generated + scorer) / generated),
                "rerank": samples,
                "beam": max(NARROWEST, round(samples * ratio["beam"])),
                "steered": max(1, round(samples * ratio["steered"])),
            }
    return found


def _cost(findings: Sequence[Finding]) -> tuple[int, int]:
    """(generated, scorer) tokens of a search that is read in one way, or in ways that cost the same."""
    costs = [next(iter(finding.given.values())).cost for finding in findings]
    return sum(cost.generated for cost in costs), sum(cost.scorer for cost in costs)


def compare(run: Run, folder: Path, policy: str) -> dict[str, Any]:
    """What each search finds on the test problems with one policy: rows.jsonl."""
    settled = done(run.path("settle"))
    assert settled is not None
    task = run.task("test")
    problems = list(task.problems(run.recipe.compare.problems))
    rows: list[dict[str, Any]] = []
    for samples, own in settled["sizes"][policy].items():
        wanted = cells(run, own, random=policy == "base")
        for number, cell in enumerate(wanted.values(), 1):
            for finding in _findings(run, policy, cell, task, problems):
                rows += _rows(run.recipe.seed, task, finding, _named(cell, policy, samples, settled["off"]))
            run.watch(f"{folder.name}: {samples}", number, len(wanted), {})
    write_whole(folder / "rows.jsonl", "".join(dumps(row) + "\n" for row in rows))
    return {key: sum(row[key] for row in rows) for key in ("tokens", "scorer_tokens")} | {"rows": len(rows)}


def _findings(run: Run, policy: str, cell: Cell, task: Countdown, problems: Sequence[Problem]) -> list[Finding]:
    """A search over problems, by the driver of `ponder eval`, in the order of the problems."""
    recipe = run.recipe
    parts = Parts([cell.arm(name) for name in cell.read], cell.settings)
    sampling = Sampling(temperature=cell.temperature, max_tokens=recipe.measure.max_tokens)
    plan = Plan(_Some(task, problems), parts, sampling, Budget(), recipe.seed, live=max(1, LIVE // cell.samples))
    found: dict[str, Finding] = {}

    def watch(event: str, told: Any) -> None:
        if event == "found":
            found[told.problem] = told

    engine = run.engine(policy, cell.temperature)
    evaluate.check(engine, policy, parts)
    evaluate.run(plan, engine, Journal(), Purse(), None, watch=watch)
    for finding in found.values():
        if finding.failure is not None:
            raise PonderError(f"{policy}, {cell.search}: {finding.problem}: {finding.failure}")
    return [found[problem.id] for problem in problems]


class _Some:
    """Some problems of a task, as a task."""

    def __init__(self, task: Countdown, problems: Sequence[Problem]) -> None:
        self._task, self._problems = task, problems

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def problems(self, limit: int | None = None) -> Iterator[Problem]:
        return iter(self._problems)


def _named(cell: Cell, policy: str, samples: str, off: str) -> dict[str, list[str]]:
    """{the arm in the driver's words: our names}; the settled rule without a scorer goes by 'off', too."""
    found: dict[str, list[str]] = {}
    for name, (select, scorer) in cell.read.items():
        settled = name != "greedy" and off == (f"{select}/{scorer}" if scorer else select)
        names = [name, "off"] if settled else [name]
        found[cell.arm(name).name] = [f"{policy}/{own}/{samples}" for own in names]
    return found


def _rows(seed: int, task: Countdown, finding: Finding, names: Mapping[str, list[str]]) -> Iterator[dict[str, Any]]:
    """The rows of one search on one problem, pruned chains included. What scorers read is spread over them."""
    reference = task.reference(finding.problem.partition(":")[2])
    spent = max(given.cost.scorer for given in finding.given.values())
    each, rest = divmod(spent, max(1, len(finding.rows)))
    arms = [name for own in names.values() for name in own]
    for i, row in enumerate(finding.rows):
        yield row | {
            "policy": arms[0].split("/")[0],
            "numbers": reference["numbers"],
            "target": reference["target"],
            "scorer_tokens": each + (i < rest),
            "seed": seed,
            "arms": arms,
            "picked": [name for arm in row["picked"] for name in names[arm]],
        }
