"""What is in messages besides text: images and documents, also in the results of tools. Counted by what they are,
not by their bytes, as apis/chat_media.py does for chat completions.

An image counts as the largest that is not scaled down. A PDF comes in with each page as its text and as an image: some
2,500 tokens a page, and a page is about 60 KB of base64, a token for 24 characters. What lies elsewhere (by URL or file
id) counts as one page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from sluicegate.apis.chat_media import parts_within
from sluicegate.apis.messages_shapes import Block, MessageAsked, Source
from sluicegate.core.ports import Chunk

IMAGE_TOKENS: Final = 1568
PAGE_TOKENS: Final = 2500
BYTES_A_TOKEN: Final = 24
"""Base64 characters of a PDF."""

DEEPEST: Final = 4
"""Blocks inside blocks: a document of blocks in the result of a tool is the deepest there is."""

LARGE: Final = 1024 * 1024
CROWDED: Final = 100_000
"""Braces. A larger list with more of them would become more objects than we want to hold; its bytes count as text."""

_LIST: Final = ord("[")
_messages: Final = msgspec.json.Decoder(list[MessageAsked]).decode
_blocks: Final = msgspec.json.Decoder(list[Block]).decode
_source: Final = msgspec.json.Decoder(Source).decode
_ODD: Final = (msgspec.DecodeError, ValueError, RecursionError)


class Media:
    """What was found."""

    __slots__ = ("images", "size", "tokens")

    def __init__(self) -> None:
        self.images = 0
        self.size = 0
        "Bytes that are no text."
        self.tokens = 0
        "What they count as."


def media(messages: Raw, body: Chunk, fields: Mapping[str, Any]) -> Media:
    """Of messages of another shape than ours nothing is said, they count as text: the upstream judges them."""
    found = Media()
    if not parts_within(messages, body, fields):
        return found
    if len(messages) > LARGE:
        view = memoryview(messages)
        if sum(bytes(view[at : at + LARGE]).count(b"{") for at in range(0, len(view), LARGE)) > CROWDED:
            return found
    try:
        for message in _messages(messages):
            _look(message.content, found, DEEPEST)
    except _ODD:
        return Media()
    return found


def _look(content: Raw, found: Media, deep: int) -> None:
    if not deep or len(content) <= 2 or memoryview(content)[0] != _LIST:
        return
    for block in _blocks(content):
        if block.type in ("image", "document") and len(block.source):
            source = _source(block.source)
            if block.type == "image":
                found.images += 1
                found.size += len(source.data)
                found.tokens += IMAGE_TOKENS
            elif source.type == "base64":
                found.size += len(source.data)
                found.tokens += max(PAGE_TOKENS, len(source.data) // BYTES_A_TOKEN)
            elif source.type == "content":
                _look(source.content, found, deep - 1)
            elif source.type != "text":
                found.tokens += PAGE_TOKENS
        elif len(block.content):
            _look(block.content, found, deep - 1)
