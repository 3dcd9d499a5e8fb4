"""A batch of requests as the sampler's prefixes and rows, and what it drew as their results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ponder.engines.base import Output, Request, Result
from ponder.engines.hf.forward import Shape
from ponder.engines.hf.prefill import Prefix
from ponder.engines.hf.sampler import Drawn, Row, Written
from ponder.engines.hf.text import Texts
from ponder.errors import PonderError
from ponder.types import Cost, Finish, Segment


@dataclass(slots=True)
class Part:
    """The requests of a batch that end at the same delimiter. `owners`: (request, index in it) of each row."""

    delimiter: str | None
    prefixes: list[Prefix] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    owners: list[tuple[int, int]] = field(default_factory=list)
    drawn: Drawn | None = None


class Batch:
    """`context`: tokens that prompt and chain may have together; `cap`: M, to tell 'length' from 'budget'."""

    def __init__(self, requests: Sequence[Request], texts: Texts, context: int, cap: int) -> None:
        self._requests, self._texts, self._context, self._cap = requests, texts, context, cap
        self._failed: dict[int, str] = {}
        self._ids = [self._read(number, request) for number, request in enumerate(requests)]
        self._parts: dict[str | None, Part] = {}
        self._prefix: list[int | None] = []
        numbers: dict[tuple[str | None, tuple[int, ...]], int] = {}
        for number, (request, ids) in enumerate(zip(requests, self._ids, strict=True)):
            if number in self._failed or len(ids) >= context:
                self._prefix.append(None)
                continue
            part = self._parts.setdefault(request.stop, Part(request.stop))
            if (request.stop, ids) not in numbers:
                numbers[request.stop, ids] = len(part.prefixes)
                key = (request.problem, request.chain.key)
                part.prefixes.append(Prefix(ids, key, keep=request.stop is not None))
            prefix = numbers[request.stop, ids]
            self._prefix.append(prefix)
            allowance = min(request.allowance, context - len(ids))
            for index, (chain, seed) in enumerate(zip(request.keys, request.seeds, strict=True)):
                kept = (request.problem, chain) if request.stop is not None else None
                part.rows.append(Row(prefix, seed, allowance, kept))
                part.owners.append((number, index))

    def _read(self, number: int, request: Request) -> tuple[int, ...]:
        """A prompt that the tokenizer cannot take is its own failure, not the batch's."""
        try:
            return self._texts.ids(request.chain)
        except PonderError as error:
            self._failed[number] = str(error)
            return ()

    def parts(self) -> Iterator[Part]:
        return iter(self._parts.values())

    def results(self, shape: Shape, seconds: float) -> list[Result]:
        """Each request's outputs and costs. What a prompt cost is charged to the first request that has it; the
        batch's seconds are divided by FLOPs."""
        written: dict[tuple[int, int], Written] = {}
        for part in self._parts.values():
            assert part.drawn is not None
            written |= dict(zip(part.owners, part.drawn.rows, strict=True))
        outputs = [self._outputs(number, written) for number in range(len(self._requests))]
        costs = [self._cost(number, outputs[number], shape) for number in range(len(self._requests))]
        everything = sum(cost.flops for cost in costs) or 1.0
        return [
            Result(found, cost + Cost(seconds=seconds * cost.flops / everything))
            for found, cost in zip(outputs, costs, strict=True)
        ]

    def _outputs(self, number: int, written: dict[tuple[int, int], Written]) -> tuple[Output, ...]:
        request, ids = self._requests[number], self._ids[number]
        if number in self._failed:
            return tuple(Output((), "error", 0, self._failed[number]) for _ in request.keys)
        if self._prefix[number] is None:
            return tuple(self._too_long(request, len(ids)) for _ in request.keys)
        return tuple(self._output(request, ids, written[number, index]) for index in range(len(request.keys)))

    def _too_long(self, request: Request, tokens: int) -> Output:
        """A chain that fills the context has ended; a prompt that does was never drawn from."""
        if request.chain.finish is None:
            return Output((), "error", 0, f"the prompt's {tokens} tokens leave no room in a context of {self._context}")
        return Output((), "length", 0, f"the context of {self._context} tokens is full")

    def _output(self, request: Request, before: tuple[int, ...], row: Written) -> Output:
        finish: Finish = row.finish
        full = len(before) + len(row.ids) >= self._context
        if finish == "length" and request.allowance < self._cap and not full:
            finish = "budget"
        text = self._texts.written(before, row.ids)
        segment = Segment(text, ids=row.ids, logprobs=row.logprobs, tokens=len(row.ids))
        return Output((segment,), finish, len(row.ids))

    def _cost(self, number: int, outputs: Sequence[Output], shape: Shape) -> Cost:
        request, prefix = self._requests[number], self._prefix[number]
        if prefix is None:
            return Cost(requests=1)
        part = self._parts[request.stop]
        assert part.drawn is not None
        tokens = len(self._ids[number])
        cached, part.drawn.cached[prefix] = part.drawn.cached[prefix], tokens  # the next request finds all of it there
        fresh = tokens - cached
        flops = shape.flops(fresh, cached, 1) if fresh else 0.0
        for output in outputs:
            flops += shape.flops(max(output.tokens - 1, 0), tokens, max(output.tokens - 1, 0))
        return Cost(prompt=tokens, cached=cached, requests=1, flops=flops)
