"""The meter of a streamed completion: chat's, but for the words of a choice, which are a plain string here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from sluicegate.apis.chat_shapes import EventSaid
from sluicegate.apis.chat_stream import BYTES_A_TOKEN, ChatMeter
from sluicegate.apis.chat_usage import tier_of
from sluicegate.apis.json_shapes import TextEvent
from sluicegate.wire.fields import tidied

ONE_TOKEN: Final = 12
"""Bytes of a piece of text with its quotation marks, up to which it is taken for one token."""

_decode: Final = cast("Callable[[Any], EventSaid]", msgspec.json.Decoder(TextEvent).decode)


class TextMeter(ChatMeter):
    """One per attempt."""

    def _take(self, event: bytes, data: bytes, now: float) -> bytes:
        try:
            e = _decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError):
            if self._odd(data) is None:
                return b"" if self.broken else event
            tidy = tidied(data)
            assert tidy is not None  # it was, a moment ago
            e = _decode(tidy)
        for choice in e.choices or ():
            size = len(choice.delta)
            if size > 2:
                self.delivered += 1 if size <= ONE_TOKEN else max(1, (size - 2) // BYTES_A_TOKEN)
                if self.first_token_at is None:
                    self.first_token_at = now
                    self.tier = tier_of(e.service_tier)
            if choice.finish_reason:
                self._ended.add(choice.index)
        return self._rest(event, data, e)
