"""Any OpenAI-compatible server, through the official client: free-running, every billed attempt counted.

The client's own hidden retries are off. An attempt that may succeed later is repeated, for 600 s a request,
with the driver's leave each time; what a server turns out to lack is left out for the rest of the run; and
what was sent is recorded, without the prompt and without any secret.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import httpx2
import openai
import stamina

from ponder.engines import openai_errors as errors
from ponder.engines.base import Attempts, Capabilities, Output, Request, Result
from ponder.engines.openai_reply import Cut, Gathered, billed, read
from ponder.engines.openai_wire import Options, Wire, lacks_stop, refused, too_long
from ponder.errors import EngineError, PonderError, UsageError
from ponder.types import Cost, Finish, Sampling

TOTAL = 600.0  # seconds a request may take, all its attempts together
BACKOFF = 8.0  # seconds, the longest wait between attempts that no server asked for
FIRST_WAIT, JITTER = 0.25, 0.5  # seconds
POOL = 64  # connections a pool holds: it looks at each of them for every request
LAST = 1.0  # seconds that must be left for another attempt to be worth its price
CONNECT = 30.0  # seconds until a connection must have come about
LEAST_PATIENCE, SLOWER = 10.0, 10.0  # seconds, times the slowest answer
KNOWN = 8  # answers until the slowest one is a guide; before, an attempt may take all the request's time
REPEATED = frozenset({408, 409, 429})  # and every 5xx
NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
BUDGET_ENDED = "the budget ended while a failed request was to be repeated"

logger = logging.getLogger(__name__)
logging.getLogger("stamina").addHandler(logging.NullHandler())  # each retry is in the ledger; not on stderr as well


class _Failure(Exception):
    """An attempt without an answer. `wait`: seconds until the next one, None leaves it to the back-off."""

    def __init__(self, why: str, cost: Cost, *, repeat: bool = True, wait: float | None = None) -> None:
        super().__init__(why)
        self.why, self.cost, self.repeat, self.wait = why, cost, repeat, wait
        self.charged = self.refused = self.late = self.full = False


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """An attempt that waits for its answer; how long it may is known better as other answers come."""

    limit: asyncio.Timeout
    late: int
    began: float
    deadline: float

    def be_patient(self, seconds: float) -> None:
        if not self.limit.expired():
            self.limit.reschedule(min(self.began + seconds, self.deadline))


class OpenAIEngine:
    """A server behind `base_url` (None: OPENAI_BASE_URL, else api.openai.com).

    The key is read from the environment variable `api_key_env`; a server on this machine needs none.
    `concurrency` requests are in flight at most, waits between attempts included. `options`: see
    `openai_wire.Options`. Raises UsageError for an unknown option, a bad URL, or a missing key.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        sampling: Sampling,
        concurrency: int = 16,
        options: Mapping[str, object] | None = None,
    ) -> None:
        self.policy = f"openai:{model}"
        self.want_logprobs = False  # set by who builds the engine if a scorer reads log-probs
        self._model, self._sampling, self._concurrency = model, sampling, concurrency
        self._options = Options.parse(options or {})
        self._total = max(TOTAL, self._options.timeout or 0)
        base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
        url = _checked(base_url) if base_url else None
        self._login = (unquote(url.username or ""), unquote(url.password or "")) if url and "@" in url.netloc else None
        host = url.netloc.rpartition("@")[2] if url else ""
        self._address = url._replace(netloc=host).geturl() if url else None
        self.where = url._replace(netloc=host, query="").geturl() if url else "https://api.openai.com/v1"
        self._key_env = api_key_env
        self._key = self._find_key(url)
        secrets = {self._key} - {"none"}
        if url:
            secrets |= {url.query, url.password or "", unquote(url.password or "")}
        self._secrets = sorted(filter(None, secrets), key=len, reverse=True)
        self._wire = Wire(model, sampling, self._options, official=url is None or url.hostname == "api.openai.com")
        self._seen = self._declare()
        self._answers, self._slowest, self._told = 0, 0.0, self._total
        self._unreached = False
        self._waiting: set[_Waiting] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def _find_key(self, url: SplitResult | None) -> str:
        key = os.environ.get(self._key_env, "").strip()
        if not key and (self._login or (url and _loopback(url.hostname or ""))):
            return "none"
        if not key:
            raise UsageError(f"no API key for {self.where}; set {self._key_env}, or name another with --api-key-env")
        if not (key.isascii() and key.isprintable()):
            raise UsageError(f"the API key in {self._key_env} holds characters that no key has; set it again")
        return key

    @property
    def capabilities(self) -> Capabilities:
        """As declared, less what the server has refused since."""
        return self._seen

    def _declare(self) -> Capabilities:
        missing, options = self._wire.missing, self._options
        return Capabilities(
            bills=True,
            schedule="free",
            continues=not self._wire.chat or options.continuing != "none",
            steps="stop" not in missing,
            logprobs="logprobs" not in missing and options.logprobs is not False,
            n=self._wire.choices > 1,
            choices=self._wire.choices,
            seed="seed" not in missing,
            temperature="temperature" not in missing,
            concurrency=self._concurrency,
        )

    def generate(self, requests: Sequence[Request]) -> list[Result]:
        """Always raises EngineError: a server has no batches."""
        raise EngineError(f"{self.policy} answers requests one by one; run it free-running, not in lockstep")

    async def ask(self, request: Request, attempts: Attempts) -> Result:
        """Answers one request; fewer outputs than keys if the server gives fewer choices.

        Each failed attempt that is followed by another was charged through `attempts.failed`, and is not in the
        result's overhead: that holds the last attempt alone (one request, prompt and cached tokens, the part of
        the outputs' tokens that is estimated) and the seconds from the first sending to the answer. If the
        driver refuses another attempt, all outputs are `refused`; if the time is up or the server rejects this
        request, they are `error`, and the last failure's cost is in the overhead.

        Raises EngineError if no request can succeed (key, model, quota), CapabilityError if the server refuses
        a stop or cannot write on from a chain.
        """
        self._open()
        async with self._slots:
            started = monotonic()
            try:
                result = await self._persist(request, attempts, started)
            except _Failure as failure:
                result = _undrawn(request, failure)
            seconds = Cost(seconds=monotonic() - started)
            return replace(result, overhead=result.overhead + seconds)

    async def close(self) -> None:
        """Closes the connections. The engine opens new ones if it is asked again."""
        if self._loop is not None and self._loop is asyncio.get_running_loop():
            self._loop = None
            for client in self._clients:
                await client.close()

    def _open(self) -> None:
        """Client and slots belong to the running event loop; another loop gets its own."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        pools = -(-self._concurrency // POOL)
        most = min(self._concurrency, POOL)
        limits = httpx2.Limits(max_connections=most + 1, max_keepalive_connections=most)
        # The whole attempt is timed elsewhere; only a connection that does not come about is told apart here.
        timeout = httpx2.Timeout(None, connect=CONNECT)
        trusted = httpx2.create_ssl_context()  # shared: reading the certificates takes longer than the rest
        self._clients = [
            openai.AsyncOpenAI(
                api_key=self._key,
                base_url=self._address,
                max_retries=0,
                timeout=timeout,
                http_client=openai.DefaultAsyncHttpxClient(
                    limits=limits, timeout=timeout, auth=self._login, verify=trusted
                ),
            )
            for _ in range(pools)
        ]
        self._free = self._clients * most  # the last one used is used next: its connections are open
        self._slots = asyncio.Semaphore(self._concurrency)
        self._loop = loop

    async def _persist(self, request: Request, attempts: Attempts, started: float) -> Result:
        late = 0  # attempts that ran out of time; a refusal says nothing about how long an answer takes

        def again(error: Exception) -> bool | float:
            nonlocal late
            if not isinstance(error, _Failure) or not error.repeat:
                return False
            late += error.late
            longest = min(BACKOFF, attempt.next_wait + JITTER) if error.wait is None else error.wait
            if monotonic() - started + longest + LAST > self._total:
                return False
            error.charged = True
            error.refused = not attempts.failed(error.cost, error.why)
            if error.refused:
                return False
            return True if error.wait is None else error.wait

        first: _Failure | None = None
        try:  # most requests need no more than this, and a retry context costs a tenth of a request
            return await self._attempt(request, attempts, late, started + self._total)
        except _Failure as failure:
            first = failure
        async for attempt in stamina.retry_context(
            on=again,
            attempts=None,
            timeout=self._total,
            wait_initial=FIRST_WAIT,
            wait_max=BACKOFF,
            wait_jitter=JITTER,
        ):
            with attempt:
                if first is not None:
                    failed, first = first, None
                    raise failed
                return await self._attempt(request, attempts, late, started + self._total)
        raise AssertionError("the loop above returns or raises")

    def _patience(self, late: int) -> float:
        """Seconds that an attempt may take, after `late` others of its request ran out of time."""
        if self._options.timeout is not None:
            return self._options.timeout
        if self._answers < KNOWN:
            return self._total  # a slow server must not be asked again, and billed again, for being slow
        return min(self._total, max(LEAST_PATIENCE, SLOWER * self._slowest) * 2.0 ** min(late, 16))

    async def _attempt(self, request: Request, attempts: Attempts, late: int, deadline: float) -> Result:
        body = self._wire.body(request, self.want_logprobs or self._options.logprobs is True)
        gathered = Gathered()
        began = monotonic()
        trouble: Exception
        try:
            async with asyncio.timeout(None) as limit:
                waiting = _Waiting(limit, late, began, deadline)
                waiting.be_patient(self._patience(late))
                self._waiting.add(waiting)
                try:
                    reply = await self._exchange(body, gathered, attempts)
                finally:
                    self._waiting.discard(waiting)
            reading = read(reply, request, self._sampling.max_tokens)
        except openai.APIStatusError as error:
            trouble = self._refusal(error, body, request)
        except openai.APIConnectionError as error:
            trouble = self._lost(f"no answer ({errors.root(error)})", request, body, gathered.usage)
            if isinstance(error.__cause__, NEVER_SENT):
                trouble = self._failure(f"no connection to {self.where} ({errors.root(error)})", Cost(requests=1))
                if not self._unreached:  # once: nobody should wait ten minutes for a mistyped port
                    self._unreached = True
                    logger.warning("%s; trying again for up to %.0f s", trouble.why, self._total)
        except TimeoutError:
            trouble = self._lost(f"no answer within {monotonic() - began:.2g} s", request, body, gathered.usage)
            trouble.late = True
        except UnicodeEncodeError as error:
            trouble = self._failure(f"the prompt is not text that can be sent ({error.reason})", Cost(), repeat=False)
        except Cut as error:
            trouble = self._lost(f"cut short: {error}", request, body, error.usage)
        except (openai.APIError, json.JSONDecodeError, UnicodeDecodeError) as error:
            trouble = self._lost(f"cut short: {error}", request, body, gathered.usage)
        else:
            self._learn(monotonic() - began, body, reading.choices)
            sent = {name: value for name, value in body.items() if name not in ("messages", "prompt")}
            return Result(reading.outputs, reading.cost + Cost(requests=1), sent)
        # Raised here, not where it was caught: what the client says may hold the key, and must not be its context.
        raise trouble

    async def _exchange(self, body: dict[str, Any], gathered: Gathered, attempts: Attempts) -> Any:
        """One request and its whole reply. The body is ready JSON, so the client's typed layers are not needed."""
        client = self._free.pop()
        try:
            return await self._exchange_by(client, body, gathered, attempts)
        finally:
            self._free.append(client)

    async def _exchange_by(
        self, client: openai.AsyncOpenAI, body: dict[str, Any], gathered: Gathered, attempts: Attempts
    ) -> Any:
        path = self._wire.path
        if not body.get("stream"):
            return json.loads((await client.post(path, cast_to=httpx2.Response, body=body)).content)
        opened = await client.post(path, cast_to=object, body=body, stream=True, stream_cls=openai.AsyncStream[object])
        async with opened as stream:
            if "json" in stream.response.headers.get("content-type", ""):
                return json.loads(await stream.response.aread())  # a server that does not stream
            async for chunk in stream:
                for text in gathered.add(chunk):
                    attempts.delta(text)
        return gathered.reply()

    def _learn(self, seconds: float, body: dict[str, Any], choices: int) -> None:
        self._answers += 1
        self._slowest = max(self._slowest, seconds)
        patience = self._patience(0)
        if not 0.8 * self._told <= patience <= 1.25 * self._told:  # seldom, since it looks at all that wait
            self._told = patience
            for waiting in self._waiting:
                waiting.be_patient(self._patience(waiting.late))
        if choices < body.get("n", 1) and self._wire.choices > choices:
            self._wire.choices = choices  # It gives so many at once and no more; the driver asks again for the rest.
            self._seen = self._declare()

    def _failure(self, why: str, cost: Cost, *, repeat: bool = True, wait: float | None = None) -> _Failure:
        return _Failure(self.scrub(why), cost, repeat=repeat, wait=wait)

    def _lost(self, why: str, request: Request, body: dict[str, Any], usage: object) -> _Failure:
        """A failure after sending: its own count if that came, else its whole allowance."""
        generated, _, cost = billed(usage)
        if generated is None:
            whole = request.allowance * body.get("n", 1)
            return self._failure(why, cost + Cost(requests=1, generated=whole, estimated=whole))
        return self._failure(why, cost + Cost(requests=1, generated=generated))

    def _refusal(self, error: openai.APIStatusError, body: dict[str, Any], request: Request) -> Exception:
        """What an HTTP error status means for this request and for the run."""
        status, message, once = error.status_code, errors.message(error), Cost(requests=1)
        said = f"{status}: {self.scrub(message)}"
        if status in (401, 402, 403, 404, 405) or (status == 429 and errors.out_of_quota(error, message)):
            return self._fatal(status, said)
        if status in REPEATED or status >= 500:
            return self._failure(said, once, wait=errors.retry_after(error.response.headers))
        detail = error.body.get("detail") if isinstance(error.body, dict) else None
        name = refused(body, error.param, detail, message) if status in (400, 422) else None
        if name == "stop" and request.stop is not None:
            self._wire.give_up(name, message)
            self._seen = self._declare()
            return lacks_stop()
        before = (self._wire.cap, set(self._wire.missing))
        if name is None or not self._wire.give_up(name, message):
            failure = self._failure(said, once, repeat=False)
            failure.full = request.chain.finish is not None and status in (400, 413, 422) and too_long(message)
            return failure
        if (self._wire.cap, self._wire.missing) != before:
            logger.warning("%s refuses the parameter %r: not sent from now on (%s)", self.where, name, said)
        self._seen = self._declare()
        return self._failure(said, once, wait=0.0)

    def _fatal(self, status: int, said: str) -> PonderError:
        hint = {
            401: f"set {self._key_env} to a valid key",
            402: "add credit, or choose another server with --base-url",
            403: f"check what the key in {self._key_env} may use",
            429: "the quota is used up: add credit, or set another key",
        }.get(status, f"no such model {self._model!r} or no such address: check --model and --base-url")
        return EngineError(f"{self.where} refused {self.policy} ({said}); {hint}")

    def scrub(self, text: str) -> str:
        """One line of at most 300 characters without key, password or the URL's query, whoever wrote it."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        line = " ".join(text.split())
        return line if len(line) <= 300 else line[:299] + "…"


def _undrawn(request: Request, failure: _Failure) -> Result:
    """One output a key that says why nothing was drawn. A chain that has filled the context has ended."""
    finish: Finish = "refused" if failure.refused else "length" if failure.full else "error"
    reason = BUDGET_ENDED if failure.refused else failure.why
    cost = Cost() if failure.charged else failure.cost
    return Result(tuple(Output((), finish, 0, reason) for _ in request.keys), cost)


def _checked(address: str) -> SplitResult:
    """The parts of a base URL. Raises UsageError, without quoting what may hold a password."""
    try:
        url = urlsplit(address.strip())
        url.port  # noqa: B018  # reading it checks it
    except ValueError:
        url = urlsplit("")
    if url.scheme not in ("http", "https") or not url.hostname:
        shown = "***" if "@" in address else repr(address)
        raise UsageError(f"--base-url {shown} is not an address; write it as http://HOST:PORT/v1")
    return url


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
