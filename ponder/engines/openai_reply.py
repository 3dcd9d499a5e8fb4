"""What the replies of an OpenAI-compatible server mean. Pure: no client, no clock, no waiting.

`Gathered` puts a stream back together, `read` turns a reply into outputs whose tokens sum to what was billed,
`Cut` says that a reply is not whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ponder.engines.base import Output, Request
from ponder.types import Cost, Finish, Segment

Body = dict[str, Any]


class Cut(Exception):
    """A reply that is not whole. `usage` is what it carried of the server's own count, if anything."""

    def __init__(self, why: str, usage: object = None) -> None:
        super().__init__(why)
        self.usage = usage


@dataclass(slots=True)
class Gathered:
    """A stream's chunks put back into the form of a whole reply."""

    usage: Any = None
    choices: dict[int, Body] = field(default_factory=dict)

    def add(self, chunk: Any) -> Iterator[str]:
        """Takes one chunk in; yields pieces of the first choice's answer, the only one that is shown as it grows."""
        if not isinstance(chunk, dict):
            raise Cut("a chunk of the stream is not an object", self.usage)
        self.usage = chunk.get("usage") or self.usage
        for part in chunk.get("choices") or ():
            index = part.get("index") or 0
            whole = self.choices.setdefault(index, {"message": {}})
            delta = part.get("delta") or {"content": part.get("text")}
            message = whole["message"]
            for name in ("content", "reasoning_content", "reasoning", "refusal"):
                if piece := delta.get(name):
                    message.setdefault(name, []).append(plain(piece))
                    if name == "content" and index == 0:
                        yield message[name][-1]
            for name in ("finish_reason", "stop_reason"):
                # `stop_reason: null` says something (the model ended by itself), but only beside a finish.
                if part.get(name) is not None or (name == "stop_reason" and name in part and part.get("finish_reason")):
                    whole[name] = part[name]
            if part.get("logprobs"):
                whole.setdefault("logprobs", []).extend(logprobs_of(part["logprobs"]) or ())

    def reply(self) -> Body:
        """The whole reply. Raises Cut if any choice never finished."""
        if any(not whole.get("finish_reason") for whole in self.choices.values()):
            raise Cut("the stream ended early", self.usage)
        choices = [self.choices[index] for index in sorted(self.choices)]
        for whole in choices:
            whole["message"] = {name: "".join(pieces) for name, pieces in whole["message"].items()}
        return {"choices": choices, "usage": self.usage}


