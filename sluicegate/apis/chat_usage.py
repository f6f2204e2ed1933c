"""Usage as chat completions say it, mapped to disjoint classes.

What cannot be true was not said: a negative, absurd or contradictory count would become a credit, or a bill. No
prompt has no tokens: a server that says so forgot to count, and its answer would be free.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from sluicegate.apis.chat_shapes import UsageSaid
from sluicegate.core.events import Usage

MOST: Final = 10**9
"""Tokens. No answer is larger."""


_decode: Final = msgspec.json.Decoder(UsageSaid).decode


def tier_of(raw: Raw) -> str:
    """The service tier of an answer; empty: it did not say, or not with a word."""
    if not 2 < len(raw) <= 34:  # compiled, [1:-1] of a single byte is a SystemError, not nothing
        return ""
    text = bytes(raw)
    word = text[1:-1]
    return word.decode("ascii") if text[:1] == b'"' and word.replace(b"_", b"").isalnum() else ""


def usage_of(raw: Raw) -> Usage | None:
    """None: not said. 0.6 us.

    A total beyond prompt and completion is reasoning that the completion left out, as some servers count; any other
    contradiction makes the whole of it unbelievable.
    """
    try:
        u = _decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    prompt, total = u.prompt_tokens, u.total_tokens
    completion = u.completion_tokens
    if completion is None:
        if total is None:
            return None
        completion = total - prompt
    cached = written = reasoning = 0
    details = u.prompt_tokens_details
    if details is not None:
        cached, written = details.cached_tokens or 0, details.cache_write_tokens or 0
    details = u.completion_tokens_details
    if details is not None:
        reasoning = details.reasoning_tokens or 0
    if total is not None and total != prompt + completion:
        beyond = total - prompt - completion
        if reasoning not in (0, beyond):  # a negative one is refused below
            return None
        reasoning = beyond
        completion += beyond
    if (
        cached < 0 or written < 0 or reasoning < 0 or cached + written > prompt or reasoning > completion
        or not 0 < prompt <= MOST or completion > MOST
    ):  # fmt: skip
        return None
    return Usage(prompt - cached - written, completion - reasoning, cached, written, reasoning)
