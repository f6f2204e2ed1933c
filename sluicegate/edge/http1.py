"""One client connection: HTTP/1.1 parsed by llhttp, checked by us where llhttp is too kind, answered in order.

llhttp refuses CL+TE, a second or odd Content-Length, bad chunk sizes, bare LF, obs-fold and NUL. It lets pass what is
refused here: no Host or two, a Host or target with odd characters, absolute-form targets, Transfer-Encoding on
HTTP/1.0 or other than exactly `chunked`, heads of any size. An `Upgrade` nobody asked us to support is ignored as the
standard says, which llhttp does not do by itself: it would take the body for another protocol's bytes (see `reparse`).
"""

from __future__ import annotations

import asyncio
import re
import select
from collections.abc import Sequence
from math import inf
from random import random
from typing import TYPE_CHECKING, Any, Final, cast

import httptools

from sluicegate.apis.base import FormApi
from sluicegate.core.caller import Shown
from sluicegate.core.events import Head
from sluicegate.core.principal import Presented
from sluicegate.core.refusals import NO_PATH
from sluicegate.drive import Drive
from sluicegate.drive.upload import Upload
from sluicegate.edge.body import SPILL_BYTES, BodyBuffer, Spool
from sluicegate.edge.fields import bare_key, meaning_of, read_lines
from sluicegate.edge.request import Request
from sluicegate.wire.headers import CREDENTIAL_HEADERS, REQUEST_MAY_PASS
from sluicegate.wire.multipart import BadForm, boundary_of, is_form
from sluicegate.wire.refusal import refusal

if TYPE_CHECKING:
    from sluicegate.edge.listener import Server

LINGER_S = 2.0
"""After refusing a request whose body we do not read: how long its bytes are still taken and thrown away, so that the
kernel does not answer them with a reset that overtakes our refusal."""

_HOST = re.compile(rb"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z")
_TARGET = re.compile(rb"/[!-\"$-~]*\Z")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,8})[ \t]*(?=\r\n)", re.IGNORECASE)
_VALUE = re.compile(rb"[\t -~]*\Z")

LIKE_BYTES = 4096
"""Of a head that is kept to know the next one by."""

COPIED: Final = 64 * 1024
"""Bytes up to which a body is cut out of what was read; a larger one is a view of that, which holds its head too."""

_PLAIN = frozenset((b"application/json", b"*/*"))
_BAD_LENGTH = -2
_FIRST: Final = (b"", b"0")
"""What an SDK says of its retries when it asks for the first time."""


