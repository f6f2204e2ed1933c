"""What is in the messages besides text: images, audio, files. Counted by what they are, not by their bytes.

A 20 MB base64 image would otherwise be five million tokens. Rough all the same: an image counts as 1024 x 1024 unless
its detail is low, audio as a token per tenth of a second of 24 kHz wav, a file as an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from sluicegate.apis.chat_shapes import Image, Message, Part
from sluicegate.core.ports import Chunk
from sluicegate.wire.fields import SMALL, holds_lists

IMAGE_TOKENS: Final = 765
"""85 + 4 tiles of 170."""

LOW_DETAIL_TOKENS: Final = 85
AUDIO_BYTES_A_TOKEN: Final = 6400
"""Base64 characters of 4,800 bytes."""

LARGE: Final = 1024 * 1024
CROWDED: Final = 100_000
"""Braces. A larger list with more of them would become more objects than we want to hold; its bytes count as text."""

_LIST: Final = ord("[")


_messages: Final = msgspec.json.Decoder(list[Message]).decode
_parts: Final = msgspec.json.Decoder(list[Part]).decode
_image: Final = msgspec.json.Decoder(Image).decode
_ODD: Final = (msgspec.DecodeError, ValueError, RecursionError)


def media(messages: Raw, body: Chunk, fields: Mapping[str, Any]) -> tuple[int, int, int]:
    """(images, bytes that are no text, tokens they count as). 0.2 us for messages that are text, 6 us where they are
    200 KB of it, 50 us with an image beside that.

    Messages of another shape than ours count as text: the upstream judges them.
    """
    images = size = tokens = 0
    if not parts_within(messages, body, fields) or (len(messages) > LARGE and _braces(messages) > CROWDED):
        return 0, 0, 0
    try:
        for message in _messages(messages):
            content = message.content
            if len(content) > 2 and memoryview(content)[0] == _LIST:
                for part in _parts(content):
                    if len(part.image_url):
                        images += 1
                        size += len(part.image_url)
                        tokens += LOW_DETAIL_TOKENS if _low(part.image_url) else IMAGE_TOKENS
                    if len(part.input_audio):
                        size += len(part.input_audio)
                        tokens += len(part.input_audio) // AUDIO_BYTES_A_TOKEN + 1
                    if len(part.file):
                        size += len(part.file)
                        tokens += IMAGE_TOKENS
    except _ODD:
        return 0, 0, 0
    return images, size, tokens


def parts_within(messages: Raw, body: Chunk, fields: Mapping[str, Any]) -> bool:
    """Whether content of some message may be a list of parts. No means no."""
    if len(messages) <= SMALL:
        return bytes(messages).find(b"[", 1) > 0
    return holds_lists(body, fields, "messages")


def _braces(messages: Raw) -> int:
    view = memoryview(messages)
    return sum(bytes(view[at : at + LARGE]).count(b"{") for at in range(0, len(view), LARGE))


def _low(image: Raw) -> bool:
    try:
        return _image(image).detail == "low"
    except _ODD:
        return False
