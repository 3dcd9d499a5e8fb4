"""What every engine does alike: one function a behaviour, each with the capabilities that it needs.

A behaviour sees a `Lab`: an engine in a small world whose truth is known. The labs are in test_conformance.py; a new
engine is one more of them. What is asserted here is what `ponder.session` and the searches rely on.
"""

from __future__ import annotations

import asyncio
import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ponder.driver import Driver
from ponder.engines.base import Capabilities, Engine, Output, Request, Result
from ponder.errors import PonderError
from ponder.journal import Journal
from ponder.ledger import Account, Purse
from ponder.ops import Extend, Searching
from ponder.record import Record
from ponder.session import Session, Setting
from ponder.tasks.base import Rules
from ponder.types import NOT_DRAWN, Budget, Chain, Cost, Message, Problem, Sampling, Segment

CAP = 256  # tokens a chain may have: more than nearly every chain of a world
PROBLEMS = range(4)
SEEDS = [2**63 + 11, 7, 2**40 + 5, 123_456_789, 1, 2, 3, 0]  # of 64 bits, as the driver's counters are


@dataclass(frozen=True)
class Lab:
    """An engine and its world. `row`: its column of docs/reference/engines.md.

    `build` makes one more instance, `prompt` words problem number i, `complete` says whether a chain's text has come
    to its own end. After the text `given` a chain goes on with `after`, and with something else after `other`.
    `tokens` counts the tokens of a text, `decode` gives the text of ids, if there are any. `context` is how many tokens
    the world takes and `fill(n)` a prompt of about n (at least n - 1), for worlds that end. `bad`: a prompt that this
    engine cannot take though it takes others.
    """

    name: str
    row: str
    build: Callable[[Sampling], Engine]
    prompt: Callable[[int], str]
    complete: Callable[[str], bool]
    delimiter: str
    given: str
    after: str
    other: str
    tokens: Callable[[str], int]
    decode: Callable[[Sequence[int]], str] | None = None
    context: int | None = None
    fill: Callable[[int], str] | None = None
    bad: str | None = None

    def engine(self, temperature: float = 1.0, cap: int = CAP) -> Engine:
        return self.build(Sampling(temperature=temperature, max_tokens=cap))

    @property
    def capabilities(self) -> Capabilities:
        return self.engine().capabilities

    def root(self, number: int = 0) -> Chain:
        return root(self.prompt(number), f"p{number}")


Check = Callable[[Lab], None]


@dataclass(frozen=True)
class Behaviour:
    """`needs`: capabilities; `where`: fields of the lab that must be set (a world without end cannot be filled)."""

    check: Check
    needs: tuple[str, ...]
    where: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.check.__name__


BEHAVIOURS: list[Behaviour] = []


def behaviour(*needs: str, where: tuple[str, ...] = ()) -> Callable[[Check], Check]:
    def note(check: Check) -> Check:
        BEHAVIOURS.append(Behaviour(check, needs, where))
        return check

    return note


# --- asking -----------------------------------------------------------------------------------------------------------


class Attempts:
    """The driver's side. In a lab nothing fails, so nothing may be charged as failed."""

    def failed(self, cost: Cost, why: str) -> bool:
        raise AssertionError(f"an attempt failed: {why}")

    def delta(self, text: str) -> None:
        pass


def root(prompt: str, problem: str = "p") -> Chain:
    return Problem(problem, prompt).root


def request(chain: Chain, *seeds: int, allowance: int = CAP, stop: str | None = None) -> Request:
    stem = f"{chain.key}/" if chain.key else ""
    keys = tuple(f"{stem}{'s' if stop else 'e'}{number}" for number in range(len(seeds) or 1))
    return Request(chain.problem, chain, keys, seeds or (7,), allowance, stop)


def generate(engine: Engine, *requests: Request) -> list[Result]:
    """By the engine's own schedule: as one batch, or all at once."""
    if engine.capabilities.schedule == "free":
        return ask(engine, *requests)
    return engine.generate(requests)


def ask(engine: Engine, *requests: Request) -> list[Result]:
    async def run() -> list[Result]:
        try:
            return await asyncio.gather(*(engine.ask(each, Attempts()) for each in requests))
        finally:
            await engine.close()

    return asyncio.run(run())


def outputs(engine: Engine, *requests: Request) -> list[Output]:
    """The first output of each request."""
    return [result.outputs[0] for result in generate(engine, *requests)]


