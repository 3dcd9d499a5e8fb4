"""The phases of `ponder train`. Each works in a folder of its own; what it reads of another it reads from the disk, so
where a run was interrupted changes nothing.

Of several processes each draws its share of the chains, all of them train, and one writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ponder.engines.base import Request, Result
from ponder.engines.hf import loading
from ponder.engines.hf.engine import HFEngine
from ponder.engines.hf.text import Texts
from ponder.errors import PonderError, UsageError
from ponder.folder import Folder
from ponder.journal import dumps
from ponder.scorers import SCORERS
from ponder.scorers import checkpoint as scorer
from ponder.scorers.base import Seen
from ponder.scorers.checkpoint import Checkpoint, Sheet
from ponder.scorers.trained import Steps
from ponder.select import SELECTORS, tie
from ponder.tasks.base import Task
from ponder.train import distill, prune, sft, steer
from ponder.train.once import Watch, anew, metrics
from ponder.train.parallel import Launched, Processes
from ponder.train.prune import Judged
from ponder.train.rollouts import Group, groups
from ponder.training import adapter, data
from ponder.training.problems import Split
from ponder.training.recipe import Recipe
from ponder.types import Problem, Rating, Sampling
from ponder.whole import whole_folder, write_whole

BATCH = 256  # problems sampled at once
RULES = {"vote": None, "best/prm": "prm", "weighted/prm": "prm", "weighted/random": "random"}
"""How the chains of a reward model's test are picked from, and by whose ratings."""


@dataclass(frozen=True, slots=True)
class Run:
    """What the phases share. `rows`: those of an earlier run, where the recipe names some."""

    recipe: Recipe
    folder: Folder
    watch: Watch
    problems: Split
    written: Sequence[data.Written]
    rows: Sequence[data.Drawn]
    place: Processes

    def path(self, phase: str) -> Path:
        return self.folder.path / phase

    def checkpoint(self, name: str) -> Path:
        return self.folder.path / "checkpoints" / name

    def write(self, folder: Path, rows: Sequence[dict[str, Any]]) -> None:
        """samples.jsonl of a phase."""
        if self.place.main:
            write_whole(folder / "samples.jsonl", "".join(dumps(row) + "\n" for row in rows))

    def told(self, phase: str) -> Callable[[int, int, dict[str, float]], None]:
        return lambda step, steps, figures: self.watch(phase, step, steps, figures)

    def loaded(self, name: str = "") -> loading.Loaded:
        """The recipe's model, or a checkpoint of this run. Raises UsageError if a prompt leaves no room."""
        own = self.place.device if isinstance(self.place, Launched) else None
        where = own or loading.device(self.recipe.machine.device)
        shorter = "float32" if where.type == "cpu" else "bfloat16"
        # An update of 1e-6 of a weight is lost in bfloat16, unless the trainer keeps weights of its own.
        whole = self.recipe.adapter is None and self.recipe.dtype == "auto" and not self.place.mixed
        dtype = "float32" if whole else self.recipe.dtype
        path = str(self.checkpoint(name)) if name else self.recipe.model
        try:
            return loading.load(path, dtype=dtype, shorter=shorter, device=where, revision="")
        except UsageError as error:
            raise UsageError(f"{self.recipe.place.at('', 'model')}: {error}") from None

    def engine(self, found: loading.Loaded, name: str, temperature: float = 1.0) -> HFEngine:
        """What is sampled to be trained on has temperature 1."""
        sampling = Sampling(temperature, self.recipe.measure.max_tokens)
        turns = found.model.training  # only where activations are checkpointed
        return (_Turns if turns else HFEngine)(found, sampling, name=name, rows=self.recipe.machine.rows)

    def sampled(
        self, phase: str, engine: HFEngine, task: Task, problems: Sequence[Problem], size: int
    ) -> Iterator[Group]:
        """Chains of a policy, some problems at a time. `before` and `after` share the seeds of 'measure'."""
        cap, seed = self.recipe.measure.max_tokens, self.recipe.seed
        longest = max(len(engine.ids(problem.root)) for problem in problems)
        room = engine.capabilities.context or longest + cap
        if longest + cap > room:
            raise self.recipe.refuse(
                "measure", "max_tokens", f"with a prompt of {longest} it exceeds {room} of context"
            )
        for start in range(0, len(problems), BATCH):
            part = problems[start : start + BATCH]
            label = "train" if phase == "sample" else "test"
            own = groups(engine, task, self.place.share(part), size, cap=cap, seed=seed, label=label)
            found = self.place.gather(own)
            yield from found
            figures = {"tokens": float(sum(group.tokens for group in found))}
            self.watch(f"{phase}: sampling", start + len(part), len(problems), figures)


