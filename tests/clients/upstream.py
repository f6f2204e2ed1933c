"""An upstream of the test's own: it says, byte for byte, what the test wants, and remembers what it saw.

A script is a coroutine that is given the request and the wire it came on. The simulator knows how Azure behaves; here
nothing is known, so that a test can lie in ways that no simulator would.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

JSON = b"content-type: application/json\r\n"
EVENTS = b"content-type: text/event-stream; charset=utf-8\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Asked:
    """One request, as it arrived, and what became of its connection."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.at = time.monotonic()
        self.head = head
        self.body = body
        self.answered_at: float | None = None
        "When the script ended."
        self.closed_at: float | None = None
        "When the other side closed, if it did while the script ran."
        self.written = 0

    @property
    def fields(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The last message."""
        said: str = self.fields["messages"][-1]["content"]
        return said

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode()


class Wire(asyncio.Protocol):
    """One connection: requests are read, scripts answer them one after another."""

    transport: asyncio.Transport

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.buffer = b""
        self.lost = asyncio.Event()
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.task: asyncio.Task[None] | None = None
        self.asked: Asked | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.upstream.wires.add(self)
        self.upstream.connected += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.upstream.wires.discard(self)
        self.lost.set()
        self.flowing.set()
        if self.asked is not None and self.asked.answered_at is None:
            self.asked.closed_at = time.monotonic()

    def pause_writing(self) -> None:
        self.flowing.clear()

    def resume_writing(self) -> None:
        self.flowing.set()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.next()

    def next(self) -> None:
        """Begin to answer, if a request is complete."""
        end = self.buffer.find(b"\r\n\r\n")
        if self.task is not None or end < 0:
            return
        found = _LENGTH.search(self.buffer, 0, end + 2)
        size = int(found[1]) if found else 0
        if len(self.buffer) < end + 4 + size:
            return
        self.asked = Asked(self.buffer[:end], self.buffer[end + 4 : end + 4 + size])
        self.buffer = self.buffer[end + 4 + size :]
        self.upstream.asked.append(self.asked)
        self.task = asyncio.get_running_loop().create_task(self.answer(self.asked))

    async def answer(self, asked: Asked) -> None:
        try:
            await self.upstream.script(asked, self)
            asked.answered_at = time.monotonic()
        except asyncio.CancelledError:
            self.transport.abort()
            raise
        except Exception as bug:
            self.upstream.bugs.append(bug)
            self.transport.abort()
        self.task = None
        if not self.transport.is_closing():
            self.next()

    # ------------------------------------------------------------------ what scripts use

    def write(self, *parts: bytes) -> None:
        data = b"".join(parts)
        if self.asked is not None:
            self.asked.written += len(data)
        self.transport.write(data)

    async def drained(self) -> None:
        """The peer takes what is written."""
        await self.flowing.wait()

    async def gone(self, seconds: float) -> bool:
        """Wait for the other side to close."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.lost.wait()
        return self.lost.is_set()

    def fin(self) -> None:
        """Close in order: whatever was written arrives, then the end."""
        self.transport.close()

    def rst(self) -> None:
        """Close with a reset."""
        s = self.transport.get_extra_info("socket")
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


Script = Callable[[Asked, Wire], Awaitable[None]]


class Upstream:
    """`with Upstream(script) as upstream`: listening on `upstream.port`, in a thread with a loop of its own."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.tls = tls
        self.port = 0
        self.asked: list[Asked] = []
        self.connected = 0
        self.wires: set[Wire] = set()
        self.bugs: list[BaseException] = []
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="upstream", daemon=True)

    def __enter__(self) -> Upstream:
        self._thread.start()
        assert self._up.wait(20)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self.bugs, self.bugs

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await self._loop.create_server(lambda: Wire(self), "127.0.0.1", 0, ssl=self.tls, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        await self._stop.wait()
        server.close()
        for wire in list(self.wires):
            wire.transport.abort()
            if wire.task is not None:
                wire.task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


# ---------------------------------------------------------------------- bytes


def head(headers: bytes, status: bytes = b"200 OK", length: int | None = None) -> bytes:
    """A response head; chunked without a length."""
    framing = CHUNKED if length is None else b"content-length: %d\r\n" % length
    return b"HTTP/1.1 " + status + b"\r\nx-request-id: upstream-id\r\n" + headers + framing + b"\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def piece(content: str | None = None, finish: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    """One streamed chunk with one choice."""
    if content is not None:
        delta["content"] = content
    return {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-2024-11-20",
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
    }  # fmt: skip


def usage(prompt: int = 11, completion: int = 7) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def usage_event(**tokens: int) -> dict[str, Any]:
    return {**piece(), "choices": [], "usage": usage(**tokens)}


def whole(*texts: str, finish: str = "stop", tools: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A plain answer, a choice for each text."""
    choices = []
    for index, text in enumerate(texts):
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if tools:
            message = {"role": "assistant", "content": None, "tool_calls": tools}
        choices.append({"index": index, "message": message, "finish_reason": finish, "logprobs": None})
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-11-20",
        "choices": choices, "usage": usage(),
    }  # fmt: skip


def error(status: bytes, code: str, message: str, more: bytes = b"", **fields: Any) -> bytes:
    """A whole refusal, as Azure writes them."""
    body = json.dumps({"error": {"code": code, "message": message, **fields}}).encode()
    return head(JSON + more, status, len(body)) + body


def plain(value: object) -> bytes:
    """A whole answer."""
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return head(JSON, length=len(body)) + body


def streamed(*events: bytes) -> bytes:
    """A whole streamed answer, one chunk for each event."""
    return head(EVENTS) + b"".join(map(chunk, events)) + LAST_CHUNK
