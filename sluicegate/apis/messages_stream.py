"""The meter of a streamed message in Anthropic's dialect: reads every event, passes its bytes.

It ends with `message_stop` and nothing else. Usage comes in `message_start` and in `message_delta`. Its SDKs go by the
name of an event, not by the `type` in its data: where the two differ the name is put right, or what we take for an
error or for the end would be nothing to them. A `ping` before the first event says nothing yet and is dropped.

`feed` returns nothing before `message_start`. If another event comes first, or an error, `.error` is set in the same
call: look at it before committing. After the end or an error (`finished`) nothing passes.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Raw

from sluicegate.apis.messages_shapes import DeltaSaid, MessageErrorSaid, MessageEvent
from sluicegate.apis.messages_usage import Said
from sluicegate.core.events import Usage
from sluicegate.core.ports import Terminal
from sluicegate.wire.fields import tidied
from sluicegate.wire.sse import Assembler

BYTES_A_TOKEN: Final = 4

_LINE: Final = re.compile(rb"\r\n|\n|\r")
_decode: Final = msgspec.json.Decoder(MessageEvent).decode
_delta: Final = msgspec.json.Decoder(DeltaSaid).decode
_error: Final = msgspec.json.Decoder(MessageErrorSaid).decode
_ODD: Final = (msgspec.DecodeError, ValueError, RecursionError)


class MessagesMeter:
    """One per attempt."""

    __slots__ = (
        "_begun",
        "_said",
        "_sse",
        "broken",
        "delivered",
        "error",
        "finished",
        "first_token_at",
        "tier",
        "usage",
    )

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.first_token_at: float | None = None
        self.error = ""
        self.tier = ""
        self.delivered = 0
        self.finished = False
        self.broken = False
        self._begun = False
        self._said = Said()
        self._sse = Assembler()

    @property
    def prompt(self) -> Usage | None:
        """What the beginning of the stream said, for where its end does not come."""
        if self._said.output is None:
            self._said.output = 0
        return self._said.usage()

    def feed(self, chunk: bytes, now: float) -> bytes:
        """The events that this chunk completes. Raises wire.sse.Endless."""
        if self._closed():
            return b""
        out = []
        for event, data in self._sse.feed(chunk):
            if data is not None:
                out.append(self._take(event, data, now))
            elif self._begun:
                out.append(event)
            if self._closed():
                break
        return out[0] if len(out) == 1 else b"".join(out)

    def _closed(self) -> bool:
        """Nothing passes any more."""
        return self.finished or self.broken

    def end(self) -> str:
        """How it stands when the upstream has nothing more to say: whole only with `message_stop`."""
        if self.error:
            return Terminal.ERROR
        return Terminal.DONE if self.finished else Terminal.INCOMPLETE

    def cut(self, reason: str, message: str) -> bytes | None:
        """An event that makes the SDKs raise; None while a part of an event is with the client already."""
        if self._sse.passing:
            return None
        error = {"type": "error", "error": {"type": "api_error", "message": message, "reason": reason}}
        return b"event: error\ndata: " + msgspec.json.encode(error) + b"\n\n"

    def _take(self, event: bytes, data: bytes, now: float) -> bytes:
        e = self._read(event, data)
        if e is None:
            return event if self.error else b""
        kind = e.type
        if kind == "error":
            self.error = _code(e.error)
            self.finished = True
        elif not self._begun:
            if kind == "ping":
                return b""
            if kind != "message_start" or e.message is None:
                self.error = "answer.shape"
                self.finished = True
                return event
            self._begun = True
            if len(e.message.usage):
                self._said.read(e.message.usage)
                self.tier = self._said.service_tier()
        elif kind == "content_block_delta":
            self._count(e.delta, now)
        elif kind == "message_delta":
            if len(e.usage):
                self.usage = self._said.read(e.usage) or self.usage
        elif kind == "message_stop":
            self.finished = True
        return _named(event, kind, data)

    def _read(self, event: bytes, data: bytes) -> MessageEvent | None:
        """None: it is no event of this dialect, which ends the answer."""
        try:
            e: MessageEvent | None = _decode(data)
        except _ODD:
            e = None
        cause = "answer.shape"
        if e is None:
            tidy = tidied(data)
            if tidy is None:
                cause = "answer.json"
            else:
                try:
                    e = _decode(tidy)
                except _ODD:
                    pass
        if e is not None:
            if not e.type:
                e.type = name_of(event)
            if _word(e.type):
                return e
        if self._begun:
            self.broken = True
        else:
            self.error = cause
            self.finished = True
        return None

    def _count(self, raw: Raw, now: float) -> None:
        """Tokens of a piece of the answer, roughly: several come in one event."""
        try:
            delta = _delta(raw)
        except _ODD:
            return
        said = max(len(delta.text), len(delta.thinking), len(delta.partial_json)) - 2
        if said > 0:
            self.delivered += max(1, said // BYTES_A_TOKEN)
            if self.first_token_at is None:
                self.first_token_at = now


def _named(event: bytes, kind: str, data: bytes) -> bytes:
    """The event, with the name that its data says it has."""
    plain = b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
    if event == plain or name_of(event) == kind:
        return event
    return plain if b"\n" not in data else plain.replace(data, data.replace(b"\n", b" "))


def name_of(event: bytes) -> str:
    """The name of an event as clients read it: that of its last `event` line."""
    name = b""
    for line in _LINE.split(event):
        if line.startswith(b"event:"):
            name = line[6:].removeprefix(b" ")
        elif line == b"event":
            name = b""
    return name.decode("latin-1")


def _word(kind: str) -> bool:
    return 0 < len(kind) <= 64 and kind.isascii() and kind.replace("_", "").isalnum()


def _code(raw: Raw) -> str:
    """The type of an error as a plain word: it goes into records, and an upstream's text may be anything."""
    try:
        kind = _error(raw).type or ""
    except _ODD:
        return "error"
    return kind if _word(kind) else "error"
