"""What the tests of upstream/ share: a client with a clock of its own, a server that does what the test says, a sink
that remembers, and a wire without sockets for tests that cut an answer at every byte."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop

from sluicegate.core.ports import Alike, Call, Chunk, Headers
from sluicegate.core.settings import Connections
from sluicegate.core.snapshot import Instance
from sluicegate.core.wheel import Wheel
from sluicegate.upstream.client import Client
from sluicegate.wire.headers import pairs

LIMIT_S = 20
"""How long a test may take that waits for something that never comes."""


def run(main: Callable[[], Coroutine[Any, Any, None]], loop_factory: Callable[[], Any] = uvloop.new_event_loop) -> None:
    """Run a test in a loop of its own; a bug that only the loop heard of fails it, too."""
    heard: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
        async with asyncio.timeout(LIMIT_S):
            await main()
        await spin()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(watched())
    assert not heard, heard


async def spin(turns: int = 30) -> None:
    """Let the loop do all that can be done now: loopback needs no time, only turns."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(true: Callable[[], Any]) -> None:
    """Turn the loop until it is so."""
    while not true():
        await spin(1)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """A client, its wheel and its clock."""

    def __init__(self, connect: Any = None, chance: float = 0.0) -> None:
        self.clock = Clock()
        self.wheel = Wheel()
        self.wheel.turn(self.clock.now)
        self.client = Client(asyncio.get_running_loop(), self.wheel, self.clock, lambda: chance, connect)

    def pass_time(self, seconds: float) -> None:
        """A tick after that many seconds: the wheel is late by up to one."""
        self.clock.now += seconds + 0.2
        self.wheel.turn(self.clock.now)

    def start(self, instance: Instance, body: Chunk = b"{}", **more: Any) -> Answer:
        """Start a call; its answer knows its attempt."""
        answer = more.pop("answer", None) or Answer()
        answer.attempt = self.client.start(call(instance, body, **more), answer)
        return answer

    @property
    def counts(self) -> Any:
        return self.client.counts()


def call(
    instance: Instance, body: Chunk = b"{}", connect_s: float = 5.0, repeatable: bool = True, path: str = "/x"
) -> Call:
    head = f"POST {path} HTTP/1.1\r\nhost: h\r\napi-key: very-secret\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    return Call(instance, "POST", head, body, connect_s, repeatable)


def instance(port: int, number: int = 1, **more: Any) -> Instance:
    connections = Connections(**{k: more.pop(k) for k in list(more) if k in Connections.__dataclass_fields__})
    values: dict[str, Any] = {"scheme": "http", "host": "127.0.0.1", **more}
    return Instance(
        number=number, name=f"i{number}", provider="azure_openai", port=port, base_path="", connections=connections,
        **values,
    )  # fmt: skip


class Answer:
    """A sink that remembers, and says `too late` about what comes after the end or after a cancel."""

    def __init__(self) -> None:
        self.attempt: Any = None
        self.status = 0
        self.headers: Headers = ()
        self.body = b""
        self.how = ""
        self.sent = ""
        self.cancelled = False
        self.too_late: list[str] = []
        self.chunks: list[int] = []
        self._news = asyncio.Event()
        self.on_head: Callable[[], None] = lambda: None
        self.on_data: Callable[[], None] = lambda: None
        self.on_end: Callable[[], None] = lambda: None

    def _hear(self, what: str) -> None:
        if self.how or self.cancelled or (what == "head" and self.status) or (what == "data" and not self.status):
            self.too_late.append(what)
        self._news.set()

    def head(self, status: int, headers: Headers | dict[bytes, bytes] | Alike, now: float) -> None:
        self._hear("head")
        self.status = status
        self.headers = list(pairs(headers))
        self.on_head()

    def data(self, chunk: bytes, now: float) -> None:
        assert type(chunk) is bytes and chunk
        self._hear("data")
        self.body += chunk
        self.chunks.append(len(chunk))
        self.on_data()

    def end(self, how: str, now: float) -> None:
        self._hear("end")
        self.how = how
        self.sent = self.attempt.sent if self.attempt else "nothing"
        self.on_end()

    def cancel(self) -> None:
        self.attempt.cancel()
        self.cancelled = True

    async def hear(self, true: Callable[[], Any]) -> None:
        """Wait until it is so, looking whenever something was heard."""
        while not true():
            self._news.clear()
            await self._news.wait()

    async def over(self) -> str:
        """Wait for the end."""
        await self.hear(lambda: self.how)
        assert not self.too_late, self.too_late
        return self.how


