"""An engine that gives exact replies, for tests and examples: no chance, no model.

A script is a function of (request, index of the chain in it) that returns a reply: a text, or a Reply that also says
how it ended. Texts are cut at the allowance; a token is a word, with the white space after it, so that
cutting and joining give the text back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ponder.engines.base import Attempts, Capabilities, Output, Request, Result
from ponder.types import Cost, Finish, Segment

CAPABILITIES = Capabilities(
    bills=False, schedule="lockstep", continues=True, steps=True, ids=True, logprobs=True, n=True, seed=True
)
_TOKEN = re.compile(r"\s*\S+\s*")


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted reply. `logprob` is given to each of its tokens."""

    text: str
    finish: Finish = "stop"
    logprob: float = -0.5


Script = Callable[[Request, int], "Reply | str"]


class ScriptedEngine:
    """Answers by `script`. `calls` keeps how many requests each batch or ask had. `cap` is M: a reply cut there ended
    by length, one cut below by the budget."""

    def __init__(self, script: Script, *, cap: int = 1024, policy: str = "scripted", **capabilities: object) -> None:
        self.capabilities = replace(CAPABILITIES, **capabilities)  # type: ignore[arg-type]
        self.policy = policy
        self.calls: list[int] = []
        self.closed = False
        self._script = script
        self._cap = cap

    def generate(self, requests: Sequence[Request]) -> list[Result]:
        self.calls.append(len(requests))
        return [self._answer(request) for request in requests]

    async def ask(self, request: Request, attempts: Attempts) -> Result:
        self.calls.append(1)
        return self._answer(request)

    async def close(self) -> None:
        self.closed = True

    def _answer(self, request: Request) -> Result:
        outputs = tuple(self._output(request, index) for index in range(len(request.keys)))
        prompt = sum(len(m.content.split()) for m in request.chain.prompt) + len(request.chain.text.split())
        return Result(outputs, Cost(prompt=prompt, requests=1))

    def _output(self, request: Request, index: int) -> Output:
        reply = self._script(request, index)
        if isinstance(reply, str):
            reply = Reply(reply)
        text, finish = reply.text, reply.finish
        if request.stop and request.stop in text and finish == "stop":
            text, finish = text[: text.index(request.stop) + len(request.stop)], "step"
        pieces = _TOKEN.findall(text)
        if len(pieces) > request.allowance:
            pieces = pieces[: request.allowance]
            text, finish = "".join(pieces), "length" if request.allowance >= self._cap else "budget"
        count = len(pieces)
        segment = Segment(text, ids=tuple(map(_id, pieces)), logprobs=(reply.logprob,) * count, tokens=count)
        return Output((segment,), finish, count, "")


def _id(piece: str) -> int:
    """A token's id is the number that its bytes are: the same in every engine, and no table is needed to decode it."""
    return int.from_bytes(piece.encode(), "big")


def decode(ids: Sequence[int]) -> str:
    """The text of ids."""
    return "".join(number.to_bytes(-(-number.bit_length() // 8), "big").decode() for number in ids)
