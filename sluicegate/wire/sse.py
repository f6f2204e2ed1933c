"""Server-sent events out of bytes that arrive in any pieces: complete events only, and bounds on what is held.

An event is what ends in an empty line; lines end in LF, CRLF or CR. Events without data are dropped (`retry:` or
`id:` alone break openai-python); comments pass once an event was seen, so that the first bytes are always an event.
The search for the end of an event goes on where it stopped: bytes that come one by one cost no more than at once.
"""

from __future__ import annotations

import re
from typing import Final

HELD_MOST: Final = 1024 * 1024
"""An event up to this is held until it is complete; of a larger one the bytes pass as they come, unread."""

PASSED_MOST: Final = 16 * 1024 * 1024
"""No event is larger than this: a line without end is cut."""

IDLE_BYTES: Final = 1024 * 1024
IDLE_EVENTS: Final = 10_000
"""Comments and empty events between two events with data."""

_END: Final = re.compile(rb"\n\n|\n\r\n|\r\r|\n\r(?=[^\n])")
"""Where an event ends. CRLF CRLF ends with its LF, so that nobody waits for it; a LF after CR CR is dropped later."""

_LINE: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"

Event = tuple[bytes, bytes | None]
"""The bytes as they came, and the data in them; None: nothing to read, only to pass."""


class Endless(Exception):
    """The stream passed a bound: no answer looks like this."""


class Assembler:
    """Bytes in, complete events out."""

    __slots__ = (
        "_cr", "_fresh", "_held_most", "_idle_bytes", "_idle_events", "_tail", "held", "passing", "plain", "started",
    )  # fmt: skip

    def __init__(self, held_most: int = HELD_MOST) -> None:
        self._held_most = held_most
        self.held = bytearray()
        "The beginning of an event that is not complete yet."
        self.passing = 0
        "Bytes already passed of an event too large to hold; 0 when there is none."
        self.plain = False
        "Nothing is held and an event was seen: a chunk that is exactly one event needs no assembling."
        self.started = False
        "An event with data was seen."
        self._tail = b""
        self._cr = False
        self._fresh = True
        self._idle_bytes = 0
        self._idle_events = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this chunk completes. Raises Endless."""
        out: list[Event] = []
        if not self._cr and b"\r" in chunk:
            self._cr = True
        if self.passing:
            chunk = self._pass_on(chunk, out)
        held = self.held
        buffer: bytes | bytearray = chunk
        search = 0
        if held:
            search = max(len(held) - 3, 0)
            held += chunk
            buffer = held
        begin = 0
        while (end := self._end(buffer, search)) > 0:
            self._event(bytes(buffer[begin:end]), out)
            begin = search = end
        if buffer is held:
            del held[:begin]
        elif begin < len(chunk):
            held += chunk[begin:]
        if len(held) > self._held_most:
            self._let_go(out)
        self.plain = self.started and not held and not self.passing
        return out

    def rest(self) -> bytes:
        """What is held, without blanks around it: not empty means that the stream broke off inside an event."""
        return bytes(self.held).strip()

    def _end(self, buffer: bytes | bytearray, search: int) -> int:
        """Where the next event ends, 0 if it does not yet."""
        if not self._cr:
            at = buffer.find(b"\n\n", search)
            return at + 2 if at >= 0 else 0
        found = _END.search(buffer, search)
        return found.end() if found else 0

    def _event(self, event: bytes, out: list[Event]) -> None:
        if self._fresh:
            self._fresh = False
            event = event.removeprefix(_BOM)
        size = len(event)
        event = event.lstrip(b"\r\n")
        data = data_of(event)
        if data:
            self.started = True
            self._idle_bytes = self._idle_events = 0
            out.append((event, data))
            return
        self._idle_bytes += size
        self._idle_events += 1
        if self._idle_bytes > IDLE_BYTES or self._idle_events > IDLE_EVENTS:
            raise Endless
        if self.started and event and all(line[:1] in (b":", b"") for line in _LINE.split(event)):
            out.append((event, None))

    def _let_go(self, out: list[Event]) -> None:
        """An event too large to hold: its bytes pass unread from here on. Not the first: nobody knows what it is."""
        if not self.started:
            raise Endless
        event = bytes(self.held)
        self.held.clear()
        self.passing = len(event)
        self._tail = event[-3:]
        out.append((event, None))

    def _pass_on(self, chunk: bytes, out: list[Event]) -> bytes:
        """Pass bytes of such an event; returns what follows it."""
        tail = self._tail
        end = self._end(tail + chunk, 0)
        if end:
            self.passing = 0
            cut = max(end - len(tail), 0)
            if cut:
                out.append((chunk[:cut], None))
            return chunk[cut:]
        self.passing += len(chunk)
        if self.passing > PASSED_MOST:
            raise Endless
        self._tail = (tail + chunk)[-3:]
        out.append((chunk, None))
        return b""


def data_of(event: bytes) -> bytes:
    """The data of a complete event: its data lines joined; empty where it has none."""
    if event.startswith(b"data:") and event.find(b"\n") == len(event) - 2 and event.find(b"\r") < 0:
        return event[5:].strip()
    lines = []
    for line in _LINE.split(event):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines).strip()