class _Turns(HFEngine):
    """Of a model in training mode, where layers keep no keys and values if their activations are computed again."""

    def generate(self, requests: Sequence[Request]) -> list[Result]:
        self.model.eval()
        found = super().generate(requests)
        self.model.train()
        return found


Phase = Callable[[Run, Path], dict[str, Any]]


def phases(run: Run) -> dict[str, Phase]:
    """In order, by name."""
    method = run.recipe.method
    own: dict[str, Phase] = {"sft": _sft, "steer": _steer, "prune": _prune, "distill": _distill}
    sample: dict[str, Phase] = {"sample": _sample} if method in ("prune", "distill") and not run.rows else {}
    if method == "prune":
        return sample | {"prune": _prune, "measure": _judge}
    return {
        "before": partial(_measured, name=""),
        **sample,
        method: own[method],
        "after": partial(_measured, name="policy"),
    }


# --- measuring ----------------------------------------------------------------------------------------------------


def _measured(run: Run, folder: Path, name: str) -> dict[str, Any]:
    """Writes the rows of a policy's chains for the test problems."""
    own, arm = run.recipe.measure, folder.name
    loaded, policy = run.loaded(name), "trained" if name else "base"
    rows: list[dict[str, Any]] = []
    for engine, size, label in [
        (run.engine(loaded, policy, own.temperature), own.samples, arm),
        *([(run.engine(loaded, policy, 0.0), 1, f"{arm}_greedy")] if own.greedy else []),
    ]:
        for group in run.sampled(arm, engine, run.problems.tester, run.problems.test, size):
            rows += _rows(run.problems.tester, group, policy, label, run.recipe.seed)
    run.write(folder, rows)
    right = [row["correct"] is True for row in rows if row["arms"] == [arm]]
    return {"tokens": sum(row["tokens"] for row in rows), "reward": sum(right) / len(right)}


def _rows(task: Task, group: Group, policy: str, arm: str, seed: int) -> Iterator[dict[str, Any]]:
    name = group.problem.id
    for chain, verdict in zip(group.chains, group.verdicts, strict=True):
        texts = task.rules(name).steps(chain.reply)
        valid = task.valid_steps(name, chain.reply)
        row: dict[str, Any] = {
            "problem": name,
            "policy": policy,
            "text": chain.text,
            "answer": chain.answer,
            "correct": verdict.correct,
            "reason": verdict.reason,
            "finish": chain.finish,
            "ids": [token for segment in chain.segments for token in segment.ids or ()],
            "tokens": chain.tokens,
            "seed": seed,
            "arms": [arm],
        }
        if group.problem.domain is not None:
            row["domain"] = group.problem.domain
        if valid is not None and len(valid) == len(texts):
            row["steps"] = [{"text": text, "valid": own} for text, own in zip(texts, valid, strict=True)]
        yield row


