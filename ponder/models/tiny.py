"""A tiny Llama and its word-level tokenizer, for generated tasks: trained in a minute on one CPU thread.

Saved, they are an ordinary transformers checkpoint, so whatever loads a language model loads them (AutoModelForCausalLM
and AutoTokenizer, and what builds on these). Each word is one token, words are what white space separates, and there is
no token for unknown words: text that the model cannot read is an error, never a guess.

    tokenizer = word_tokenizer(arithmetic_words(30))
    model = tiny_llama(tokenizer, seed=0)
    save("runs/tiny", model, tokenizer)
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ponder.errors import StorageError, UsageError
from ponder.whole import whole_folder

if TYPE_CHECKING:  # four seconds that a process which only starts others need not spend
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

PAD, END = "<pad>", "<end>"
"""The two special tokens, with ids 0 and 1; `<end>` ends a chain."""

TEMPLATE = (
    "{% set asked = messages | selectattr('role', 'equalto', 'user') | list %}"
    "{{ asked[-1]['content'].split('\\n\\n')[0] }}"
    "{% if messages[-1]['role'] == 'assistant' %} {{ messages[-1]['content'] | trim }} {{ eos_token }}{% endif %}"
)
"""The first paragraph of the last user message: a task's text, without the instruction that follows it.

Instructions are for models that read English. An answer that has begun follows the text, and one that is complete ends
in `<end>`, which transformers and vLLM cut off again under continue_final_message.
"""

_OPERATORS = ("+", "-", "*", "/", "=", "|", ";", ":", "(", ")")
_UNKNOWN = "<unk>"  # `tokenizers` maps unknown words to the word of this name if there is one, so there must be none


def number_words(most: int) -> list[str]:
    """'0', '1', … str(most). Raises UsageError (a ValueError) if `most` is negative."""
    if most < 0:
        raise UsageError(f"number_words: most is {most}; give the largest number, 0 or more")
    return [str(number) for number in range(most + 1)]


def arithmetic_words(most: int) -> list[str]:
    """The numbers up to `most` and `+ - * / = | ; : ( )`: most + 11 words. Raises UsageError if `most` is negative."""
    return [*number_words(most), *_OPERATORS]


def word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with ids 0 `<pad>`, 1 `<end>`, then `words` in their order; its length is len(words) + 2.

    `encode` splits on white space, adds nothing, and takes one id a word; `decode` joins with single spaces, so that
    `encode(decode(ids)) == ids`, and the text of ids begins with the text of their first ones. The chat template is
    `TEMPLATE`.

    Encoding an unknown word raises a plain `Exception`, 'WordLevel error: Missing [UNK] token from the vocabulary',
    which is the one that `tokenizers` has; after loading too. `convert_tokens_to_ids` gives None for it.

    Raises UsageError (a ValueError) for an empty word, white space in a word, a duplicate, and a word that holds the
    name of a special token, which encoding would find inside it.
    """
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    _check_words(words)
    vocabulary = {word: number for number, word in enumerate((PAD, END, *words))}
    tokens = Tokenizer(WordLevel(vocabulary, unk_token=_UNKNOWN))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # Without a decoder `tokenizers` joins with single spaces.
    build: Callable[..., PreTrainedTokenizerFast] = PreTrainedTokenizerFast  # its constructor carries no types
    return build(
        tokenizer_object=tokens,
        pad_token=PAD,
        eos_token=END,
        clean_up_tokenization_spaces=False,  # otherwise 'a ,' would be read back as 'a,'
        chat_template=TEMPLATE,
    )


def _check_words(words: Sequence[str]) -> None:
    if isinstance(words, str):
        raise UsageError("word_tokenizer: words is one string; give a list of words, such as text.split()")
    for word in words:
        if word.split() != [word]:
            raise UsageError(f"word_tokenizer: {word!r} is empty or holds white space; give words without any")
        special = next((name for name in (PAD, END, _UNKNOWN) if name in word), None)
        if special:
            raise UsageError(f"word_tokenizer: {word!r} holds {special}, which is kept for special tokens; rename it")
    twice = [word for word, count in Counter(words).items() if count > 1]
    if twice:
        raise UsageError(f"word_tokenizer: {twice[0]!r} is given more than once; give each word once")


def tiny_llama(
    tokenizer: PreTrainedTokenizerFast,
    *,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    mlp: int = 128,
    context: int = 256,
    seed: int = 0,
) -> LlamaForCausalLM:
    """A Llama with random weights for the tokenizer's vocabulary: float32, on the CPU, tied embeddings, no bos token.

    With V = len(tokenizer), H = hidden, M = mlp it has V·H + layers·(4·H² + 3·H·M + 2·H) + H parameters: 89,408 at the
    default sizes and V = 112 (`arithmetic_words(99)`), 84,992 at V = 43 (`arithmetic_words(30)`). `context` is the
    largest number of tokens, prompt included; it costs no parameters.

    The weights depend on the sizes and `seed` alone (and on the versions of torch and transformers), and the global
    random state of torch is left as it was.
    `model(input_ids_BT).logits` has shape (B, T, V).

    Raises UsageError (a ValueError) if a size is below 1, `heads` does not divide `hidden`, or a head would have an odd
    width, which rotary positions cannot halve.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    _check_sizes(hidden=hidden, layers=layers, heads=heads, mlp=mlp, context=context)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=mlp,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    # torch.manual_seed would also seed the GPUs, whose state is not set back here.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        model = LlamaForCausalLM(config)
    torch.nn.Module.float(model)  # whatever torch's default is; in place (the model's own method carries no types)
    return model


def _check_sizes(*, hidden: int, heads: int, **others: int) -> None:
    for name, size in {"hidden": hidden, "heads": heads, **others}.items():
        if size < 1:
            raise UsageError(f"tiny_llama: {name} is {size}; give 1 or more")
    if hidden % heads:
        raise UsageError(f"tiny_llama: {heads} heads do not divide hidden {hidden}; choose heads that do")
    if hidden // heads % 2:
        raise UsageError(
            f"tiny_llama: hidden {hidden} over {heads} heads makes heads of odd width {hidden // heads}; "
            "choose an even width"
        )


def parameters(model: torch.nn.Module) -> int:
    """How many numbers a model learns. Tied weights count once."""
    return sum(weight.numel() for weight in model.parameters())


def save(path: str | os.PathLike[str], model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Writes a checkpoint folder whole or not at all, and returns its path: an absent or an empty folder becomes it.

    It holds config.json, generation_config.json, model.safetensors, tokenizer.json, and tokenizer_config.json with the
    chat template. AutoModelForCausalLM and AutoTokenizer load it, with equal logits and encodings.

    Raises UsageError if `path` is a file or a folder with something in it, StorageError if it cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link to an empty folder is followed, not replaced
    if target.exists() and not target.is_dir():
        raise UsageError(f"{path}: is a file; name a folder")
    if target.exists() and any(target.iterdir()):
        raise UsageError(f"{path}: is not empty; name another folder, or remove it first")
    try:
        with whole_folder(target) as part:
            _write(part, model, tokenizer)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}; make room or name another folder") from None
    return Path(path)


def _write(folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=False)  # the template goes into tokenizer_config.json
    _rename_class(folder / "tokenizer_config.json")
    mode = (folder / "config.json").stat().st_mode
    for file in folder.iterdir():
        file.chmod(mode)  # safetensors closes its files to other users


def _rename_class(file: Path) -> None:
    """transformers 5 writes a class that 4 does not know, and vLLM may run on 4. Both know the old name."""
    config = json.loads(file.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    file.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
