"""The shapes that are read of answers about images and audio, apart from the code that reads them, as chat's are."""

from __future__ import annotations

import msgspec
from msgspec import Raw


class Details(msgspec.Struct, gc=False):
    text_tokens: int | None = None
    image_tokens: int | None = None
    audio_tokens: int | None = None


class UsageSaid(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: Details | None = None
    input_token_details: Details | None = None
    "As transcriptions spell it."
    output_tokens_details: Details | None = None
    seconds: float | None = None
    "Of models that are billed by the length of what they hear."


class ImagesSaid(msgspec.Struct, gc=False):
    data: list[Raw] | None = None
    usage: Raw = Raw()
    error: Raw = Raw()


class HeardSaid(msgspec.Struct, gc=False):
    text: Raw = Raw()
    duration: float | None = None
    usage: Raw = Raw()
    error: Raw = Raw()


class EventSaid(msgspec.Struct, gc=False):
    type: str = ""
    usage: Raw = Raw()
    error: Raw = Raw()


class ErrorSaid(msgspec.Struct, gc=False):
    code: str | int | None = None
    type: str | None = None
