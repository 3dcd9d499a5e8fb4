"""`openai`, `hf` and the engines without a model behave alike: every behaviour, in every lab.

A lab here is an engine and a world. All but the simulated one count: 'from 3 3;' goes on ' 4 4; 5 5; …' up to 12,
which ends it; at temperature 0 number by number, else three numbers in ten are any. What an engine does not declare is
skipped, once it is sure that asking for it is refused. `DEFECTS` are known failures, which must fail until mended.
"""

# ruff: noqa: E402  # what is imported below shows its assertions only if it is registered first

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytest.register_assert_rewrite("engines.conformance")

from engines.conformance import BEHAVIOURS, Behaviour, Lab, outputs, request, text
from loopback import Answer, Ask, Fault, Loopback, status

from ponder.engines import ENGINES
from ponder.engines.base import NEEDS, Capabilities, Engine, Request, require
from ponder.engines.openai import OpenAIEngine
from ponder.engines.required import REQUIRED, missing
from ponder.engines.scripted import ScriptedEngine, decode
from ponder.engines.simulated import SimulatedEngine
from ponder.errors import CapabilityError
from ponder.types import Sampling
from ponder.worlds import WORLDS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "engines.md"
LAST = 12
CONTEXT = 96

DEFECTS: dict[tuple[str, str], tuple[str, tuple[type[Exception], ...]]] = {}
"""(lab, behaviour): what is known to be wrong, and how it fails. It must fail until it is mended."""


# --- the world that counts --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counting:
    """Each number stands twice, so that a token follows from the one before it, which a tiny model learns at once.
    `mark` ends a step, `lead` begins one."""

    mark: str
    lead: str = " "

    def item(self, number: int) -> str:
        return f"{self.lead}{LAST}" if number == LAST else f"{self.lead}{number} {number}{self.mark}"

    def prompt(self, number: int) -> str:
        return f"from {number} {number}{self.mark}"

    def rest(self, text: str, draw: random.Random | None) -> str:
        """How a chain goes on after all that was read; '' if it has come to its end."""
        known = re.findall(r"\d+", text)
        at = int(known[-1]) if known else 0
        items = []
        while at < LAST:
            at = draw.randint(0, LAST) if draw and draw.random() < 0.3 else at + 1
            items.append(self.item(at))
        return "".join(items)


def complete(text: str) -> bool:
    return re.findall(r"\d+", text)[-1:] == [str(LAST)]


def words(text: str) -> int:
    return len(text.split())


