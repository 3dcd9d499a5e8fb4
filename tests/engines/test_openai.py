"""The engine for OpenAI-compatible servers, against the loopback server and its faults."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from loopback import Answer, Fault, Loopback, chances, status

from ponder.engines import openai as module
from ponder.engines.base import Request, Result, require
from ponder.engines.openai import BUDGET_ENDED, OpenAIEngine
from ponder.engines.openai_reply import apportion, read
from ponder.engines.openai_wire import Options, refused
from ponder.errors import CapabilityError, EngineError, UsageError
from ponder.types import Chain, Cost, Message, Problem, Sampling, Segment

ROOT = Problem("p", "What is 2+2?").root
KEY = "sk-0123456789-do-not-show"
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


class Attempts:
    """The driver's side: notes what failed, and gives leave `room` times."""

    def __init__(self, room: float = float("inf")) -> None:
        self.room, self.costs, self.whys, self.shown = room, list[Cost](), list[str](), list[str]()

    def failed(self, cost: Cost, why: str) -> bool:
        self.costs.append(cost)
        self.whys.append(why)
        return len(self.costs) <= self.room

    def delta(self, text: str) -> None:
        self.shown.append(text)


def request(n: int = 1, *, allowance: int = 64, chain: Chain = ROOT, stop: str | None = None, seed: int = 7) -> Request:
    return Request("p", chain, tuple(f"e{i}" for i in range(n)), tuple(seed + i for i in range(n)), allowance, stop)


def engine(
    server: Loopback | str, sampling: Sampling | None = None, concurrency: int = 16, **options: Any
) -> OpenAIEngine:
    url = server if isinstance(server, str) else server.url
    options = {name.rstrip("_"): value for name, value in options.items()}
    sampling = sampling or Sampling(max_tokens=64)
    return OpenAIEngine("toy", base_url=url, sampling=sampling, concurrency=concurrency, options=options)


def ask(on: OpenAIEngine, *requests: Request, attempts: Attempts | None = None) -> list[Result]:
    async def run() -> list[Result]:
        try:
            return await asyncio.gather(*(on.ask(each, attempts or Attempts()) for each in requests))
        finally:
            await on.close()

    return asyncio.run(run())


def one(on: OpenAIEngine, each: Request | None = None, attempts: Attempts | None = None) -> Result:
    return ask(on, each or request(), attempts=attempts)[0]


def saying(text: str, **more: Any) -> Any:
    return lambda _: Answer(text, **more)