def plain(content: Any) -> str:
    """The text of a message's content: a string, null, or a list of typed parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    return ""


def logprobs_of(given: Any) -> list[float] | None:
    """One log-prob a token, from the chat form, the completions form, or a list already read; None: there are none."""
    if isinstance(given, list):
        return given or None
    if not isinstance(given, dict):
        return None
    values = given.get("token_logprobs")
    if values is None:
        values = [entry.get("logprob") for entry in given.get("content") or ()]
    if not values or any(value is None or not math.isfinite(value) for value in values):
        return None  # -Infinity is no JSON, and some servers write it all the same
    return [float(value) for value in values]


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Whole shares of `total` by weight that sum to it exactly (largest remainder, ties to the first). Each
    positive weight gets at least 1 where the total allows; without a positive weight all are equal."""
    if not any(weights):
        weights = [1] * len(weights)
    least = [1 if w else 0 for w in weights]
    if total < sum(least):
        least = [0] * len(weights)
    rest, whole = total - sum(least), sum(weights)
    shares = [base + rest * w // whole for base, w in zip(least, weights, strict=True)]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(rest * weights[i] % whole), i))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


def billed(usage: Any) -> tuple[int | None, int, Cost]:
    """(generated tokens or None, hidden ones among them, prompt and cached tokens) of a reply's `usage`."""
    if not isinstance(usage, dict):
        return None, 0, Cost()
    count = usage.get("completion_tokens")
    hidden = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    generated = count if isinstance(count, int) else None
    return generated, min(hidden, generated or 0), Cost(prompt=usage.get("prompt_tokens") or 0, cached=cached)


@dataclass(frozen=True, slots=True)
class Reading:
    """A whole reply: `outputs` for the keys asked, and `cost` beyond their tokens (prompt, cached, choices that
    nobody asked for, and how many of the outputs' tokens are estimated). `choices` is how many the server gave,
    or 1 if it gave several and cannot count them."""

    outputs: tuple[Output, ...]
    cost: Cost
    choices: int


def read(reply: Any, request: Request, cap: int) -> Reading:
    """Outputs from a reply; `cap` is M. Raises Cut if it is not a reply to the request at all."""
    if not isinstance(reply, dict):
        raise Cut("the answer is not an object")
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
        error = reply.get("error")
        message = error.get("message") if isinstance(error, dict) else error
        raise Cut(f"the answer has no choices{f' ({message})' if message else ''}", reply.get("usage"))
    drafts = [_draft(choice) for choice in choices]
    total, hidden, cost = billed(reply.get("usage"))
    impossible = total is not None and _impossible(total, drafts, request.allowance)
    if total is None or impossible:
        shares, exact = [request.allowance] * len(drafts), False
        cost += Cost(estimated=request.allowance * min(len(drafts), len(request.keys)))
        divided = False
    else:
        shares, divided = _shares(total, drafts)
        exact = not divided
    unseen = [hidden] if len(drafts) == 1 else apportion(hidden, shares)
    outputs = [
        _output(draft, request, cap, tokens, min(thinking, tokens), exact, divided)
        for draft, tokens, thinking in zip(drafts, shares, unseen, strict=True)
    ]
    asked = len(request.keys)
    if extra := sum(output.tokens for output in outputs[asked:]):
        cost += Cost(generated=extra)
    return Reading(tuple(outputs[:asked]), cost, 1 if impossible else len(drafts))


@dataclass(frozen=True, slots=True)
class _Draft:
    text: str
    thought: str
    refusal: str
    ended: str | None
    stopped: object
    logprobs: list[float] | None


_ABSENT = object()


def _draft(choice: Body) -> _Draft:
    message = choice.get("message")
    if not isinstance(message, dict):
        message = {"content": choice.get("text")}
    return _Draft(
        plain(message.get("content")),
        plain(message.get("reasoning_content") or message.get("reasoning")),
        plain(message.get("refusal")),
        choice.get("finish_reason"),
        choice.get("stop_reason", _ABSENT),
        logprobs_of(choice.get("logprobs")) if choice.get("logprobs") else None,
    )


def _impossible(total: int, drafts: list[_Draft], allowance: int) -> bool:
    """Whether a count cannot be that of these choices: none for a text, or less than those that a cap cut must
    have (a server that counts one choice of several). It is then as good as none."""
    if len(drafts) == 1:
        return total == 0 and bool(drafts[0].text or drafts[0].thought)
    if all(draft.logprobs for draft in drafts):
        return False  # they are counted by their log-probs
    cut = sum(draft.ended == "length" for draft in drafts)
    words = sum(bool(draft.text or draft.thought) for draft in drafts)
    return total < max(words, cut * allowance)


def _shares(total: int, drafts: list[_Draft]) -> tuple[list[int], bool]:
    """Each choice's tokens, and whether they had to be apportioned."""
    if len(drafts) == 1:
        return [total], False
    counts = [len(draft.logprobs) for draft in drafts if draft.logprobs is not None]
    if len(counts) == len(drafts):
        # A total below the counts is that of one choice alone (llama.cpp); one above them holds end tokens, which a
        # server may leave out of its log-probs: then they are weights.
        return (counts, False) if sum(counts) >= total else (apportion(total, counts), True)
    return apportion(total, [len(draft.text) + len(draft.thought) for draft in drafts]), True


def _output(draft: _Draft, request: Request, cap: int, tokens: int, hidden: int, exact: bool, divided: bool) -> Output:
    finish, text, reason = _finish(draft, request, cap, tokens, exact)
    segments: list[Segment] = []
    rest = tokens
    if draft.thought or hidden:
        thinking = hidden or apportion(tokens, [len(draft.thought), len(text)])[0]
        if not text:
            thinking = tokens  # What is left is the mark of the end; it has no text of its own.
        segments.append(Segment(draft.thought, "thought" if draft.thought else "hidden", tokens=thinking))
        rest -= thinking
    if text or (rest and not segments):
        # Log-probs of a reply with visible thoughts may cover either part; unless it is clear, there are none.
        known = tuple(draft.logprobs) if draft.logprobs and not draft.thought else None
        segments.append(Segment(text, "answer", logprobs=known, tokens=rest))
    return Output(tuple(segments), finish, tokens, reason, divided)


def _finish(draft: _Draft, request: Request, cap: int, tokens: int, exact: bool) -> tuple[Finish, str, str]:
    """(finish, text with the delimiter put back, reason)."""
    text, stop = draft.text, request.stop
    if draft.ended == "length":
        # Fewer tokens than allowed: the context ended first, and no budget would have helped.
        return ("length" if request.allowance >= cap or (exact and tokens < request.allowance) else "budget"), text, ""
    if draft.ended == "content_filter":
        return "stop", text, "the server's content filter withheld the answer"
    if draft.refusal:
        return "stop", text, f"the model refused: {draft.refusal[:200]}"
    if stop is None:
        return "stop", text, ""
    # Where nothing says what ended it: a text may go on, no text is an end. A delimiter inside it was not obeyed.
    guess = bool(text) and stop not in text.removesuffix(stop)
    if not (guess if draft.stopped is _ABSENT else draft.stopped == stop):
        return "stop", text, ""
    return "step", text if text.endswith(stop) else text + stop, ""
