"""The tiny Llama and its tokenizer: what is written is read back alike, and what is unknown is refused."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs ponder[local]")
pytest.importorskip("transformers", reason="needs ponder[local]")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging

from ponder.errors import StorageError, UsageError
from ponder.models import tiny

WORDS = tiny.arithmetic_words(30)
TOKENIZER = tiny.word_tokenizer(WORDS)
CHAIN = "6 : 4 7 3 6 ; 6 * 4 = 24 | 24 7 3 ; 7 - 3 = 4 | 4 24 ; 24 / 4 = 6"
PROBLEM = "6 : 4 7 3 6 ;"
ASKED = [{"role": "user", "content": f"{PROBLEM}\n\nMake 6, of 4, 7, 3 and 6.\n\nWrite one line."}]
UNKNOWN = "WordLevel error: Missing \\[UNK\\] token"

WORD = st.text(min_size=1, max_size=5).filter(lambda word: word.split() == [word] and "<" not in word)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    logging.disable_progress_bar()
    return tiny.save(tmp_path_factory.mktemp("tiny") / "model", tiny.tiny_llama(TOKENIZER, seed=3), TOKENIZER)


@pytest.fixture(scope="module", params=["built", "loaded"])
def tokenizer(request: pytest.FixtureRequest, folder: Path) -> PreTrainedTokenizerFast:
    return TOKENIZER if request.param == "built" else AutoTokenizer.from_pretrained(folder)


def test_the_package_is_light() -> None:
    code = "import sys, ponder.models; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_words() -> None:
    assert tiny.number_words(3) == ["0", "1", "2", "3"]
    assert tiny.arithmetic_words(0) == ["0", *"+-*/=|;:()"]
    with pytest.raises(UsageError, match="most is -1; give"):
        tiny.number_words(-1)


def test_one_id_a_word_and_nothing_added(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer.encode(CHAIN)
    assert ids == [2 + WORDS.index(word) for word in CHAIN.split()]
    assert tokenizer(CHAIN).input_ids == ids
    assert tokenizer.encode(f"  6\n:\t4 {tiny.END}") == [8, 40, 6, 1]
    assert tokenizer.encode("") == []
    assert (len(tokenizer), tokenizer.pad_token_id, tokenizer.eos_token_id) == (len(WORDS) + 2, 0, 1)
    assert tokenizer.bos_token_id is None and tokenizer.unk_token_id is None


def test_special_tokens_can_be_left_out(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = [*tokenizer.encode(CHAIN), 1, 0, 0]
    assert tokenizer.decode(ids) == f"{CHAIN} <end> <pad> <pad>"
    assert tokenizer.decode(ids, skip_special_tokens=True) == CHAIN


@given(ids=st.lists(st.integers(0, len(WORDS) + 1), max_size=40), cut=st.integers(0, 40))
def test_round_trip(tokenizer: PreTrainedTokenizerFast, ids: list[int], cut: int) -> None:
    text = tokenizer.decode(ids)
    assert tokenizer.encode(text) == ids
    assert text == " ".join(tokenizer.convert_ids_to_tokens(ids))
    assert text.startswith(tokenizer.decode(ids[:cut]))


@given(words=st.lists(WORD, min_size=1, max_size=12, unique=True), draw=st.randoms(use_true_random=False))
def test_round_trip_for_any_words(words: list[str], draw: random.Random) -> None:
    tokenizer = tiny.word_tokenizer(words)
    text = " ".join(draw.choices(words, k=10))
    assert len(tokenizer.encode(text)) == 10
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("text", ["31", "6 * 4 = 24 | foo", "6*4", "<unk>", "[UNK]", "6 : ４"])
def test_unknown_words_are_errors(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    with pytest.raises(Exception, match=UNKNOWN):
        tokenizer.encode(text)
    with pytest.raises(Exception, match=UNKNOWN):
        tokenizer([CHAIN, text])
    assert tokenizer.convert_tokens_to_ids(["6", text]) == [8, None]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["a", "b c"], "'b c' is empty or holds white space; give words"),
        (["a\u2003"], "white space"),
        ([""], "is empty"),
        (["a", "b", "a"], "'a' is given more than once; give each word once"),
        (["<end>"], "'<end>' holds <end>, which is kept"),
        (["a<pad>"], "'a<pad>' holds <pad>"),
        (["<unk>"], "holds <unk>"),
        ("abc", "one string; give a list"),
    ],
)
def test_words_that_cannot_be(words: list[str], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        tiny.word_tokenizer(words)


def test_the_template_reads_the_text_and_not_the_instruction(tokenizer: PreTrainedTokenizerFast) -> None:
    for more in (False, True):
        assert tokenizer.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=more) == PROBLEM
        read = tokenizer.apply_chat_template(ASKED, add_generation_prompt=more, return_dict=False)
        assert read == tokenizer.encode(PROBLEM)
    bare = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROBLEM}]
    assert tokenizer.apply_chat_template(bare, tokenize=False) == PROBLEM
    assert tokenizer.apply_chat_template([*ASKED, *bare[1:]], tokenize=False) == PROBLEM


@pytest.mark.parametrize("begun", [" 6 * 4 = 24 |", "6 * 4 = 24 | "])
def test_the_template_goes_on_from_what_is_written(tokenizer: PreTrainedTokenizerFast, begun: str) -> None:
    talk = [*ASKED, {"role": "assistant", "content": begun}]
    read = tokenizer.apply_chat_template(talk, continue_final_message=True, return_dict=False)
    assert read == tokenizer.encode(f"{PROBLEM} {begun}")
    assert tokenizer.apply_chat_template(talk, return_dict=False) == [*read, tokenizer.eos_token_id]


@pytest.mark.parametrize("most", [30, 99])
@pytest.mark.parametrize(("hidden", "layers", "mlp"), [(64, 2, 128), (8, 1, 12)])
def test_parameters_are_those_of_the_formula(most: int, hidden: int, layers: int, mlp: int) -> None:
    tokenizer = tiny.word_tokenizer(tiny.arithmetic_words(most))
    model = tiny.tiny_llama(tokenizer, hidden=hidden, layers=layers, mlp=mlp)
    each = 4 * hidden**2 + 3 * hidden * mlp + 2 * hidden
    assert tiny.parameters(model) == (most + 13) * hidden + layers * each + hidden
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_parameters_at_the_default_sizes() -> None:
    assert tiny.parameters(tiny.tiny_llama(TOKENIZER)) == 84_992
    assert tiny.parameters(tiny.tiny_llama(tiny.word_tokenizer(tiny.arithmetic_words(99)))) == 89_408


def test_equal_seeds_give_equal_weights_and_leave_the_global_state() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    one = tiny.tiny_llama(TOKENIZER, seed=5).state_dict()
    torch.rand(3)
    two = tiny.tiny_llama(TOKENIZER, seed=5).state_dict()
    other = tiny.tiny_llama(TOKENIZER, seed=6).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
    torch.manual_seed(7)
    tiny.tiny_llama(TOKENIZER, seed=8)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(weight.dtype == torch.float32 for weight in one.values())


def test_weights_are_float32_whatever_the_default() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert tiny.tiny_llama(TOKENIZER).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("sizes", "line"),
    [
        ({"heads": 5}, "5 heads do not divide hidden 64; choose"),
        ({"hidden": 12, "heads": 4}, "odd width 3; choose"),
        ({"layers": 0}, "layers is 0; give 1 or more"),
        ({"heads": 0}, "heads is 0"),
        ({"context": -1}, "context is -1"),
    ],
)
def test_sizes_that_cannot_be(sizes: dict[str, int], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        tiny.tiny_llama(TOKENIZER, **sizes)


def test_it_learns() -> None:
    model = tiny.tiny_llama(TOKENIZER, seed=1)
    ids_BT = torch.tensor([TOKENIZER.encode(f"{CHAIN} <end>")])
    step = torch.optim.AdamW(model.parameters(), lr=4e-3)
    losses = []
    for _ in range(30):
        loss = model(input_ids=ids_BT, labels=ids_BT).loss
        loss.backward()
        step.step()
        step.zero_grad()
        losses.append(loss.item())
    assert losses[0] > 3.5  # log 43 is 3.76: nothing is known yet
    assert losses[-1] < 0.5 * losses[0]
    prompt_BT = ids_BT[:, :7]
    written_BT = model.generate(input_ids=prompt_BT, attention_mask=torch.ones_like(prompt_BT), max_new_tokens=4)
    assert written_BT.shape == (1, 11) and written_BT[0, :7].tolist() == prompt_BT[0].tolist()


def test_what_is_saved_is_loaded_alike(folder: Path) -> None:
    built, loaded = tiny.tiny_llama(TOKENIZER, seed=3), AutoModelForCausalLM.from_pretrained(folder)
    ids_BT = torch.tensor([TOKENIZER.encode(CHAIN)])
    with torch.no_grad():
        logits_BTV, again_BTV = built(ids_BT).logits, loaded(ids_BT).logits
    assert torch.equal(logits_BTV, again_BTV) and logits_BTV.shape == (1, 31, 43)
    assert loaded.dtype == torch.float32 and tiny.parameters(loaded) == tiny.parameters(built)
    for config in (loaded.config, loaded.generation_config):
        assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (None, 1, 0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.clean_up_tokenization_spaces is False
    assert tokenizer.get_vocab() == TOKENIZER.get_vocab()
    assert tokenizer.encode(CHAIN) == TOKENIZER.encode(CHAIN)


def test_punctuation_stays_where_it_was_after_loading(tmp_path: Path) -> None:
    built = tiny.word_tokenizer(["a", ",", ".", "n't", "'s"])
    tiny.save(tmp_path, tiny.tiny_llama(built), built)
    text = "a , a . n't 's"
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.decode(loaded.encode(text)) == text


def test_the_folder(folder: Path) -> None:
    files = {file.name: file for file in folder.iterdir()}
    assert sorted(files) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert len({file.stat().st_mode for file in files.values()}) == 1
    config = json.loads(files["tokenizer_config.json"].read_text(encoding="utf-8"))
    assert config["chat_template"] == tiny.TEMPLATE
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert list(folder.parent.iterdir()) == [folder]  # nothing temporary is left


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    model = tiny.tiny_llama(TOKENIZER)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert tiny.save(tmp_path / "link", model, TOKENIZER) == tmp_path / "link"
    assert (tmp_path / "empty" / "config.json").exists()
    with pytest.raises(UsageError, match="empty: is not empty; name another folder"):
        tiny.save(str(tmp_path / "empty"), model, TOKENIZER)
    with pytest.raises(UsageError, match=r"config\.json: is a file; name a folder"):
        tiny.save(tmp_path / "empty" / "config.json", model, TOKENIZER)
    assert tiny.save(tmp_path / "new" / "deep", model, TOKENIZER).is_dir()


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match="model: No space left on device; make room"):
        tiny.save(tmp_path / "model", tiny.tiny_llama(TOKENIZER), TOKENIZER)
    assert list(tmp_path.iterdir()) == []
