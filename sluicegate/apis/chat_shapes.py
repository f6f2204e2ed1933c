"""The shapes of chat completions' JSON that are read, and nothing beyond them: what is not named here is not decoded.

They stand apart from the code that reads them because msgspec makes classes of its own kind, which are not compiled
with the rest of the road (hatch_build.py).
"""

from __future__ import annotations

import msgspec
from msgspec import Raw


class Answer(msgspec.Struct, gc=False):
    choices: list[Raw] | None = None
    usage: Raw = Raw()
    error: Raw = Raw()
    service_tier: Raw = Raw()


class Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class UsageSaid(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None


class Message(msgspec.Struct, gc=False):
    content: Raw = Raw()


class Part(msgspec.Struct, gc=False):
    image_url: Raw = Raw()
    input_audio: Raw = Raw()
    file: Raw = Raw()


class Image(msgspec.Struct, gc=False):
    detail: str | None = None


class Choice(msgspec.Struct, gc=False):
    delta: Raw = Raw()
    finish_reason: str | None = None
    index: int = 0


class Function(msgspec.Struct, gc=False):
    name: Raw = Raw(b'""')
    arguments: Raw = Raw(b'""')


class Call(msgspec.Struct, gc=False):
    function: Function | None = None


class EventSaid(msgspec.Struct, gc=False):
    choices: list[Choice] | None = None
    usage: Raw = Raw()
    error: Raw = Raw()
    service_tier: Raw = Raw()


class ErrorSaid(msgspec.Struct):
    code: str | int | None = None
    type: str | None = None
