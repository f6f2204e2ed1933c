"""One client connection: HTTP/1.1 parsed by llhttp, checked by us where llhttp is too kind, answered in order.

llhttp refuses CL+TE, a second or odd Content-Length, bad chunk sizes, bare LF, obs-fold and NUL. It lets pass what is
refused here: no Host or two, a Host or target with odd characters, absolute-form targets, Transfer-Encoding on
HTTP/1.0 or other than exactly `chunked`, heads of any size. An `Upgrade` nobody asked us to support is ignored as the
standard says, which llhttp does not do by itself: it would take the body for another protocol's bytes (see `reparse`).
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from math import inf
from random import random
from typing import TYPE_CHECKING

import httptools

from sluicegate.core.events import Head
from sluicegate.drive import Drive
from sluicegate.edge.body import BodyBuffer
from sluicegate.edge.request import Request
from sluicegate.wire.headers import CREDENTIAL_HEADERS, REQUEST_PASS
from sluicegate.wire.refusal import refusal

if TYPE_CHECKING:
    from sluicegate.edge.listener import Server

LINGER_S = 2.0
"""After refusing a request whose body we do not read: how long its bytes are still taken and thrown away, so that the
kernel does not answer them with a reset that overtakes our refusal."""

_HOST = re.compile(rb"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z")
_TARGET = re.compile(rb"/[!-\"$-~]*\Z")
_VALUE = re.compile(rb"[\t -~]*\Z")

# What a request header is to us; every other name is dropped: it was counted, nothing more.
_HOST_H, _TE_H, _LENGTH_H, _TYPE_H, _ENCODING_H, _EXPECT_H, _CREDENTIAL_H, _BEARER_H, _PASS_H = range(9)
_ROLES: dict[bytes, int] = {
    b"host": _HOST_H,
    b"transfer-encoding": _TE_H,
    b"content-length": _LENGTH_H,
    b"content-type": _TYPE_H,
    b"content-encoding": _ENCODING_H,
    b"expect": _EXPECT_H,
    **dict.fromkeys(REQUEST_PASS, _PASS_H),
    **dict.fromkeys(CREDENTIAL_HEADERS, _CREDENTIAL_H),
    b"authorization": _BEARER_H,
}


class Connection(asyncio.Protocol):
    """A client connection. At most one exchange at a time; pipelined requests wait in order."""

    __slots__ = (
        "active", "backlog", "last", "lingering", "lost", "parser", "parsing", "paused_since", "peer", "poisoned",
        "queue", "reading_paused", "reparsing", "server", "since", "slot", "transport", "upgrade", "waiting",
        "write_paused",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self.server = server
        self.parser = httptools.HttpRequestParser(self)
        self.parsing: Request | None = None
        "The request whose bytes are arriving."
        self.active: Request | None = None
        "The request that is being answered."
        self.queue: deque[Request] | None = None
        "Pipelined requests that were parsed together with the active one."
        self.backlog: bytearray | None = None
        "Raw bytes that came while an answer is on its way, not parsed yet."
        self.poisoned = False
        "The byte stream cannot be trusted or used any more: whatever else comes is thrown away."
        self.lingering = False
        self.lost = False
        self.upgrade = False
        self.reparsing = False
        self.reading_paused = False
        self.write_paused = False
        self.waiting = 0
        self.paused_since = 0.0
        self.since = 0.0
        self.last = 0.0
        self.peer = ""
        self.slot = -1

    # ------------------------------------------------------------------ transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        server = self.server
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) else ""
        self.transport.set_write_buffer_limits(high=server.settings.write_high)
        self.since = now = server.now()
        server.connections.add(self)
        server.wheel.watch(self, now + server.settings.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        server = self.server
        server.connections.discard(self)
        server.wheel.drop(self)
        server.connection_closed()
        active = self.active
        self.active = None
        self.queue = None
        self.backlog = None
        for request in (active, self.parsing):
            if request is not None and request.body is not None:
                request.body.close()
        self.parsing = None
        if active is not None and active.drive is not None:
            active.drive.left(server.now())

    def data_received(self, data: bytes) -> None:
        if self.poisoned:
            return
        if self.parsing is None:
            if self.active is not None:  # an answer is on its way: later
                self.hold(data)
                return
            self.since = self.server.now()
        self.last = self.server.now()
        self.feed(data)
        parsing = self.parsing
        if parsing is not None and not self.poisoned:
            self.incomplete(parsing, len(data))

    def eof_received(self) -> bool:
        return False  # a client that closes its side has left; half-closed clients are not served

    def pause_writing(self) -> None:
        self.write_paused = True
        self.paused_since = now = self.server.now()
        self.waiting = self.transport.get_write_buffer_size()
        self.server.wheel.watch(self, now + self.server.settings.write_s)

    def resume_writing(self) -> None:
        self.write_paused = False
        active = self.active
        if active is not None and active.drive is not None:
            active.drive.writable(self.server.now())

    # ------------------------------------------------------------------ parsing

    def feed(self, data: bytes) -> None:
        """Parse. Everything else happens in the callbacks below, called from here."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as up:
            if not self.poisoned:
                self.reparse(data[up.args[0] :])
        except httptools.HttpParserCallbackError as bug:
            self.server.bound.report(bug)
            self.abort()
        except httptools.HttpParserError:
            if not self.poisoned:
                self.malformed()

    def reparse(self, rest: bytes) -> None:
        """Go on after a head that asked for an upgrade, without the upgrade (RFC 9110 7.8).

        llhttp stops at such a head and takes the body for the other protocol. A fresh parser is given the framing
        alone and then the rest, so that the body reaches the request it belongs to.
        """
        self.upgrade = False
        request = self.parsing
        self.parser = httptools.HttpRequestParser(self)
        if request is None:
            return
        if not request.te and request.content_length <= 0:
            self.on_message_complete()
        else:
            framing = b"Transfer-Encoding: chunked" if request.te else b"Content-Length: %d" % request.content_length
            self.reparsing = True
            self.parser.feed_data(b"POST / HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n")
            self.reparsing = False
        if rest:
            self.feed(rest)

    def on_message_begin(self) -> None:
        if self.reparsing or self.poisoned:
            return
        self.parsing = Request(self)

    def on_url(self, url: bytes) -> None:
        request = self.parsing
        if self.reparsing or request is None:
            return
        request.url += url
        if len(request.url) > self.server.settings.target_bytes:
            request.refused = request.refused or ("request.target_too_long", "The request target is too long.")
            request.url = request.url[:64]

    def on_header(self, name: bytes, value: bytes) -> None:
        request = self.parsing
        if request is None or self.reparsing:
            return
        request.head_bytes += len(name) + len(value) + 4
        request.head_count += 1
        role = _ROLES.get(name) if name in _ROLES else _ROLES.get(name.lower())
        if role is None:
            return
        if role == _PASS_H:
            if _VALUE.match(value):
                request.forward.append((name.lower(), value))
        elif role == _BEARER_H:
            if value[:7].lower() == b"bearer ":
                request.credentials.append(value[7:].strip())
            else:
                request.credentials.append(value)
        elif role == _CREDENTIAL_H:
            request.credentials.append(value)
        elif role == _HOST_H:
            request.hosts.append(value)
        elif role == _TYPE_H:
            request.content_type = value
        elif role == _LENGTH_H:
            if value.isdigit() and len(value) <= 18:
                request.content_length = int(value)
            else:
                request.refused = request.refused or ("request.malformed", "The Content-Length is not a number.")
        elif role == _TE_H:
            request.te.append(value)
        elif role == _ENCODING_H:
            request.encoding = value
        else:
            request.expect = value

    def on_headers_complete(self) -> None:
        request = self.parsing
        if request is None or self.reparsing:
            return
        parser = self.parser
        request.headers_done = True
        request.method = parser.get_method().decode("latin-1")
        version = parser.get_http_version()
        request.http10 = version == "1.0"
        request.keep_alive = parser.should_keep_alive()
        self.upgrade = parser.should_upgrade()
        if request.refused is None:
            request.refused = self.check(request, version)
        if request.refused is not None:
            request.keep_alive = False
            self.poisoned = True  # its framing is not to be believed: nothing after it is read
        if self.active is None:
            self.active = request
            self.begin(request)
            return
        if self.queue is None:
            self.queue = deque()
        if len(self.queue) < self.server.settings.pipelined:
            self.queue.append(request)
        else:
            self.poisoned = True  # answer those that are queued, then close: the client repeats the rest

    def check(self, request: Request, version: str) -> tuple[str, str] | None:
        """What llhttp lets pass and we do not."""
        settings = self.server.settings
        if request.head_bytes > settings.head_bytes or request.head_count > settings.head_count:
            return "request.headers_too_large", "The request has too many or too large header fields."
        if version not in ("1.1", "1.0"):
            return "request.malformed", "Only HTTP/1.1 and HTTP/1.0 are spoken here."
        if len(request.hosts) != 1 or not _HOST.match(request.hosts[0]):
            return "request.host", "The request needs exactly one well-formed Host header."
        if request.method == "CONNECT":
            return "route.method", "This is not a forward proxy."
        if not _TARGET.match(request.url):
            return "request.target", "The request target must be a path beginning with '/'."
        if request.te and (len(request.te) > 1 or request.te[0].lower() != b"chunked" or version == "1.0"):
            return "request.transfer_encoding", "The only Transfer-Encoding accepted is exactly 'chunked', on HTTP/1.1."
        if request.te and request.content_length >= 0:
            return "request.malformed", "A message has a Content-Length or a Transfer-Encoding, not both."
        if request.expect and request.expect.lower() != b"100-continue":
            return "request.expect", "The only expectation known is 100-continue."
        return None

    def on_body(self, chunk: bytes) -> None:
        request = self.parsing
        if request is None or request.answered or self.poisoned:
            return
        drive = request.drive
        if drive is not None and not request.reading:
            return  # refused already: what follows is thrown away
        body = request.body
        if body is None:
            request.body = body = BodyBuffer()
        if request.reading and body.size + len(chunk) > request.max_bytes:
            request.too_large()
            return
        try:
            body.add(chunk)
        except OSError as e:  # no room for a spilled body
            self.server.bound.report(e)
            request.keep_alive = False
            if drive is not None:
                request.reading = False
                drive.refuse_body("gateway.busy", "The gateway has no room for this body now.", self.last)

    def on_message_complete(self) -> None:
        request = self.parsing
        if request is None or self.upgrade or self.reparsing:
            return
        self.parsing = None
        request.complete = True
        if request is self.active:
            if request.answered:
                self.advance()
            elif request.reading:
                request.deliver()

    def malformed(self) -> None:
        """The parser gave up: answer 400 in its turn, then close."""
        self.poisoned = True
        request = self.parsing
        if request is not None and request is self.active:
            request.keep_alive = False
            if request.reading and request.drive is not None:
                request.reading = False
                request.drive.refuse_body("request.malformed", "The body's framing is broken.", self.server.now())
            elif request.answered:
                self.close()
            return
        if request is not None and self.queue and self.queue[-1] is request:
            self.queue.pop()
        bad = Request(self)
        bad.complete = True
        bad.refused = ("request.malformed", "The request is not well-formed HTTP/1.1.")
        if self.active is None:
            self.active = bad
            self.begin(bad)
        else:
            if self.queue is None:
                self.queue = deque()
            self.queue.append(bad)

    def incomplete(self, request: Request, received: int) -> None:
        """A message is half here: bound what it may hold and how long it may take."""
        server = self.server
        settings = server.settings
        if not request.headers_done:
            request.fed += received
            if request.fed > settings.head_bytes + settings.target_bytes:
                self.refuse_unparsed("request.headers_too_large", "The request head is too large.")
            else:
                server.wheel.watch(self, self.since + settings.head_s)
        elif request.reading:
            server.wheel.watch(self, self.last + settings.body_s)
        elif request is not self.active and not self.reading_paused:
            body = request.body
            if body is not None and body.size > settings.pipelined_bytes:
                self.reading_paused = True
                self.transport.pause_reading()

    def hold(self, data: bytes) -> None:
        """Keep what came early. Reading goes on up to a bound, because a paused transport reports no EOF."""
        if self.backlog is None:
            self.backlog = bytearray()
        self.backlog += data
        if len(self.backlog) > self.server.settings.pipelined_bytes and not self.reading_paused:
            self.reading_paused = True
            self.transport.pause_reading()

    # ------------------------------------------------------------------ answering

    def begin(self, request: Request) -> None:
        """Answer a request whose head is complete: refuse it, or start its exchange."""
        if request.refused is not None:
            self.refuse(request, *request.refused)
            return
        server = self.server
        path, _, query = request.url.partition(b"?")
        match = server.paths.match(request.method, path, query)
        if isinstance(match, str):
            if not server.health.answer(request, path):
                self.refuse(request, match, _ROUTE[match])
            return
        if request.encoding and request.encoding.lower() != b"identity":
            request.keep_alive = False
            self.refuse(request, "request.content_encoding", "Send the body without Content-Encoding.")
            return
        kind = request.content_type
        if kind and not kind[:16].lower().startswith(b"application/json"):
            self.refuse(request, "request.content_type", "This operation takes Content-Type: application/json.")
            return
        api = match.api
        request.drive = drive = Drive(server.bound, api, request)
        drive.start(
            Head(
                server.now(),
                server.next_id(),
                api.name,
                match.path_model,
                match.api_version,
                request.credentials,
                request.forward,
                self.peer,
                random(),
                api.repeatable,
            )
        )

    def refuse(self, request: Request, reason: str, message: str) -> None:
        """Answer by ourselves, before any exchange."""
        self.server.refused(reason)
        status, lines, body = refusal(reason, message, None, self.server.next_id())
        request.head(status, lines, len(body))
        request.data(b"" if request.method == "HEAD" else body)
        request.end()

    def refuse_unparsed(self, reason: str, message: str) -> None:
        """Refuse what never became a request."""
        self.poisoned = True
        request = self.parsing or Request(self)
        request.keep_alive = False
        request.refused = (reason, message)
        if self.active is None:
            self.active = request
            self.begin(request)
        elif self.queue is not None and request not in self.queue:
            self.queue.append(request)
        else:
            self.queue = deque((request,))

    def answer_done(self, request: Request) -> None:
        """The answer was written whole."""
        if request.close_after:
            self.close()
        elif request.complete:
            self.advance()

    def advance(self) -> None:
        """The active request is done with: begin the next one, or wait for it."""
        self.active = None
        if self.queue:
            request = self.queue.popleft()
            self.active = request
            self.begin(request)
            return
        if self.poisoned:
            self.close()
            return
        if self.reading_paused:
            self.reading_paused = False
            self.transport.resume_reading()
        backlog = self.backlog
        if backlog:
            self.backlog = None
            self.data_received(bytes(backlog))
        elif self.parsing is None:
            server = self.server
            if server.draining:
                self.close()
                return
            self.since = now = server.now()
            server.wheel.watch(self, now + server.settings.keep_alive_s)

    def close(self) -> None:
        """No more requests here. What the client is still sending is read and thrown away for a moment."""
        if self.lost or self.lingering:
            return
        self.poisoned = True
        if self.parsing is None and not self.backlog:
            self.transport.close()
            return
        self.lingering = True
        if self.reading_paused:
            self.reading_paused = False
            self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.since = now = self.server.now()
        self.server.wheel.watch(self, now + LINGER_S)

    def abort(self) -> None:
        """Close with a reset: what was promised cannot be kept."""
        self.poisoned = True
        if not self.lost:
            self.transport.abort()

    def idle(self) -> bool:
        """Nothing is asked and nothing is being answered."""
        return self.active is None and self.parsing is None

    # ------------------------------------------------------------------ times (core/wheel.py)

    def due(self, now: float) -> float:
        settings = self.server.settings
        if self.lingering:
            return self.since + LINGER_S
        if self.write_paused:
            waiting = self.transport.get_write_buffer_size()
            if waiting < self.waiting:
                self.waiting = waiting
                self.paused_since = now
            return self.paused_since + settings.write_s
        request = self.parsing
        if request is not None:
            if not request.headers_done:
                return self.since + settings.head_s if self.active is None else now + settings.head_s
            if request.reading:
                return min(self.last + settings.body_s, self.since + settings.body_total_s)
            return self.last + settings.body_s if request is self.active else now + settings.body_s
        if self.active is not None:
            return now + settings.keep_alive_s
        return self.since + settings.keep_alive_s

    def expire(self, now: float) -> None:
        """A time is up: which one depends on what the connection is doing."""
        if self.lost:
            return
        request = self.parsing
        if self.lingering:
            self.transport.abort()
        elif self.write_paused:
            active = self.active
            if active is not None and active.drive is not None:
                active.drive.left(now, "slow_reader")
            self.abort()
        elif request is None:
            self.close()
        elif not request.headers_done:
            self.refuse_unparsed("request.timeout", "The request head did not arrive in time.")
        elif request.reading and request.drive is not None:
            request.reading = False
            request.keep_alive = False
            self.poisoned = True
            request.drive.refuse_body("request.timeout", "The request body did not arrive in time.", now)
        else:
            self.abort()
        if not self.lost and self.slot < 0:
            due = self.due(now)
            self.server.wheel.watch(self, due if due > now and due != inf else now + LINGER_S)


_ROUTE = {
    "route.path": "Resource not found. This gateway has no operation at this path.",
    "route.method": "This operation is not called with this method.",
    "request.api_version": "The query parameter 'api-version' is not a version, or was given twice.",
}