class Peer:
    """The server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> bytes:
        """One request with its body; returns the body."""
        head = await self.head()
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
        return await self.reader.readexactly(int(length[16:]))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, data: bytes) -> None:
        """Take a request, give an answer."""
        await self.request()
        self.send(data)

    def close(self) -> None:
        """Close properly: what was sent arrives, then the end."""
        self.writer.close()

    def reset(self) -> None:
        """Close with a reset."""
        s = self.writer.get_extra_info("socket")
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> bool:
        """Wait until the client closed. True: without a byte more."""
        try:
            return not await self.reader.read()
        except ConnectionError:
            return True


class Server:
    """Listens on loopback, hands out its connections in order."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self._all: list[Peer] = []
        self.port = 0

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=self._context, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for peer in self._all:
            peer.writer.transport.abort()
        await spin()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self._all.append(peer)
        self._peers.put_nowait(peer)

    @property
    def accepted(self) -> int:
        return len(self._all)

    async def peer(self) -> Peer:
        """The next connection."""
        return await self._peers.get()


class Serving:
    """A server without a task or a future a request: it says `answer` to each, in the same loop."""

    def __init__(self, answer: bytes, context: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.context = context
        self.port = 0
        self.transports: list[Any] = []

    async def __aenter__(self) -> Serving:
        serving = self

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport
                serving.transports.append(transport)

            def data_received(self, data: bytes) -> None:
                self.transport.write(serving.answer)

        self._server = await asyncio.get_running_loop().create_server(Protocol, "127.0.0.1", 0, ssl=self.context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for transport in self.transports:
            transport.abort()
        await spin()

    @property
    def connections(self) -> int:
        return len(self.transports)


class Wire:
    """A transport without a socket: the test is the other side, and decides what one read brings."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.written = bytearray()
        self.closed = False
        self.unsent = 0

    async def connect(self, factory: Callable[[], Any], host: str, port: int) -> tuple[Any, Any]:
        self.protocol = factory()
        self.closed = False
        self.protocol.connection_made(self)
        return self, self.protocol

    def read(self, data: bytes) -> None:
        """One read brings this."""
        for i in range(0, len(data), 65536):
            if not self.closed:
                part = data[i : i + 65536]
                self.protocol.get_buffer(-1)[: len(part)] = part
                self.protocol.buffer_updated(len(part))

    def write(self, data: Chunk) -> None:
        self.written += data

    def writelines(self, parts: Any) -> None:
        for part in parts:
            self.written += part

    def abort(self) -> None:
        self.closed = True

    close = abort

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str) -> Wire:
        return self

    def fileno(self) -> int:
        return -1

    def setsockopt(self, level: int, option: int, value: int) -> None: ...
    def set_write_buffer_limits(self, high: int, low: int) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


def ok(body: bytes = b"hello", *lines: bytes) -> bytes:
    """A complete answer with a length."""
    extra = b"".join(line + b"\r\n" for line in lines)
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%b\r\n%b" % (len(body), extra, body)


async def exchange(rig: Rig, server: Server, where: Instance, answer: bytes = b"", body: Chunk = b"{}") -> Peer:
    """One call that works, on a new connection; returns the server's side of it."""
    got = rig.start(where, body)
    peer = await server.peer()
    await peer.answer(answer or ok())
    assert await got.over() == "done", got.how
    return peer


Test = Callable[[], Awaitable[None]]