def counting(name: str, row: str, build: Callable[[Sampling], Engine], world: Counting, **more: Any) -> Lab:
    """A lab of the world. `tokens` are words unless the engine has others."""
    tokens: Callable[[str], int] = more.setdefault("tokens", words)

    def fill(size: int) -> str:
        text = world.prompt(1)
        return text + world.item(1) * ((size - tokens(text)) // 2)

    if more.get("context"):
        more["fill"] = fill
    return Lab(
        name,
        row,
        build,
        prompt=world.prompt,
        complete=complete,
        delimiter=world.mark,
        given=world.item(7),
        after="8",
        other=world.item(2),
        **more,
    )


# --- labs -------------------------------------------------------------------------------------------------------------


def scripted(_: ExitStack) -> Lab:
    world = Counting("\n\n", lead="")  # a token of this engine has the white space after it

    def build(sampling: Sampling) -> Engine:
        def script(request: Request, index: int) -> str:
            draw = random.Random(request.seeds[index]) if sampling.temperature else None
            written = "".join(s.text if s.ids is None else decode(s.ids) for s in request.chain.segments)
            return world.rest(request.chain.prompt[-1].content + written, draw)

        return ScriptedEngine(script, cap=sampling.max_tokens)

    return counting("scripted", "scripted", build, world, decode=decode)


def simulated(_: ExitStack) -> Lab:
    return Lab(
        "simulated",
        "simulated",
        build=lambda sampling: SimulatedEngine("school", sampling),
        prompt=WORLDS["school"].text,
        complete=lambda text: re.search(r"The answer is \d+\.$", text) is not None,
        delimiter="\n\n",
        given="Step 1 carries 2: it holds.\n\nStep 2 carries 4: it holds.\n\n",
        after="Step 3",
        other="Step 1 carries 3: it must be.\n\n",
        tokens=words,
    )


def server(name: str, row: str, *, stop_reason: bool = False, **options: Any) -> Callable[[ExitStack], Lab]:
    world = Counting(";")

    def reply(ask: Ask) -> Answer:
        draw = random.Random(f"{ask.body['seed']} {ask.index}") if ask.body["temperature"] else None
        text, room = world.rest(ask.text, draw), min(ask.body["max_tokens"], CONTEXT - words(ask.text))
        stop = next(iter(ask.body.get("stop", ())), None)
        before = text.partition(stop)[0] if stop else text
        if words(before) > room:
            return Answer("".join(re.findall(r"\s*\S+", text)[:room]), finish="length")
        if stop and stop in text:  # the server counts by letters; this is the number that it comes out at
            return Answer(text, tokens=round(words(before) * len(text) / len(before)))
        return Answer(text)

    def full(_: int, body: dict[str, Any]) -> Fault | None:
        text = body["prompt"] if "prompt" in body else "\n\n".join(m["content"] for m in body["messages"])
        if words(text) < CONTEXT:
            return None
        return status(400, f"This model's maximum context length is {CONTEXT} tokens, and the prompt has {words(text)}")

    def lab(stack: ExitStack) -> Lab:
        url = stack.enter_context(Loopback(reply, faults=full, vllm=stop_reason, keep=False)).url

        def build(sampling: Sampling) -> Engine:
            return OpenAIEngine("toy", base_url=url, sampling=sampling, options={"logprobs": True, **options})

        return counting(name, row, build, world, context=CONTEXT, bad="half of a character: \ud83c")

    return lab


def hf(name: str, tokenizer: Callable[[], Any], world: Counting, bad: str, **limits: int) -> Callable[[ExitStack], Lab]:
    def lab(_: ExitStack) -> Lab:
        pytest.importorskip("torch", reason="needs ponder[local]")
        pytest.importorskip("transformers", reason="needs ponder[local]")
        from ponder.engines.hf.engine import HFEngine

        words = tokenizer()
        loaded = trained(tokenizer, world)

        def build(sampling: Sampling) -> Engine:
            return HFEngine(loaded, sampling, name=f"tiny {name}", **limits)

        return counting(
            name,
            "hf",
            build,
            world,
            tokens=lambda text: len(words(text)["input_ids"]),
            decode=lambda ids: words.decode(list(ids), skip_special_tokens=True),
            context=CONTEXT,
            bad=bad,
        )

    return lab


@cache
def words_tokenizer() -> Any:
    from ponder.models.tiny import number_words, word_tokenizer

    return word_tokenizer([*number_words(LAST), *(f"{number};" for number in range(LAST)), "from"])


@cache
def bytes_tokenizer() -> Any:
    """Reads any text, byte by byte. ' 4' and ' 4\n\n' are one token each, and two hold a delimiter and more."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    merges = [("Ċ", "Ċ"), *(("Ġ", str(digit)) for digit in range(10)), *(("Ġ1", str(digit)) for digit in range(3))]
    merges += [*(("Ġ" + str(number), "ĊĊ") for number in range(LAST)), ("Ġ2ĊĊ", "Ġ3"), ("Ġ6ĊĊ", "Ġ7")]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<pad>", "<end>", *alphabet, *("".join(pair) for pair in merges)]
    tokens = Tokenizer(BPE({name: number for number, name in enumerate(names)}, merges))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokens.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="<pad>", eos_token="<end>")


@cache
def trained(tokenizer: Callable[[], Any], world: Counting) -> Any:
    """A tiny Llama that has learnt to count, in less than a second on one thread."""
    import torch

    from ponder.engines.hf.loading import prepared
    from ponder.models.tiny import tiny_llama

    torch.set_num_threads(1)
    words = tokenizer()
    model = tiny_llama(words, hidden=32, layers=1, mlp=64, context=CONTEXT)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    draw = random.Random(0)
    for _ in range(200):
        asked = [world.prompt(draw.randrange(LAST)) for _ in range(8)]
        rows = [[*words(text + world.rest(text, draw))["input_ids"], words.eos_token_id][:40] for text in asked]
        widest = max(map(len, rows))
        ids = torch.tensor([row + [words.pad_token_id] * (widest - len(row)) for row in rows])
        loss = model(input_ids=ids, labels=ids.masked_fill(ids == words.pad_token_id, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return prepared("tiny", model.eval(), words)


LABS = {
    "openai chat": server("openai chat", "openai, chat"),
    "openai chat, streamed": server("openai chat, streamed", "openai, chat", stream=True),
    "openai chat, prefilled": server(
        "openai chat, prefilled", "openai, chat", stop_reason=True, **{"continue": "prefill"}
    ),
    "openai completions": server("openai completions", "openai, completions", stop_reason=True, api="completions"),
    "hf words": hf("hf words", words_tokenizer, Counting(";"), bad="a word unknown to it"),
    "hf words, cramped": hf(
        "hf words, cramped", words_tokenizer, Counting(";"), bad="unknown to it", rows=3, positions=150, tree=30
    ),
    "hf bytes": hf("hf bytes", bytes_tokenizer, Counting("\n\n"), bad=""),
    "simulated": simulated,
    "scripted": scripted,
}


@pytest.fixture(scope="module")
def labs() -> Iterator[Callable[[str], Lab]]:
    """Labs by name, each set up once, when it is first needed."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
            patch.delenv(name, raising=False)
        patch.setattr(httpx2, "create_ssl_context", cache(httpx2.create_ssl_context))  # it reads every certificate
        yield cache(lambda name: LABS[name](stack))


# --- every behaviour in every lab -------------------------------------------------------------------------------------


def cases() -> list[Any]:
    found = []
    for lab in LABS:
        for behaviour in BEHAVIOURS:
            defect = DEFECTS.get((lab, behaviour.name))
            marks = [pytest.mark.xfail(reason=defect[0], raises=defect[1], strict=True)] if defect else []
            found.append(pytest.param(lab, behaviour, id=f"{lab}-{behaviour.name}", marks=marks))
    return found


@pytest.mark.parametrize(("name", "behaviour"), cases())
def test_engines_behave_alike(labs: Callable[[str], Lab], name: str, behaviour: Behaviour) -> None:
    lab = labs(name)
    lacking = [need for need in behaviour.needs if not getattr(lab.capabilities, need)]
    for need in lacking:
        if need in NEEDS:
            with pytest.raises(CapabilityError, match=f"the test needs '{need}'"):
                require(lab.capabilities, name, {need: "the test"})
    if lacking:
        pytest.skip(f"{name} does not declare {', '.join(lacking)}")
    for part in behaviour.where:
        if getattr(lab, part) is None:
            pytest.skip(f"the world of {name} has no {part}")
    behaviour.check(lab)


def test_some_steps_end_beyond_their_delimiter(labs: Callable[[str], Lab]) -> None:
    """Otherwise that case would not be covered."""
    lab = labs("hf bytes")
    (output,) = outputs(lab.engine(0), request(lab.root(1), stop=lab.delimiter))
    assert (output.finish, text(output)) == ("step", " 2 2\n\n 3")


def test_the_defects_are_of_this_suite() -> None:
    known = {(lab, behaviour.name) for lab in LABS for behaviour in BEHAVIOURS}
    assert known >= DEFECTS.keys()


# --- what is declared -------------------------------------------------------------------------------------------------


def test_every_engine_has_promises_and_a_lab() -> None:
    assert {row.partition(",")[0] for row in REQUIRED} == {*ENGINES, "scripted"}
    pytest.importorskip("torch", reason="needs ponder[local]")
    with ExitStack() as stack:
        assert {lab(stack).row for lab in LABS.values()} == set(REQUIRED)


@pytest.mark.parametrize("name", LABS)
def test_no_engine_declares_less_than_was_promised(labs: Callable[[str], Lab], name: str) -> None:
    lab = labs(name)
    assert missing(lab.row, lab.capabilities) == []


@pytest.mark.parametrize("name", LABS)
def test_no_engine_declares_less_than_the_page_says(labs: Callable[[str], Lab], name: str) -> None:
    lab = labs(name)
    for capability, cell in table()[lab.row].items():
        value = getattr(lab.capabilities, capability)
        if capability in ("bills", "schedule"):
            assert shown(value) == cell.strip("*"), capability
        elif cell.strip("*") not in ("no", "–"):
            assert value, f"the page says that {lab.row} has {capability}"


def test_the_page_shows_the_promises() -> None:
    found = table()
    assert list(found) == list(REQUIRED)
    for name, cells in found.items():
        bold = {capability for capability, cell in cells.items() if cell.startswith("**")}
        assert bold == {"bills", "schedule", *REQUIRED[name].has}, name
        for capability in REQUIRED[name].has:
            assert cells[capability].strip("*") not in ("no", "–")
        assert cells["bills"].strip("*") == shown(REQUIRED[name].bills)
        assert cells["schedule"].strip("*") == REQUIRED[name].schedule


def test_less_is_noticed() -> None:
    assert missing("hf", Capabilities(bills=False, schedule="lockstep", continues=True, steps=True, n=True)) == [
        "ids",
        "logprobs",
        "seed",
        "context",
    ]
    assert missing("simulated", Capabilities(bills=True, schedule="free"))[:3] == ["bills", "schedule", "continues"]


def table() -> dict[str, dict[str, str]]:
    """{column: {capability: cell}} of the page."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    head, _, *body = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    rows: dict[str, Sequence[str]] = {row[0].strip("`"): row[1:] for row in body}
    return {name: {key: row[i] for key, row in rows.items()} for i, name in enumerate(head[1:])}


def shown(value: object) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
