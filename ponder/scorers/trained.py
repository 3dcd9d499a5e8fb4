"""Trained scorers: reward models of chains and their steps, and the value of a state, from a checkpoint folder.

    ponder eval --scorer prm --set prm.path=FOLDER …        (ponder.train.prune and ponder.train.value make folders)

Kinds: 'implicit', σ(β·log(model/reference)) of a chain up to each step's end (arXiv 2412.01981); 'prm', a head read at
each step's end (arXiv 2305.20050); 'orm' and 'pairwise', the same head read at the last token; 'value', a head that
reads the state alone (`Chain.state`). A chain that has grown costs its new tokens: keys and values of what was read
stay in a tree cache, and what was found at step ends is remembered.

A rating's `tokens` are those of its chain that were new, and its share of what chains rated in one call have in common.

They are not pure, though a chain always gets the same rating: what they said goes to the journal, so a replay needs no
checkpoint. That is why the folder is opened when `needs` is asked, before a run's first request, not when it is named.
"""

from __future__ import annotations

import hashlib
import math
import os
from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast

from ponder.errors import UsageError
from ponder.scorers.base import Seen
from ponder.scorers.checkpoint import Aggregate, Checkpoint, load, sheet
from ponder.types import Chain, Rating, Segment, lineage

if TYPE_CHECKING:
    from ponder.engines.hf.reader import Reader
    from ponder.engines.hf.text import Texts

REMEMBERED = 1 << 16  # chains, or states, whose outputs are kept


# --- steps --------------------------------------------------------------------------------------------------------


class Steps:
    """Finds the steps of token ids as the sampler ends them: with the whole token that completes the delimiter."""

    def __init__(self, texts: Texts, delimiter: str) -> None:
        import torch

        self._may = set(texts.marks(delimiter, frozenset(), torch.device("cpu")).nonzero()[:, 0].tolist())
        self._complete = texts.completes(delimiter)
        self._texts = texts

    def ends(self, ids: Sequence[int], start: int) -> tuple[int, ...]:
        """The index of each step's last token, from position `start` on. The last step ends with the last token; tokens
        without text after a delimiter (the end of the chain) belong to the step before."""
        found: list[int] = []
        for at in range(start, len(ids)):
            first = found[-1] + 1 if found else start
            if ids[at] in self._may and self._complete(ids[first : at + 1]):
                found.append(at)
        if len(ids) > start and (not found or found[-1] != len(ids) - 1):
            if found and not self._texts.written(ids[: found[-1] + 1], ids[found[-1] + 1 :]).strip():
                found.pop()
            found.append(len(ids) - 1)
        return tuple(found)


def state_ids(tokenizer: Any, state: str) -> tuple[int, ...]:
    """A state's ids: its text alone, no template, nothing added."""
    return tuple(tokenizer(state, add_special_tokens=False)["input_ids"])


# --- scorers ------------------------------------------------------------------------------------------------------


