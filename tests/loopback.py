"""An OpenAI-compatible server on this machine that answers from a function, keeps books, and fails on purpose.

    with Loopback(reply=lambda ask: Answer("The answer is 4.")) as server:
        engine = OpenAIEngine("toy", base_url=server.url, sampling=Sampling())

It speaks just enough HTTP/1.1 (keep-alive, streaming) to hold a thousand connections at little cost. What it
billed is in `server.ledger`; what it was sent, in `server.seen` (bodies, in order of arrival). For other processes:

    python tests/loopback.py --port 8123 --faults 429=.2,500=.1,stall=.02,cut=.1,close=.1 --latency .05

prints its address, answers GET /ledger with its books, and stops on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import hashlib
import json
import random
import resource
import signal
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Ask:
    """One choice that is wanted. `prompt` is the last user message (chat) or the whole prompt (completions); `text`
    is everything that was sent for the model to read. `number` counts requests, `index` the choices of one."""

    prompt: str
    text: str
    index: int
    number: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model writes for one choice, before the cap and the stop are applied. A token is a word unless
    `tokens` says how many there are; `hidden` of them, or those of `thought`, are billed beyond the text's."""

    text: str
    tokens: int | None = None
    thought: str = ""
    hidden: int = 0
    refusal: str | None = None
    finish: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request. `kind`: status (answer `status` with `body` and `headers`), stall (never
    answer), cut (promise more than comes, then close), torn (half the JSON, as if it were whole), close (no
    answer at all), no_usage (a good answer without its count)."""

    kind: str
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


def status(number: int, message: str = "", *, retry_after: object = None, **error: object) -> Fault:
    """An HTTP error as the official server words it; `error` is more of its fields, such as param and code."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Fault("status", number, headers, {"error": {"message": message or f"made to fail: {number}", **error}})


def chances(seed: int = 0, *, retry_after: float = 1, **rates: float) -> Callable[[int, dict[str, Any]], Fault | None]:
    """A schedule that draws each request's fault: `rates` by name, 429, 429_after (with Retry-After), 500, stall,
    cut, close, no_usage (a leading underscore is dropped: `_429=.1`). The rest goes well."""
    draw = random.Random(seed)
    table = [(name.removeprefix("_").replace("-", "_"), rate) for name, rate in rates.items()]

    def schedule(number: int, body: dict[str, Any]) -> Fault | None:
        at = draw.random()
        for name, rate in table:
            if at < rate:
                if name == "429_after":
                    return status(429, "slow down", retry_after=retry_after)
                if name.isdigit():
                    return status(int(name))
                return Fault(draw.choice(("cut", "torn")) if name == "cut" else name)
            at -= rate
        return None

    return schedule


@dataclass
class Ledger:
    """What the server counted. `completion` and `prompt` are tokens of answers sent whole with their usage;
    `unreported` are requests whose usage never went out (stalled, cut, closed, left by the client), and
    `unreported_completion` what was written for them. `refused`: answered with an error status."""

    requests: int = 0
    answers: int = 0
    choices: int = 0
    refused: int = 0
    unreported: int = 0
    prompt: int = 0
    completion: int = 0
    unreported_completion: int = 0
    busy: int = 0
    busiest: int = 0
    by_prompt: dict[str, int] = field(default_factory=dict)


def word(ask: Ask) -> Answer:
    """The usual reply: two steps, and one of five answers by prompt, seed and choice."""
    key = f"{ask.text}\x1f{ask.body.get('seed')}\x1f{ask.index}"
    return Answer(f"Let me see.\n\nThe answer is {hashlib.blake2b(key.encode()).digest()[0] % 5}.")


