"""One request on a client connection: what was parsed of it, and the way its answer takes (the Downstream port)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sluicegate.core.caller import Shown
from sluicegate.core.ports import Chunk
from sluicegate.edge.body import BodyBuffer, unload
from sluicegate.wire.headers import STATUS_LINES

if TYPE_CHECKING:
    from sluicegate.apis import Match
    from sluicegate.drive import Drive
    from sluicegate.drive.upload import Upload
    from sluicegate.edge.http1 import Connection

NOTHING_SHOWN = Shown(())

KEEP_FOR_DISCARD = 64 * 1024
"""Of a refused request: a body up to this is read and thrown away to keep the connection, a larger one closes it."""


class Request:
    """Parsed head, body in progress, answer in progress. Belongs to one connection, answered in its turn."""

    __slots__ = (
        "after", "answered", "before", "body", "chunked", "close_after", "complete", "conn", "content_length",
        "content_type", "credentials", "drive", "encoding", "expect", "extra", "forward", "head_length",
        "headers_done", "http10", "keep_alive", "match", "max_bytes", "method", "only", "pending", "reading",
        "refused", "retries", "te", "upload", "url",
    )  # fmt: skip

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.url = b""
        self.method = ""
        self.headers_done = False
        self.head_length = 0
        self.te = False
        "The body is chunked."
        self.content_length = -1
        self.content_type = b""
        self.encoding = b""
        self.expect = b""
        self.retries = b""
        self.credentials = NOTHING_SHOWN
        self.forward: Sequence[tuple[bytes, bytes]] = ()
        self.extra = b""
        "Header lines that the front adds to the answer."
        self.refused: tuple[str, str] | None = None
        "Why the head is unacceptable: reason and message, answered in its turn."
        self.http10 = False
        self.keep_alive = False
        self.before = self.after = b""
        "The head before and after the digits of its Content-Length, where the connection keeps it to compare."
        self.match: Match | None = None
        "The operation, where this request line was met before."
        self.drive: Drive | None = None
        # body
        self.only: Chunk | None = None
        "The whole body, when it came in one piece."
        self.body: BodyBuffer | None = None
        self.upload: Upload | None = None
        "The body is a form, passed on while it is read."
        self.max_bytes = 0
        self.reading = False
        "The exchange asked for the body."
        self.complete = False
        "The message was parsed to its end."
        # answer
        self.pending = b""
        "Head of the answer, written with its first bytes."
        self.chunked = False
        self.answered = False
        self.close_after = False

    # ------------------------------------------------------------------ Downstream

    def read(self, max_bytes: int) -> None:
        """Deliver the body to the driver: now if it is here, else when it is."""
        self.max_bytes = max_bytes
        if self.upload is not None and self.complete:
            return  # asked again, for all of it
        self.reading = True
        if self.content_length > max_bytes:
            self.too_large()
            return
        if self.complete:
            self.deliver()
        elif self.expect:
            self.conn.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.expect = b""

    def deliver(self) -> None:
        """The body is complete and asked for: hand it over, once."""
        self.reading = False
        if self.upload is not None:
            self.upload.ended(self.conn.last)
            return
        body = self.body
        self.body = None
        if self.drive is not None:
            whole: Chunk = self.only or b"" if body is None else body.take()
            self.only = None
            self.drive.body(whole, self.conn.last)
            if type(whole) is memoryview:
                unload(whole)

    def too_large(self) -> None:
        """The body passed the limit: refuse now, do not wait for its end."""
        self.reading = False
        if self.body is not None:
            self.body.close()
        if self.drive is not None:
            self.drive.refuse_body(
                "request.body_too_large",
                f"The request body is larger than the {self.max_bytes} bytes this gateway accepts.",
                self.conn.server.now(),
            )

    def hold(self) -> None:
        """Take no more of the body for now. While a connection is not read, nobody hears that its client left: it
        comes out with the next byte, and the upstream's own times bound the wait."""
        conn = self.conn
        if not conn.reading_paused and not conn.lost:
            conn.reading_paused = True
            conn.transport.pause_reading()

    def go_on(self) -> None:
        """Take the rest of it."""
        conn = self.conn
        if conn.reading_paused and not conn.lost:
            conn.reading_paused = False
            conn.transport.resume_reading()
            conn.last = now = conn.server.now()
            conn.server.wheel.watch(conn, now + conn.server.settings.body_s)

    def head(self, status: int, headers: bytes, length: int | None) -> None:
        """Begin the answer; kept until its first bytes so that one write carries both."""
        conn = self.conn
        close = not self.keep_alive or conn.server.draining or conn.poisoned
        if not self.complete and (self.expect or self.te or self.content_length > KEEP_FOR_DISCARD):
            close = True  # what is left of the body is not worth reading
        if length is not None:
            framing = b"content-length: %d\r\n" % length
        elif self.http10:
            framing, close = b"", True
        else:
            framing = b"transfer-encoding: chunked\r\n"
            self.chunked = True
        self.close_after = close
        if self.extra:
            headers += self.extra
        self.pending = b"".join((
            STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status,
            conn.server.date_line,
            headers,
            framing,
            b"connection: close\r\n\r\n" if close else b"\r\n",
        ))  # fmt: skip

    def data(self, chunk: Chunk) -> bool:
        """A piece of the answer. False: the client has enough waiting for it, hold the upstream."""
        conn = self.conn
        if not chunk:
            return not conn.write_paused
        if self.chunked:
            piece = b"".join((self.pending, b"%x\r\n" % len(chunk), chunk, b"\r\n"))
        else:
            piece = b"".join((self.pending, chunk))
        self.pending = b""
        conn.transport.write(piece)
        return not conn.write_paused

    def end(self) -> None:
        """The answer is complete."""
        rest = self.pending
        self.pending = b""
        if self.chunked:
            rest += b"0\r\n\r\n"
        if rest:
            self.conn.transport.write(rest)
        self.answered = True
        self.conn.answer_done(self)

    def reset(self) -> None:
        """The answer cannot be completed: the client must see a broken message."""
        self.conn.abort()