class TrainedScorer:
    """Base: a folder that is opened when it is needed. `tokens` counts those that went through the scorer's models so
    far (through two for each token of an implicit one). `mixes`: it does not look at the problem but through the chain,
    so chains of several may be rated in one call."""

    pure = False
    mixes = True

    def __init__(
        self,
        name: str,
        kinds: Sequence[str],
        path: str | os.PathLike[str],
        device: str,
        tree: int,
        ahead: int,
        key: str = "path",
    ) -> None:
        """`key`: of the setting that names the folder."""
        if not str(path):
            raise UsageError(f"scorer {name!r} needs a trained model; add --set {name}.{key}=FOLDER")
        if tree < 0 or ahead < 1:
            raise UsageError(f"--set {name}.tree={tree} must be at least 0 and {name}.ahead={ahead} at least 1")
        self.name, self._key = name, key
        self._kinds, self._path, self._device, self._tree, self._ahead = kinds, path, device, tree, ahead
        self._readers: list[Reader] = []
        self._checkpoint: Checkpoint | None = None

    @property
    def needs(self) -> Mapping[str, str]:
        """Nothing of the engine; asked before the first request, so the folder is opened here. Raises UsageError."""
        self.checkpoint  # noqa: B018
        return {}

    @property
    def checkpoint(self) -> Checkpoint:
        if self._checkpoint is None:
            setting = f"--set {self.name}.{self._key}="
            try:
                kind = sheet(self._path).kind
                if kind not in self._kinds:
                    raise UsageError(
                        f"{self._path}: is of kind {kind!r}; scorer {self.name!r} takes {' or '.join(self._kinds)}"
                    )
                self.use(load(self._path, self._device))
            except UsageError as error:
                raise UsageError(f"{setting}{error}") from None
        return cast(Checkpoint, self._checkpoint)

    def use(self, found: Checkpoint) -> None:
        """Takes a checkpoint that is there already, in place of the folder's."""
        from ponder.engines.hf.engine import MEMORY, bytes_a_token, memory
        from ponder.engines.hf.forward import Forward
        from ponder.engines.hf.reader import Reader
        from ponder.engines.hf.tree import TreeCache

        self._checkpoint = found
        models = [model for model in (found.model, found.reference) if model is not None]
        fits = int(MEMORY / 4 * memory(models[0].device) / bytes_a_token(models[0]))
        self._readers = [
            Reader(Forward(model), TreeCache(self._tree or max(fits, 1024)), self._ahead) for model in models
        ]

    @property
    def tokens(self) -> int:
        return sum(reader.forward.processed for reader in self._readers)


@dataclass(frozen=True, slots=True)
class Known:
    """What was found for a chain of so many tokens: the model's output at the end of each step."""

    length: int = 0
    digest: bytes = b""
    at: Mapping[int, float] = field(default_factory=dict)