def text(output: Output) -> str:
    return "".join(segment.text for segment in output.segments)


def ids(output: Output) -> tuple[int, ...]:
    assert all(segment.ids is not None for segment in output.segments), "a segment without ids"
    return tuple(number for segment in output.segments for number in segment.ids or ())


def chain_of(asked: Request, output: Output) -> Chain:
    """The chain of the first key, as the session makes it."""
    segments = (*asked.chain.segments, *output.segments)
    return replace(
        asked.chain, key=asked.keys[0], segments=segments, finish=output.finish, tokens=output.tokens, policy="x"
    )


def given(chain: Chain, words: str) -> Chain:
    return replace(chain, segments=(*chain.segments, Segment(words, kind="given")))


def step(lab: Lab, engine: Engine, chain: Chain, seed: int = 7) -> Chain:
    """The chain with one more step."""
    asked = request(chain, seed, stop=lab.delimiter)
    return chain_of(asked, outputs(engine, asked)[0])


def same(a: Output, b: Output) -> bool:
    """The same draw. Log-probs may round otherwise in another batch."""

    def near(a: Segment, b: Segment) -> bool:
        if (a.logprobs is None) != (b.logprobs is None):
            return False
        pairs = zip(a.logprobs or (), b.logprobs or (), strict=True)
        return (a.text, a.kind, a.ids, a.tokens) == (b.text, b.kind, b.ids, b.tokens) and all(
            math.isclose(x, y, rel_tol=1e-3, abs_tol=1e-3) for x, y in pairs
        )

    whole = (a.finish, a.tokens, a.reason, len(a.segments)) == (b.finish, b.tokens, b.reason, len(b.segments))
    return whole and all(map(near, a.segments, b.segments))


