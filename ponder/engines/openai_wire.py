"""What goes to an OpenAI-compatible server. Pure: no client, no clock, no waiting.

`Options` are the engine's settings, `Wire` renders requests and remembers what the server turned out to lack,
`refused` reads from an error which parameter that is. Replies are read in `openai_reply`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ponder.engines.base import Request
from ponder.errors import CapabilityError, UsageError, unknown
from ponder.types import Chain, Sampling

CAPABILITIES = ("seed", "stop", "logprobs", "temperature", "n")
"""What a server may be declared to lack: option `without`."""
OPTIONAL = (
    "max_completion_tokens",
    "reasoning_effort",
    "stream_options",
    "temperature",
    "max_tokens",
    "logprobs",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "n",
)
"""Parameters that a server may refuse without the request losing its sense, longest name first."""

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """The engine's own settings (`--set key=value`).

    `api`: chat or plain completions. `n`: most choices one request asks for. `timeout`: seconds an attempt may
    take, None adapts. `without`: capabilities that the server lacks. `continuing`: how a chat server writes on
    from a chain. `logprobs`: None declares them but does not ask. `extra`: more fields of the body.
    """

    api: Literal["chat", "completions"] = "chat"
    stream: bool = False
    n: int = 16
    timeout: float | None = None
    without: frozenset[str] = frozenset()
    continuing: Literal["none", "prefill", "vllm"] = "none"
    logprobs: bool | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: Mapping[str, object]) -> Options:
        """From values as `--set` parsed them. Raises UsageError that names the option, or the nearest one."""
        found: dict[str, Any] = {}
        for name, value in given.items():
            if name not in _RULES:
                raise unknown("openai option", name, _RULES)
            test, wanted = _RULES[name]
            if not test(value):
                raise UsageError(f"openai option {name}={value!r} is not {wanted}; write --set {name}=…")
            found[{"continue": "continuing"}.get(name, name)] = value
        if "without" in found:
            found["without"] = frozenset(_names(found["without"]))
            for capability in found["without"]:
                if capability not in CAPABILITIES:
                    raise unknown("capability", capability, CAPABILITIES, "openai option without: ")
        return cls(**found)


def _names(value: Any) -> list[str]:
    parts = value.split(",") if isinstance(value, str) else value
    return [part.strip() for part in parts if part.strip()]


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


_RULES: dict[str, tuple[Any, str]] = {
    "api": (lambda v: v in ("chat", "completions"), "chat or completions"),
    "stream": (lambda v: isinstance(v, bool), "true or false"),
    "n": (lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 1, "a whole number from 1"),
    "timeout": (_number, "a number of seconds above 0"),
    "without": (
        lambda v: isinstance(v, str) or (isinstance(v, list | tuple) and all(isinstance(e, str) for e in v)),
        "a list such as seed,stop",
    ),
    "continue": (lambda v: v in ("none", "prefill", "vllm"), "none, prefill or vllm"),
    "logprobs": (lambda v: isinstance(v, bool), "true or false"),
    "extra": (lambda v: isinstance(v, dict), "a table of fields"),
}


class Wire:
    """Renders requests for one server, and remembers what it refused (`missing`), how it names the cap on tokens
    (`cap`) and how many choices it gives at once (`choices`)."""

    def __init__(self, model: str, sampling: Sampling, options: Options, *, official: bool) -> None:
        self.chat = options.api == "chat"
        self.path = "/chat/completions" if self.chat else "/completions"
        self.missing = set(options.without)
        self.choices = 1 if "n" in self.missing else options.n
        self.cap = "max_completion_tokens" if official and self.chat else "max_tokens"
        self._renamed = False
        self._options = options
        self._wanted: Body = {"model": model, "temperature": sampling.temperature}
        if sampling.top_p != 1:
            self._wanted["top_p"] = sampling.top_p
        if sampling.top_k:
            self._wanted["top_k"] = sampling.top_k
        if sampling.min_p:
            self._wanted["min_p"] = sampling.min_p
        if sampling.effort:
            self._wanted["reasoning_effort"] = sampling.effort
        if options.stream:
            self._wanted |= {"stream": True, "stream_options": {"include_usage": True}}
        self._settle()

    def _settle(self) -> None:
        self._fixed = {name: value for name, value in self._wanted.items() if name not in self.missing}

    def body(self, request: Request, logprobs: bool) -> Body:
        """The request as JSON fields. Raises CapabilityError if it needs a stop or a continuation that is missing."""
        body = dict(self._fixed)
        body[self.cap] = request.allowance
        if request.stop is not None:
            if "stop" in self.missing:
                raise lacks_stop()
            body["stop"] = [request.stop]
        n = min(len(request.keys), self.choices)
        if n > 1:
            body["n"] = n
        if "seed" not in self.missing and request.seeds:
            body["seed"] = request.seeds[0] & 0x7FFFFFFF
        if logprobs and "logprobs" not in self.missing:
            body["logprobs"] = True if self.chat else 1
        if self.chat:
            self._talk(body, request.chain)
        else:
            body["prompt"] = "\n\n".join(m.content for m in request.chain.prompt) + request.chain.text
        body.update(self._options.extra)
        return body

    def _talk(self, body: Body, chain: Chain) -> None:
        messages = [{"role": m.role, "content": m.content} for m in chain.prompt]
        body["messages"] = messages
        text = chain.text
        if not text:
            return
        if self._options.continuing == "none":
            raise CapabilityError(
                "a search that writes on from a chain (trees) needs 'continue', which chat servers do not promise; "
                "use --set continue=prefill, --set continue=vllm or --set api=completions"
            )
        messages.append({"role": "assistant", "content": text})
        if self._options.continuing == "vllm":
            body["continue_final_message"] = True
            body["add_generation_prompt"] = False

    def give_up(self, name: str, message: str) -> bool:
        """Leaves a refused parameter out, or renames it, for the rest of the run. False if nothing can be changed."""
        if name in ("max_tokens", "max_completion_tokens"):
            other = "max_completion_tokens" if name == "max_tokens" else "max_tokens"
            if name != self.cap:
                return True  # Another request in flight has renamed it meanwhile.
            if self._renamed or not self.chat or not (other in message or _UNKNOWN.search(message)):
                return False
            self.cap, self._renamed = other, True
            return True
        self.missing.add(name)
        if name == "n":
            self.choices = 1
        self._settle()
        return True


def lacks_stop() -> CapabilityError:
    return CapabilityError(
        "a search by steps needs 'steps' (stopping at a delimiter), but this server refuses the parameter 'stop'; "
        "choose a search that draws whole chains, such as --search sample, or another server"
    )


_UNKNOWN = re.compile(
    r"support|unknown|unrecogni[sz]ed|unexpected|not (?:permitted|allowed|implemented|available)|extra|ignored|only",
    re.I,
)
_CONTEXT = re.compile(r"context[ _](?:length|window|size)|too long|too many tokens", re.I)


def too_long(message: str) -> bool:
    """Whether a refusal says that prompt and chain do not fit into the context."""
    return _CONTEXT.search(message) is not None


def refused(sent: Body, param: object, detail: object, message: str) -> str | None:
    """The optional parameter among those `sent` that a refusal (400, 422) names, or None: the request itself is bad.

    `param` is the error's own field, `detail` the list of a validating server (entries with `loc`).
    """
    if too_long(message):
        return None
    ours = [name for name in OPTIONAL if name in sent]
    if isinstance(param, str) and param:
        name = re.split(r"[.\[]", param.removeprefix("body."))[0]
        return name if name in ours else None
    if isinstance(detail, list):
        for entry in detail:
            where = entry.get("loc") if isinstance(entry, dict) else None
            for name in ours:
                if isinstance(where, list) and name in where:
                    return name
    for name in ours:
        if re.search(rf"[\"'`]{name}[\"'`]|\b(?:param|parameter|argument|field|option):?\s+{name}\b", message):
            return name
        if len(name) > 1 and re.search(rf"\b{name}\b", message) and _UNKNOWN.search(message):
            return name
    if "n" in ours and re.search(r"\bn\s*(?:>|=|must|should)|completion choice", message):
        return "n"
    return None