class ChainScorer(TrainedScorer):
    """Rates chains by what the model makes of their tokens: 'prm' by step, 'orm' as a whole."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._known: OrderedDict[tuple[str, str], Known] = OrderedDict()

    def use(self, found: Checkpoint) -> None:
        from ponder.engines.hf.text import Texts

        super().use(found)
        self._known.clear()
        self._texts = Texts.of(found.tokenizer, found.model, found.sheet.chat)
        self._steps = Steps(self._texts, found.sheet.delimiter)
        self._context = int(getattr(found.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 20)

    def rate(self, seen: Seen, chains: Sequence[Chain]) -> list[Rating]:
        from ponder.engines.hf.reader import Text

        stepwise = self.checkpoint.sheet.kind in ("implicit", "prm")
        ratings = [Rating(None)] * len(chains)
        texts: dict[int, Text] = {}
        prompts: dict[int, int] = {}
        ends: dict[int, tuple[int, ...]] = {}
        for i, chain in enumerate(chains):
            start, ids = self._read(chain)
            if chain.drawn and start < len(ids) <= self._context:
                texts[i], prompts[i] = Text(ids, (chain.problem, chain.key), keep=not chain.ended), start
                ends[i] = self._steps.ends(ids, start) if stepwise else (len(ids) - 1,)
        before = {i: self._before(texts[i]) for i in texts}
        known = {i: found.at for i, found in before.items()}
        fresh = [i for i in texts if any(end not in known[i] for end in ends[i])]
        read = self.tokens
        found = self._outputs(
            [texts[i] for i in fresh], [prompts[i] for i in fresh], [ends[i] for i in fresh], [known[i] for i in fresh]
        )
        new = [len(self._readers) * (len(texts[i].ids) - max(prompts[i], before[i].length)) for i in fresh]
        tokens = dict(zip(fresh, spread(self.tokens - read, new), strict=True))
        values = known | dict(zip(fresh, found, strict=True))
        for i, text in texts.items():
            at = {end: values[i][end] for end in ends[i]}
            self._remember(text, at)
            ratings[i] = self._rating([at[end] for end in ends[i]], stepwise, tokens.get(i, 0))
        return ratings

    def _rating(self, outputs: Sequence[float], stepwise: bool, tokens: int) -> Rating:
        found = self.checkpoint.sheet
        scale = found.beta if found.kind == "implicit" else 1.0
        steps = [_sigmoid(scale * output) for output in outputs]
        return Rating(aggregated(steps, found.aggregate), tuple(steps) if stepwise else (), tokens)

    def _read(self, chain: Chain) -> tuple[int, tuple[int, ...]]:
        """(tokens of the prompt, ids of prompt and chain): the chain's own ids if they mean its text to this tokenizer,
        else its text tokenised, with the end token after it if the model ended the chain."""
        prompt = self._texts.ids(replace(chain, segments=()))
        ids = list(prompt)
        for segment in chain.segments:
            if segment.ids is None or not self._means(ids, segment):
                whole = self._texts.ids(replace(chain, segments=(Segment(chain.text),)))
                end = self.checkpoint.tokenizer.eos_token_id
                return len(prompt), (*whole, end) if chain.finish == "stop" and end is not None else whole
            ids += segment.ids
        return len(prompt), tuple(ids)

    def _means(self, before: Sequence[int], segment: Segment) -> bool:
        assert segment.ids is not None
        known = all(0 <= token < self._texts.vocabulary for token in segment.ids)
        return known and self._texts.written(before, segment.ids) == segment.text

    def _before(self, text: Any) -> Known:
        """What is known of the chain, or of the nearest ancestor with which it begins."""
        problem, chain = text.key
        for key in reversed(lineage(chain)):
            known = self._known.get((problem, key))
            if known is not None and known.digest == _digest(text.ids[: known.length]):
                self._known.move_to_end((problem, key))
                return known
        return Known()

    def _remember(self, text: Any, at: Mapping[int, float]) -> None:
        self._known[text.key] = Known(len(text.ids), _digest(text.ids), at)
        self._known.move_to_end(text.key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _outputs(
        self,
        texts: Sequence[Any],
        prompts: Sequence[int],
        ends: Sequence[tuple[int, ...]],
        known: Sequence[Mapping[int, float]],
    ) -> list[dict[int, float]]:
        """The model's output at each end: a head's, or log(model/reference) of the chain up to there."""
        if not texts:
            return []
        self._share(texts, prompts)
        missing = [[end for end in own if end not in at] for own, at in zip(ends, known, strict=True)]
        if self.checkpoint.sheet.kind != "implicit":
            outputs = self._readers[0].outputs(texts, missing)
            new = [[float(value) for value in output[:, 0]] for output in outputs]
        else:
            # An end is known only with all ends before it, so the sum goes on from the last of them.
            last = [max((end for end in own if end in at), default=-1) for own, at in zip(ends, known, strict=True)]
            starts = [max(prompt, end + 1) for prompt, end in zip(prompts, last, strict=True)]
            ours, theirs = (reader.logprobs(texts, starts) for reader in self._readers)
            new = []
            for i, start in enumerate(starts):
                total = (ours[i].double() - theirs[i].double()).cumsum(0) + known[i].get(last[i], 0.0)
                new.append([float(total[end - start]) for end in missing[i]])
        return [
            dict(at) | dict(zip(places, values, strict=True))
            for at, places, values in zip(known, missing, new, strict=True)
        ]

    def _share(self, texts: Sequence[Any], prompts: Sequence[int]) -> None:
        """Reads a prompt once for the several chains that begin with it. Its last token is left to each of them, since
        its prediction is the first that counts."""
        from ponder.engines.hf.reader import Text

        alike: dict[tuple[int, ...], list[Any]] = {}
        for text, prompt in zip(texts, prompts, strict=True):
            alike.setdefault(text.ids[: prompt - 1], []).append(text)
        for reader in self._readers:
            wanted = []
            for ids, own in alike.items():
                nodes = [reader.tree.find(text.key, text.ids) for text in own]
                if ids and len(own) > 1 and any(node is None or len(node.ids) < len(ids) for node in nodes):
                    wanted.append(Text(ids, (own[0].key[0], "")))
            reader.outputs(wanted, [[len(text.ids) - 1] for text in wanted])


class ValueScorer(TrainedScorer):
    """Rates where an unfinished chain stands: the chance that the policy ends well from its state. Ended chains, and
    those without a state, cannot be rated. Equal states are read once, for the first chain that stands there."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._known: OrderedDict[str, float] = OrderedDict()

    def use(self, found: Checkpoint) -> None:
        super().use(found)
        self._known.clear()

    def rate(self, seen: Seen, chains: Sequence[Chain]) -> list[Rating]:
        return self.of([None if chain.ended else chain.state for chain in chains])

    def of(self, states: Sequence[str | None]) -> list[Rating]:
        """Ratings of states; of None there is none."""
        fresh = [s for s in dict.fromkeys(states) if s is not None and s not in self._known]
        tokens = [0] * len(states)
        found = {s: self._known[s] for s in states if s is not None and s in self._known}
        values, lengths = self._values(fresh)
        found |= dict(zip(fresh, values, strict=True))
        for state, length in zip(fresh, lengths, strict=True):
            tokens[states.index(state)] = length
        self._known |= found
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return [
            Rating(None if state is None else found[state], tokens=length)
            for state, length in zip(states, tokens, strict=True)
        ]

    def _values(self, states: Sequence[str]) -> tuple[list[float], list[int]]:
        """(value, tokens read) of each state."""
        from ponder.engines.hf.reader import Text

        tokenizer, before = self.checkpoint.tokenizer, self.tokens
        texts = [Text(state_ids(tokenizer, state), (state, ""), keep=False) for state in states]
        outputs = self._readers[0].outputs(texts, [[len(text.ids) - 1] for text in texts]) if texts else []
        read = spread(self.tokens - before, [len(text.ids) for text in texts])
        return [_sigmoid(float(output[0, 0])) for output in outputs], read