def _judge(run: Run, folder: Path) -> dict[str, Any]:
    """Writes the rows of the model's chains for the test problems, rated, with what each rule picks."""
    own, seed, task = run.recipe.measure, run.recipe.seed, run.problems.tester
    prm = _scorer("prm" if run.recipe.own.config.kind in ("implicit", "prm") else "orm", run.checkpoint("prm"))
    chance = SCORERS.build("random")
    picks = {name: SELECTORS.build(name.partition("/")[0]) for name in RULES}
    rows: list[dict[str, Any]] = []
    for group in run.sampled(
        "measure", run.engine(run.loaded(), "base", own.temperature), task, run.problems.test, own.samples
    ):
        seen, before = Seen(group.problem, seed), prm.tokens
        ratings: dict[str | None, Sequence[Rating]] = {
            "prm": prm.rate(seen, group.chains),
            "random": chance.rate(seen, group.chains),
        }
        each, rest = divmod(prm.tokens - before, len(group.chains))
        classes = task.rules(group.problem.id).classes([chain.answer for chain in group.chains])
        chosen = {
            name: select(group.chains, ratings.get(RULES[name]), classes, tie(seed, group.problem.id)).chain
            for name, select in picks.items()
        }
        for i, row in enumerate(_rows(task, group, "base", "", seed)):
            row["scores"] = {name: found[i].value for name, found in ratings.items()}
            row |= {"arms": list(RULES), "score": ratings["prm"][i].value, "scorer_tokens": each + (i < rest)}
            row["picked"] = [name for name, chain in chosen.items() if chain is group.chains[i]]
            rows.append(row)
    run.write(folder, rows)
    return {name: sum(row[name] for row in rows) for name in ("tokens", "scorer_tokens")}


def _scorer(name: str, path: Path | str) -> Any:
    settings = {"path": str(path)} if name in ("prm", "orm") else {}
    return SCORERS.build(name, settings=settings)


# --- training -----------------------------------------------------------------------------------------------------


def _sft(run: Run, folder: Path) -> dict[str, Any]:
    loaded, view = _ready(run)
    texts = Texts.of(loaded.tokenizer, loaded.model)
    shown = data.examples(run.written, texts, loaded.tokenizer.eos_token_id)
    sft.train(run.recipe.own.config, loaded.model, shown, folder, run.told("sft"))
    _save(run, loaded, view)
    return _told(folder) | {"examples": len(shown)}


def _steer(run: Run, folder: Path) -> dict[str, Any]:
    own = run.recipe.own.config
    loaded, view = _ready(run)
    loaded.model.train(run.recipe.machine.checkpointing)
    engine = run.engine(loaded, "base")
    start = run.loaded().model if own.kl else None
    parts = run.problems
    steer.train(own, engine, parts.task, parts.train, folder, run.told("steer"), start)
    _save(run, loaded, view)
    return _told(folder)


def _sample(run: Run, folder: Path) -> dict[str, Any]:
    """Writes the rows of the model's chains for training problems, and, to prune, held-out ones."""
    own, task, loaded = run.recipe.own, run.problems.task, run.loaded()
    asked = [*run.problems.train, *(run.problems.held_out if run.recipe.method == "prune" else ())]
    rate = _scorer(own.scorer, own.path) if run.recipe.method == "distill" else None
    rows: list[dict[str, Any]] = []
    for group in run.sampled("sample", run.engine(loaded, "base"), task, asked, own.chains):
        ratings = rate.rate(Seen(group.problem, run.recipe.seed), group.chains) if rate else None
        for i, row in enumerate(_rows(task, group, "base", "sample", run.recipe.seed)):
            rows.append(row | {"sample": i} | ({"score": ratings[i].value} if ratings else {}))
    run.write(folder, rows)
    right = sum(row["correct"] is True for row in rows)
    return {"chains": len(rows), "reward": right / len(rows), "tokens": sum(row["tokens"] for row in rows)}


def _drawn(run: Run) -> Sequence[data.Drawn]:
    """The rows to learn from: the recipe's, or those that `sample` wrote."""
    return run.rows or data.rows(run.recipe, run.problems, str(run.path("sample") / "samples.jsonl"))


