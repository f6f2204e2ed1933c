"""One connection to an instance: writes a call, parses its answer, and knows whether it may be used again.

Used again only if the answer is complete by its own framing, the request was written whole, nothing came after the
answer and both sides want to keep the connection. Everything else closes it: a connection in doubt is how one caller
gets another's answer.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

import httptools

from sluicegate.core.events import Sent
from sluicegate.core.ports import Call, Sink

if TYPE_CHECKING:
    from sluicegate.upstream.pool import Pool

JOIN_BYTES = 64 * 1024
"""Head and body up to this leave in one write; larger bodies leave in pieces as the socket takes them."""

PIECE_BYTES = 256 * 1024

HEAD_BYTES = 64 * 1024
HEAD_COUNT = 200
INFORMATIONAL = 16
"""Interim 1xx answers skipped before the final one."""


class Attempt:
    """A call under way: waiting for a connection, or on one. The handle that the driver holds (core/ports.py)."""

    __slots__ = ("_sent", "call", "conn", "due_at", "fresh", "over", "pool", "sink", "slot")

    def __init__(self, pool: Pool, call: Call, sink: Sink, due_at: float) -> None:
        self.pool = pool
        self.call = call
        self.sink = sink
        self.conn: Connection | None = None
        self.over = False
        "Cancelled or ended: no callback any more."
        self.fresh = False
        "Was on a kept connection that turned out to be dead: only a new one will do, once."
        self.due_at = due_at
        "When waiting for a connection is given up."
        self.slot = -1
        self._sent: Sent = "nothing"

    @property
    def sent(self) -> Sent:
        """How much of the request may have reached the upstream; in doubt more."""
        conn = self.conn
        return self._sent if conn is None else conn.sent()

    def pause(self) -> None:
        """Stop reading the answer."""
        if self.conn is not None:
            self.conn.pause()

    def resume(self) -> None:
        """Go on reading it."""
        if self.conn is not None:
            self.conn.resume()

    def cancel(self) -> None:
        """Give up; nothing is called back after this."""
        if self.over:
            return
        self.over = True
        conn = self.conn
        if conn is None:
            self.pool.client.wheel.drop(self)
            self.pool.forget(self)
            return
        self._sent = conn.sent()
        self.conn = None
        conn.attempt = None
        conn.abort()

    def end(self, how: str, now: float) -> None:
        """Tell the sink the end, once."""
        if not self.over:
            self.over = True
            if self.conn is not None:
                self._sent = self.conn.sent()
                self.conn = None
            self.sink.end(how, now)

    # ------------------------------------------------------------------ while it waits (core/wheel.py)

    def due(self, now: float) -> float:
        return inf if self.over or self.conn is not None else self.due_at

    def expire(self, now: float) -> None:
        if not self.over and self.conn is None:
            self.pool.forget(self)
            self.end("connect.timeout", now)


class Connection(asyncio.Protocol):
    """At most one attempt at a time."""

    __slots__ = (
        "_framing",
        "attempt",
        "close_delimited",
        "complete",
        "head_bytes",
        "headed",
        "headers",
        "idle_since",
        "informational",
        "keep",
        "lost",
        "now",
        "parser",
        "paused",
        "pool",
        "reading_paused",
        "requests",
        "retire_at",
        "slot",
        "status",
        "surplus",
        "touched",
        "transport",
        "unwritten",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, pool: Pool, retire_at: float) -> None:
        self.pool = pool
        self.parser = httptools.HttpResponseParser(self)
        self.attempt: Attempt | None = None
        self.requests = 0
        self.retire_at = retire_at
        self.idle_since = 0.0
        self.now = 0.0
        self.lost = False
        self.reading_paused = False
        self.paused = False
        "The socket takes no more for now."
        self.unwritten: memoryview | None = None
        "What is left of a large body."
        self.slot = -1
        self.headers: list[tuple[bytes, bytes]] = []
        self._reset()

    def _reset(self) -> None:
        self.headers = []
        self.head_bytes = 0
        self.informational = 0
        self.status = 0
        self.headed = False
        self.touched = False
        "A byte of the answer arrived."
        self.complete = False
        self.keep = False
        self.surplus = False
        self._framing = 0

    # ------------------------------------------------------------------ a call

    def begin(self, attempt: Attempt) -> None:
        """Write the call; its answer goes to its sink."""
        self.attempt = attempt
        attempt.conn = self
        if self.requests:
            self._reset()
        self.requests += 1
        call = attempt.call
        head, body = call.head, call.body
        if len(head) + len(body) <= JOIN_BYTES:
            self.transport.write(b"".join((head, body)))
        else:
            self.transport.write(head)
            self.unwritten = memoryview(body)
            self._pump()

    def _pump(self) -> None:
        """Write on while the socket takes it."""
        while self.unwritten is not None and not self.paused and not self.lost:
            piece = self.unwritten[:PIECE_BYTES]
            rest = self.unwritten[PIECE_BYTES:]
            self.unwritten = rest if len(rest) else None
            self.transport.write(piece)

    def sent(self) -> Sent:
        """Of the request of the attempt under way."""
        if self.unwritten is not None or (not self.lost and self.transport.get_write_buffer_size()):
            return "some"
        return "all"

    def pause(self) -> None:
        if not self.reading_paused and not self.lost:
            self.reading_paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.reading_paused and not self.lost:
            self.reading_paused = False
            self.transport.resume_reading()

    def abort(self) -> None:
        """Close without manners."""
        self.unwritten = None
        if not self.lost:
            self.transport.abort()

    # ------------------------------------------------------------------ transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.pool.opened += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.pool.lost(self)
        attempt = self.attempt
        if attempt is None:
            return
        now = self.pool.client.now()
        if not self.touched and self.requests > 1 and not attempt.fresh:
            if attempt.call.repeatable or self.sent() == "nothing":
                self.attempt = None
                self.pool.again(attempt)
                return
        if exc is not None:
            how = "reset"
        elif self.headed and self._framing == 0:
            how = "eof"  # delimited by the close: whether that was all, its reader must know
        else:
            how = "cut"
        self._end(how, now)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._pump()

    def data_received(self, data: bytes) -> None:
        attempt = self.attempt
        if attempt is None:  # nobody asked: whoever is next must not get this as an answer
            self.abort()
            return
        self.touched = True
        self.now = self.pool.client.now()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            self._fail()
            raise
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.complete:
                self._fail()
                return
            self.surplus = True
        if self.complete:
            self._done()
        elif not self.headed and self.attempt is not None:
            self.head_bytes += len(data)
            if self.head_bytes > 2 * HEAD_BYTES:
                self._fail()

    # ------------------------------------------------------------------ parser callbacks

    def on_message_begin(self) -> None:
        if self.complete:
            self.surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        attempt = self.attempt
        if attempt is None or self.surplus:
            return
        headers = self.headers
        self.status = status = self.parser.get_status_code()
        if status < 200:
            self.informational += 1
            self.headers = []
            if status == 101 or self.informational > INFORMATIONAL:
                self._fail()
            return
        for name, value in headers:
            size = len(name)
            if size == 14 and name.lower() == b"content-length":
                self._framing |= 1
            elif size == 17 and name.lower() == b"transfer-encoding":
                self._framing |= 2 if value.lower() == b"chunked" and not self._framing & 2 else 4
            self.head_bytes += size + len(value)
        if status == 204 or status == 304:
            self._framing |= 1
        if self._framing > 2 or len(headers) > HEAD_COUNT or self.head_bytes > HEAD_BYTES:
            self._fail()
            return
        self.headed = True
        attempt.sink.head(status, headers, self.now)

    def on_body(self, chunk: bytes) -> None:
        attempt = self.attempt
        if attempt is not None and not self.surplus:
            attempt.sink.data(chunk, self.now)

    def on_message_complete(self) -> None:
        if self.status >= 200 and not self.complete:
            self.complete = True
            self.keep = self.parser.should_keep_alive()

    # ------------------------------------------------------------------ the end of an answer

    def _done(self) -> None:
        """The answer is complete: keep the connection if nothing speaks against it, then say so."""
        attempt = self.attempt
        self.attempt = None
        if attempt is None:  # cancelled in one of the callbacks: closed already
            return
        whole = self.unwritten is None and not self.transport.get_write_buffer_size()
        if self.reading_paused:
            self.resume()
        if self.keep and whole and not self.surplus:
            self.pool.put(self)
        else:
            self.abort()
        attempt.end("done", self.now)

    def _end(self, how: str, now: float) -> None:
        attempt = self.attempt
        self.attempt = None
        if attempt is not None:
            attempt.end(how, now)

    def _fail(self) -> None:
        """What came is not an HTTP answer."""
        attempt = self.attempt
        self.attempt = None
        self.abort()
        if attempt is not None:
            attempt.end("malformed", self.now)

    # ------------------------------------------------------------------ while it is idle (core/wheel.py)

    def due(self, now: float) -> float:
        settings = self.pool.settings
        return now + settings.idle_s if self.attempt is not None else self.idle_since + settings.idle_s

    def expire(self, now: float) -> None:
        if self.attempt is None:
            self.transport.close()