class Connection:
    """A client connection: an asyncio.Protocol in all but the base class, which would keep it from being compiled
    (docs/decisions/0012). At most one exchange at a time; pipelined requests wait in order."""

    __slots__ = (
        "active", "backlog", "direct", "fed", "fields", "first", "host", "last", "like", "lines", "lingering", "lost",
        "on_header", "overrun", "parser", "parsing", "paused_since", "peer", "poisoned", "presented", "raw",
        "reading_paused", "reparsing", "server", "since", "slot", "told", "transport", "trusted", "upgrade",
        "waiting", "write_paused",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self.server = server
        self.fields: dict[bytes, bytes] = {}
        "Header fields of the message under way, as spelled. Filled by the parser itself."
        self.on_header: Any = self.fields.__setitem__
        self.parser: Any = httptools.HttpRequestParser(self)
        self.raw = b""
        "The head under way, as it came."
        self.fed = 0
        "Bytes of the message under way that were parsed."
        self.first: Request | None = None
        "The request whose message was begun last."
        self.overrun = False
        "Another message begins in the bytes just parsed."
        self.parsing: Request | None = None
        "The request whose bytes are arriving."
        self.active: Request | None = None
        "The request that is being answered."
        self.backlog: bytearray | None = None
        "What came while an answer is on its way: pipelined requests, not parsed yet."
        self.like: Request | None = None
        "The last request that was parsed, where the next may have the same head."
        self.host: bytes | None = None
        "The last Host that was found well-formed."
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
        self.lines: Sequence[tuple[bytes, bytes]] = ()
        "Header fields of the head that is being looked at, for the front, where there is one."
        self.peer = ""
        "Who asks: the address that is connected, or for whom a trusted proxy says that it asks."
        self.told = ""
        "What records say of that; empty where they say nothing."
        self.direct = ""
        "The address that is connected."
        self.trusted = False
        "It is a proxy that is believed."
        self.presented: Presented | None = None
        "The certificate of the connection."
        self.slot = -1

    # ------------------------------------------------------------------ transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        server = self.server
        peer = transport.get_extra_info("peername")
        self.peer = self.direct = peer[0] if isinstance(peer, tuple) else ""
        if server.tells:
            self.told = self.peer
        if server.front is not None:
            server.front.meet(self)
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
        self.backlog = None
        for request in (active, self.parsing):
            if request is not None and request.body is not None:
                request.body.close()
        # These hold us and we hold them. Left alone, only a full collection would free what a client sent that is
        # gone, and there is hardly ever one: 1,200 refused heads of 100 KB were 280 MB.
        self.parsing = self.first = self.like = self.parser = self.on_header = None
        self.fields = {}
        self.raw = b""
        if active is not None and active.drive is not None:
            drive, active.drive = active.drive, None
            drive.left(server.now())

    def data_received(self, data: bytes) -> None:
        self.last = now = self.server.now()
        while data and not self.poisoned:
            parsing = self.parsing
            if parsing is None:
                if self.active is not None:  # an answer is on its way: later
                    self.hold(data)
                    return
                if data[0] in b"\r\n":  # blank lines before a request line are allowed, and nothing to us
                    data = data.lstrip(b"\r\n")
                    continue
                self.since = now
                if self.like is not None and self.again(data, self.like):
                    return
                self.fed = 0
                self.first = None
                self.raw = data
            elif not parsing.headers_done:
                self.raw += data
            fed = self.fed
            self.overrun = False
            self.feed(data)
            if self.overrun:
                data = self.remainder(data, fed)
                continue
            parsing = self.parsing
            if parsing is not None and not self.poisoned:
                self.incomplete(parsing)
            return

    def again(self, data: bytes, like: Request) -> bool:
        """Read a whole request whose head is, but for the digits of its length, byte for byte the one before: what
        was found in that one holds for it, so nothing is parsed. True when it was, and is begun.

        Clients repeat their heads on a connection; this saves a third of what reading a request costs.
        """
        before = like.before
        if not data.startswith(before):
            return False
        begin = len(before)
        end = data.find(b"\r\n", begin, begin + 10)
        after = like.after
        if end < 0 or not data.startswith(after, end):
            return False
        digits = data[begin:end]
        body = end + len(after)
        if not digits.isdigit() or len(data) - body != int(digits):
            return False
        request = Request(self)
        request.headers_done = request.complete = request.keep_alive = True
        request.method = like.method
        request.url = like.url
        request.match = like.match
        request.content_length = len(data) - body
        request.content_type = like.content_type
        request.retries = like.retries
        request.credentials = like.credentials
        request.forward = like.forward
        request.only = data[body:] if len(data) <= COPIED else memoryview(data)[body:]
        self.active = request
        self.begin(request)
        return True

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
        self.fed += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as up:
            if not self.poisoned and not self.overrun:
                rest = data[up.args[0] :]
                self.fed -= len(rest)
                self.reparse(rest)
        except httptools.HttpParserCallbackError as bug:
            self.server.bound.report(bug)
            self.abort()
        except httptools.HttpParserError:
            if not self.poisoned and not self.overrun:  # of a message that is not this one's turn: met again then
                self.malformed()

    def remainder(self, data: bytes, fed: int) -> bytes:
        """What follows the message that was parsed, where `fed` bytes of it had come before `data`. A fresh parser
        will read it: this one is in the middle of it already."""
        self.parser = httptools.HttpRequestParser(self)
        request = self.first
        assert request is not None
        if not request.te:
            return data[request.head_length + max(request.content_length, 0) - fed :]
        if not fed:
            end = message_end(data)
            if end:
                return data[end:]
        self.poisoned = True  # where a chunked body ended in these bytes cannot be told: answer it, then close
        if request.answered:
            self.close()
        return b""

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
        if self.first is not None:  # a second message in the same bytes: it is read when this one is answered
            self.overrun = True
            return
        self.parsing = self.first = Request(self)
        self.fields.clear()

    def on_url(self, url: bytes) -> None:
        request = self.parsing
        if request is None or self.reparsing or self.overrun:
            return
        request.url += url
        if len(request.url) > self.server.settings.target_bytes:
            request.refused = request.refused or ("request.target_too_long", "The request target is too long.")
            request.url = request.url[:64]

    def on_headers_complete(self) -> None:
        request = self.parsing
        if request is None or self.reparsing or self.overrun:
            return
        parser = self.parser
        request.headers_done = True
        request.method = parser.get_method().decode("latin-1")
        request.keep_alive = parser.should_keep_alive()
        self.upgrade = parser.should_upgrade()
        if request.refused is None:
            request.refused = self.read_head(request)
        if request.refused is not None:
            request.keep_alive = False
            self.poisoned = True  # its framing is not to be believed: nothing after it is read
        self.active = request
        front = self.server.front
        if front is None or request.refused is not None or front.lets(self, request):
            self.begin(request)

    def read_head(self, request: Request) -> tuple[str, str] | None:
        """Take from the header fields what we use; the reason and message where they are not acceptable.

        The parser put them into a dictionary, without a call of ours for each. It keeps one of a repeated name: that
        there was none is known by counting the lines. Where the count differs they are read one by one.
        """
        settings = self.server.settings
        fields = self.fields
        raw = self.raw
        end = raw.find(b"\r\n\r\n")
        lines = raw.count(b"\r\n", 0, end) if end > 0 else -1
        if lines > settings.head_count or end > settings.head_bytes + settings.target_bytes:
            return "request.headers_too_large", "The request has too many or too large header fields."
        request.head_length = end + 4
        self.raw = b""
        self.like = None
        meaning = None
        if lines == len(fields):
            meaning = meaning_of(fields)
        if meaning is not None:
            host = fields[meaning.host].rstrip() if meaning.host is not None else None
            te = fields[meaning.te].rstrip() if meaning.te is not None else None
            if meaning.length is not None:
                request.content_length = _length(fields[meaning.length].rstrip())
            if meaning.type is not None:
                request.content_type = fields[meaning.type]
            if meaning.encoding is not None:
                request.encoding = fields[meaning.encoding].rstrip()
            if meaning.expect is not None:
                request.expect = fields[meaning.expect].rstrip()
            if meaning.retries is not None:
                request.retries = fields[meaning.retries].rstrip()
            if meaning.credentials:
                request.credentials = Shown(
                    [bare_key(fields[n]) if bearer else fields[n].rstrip() for n, bearer in meaning.credentials]
                )
            request.forward = [(lower, fields[name]) for name, lower in meaning.forward]
        else:
            pairs = read_lines(raw[:end])
            credentials: list[bytes] = []
            forward: list[tuple[bytes, bytes]] = []
            request.credentials, request.forward = Shown(credentials), forward
            hosts = [v for n, v in pairs if n == b"host"]
            tes = [v for n, v in pairs if n == b"transfer-encoding"]
            host = hosts[0] if len(hosts) == 1 else None
            te = b",".join(tes) if tes else None
            for name, value in pairs:
                if name == b"content-length":
                    request.content_length = _length(value) if request.content_length == -1 else _BAD_LENGTH
                elif name == b"content-type":
                    request.content_type = value
                elif name == b"content-encoding":
                    request.encoding += value
                elif name == b"expect":
                    request.expect += value
                elif name == b"x-stainless-retry-count":
                    request.retries = value
                elif name == b"authorization":
                    credentials.append(bare_key(value))
                elif name in CREDENTIAL_HEADERS:
                    credentials.append(value)
                elif name in REQUEST_MAY_PASS:
                    forward.append((name, value))
        front = self.server.front
        if front is not None:
            if meaning is not None:
                self.lines = front.pick(fields, self.server.bound.world.callers)
            else:
                self.lines = read_lines(raw[:end])
            front.rewrite(self, request)
        version = self.parser.get_http_version()
        if version != "1.1":
            if version != "1.0":
                return "request.malformed", "Only HTTP/1.1 and HTTP/1.0 are spoken here."
            request.http10 = True
        if host is None or (host != self.host and not _HOST.match(host)):
            return "request.host", "The request needs exactly one well-formed Host header."
        self.host = host
        if request.method == "CONNECT":
            return "route.method", "This is not a forward proxy."
        request.match = self.server.seen.get((request.method, request.url))
        if request.match is None and not _TARGET.match(request.url):
            return "request.target", "The request target must be a path beginning with '/'."
        if te is not None:
            if te.lower() != b"chunked" or request.http10:
                return "request.transfer_encoding", "The only Transfer-Encoding is exactly 'chunked', on HTTP/1.1."
            if request.content_length != -1:
                return "request.malformed", "A message has a Content-Length or a Transfer-Encoding, not both."
            request.te = True
        elif request.content_length == _BAD_LENGTH:
            return "request.malformed", "The Content-Length is not one number."
        if request.expect:
            if request.http10:
                request.expect = b""  # RFC 9110 10.1.1: ignored, a 1.0 client knows no interim answers
            elif request.expect.lower() != b"100-continue":
                return "request.expect", "The only expectation known is 100-continue."
        for _, value in request.forward:
            if value not in _PLAIN and not _VALUE.match(value):
                return "request.header", "A header that is passed on holds characters that headers may not hold."
        if request.match is not None and meaning is not None and request.content_length > 0:
            self.remember(request, raw[: end + 4])
        return None

    def remember(self, request: Request, head: bytes) -> None:
        """The next request may have the same head: keep what is before and after the digits of its length."""
        if not request.keep_alive or self.upgrade or request.encoding or request.expect or request.http10:
            return
        if is_form(request.content_type):  # not taken as a whole
            return
        length = _LENGTH.search(head)
        if length is not None and len(head) <= LIKE_BYTES:
            request.before, request.after = head[: length.start(1)], head[length.end(1) :]
            self.like = request

    def on_body(self, chunk: bytes) -> None:
        request = self.parsing
        if request is None or request.answered or self.poisoned or self.overrun:
            return
        drive = request.drive
        if drive is not None and not request.reading:
            return  # refused already: what follows is thrown away
        if request.upload is not None:
            request.upload.feed(chunk, self.last)
            return
        body = request.body
        if body is None:
            if request.only is None and len(chunk) == request.content_length and len(chunk) <= SPILL_BYTES:
                request.only = chunk  # all of it at once: nothing to collect
                return
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
        if request is None or self.upgrade or self.reparsing or self.overrun:
            return
        self.parsing = None
        request.complete = True
        if request is self.active:
            if request.answered:
                self.advance()
            elif request.reading:
                request.deliver()

    def malformed(self) -> None:
        """The parser gave up: answer 400, then close."""
        self.poisoned = True
        request = self.parsing
        if request is None and self.active is not None:
            return  # bytes behind a request that closes the connection: nobody's, its answer comes first and last
        if request is None or request is not self.active:
            self.refuse_unparsed("request.malformed", "The request is not well-formed HTTP/1.1.")
            return
        request.keep_alive = False
        if request.reading and request.drive is not None:
            request.reading = False
            request.drive.refuse_body("request.malformed", "The body's framing is broken.", self.last)
        elif request.answered:
            self.close()

    def incomplete(self, request: Request) -> None:
        """A message is half here: bound what it may hold and how long it may take."""
        server = self.server
        settings = server.settings
        if request.headers_done:
            if request.reading:
                server.wheel.watch(self, self.last + settings.body_s)
        elif self.fed > settings.head_bytes + settings.target_bytes:
            self.refuse_unparsed("request.headers_too_large", "The request head is too large.")
        else:
            server.wheel.watch(self, self.since + settings.head_s)

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
        match = request.match
        if match is None:
            path, _, query = request.url.partition(b"?")
            found = server.paths.match(request.method, path, query)
            if isinstance(found, str):
                if not server.health.answer(request, path):
                    listed = server.listing.answer(request, path, query)
                    if not isinstance(listed, bool):
                        reason, message = listed
                        self.refuse(request, reason, message or _ROUTE[reason])
                    elif not listed:
                        self.refuse(request, found, _ROUTE[found])
                return
            match = found
            server.remember(request.method, request.url, match)
        if request.encoding and request.encoding.lower() != b"identity":
            request.keep_alive = False
            self.refuse(request, "request.content_encoding", "Send the body without Content-Encoding.")
            return
        kind = request.content_type
        api = match.api
        boundary = b""
        if kind and kind != b"application/json" and not kind[:16].lower().startswith(b"application/json"):
            if api.takes != "form" or not is_form(kind):
                self.refuse(request, "request.content_type", f"This operation takes Content-Type: {_TAKES[api.takes]}.")
                return
            try:
                boundary = boundary_of(kind)
            except BadForm as bad:
                self.refuse(request, bad.reason, bad.message)
                return
        elif api.takes == "form" and not (kind and cast(FormApi, api).or_json):
            self.refuse(request, "request.content_type", f"This operation takes Content-Type: {_TAKES[api.takes]}.")
            return
        request.drive = drive = Drive(server.bound, api, request)
        if boundary:
            length = request.content_length
            drive.upload = request.upload = Upload(drive, boundary, length, Spool(), request)
        drive.start(
            Head(
                self.last,
                server.next_id(),
                api.name,
                match.path_model,
                match.api_version,
                request.credentials,
                request.forward,
                self.told,
                random(),
                api.repeatable,
                0 if request.retries in _FIRST else 1,
            )
        )

    def refuse(self, request: Request, reason: str, message: str) -> None:
        """Answer by ourselves, before any exchange."""
        server = self.server
        made = server.next_id()
        status, lines, body = refusal(reason, message, None, made, server.paths.dialect(request.url))
        server.refused(reason, made, self.told, status)
        request.head(status, lines, len(body))
        request.data(b"" if request.method == "HEAD" else body)
        request.end()

    def refuse_unparsed(self, reason: str, message: str) -> None:
        """Refuse what never became a request."""
        self.poisoned = True
        request = self.parsing or Request(self)
        request.keep_alive = False
        request.refused = (reason, message)
        self.active = request
        self.begin(request)

    def answer_done(self, request: Request) -> None:
        """The answer was written whole."""
        if request.close_after:
            self.close()
        elif request.complete:
            self.advance()

    def advance(self) -> None:
        """The active request is done with: begin the next one, or wait for it."""
        request = self.active
        if request is not None:
            request.drive = None  # they hold each other
        self.active = None
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
            self.since = now = server.now()
            if self.slot < 0:
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

    def fronted(self) -> None:
        """Another front than before: what was found by the one before holds no more."""
        self.like = None
        self.trusted = False
        self.presented = None
        self.told = self.direct if self.server.tells else ""
        if self.server.front is not None:
            self.server.front.meet(self)

    def idle(self) -> bool:
        """Nothing is asked and nothing is being answered."""
        return self.active is None and self.parsing is None and not self.lost

    def whose(self) -> object:
        """Who is taken to have opened it: the consumer whose key was shown last, where that is known, else the
        address. A key that is nobody's tells nothing: there are as many as one likes."""
        like = self.like
        if like is not None and like.credentials.keys:
            consumer = like.credentials.who(self.server.bound.world.callers)
            if not isinstance(consumer, str):
                return consumer.number
        return self.peer

    def quiet(self, before: float) -> bool:
        """Idle since then, and nothing has arrived that the loop has yet to read: it may be closed without breaking
        a request. (Closing over unread bytes resets, and the request on its way would die unanswered.)"""
        if not self.idle() or self.since > before:
            return False
        s = self.transport.get_extra_info("socket")
        fd = s.fileno() if s is not None else -1
        if fd < 0:
            return True
        unread = select.poll()
        unread.register(fd, select.POLLIN)
        return not unread.poll(0)

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
                return self.since + settings.head_s
            if self.reading_paused:  # we let it wait
                return now + settings.body_s
            return min(self.last + settings.body_s, self.since + settings.body_total_s)
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
        if self.slot < 0 and self in self.server.connections:
            due = self.due(now)
            self.server.wheel.watch(self, due if due > now and due != inf else now + LINGER_S)


def message_end(data: bytes) -> int:
    """Where the message that begins these bytes ends, 0 if it does not. Slow, and seldom needed: it is parsed again
    in pieces, each up to an empty line, since a chunked message can only end with one."""
    at = 0
    end = _End()
    parser = httptools.HttpRequestParser(end)
    try:
        while not end.seen:
            to = data.find(b"\r\n\r\n", at) + 4
            if to < 4:
                return 0
            parser.feed_data(data[at:to])
            at = to
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return 0
    return at


class _End:
    """Waits for the end of a message."""

    seen = False

    def on_message_complete(self) -> None:
        self.seen = True


def _length(value: bytes) -> int:
    return int(value) if value.isdigit() and len(value) <= 18 else _BAD_LENGTH


_TAKES: Final = {
    "json": "application/json", "form": "multipart/form-data", "nothing": "application/json, or none",
}  # fmt: skip

_ROUTE = {
    "route.path": NO_PATH,
    "route.method": "This operation is not called with this method.",
    "request.api_version": "The query parameter 'api-version' is not a version, or was given twice.",
}
