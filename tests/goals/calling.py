"""A client of the goals' own: small, so that thousands can be run, and it says when what arrived."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tests.gateway import KEY

PATH = "/openai/deployments/{}/chat/completions?api-version=2024-10-21"


def request(text: str, stream: bool = False, model: str = "chat", key: str = KEY, name: str = "") -> bytes:
    """A whole request as bytes. `name`: goes up as x-ms-client-request-id, by which it is found in a ledger."""
    body = json.dumps({"messages": [{"role": "user", "content": text}], "stream": stream}).encode()
    head = (
        f"POST {PATH.format(model)} HTTP/1.1\r\nhost: gateway\r\napi-key: {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        + (f"x-ms-client-request-id: {name}\r\n" if name else "")
        + "\r\n"
    )
    return head.encode() + body


class Answered:
    """One answer, and when."""

    def __init__(self) -> None:
        self.asked_at = time.monotonic()
        self.head_at = 0.0
        self.ended_at = 0.0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.whole = False
        "Complete by its framing."

    @property
    def took(self) -> float:
        return self.ended_at - self.asked_at

    @property
    def framed_error(self) -> str:
        """The code of the error event with which a stream ended, empty if with none."""
        last = self.body.rstrip().rsplit(b"\n\n", 1)[-1]
        error = json.loads(last[6:]).get("error") if last.startswith(b"data: {") else None
        return str(error["code"]) if error else ""


class Caller:
    """One kept connection to the gateway."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.writer: asyncio.StreamWriter | None = None
        self.reader: asyncio.StreamReader

    async def open(self) -> None:
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            await asyncio.wait([asyncio.ensure_future(self.writer.wait_closed())])
            self.writer = None

    async def ask(self, message: bytes) -> Answered:
        """Send, read to the end. A connection that breaks gives an answer that is not whole."""
        answered = Answered()
        try:
            await self.open()
            assert self.writer is not None
            self.writer.write(message)
            await self._head(answered)
            await self._body(answered)
            answered.whole = True
        except (OSError, asyncio.IncompleteReadError):
            await self.close()
        answered.ended_at = time.monotonic()
        if answered.headers.get("connection") == "close":
            await self.close()
        return answered

    async def _head(self, answered: Answered) -> None:
        raw = await self.reader.readuntil(b"\r\n\r\n")
        answered.head_at = time.monotonic()
        first, *lines = raw.decode("latin-1").split("\r\n")
        answered.status = int(first.split()[1])
        answered.headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}

    async def _body(self, answered: Answered) -> None:
        if "content-length" in answered.headers:
            answered.body = await self.reader.readexactly(int(answered.headers["content-length"]))
            return
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            answered.body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)


async def ask_all(port: int, messages: Sequence[bytes], at_once: int = 20) -> list[Answered]:
    """All messages, some at once, each caller on one connection; answers in the order of the messages."""
    found: list[Answered | None] = [None] * len(messages)
    left = iter(range(len(messages)))

    async def call() -> None:
        caller = Caller(port)
        for number in left:
            found[number] = await caller.ask(messages[number])
        await caller.close()

    await asyncio.gather(*(call() for _ in range(at_once)))
    return [a for a in found if a is not None]


async def steadily(rate: float, seconds: float, what: Callable[[int], Awaitable[Any]]) -> list[Any]:
    """Begin `what` so many times a second, whether or not those before have ended."""
    began = asyncio.get_running_loop().time()
    under_way = []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - asyncio.get_running_loop().time()))
        under_way.append(asyncio.ensure_future(what(number)))
    return await asyncio.gather(*under_way)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share lies; of few values the largest but so many."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
