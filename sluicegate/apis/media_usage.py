"""Usage as images and audio say it: tokens, some of which are images or audio and have prices of their own, or seconds.

What cannot be true was not said, as with chat's.
"""

from __future__ import annotations

from math import ceil, isfinite
from typing import Final

import msgspec
from msgspec import Raw

from sluicegate.apis.base import Malformed
from sluicegate.apis.media_shapes import Details, UsageSaid
from sluicegate.core.events import Usage

MOST: Final = 10**9
MOST_SECONDS: Final = 10**7
DURATION: Final = "audio_duration"
"""Class of price books: seconds of sound."""

_decode: Final = msgspec.json.Decoder(UsageSaid).decode


def usage_of(raw: Raw, output: str = "") -> Usage | None:
    """None: not said. `output`: class of the tokens of an answer that does not say what they are."""
    try:
        said = _decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if said.seconds is not None:
        return seconds(said.seconds)
    taken, made = said.input_tokens, said.output_tokens
    if taken is None:
        return None
    if made is None:
        made = 0 if said.total_tokens is None else said.total_tokens - taken
    if not 0 < taken <= MOST or not 0 <= made <= MOST or said.total_tokens not in (None, taken + made):
        return None
    media: dict[str, int] = {}
    _note(media, said.input_tokens_details or said.input_token_details, "input")
    _note(media, said.output_tokens_details, "output")
    if output and said.output_tokens_details is None and made:
        media[output] = made
    inputs = sum([n for class_, n in media.items() if class_.endswith("input")])
    outputs = sum([n for class_, n in media.items() if class_.endswith("output")])
    if min(media.values(), default=0) < 0 or inputs > taken or outputs > made:
        return None
    usage = Usage(taken, made)
    usage.media = media or None
    return usage


def _note(media: dict[str, int], details: Details | None, side: str) -> None:
    if details is not None:
        if details.image_tokens:
            media[f"image_{side}"] = details.image_tokens
        if details.audio_tokens:
            media[f"audio_{side}"] = details.audio_tokens


def seconds(said: float) -> Usage | None:
    """Of sound: there are no tokens."""
    if not isfinite(said) or not 0 < said <= MOST_SECONDS:
        return None
    usage = Usage()
    usage.media = {DURATION: ceil(said)}
    return usage


def usage_at_end(tail: bytes, output: str = "") -> Usage | None:
    """Usage from the end of a large answer; None if it stands before it. Raises Malformed when this is no end."""
    if not tail.rstrip().endswith(b"}"):
        raise Malformed("answer.truncated")
    at = tail.rfind(b'"usage"')
    begin = tail.find(b"{", at)
    if at < 0 or tail[at + 7 : begin].strip() != b":":
        return None
    end = begin
    for _ in range(4):  # the object's own brace is among the next few: its details are objects, too
        end = tail.find(b"}", end) + 1
        if not end:
            break
        usage = usage_of(Raw(tail[begin:end]), output)
        if usage is not None:
            return usage
    return None
