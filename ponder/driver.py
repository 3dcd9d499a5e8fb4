"""The one driver: runs conversations over problems, gathers their requests, hands results back.

Two schedules. *Lockstep* (local engines): the waves of all live conversations, in a fixed order, are one batch.
*Free-running* (servers): each conversation goes on as soon as its own wave is answered; asyncio lives only here
and in the engines. A conversation is a generator (`Session` and what is built on it), so what is drawn and what
is decided is the same code under both.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar, cast

from ponder.engines.base import Engine, Output, Request, Result
from ponder.errors import CapabilityError, EngineError, StorageError
from ponder.journal import Journal
from ponder.ledger import Account, Purse
from ponder.record import Record, asked, failed
from ponder.scorers.base import Rate, rate_together
from ponder.session import Answers, Wave
from ponder.types import FREE, NOT_DRAWN, Cost

Found = TypeVar("Found")
FoundBy = TypeVar("FoundBy", covariant=True)
Schedule = Literal["lockstep", "free"]
Waiting = tuple["Conversation[Found]", Any, Wave]
"""A conversation, its generator and what it waits for."""
FATAL = (EngineError, StorageError, CapabilityError)
"""Errors that end the run; any other is the problem's own and becomes its record."""


class Conversation(Protocol[FoundBy]):
    """One problem's part of a run: `play` is a generator of waves that returns what was found; `account` is the
    one under which it is spending now; `fail` makes the record of a failure."""

    record: Record
    account: Account

    def play(self) -> Any: ...

    def fail(self, reason: str) -> FoundBy: ...