class Loopback:
    """The server, in a thread of its own between `__enter__` and `__exit__`.

    `reply` gives each choice's text; `faults(number, body)` each request's fault or None; `without` names
    parameters that are refused with status 400; `ignore_n` gives one choice whatever was asked; `latency` is
    seconds before an answer; `hold` answers nothing until so many requests are in flight; `vllm` adds `stop_reason`;
    `keep` False records no requests.
    """

    def __init__(
        self,
        reply: Callable[[Ask], Answer] = word,
        *,
        faults: Callable[[int, dict[str, Any]], Fault | None] | None = None,
        without: Collection[str] = (),
        ignore_n: bool = False,
        latency: float | Callable[[int], float] = 0.0,
        hold: int = 0,
        vllm: bool = False,
        keep: bool = True,
        port: int = 0,
    ) -> None:
        self.reply, self.faults, self.without, self.ignore_n = reply, faults, set(without), ignore_n
        self.latency, self.hold, self.vllm, self.keep, self.port = latency, hold, vllm, keep, port
        self.ledger = Ledger()
        self.seen: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._ready = threading.Event()
        self._trouble: BaseException | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Loopback:
        more_files()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._trouble:
            raise self._trouble
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._end, self._full = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self.open: set[_Connection] = set()
        try:
            listening = await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port, backlog=4096)
        except OSError as error:
            self._trouble = error
            self._ready.set()
            return
        self.port = listening.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        listening.close()
        for connection in list(self.open):
            connection.transport.abort()

    async def serve(self, path: str, body: dict[str, Any], to: _Connection) -> None:
        """Answers one request, or fails to."""
        books = self.ledger
        number = books.requests
        books.requests += 1
        fault = self.faults(number, body) if self.faults else None
        lacking = next((name for name in self.without if name in body), None)
        if fault is None and lacking:
            message = f"Unsupported parameter: '{lacking}' is not supported with this model."
            fault = status(400, message, param=lacking, code="unsupported_parameter", type="invalid_request_error")
        if fault and fault.kind == "status":
            books.refused += 1
            return to.answer(fault.status, fault.body, fault.headers)
        prompt, text = _reading(body)
        wanted = 1 if self.ignore_n else body.get("n") or 1
        choices = [_cut(self.reply(Ask(prompt, text, i, number, body)), body) for i in range(wanted)]
        written = sum(choice["tokens"] for choice in choices)
        whole = False
        books.busy += 1
        books.busiest = max(books.busiest, books.busy)
        if books.busy >= self.hold:
            self._full.set()
        try:
            await self._full.wait()
            if wait := self.latency(number) if callable(self.latency) else self.latency:
                await asyncio.sleep(wait)
            if fault and fault.kind == "stall":
                await asyncio.sleep(3600)
            if fault and fault.kind == "close":
                return to.transport.close()
            usage: dict[str, Any] | None = _usage(text, choices)
            if fault and fault.kind == "no_usage":
                usage = None
            chat = path.endswith("/chat/completions")
            if body.get("stream"):
                pieces = self._stream(chat, choices, usage if _wants_usage(body) else None)
                to.stream(pieces, half=fault is not None and fault.kind in ("cut", "torn"))
                whole = not (fault and fault.kind in ("cut", "torn", "no_usage")) and _wants_usage(body)
            else:
                reply = {"id": f"r{number}", "object": "x", "model": body.get("model"), "usage": usage}
                reply["choices"] = [self._choice(chat, i, choice) for i, choice in enumerate(choices)]
                to.answer(200, reply, half=fault.kind if fault else "")
                whole = not (fault and fault.kind in ("cut", "torn", "no_usage"))
        finally:
            books.busy -= 1
            if whole:
                books.answers += 1
                books.choices += len(choices)
                books.completion += written
                books.prompt += len(text.split())
                books.by_prompt[prompt] = books.by_prompt.get(prompt, 0) + written
            else:
                books.unreported += 1
                books.unreported_completion += written

    def _choice(self, chat: bool, index: int, choice: dict[str, Any]) -> dict[str, Any]:
        given: dict[str, Any] = {"index": index, "finish_reason": choice["finish"]}
        if chat:
            given["message"] = {"role": "assistant", "content": choice["text"]}
            if choice["thought"]:
                given["message"]["reasoning_content"] = choice["thought"]
            if choice["refusal"]:
                given["message"] |= {"content": None, "refusal": choice["refusal"]}
        else:
            given["text"] = choice["text"]
        if choice["logprobs"] is not None:
            tokens = choice["logprobs"]
            given["logprobs"] = (
                {"content": [{"token": t, "logprob": -len(t) / 10} for t in tokens]}
                if chat
                else {"tokens": tokens, "token_logprobs": [-len(t) / 10 for t in tokens]}
            )
        if self.vllm:
            given["stop_reason"] = choice["stopped"]
        return given

    def _stream(self, chat: bool, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> list[dict[str, Any]]:
        """The chunks: a word each, choices in turn, then each finish, then the usage."""
        chunks: list[dict[str, Any]] = []
        for index, choice in enumerate(choices):
            for name, text in (("reasoning_content", choice["thought"] if chat else ""), ("content", choice["text"])):
                words = text.split(" ")
                for at, piece in enumerate(words if text else ()):
                    piece += " " if at < len(words) - 1 else ""
                    part: dict[str, Any] = {"index": index, "finish_reason": None}
                    part |= {"delta": {name: piece}} if chat else {"text": piece}
                    chunks.append({"choices": [part]})
            last = self._choice(chat, index, choice)
            last["delta" if chat else "text"] = {} if chat else ""
            last.pop("message", None)
            chunks.append({"choices": [last]})
        if usage:
            chunks.append({"choices": [], "usage": usage})
        return chunks

    def books(self) -> dict[str, Any]:
        """The ledger as plain data."""
        return dataclasses.asdict(self.ledger)


def _reading(body: dict[str, Any]) -> tuple[str, str]:
    if "prompt" in body:
        return body["prompt"], body["prompt"]
    messages = body.get("messages") or [{"role": "user", "content": ""}]
    last = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
    return last, "\n\n".join(m["content"] for m in messages)


def _cut(answer: Answer, body: dict[str, Any]) -> dict[str, Any]:
    """One choice after the stop and the cap have had their way."""
    text, finish, stopped = answer.text, answer.finish or "stop", None
    tokens = answer.tokens if answer.tokens is not None else len(text.split())
    stops = body.get("stop") or ()
    at, found = min(((text.find(s), s) for s in stops if s in text), default=(-1, None))
    if found is not None:
        tokens = max(1, round(tokens * at / max(1, len(text))))
        text, stopped, finish = text[:at], found, "stop"
    hidden = answer.hidden or len(answer.thought.split())
    cap = body.get("max_tokens") or body.get("max_completion_tokens") or 10**9
    if hidden + tokens > cap:
        kept = max(0, cap - hidden)
        text = text[: len(text) * kept // max(1, tokens)]
        tokens, hidden, finish, stopped = kept, min(hidden, cap), "length", None
    return {
        "text": text,
        "thought": answer.thought,
        "refusal": answer.refusal,
        "finish": finish,
        "stopped": stopped,
        "hidden": hidden,
        "tokens": tokens + hidden,
        "logprobs": text.split() if body.get("logprobs") else None,
    }


def _usage(text: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    prompt, written = len(text.split()), sum(choice["tokens"] for choice in choices)
    usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
    usage["prompt_tokens_details"] = {"cached_tokens": prompt // 2}
    if hidden := sum(choice["hidden"] for choice in choices):
        usage["completion_tokens_details"] = {"reasoning_tokens": hidden}
    return usage


def _wants_usage(body: dict[str, Any]) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))


class _Connection(asyncio.Protocol):
    """One client connection: requests one after the other."""

    def __init__(self, server: Loopback) -> None:
        self.server, self.buffer = server, b""
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.open.discard(self)
        if self.task:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, mark, rest = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", 0))
        if len(rest) < size:
            return
        self.buffer = rest[size:]
        method, path, _ = first.split(" ", 2)
        if method == "GET":
            self.answer(200, self.server.books() if path.endswith("/ledger") else {"data": [{"id": "toy"}]})
            return
        body = json.loads(rest[:size])
        if self.server.keep:
            self.server.seen.append(body)
            self.server.headers.append(headers)
        self.task = asyncio.get_running_loop().create_task(self.server.serve(path, body, self))

    def answer(self, code: int, body: Any, headers: Mapping[str, str] | None = None, *, half: str = "") -> None:
        """A whole response; `half` 'cut' promises more than comes, 'torn' promises half."""
        raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        size = len(raw)
        if half in ("cut", "torn"):
            raw = raw[: size // 2]
            size = size if half == "cut" else len(raw)
        extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        kind = "text/html" if isinstance(body, str) else "application/json"
        head = f"HTTP/1.1 {code} X\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n{extra}\r\n"
        self.transport.write(head.encode() + raw)
        if half == "cut":
            self.transport.close()

    def stream(self, chunks: list[dict[str, Any]], *, half: bool) -> None:
        """Server-sent events in chunked encoding; `half` of them, then the connection closes."""
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]
        if half:
            lines = lines[: len(lines) // 2]
        encoded = "".join(f"{len(line.encode()):x}\r\n{line}\r\n" for line in lines)
        head = "HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.transport.write((head + encoded + ("" if half else "0\r\n\r\n")).encode())
        if half:
            self.transport.close()


def more_files() -> None:
    """Lets this process hold as many connections as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 16384) if hard != resource.RLIM_INFINITY else 16384
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="An OpenAI-compatible server for tests.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--faults", default="", help="name=rate,… : 429, 429_after, 500, stall, cut, close, no_usage")
    parser.add_argument("--retry-after", type=float, default=1, help="seconds, for 429_after")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0, help="seconds")
    parser.add_argument("--without", default="", help="parameters to refuse, such as seed,stop")
    parser.add_argument("--ignore-n", action="store_true")
    parser.add_argument("--vllm", action="store_true", help="give stop_reason")
    parser.add_argument("--tokens", type=int, help="tokens of every answer (beyond the cap: it is cut there)")
    parser.add_argument("--text", help="the same text for every answer")
    parser.add_argument("--ledger", help="file for the books when it stops")
    options = parser.parse_args(arguments)
    rates = {name: float(rate) for name, _, rate in (part.partition("=") for part in options.faults.split(",") if part)}

    def reply(ask: Ask) -> Answer:
        given = word(ask) if options.text is None else Answer(options.text)
        return dataclasses.replace(given, tokens=options.tokens)

    server = Loopback(
        reply,
        faults=chances(options.seed, retry_after=options.retry_after, **rates) if rates else None,
        without=[name for name in options.without.split(",") if name],
        ignore_n=options.ignore_n,
        latency=options.latency,
        vllm=options.vllm,
        keep=False,
        port=options.port,
    )
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with server:
        print(server.url, flush=True)
        ended.wait()
    if options.ledger:
        with open(options.ledger, "w", encoding="utf-8") as file:
            json.dump(server.books(), file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
