"""Which rows are drawn when: the heart of the local engine.

At most `rows` sequences are live. A prompt that several rows share is computed once, ahead of need and together with
the next ones; a row that ends gives its place to the next at once, or, when none waits, to the last live row, so that
every forward pass is over live rows alone. What a row draws depends on its seed and position, not on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ponder.engines.hf.choose import choose, uniforms
from ponder.engines.hf.forward import Forward
from ponder.engines.hf.kv import BLOCK, KV
from ponder.engines.hf.prefill import Filled, Prefix, fill, fitting
from ponder.engines.hf.tree import Key, Node, TreeCache
from ponder.models.native.quick import draw
from ponder.types import Finish, Sampling


@dataclass(frozen=True, slots=True)
class Row:
    """A sequence to draw: at most `allowance` (>= 1) tokens after prefix number `prefix`, with randomness `seed`.

    `key`: where the tree cache keeps it if it ends at a step, None: nowhere."""

    prefix: int
    seed: int
    allowance: int
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What was drawn: token ids with the end token, their log-probs, and why it ended."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Finish


@dataclass(frozen=True, slots=True)
class Ending:
    """When a row ends by itself. `marks` [V]: tokens after which it may have, the end tokens among them.
    `complete` says whether the ids of a row, whose last one is marked but no end token, have come to a step's end; None
    if there are no steps."""

    ends: frozenset[int]
    marks: Tensor
    complete: Callable[[Sequence[int]], bool] | None = None


@dataclass(slots=True)
class Drawn:
    """Of one batch: a Written a row; of each prefix how many of its tokens the tree cache had (the rest was
    computed)."""

    rows: list[Written]
    cached: list[int]


@dataclass(frozen=True, slots=True)
class Limits:
    """`rows` are live at most, of `positions` tokens together (a row counts as long as the longest may become).
    `ahead`: tokens of prompts computed in one forward pass, a single longer prompt aside."""

    rows: int = 64
    positions: int = 1 << 18
    ahead: int = 2048


class Sampler:
    """Draws rows from a model. `tree` keeps what may be continued; clear it when the weights change."""

    def __init__(self, forward: Forward, sampling: Sampling, limits: Limits, tree: TreeCache) -> None:
        self.forward, self.sampling, self.limits, self.tree = forward, sampling, limits, tree

    @torch.inference_mode()
    def draw(self, prefixes: Sequence[Prefix], rows: Sequence[Row], ending: Ending) -> Drawn:
        """Draws every row, in the order of their prefixes' first use."""
        if not rows:
            return Drawn([], [0] * len(prefixes))
        found = self._whole(prefixes, rows, ending) if ending.complete is None else None
        if found is not None:
            return found
        self.forward.begin()
        return _Batch(self, prefixes, rows, ending).run()

    def _whole(self, prefixes: Sequence[Prefix], rows: Sequence[Row], ending: Ending) -> Drawn | None:
        """Chains that end at no step, where the model can be drawn from in C; else None."""
        sampling = self.sampling
        if sampling.top_k or sampling.top_p < 1 or sampling.min_p or not self.forward.quick:
            return None
        order = sorted(range(len(rows)), key=lambda i: rows[i].prefix)
        own = [rows[i] for i in order]
        allowed = [row.allowance for row in own]
        u = uniforms([row.seed for row in own], max(allowed), self.forward.device)
        prompts = [prefix.ids for prefix in prefixes]
        which = [row.prefix for row in own]
        drawn = draw(self.forward.model, prompts, which, allowed, u, sorted(ending.ends), sampling.temperature)
        if drawn is None:
            return None
        written: list[Written | None] = [None] * len(rows)
        for place, ids, logprobs, count in zip(order, *(part.tolist() for part in drawn), strict=True):
            finish: Finish = "stop" if ids[count - 1] in ending.ends else "length"
            written[place] = Written(tuple(ids[:count]), tuple(logprobs[:count]), finish)
        read = {number: len(prompts[number]) for number in which}
        self.forward.processed += sum(read.values()) + int(drawn[2].sum()) - len(rows)
        return Drawn([row for row in written if row is not None], [0] * len(prefixes))


