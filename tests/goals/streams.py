"""Thousands of streams: an upstream that paces or floods, and clients that check every event, or do not read at all.

    python -m tests.goals.streams upstream [CERTIFICATE KEY]        prints {"port"}, then counts for each line; `go` or `go nicely` begins floods
    python -m tests.goals.streams readers PORT COUNT TEXT [CA]      prints {"open"}, then counts for each line
    python -m tests.goals.streams deaf PORT COUNT TEXT [CA]         the same, but never reads

The text of a request says what the upstream does: `steady EVENTS EVERY_MS`, `flood MEGABYTES`, or `plain 0` for an
answer at once.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import socket
import ssl
import sys
import time
from collections import Counter
from typing import Any

import uvloop

from tests.clients.upstream import DONE, EVENTS, LAST_CHUNK, chunk, event, head, piece, plain, usage_event, whole
from tests.goals.calling import request

HEAD = head(EVENTS)
LAST = chunk(event(piece(finish="stop"))) + chunk(event(usage_event())) + chunk(DONE) + LAST_CHUNK
NUMBERED = [chunk(event(piece(f"{n} "))) for n in range(1000)]
PLAIN = plain(whole("A plain answer, at once."))
FLOOD = chunk(event(piece("x" * 16_000)))
SLOTS = 100
_ASKED = re.compile(rb'"content": ?"(steady|flood|plain) (\d+)(?: (\d+))?"')
_NUMBER = re.compile(rb'"content":"(\d+) "')


class Upstream:
    """All streams under way, a hundred slots an interval."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.every_s = 1.0
        self.slots: list[set[Stream]] = [set() for _ in range(SLOTS)]
        self.turned = 0
        self.began = loop.time()
        self.counts: Counter[str] = Counter()
        self.floods: set[Stream] = set()
        self.flowing = False
        "Floods begin when we are told `go`: connections opened beside them would time out."
        loop.call_later(0.01, self.turn)

    def pace(self, every_s: float) -> None:
        """The interval, of all streams."""
        if every_s != self.every_s:
            self.every_s, self.began, self.turned = every_s, self.loop.time(), 0

    def turn(self) -> None:
        """Every slot that is due."""
        upto = int((self.loop.time() - self.began) / self.every_s * SLOTS)
        while self.turned < upto:
            self.turned += 1
            for stream in list(self.slots[self.turned % SLOTS]):
                stream.step()
        self.loop.call_later(self.every_s / SLOTS, self.turn)

    def stats(self, line: str) -> dict[str, Any]:
        now = self.loop.time()
        if line.strip() in ("go", "go nicely"):
            self.flowing = True
            if "nicely" in line:
                os.nice(10)  # as from a machine of its own: what it says takes no CPU from what is measured
            for number, flood in enumerate(self.floods):
                self.loop.call_later(number / 100, flood.flood)
        still = [s for s in self.floods if s.paused_at and now - s.paused_at > 0.5]
        return {
            **self.counts, "steady": sum(map(len, self.slots)), "floods": len(self.floods), "paused": len(still),
            "waiting": [s.transport.get_write_buffer_size() for s in still][:3],
            "flooded_mb": sum(s.written for s in self.floods) / 1e6,
        }  # fmt: skip


class Stream(asyncio.Protocol):
    """One connection, one stream at a time."""

    transport: asyncio.Transport

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.buffer = b""
        self.slot = -1
        self.sent = self.events = self.written = self.most = 0
        self.paused_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        found = _ASKED.search(self.buffer)
        if found is None:
            return
        self.buffer = b""
        kind, number, every_ms = found.groups()
        upstream = self.upstream
        upstream.counts["asked"] += 1
        if kind == b"plain":
            self.transport.write(PLAIN)
            return
        self.transport.write(HEAD + chunk(event(piece("", role="assistant"))))
        if kind == b"steady":
            self.sent, self.events = 0, int(number)
            upstream.pace(int(every_ms) / 1000)
            self.slot = upstream.counts["asked"] % SLOTS
            upstream.slots[self.slot].add(self)
        else:
            self.most = int(number) * 1_000_000
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            upstream.floods.add(self)
            if upstream.flowing:
                self.flood()

    def step(self) -> None:
        if self.sent < self.events:
            self.transport.write(NUMBERED[self.sent])
            self.sent += 1
        else:
            self.upstream.slots[self.slot].discard(self)
            self.upstream.counts["whole"] += 1
            self.transport.write(LAST)

    def flood(self) -> None:
        while not self.paused_at and self.written < self.most:
            self.transport.write(FLOOD)
            self.written += len(FLOOD)

    def pause_writing(self) -> None:
        self.paused_at = self.upstream.loop.time()

    def resume_writing(self) -> None:
        self.paused_at = 0.0
        self.flood()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.slot >= 0:
            self.upstream.slots[self.slot].discard(self)
        if self in self.upstream.floods:
            self.upstream.floods.discard(self)
            self.upstream.counts["floods_cut"] += 1


