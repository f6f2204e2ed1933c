"""One connection to an instance: writes a call, parses its answer by llhttp, and knows whether it may be used again.

Used again only if the answer is complete by its own framing, the request was written whole, nothing came after the
answer and the other side keeps the connection. Everything else closes it: a connection in doubt is how one caller
gets another's answer. (Blank lines between two answers are no bytes of an answer: llhttp skips them, so do we.)

The parser's callbacks only collect; the sink is told after the parser returned (`deliver`), so that a sink may cancel,
pause or start another call on this very connection. `on_body` is a list's own `append`, `on_header` a dictionary's own
`__setitem__`: no Python frame per chunk or header. (Of a repeated name the last stays; a repeated Content-Length is an
error of the parser's.)
"""

from __future__ import annotations

import asyncio
import os
import socket
from mmap import MADV_DONTNEED, mmap
from typing import TYPE_CHECKING, Any, ClassVar

import httptools

from sluicegate.core.events import Sent
from sluicegate.core.ports import Alike, Chunk, Source
from sluicegate.upstream.attempt import Attempt
from sluicegate.wire.headers import pairs

if TYPE_CHECKING:
    from sluicegate.upstream.pool import Pool

READ_BYTES = 64 * 1024
"""Taken from the socket at once. uvloop would take 256 KB, all of which a client that does not read makes us hold."""

JOIN_BYTES = 64 * 1024
"""Head and body up to this leave in one write. Joining 20 KB costs 1 us, a second system call more."""

PUMP_BYTES = 1024 * 1024
"""Of a large body at once: sealing that much takes 1 ms."""

KEEPALIVE_S = 60
"""A model may think for minutes before its first byte; balancers forget connections that are silent for four."""

HEAD_BYTES = 64 * 1024
"""Of an answer, interim answers before it included."""

HEAD_COUNT = 200
INTERIM = 16
"""1xx answers skipped before the final one."""

LAST_READS = 4
"""After a failed write: reads of what the upstream may have said before it stopped listening."""

OPENING, IDLE, BUSY, CLOSED = range(4)