class _Batch:
    """One call of `draw`: the live rows' state, slot by slot."""

    def __init__(self, sampler: Sampler, prefixes: Sequence[Prefix], rows: Sequence[Row], ending: Ending) -> None:
        self.forward, self.tree = sampler.forward, sampler.tree
        self.sampling, self.limits = sampler.sampling, sampler.limits
        self.prefixes, self.rows, self.ending = prefixes, rows, ending
        first: dict[int, int] = {}
        for row in rows:
            first.setdefault(row.prefix, len(first))
        self.queue = sorted(range(len(rows)), key=lambda i: first[rows[i].prefix])[::-1]  # the next one last
        self.coming = sorted(first, key=first.__getitem__)[::-1]
        self.ready: Filled | None = None
        self.place: dict[int, int] = {}  # prefix → row of `ready`
        self.cached = [0] * len(prefixes)
        self.written: list[Written | None] = [None] * len(rows)
        self.nodes: dict[int, Node | None] = {}
        device, most = self.forward.device, min(sampler.limits.rows, len(rows))
        longest = max(row.allowance for row in rows)
        self.kv = KV(most, BLOCK)
        self.live: list[int] = []  # slot → row
        self.lengths: list[int] = []  # slot → tokens, the one to be fed next included
        self.tokens = torch.zeros(most, dtype=torch.int64, device=device)
        self.at = torch.zeros(most, dtype=torch.int64, device=device)  # where the next token is fed
        self.count = torch.zeros(most, dtype=torch.int64, device=device)  # tokens drawn
        self.allowed = torch.zeros(most, dtype=torch.int64, device=device)
        self.u = torch.zeros(most, longest, dtype=torch.float64, device=device)
        self.ids = torch.zeros(most, longest, dtype=torch.int64, device=device)
        self.logprobs = torch.zeros(most, longest, dtype=torch.float32, device=device)
        self.slots = torch.arange(most, device=device)
        need = max(len(prefixes[row.prefix].ids) + row.allowance for row in rows)
        self.room = max(1, min(most, self.limits.positions // need))  # rows that may be live

    def run(self) -> Drawn:
        while self.queue or self.live:
            self._admit()
            self._step()
        assert all(row is not None for row in self.written)
        return Drawn([row for row in self.written if row is not None], self.cached)

    # --- admitting --------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Fills free slots with waiting rows. A row that ends with its first token frees its slot again."""
        while self.queue and (free := self.room - len(self.live)) > 0:
            if self.rows[self.queue[-1]].prefix not in self.place:
                self._prefill()
            joined: list[int] = []
            while self.queue and len(joined) < free and self.rows[self.queue[-1]].prefix in self.place:
                joined.append(self.queue.pop())
            self._join(joined)

    def _join(self, joined: list[int]) -> None:
        ready = self.ready
        assert ready is not None
        slots = list(range(len(self.live), len(self.live) + len(joined)))
        source = [self.place[self.rows[row].prefix] for row in joined]
        lengths = [len(self.prefixes[self.rows[row].prefix].ids) for row in joined]
        self.kv.grow(max(lengths))
        self.kv.copy_from(ready.kv, source, slots, max(lengths))
        self.live += joined
        self.lengths += lengths
        device, span = self.forward.device, slice(slots[0], slots[-1] + 1)
        self.at[span] = torch.tensor(lengths, device=device) - 1
        self.count[span] = 0
        self.allowed[span] = torch.tensor([self.rows[row].allowance for row in joined], device=device)
        most = max(self.rows[row].allowance for row in joined)
        self.u[span, :most] = uniforms([self.rows[row].seed for row in joined], most, device)
        self._choose(slots, ready.logits[source, -1])

    def _prefill(self) -> None:
        """Computes the next prefixes together."""
        waiting = [self.prefixes[number] for number in self.coming[-1 : -1 - self.limits.rows : -1]]
        found = fitting(self.tree, waiting, self.limits.ahead)
        self.ready = fill(self.forward, self.tree, waiting[: len(found)], found)
        self.place = {}
        for slot, cached in enumerate(self.ready.cached):
            number = self.coming.pop()
            self.place[number], self.cached[number], self.nodes[number] = slot, cached, self.ready.nodes[slot]

    # --- drawing ----------------------------------------------------------------------------------------------

    def _step(self) -> None:
        """One token for every live row."""
        if not self.live:
            return
        b = len(self.live)
        seen = max(self.lengths)
        self.kv.grow(seen)
        logits = self.forward.step(self.kv, self.tokens[:b], self.at[:b], seen)
        self._choose(range(b), logits)

    def _choose(self, slots: Sequence[int], logits: Tensor) -> None:
        """Draws the next token of consecutive slots from their logits, and takes out the rows that it ends."""
        span = slice(slots[0], slots[-1] + 1)
        index, count = self.slots[span], self.count[span]
        tokens, logprobs = choose(logits, self.u[index, count], self.sampling)
        self.ids[index, count] = tokens
        self.logprobs[index, count] = logprobs
        count += 1
        self.tokens[span] = tokens
        self.at[span] += 1
        for slot in slots:
            self.lengths[slot] += 1
        marked = self.ending.marks[tokens] | (count >= self.allowed[span])
        if bool(marked.any()):
            ended = [slots[0] + i for i in marked.nonzero()[:, 0].tolist()]
            self._end([slot for slot in ended if self._finished(slot)])

    def _finished(self, slot: int) -> bool:
        """Whether a marked row has ended; if so, what it wrote is taken down."""
        row = self.rows[self.live[slot]]
        count = int(self.count[slot])
        ids = tuple(self.ids[slot, :count].tolist())
        finish: Finish
        if ids[-1] in self.ending.ends:
            finish = "stop"
        elif self.ending.complete is not None and self.ending.complete(ids):
            finish = "step"
        elif count >= row.allowance:
            finish = "length"
        else:
            return False
        self.written[self.live[slot]] = Written(ids, tuple(self.logprobs[slot, :count].tolist()), finish)
        node = self.nodes.get(row.prefix)
        if finish == "step" and row.key is not None and node is not None:
            whole = self.prefixes[row.prefix].ids + ids[:-1]  # the last token was drawn, not fed
            self.tree.put(row.key, node, whole, self.kv.cut(slot, len(node.ids), len(whole)))
        return True

    def _end(self, slots: list[int]) -> None:
        """Frees slots; the last live rows move into the gaps."""
        if not slots:
            return
        stay = len(self.live) - len(slots)
        gaps = [slot for slot in slots if slot < stay]
        gone = set(slots)
        movers = [slot for slot in range(stay, len(self.live)) if slot not in gone]
        if gaps:
            longest = max(self.lengths[slot] for slot in movers)
            self.kv.move(movers, gaps, min(longest, self.kv.room))
            for tensor in (self.tokens, self.at, self.count, self.allowed, self.u, self.ids, self.logprobs):
                tensor[gaps] = tensor[movers]
            for source, target in zip(movers, gaps, strict=True):
                self.live[target], self.lengths[target] = self.live[source], self.lengths[source]
        del self.live[stay:], self.lengths[stay:]
