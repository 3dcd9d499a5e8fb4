"""What the errors of the official client say: the server's words, its wish to wait, the first cause. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import openai


def root(error: BaseException) -> str:
    """The first cause, in words: the client's own message only says 'Connection error.'"""
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__


def message(error: openai.APIStatusError) -> str:
    """What the server said, wherever it put it."""
    body = error.body
    if isinstance(body, dict):
        for name in ("message", "error", "detail"):
            if body.get(name):
                return str(body[name])
    return str(body or error.message)


def out_of_quota(error: openai.APIStatusError, said: str) -> bool:
    return "insufficient_quota" in (error.code, error.type) or "insufficient_quota" in said


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait (a number or a date); None if it asks for nothing or for no time."""
    value = headers.get("retry-after", "").strip()
    seconds = 0.0
    try:
        seconds = float(headers["retry-after-ms"]) / 1000 if "retry-after-ms" in headers else float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return seconds if 0 < seconds < float("inf") else None
