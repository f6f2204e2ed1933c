"""Usage as Anthropic says it, mapped to disjoint classes: its input excludes what a cache was read or written for.

In a stream it comes in two parts: of the prompt at the beginning, of the answer, cumulative, before the end; what the
second says again replaces the first. A compaction is billed beside the sums, so it is added. As in apis/chat_usage.py
what cannot be true was not said.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from sluicegate.apis.chat_usage import MOST, tier_of
from sluicegate.apis.messages_shapes import MessageUsageSaid
from sluicegate.core.events import Usage

STANDARD: Final = "standard"
"""The service tier that has no name of its own in prices."""

_decode: Final = msgspec.json.Decoder(MessageUsageSaid).decode


class Said:
    """What was said of one answer so far."""

    __slots__ = ("cached", "hour", "output", "prompt", "thought", "tier", "written")

    def __init__(self) -> None:
        self.prompt: int | None = None
        "Tokens neither read from a cache nor written there."
        self.cached = 0
        self.written = 0
        self.hour = 0
        "How many of the written are kept for an hour."
        self.output: int | None = None
        self.thought = 0
        self.tier = ""

    def read(self, raw: Raw) -> Usage | None:
        """Take in one usage object; what that comes to with those before it, None: nothing believable."""
        try:
            u = _decode(raw)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None
        more = more_output = more_cached = more_written = 0
        if u.iterations is not None:
            for i in u.iterations:
                if i.type == "compaction":
                    more += i.input_tokens or 0
                    more_output += i.output_tokens or 0
                    more_cached += i.cache_read_input_tokens or 0
                    more_written += i.cache_creation_input_tokens or 0
        if u.input_tokens is not None:
            self.prompt = u.input_tokens + more
        if u.cache_read_input_tokens is not None:
            self.cached = u.cache_read_input_tokens + more_cached
        if u.cache_creation_input_tokens is not None:
            self.written = u.cache_creation_input_tokens + more_written
        if u.cache_creation is not None:
            self.hour = u.cache_creation.ephemeral_1h_input_tokens or 0
        if u.output_tokens is not None:
            self.output = u.output_tokens + more_output
        if u.output_tokens_details is not None:
            self.thought = u.output_tokens_details.thinking_tokens or 0
        if len(u.service_tier):
            self.tier = tier_of(u.service_tier) or self.tier
        return self.usage()

    def usage(self) -> Usage | None:
        """None: not said, or not to be believed."""
        prompt, output = self.prompt, self.output
        if prompt is None or output is None:
            return None
        cached, written, hour, thought = self.cached, self.written, self.hour, self.thought
        if prompt < 0 or cached < 0 or written < 0 or hour < 0 or output < 0 or thought < 0 or thought > output:
            return None
        total = prompt + cached + written
        if not 0 < total <= MOST or output > MOST:
            return None
        return Usage(prompt, output - thought, cached, written, thought, self.service_tier(), min(hour, written))

    def service_tier(self) -> str:
        """Empty: the standard one, or not said."""
        return "" if self.tier == STANDARD else self.tier