def first(*faults: Fault | None) -> Any:
    """The first requests fail in turn, the rest go well."""
    return lambda number, _: faults[number] if number < len(faults) else None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits, and no key or address from outside."""
    monkeypatch.setattr(module, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(module, "JITTER", 0.001)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


# --- what is sent ------------------------------------------------------------------------------------------------


def test_chat_sends_the_prompt_and_the_settings_and_nothing_else() -> None:
    prompt = (Message("system", "Be brief."), Message("user", "What is 2+2?"))
    sampling = Sampling(temperature=0.5, max_tokens=64, top_p=0.9, top_k=40, min_p=0.1, effort="low")
    with Loopback() as server:
        result = one(
            engine(server, sampling, extra={"user": "u"}), request(3, chain=Chain("p", prompt=prompt), seed=2**40 + 5)
        )
    expected = {
        "model": "toy",
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.1,
        "reasoning_effort": "low",
        "max_tokens": 64,
        "n": 3,
        "seed": 5,
        "user": "u",
    }
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2+2?"}]
    assert server.seen == [expected | {"messages": messages}]
    assert result.sent == expected
    assert len(result.outputs) == 3


def test_defaults_are_not_sent() -> None:
    with Loopback() as server:
        one(engine(server))
    assert set(server.seen[0]) == {"model", "messages", "temperature", "max_tokens", "seed"}


def test_completions_join_the_prompt_and_write_on() -> None:
    prompt = (Message("system", "A."), Message("user", "B."))
    chain = Chain("p", "s0", prompt, (Segment("First.\n\n"),), "step")
    with Loopback() as server:
        on = engine(server, api="completions")
        assert on.capabilities.continues
        assert on.capabilities.steps
        result = one(on, request(chain=chain))
    assert server.seen[0]["prompt"] == "A.\n\nB.First.\n\n"
    assert "messages" not in server.seen[0]
    assert "prompt" not in result.sent
    assert result.outputs[0].segments[0].text.startswith("Let me see.")


def test_chat_writes_on_only_where_it_is_said_how() -> None:
    chain = Chain("p", "s0", ROOT.prompt, (Segment("First.\n\n"),), "step")
    with Loopback() as server:
        plain = engine(server)
        assert not plain.capabilities.continues
        with pytest.raises(CapabilityError, match="continue=prefill"):
            one(plain, request(chain=chain))
        assert not server.seen
        for how in ("prefill", "vllm"):
            on = engine(server, continue_=how)
            assert on.capabilities.continues
            one(on, request(chain=chain))
        one(engine(server, continue_="vllm"))
    prefill, vllm, root = server.seen
    assert prefill["messages"][-1] == {"role": "assistant", "content": "First.\n\n"}
    assert "continue_final_message" not in prefill
    assert "continue_final_message" not in root
    assert vllm["messages"] == prefill["messages"]
    assert vllm["continue_final_message"] is True
    assert vllm["add_generation_prompt"] is False


def test_the_official_server_gets_its_own_name_for_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    body = OpenAIEngine("toy", sampling=Sampling())._wire.body(request(), False)
    assert body["max_completion_tokens"] == 64
    assert "max_tokens" not in body


def test_without_is_neither_sent_nor_declared() -> None:
    with Loopback() as server:
        on = engine(server, without="seed, stop,logprobs,temperature,n", logprobs=True)
        has = on.capabilities
        assert not (has.seed)
        assert not (has.steps)
        assert not (has.logprobs)
        assert not (has.temperature)
        assert not (has.n)
        assert len(one(on, request(4)).outputs) == 1
        with pytest.raises(CapabilityError, match="steps"):
            one(on, request(stop="\n\n"))
    assert [set(body) for body in server.seen] == [{"model", "messages", "max_tokens"}]


def test_capabilities_as_declared() -> None:
    has = engine("http://localhost:1/v1").capabilities
    assert has.bills
    assert has.schedule == "free"
    assert has.steps
    assert has.logprobs
    assert has.n
    assert has.seed
    assert has.temperature
    assert not has.ids
    assert not has.continues
    assert not engine("http://localhost:1/v1", logprobs=False).capabilities.logprobs
    assert not engine("http://localhost:1/v1", n=1).capabilities.n
    with pytest.raises(CapabilityError, match="token ids"):
        require(has, "openai:toy", {"ids": "training"})


def test_there_is_no_lockstep() -> None:
    with pytest.raises(EngineError, match="free-running"):
        engine("http://localhost:1/v1").generate([request()])


def test_logprobs_are_asked_for_only_if_wanted() -> None:
    with Loopback(saying("one two three")) as server:
        plain, wanted = engine(server), engine(server)
        wanted.want_logprobs = True
        assert one(plain).outputs[0].segments[0].logprobs is None
        assert one(wanted).outputs[0].segments[0].logprobs == (-0.3, -0.3, -0.5)
        completions = one(engine(server, api="completions", logprobs=True)).outputs[0]
        streamed = one(engine(server, stream=True, logprobs=True)).outputs[0]
    assert completions.segments[0].logprobs == streamed.segments[0].logprobs == (-0.3, -0.3, -0.5)
    assert ["logprobs" in body for body in server.seen] == [False, True, True, True]


# --- options, address, key ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strem": True}, "did you mean 'stream'"),
        ({"stream": "yes"}, "true or false"),
        ({"api": "chats"}, "chat or completions"),
        ({"n": 0}, "whole number"),
        ({"n": True}, "whole number"),
        ({"timeout": -1}, "seconds"),
        ({"without": "sed"}, "did you mean 'seed'"),
        ({"without": 3}, "a list"),
        ({"continue": "yes"}, "prefill"),
        ({"extra": "x"}, "table"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Options.parse(options)


def test_good_options_are_read() -> None:
    found = Options.parse({"without": ["seed", "n"], "continue": "vllm", "timeout": 3})
    assert (found.without, found.continuing, found.timeout) == (frozenset({"seed", "n"}), "vllm", 3)


def test_a_missing_key_is_named() -> None:
    for url in (None, "https://example.org/v1"):
        with pytest.raises(UsageError, match="MY_KEY"):
            OpenAIEngine("toy", base_url=url, api_key_env="MY_KEY", sampling=Sampling())
    for url in ("http://localhost:1/v1", "http://127.0.0.2:1/v1", "http://[::1]:1/v1"):
        OpenAIEngine("toy", base_url=url, api_key_env="MY_KEY", sampling=Sampling())


def test_a_broken_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "é")
    with pytest.raises(UsageError) as caught:
        engine("https://example.org/v1")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x/v1", "http://u:secret@h:port/v1", "http://"])
def test_a_bad_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UsageError, match="http://HOST") as caught:
        engine(url)
    assert "secret" not in str(caught.value)


def test_the_key_goes_to_the_server_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    echo = f"what is Bearer {KEY}?"
    faults = first(status(500, echo), status(400, f"{echo} unsupported 'seed'", param="seed"), status(400, echo))
    attempts = Attempts()
    with Loopback(faults=faults) as server:
        result = one(engine(server), attempts=attempts)
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert result.outputs[0].reason == "400: what is Bearer ***?"
    assert len(attempts.whys) == 2
    assert all("***" in why for why in attempts.whys)
    assert "not sent from now on" in caplog.text
    assert KEY not in caplog.text + repr(result) + repr(attempts.whys)


def test_no_key_in_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Loopback(faults=lambda *_: status(401, f"Incorrect API key provided: {KEY}")) as server:
        try:
            one(engine(server))
        except EngineError as error:
            shown = "".join(traceback.format_exception(error))
    assert "401" in shown
    assert KEY not in shown


def test_a_password_in_the_address_is_used_and_masked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Loopback(faults=lambda *_: status(403, "not for s3cr%t")) as server:
        on = engine(server.url.replace("http://", "http://ann:s3cr%25t@"))
        with pytest.raises(EngineError) as caught:
            one(on)
        assert server.headers[0]["authorization"].startswith("Basic ")
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "s3cr" not in shown
    assert "***" in shown


# --- what comes back ------------------------------------------------------------------------------------------------


@BOTH
def test_one_answer_with_its_usage(stream: bool) -> None:
    attempts = Attempts()
    with Loopback(saying("It is four.", tokens=5)) as server:
        result = one(engine(server, stream=stream), attempts=attempts)
    (output,) = result.outputs
    assert output.segments == (Segment("It is four.", "answer", tokens=5),)
    assert (output.finish, output.tokens, output.apportioned) == ("stop", 5, False)
    cost = result.overhead
    assert (cost.requests, cost.generated, cost.prompt, cost.cached, cost.estimated) == (1, 0, 3, 1, 0)
    assert 0 < cost.seconds < 5
    assert attempts.shown == (["It ", "is ", "four."] if stream else [])
    assert ("stream_options" in server.seen[0]) == stream


def test_of_several_streamed_choices_the_first_is_shown() -> None:
    attempts = Attempts()
    with Loopback(lambda ask: Answer(f"choice {ask.index}")) as server:
        result = one(engine(server, stream=True), request(3), attempts)
    assert [o.segments[0].text for o in result.outputs] == ["choice 0", "choice 1", "choice 2"]
    assert "".join(attempts.shown) == "choice 0"


def test_a_server_that_does_not_stream_is_read_all_the_same() -> None:
    reply = {"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 1}}
    with Loopback(faults=first(Fault("status", 200, body=reply))) as server:
        assert one(engine(server, stream=True)).outputs[0].segments == (Segment("whole", tokens=1),)


@BOTH
def test_several_answers_share_the_total(stream: bool) -> None:
    texts = ["a" * 30, "b" * 10, "", "c"]
    with Loopback(lambda ask: Answer(texts[ask.index], tokens=[7, 5, 1, 2][ask.index])) as server:
        outputs = one(engine(server, stream=stream), request(4)).outputs
        assert sum(o.tokens for o in outputs) == server.ledger.completion == 15
    assert all(o.apportioned for o in outputs)
    assert outputs[0].tokens > outputs[1].tokens > outputs[3].tokens >= 1
    assert all(sum(s.tokens for s in o.segments) == o.tokens for o in outputs)


def test_logprobs_count_exactly() -> None:
    texts = ["one two three four", "five"]
    with Loopback(lambda ask: Answer(texts[ask.index])) as server:
        outputs = one(engine(server, logprobs=True), request(2)).outputs
    assert [(o.tokens, o.apportioned) for o in outputs] == [(4, False), (1, False)]


@pytest.mark.parametrize("total", range(12))
@pytest.mark.parametrize("weights", [[3, 1, 0], [0, 0], [1], [5, 5, 5], [1000, 1, 1]])
def test_apportioned_shares_sum_to_the_total(total: int, weights: list[int]) -> None:
    shares = apportion(total, weights)
    assert sum(shares) == total
    assert min(shares) >= 0
    if any(weights) and total >= sum(w > 0 for w in weights):
        assert all((share > 0) == (w > 0) for share, w in zip(shares, weights, strict=True))


def test_without_usage_the_allowance_is_charged_and_marked() -> None:
    with Loopback(faults=lambda *_: Fault("no_usage")) as server:
        result = one(engine(server), request(2, allowance=50))
    assert [o.tokens for o in result.outputs] == [50, 50]
    assert (result.overhead.estimated, result.overhead.generated) == (100, 0)
    assert all(sum(s.tokens for s in o.segments) == 50 for o in result.outputs)


def test_a_server_that_ignores_n_is_asked_for_one_from_then_on() -> None:
    with Loopback(ignore_n=True) as server:
        on = engine(server)
        results = [one(on, request(4)), one(on, request(3))]
    assert [len(r.outputs) for r in results] == [1, 1]
    assert [body.get("n") for body in server.seen] == [4, None]
    assert not on.capabilities.n


def test_no_request_asks_for_more_choices_than_the_option_says() -> None:
    with Loopback() as server:
        on = engine(server, n=4)
        assert len(one(on, request(10)).outputs) == 4
    assert server.seen[0]["n"] == 4
    assert on.capabilities.n


@BOTH
def test_visible_thoughts(stream: bool) -> None:
    with Loopback(saying("four", thought="two and two", tokens=2)) as server:
        (output,) = one(engine(server, stream=stream)).outputs
    assert output.segments == (Segment("two and two", "thought", tokens=3), Segment("four", "answer", tokens=2))
    assert output.tokens == 5


def test_thoughts_without_a_count_take_their_share() -> None:
    message = {"reasoning": "x" * 30, "content": "y" * 10}
    reply = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 8}}
    with Loopback(faults=first(Fault("status", 200, body=reply))) as server:
        (output,) = one(engine(server)).outputs
    assert [(s.kind, s.tokens) for s in output.segments] == [("thought", 6), ("answer", 2)]


def test_hidden_thoughts_are_charged_and_an_empty_answer_is_one() -> None:
    with Loopback(lambda ask: Answer("four" if ask.number else "", tokens=1, hidden=20)) as server:
        on = engine(server)
        empty, full = one(on).outputs[0], one(on).outputs[0]
    assert empty.segments == (Segment("", "hidden", tokens=21),)
    assert (empty.finish, empty.tokens) == ("stop", 21)
    assert full.segments == (Segment("", "hidden", tokens=20), Segment("four", "answer", tokens=1))


@BOTH
@pytest.mark.parametrize(
    ("allowance", "words", "finish"),
    [(64, 100, "length"), (10, 100, "budget"), (10, 5, "stop")],
)
def test_what_ended_it(allowance: int, words: int, finish: str, stream: bool) -> None:
    with Loopback(saying("w " * words)) as server:
        (output,) = one(engine(server, stream=stream), request(allowance=allowance)).outputs
    assert output.finish == finish
    assert output.tokens == min(allowance, words)


def test_a_full_context_is_a_length_not_a_budget() -> None:
    with Loopback(saying("w w w", finish="length")) as server:
        assert one(engine(server), request(allowance=10)).outputs[0].finish == "length"


@BOTH
@pytest.mark.parametrize(
    ("vllm", "text", "finish", "kept"),
    [
        (True, "one\n\ntwo", "step", "one\n\n"),
        (True, "the end", "stop", "the end"),
        (True, "\n\ntwo", "step", "\n\n"),
        (False, "one\n\ntwo", "step", "one\n\n"),
        (False, "the end", "step", "the end\n\n"),
        (False, "", "stop", ""),
    ],
)
def test_steps_get_their_delimiter_back(vllm: bool, text: str, finish: str, kept: str, stream: bool) -> None:
    with Loopback(saying(text), vllm=vllm) as server:
        (output,) = one(engine(server, stream=stream), request(stop="\n\n")).outputs
    assert output.finish == finish
    assert "".join(s.text for s in output.segments) == kept
    assert server.seen[0]["stop"] == ["\n\n"]


def test_refusals_and_filters_end_it_with_a_reason() -> None:
    answers = [Answer("", refusal="I cannot do that."), Answer("par", finish="content_filter")]
    with Loopback(lambda ask: answers[ask.number]) as server:
        on = engine(server)
        refusal, filtered = one(on).outputs[0], one(on).outputs[0]
    assert refusal.finish == filtered.finish == "stop"
    assert "I cannot do that." in refusal.reason
    assert "content filter" in filtered.reason


def test_choices_nobody_asked_for_are_charged() -> None:
    choice = {"message": {"content": "abcd"}, "finish_reason": "stop"}
    reply = {"choices": [choice, choice], "usage": {"completion_tokens": 10}}
    with Loopback(faults=first(Fault("status", 200, body=reply))) as server:
        result = one(engine(server))
    assert (len(result.outputs), result.outputs[0].tokens, result.overhead.generated) == (1, 5, 5)


# --- what a server lacks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["temperature", "seed", "top_p", "logprobs", "n", "stream_options", "reasoning_effort"]
)
def test_a_refused_parameter_is_left_out_for_good(name: str) -> None:
    sampling = Sampling(max_tokens=64, top_p=0.9, effort="low")
    attempts = Attempts()
    with Loopback(without=[name]) as server:
        on = engine(server, sampling, logprobs=True, stream=True)
        start = time.monotonic()
        results = [one(on, request(2), attempts), one(on, request(2), attempts)]
        assert time.monotonic() - start < 2
        assert server.ledger.refused == 1
    assert [name in body for body in server.seen] == [True, False, False]
    assert attempts.costs == [Cost(requests=1)]
    assert name not in results[0].sent
    assert results[0].overhead.requests == 1
    declared = {"temperature": "temperature", "seed": "seed", "logprobs": "logprobs", "n": "n"}.get(name)
    assert declared is None or not getattr(on.capabilities, declared)


def test_the_cap_is_renamed() -> None:
    message = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    refusal = status(400, message, param="max_tokens", code="unsupported_parameter")
    with Loopback(faults=lambda _, body: refusal if "max_tokens" in body else None) as server:
        on = engine(server)
        results = ask(on, request(), request()) + ask(on, request())
    assert all(r.outputs[0].finish == "stop" and r.sent["max_completion_tokens"] == 64 for r in results)
    assert server.seen[-1]["max_completion_tokens"] == 64
    assert "max_tokens" not in server.seen[-1]


def test_a_refused_stop_is_a_missing_capability() -> None:
    with Loopback(without=["stop"]) as server:
        on = engine(server)
        with pytest.raises(CapabilityError, match="stop"):
            one(on, request(stop="\n\n"))
        assert not on.capabilities.steps
        assert one(on).outputs[0].finish == "stop"


@pytest.mark.parametrize(
    ("param", "detail", "message", "found"),
    [
        ("seed", None, "no", "seed"),
        ("messages", None, "the 'seed' is fine", None),
        (None, None, "`temperature` is not supported by this model", "temperature"),
        (None, None, "top_p: extra fields not permitted", "top_p"),
        (None, None, "Only one completion choice is allowed", "n"),
        (None, None, "n must be 1", "n"),
        (None, None, "an answer is not possible", None),
        (None, [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}], "[]", "seed"),
        (None, None, "max_tokens is too large for the context length of 2048", None),
        (None, None, "please stop", None),
        (None, None, "reasoning_effort is not supported", None),
    ],
)
def test_which_parameter_a_refusal_names(param: str | None, detail: Any, message: str, found: str | None) -> None:
    sent = dict.fromkeys(("model", "messages", "temperature", "top_p", "seed", "stop", "n", "max_tokens"))
    assert refused(sent, param, detail, message) == found


# --- failures ---------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("code", [408, 409, 429, 500, 502, 503])
def test_a_passing_refusal_is_repeated_and_not_billed(code: int, stream: bool) -> None:
    attempts = Attempts()
    with Loopback(saying("good"), faults=first(status(code), status(code))) as server:
        result = one(engine(server, stream=stream), attempts=attempts)
    assert result.outputs[0].segments[0].text == "good"
    assert attempts.costs == [Cost(requests=1)] * 2
    assert all(str(code) in why for why in attempts.whys)
    assert result.overhead.requests == 1
    assert result.overhead.generated == 0


@pytest.mark.parametrize("kind", ["cut", "torn", "close"])
@BOTH
def test_a_lost_answer_is_charged_as_its_allowance(kind: str, stream: bool) -> None:
    attempts = Attempts()
    with Loopback(saying("good and well"), faults=first(Fault(kind))) as server:
        result = one(engine(server, stream=stream), request(2, allowance=30), attempts)
    assert [o.segments[0].text for o in result.outputs] == ["good and well"] * 2
    assert attempts.costs == [Cost(requests=1, generated=60, estimated=60)]
    assert result.overhead.requests == 1
    assert result.overhead.estimated == 0


@pytest.mark.parametrize(
    "body", [[], "<html>busy</html>", {"choices": []}, {"error": {"message": "overloaded"}}, {"choices": None}]
)
def test_a_body_without_choices_is_a_lost_answer(body: Any) -> None:
    attempts = Attempts()
    with Loopback(faults=first(Fault("status", 200, body=body))) as server:
        assert one(engine(server), attempts=attempts).outputs[0].finish == "stop"
    assert attempts.costs == [Cost(requests=1, generated=64, estimated=64)]


def test_a_lost_answer_that_says_its_usage_costs_that() -> None:
    attempts = Attempts()
    body = {"choices": [], "usage": {"completion_tokens": 9, "prompt_tokens": 4}}
    with Loopback(faults=first(Fault("status", 200, body=body))) as server:
        one(engine(server), attempts=attempts)
    assert attempts.costs == [Cost(requests=1, generated=9, prompt=4)]


def test_a_stream_without_an_end_is_cut_and_costs_the_usage_it_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts()
    with Loopback(saying("good")) as server:
        whole, calls = server._stream, list[int]()

        def endless(chat: bool, choices: Any, usage: Any) -> list[dict[str, Any]]:
            word, finish, count = whole(chat, choices, usage)
            calls.append(1)
            return [word, count] if len(calls) == 1 else [word, finish, count]

        monkeypatch.setattr(server, "_stream", endless)
        assert one(engine(server, stream=True), attempts=attempts).outputs[0].finish == "stop"
    assert attempts.costs == [Cost(requests=1, generated=1, prompt=3, cached=1)]
    assert "ended early" in attempts.whys[0]


def test_nobody_there_costs_no_tokens(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "TOTAL", 1.2)
    with Loopback() as server:
        url = server.url
    attempts = Attempts()
    result = one(engine(url), request(2), attempts)
    assert [o.finish for o in result.outputs] == ["error", "error"]
    assert "no connection" in result.outputs[0].reason
    assert attempts.costs
    assert set(attempts.costs) == {Cost(requests=1)}
    assert (result.overhead.requests, result.overhead.generated) == (1, 0)
    said = [record.getMessage() for record in caplog.records if record.name == module.__name__]
    assert len(said) == 1 and "no connection to" in said[0] and "trying again" in said[0]


def test_a_stall_is_timed_out_and_asked_again() -> None:
    attempts = Attempts()
    with Loopback(saying("good"), faults=first(Fault("stall"))) as server:
        result = one(engine(server, timeout=0.2), attempts=attempts)
    assert result.outputs[0].segments[0].text == "good"
    assert attempts.costs == [Cost(requests=1, generated=64, estimated=64)]
    assert "no answer within 0." in attempts.whys[0]
    assert result.overhead.seconds >= 0.2
    assert server.ledger.unreported == 1


def test_patience_adapts_to_the_slowest_answer() -> None:
    on = engine("http://localhost:1/v1")
    assert [on._patience(i) for i in (0, 1)] == [600, 600]  # nothing is known of the server yet
    on._answers, on._slowest = 20, 0.5
    assert [on._patience(i) for i in (0, 1)] == [10, 20]
    on._slowest = 3
    assert on._patience(0) == 30
    on._slowest = 50
    assert [on._patience(i) for i in (0, 1, 10_000)] == [500, 600, 600]
    assert engine("http://localhost:1/v1", timeout=5)._patience(3) == 5


def test_a_stall_is_found_out_once_other_answers_show_what_is_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponder.engines.openai.LEAST_PATIENCE", 0.5)
    attempts = Attempts()
    with Loopback(faults=first(Fault("stall"))) as server:
        results = ask(engine(server, concurrency=8), *[request() for _ in range(30)], attempts=attempts)
    assert all(r.outputs[0].finish == "stop" for r in results)
    assert len(attempts.costs) == 1
    assert results[0].overhead.seconds < 20


def test_only_time_outs_make_it_more_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_PATIENCE", 0.2)
    monkeypatch.setattr(module, "SLOWER", 0.0)
    attempts = Attempts()
    with Loopback(faults=first(*[status(500)] * 5, Fault("stall"), status(429), Fault("stall"))) as server:
        on = engine(server)
        on._answers = 20
        assert one(on, attempts=attempts).outputs[0].finish == "stop"
    stalls = [float(why.split()[-2]) for why in attempts.whys if "no answer within" in why]
    assert len(stalls) == 2
    assert (
        0.2 <= stalls[0] < 2 * stalls[0] <= stalls[1] + 0.1 < 4
    )  # seconds; with the refusals counted it would be 6 and more


def test_a_count_that_cannot_be_that_of_all_choices_is_not_believed() -> None:
    body = {
        "choices": [{"message": {"content": "long " * 9}, "finish_reason": "length"}] * 4,
        "usage": {"completion_tokens": 9},
    }
    reading = read(body, request(n=4, allowance=9), 64)
    assert [o.tokens for o in reading.outputs] == [9] * 4
    assert reading.cost.estimated == 36
    assert reading.choices == 1  # so that one choice a request is asked for from now on


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_obeyed(form: str) -> None:
    wait = "0.4" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    with Loopback(faults=first(status(429, retry_after=wait))) as server:
        result = one(engine(server))
    assert result.overhead.seconds >= (0.4 if form == "seconds" else 0.9)
    assert result.outputs[0].finish == "stop"


def test_a_wait_beyond_the_time_left_gives_up_at_once() -> None:
    attempts = Attempts()
    with Loopback(faults=lambda *_: status(503, "later", retry_after=700)) as server:
        result = one(engine(server), attempts=attempts)
    assert result.outputs[0].finish == "error"
    assert "later" in result.outputs[0].reason
    assert not attempts.costs
    assert result.overhead.requests == 1
    assert result.overhead.seconds < 5


def test_when_the_time_is_up_the_last_failure_is_in_the_overhead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOTAL", 1.2)
    attempts = Attempts()
    with Loopback(faults=lambda *_: Fault("close")) as server:
        result = one(engine(server), request(2, allowance=10), attempts)
        assert server.ledger.requests == len(attempts.costs) + 1
    assert [o.finish for o in result.outputs] == ["error"] * 2
    assert result.outputs[0].reason
    cost = result.overhead
    assert (cost.requests, cost.generated, cost.estimated) == (1, 20, 20)
    assert cost.seconds <= 1.2


def test_the_driver_may_refuse_another_attempt() -> None:
    attempts = Attempts(room=1)
    with Loopback(faults=lambda *_: status(500)) as server:
        result = one(engine(server), request(2), attempts)
        assert server.ledger.requests == len(attempts.costs) == 2
    assert [(o.finish, o.segments, o.tokens, o.reason) for o in result.outputs] == [
        ("refused", (), 0, BUDGET_ENDED)
    ] * 2
    assert result.overhead.requests == 0
    assert result.overhead.generated == 0


@pytest.mark.parametrize(
    ("fault", "hint"),
    [
        (status(401, "bad key"), "set OPENAI_API_KEY"),
        (status(403, "not yours"), "may use"),
        (status(404, "The model `toy` does not exist"), "no such model 'toy'"),
        (status(402, "pay"), "add credit"),
        (status(429, "used up", code="insufficient_quota"), "quota"),
    ],
)
def test_what_no_request_can_survive_ends_the_run(fault: Fault, hint: str) -> None:
    attempts = Attempts()
    with Loopback(faults=lambda *_: fault) as server:
        with pytest.raises(EngineError, match=hint) as caught:
            one(engine(server), attempts=attempts)
        assert server.ledger.requests == 1
    assert "\n" not in str(caught.value)
    assert not attempts.costs


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_bad_request_is_its_own_error(code: int) -> None:
    fault = status(code, "this model's maximum context length is 2048 tokens; max_tokens is too large")
    with Loopback(faults=first(fault)) as server:
        on = engine(server)
        bad, good = one(on, request(2)), one(on)
    assert [o.finish for o in bad.outputs] == ["error"] * 2
    assert "context length" in bad.outputs[0].reason
    assert bad.overhead.requests == 1
    assert bad.overhead.generated == 0
    assert good.outputs[0].finish == "stop"
    assert good.sent["max_tokens"] == 64


def test_text_that_cannot_be_sent_is_an_error_of_its_own() -> None:
    with Loopback() as server:
        result = one(engine(server), request(chain=Problem("p", "\ud800").root))
    assert result.outputs[0].finish == "error"
    assert result.overhead.requests == 0


def test_cancelling_ends_it() -> None:
    async def run(on: OpenAIEngine) -> None:
        attempts = Attempts()
        task = asyncio.create_task(on.ask(request(), attempts))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not attempts.costs
        await on.close()

    with Loopback(latency=30) as server:
        asyncio.run(run(engine(server)))


# --- many at once -----------------------------------------------------------------------------------------------------


def test_concurrency_is_kept() -> None:
    with Loopback(latency=0.02) as server:
        ask(engine(server, concurrency=5), *(request() for _ in range(30)))
        assert server.ledger.busiest == 5
        assert server.ledger.answers == 30


@BOTH
def test_the_costs_equal_the_servers_books(stream: bool) -> None:
    """More requests fail than not, and still each is answered once and every token is accounted for."""
    faults = chances(3, retry_after=0.05, _429=0.15, _429_after=0.05, _500=0.15, cut=0.15, close=0.1, no_usage=0.05)
    attempts = Attempts()
    with Loopback(saying("w " * 9), faults=faults) as server:
        on = engine(server, stream=stream)
        results = ask(on, *(request(1 + i % 3, allowance=20) for i in range(150)), attempts=attempts)
        books = server.ledger
    outputs = [output for result in results for output in result.outputs]
    assert len(results) == 150
    assert len(outputs) == 300
    assert {o.finish for o in outputs} == {"stop"}
    total = sum((r.overhead for r in results), sum(attempts.costs, Cost()))
    generated = total.generated + sum(o.tokens for o in outputs)
    assert total.requests == books.requests == books.answers + books.refused + books.unreported
    assert generated - total.estimated == books.completion
    assert total.estimated >= books.unreported_completion
    assert books.unreported > 20
    assert total.prompt == books.prompt


def test_the_engine_may_be_used_in_one_loop_after_another() -> None:
    with Loopback() as server:
        on = engine(server)
        assert [one(on).outputs[0].finish, one(on).outputs[0].finish] == ["stop", "stop"]


def test_a_thousand_in_flight() -> None:
    with Loopback(saying("good"), hold=1000, keep=False) as server:
        results = ask(engine(server, concurrency=1000, timeout=100), *(request() for _ in range(1000)))
        assert server.ledger.answers == server.ledger.busiest == 1000
    assert all(r.outputs[0].finish == "stop" for r in results)


def test_importing_ponder_does_not_import_the_client() -> None:
    code = "import sys, ponder, ponder.engines.base; assert 'openai' not in sys.modules and 'httpx2' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