def spread(total: int, own: Sequence[int]) -> list[int]:
    """Tokens that were read, over the ratings that they were read for: each has its own, and what is left over (what
    they share) evenly. If less was read than is their own, in proportion. The sum is `total`."""
    rest = max(0, total - sum(own))
    parts = list(accumulate(len(own) * tokens + rest for tokens in own))
    ends = [total * part // parts[-1] if parts[-1] else 0 for part in parts]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def aggregated(steps: Sequence[float], how: Aggregate) -> float:
    """One rating from those of the steps."""
    if how == "mean":
        return sum(steps) / len(steps)
    if how == "product":
        return math.prod(steps)
    return min(steps) if how == "min" else steps[-1]


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _digest(ids: Sequence[int]) -> bytes:
    return hashlib.blake2b(array("q", ids).tobytes(), digest_size=16).digest()


def build_prm(*, path: str = "", device: str = "auto", tree: int = 0, ahead: int = 8192) -> ChainScorer:
    """`path`: the scorer's folder. `tree`: tokens of its cache (0 chooses for this machine); `ahead`: padded tokens of
    one pass."""
    return ChainScorer("prm", ("implicit", "prm"), path, device, tree, ahead)


def build_orm(*, path: str = "", device: str = "auto", tree: int = 0, ahead: int = 8192) -> ChainScorer:
    """As `build_prm`."""
    return ChainScorer("orm", ("orm", "pairwise"), path, device, tree, ahead)


def build_value(*, path: str = "", device: str = "auto", ahead: int = 8192) -> ValueScorer:
    """As `build_prm`."""
    return ValueScorer("value", ("value",), path, device, 0, ahead)