class Driver(Generic[Found]):
    """Runs conversations with one engine, one journal and one purse.

    `live`: at most this many problems are open at a time, admitted in order. `sink` receives each finding as it is
    ready: in order of admission under lockstep as far as the waves allow, in order of arrival otherwise. `watch`
    is told of each answered request, for progress. Raises EngineError, StorageError or CapabilityError; what was
    done before is in the journal.
    """

    def __init__(
        self,
        engine: Engine | None,
        journal: Journal,
        purse: Purse,
        sink: Callable[[Found], None],
        *,
        live: int = 64,
        schedule: Schedule | None = None,
        watch: Callable[[Request, Result], None] | None = None,
        delta: Callable[[Request, str], None] | None = None,
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._purse = purse
        self._sink = sink
        self._live = live
        self._schedule = schedule or (engine.capabilities.schedule if engine else "lockstep")
        self._bills = engine is not None and engine.capabilities.bills
        self._watch = watch
        self._delta = delta
        self._slots: asyncio.Semaphore | None = None

    def run(self, conversations: Iterable[Conversation[Found]]) -> None:
        """Runs them all, or until the purse is empty (then the rest is not admitted)."""
        source = iter(conversations)
        if self._schedule == "lockstep":
            self._lockstep(source)
        else:
            _complete(self._free(source))

    def _admit(self, source: Iterator[Conversation[Found]]) -> Conversation[Found] | None:
        return None if self._purse.empty() else next(source, None)

    def _advance(self, conversation: Conversation[Found], play: Any, results: Answers | None) -> Wave | None:
        """The conversation's next wave, or None once it has ended and its finding was handed over."""
        try:
            wave: Wave = play.send(results)
            return wave
        except StopIteration as end:
            found: Found = end.value
        except FATAL:
            raise
        except Exception as error:  # one failing problem is a record, not a crash
            found = conversation.fail(f"{type(error).__name__}: {error}")
        self._sink(found)
        return None

    # --- lockstep ---------------------------------------------------------------------------------------------

    def _lockstep(self, source: Iterator[Conversation[Found]]) -> None:
        live: list[Waiting[Found]] = []
        while True:
            while len(live) < self._live and (conversation := self._admit(source)) is not None:
                play = conversation.play()
                if (wave := self._advance(conversation, play, None)) is not None:
                    live.append((conversation, play, wave))
            if not live:
                return
            while any(isinstance(wave[0], Rate) for *_, wave in live):
                live = self._rated(live)
            if not live:  # all have ended: others may be admitted
                continue
            answers = self._batch([(conversation, cast(list[Request], wave)) for conversation, _, wave in live])
            live = self._on(live, answers)

    def _on(self, live: list[Waiting[Found]], answers: Sequence[Answers]) -> list[Waiting[Found]]:
        """Those that go on, each with what it waits for next."""
        still = []
        for (conversation, play, _), results in zip(live, answers, strict=True):
            if (wave := self._advance(conversation, play, results)) is not None:
                still.append((conversation, play, wave))
        return still

    def _rated(self, live: list[Waiting[Found]]) -> list[Waiting[Found]]:
        """Rates what waits for it, in one call of each scorer; the others stay where they are, in their places."""
        waiting = [own for own in live if isinstance(own[2][0], Rate)]
        ratings = iter(rate_together([rate for *_, wave in waiting for rate in cast(list[Rate], wave)]))
        on = {id(own[0]): own for own in self._on(waiting, [[next(ratings) for _ in wave] for *_, wave in waiting])}
        rated = {id(own[0]) for own in waiting}
        return [on.get(id(own[0]), own) for own in live if id(own[0]) in on or id(own[0]) not in rated]

    def _batch(self, live: list[tuple[Conversation[Found], list[Request]]]) -> list[list[Result]]:
        """Answers every waiting request as one batch, and commits it whole."""
        assert self._engine is not None, "without an engine no request is made"
        batch = [request for _, wave in live for request in wave]
        if self._bills:
            self._journal.append(*map(asked, batch), commit=True)
        results = self._engine.generate(batch)
        if len(results) != len(batch) or not all(result.outputs for result in results):
            good = sum(bool(result.outputs) for result in results)
            raise EngineError(f"the engine gave an output for {good} of {len(batch)} requests; it must for each")
        paired = iter(zip(batch, results, strict=True))
        events, answers = [], []
        for conversation, wave in live:
            answered = [next(paired) for _ in wave]
            for request, result in answered:
                lost = conversation.record.take_lost(request.keys)
                events.append(conversation.record.answer(request, result, lost))
                self._charge(result)
            answers.append([result for _, result in answered])
        self._journal.append(*events, commit=True)
        if self._watch:
            for request, result in zip(batch, results, strict=True):
                self._watch(request, result)
        return answers

    # --- free-running -----------------------------------------------------------------------------------------

    async def _free(self, source: Iterator[Conversation[Found]]) -> None:
        assert self._engine is not None
        most = self._engine.capabilities.concurrency
        self._slots = asyncio.Semaphore(most) if most else None

        async def work() -> None:
            while (conversation := self._admit(source)) is not None:
                await self._converse(conversation)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._live):
                    group.create_task(work())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            await self._engine.close()

    async def _converse(self, conversation: Conversation[Found]) -> None:
        play = conversation.play()
        wave = self._advance(conversation, play, None)
        while wave is not None:
            if isinstance(wave[0], Rate):
                wave = self._advance(conversation, play, rate_together(wave))
                continue
            try:
                if len(wave) == 1:
                    results = [await self._ask(conversation, wave[0])]
                else:
                    results = await asyncio.gather(*(self._ask(conversation, request) for request in wave))
            except FATAL:
                raise
            except Exception as error:  # a fault of the engine's code: this problem's record, not the run's end
                play.close()
                self._sink(conversation.fail(f"the engine raised {type(error).__name__}: {error}"))
                return
            wave = self._advance(conversation, play, results)

    async def _ask(self, conversation: Conversation[Found], request: Request) -> Result:
        """One request, when the engine has room for it. A run whose purse is empty by then does not send it: the
        session finds nothing drawn and nothing left."""
        if self._slots is None:
            return await self._send(conversation, request)
        async with self._slots:
            if self._purse.empty():
                return _refused(request, "the run's limit was reached before this was sent")
            return await self._send(conversation, request)

    async def _send(self, conversation: Conversation[Found], request: Request) -> Result:
        """One request: journalled before it goes out, and when its answer is there."""
        assert self._engine is not None
        attempts = _Attempts(self, conversation, request)
        if attempts.cost.requests and not conversation.account.retry(attempts.cost.generated, attempts.cost.requests):
            result = _refused(request, "the budget had no room to repeat a lost request")
        else:
            attempts.begin()
            result = await self._engine.ask(request, attempts)
        if not result.outputs:
            raise EngineError("the engine answered a request with no output; it must give at least one")
        self._charge(result)
        self._journal.append(conversation.record.answer(request, result, attempts.cost))
        if self._watch:
            self._watch(request, result)
        return result

    def _charge(self, result: Result) -> None:
        """Charges the purse for a new answer, each draw once however many arms use it."""
        outputs = Cost(
            generated=sum(o.tokens for o in result.outputs),
            samples=sum(o.finish not in NOT_DRAWN for o in result.outputs),
        )
        self._purse.charge(self._purse.priced(result.overhead + outputs))


def _refused(request: Request, why: str) -> Result:
    return Result(tuple(Output((), "refused", 0, why) for _ in request.keys), FREE)


class _Attempts:
    """What a free-running engine may do when an attempt fails: charge it, and ask whether to go on.
    `cost` is what failed attempts have cost, those that a killed run lost included."""

    def __init__(self, driver: Driver[Any], conversation: Conversation[Any], request: Request) -> None:
        self._driver = driver
        self._conversation = conversation
        self._request = request
        self.cost = conversation.record.take_lost(request.keys)

    def begin(self) -> None:
        if self._driver._bills:
            self._driver._journal.append(asked(self._request))

    def failed(self, cost: Cost, why: str) -> bool:
        driver = self._driver
        self.cost = self.cost + cost
        driver._purse.charge(driver._purse.priced(cost))
        driver._journal.append(failed(self._request, cost, why))
        if not self._conversation.account.retry(cost.generated):
            return False
        self.begin()
        return True

    def delta(self, text: str) -> None:
        if self._driver._delta:
            self._driver._delta(self._request, text)


def _complete(coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine to its end, also from inside a running event loop (a notebook): then in a thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(coroutine)
        return
    errors: list[BaseException] = []

    def target() -> None:
        try:
            asyncio.run(coroutine)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
