"""What transcriptions and translations share. Sound is counted by its bytes until the answer says better.

A token is a tenth of a second, about 1,600 bytes of mp3; a file that is not compressed counts for more than it is. The
answers of some models say tokens, those of others seconds, plain text and subtitles nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from sluicegate.apis.base import Malformed
from sluicegate.apis.form_body import model_in
from sluicegate.apis.media_shapes import HeardSaid
from sluicegate.apis.media_usage import DURATION, seconds, usage_at_end, usage_of
from sluicegate.core.events import JSON, TEXT, Facts, Special, Usage
from sluicegate.core.ports import Chunk
from sluicegate.wire.fields import tidied

HEARD: Final = frozenset(("model", "stream", "response_format", "user"))
LAST: Final = "text.done"
BYTES_A_TOKEN: Final = 1600
BYTES_A_SECOND: Final = 16_000
EVENT_A_TOKEN: Final = 48
"""Bytes of a streamed answer: a token in its wrapping."""

_TEXTS: Final = (b"text", b"srt", b"vtt")
_answer: Final = msgspec.json.Decoder(HeardSaid).decode


def heard_facts(fields: Mapping[str, bytes], size: int) -> Facts:
    """What decides of a form with sound in it."""
    tokens = size // BYTES_A_TOKEN + 1
    facts = Facts(model_in(fields), estimate=tokens, media=tokens)
    answers = TEXT if fields.get("response_format", b"") in _TEXTS else JSON
    facts.special = Special(answers, 4, "audio_input", "", {DURATION: size // BYTES_A_SECOND + 1})
    return facts


def heard(body: Chunk) -> Usage | None:
    """Check that this is one whole answer, and read its usage. Raises Malformed."""
    try:
        said = _answer(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        tidy = tidied(body)
        if tidy is None:
            raise Malformed("answer.json") from None
        try:
            said = _answer(tidy)
        except (msgspec.DecodeError, RecursionError):
            raise Malformed("answer.shape") from None
    if len(said.error) and bytes(said.error) != b"null":
        raise Malformed("answer.error")
    if not len(said.text):
        raise Malformed("answer.shape")
    usage = usage_of(said.usage) if len(said.usage) else None
    if usage is None and said.duration is not None:
        usage = seconds(said.duration)
    return usage


def heard_usage_at_end(tail: bytes) -> Usage | None:
    """Usage from the end of a large answer."""
    return usage_at_end(tail)