class Connection:
    """At most one attempt at a time. An asyncio.BufferedProtocol in all but the base class, which would keep it from
    being compiled (docs/decisions/0012): uvloop asks for the methods only."""

    __slots__ = (
        "attempt", "bad", "complete", "fed", "fields", "head", "headed", "interim", "interim_bytes", "keep", "kept",
        "left", "now", "on_body", "on_header", "parser", "parts", "pool", "put", "rest", "retire_at", "room", "served",
        "since", "slot", "source", "state", "status", "surplus", "transport", "write_paused",
    )  # fmt: skip

    transport: asyncio.Transport
    piece_bytes: ClassVar[int] = 256 * 1024
    """Bodies above JOIN_BYTES leave in pieces of this, the next one when the socket took the last."""

    def __init__(self, pool: Pool, retire_at: float) -> None:
        self.pool = pool
        self.room = pool.client.room
        "Where reads go; shared by all connections, because what is read is parsed before the next read."
        self.parts: list[bytes] = []
        self.on_body: Any = self.parts.append
        self.fields: dict[bytes, bytes] = {}
        "Header fields being parsed; those of the final head move to `head`, later ones are trailers and dropped."
        self.on_header: Any = self.fields.__setitem__
        self.parser: Any = httptools.HttpResponseParser(self)
        self.put: Any = None
        "Writes bytes: the transport's own `write`, so that a small request costs no frame of ours."
        self.attempt: Attempt | None = None
        self.state = OPENING
        self.served = 0
        "Calls begun on it."
        self.retire_at = retire_at
        self.since = 0.0
        "Idle since; 0: never was."
        self.rest: memoryview | None = None
        "What is left to write of a large body."
        self.source: Source | None = None
        "Where the rest of a body comes from that is not all here."
        self.write_paused = False
        self.slot = -1
        self.reset()

    def __repr__(self) -> str:
        return f"Connection({self.pool.instance.name!r}, state={self.state}, served={self.served})"

    def reset(self) -> None:
        """Ready for the next answer."""
        self.fields.clear()
        self.head: dict[bytes, bytes] | Alike = {}
        self.status = 0
        "Of the final answer, once its head is parsed."
        self.headed = False
        "The sink was told the head."
        self.complete = False
        self.keep = False
        self.surplus = False
        "Something came after the answer."
        self.bad = False
        self.kept = 0
        "How many of `parts` belong to the complete answer."
        self.interim = 0
        self.interim_bytes = 0
        self.fed = 0
        "Bytes of the answer, counted until its head is parsed."
        self.left = 0
        "Bytes of its body still to come, where the parser does not count them."

    # ------------------------------------------------------------------ a call

    def send(self, attempt: Attempt) -> None:
        """Write the call; what comes is its answer."""
        self.attempt = attempt
        self.state = BUSY
        attempt.connection = self
        if self.served:
            self.reset()
        self.served += 1
        if attempt.paused:
            self.transport.pause_reading()
        call = attempt.call
        body = call.body
        if call.source is not None:
            self.source = call.source
            self.source.taker = self
            self.put(call.head)
            self.pump()
        elif len(body) <= JOIN_BYTES:
            self.put(call.head + body)
        else:
            view = memoryview(body)
            size = self.piece_bytes
            self.rest = view[size:] if len(view) > size else None
            self.put_large(call.head, view[:size])
            if self.rest is not None:
                self.pump()

    def put_large(self, head: bytes, piece: memoryview) -> None:
        """Write the head and the beginning of a large body, in one system call."""
        self.transport.writelines((head, piece))

    def pump(self) -> None:
        """Write on while the socket takes it, but let others have a turn now and then."""
        size = self.piece_bytes
        if self.source is not None:
            self.draw(self.source, size)
            return
        for _ in range(PUMP_BYTES // size):
            rest = self.rest
            if rest is None or self.write_paused or self.transport.is_closing():
                return
            self.rest = rest[size:] if len(rest) > size else None
            self.put(rest[:size])
        if self.rest is not None:
            self.pool.client.loop.call_soon(self.pump)

    def draw(self, source: Source, size: int) -> None:
        """The same for a body that is not all here."""
        for _ in range(PUMP_BYTES // size):
            if self.write_paused or self.transport.is_closing():
                return
            piece = source.take(size)
            if piece is None:
                self.source = source.taker = None
                return
            if not piece:
                return  # it says when there is more
            self.put(piece)
            if type(piece) is memoryview and type(piece.obj) is mmap:
                piece.obj.madvise(MADV_DONTNEED)  # it is on disk: what was written need not stay in memory
            if self.source is not source:
                return
        self.pool.client.loop.call_soon(self.pump)

    def written(self) -> bool:
        """The socket took the whole request."""
        return self.rest is None and self.source is None and not self.transport.get_write_buffer_size()

    def sent(self) -> Sent:
        """Of the request under way. Once it was begun, nobody can prove that nothing of it left."""
        return "all" if self.written() else "some"

    def drop(self) -> None:
        """Close at once, without manners; nothing is told to anybody."""
        if self.state != CLOSED:
            state, self.state = self.state, CLOSED
            self.attempt = None
            self.rest = None
            source, self.source = self.source, None
            if source is not None:
                source.taker = None
            if state != OPENING or self.put is not None:
                self.transport.abort()
            self.pool.left(self, state)

    def close(self) -> None:
        """Close an idle connection."""
        self.drop()

    async def ready(self) -> None:
        """Connected; returns when a call can be written."""

    # ------------------------------------------------------------------ transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.put = self.transport.write
        if self.state == CLOSED:
            self.transport.abort()
            return
        self.transport.set_write_buffer_limits(high=self.piece_bytes, low=self.piece_bytes // 4)
        s = transport.get_extra_info("socket")
        s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S // 4)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        self.feed(self.room[:nbytes])
        self.deliver()

    def eof_received(self) -> bool:
        self.ended(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.attempt is not None and isinstance(exc, OSError):
            self.last_words()
        self.ended(exc)
        self.parser = self.put = self.on_body = self.on_header = None  # they hold us, we hold them

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        self.pump()

    def last_words(self) -> None:
        """A write failed. An upstream that answers early, then closes without reading on, has its answer in our
        kernel's buffer still; uvloop does not look there any more."""
        self.keep = False
        self.surplus = True  # whatever comes, it is not used again
        try:
            fd = self.transport.get_extra_info("socket").fileno()
            for _ in range(LAST_READS):
                got = os.readv(fd, [self.room])
                if not got:
                    return
                self.buffer_updated(got)
                if self.attempt is None:
                    return
        except (OSError, ValueError):
            return

    def ended(self, exc: Exception | None) -> None:
        """The other side is gone, properly or not."""
        attempt = self.attempt
        fed, status, head = self.fed, self.status, self.head
        if attempt is None:
            self.drop()
            return
        sent = self.sent()
        kept = self.served > 1 or self.since > 0
        source = attempt.call.source
        if kept and not fed and attempt.call.repeatable and (source is None or source.rewind()):
            attempt.detach()
            self.drop()
            self.pool.repeat(attempt)
            return
        self.drop()
        if exc is not None:
            how = "reset"
        elif status and not any(name.lower() in _FRAMING for name, _ in pairs(head)):
            how = "eof"
        else:
            how = "cut"
        attempt.end(how, sent, self.pool.client.now())

    # ------------------------------------------------------------------ parsing: callbacks collect, nothing else

    def feed(self, data: Chunk) -> None:
        """Parse what came."""
        if self.attempt is None:
            return
        fed = self.fed
        if not fed:
            pool = self.pool
            like = pool.like
            if like is not None and not pool.skip and (found := like.read(data)) is not None:
                self.head, self.left, body = found
                self.status = 200
                self.fed = len(data)
                self.take(body)
                return
        elif self.left > 0:
            self.take(bytes(data))
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:  # upgrades among them: an answer that changes the protocol is none
            if self.complete:
                self.surplus = True
            else:
                self.bad = True
        if not self.headed:
            self.fed = fed = fed + len(data)
            if fed > HEAD_BYTES:
                end = fed - len(data) + bytes(data).find(b"\r\n\r\n")  # of this head, or of an interim one before it
                size = size_of(self.head) if isinstance(self.head, dict) else 0
                if not self.status or self.interim_bytes + size > HEAD_BYTES or end > HEAD_BYTES:
                    self.status = 0
                    self.complete = False
                    self.bad = True

    def take(self, piece: bytes) -> None:
        """A piece of a body that we count ourselves."""
        left = self.left
        if len(piece) > left:
            self.surplus = True
            piece = piece[:left]
        if piece:
            self.parts.append(piece)
        self.left = left = left - len(piece)
        if not left:
            self.complete = self.keep = True
            self.kept = len(self.parts)

    def on_message_begin(self) -> None:
        if self.complete:
            self.surplus = True

    def on_headers_complete(self) -> None:
        if self.status:
            return  # of what came after the answer
        head = self.fields.copy()
        self.fields.clear()
        status = self.parser.get_status_code()
        if len(head) > HEAD_COUNT or self.parser.get_http_version() not in _VERSIONS:
            raise ValueError  # stops the parser: malformed
        if 200 <= status <= 599:
            self.status = status
            self.head = head
            if status == 200:
                self.pool.note(head)
            return
        self.interim += 1
        self.interim_bytes += size_of(head)
        if not 100 <= status <= 199 or status == 101 or self.interim > INTERIM:
            raise ValueError

    def on_message_complete(self) -> None:
        if self.status and not self.complete:
            self.complete = True
            self.kept = len(self.parts)
            self.keep = self.parser.should_keep_alive()

    # ------------------------------------------------------------------ delivering

    def deliver(self) -> None:
        """Tell the sink what was parsed. After each word to it, this connection may be closed or busy otherwise."""
        attempt = self.attempt
        if attempt is None:  # nobody asked: whoever is next must not get this as an answer
            self.drop()
            return
        self.now = now = self.pool.client.now()
        parts = self.parts
        if not self.headed:
            if self.status:
                self.headed = True
                attempt.call.body = b""  # nobody sends it again, and a long answer need not keep it
                attempt.sink.head(self.status, self.head, now)
                if self.attempt is not attempt:
                    return
            else:
                parts.clear()
        if parts:
            if self.complete:
                del parts[self.kept :]
            chunk = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            if chunk:
                attempt.sink.data(chunk, now)
                if self.attempt is not attempt:
                    return
        if self.complete:
            self.finish(attempt, now)
        elif self.bad:
            sent = self.sent()
            self.drop()
            attempt.end("malformed", sent, now)

    def finish(self, attempt: Attempt, now: float) -> None:
        """The answer is complete: keep the connection if nothing speaks against it, then say so."""
        written = self.written()
        if self.served == 1:
            self.proven()
        if written and self.keep and not self.surplus:
            if attempt.paused:
                self.transport.resume_reading()
            self.attempt = None
            self.pool.release(self, now)
        else:
            self.drop()
        attempt.end("done", "all" if written else "some", now)

    def proven(self) -> None:
        """The first answer is here: for TLS, the moment to keep the session."""

    # ------------------------------------------------------------------ while it is idle (core/wheel.py)

    def due(self, now: float) -> float:
        idle_s = self.pool.settings.idle_s
        return min(self.since + idle_s, self.retire_at) if self.state == IDLE else now + idle_s

    def expire(self, now: float) -> None:
        if self.state == IDLE:
            self.close()


def size_of(head: dict[bytes, bytes]) -> int:
    """Bytes that these headers took on the wire, about."""
    return sum(len(name) + len(value) + 4 for name, value in head.items())


_VERSIONS = ("1.1", "1.0")
_FRAMING = (b"content-length", b"transfer-encoding")
