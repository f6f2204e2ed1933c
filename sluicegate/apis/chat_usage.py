"""Usage as chat completions say it, mapped to disjoint classes.

What cannot be true was not said: a negative, absurd or contradictory count would become a credit, or a bill. No
prompt has no tokens: a server that says so forgot to count, and its answer would be free.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw

from sluicegate.apis.base import Malformed
from sluicegate.apis.chat_shapes import Answer, UsageSaid
from sluicegate.apis.json_body import NULL
from sluicegate.apis.json_shapes import PromptSaid
from sluicegate.core.events import Usage
from sluicegate.core.ports import Chunk
from sluicegate.wire.fields import tidied

MOST: Final = 10**9
"""Tokens. No answer is larger."""


_TIER: Final = re.compile(rb'"service_tier"\s*:\s*"([a-z_]{1,32})"')
"""Behind the usage, where OpenAI and Azure write it; such bytes cannot occur inside a JSON string."""

_decode: Final = msgspec.json.Decoder(UsageSaid).decode
_prompt: Final = msgspec.json.Decoder(PromptSaid).decode
_answer: Final = msgspec.json.Decoder(Answer).decode


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
    return believable(u)


def believable(u: UsageSaid) -> Usage | None:
    """What was said, if it can be true."""
    prompt, total = u.prompt_tokens, u.total_tokens
    completion = u.completion_tokens
    if completion is None:
        if total is None:
            return None
        completion = total - prompt
    cached = written = reasoning = heard = spoken = 0
    details = u.prompt_tokens_details
    if details is not None:
        cached, written = details.cached_tokens or 0, details.cache_write_tokens or 0
        heard = details.audio_tokens or 0
    details = u.completion_tokens_details
    if details is not None:
        reasoning = details.reasoning_tokens or 0
        spoken = details.audio_tokens or 0
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
    usage = Usage(prompt - cached - written, completion - reasoning, cached, written, reasoning)
    if heard or spoken:
        if not 0 <= heard <= prompt or not 0 <= spoken <= completion - reasoning:
            return None
        # Of what was cached nobody says how much was sound: it counts as text, so that no token is billed twice.
        usage.media = sound(min(heard, usage.input), spoken)
    return usage


def sound(heard: int, spoken: int) -> dict[str, int] | None:
    """Tokens of sound, which have prices of their own; classes are those of price books."""
    media = {}
    if heard:
        media["audio_input"] = heard
    if spoken:
        media["audio_output"] = spoken
    return media or None


def answered(body: Chunk) -> Usage | None:
    """Check that this is one whole answer with choices, and read its usage."""
    try:
        said = _answer(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        said = _lenient(body)
    if len(said.error) and said.error != NULL:
        raise Malformed("answer.error")
    if not said.choices:
        raise Malformed("answer.shape")
    usage = usage_of(said.usage) if len(said.usage) else None
    if usage is not None and len(said.service_tier):
        usage.tier = tier_of(said.service_tier)
    return usage


def prompt_said(raw: Raw) -> Usage | None:
    """Of operations that only take something in."""
    try:
        prompt = _prompt(raw).prompt_tokens
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return Usage(prompt) if 0 < prompt <= MOST else None


def usage_at_end(tail: bytes, read: Callable[[Raw], Usage | None] = usage_of) -> Usage | None:
    """Usage from the end of a large answer; None if it stands before it, which is then estimated."""
    if not tail.rstrip().endswith(b"}"):
        raise Malformed("answer.truncated")
    at = tail.rfind(b'"usage"')
    begin = tail.find(b"{", at)
    if at < 0 or tail[at + 7 : begin].strip() != b":":
        return None
    end = begin
    for _ in range(8):  # the object's own brace is among the next few: its details are objects, too
        end = tail.find(b"}", end) + 1
        if not end:
            break
        usage = read(Raw(tail[begin:end]))
        if usage is not None:
            said = _TIER.search(tail, end)
            if said is not None:
                usage.tier = said[1].decode("ascii")
            return usage
    return None


def _lenient(body: Chunk) -> Answer:
    """An answer that our strict reader does not take but the SDKs do, as NaN among the logprobs."""
    tidy = tidied(body)
    if tidy is None:
        raise Malformed("answer.json")
    try:
        return _answer(tidy)
    except (msgspec.DecodeError, RecursionError):
        raise Malformed("answer.shape") from None
