"""The shapes that are read of answers other than chat's, and nothing beyond them: what is not named is not decoded.

Apart from the code that reads them, as chat's are (apis/chat_shapes.py). A completion's choice has its words as a plain
string where chat's has a delta: read under the same name, so that one meter serves both.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from sluicegate.apis.chat_shapes import Choice, Details, EventSaid


class Vectors(msgspec.Struct, gc=False):
    data: list[Raw] | None = None
    usage: Raw = Raw()
    error: Raw = Raw()


class PromptSaid(msgspec.Struct, gc=False):
    prompt_tokens: int


class Judged(msgspec.Struct, gc=False):
    results: list[Raw] | None = None
    error: Raw = Raw()


class TextChoice(Choice, gc=False):
    delta: Raw = msgspec.field(default=Raw(), name="text")


class TextEvent(EventSaid, gc=False):
    choices: list[TextChoice] | None = None  # type: ignore[assignment] # a list of choices is only read


class AnyUsage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    input_tokens_details: Details | None = None
    output_tokens_details: Details | None = None


class Inside(msgspec.Struct, gc=False):
    usage: Raw = Raw()


class AnyAnswer(msgspec.Struct, gc=False):
    usage: Raw = Raw()
    error: Raw = Raw()
    type: str | None = None
    response: Inside | None = None
