"""Between text and ids: prompts by the model's chat template, delimiters, and text of what was drawn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ponder.errors import EngineError, UsageError
from ponder.types import Chain, Message

REMEMBERED = 4096  # prompts
CONTEXT = 8  # tokens before a text that decide how it is written (a leading space, half a character)


class Texts:
    """A tokenizer in the terms of the engine. `chat`: whether prompts go through its chat template."""

    def __init__(self, tokenizer: Any, chat: bool, vocabulary: int) -> None:
        self.tokenizer, self.chat, self.vocabulary = tokenizer, chat, vocabulary
        self._backend = _backend(tokenizer)
        self._prompts: OrderedDict[tuple[Message, ...], tuple[int, ...]] = OrderedDict()
        self._pieces: list[str] | None = None
        self._marks: dict[str, torch.Tensor] = {}

    @classmethod
    def of(cls, tokenizer: Any, model: Any, chat: bool = True) -> Texts:
        """For a model; `chat` has no say where the tokenizer has no template."""
        has_template = getattr(tokenizer, "chat_template", None) is not None
        layer = model.get_output_embeddings() or model.get_input_embeddings()  # a scorer's head predicts no tokens
        return cls(tokenizer, chat and has_template, int(layer.weight.shape[0]))

    def ids(self, chain: Chain) -> tuple[int, ...]:
        """The ids of a chain: its prompt's, then its segments' own; text that came without ids is tokenised."""
        found = list(self._prompt(chain.prompt))
        for segment in chain.segments:
            found += segment.ids if segment.ids is not None else self._encoded(segment.text)
        return tuple(found)

    def _prompt(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        if messages in self._prompts:
            self._prompts.move_to_end(messages)
            return self._prompts[messages]
        if self.chat:
            turns = [{"role": message.role, "content": message.content} for message in messages]
            ids = self._or_error(
                lambda: self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)
            )["input_ids"]
        else:
            joined = "\n\n".join(message.content for message in messages)
            ids = self._or_error(lambda: self.tokenizer(joined))["input_ids"]
        if not ids:
            raise EngineError("the prompt has no tokens; give a problem with text")
        self._prompts[messages] = tuple(ids)
        if len(self._prompts) > REMEMBERED:
            self._prompts.popitem(last=False)
        return tuple(ids)

    def _encoded(self, text: str) -> tuple[int, ...]:
        found = self._or_error(lambda: self.tokenizer(text, add_special_tokens=False)) if text else {"input_ids": ()}
        return tuple(found["input_ids"])

    def _or_error(self, call: Callable[[], Any]) -> Any:
        """What a tokenizer or a template raises (a word it does not know, a role it does not take) is the prompt's
        fault: one clear line."""
        try:
            return call()
        except Exception as error:
            raise UsageError(
                f"the model's tokenizer cannot take the prompt: {type(error).__name__}: {error}; use a model made for "
                "this task, or --set chat=false"
            ) from None

    def decode(self, ids: Sequence[int]) -> str:
        """Text as written, special tokens left out."""
        if self._backend is not None:
            return str(self._backend.decode(list(ids), skip_special_tokens=True))
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def written(self, before: Sequence[int], ids: Sequence[int]) -> str:
        """The text that `ids` add after `before`: joined to the text of `before`, it is the text of the whole."""
        context = list(before[-CONTEXT:])
        start = self.decode(context)
        whole = self.decode([*context, *ids])
        return whole[len(start) :] if whole.startswith(start) else self.decode(ids)

    def marks(self, delimiter: str | None, ends: frozenset[int], device: torch.device) -> torch.Tensor:
        """bool [V]: the end tokens, and those after which `delimiter` may be complete (they hold its last character,
        or only part of a character)."""
        name = delimiter or ""
        if name not in self._marks:
            found = torch.zeros(self.vocabulary, dtype=torch.bool)
            found[[token for token in ends if token < self.vocabulary]] = True
            if delimiter is not None:
                for token, piece in enumerate(self._all_pieces()):
                    if delimiter[-1] in piece or "\ufffd" in piece or delimiter[-1] == " ":
                        found[token] = True
            self._marks[name] = found.to(device)
        return self._marks[name]

    def completes(self, delimiter: str) -> Callable[[Sequence[int]], bool]:
        """Whether ids that hold no earlier delimiter end with one (or with a token that holds its end)."""
        window = len(delimiter.encode()) + CONTEXT  # a token is a byte at least

        def complete(ids: Sequence[int]) -> bool:
            return delimiter in self.decode(ids[-window:])

        return complete

    def _all_pieces(self) -> list[str]:
        if self._pieces is None:
            known = min(self.vocabulary, len(self.tokenizer))
            self._pieces = self.tokenizer.batch_decode([[token] for token in range(known)])
        return self._pieces


def _backend(tokenizer: Any) -> Any:
    """What a fast tokenizer decodes with: for a few tokens its own checks take most of the time. None where it does
    more than that."""
    from transformers import PreTrainedTokenizerFast as Fast

    plain = isinstance(tokenizer, Fast) and all(
        getattr(type(tokenizer), name) is getattr(Fast, name) for name in ("decode", "_decode")
    )
    return tokenizer.backend_tokenizer if plain else None