class Readers:
    """What the clients saw."""

    def __init__(self, message: bytes, events: int) -> None:
        self.message = message
        self.events = events
        self.counts: Counter[str] = Counter(open=0, whole=0, events=0, lost=0, out_of_order=0, broken=0, failed=0)

    def stats(self, line: str = "") -> dict[str, Any]:
        return dict(self.counts)


class Reader(asyncio.Protocol):
    """Checks that every number comes, once, in order."""

    transport: asyncio.Transport

    def __init__(self, readers: Readers) -> None:
        self.readers = readers
        self.tail = b""
        self.next = 0
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.write(self.readers.message)
        self.readers.counts["open"] += 1

    def data_received(self, data: bytes) -> None:
        data = self.tail + data
        counts = self.readers.counts
        end = 0
        for found in _NUMBER.finditer(data):
            end = found.end()
            counts["events"] += 1
            if int(found[1]) != self.next:
                counts["out_of_order"] += 1
            self.next = int(found[1]) + 1
        if data.endswith(LAST_CHUNK) and DONE in data:
            self.ended = True
            counts["whole"] += 1
            counts["lost"] += self.readers.events - self.next
            self.transport.close()
        self.tail = data[max(end, len(data) - 600) :]

    def connection_lost(self, exc: Exception | None) -> None:
        self.readers.counts["open"] -= 1
        if not self.ended:
            self.readers.counts["broken"] += 1


class Deaf(Reader):
    """Asks and never reads; a small receive buffer, so that the kernel hides little."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        pass


async def serve(certificate: str | None, key: str | None) -> None:
    loop = asyncio.get_running_loop()
    upstream = Upstream(loop)
    context = None
    if certificate and key:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    server = await loop.create_server(lambda: Stream(upstream), "127.0.0.1", 0, ssl=context, backlog=4096)
    gc.freeze()
    await answering({"port": server.sockets[0].getsockname()[1]}, upstream.stats)


async def call(port: int, count: int, text: str, ca: str | None, deaf: bool) -> None:
    """Open all connections, a thousand a second at most, then answer questions."""
    loop = asyncio.get_running_loop()
    readers = Readers(request(text, stream=True), int(text.split()[1]))
    context = ssl.create_default_context(cafile=ca) if ca else None
    began = loop.time()
    gate = asyncio.Semaphore(64)

    async def one(number: int) -> None:
        async with gate:
            await asyncio.sleep(max(0.0, began + number / 1000 - loop.time()))
            s = socket.socket()
            s.setblocking(False)
            if deaf:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            try:
                await loop.sock_connect(s, ("127.0.0.1", port))
                await loop.create_connection(
                    lambda: (Deaf if deaf else Reader)(readers), sock=s, ssl=context,
                    server_hostname="localhost" if context else None,
                )  # fmt: skip
            except OSError:
                readers.counts["failed"] += 1
                s.close()

    await asyncio.gather(*(one(n) for n in range(count)))
    gc.freeze()
    await answering({**readers.stats(), "took_s": loop.time() - began}, readers.stats)


async def answering(ready: dict[str, Any], stats: Any) -> None:
    """Print that we are ready, then an answer for each line that comes in."""
    print(json.dumps(ready), flush=True)
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def asked() -> None:
        line = sys.stdin.readline()
        if not line:
            loop.remove_reader(0)
            ended.set_result(None)
        else:
            print(json.dumps({**stats(line), "at": time.monotonic()}), flush=True)

    loop.add_reader(0, asked)
    await ended


def main(role: str, *rest: str) -> None:
    if role == "upstream":
        uvloop.run(serve(*(rest or (None, None))))
    else:
        port, count, text, *ca = rest
        uvloop.run(call(int(port), int(count), text, ca[0] if ca else None, role == "deaf"))


if __name__ == "__main__":
    main(*sys.argv[1:])
