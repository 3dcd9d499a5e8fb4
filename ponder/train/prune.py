"""Pruning: reward models of finished chains and of their steps, trained on outcomes or on labels of steps.

    implicit   a copy of the policy as a language model. The logit at the end of step k is β·Σ log(π/π_ref) over the
               tokens of the chain up to there, π_ref's log-probs computed once beforehand; cross-entropy with the
               chain's *outcome* at its end, from which steps get ratings for nothing (arXiv 2412.01981; PRIME, arXiv
               2502.01456), or at the ends of all steps
    orm        a scalar head on the policy's body, read at the last token; cross-entropy with the outcome
    prm        the same head read at the end of each step; cross-entropy with the steps' labels, hard or soft, None for
               no label (PRM800K, 'Let's Verify', arXiv 2305.20050; Math-Shepherd, arXiv 2312.08935)
    pairwise   the head at the last token; -log σ(r⁺ - r⁻) on pairs of chains of one problem (Bradley-Terry)

Departures, implicit: a linear head on the prompt's last hidden state adds a bias per problem to the logits in training,
so that how hard a problem is need not be written into its chains; ratings go by the log-ratio alone. A batch is half
correct chains, half wrong ones. All text after the prompt counts, that which was given to the model too.

Training ends on what matters: AUROC within held-out problems, looked at every `check` steps. The best weights are kept.

    found = train(config, policy, data, held_out)
    sheet = Sheet(config.kind, delimiter=";", beta=config.beta)                 # ponder.scorers.checkpoint
    save(FOLDER, Checkpoint(sheet, found.model, tokenizer, reference=policy))

Legend: B chains, T tokens (padded), S steps of a chain (padded).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import isnan
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ponder.errors import UsageError
from ponder.scorers.trained import Steps
from ponder.train.batches import Batch, Example, Pool, chunks, logits, logprobs, pad, picked, wide
from ponder.train.losses import implicit_reward, outcome_loss, pairwise_loss
from ponder.train.parallel import ALONE, Processes, here
from ponder.train.stopping import Best, Check, Trained, improve, sound, within
from ponder.train.trainer import Optimiser, Progress, Trainer
from ponder.types import Chain

Kind = Literal["implicit", "orm", "prm", "pairwise"]


@dataclass(frozen=True, slots=True)
class Config:
    """At most `steps` optimiser steps of `batch` chains (pairwise: half as many pairs); `tokens`: padded tokens of one
    micro-batch, which changes memory, not the result.

    Every `check` steps the AUROC within held-out problems is taken; training ends when it has reached `target`, or has
    not grown for `patience` checks. `beta` scales the implicit reward; `ends`: where it is held against the outcome; at
    all steps, early ones, which say little yet, drown the last in noise. `balanced`: half of each batch is chains with
    an outcome of at least .5."""

    kind: Kind = "implicit"
    steps: int = 1500
    batch: int = 64
    tokens: int = 65536
    beta: float = 0.3
    ends: Literal["last", "all"] = "last"
    balanced: bool = True
    check: int = 100
    patience: int = 5
    target: float = 1.0
    seed: int = 0
    optimiser: Optimiser = field(default_factory=lambda: Optimiser(lr=2e-3, warmup=50, final=0.1))

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UsageError(f"kind {self.kind!r}: one of {', '.join(get_args(Kind))}")
        sound(self)
        if self.ends not in ("last", "all"):
            raise UsageError(f"ends {self.ends!r}: 'last' or 'all'")
        if not 0 < self.beta < float("inf"):
            raise UsageError(f"beta is {self.beta}: give a finite number above 0")


@dataclass(frozen=True, slots=True)
class Judged:
    """A finished chain and what is known of it. `ends`: the position in prompt + completion of the last token of each
    step, ascending; the last is the chain's last token. `outcome` in [0, 1]; `labels`: one a step, in [0, 1] or None.
    `reference`: the log-prob of each token of the completion under the reference model, where it is known already (the
    engine's, if that model drew the chain at temperature 1 without truncation). Raises ValueError for anything else, a
    number of labels that is not that of the steps in particular."""

    problem: str
    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    ends: tuple[int, ...]
    outcome: float
    labels: tuple[float | None, ...] | None = None
    reference: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        size = len(self.prompt) + len(self.completion)
        if not self.prompt or not self.ends or self.ends[0] < len(self.prompt) or self.ends[-1] != size - 1:
            raise ValueError(f"ends {self.ends} must lie after the prompt ({len(self.prompt)}) and end at {size - 1}")
        if any(a >= b for a, b in zip(self.ends, self.ends[1:], strict=False)):
            raise ValueError(f"ends {self.ends} must ascend")
        if self.labels is not None and len(self.labels) != len(self.ends):
            raise ValueError(f"{len(self.labels)} labels for {len(self.ends)} steps: give one a step, or None")
        if self.reference is not None and len(self.reference) != len(self.completion):
            raise ValueError(f"{len(self.reference)} log-probs for {len(self.completion)} tokens: give one a token")
        if not all(0 <= y <= 1 for y in (self.outcome, *(y for y in self.labels or () if y is not None))):
            raise ValueError("outcome and labels must lie in [0, 1]: they are chances of a correct outcome")

    @classmethod
    def of(
        cls,
        prompt: Sequence[int],
        chain: Chain,
        steps: Steps,
        outcome: float,
        labels: Sequence[float | None] | None = None,
    ) -> Judged:
        """A chain as it was sampled after its prompt. Raises ValueError if it came without token ids."""
        ids = Example.of(prompt, chain).ids
        start = len(prompt)
        own = None if labels is None else tuple(labels)
        return cls(chain.problem, ids[:start], ids[start:], steps.ends(ids, start), outcome, own)


def train(
    config: Config,
    model: Any,
    data: Sequence[Judged],
    held_out: Sequence[Judged],
    folder: Path | None = None,
    progress: Progress | None = None,
    reference: Any = None,
) -> Trained:
    """Trains a copy of the policy `model`, which is left as it is. `reference`: what an implicit reward is measured
    against, default `model` itself. Goes on from `folder` if it holds a checkpoint. Several processes are given the
    same data.

    Raises ValueError if data or held-out problems lack what the kind needs."""
    judge: Any = _Implicit(model, config.beta) if config.kind == "implicit" else _Headed(model, config.kind != "prm")
    against = (reference or model) if config.kind == "implicit" else None
    world = here()
    rows, held = (_rows(items, against, config.tokens, world) for items in (data, held_out))
    pools = [Pool(units, config.seed, name) for name, units in _units(config, rows).items()]
    trainer = Trainer(judge, config.optimiser, config.steps, folder=folder, every=config.check, world=world)
    best = Best(judge, config.patience, config.target, folder=folder, step=trainer.step, main=world.main)
    if isnan(taste(held_out, [[0.0] * len(item.ends) for item in held_out])[0]):
        raise ValueError("no held-out problem has a correct and a wrong chain: AUROC cannot be taken, give more")
    each = config.batch // (2 if config.kind == "pairwise" else len(pools))

    def losses(step: int) -> Iterator[Tensor]:
        return _losses(trainer.model, config, [unit for pool in pools for unit in pool.take(step, each)], world)

    def look(step: int, loss: float) -> Check:
        found = world.gather(scores(judge, world.share(held), config.tokens))
        return Check(step, loss, *taste(held_out, found))

    improve(trainer, best, losses, look, progress)
    return Trained(judge.model, best.best, tuple(best.history))


# --- what is learned ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A chain, ready: `example` counts all tokens after the prompt, `reference` [T] are π_ref's log-probs of them."""

    item: Judged
    example: Example
    reference: Tensor | None = None


Unit = tuple[Row, ...]
"""What a loss needs together: a chain, or a pair with the better one first."""


class _Implicit(nn.Module):
    def __init__(self, policy: Any, beta: float) -> None:
        super().__init__()
        self.model = copy.deepcopy(policy)
        self.beta = beta
        width = self.model.get_output_embeddings().weight.shape[1]
        with torch.random.fork_rng(devices=[]):
            self.problem = nn.Linear(width, 1).to(self.model.device, self.model.dtype)
        nn.init.zeros_(self.problem.weight)
        nn.init.zeros_(self.problem.bias)

    def forward(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
        """(β log-ratios up to the ends of steps [B, S], the problem's bias [B, 1], ends [B, S], -1 for none)."""
        batch, ends = _padded(rows, self.model.device)
        read: list[Tensor] = []  # what the output layer reads: the states of all layers would take more memory
        seen = self.model.get_output_embeddings().register_forward_pre_hook(lambda _, given: read.append(given[0]))
        try:
            ours = picked(logits(self.model, batch.ids), batch)
        finally:
            seen.remove()
        last = torch.tensor([len(row.item.prompt) - 1 for row in rows], device=ends.device)
        bias = self.problem(read[0][torch.arange(len(rows), device=ends.device), last])
        theirs = pad_sequence([row.reference for row in rows if row.reference is not None], batch_first=True)
        return self.beta * implicit_reward(ours, theirs.to(ours), batch.mask, ends), wide(bias), ends


class _Headed(nn.Module):
    def __init__(self, policy: Any, last: bool) -> None:
        super().__init__()
        self.model = headed(policy)
        self.last = last  # in training only the last token is read

    def forward(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
        """(the head's outputs at the ends of steps [B, S], 0, ends [B, S], -1 for none)."""
        batch, ends = _padded(rows, self.model.device)
        if self.last and self.training:
            ends = ends.amax(1, keepdim=True)
        outputs = wide(self.model(input_ids=batch.ids, use_cache=False).logits[..., 0]).gather(1, ends.clamp(0))
        return outputs, outputs.new_zeros(()), ends


def headed(policy: Any, first: float = 0.0) -> Any:
    """A copy of a policy's body with one linear output on each token, `first` at first, for token classification. What
    adapters have learned is merged into it, and all of it is trained."""
    from transformers import AutoModelForTokenClassification

    if hasattr(policy, "merge_and_unload"):
        policy = copy.deepcopy(policy).merge_and_unload()
    config = copy.deepcopy(policy.config)
    config.num_labels, config.classifier_dropout = 1, 0.0
    with torch.random.fork_rng(devices=[]):
        model: Any = AutoModelForTokenClassification.from_config(config)  # type: ignore[no-untyped-call]
    body = model.base_model
    body.load_state_dict(policy.base_model.state_dict())
    model = model.to(policy.device, policy.dtype)
    head = [p for name, p in model.named_parameters() if not name.startswith(f"{model.base_model_prefix}.")]
    with torch.no_grad():
        for parameter in head:
            parameter.fill_(first if parameter.ndim == 1 else 0.0)
    return model


def _padded(rows: Sequence[Row], device: torch.device) -> tuple[Batch, Tensor]:
    ends = [torch.tensor(row.item.ends) for row in rows]
    return pad([row.example for row in rows], device), pad_sequence(ends, batch_first=True, padding_value=-1).to(device)


def _rows(items: Sequence[Judged], reference: Any, tokens: int, world: Processes = ALONE) -> list[Row]:
    """`reference` None: the kind needs none."""
    examples = [Example.after(item.prompt, item.completion) for item in items]
    if reference is None:
        return [Row(item, example) for item, example in zip(items, examples, strict=True)]
    missing = [i for i, item in enumerate(items) if item.reference is None]
    own = token_logprobs(reference, [examples[i] for i in world.share(missing)], tokens)
    found = dict(zip(missing, world.gather([values.cpu() for values in own]), strict=True))
    for i, item in enumerate(items):
        if item.reference is not None:
            found[i] = torch.tensor((0.0,) * len(item.prompt) + item.reference)
    return [Row(item, examples[i], found[i]) for i, item in enumerate(items)]


@torch.no_grad()
def token_logprobs(model: Any, examples: Sequence[Example], tokens: int) -> list[Tensor]:
    """[T] a sequence: log-probs of the tokens that count, 0 elsewhere, in micro-batches of `tokens`."""
    was = model.training
    model.eval()
    found: dict[int, Tensor] = {}
    for part in chunks(examples, min(tokens, 8192)):
        batch = pad([examples[i] for i in part], model.device)
        own = logprobs(model, batch)
        found |= {i: own[row, : len(examples[i].ids)].clone() for row, i in enumerate(part)}
    model.train(was)
    return [found[i] for i in range(len(examples))]


# --- the loss -----------------------------------------------------------------------------------------------------


def _units(config: Config, rows: Sequence[Row]) -> dict[str, list[Unit]]:
    """The pools that a batch takes equal parts of. Raises ValueError if one is empty, or labels are missing."""
    if config.kind == "pairwise":
        pools: dict[str, list[Unit]] = {"pairs": list(_pairs(rows))}
    elif config.balanced:
        pools = {"correct": [], "wrong": []}
        for row in rows:
            pools["correct" if row.item.outcome >= 0.5 else "wrong"].append((row,))
    else:
        pools = {"chains": [(row,) for row in rows]}
    for name, units in pools.items():
        if not units:
            raise ValueError(f"the data hold no {name}: a reward model learns from correct and wrong chains")
    if config.kind == "prm" and any(all(y is None for y in row.item.labels or ()) for row in rows):
        raise ValueError("kind 'prm' needs labels of steps, at least one a chain; use 'implicit' for outcomes alone")
    return pools


def _pairs(rows: Sequence[Row]) -> Iterator[Unit]:
    problems: dict[str, list[Row]] = {}
    for row in rows:
        problems.setdefault(row.item.problem, []).append(row)
    for own in problems.values():
        yield from ((a, b) for a, b in product(own, own) if a.item.outcome > b.item.outcome)


def _losses(judge: nn.Module, config: Config, units: Sequence[Unit], world: Processes = ALONE) -> Iterator[Tensor]:
    """The loss of each micro-batch, divided by what the whole batch counts."""
    kind = config.kind
    items = [row.item for unit in units for row in unit]
    counts = {
        "implicit": len(items) if config.ends == "last" else sum(len(item.ends) for item in items),
        "prm": sum(label is not None for item in items for label in item.labels or ()),
        "orm": len(items),
        "pairwise": len(units),
    }
    longest = [max((row.example for row in unit), key=lambda example: len(example.ids)) for unit in units]
    for part, real in world.parts(longest, max(1, config.tokens // len(units[0]))):
        rows = [row for i in part for row in units[i]]
        outputs, bias, ends = judge(rows)
        if kind == "pairwise":
            better, worse = outputs[::2, 0], outputs[1::2, 0]
            yield real * pairwise_loss(better, worse, torch.ones_like(better, dtype=torch.bool), counts[kind])
            continue
        labels, mask = _labels(rows, kind, ends, outputs)
        if kind == "implicit" and config.ends == "last":
            mask = ends == ends.amax(1, keepdim=True)
        yield real * outcome_loss((outputs + bias).expand_as(outputs), labels, mask, counts[kind])


def _labels(rows: Sequence[Row], kind: Kind, ends: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """(labels, mask), both [B, S]."""
    if kind != "prm":
        outcomes = torch.tensor([row.item.outcome for row in rows], dtype=like.dtype, device=like.device)
        return outcomes[:, None].expand_as(like), ends >= 0
    missing = float("nan")
    found = [torch.tensor([missing if y is None else y for y in row.item.labels or ()]) for row in rows]
    labels = pad_sequence(found, batch_first=True, padding_value=missing).to(like)
    return labels, ~labels.isnan()


# --- what the held-out problems say -------------------------------------------------------------------------------


@torch.no_grad()
def scores(judge: Callable[[Sequence[Row]], tuple[Tensor, Tensor, Tensor]], rows: Sequence[Row], tokens: int) -> Any:
    """Of each chain the outputs at the ends of its steps, as lists of floats, without the problem's bias."""
    found: dict[int, list[float]] = {}
    for part in chunks([row.example for row in rows], min(tokens, 8192)):
        outputs = judge([rows[i] for i in part])[0].tolist()
        found |= {i: outputs[at][: len(rows[i].item.ends)] for at, i in enumerate(part)}
    return [found[i] for i in range(len(rows))]


def taste(items: Sequence[Judged], found: Sequence[Sequence[float]]) -> tuple[float, tuple[float, ...]]:
    """AUROC within problems against the outcomes: of whole chains, and of chains up to their first step, second, …"""
    truth = [item.outcome >= 0.5 for item in items]
    names = [item.problem for item in items]
    depth = max((len(item.ends) for item in items), default=0)
    by_step = []
    for k in range(depth):
        there = [i for i, item in enumerate(items) if len(item.ends) > k]
        by_step.append(within([names[i] for i in there], [truth[i] for i in there], [found[i][k] for i in there]))
    return within(names, truth, [own[-1] for own in found]), tuple(by_step)