def _distill(run: Run, folder: Path) -> dict[str, Any]:
    loaded, view = _ready(run)
    texts = Texts.of(loaded.tokenizer, loaded.model)
    rows = data.found(_drawn(run), texts, loaded.tokenizer.eos_token_id)
    try:
        chosen = distill.train(run.recipe.own.config, loaded.model, rows, folder, run.told("distill"))
    except ValueError as error:
        raise PonderError(f"distill: {error}") from None
    _save(run, loaded, view)
    right = sum(row.correct is True for row in chosen) / len(chosen)
    return _told(folder) | {"chains": len(rows), "chosen": len(chosen), "chosen_correct": right}


def _prune(run: Run, folder: Path) -> dict[str, Any]:
    own = run.recipe.own.config
    loaded, _ = _ready(run)
    task, rows = run.problems.task, _drawn(run)
    there = {row.problem.id for row in rows}
    # Rows of an earlier run may be on other problems than those that would have been sampled here.
    held = {problem.id for problem in [p for p in run.problems.pool.values() if p.id in there][: _held(run)]}
    texts = Texts.of(loaded.tokenizer, loaded.model)
    delimiter = task.rules(next(iter(there))).delimiter
    steps = Steps(texts, delimiter)
    judged = [
        _judged(row, texts, steps, task, loaded.tokenizer.eos_token_id) for row in rows if row.correct is not None
    ]
    learn, check = ([item for item in judged if (item.problem in held) is side] for side in (False, True))
    try:
        found = prune.train(own, loaded.model, learn, check, folder, run.told("prune"))
    except ValueError as error:
        raise PonderError(f"prune: {error}; there are {len(judged)} chains") from None
    model, policy = found.model, loaded.model
    if run.recipe.adapter:
        model = adapter.merged(model)
        policy = run.loaded().model
    about = {"chains": len(learn), "held_out": len(check), "step": found.best.step, "auroc": found.best.auroc}
    if run.place.main:
        sheet = Sheet(own.kind, delimiter=delimiter, beta=own.beta, trained_on=about)
        reference = policy if own.kind == "implicit" else None
        scorer.save(anew(run.checkpoint("prm")), Checkpoint(sheet, model, loaded.tokenizer, reference))
    return about | {"tokens": sum(len(item.completion) for item in judged)}


def _held(run: Run) -> int:
    return run.recipe.problems.held_out


def _judged(row: data.Drawn, texts: Texts, steps: Steps, task: Task, end: int) -> Judged:
    prompt, ids = texts.ids(row.problem.root), data.ids_of(row, texts, end)
    ends = steps.ends((*prompt, *ids), len(prompt))
    valid = task.valid_steps(row.problem.id, row.text)
    labels = tuple(map(float, valid)) if valid is not None and len(valid) == len(ends) else None
    return Judged(row.problem.id, prompt, ids, ends, float(row.correct is True), labels)


def _ready(run: Run) -> tuple[loading.Loaded, Any]:
    """The model to be trained, and peft's view of it."""
    loaded = run.loaded()
    view = adapter.added(run.recipe, loaded.model)
    if run.recipe.machine.checkpointing:
        name = "activation_checkpointing_enable"  # transformers 5; the name before it
        getattr(loaded.model, name if hasattr(loaded.model, name) else "gradient_checkpointing_enable")()
    return loaded, view


def _save(run: Run, loaded: loading.Loaded, view: Any) -> None:
    """Writes checkpoints/policy, an ordinary checkpoint, and the adapter alone where there is one."""
    model = loaded.model
    if not run.place.main:
        return
    if view is not None:
        adapter.keep(view, anew(run.checkpoint("adapter")))
        model = adapter.merged(model)
    with whole_folder(anew(run.checkpoint("policy"))) as part:
        model.save_pretrained(part)
        loaded.tokenizer.save_pretrained(part)


def _told(folder: Path) -> dict[str, Any]:
    """What the figures of the steps come to."""
    rows = metrics(folder)
    last = rows[-max(1, len(rows) // 8) :]
    found = {
        key: sum(row[key] for row in last) / len(last) for key in ("loss", "reward") if all(key in r for r in last)
    }
    return found | {"tokens": sum(row.get("tokens", 0) for row in rows)}
