"""A model that only reads: what it predicts at chosen places of given sequences, from the tree cache on.

Scorers use it. A chain that has grown by a step costs that step's tokens, since its beginning is in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ponder.engines.hf.forward import Forward
from ponder.engines.hf.prefill import Prefix, fill, fitting
from ponder.engines.hf.tree import Key, TreeCache


@dataclass(frozen=True, slots=True)
class Text:
    """A sequence to read: all its tokens, under the chain key by which the tree cache knows it. `keep`: it may grow, so
    the tree cache holds it afterwards."""

    ids: tuple[int, ...]
    key: Key
    keep: bool = True


class Reader:
    """Reads with `forward`; `ahead`: padded tokens of one pass. The model's outputs may be logits or any scores."""

    def __init__(self, forward: Forward, tree: TreeCache, ahead: int = 2048) -> None:
        self.forward, self.tree, self.ahead = forward, tree, ahead

    @torch.inference_mode()
    def outputs(self, texts: Sequence[Text], at: Sequence[Sequence[int]]) -> list[Tensor]:
        """The model's outputs float32 [len(at[i]), …] at token positions at[i] of text i. Raises IndexError for a
        position that a text does not have."""
        for text, places in zip(texts, at, strict=True):
            if any(not 0 <= place < len(text.ids) for place in places):
                raise IndexError(f"positions {min(places)} … {max(places)} of a sequence of {len(text.ids)} tokens")
        found = self._whole(texts, at) if self.forward.reads else {}
        waiting = [i for i, places in enumerate(at) if places and i not in found]
        while waiting:
            prefixes = [Prefix(texts[i].ids[: max(at[i]) + 1], texts[i].key, texts[i].keep) for i in waiting]
            latest = [min(at[i]) for i in waiting]
            nodes = fitting(self.tree, prefixes, self.ahead, latest)
            part = waiting[: len(nodes)]
            filled = fill(self.forward, self.tree, prefixes[: len(part)], nodes, latest[: len(part)])
            for row, i in enumerate(part):
                end = max(at[i]) + 1
                found[i] = filled.logits[row, [place - end for place in at[i]]].float()
            waiting = waiting[len(part) :]
        return [found.get(i, torch.zeros(0)) for i in range(len(texts))]

    def _whole(self, texts: Sequence[Text], at: Sequence[Sequence[int]]) -> dict[int, Tensor]:
        """What is read once, of texts without a beginning in the cache: without keys and values."""
        alone = [
            i for i, text in enumerate(texts) if at[i] and not text.keep and not self.tree.find(text.key, text.ids)
        ]
        alone.sort(key=lambda i: max(at[i]))
        found: dict[int, Tensor] = {}
        while alone:
            part = alone[-max(1, self.ahead // (max(at[alone[-1]]) + 1)) :]
            del alone[-len(part) :]
            logits = self.forward.whole([texts[i].ids[: max(at[i]) + 1] for i in part])
            found |= {i: logits[row, list(at[i])].float() for row, i in enumerate(part)}
        return found

    def logprobs(self, texts: Sequence[Text], start: Sequence[int]) -> list[Tensor]:
        """Log-probs float32 [len(ids) - start[i]] of each text's tokens from position start[i] >= 1 on. A text's last
        token is not read, so each token of a growing chain is read once."""
        read = [Text(text.ids[:-1], text.key, text.keep) for text in texts]
        places = [range(first - 1, len(text.ids) - 1) for text, first in zip(texts, start, strict=True)]
        logits = self.outputs(read, places)
        found = []
        for text, first, own in zip(texts, start, logits, strict=True):
            if first >= len(text.ids):
                found.append(torch.zeros(0))
                continue
            ids = torch.tensor(text.ids[first:], device=own.device)
            found.append(torch.log_softmax(own, dim=-1).gather(1, ids[:, None])[:, 0])
        return found
