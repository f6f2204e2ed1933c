"""The shapes of Anthropic Messages' JSON that are read, and nothing beyond them: what is not named here is not decoded.

They stand apart from the code that reads them because msgspec makes classes of its own kind, which are not compiled
with the rest of the road (hatch_build.py).
"""

from __future__ import annotations

import msgspec
from msgspec import Raw


class Iteration(msgspec.Struct, gc=False):
    type: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class CacheCreation(msgspec.Struct, gc=False):
    ephemeral_1h_input_tokens: int | None = None


class OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class MessageUsageSaid(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    output_tokens_details: OutputDetails | None = None
    iterations: list[Iteration] | None = None
    service_tier: Raw = Raw()


class MessageSaid(msgspec.Struct, gc=False):
    type: str = ""
    content: list[Raw] | None = None
    usage: Raw = Raw()
    error: Raw = Raw()


class MessageBegun(msgspec.Struct, gc=False):
    usage: Raw = Raw()


class DeltaSaid(msgspec.Struct, gc=False):
    text: Raw = Raw()
    thinking: Raw = Raw()
    partial_json: Raw = Raw()


class MessageEvent(msgspec.Struct, gc=False):
    type: str = ""
    message: MessageBegun | None = None
    delta: Raw = Raw()
    usage: Raw = Raw()
    error: Raw = Raw()


class MessageErrorSaid(msgspec.Struct, gc=False):
    type: str | None = None


class TokensCounted(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    type: str = ""


class MessageAsked(msgspec.Struct, gc=False):
    content: Raw = Raw()


class Block(msgspec.Struct, gc=False):
    type: str = ""
    source: Raw = Raw()
    content: Raw = Raw()


class Source(msgspec.Struct, gc=False):
    type: str = ""
    data: Raw = Raw()
    content: Raw = Raw()


class Tool(msgspec.Struct, gc=False):
    model: Raw = Raw()