def mixed(lab: Lab) -> list[Request]:
    """Requests of every kind that the engine takes, as one wave of a run has them."""
    has = lab.capabilities
    found = [request(lab.root(number), SEEDS[number]) for number in PROBLEMS]
    found += [request(lab.root(1), SEEDS[5], allowance=3), request(lab.root(2), *SEEDS[:3])]
    found += [request(lab.root(0), SEEDS[6], allowance=CAP // 2)]
    if has.steps:
        found += [request(lab.root(number), *SEEDS[:2], stop=lab.delimiter) for number in PROBLEMS]
    if has.continues:
        found += [request(given(lab.root(3), lab.given), SEEDS[4])]
    return found


# --- answers ----------------------------------------------------------------------------------------------------------


@behaviour()
def each_request_has_its_result_in_order(lab: Lab) -> None:
    requests = mixed(lab)
    together = generate(lab.engine(0), *requests)
    assert len(together) == len(requests)
    for asked, result in zip(requests, together, strict=True):
        assert 1 <= len(result.outputs) <= len(asked.keys)
        (alone,) = generate(lab.engine(0), asked)
        assert text(result.outputs[0]) == text(alone.outputs[0])
        json.dumps(result.sent)


@behaviour()
def no_request_is_no_result(lab: Lab) -> None:
    assert generate(lab.engine()) == []


@behaviour()
def tokens_are_counted_and_within_the_allowance(lab: Lab) -> None:
    requests = mixed(lab) + [request(lab.root(0), 3, allowance=allowance) for allowance in range(1, 60, 3)]
    for asked, result in zip(requests, generate(lab.engine(), *requests), strict=True):
        for output in result.outputs:
            assert output.segments, f"nothing was written: {output}"
            assert 0 < output.tokens <= asked.allowance
            assert sum(segment.tokens for segment in output.segments) == output.tokens
            own = text(output).removesuffix(lab.delimiter)  # a server may not count what is put back
            assert lab.tokens(own) <= output.tokens, f"more text than tokens: {output}"
            for segment in output.segments:
                assert segment.kind != "given", "an engine gives no text"
                assert segment.ids is None or len(segment.ids) == segment.tokens
                assert segment.logprobs is None or len(segment.logprobs) == segment.tokens
                assert (segment.ids is not None) == lab.capabilities.ids


@behaviour()
def the_same_request_twice_in_a_batch_is_answered_twice(lab: Lab) -> None:
    first, second = generate(lab.engine(), request(lab.root(), 5), request(lab.root(), 5))
    assert len(first.outputs) == len(second.outputs) == 1
    if lab.capabilities.seed:
        assert same(first.outputs[0], second.outputs[0])


@behaviour("n")
def a_request_may_have_several_chains(lab: Lab) -> None:
    """Their order is that of the keys: fewer keys are the first of more."""
    has = lab.capabilities
    for count in (2, 3, 20):
        asked = request(lab.root(1), *range(count), allowance=24)
        (result,) = generate(lab.engine(), asked)
        assert len(result.outputs) == min(count, has.choices or count)
        if has.seed:
            (more,) = generate(lab.engine(), request(lab.root(1), *range(count + 1), allowance=24))
            assert all(map(same, result.outputs, more.outputs))
        if has.seed and has.choices is None:
            alone = outputs(lab.engine(), *(request(lab.root(1), seed, allowance=24) for seed in range(count)))
            assert all(map(same, result.outputs, alone)), "not in the keys' order"
    assert len({text(output) for output in result.outputs}) > 1


# --- how chains end ---------------------------------------------------------------------------------------------------


@behaviour()
def stop_is_the_models_own_end(lab: Lab) -> None:
    found = outputs(lab.engine(0), *(request(lab.root(number)) for number in PROBLEMS))
    assert [output.finish for output in found] == ["stop"] * len(found)
    for output in found:
        assert lab.complete(text(output))
        assert output.reason == ""


@behaviour()
def a_cut_is_length_at_the_cap_and_budget_below_it(lab: Lab) -> None:
    for cap, allowance, finish in ((4, 4, "length"), (CAP, 4, "budget"), (5, 4, "budget"), (1, 1, "length")):
        requests = [request(lab.root(0), seed, allowance=allowance) for seed in SEEDS[:3]]
        for output in outputs(lab.engine(0, cap=cap), *requests):
            assert (output.finish, output.tokens) == (finish, allowance)
            assert not lab.complete(text(output))


@behaviour("temperature")
def a_cut_is_the_beginning_of_the_whole(lab: Lab) -> None:
    engine = lab.engine(0)
    (whole,) = outputs(engine, request(lab.root(0)))
    for cut in outputs(engine, *(request(lab.root(0), allowance=allowance) for allowance in range(1, whole.tokens))):
        assert text(whole).startswith(text(cut))
        assert cut.finish == "budget"


@behaviour("steps")
def a_step_ends_with_its_delimiter_once(lab: Lab) -> None:
    requests = [request(lab.root(number), seed, stop=lab.delimiter) for number in PROBLEMS for seed in SEEDS]
    found = outputs(lab.engine(), *requests)
    assert "step" in {output.finish for output in found} <= {"step", "stop"}
    for output in found:
        before, mark, beyond = text(output).partition(lab.delimiter)
        if output.finish == "stop":
            assert not mark or not beyond
        else:
            assert before and mark, f"not a step: {output}"
            assert lab.delimiter not in beyond
            if beyond:  # only what is left of the token that completes it
                assert lab.decode is not None
                assert lab.decode(ids(output)[-1:]).endswith(beyond)
                assert lab.decode(ids(output)[-1:]) != beyond


@behaviour("steps")
def a_step_may_be_cut_too(lab: Lab) -> None:
    (whole,) = outputs(lab.engine(0), request(lab.root(0), stop=lab.delimiter))
    requests = [request(lab.root(0), allowance=n, stop=lab.delimiter) for n in range(1, whole.tokens + 1)]
    *cuts, enough = outputs(lab.engine(0), *requests)
    assert [(cut.finish, cut.tokens) for cut in cuts] == [("budget", n) for n in range(1, whole.tokens)]
    assert enough.finish == "step"


@behaviour("steps")
def without_a_delimiter_nothing_ends_at_a_step(lab: Lab) -> None:
    for output in outputs(lab.engine(), *(request(lab.root(0), seed) for seed in SEEDS)):
        assert output.finish != "step"


# --- writing on -------------------------------------------------------------------------------------------------------


@behaviour("continues", "steps", "temperature")
def steps_make_up_the_whole(lab: Lab) -> None:
    engine = lab.engine(0)
    wholes = outputs(engine, *(request(lab.root(number)) for number in PROBLEMS))
    chains = [lab.root(number) for number in PROBLEMS]
    for _ in range(CAP):
        if all(chain.ended for chain in chains):
            break
        asked = [request(chain, stop=lab.delimiter) for chain in chains if not chain.ended]
        longer = dict(
            zip([id(each.chain) for each in asked], map(chain_of, asked, outputs(engine, *asked)), strict=True)
        )
        chains = [longer.get(id(chain), chain) for chain in chains]
    assert [chain.finish for chain in chains] == ["stop"] * len(chains)
    assert [chain.text for chain in chains] == [text(whole) for whole in wholes]
    if lab.capabilities.ids:
        written = [tuple(i for segment in chain.segments for i in segment.ids or ()) for chain in chains]
        assert written == [ids(whole) for whole in wholes]


@behaviour("continues", "steps", "temperature")
def another_instance_may_write_on(lab: Lab) -> None:
    """A journal outlives the process: whoever continues has not written the chain."""
    writer = lab.engine(0)
    chain = step(lab, writer, step(lab, writer, lab.root(0)))
    assert chain.finish == "step"
    asked = request(chain, stop=lab.delimiter)
    (known,), (unknown,) = outputs(writer, asked), outputs(lab.engine(0), asked)
    assert same(known, unknown)
    assert text(known)


@behaviour("continues", "steps")
def children_of_one_chain_do_not_disturb_each_other(lab: Lab) -> None:
    writer = lab.engine()
    parent = step(lab, writer, lab.root(0))
    children = [request(parent, seed, stop=lab.delimiter) for seed in SEEDS]
    for number, asked in enumerate(children):
        asked.keys = (f"{parent.key}/s{number}",)
    together = outputs(writer, *children)
    if lab.capabilities.seed:
        assert all(map(same, together, outputs(lab.engine(), *reversed(children))[::-1]))
    grandchildren = [request(chain_of(a, o), 9, stop=lab.delimiter) for a, o in zip(children, together, strict=True)]
    grandchildren = [asked for asked in grandchildren if not asked.chain.ended]
    assert grandchildren
    if lab.capabilities.seed:
        assert all(map(same, outputs(writer, *grandchildren), outputs(lab.engine(), *reversed(grandchildren))[::-1]))


@behaviour("continues")
def given_text_is_read(lab: Lab) -> None:
    engine = lab.engine(0)
    chains = [lab.root(0), given(lab.root(0), lab.other), given(lab.root(0), lab.given)]
    *others, found = outputs(engine, *map(request, chains))
    assert text(found).lstrip().startswith(lab.after)
    assert not any(text(other).lstrip().startswith(lab.after) for other in others)


@behaviour("continues", "steps")
def given_text_is_read_after_a_step(lab: Lab) -> None:
    engine = lab.engine(0)
    chain = given(step(lab, engine, lab.root(0)), lab.given)
    (output,) = outputs(engine, request(chain, stop=lab.delimiter))
    assert text(output).lstrip()
    (unknown,) = outputs(lab.engine(0), request(chain, stop=lab.delimiter))
    assert same(output, unknown)


@behaviour("continues", "steps", "seed")
def given_texts_after_one_chain_do_not_mix(lab: Lab) -> None:
    """The session appends to a chain without giving it a new key, so a key may mean one text now and another later."""
    engine = lab.engine(0)
    parent = step(lab, engine, lab.root(0))
    for words in (lab.given, lab.other, "", lab.other, lab.given * 2):
        chain = given(parent, words) if words else parent
        for _ in range(2):
            asked = request(chain, stop=lab.delimiter)
            (found,), (fresh,) = outputs(engine, asked), outputs(lab.engine(0), asked)
            assert same(found, fresh)
            chain = chain_of(asked, found)
            if chain.ended:
                break


@behaviour("continues", "steps", "seed")
def given_texts_of_one_batch_do_not_mix(lab: Lab) -> None:
    engine = lab.engine(0)
    parent = step(lab, engine, lab.root(0))
    chains = [parent, *(given(parent, words) for words in (lab.given, lab.other, lab.given * 2))]
    for _ in range(2):
        asked = [request(chain, stop=lab.delimiter) for chain in chains]
        for number, each in enumerate(asked):
            each.keys = (f"{each.chain.key}/s{number:08x}.0",)
        found, fresh = outputs(engine, *asked), outputs(lab.engine(0), *asked)
        assert [text(output) for output in found] == [text(outputs(lab.engine(0), each)[0]) for each in asked]
        assert all(map(same, found, fresh))
        chains = [chain for chain in map(chain_of, asked, found) if not chain.ended]


@behaviour("continues", "steps", "seed")
def a_key_is_no_proof_of_a_text(lab: Lab) -> None:
    """Problems may have the same words, and the same key may stand for other words tomorrow."""
    engine = lab.engine(0)
    for chains in (
        [replace(lab.root(1), problem=f"q{number}") for number in range(3)],
        [replace(lab.root(number), problem="q1") for number in (2, 1, 3)],
    ):
        for _ in range(3):
            asked = [request(chain, stop=lab.delimiter) for chain in chains]
            found = outputs(engine, *asked)
            assert all(map(same, found, outputs(lab.engine(0), *asked[::-1])[::-1]))
            assert all(map(same, found, [outputs(lab.engine(0), each)[0] for each in asked]))
            chains = [chain for chain in map(chain_of, asked, found) if not chain.ended]


# --- chance -----------------------------------------------------------------------------------------------------------


@behaviour("seed")
def a_draw_is_a_function_of_its_seed(lab: Lab) -> None:
    """Neither the batch, nor its order, nor what was drawn before matters."""
    engine, requests = lab.engine(), mixed(lab)
    alone = [generate(lab.engine(), asked)[0] for asked in requests]
    for again in (
        generate(engine, *requests),
        generate(engine, *reversed(requests))[::-1],
        generate(lab.engine(), *requests, *(request(lab.root(2), seed, allowance=24) for seed in range(30))),
    ):
        for asked, first, second in zip(requests, alone, again, strict=False):
            assert len(first.outputs) == len(second.outputs)
            assert all(map(same, first.outputs, second.outputs)), asked


@behaviour("seed")
def other_seeds_give_other_chains(lab: Lab) -> None:
    found = outputs(lab.engine(), *(request(lab.root(1), seed) for seed in range(12)))
    assert len({text(output) for output in found}) > 3


@behaviour("seed")
def all_bits_of_a_seed_count_somewhere(lab: Lab) -> None:
    """The driver's seeds have 64 bits; an engine may use fewer, but must take them all."""
    seeds = [2**64 - 1, 2**63, 2**63 - 1, 2**32, 2**31, 0]
    assert all(output.tokens for output in outputs(lab.engine(), *(request(lab.root(1), seed) for seed in seeds)))


@behaviour("temperature")
def temperature_zero_knows_no_chance(lab: Lab) -> None:
    found = outputs(lab.engine(0), *(request(lab.root(0), seed) for seed in SEEDS))
    assert all(same(found[0], output) for output in found)


# --- log-probs and ids ------------------------------------------------------------------------------------------------


@behaviour("logprobs")
def logprobs_are_of_every_token_that_was_written(lab: Lab) -> None:
    for temperature in (0, 1):
        for result in generate(lab.engine(temperature), *mixed(lab)):
            for output in result.outputs:
                for segment in output.segments:
                    assert segment.logprobs is not None
                    assert len(segment.logprobs) == segment.tokens
                    assert all(math.isfinite(value) and value <= 0 for value in segment.logprobs)


@behaviour("ids")
def ids_are_the_text(lab: Lab) -> None:
    assert lab.decode is not None
    for result in generate(lab.engine(), *mixed(lab)):
        for output in result.outputs:
            assert lab.decode(ids(output)).strip() == text(output).strip()


@behaviour("ids", "continues", "steps", "temperature")
def ids_are_authoritative(lab: Lab) -> None:
    """A chain with ids is continued from them: its text is never tokenised again."""
    engine = lab.engine(0)
    chain = step(lab, engine, lab.root(0))
    (segment,) = chain.segments
    another = replace(chain, segments=(replace(segment, text=lab.other),))
    asked = request(chain, stop=lab.delimiter)
    (expected,) = generate(engine, asked)
    assert expected.overhead.prompt == generate(engine, request(lab.root(0)))[0].overhead.prompt + len(
        segment.ids or ()
    )
    for instance in (engine, lab.engine(0)):
        assert same(outputs(instance, request(another, stop=lab.delimiter))[0], expected.outputs[0])


# --- the context ------------------------------------------------------------------------------------------------------


@behaviour(where=("context",))
def the_context_is_what_is_declared(lab: Lab) -> None:
    assert lab.capabilities.context in (None, lab.context)


@behaviour(where=("context",))
def a_prompt_that_does_not_fit_is_an_error_of_its_own(lab: Lab) -> None:
    assert lab.fill is not None and lab.context is not None
    good = request(lab.root(1))
    for size in (lab.context + 1, lab.context + 50):
        bad = request(root(lab.fill(size)), *SEEDS[:2])
        first, result, last = generate(lab.engine(0), good, bad, good)
        assert [output.finish for output in result.outputs] == ["error"] * len(bad.keys)
        for output in result.outputs:
            assert output.reason and "\n" not in output.reason
            assert text(output) == "" and output.tokens == 0
        assert result.overhead.generated == 0
        assert same(first.outputs[0], last.outputs[0]) and first.outputs[0].finish == "stop"


@behaviour(where=("context",))
def a_chain_that_fills_the_context_ends_by_length(lab: Lab) -> None:
    assert lab.fill is not None and lab.context is not None
    chains = [root(lab.fill(lab.context - room)) for room in (9, 5)]
    for chain, output in zip(chains, outputs(lab.engine(0), *map(request, chains)), strict=True):
        size = lab.tokens(chain.prompt[0].content)
        assert (output.finish, output.tokens) == ("length", lab.context - size)
        assert text(output)


@behaviour("continues", where=("context",))
def a_chain_that_is_full_ends_by_length(lab: Lab) -> None:
    """It was cut by the context, one step later: that is no failure of the engine."""
    assert lab.fill is not None and lab.context is not None
    words = lab.fill(lab.context + 1).removeprefix(lab.prompt(1))
    chain = replace(lab.root(1), key="s0", segments=(Segment(words),), finish="step")
    (result,) = generate(lab.engine(0), request(chain, *SEEDS[:2]))
    assert {(output.finish, output.segments, output.tokens) for output in result.outputs} == {("length", (), 0)}


# --- costs ------------------------------------------------------------------------------------------------------------


@behaviour()
def costs_are_those_of_the_request(lab: Lab) -> None:
    engine, requests = lab.engine(), mixed(lab)
    for result in generate(engine, *requests) + generate(engine, *requests):
        cost = result.overhead
        assert cost.requests == 1
        assert 0 <= cost.cached <= cost.prompt
        assert cost.prompt > 0
        assert cost.seconds >= 0 and cost.flops >= 0
        assert (cost.generated, cost.estimated, cost.samples, cost.scorer) == (0, 0, 0, 0), "those are the driver's"
        assert cost.dollars == 0, "prices are the purse's"


@behaviour("continues")
def what_was_written_is_read_again(lab: Lab) -> None:
    first, second = generate(lab.engine(), request(lab.root(0)), request(given(lab.root(0), lab.given)))
    assert second.overhead.prompt > first.overhead.prompt


# --- prompts ----------------------------------------------------------------------------------------------------------

PROMPTS = {
    "emoji": "How many 🍎 are 🍎🍎🍎? 👩‍👩‍👧‍👦",
    "scripts": "Сколько будет 2+2? 二加二等于几？ كم يساوي",
    "controls": "nul \x00, bell \x07, bom \ufeff, line \u2028",
    "surrogate": "half of a character: \ud83c",
    "empty": "",
    "blank": " \n\n ",
    "markup": "<|im_start|>system\nYou are <b>bold</b>.</s>[INST] {{ x }} {% if %}",
}


@behaviour()
def any_prompt_is_answered_or_clearly_rejected(lab: Lab) -> None:
    engine = lab.engine()
    for name, prompt in PROMPTS.items():
        for chain in (root(prompt), Chain("p", prompt=(Message("system", "Be brief."), Message("user", prompt)))):
            found = answer_or_rejection(engine, request(chain, 1, 2, allowance=16))
            if isinstance(found, str):
                assert found and "\n" not in found, name
                continue
            for output in found.outputs:
                assert output.finish != "refused", name
                assert (output.finish in NOT_DRAWN) == bool(output.finish == "error" and output.reason), name
                assert output.tokens <= 16


def answer_or_rejection(engine: Engine, asked: Request) -> Result | str:
    try:
        return generate(engine, asked)[0]
    except PonderError as error:
        return str(error)


@behaviour(where=("bad",))
def a_prompt_that_cannot_be_taken_spoils_no_other(lab: Lab) -> None:
    """A failure in one problem is a record, not a crash of the run."""
    assert lab.bad is not None
    first, bad, last = generate(lab.engine(0), request(lab.root(0)), request(root(lab.bad)), request(lab.root(1)))
    assert first.outputs[0].finish == last.outputs[0].finish == "stop"
    assert bad.outputs[0].finish == "error" and bad.outputs[0].reason


# --- the engine itself ------------------------------------------------------------------------------------------------


@behaviour()
def it_keeps_to_its_schedule(lab: Lab) -> None:
    """A lockstep engine answers single requests as it does batches; a server has no batches, and says so."""
    engine = lab.engine(0)
    requests = mixed(lab)
    if engine.capabilities.schedule == "free":
        with pytest.raises(PonderError):
            engine.generate(requests)
        return
    for one, other in zip(ask(engine, *requests), engine.generate(requests), strict=True):
        assert all(map(same, one.outputs, other.outputs))


@behaviour()
def asking_changes_neither_the_engine_nor_the_request(lab: Lab) -> None:
    engine, requests = lab.engine(), mixed(lab)
    policy, capabilities, before = engine.policy, engine.capabilities, copy.deepcopy(requests)
    generate(engine, *requests)
    assert requests == before
    assert (engine.policy, engine.capabilities) == (policy, capabilities)
    assert policy and isinstance(policy, str)
    assert policy == lab.engine(0.5).policy, "the policy names the weights, not how they are drawn from"


@behaviour()
def closing_is_harmless(lab: Lab) -> None:
    """Before anything was asked, twice, and before more is asked."""

    async def run() -> list[Result]:
        engine = lab.engine(0)
        await engine.close()
        await engine.close()
        first = await engine.ask(request(lab.root(0)), Attempts())
        await engine.close()
        await engine.close()
        second = await engine.ask(request(lab.root(0)), Attempts())
        await engine.close()
        return [first, second]

    first, second = asyncio.run(run())
    assert text(first.outputs[0]) == text(second.outputs[0])


# --- with the driver --------------------------------------------------------------------------------------------------


class Steps(Rules):
    """Rules with a lab's delimiter and no answers."""

    kind = "test"

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter

    def extract(self, text: str) -> str | None:
        return None

    def canonical(self, answer: str) -> str:
        return answer


@dataclass
class Watched:
    """An engine that notes what it is asked."""

    engine: Engine
    asked: list[Request] = field(default_factory=list)

    @property
    def policy(self) -> str:
        return self.engine.policy

    @property
    def capabilities(self) -> Capabilities:
        return self.engine.capabilities

    def generate(self, requests: Sequence[Request]) -> list[Result]:
        self.asked += requests
        return self.engine.generate(requests)

    async def ask(self, request: Request, attempts: Any) -> Result:
        self.asked.append(request)
        return await self.engine.ask(request, attempts)

    async def close(self) -> None:
        await self.engine.close()


@dataclass
class Conversation:
    """One search on one problem."""

    lab: Lab
    search: Callable[[Problem], Searching]
    record: Record
    account: Account
    chains: Sequence[Chain] = ()
    failure: str = ""

    def play(self) -> Any:
        problem = Problem("p0", self.lab.prompt(0))
        setting = Setting(seed=3, cap=40, group=lambda: self.lab.capabilities.choices or 8, policy="x")
        session = Session(problem, Steps(self.lab.delimiter), self.account, self.record, setting)
        self.chains = yield from session.run(self.search(problem))
        return self

    def fail(self, reason: str) -> Conversation:
        self.failure = reason
        return self


@behaviour()
def a_budget_holds_to_the_last_token(lab: Lab) -> None:
    """Nothing is asked for without an allowance, and nothing beyond the budget is written, whatever the search."""
    has = lab.capabilities

    def whole(problem: Problem) -> Searching:
        reply = yield Extend([problem.root], n=6, until="end")
        return reply.chains

    def stepwise(problem: Problem) -> Searching:
        reply = yield Extend([problem.root], n=3, until="step")
        while any(not chain.ended for chain in reply.chains):
            reply = yield Extend(reply.chains, until="step")
        return reply.chains

    for search in (whole, stepwise) if has.continues and has.steps else (whole,):
        for limit in (1, 2, 17, 50):
            purse = Purse()
            journal = Journal(None)
            talk = Conversation(lab, search, Record.load("p0", journal), Account(Budget(generated=limit), purse))
            watched = Watched(lab.engine(cap=40))
            Driver(watched, journal, purse, lambda found: None).run([talk])
            assert not talk.failure
            assert len(talk.chains) == (6 if search is whole else 3)
            assert all(1 <= asked.allowance <= 40 for asked in watched.asked)
            assert all(len(asked.keys) == len(asked.seeds) >= 1 for asked in watched.asked)
            assert talk.account.spent.generated <= limit
            assert all(chain.ended for chain in talk.chains)
