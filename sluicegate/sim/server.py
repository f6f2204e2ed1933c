"""Answers on real sockets, byte by byte: one connection object per caller, behind an instance's door (sim/door.py).

A connection reads one request at a time (its head by llhttp, so that what a gateway sends must be proper HTTP; its body
by itself, to count every byte) and goes on reading while it answers, because only so it notices a client that leaves.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from itertools import count
from struct import pack
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from sluicegate.sim.answer import Answer, Piece
from sluicegate.sim.azure.request import Request
from sluicegate.sim.ledger import Entry, Headers
from sluicegate.sim.wire import Wire, whole

if TYPE_CHECKING:
    from sluicegate.sim.door import Door

HEAD_BYTES = 256 * 1024
PIPELINED_BYTES = 4 * 1024 * 1024
CLOSE_S = 2.0
"""After our end of a connection is closed: how long the other side may take to close its own."""
BLOCK = 64 * 1024
"""Written in one turn of the loop at most, so that an answer without end lets others live."""
_NUMBERS = count(1)


class Desk(Protocol):
    """Who answers at a door: an instance, or the control API."""

    name: str

    def accepting(self, now: float) -> str: ...
    def arrived(self, entry: Entry) -> None: ...
    def early(self, request: Request, entry: Entry, now: float, wall: float) -> Answer | None: ...
    def answer(self, request: Request, entry: Entry, now: float, wall: float) -> Answer: ...
    def hung(self, entry: Entry) -> None: ...
    def ended(self, entry: Entry, how: str, now: float) -> None: ...


class _Head:
    """Collects a request head from the parser."""

    __slots__ = ("headers", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: Headers = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


class Connection(asyncio.Protocol):
    """One caller."""

    transport: asyncio.Transport

    def __init__(self, door: Door) -> None:
        self.door = door
        self.desk = door.desk
        self.loop = door.loop
        self.number = next(_NUMBERS)
        self.inbox = bytearray()
        self.requests = 0
        self.request: Request | None = None
        "Being read, or read and being answered."
        self.entry: Entry | None = None
        self.answer: Answer | None = None
        self.wire: Wire | None = None
        self.steps: Iterator[Piece] | None = None
        self.next_step: Piece | None = None
        self.timer: asyncio.Handle | None = None
        self.due = 0.0
        self.owed = False
        "The step at hand was waited for."
        self.left = 0
        "Bytes of body still to come; -1: chunked."
        self.keep = True
        self.full = False
        "The client does not take what is waiting for it."
        self.deaf = False
        self.closing = False

    # ------------------------------------------------------------------ transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=64 * 1024)
        self.door.connections.add(self)
        how = self.desk.accepting(time.monotonic())
        if how == "reset":
            self.reset()
        elif how == "hang":
            self.deaf = True

    def data_received(self, data: bytes) -> None:
        if self.deaf or self.closing:
            return
        if not self.inbox and self.entry is None:
            self.entry = self._entry()
        self.inbox += data
        if len(self.inbox) > PIPELINED_BYTES and self.answer is not None:
            self.transport.abort()
            return
        self._read()

    def eof_received(self) -> bool:
        self._left()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.door.connections.discard(self)
        self.closing = True
        self._left()
        self.steps = self.wire = None

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        if self.timer is None and self.steps is not None:
            self._play()

    # ------------------------------------------------------------------ reading

    def _entry(self) -> Entry:
        self.requests += 1
        return Entry(self.desk.name, time.monotonic(), time.time(), self.number, self.requests)

    def _read(self) -> None:
        while self.inbox and not self.closing and not self.deaf:
            request = self.request
            if request is None:
                if not self._head():
                    return
            elif request.complete:
                return  # pipelined: when this answer is over
            elif not self._body(request):
                return
            elif self.answer is None:
                self._answer(request)

    def _head(self) -> bool:
        """Read a head from the inbox; False while incomplete, or when there is nothing more to read."""
        end = self.inbox.find(b"\r\n\r\n")
        if end < 0:
            if len(self.inbox) > HEAD_BYTES:
                self.transport.abort()
            return False
        head = bytes(self.inbox[: end + 4])
        del self.inbox[: end + 4]
        collected = _Head()
        parser = httptools.HttpRequestParser(collected)
        entry = self.entry if self.entry is not None and not self.entry.head_bytes else self._entry()
        self.entry = entry
        entry.head, entry.head_bytes, entry.head_at = head, len(head), time.monotonic()
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            self.desk.arrived(entry)
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self._finish_entry("done", status=400)
            self._shut()
            return False
        entry.method = head.split(b" ", 1)[0].decode("latin-1")
        entry.target = collected.url.decode("latin-1")
        request = Request(entry.method, entry.target, collected.headers, head, bytearray())
        entry.path, entry.deployment, entry.api_version = request.path, request.deployment, request.api_version
        self.request = request
        self.keep = (request.header(b"connection") or b"").lower() != b"close"
        coding = request.header(b"transfer-encoding")
        length = request.header(b"content-length")
        self.left = -1 if coding is not None else int(length) if length and length.isdigit() else 0
        self.desk.arrived(entry)
        if not self.left:
            self._complete(request)
            self._answer(request)
            return True
        now, wall = time.monotonic(), time.time()
        early = self.desk.early(request, entry, now, wall)
        if early is not None:
            self._begin(early, now)
        elif (request.header(b"expect") or b"").lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _body(self, request: Request) -> bool:
        """Take what there is of the body; whether it is complete now."""
        entry = self.entry
        assert entry is not None and isinstance(request.body, bytearray)
        if self.left > 0:
            piece = self.inbox[: self.left]
            del self.inbox[: len(piece)]
            self.left -= len(piece)
            request.body += piece
            if not self.left:
                self._complete(request)
        else:
            self._chunks(request)
        entry.body_bytes = len(request.body)
        return request.complete

    def _chunks(self, request: Request) -> None:
        """Chunked: whole chunks only, so that a cut one is seen as such."""
        assert isinstance(request.body, bytearray)
        while True:
            line = self.inbox.find(b"\r\n")
            if line < 0:
                return
            try:
                size = int(bytes(self.inbox[:line]).split(b";")[0], 16)
            except ValueError:
                self.transport.abort()
                return
            if len(self.inbox) < line + 2 + size + 2:
                return
            request.body += self.inbox[line + 2 : line + 2 + size]
            del self.inbox[: line + 2 + size + 2]
            if not size:
                self._complete(request)
                return

    def _complete(self, request: Request) -> None:
        entry = self.entry
        assert entry is not None
        request.complete = True
        self.left = 0
        entry.complete = True
        entry.body = bytes(request.body)
        entry.body_bytes = len(request.body)
        entry.body_at = time.monotonic()

    # ------------------------------------------------------------------ answering

    def _answer(self, request: Request) -> None:
        entry = self.entry
        assert entry is not None
        now, wall = time.monotonic(), self.door.wall()
        self._begin(self.desk.answer(request, entry, now, wall), now)

    def _begin(self, answer: Answer, now: float) -> None:
        entry = self.entry
        assert entry is not None
        self.answer = answer
        self.due = now
        date = self.door.date()
        plain = whole(answer, date)
        if plain is not None and answer.ending == "keep" and plain[0] <= 0:
            data = plain[1]
            self.transport.write(data)
            entry.status = answer.status
            entry.answer_at = entry.sent_at = now
            entry.sent = len(data)
            entry.sent_body = len(answer.pieces[0][1])  # type: ignore[index]
            entry.usage_sent = answer.usage_piece == 0
            entry.whole = True
            self._over("done")
            return
        self.wire = Wire(answer, date)
        self.steps = iter(self.wire)
        self.next_step = next(self.steps, None)
        if self.next_step is not None and self.next_step[0] == 0:
            self._play()
        else:
            self._schedule()

    def _schedule(self) -> None:
        """The step at hand: in its time, or in the next turn of the loop."""
        step = self.next_step
        if step is None:
            self.steps = None
            self._said()
            return
        self.owed = step[0] != 0
        if step[0] > 0:
            self.due += step[0]
            wait_s = self.due - time.monotonic()
            if wait_s > 0:
                self.timer = self.loop.call_later(wait_s, self._later)
                return
        self.timer = self.loop.call_soon(self._later)

    def _later(self) -> None:
        self.timer = None
        if not self.closing and not self.full:
            self._play()

    def _play(self) -> None:
        """Write the step at hand, if its time was waited for (`owed`) or it has none, and all that go with it."""
        steps = self.steps
        if steps is None or self.closing or self.entry is None:
            return
        held: list[bytes] = []
        size = 0
        step = self.next_step
        while step is not None and (self.owed or not step[0]) and size < BLOCK:
            self.owed = False
            held.append(step[1])
            size += len(step[1])
            step = self.next_step = next(steps, None)
        self._write(held)
        self._schedule()

    def _write(self, held: list[bytes]) -> None:
        if not held:
            return
        data = b"".join(held)
        entry, wire = self.entry, self.wire
        assert entry is not None and wire is not None
        self.transport.write(data)
        entry.sent_at = time.monotonic()
        if entry.answer_at is None and data and self.answer is not None:
            entry.answer_at = entry.sent_at
            entry.status = self.answer.status
        entry.sent += len(data)
        entry.sent_body = wire.body_in(entry.sent)
        if wire.usage_raw is not None and entry.sent >= wire.usage_raw:
            entry.usage_sent = True

    def _said(self) -> None:
        """The last byte was written: end as the answer says."""
        answer, entry, wire = self.answer, self.entry, self.wire
        assert answer is not None and entry is not None and wire is not None
        entry.whole = wire.complete
        ending = answer.ending
        if ending == "hang":
            self.desk.hung(entry)
            return  # until the client has enough
        if ending == "rst":
            self._when_flushed(self._reset_answer)
        elif ending == "bare":
            self._when_flushed(self._drop_answer)
        elif ending == "fin" or not self.keep:
            self._over("done" if wire.complete else "cut")
            self._shut()
        else:
            self._over("done" if wire.complete else "cut")

    def _over(self, how: str) -> None:
        """This exchange is finished as far as we are concerned; the connection may go on with the next."""
        self._finish_entry(how)
        request, self.answer, self.wire, self.steps = self.request, None, None, None
        if request is not None and not request.complete:
            self._shut()  # answered before the body was here
            return
        self.request = None
        self.entry = None
        if not self.keep:
            self._shut()
        elif self.inbox:
            self.loop.call_soon(self._read)

    def _finish_entry(self, how: str, status: int = 0) -> None:
        entry = self.entry
        if entry is not None:
            if status:
                entry.status = status
            self.desk.ended(entry, how, time.monotonic())

    # ------------------------------------------------------------------ ending

    def _when_flushed(self, then: Callable[[], None]) -> None:
        """After the kernel took everything that was written."""
        if self.closing:
            return
        if self.transport.get_write_buffer_size():
            self.timer = self.loop.call_later(0.001, self._when_flushed, then)
        else:
            self.timer = None
            then()

    def _reset_answer(self) -> None:
        self._finish_entry("reset")
        self.entry = None
        self.reset()

    def _drop_answer(self) -> None:
        self._finish_entry("cut")
        self.entry = None
        self.closing = True
        self.transport.abort()

    def reset(self) -> None:
        """RST: nothing lingers."""
        self.closing = True
        s = self.transport.get_extra_info("socket")
        if s is not None:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        self.transport.abort()

    def _shut(self) -> None:
        """FIN, after all that was written; what still comes is read and forgotten, or closing would be a reset."""
        if self.closing:
            return
        self.deaf = True
        self.inbox.clear()
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.timer = self.loop.call_later(CLOSE_S, self.transport.close)
        else:
            self.transport.close()

    def _left(self) -> None:
        """The client closed, or the connection broke."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        entry = self.entry
        self.steps = None
        if entry is None:
            return
        self.entry = None
        now = time.monotonic()
        entry.left_at = now
        if not entry.head_bytes:
            entry.head_bytes = len(self.inbox)
            entry.head = bytes(self.inbox)
            self.desk.arrived(entry)
        hung = self.answer is not None and self.answer.ending == "hang"
        self.desk.ended(entry, "hang" if hung else "client", now)

    def kill(self) -> None:
        """As when the process behind it was killed."""
        self._finish_entry("stopped")
        self.entry = None
        self.reset()

    def stop(self) -> None:
        """The fleet ends."""
        self._finish_entry("stopped")
        self.entry = None
        if self.timer is not None:
            self.timer.cancel()
        self.closing = True
        self.transport.abort()
