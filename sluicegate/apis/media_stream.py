"""The meter of streamed images, speech and transcriptions: events that say their `type`, the last of which has usage.

Bytes pass as they came. An answer is whole when its last event came (`image_generation.completed`, `speech.audio.done`,
`transcript.text.done`), as often as there are things to make, or `[DONE]`; after an error nothing passes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from sluicegate.apis.media_shapes import ErrorSaid, EventSaid
from sluicegate.apis.media_usage import usage_of
from sluicegate.core.events import Usage
from sluicegate.core.ports import Terminal
from sluicegate.wire.fields import tidied
from sluicegate.wire.sse import Assembler

HELD_MOST: Final = 16 * 1024 * 1024
"""An event may be an image: such a one is held until it is complete, a larger one is none."""

_decode: Final = msgspec.json.Decoder(EventSaid).decode
_error: Final = msgspec.json.Decoder(ErrorSaid).decode


class MediaMeter:
    """One per attempt. `last`: how the type of a last event ends, of which `n` come; `output`: class of its tokens."""

    __slots__ = (
        "_a_token", "_begun", "_bytes", "_last", "_left", "_output", "_sse", "broken", "delivered", "error", "finished",
        "first_token_at", "tier", "usage",
    )  # fmt: skip

    def __init__(self, last: str, n: int, a_token: int, output: str = "") -> None:
        self.usage: Usage | None = None
        self.first_token_at: float | None = None
        self.error = ""
        self.tier = ""
        self.delivered = 0
        "Tokens, about."
        self.finished = False
        self.broken = False
        self._last = last
        self._left = n
        self._a_token = a_token
        self._output = output
        self._bytes = 0
        self._begun = False
        self._sse = Assembler(HELD_MOST)

    def feed(self, chunk: bytes, now: float) -> bytes:
        """The events that this chunk completes, as they came. Raises wire.sse.Endless."""
        if self._closed():
            return b""
        out = []
        for event, data in self._sse.feed(chunk):
            if data is not None:
                self._read(data, now)
                if self._closed() and not self.finished:  # broken: of no use to anybody
                    break
                self._bytes += len(data)
                self.delivered = self._bytes // self._a_token
            out.append(event)
            if self._closed():
                break
        return out[0] if len(out) == 1 else b"".join(out)

    def end(self) -> str:
        """How it stands when the upstream has nothing more to say."""
        if self.error:
            return Terminal.ERROR
        if self.finished:
            return Terminal.DONE
        if self.broken or self._sse.passing:
            return Terminal.INCOMPLETE
        rest = self._sse.rest()
        if rest in (b"data: [DONE]", b"data:[DONE]"):
            return Terminal.DONE
        return Terminal.DONE if not rest and self._left <= 0 else Terminal.INCOMPLETE

    def cut(self, reason: str, message: str) -> bytes | None:
        """An event that makes the SDKs raise; None while a part of an event is with the client already."""
        if self._sse.passing:
            return None
        error = {"message": message, "type": "server_error", "code": "upstream_interrupted", "reason": reason}
        return b"data: " + msgspec.json.encode({"error": error}) + b"\n\n"

    @property
    def prompt(self) -> Usage | None:
        """Nothing is said before the end."""
        return None

    def _closed(self) -> bool:
        """Nothing passes any more."""
        return self.finished or self.broken

    def _read(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            self.finished = True
            if not self._begun:
                self.error = "answer.empty"
            return
        try:
            e = _decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError):
            tidy = tidied(data)
            try:
                e = _decode(tidy or b"")
            except (msgspec.DecodeError, ValueError, RecursionError):
                if self._begun:
                    self.broken = True
                else:
                    self.error = "answer.json" if tidy is None else "answer.shape"
                    self.finished = True
                return
        if e.type == "error" or (len(e.error) and bytes(e.error) != b"null"):
            self.error = code_of(bytes(e.error))
            self.finished = True
            return
        if not self._begun and not e.type:
            self.error = "answer.shape"
            self.finished = True
            return
        self._begun = True
        if self.first_token_at is None:
            self.first_token_at = now
        if e.type.endswith(self._last):
            self._left -= 1
            if len(e.usage):
                said = usage_of(e.usage, self._output)
                self.usage = said if self.usage is None or said is None else _sum(self.usage, said)


def _sum(a: Usage, b: Usage) -> Usage:
    """Of several things made in one stream."""
    usage = Usage(a.input + b.input, a.output + b.output)
    media = dict(a.media or {})
    for class_, n in (b.media or {}).items():
        media[class_] = media.get(class_, 0) + n
    usage.media = media or None
    return usage


def code_of(raw: bytes) -> str:
    """The code of an error as a plain word: it goes into records, and an upstream's text may be anything."""
    try:
        error = _error(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return "error"
    code = str(error.code or error.type or "error")
    return code if len(code) <= 64 and code.isascii() and code.replace("_", "").replace("-", "").isalnum() else "error"
