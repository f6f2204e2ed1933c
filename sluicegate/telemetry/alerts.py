"""Alerts to whoever the configuration names: one POST for each notice, as a CloudEvent in JSON.

Nobody waits for a sink. Each has a queue with an end and a task of its own: one notice at a time, ten seconds for each
attempt, no redirect is followed, the answer's body is not read. A sink that is gone is tried three times, or for as
long as `lost: spool` says; what it refuses (4xx) is not sent again. What is lost is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from urllib.parse import urlsplit

from sluicegate import __version__
from sluicegate.core.addresses import forbidden
from sluicegate.core.settings import AlertSink

QUEUE = 1000
"""Notices that may wait for one sink; beyond it the oldest is lost."""

ATTEMPT_S = 10.0
ATTEMPTS = 3
PAUSES_S = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Between attempts."""

LEAVING_S = 2.0
"""When the gateway ends, what is queued may take so long."""

AGAIN = (408, 425, 429)
"""Statuses below 500 after which another attempt can help."""

TYPE = "io.sluicegate.alert."


class Notice(Protocol):
    """What is told, as keeper/alerts.py has it."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def at(self) -> float: ...
    @property
    def since(self) -> float: ...
    @property
    def times(self) -> int: ...


class Unsent(Exception):
    """Why a notice was not taken. `again`: another attempt may help."""

    def __init__(self, why: str, again: bool) -> None:
        super().__init__(why)
        self.again = again


UNSENT = (OSError, Unsent, TimeoutError, EOFError, ValueError, asyncio.LimitOverrunError)
"""What an attempt can end with."""


def event(notice: Notice, gateway: str, region: str) -> bytes:
    """The notice as a CloudEvent, version 1.0, structured."""
    what = f"{notice.subject}: {notice.detail}" if notice.detail else notice.subject
    return json.dumps({
        "specversion": "1.0", "id": f"{gateway}-{notice.id}", "source": f"/sluicegate/{gateway}",
        "type": TYPE + notice.state, "subject": notice.subject, "time": utc(notice.at),
        "datacontenttype": "application/json",
        "data": {
            "kind": notice.kind, "state": notice.state, "subject": notice.subject, "detail": notice.detail,
            "gateway": gateway, "region": region, "since": utc(notice.since), "times": notice.times,
            "text": f"[{notice.state}] {gateway}: {notice.kind}: {what}",
        },
    }).encode()  # fmt: skip


class Sink:
    """One of those who are told. `named`: what may be shown of its address."""

    def __init__(self, spec: AlertSink, say: Callable[..., None], now: Callable[[], float]) -> None:
        self.spec = spec
        self._url = urlsplit(spec.to.reveal())
        self.named = f"{self._url.scheme}://{self._url.netloc}"
        self._say = say
        self._now = now
        self.waiting: deque[tuple[float, bytes]] = deque()
        "When it was queued, and what is sent."
        self.sent = self.lost = 0
        self.failing = ""
        self._more = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self._tls: ssl.SSLContext | None = None
        self.task = asyncio.get_running_loop().create_task(self._run())

    def wants(self, kind: str) -> bool:
        """Whether it is told of these."""
        return not self.spec.kinds or kind in self.spec.kinds

    def put(self, body: bytes) -> None:
        """To be sent. Never waits."""
        if len(self.waiting) >= QUEUE:
            self.waiting.popleft()
            self.lost += 1
        self.waiting.append((self._now(), body))
        self.idle.clear()
        self._more.set()

    async def _run(self) -> None:
        while True:
            while not self.waiting:
                self.idle.set()
                self._more.clear()
                await self._more.wait()
            await self._one()

    async def _one(self) -> None:
        queued, body = self.waiting[0]
        attempts = 0
        while self.waiting and self.waiting[0][1] is body:  # the queue may have dropped it meanwhile
            attempts += 1
            try:
                async with asyncio.timeout(ATTEMPT_S):
                    await self._post(body)
            except UNSENT as e:
                why = str(e) if isinstance(e, Unsent) else said(e)
                self._tell(why)
                over = attempts >= ATTEMPTS if not self.spec.spool_s else self._now() > queued + self.spec.spool_s
                if over or (isinstance(e, Unsent) and not e.again):
                    self.lost += 1
                    break
                await asyncio.sleep(PAUSES_S[min(attempts, len(PAUSES_S)) - 1])
            else:
                self.sent += 1
                self._tell("")
                break
        if self.waiting and self.waiting[0][1] is body:
            self.waiting.popleft()

    def _tell(self, why: str) -> None:
        if why != self.failing:
            self.failing = why
            self._say("alert.sink", to=self.named, **({"error": why} if why else {"state": "well"}))

    async def _post(self, body: bytes) -> None:
        """One attempt. Raises Unsent, OSError, TimeoutError."""
        url = self._url
        host, tls = url.hostname or "", url.scheme == "https"
        port = url.port or (443 if tls else 80)
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(info[4][0]) for info in found if not forbidden(str(info[4][0]))]
        if not addresses:
            raise Unsent("is a metadata address", False)
        if tls and self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        for n, address in enumerate(addresses, 1):
            try:
                reader, writer = await asyncio.open_connection(
                    address, port, ssl=self._tls if tls else None, server_hostname=host if tls else None
                )
                break
            except OSError:
                if n == len(addresses):
                    raise
        try:
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            head = (
                f"POST {path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/cloudevents+json\r\n"
                f"Content-Length: {len(body)}\r\nUser-Agent: sluicegate/{__version__}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode("ascii") + body)
            await writer.drain()
            line = await reader.readuntil(b"\n")
            parts = line.split(None, 2)
            if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
                raise Unsent("answers something that is not HTTP", True)
            status = int(parts[1])
            if not 200 <= status < 300:
                raise Unsent(f"answers {status}", status >= 500 or status in AGAIN)
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(0.5):
                    await writer.wait_closed()


class Poster:
    """All sinks of a gateway. `say(event, **facts)`: a line on stderr."""

    def __init__(self, say: Callable[..., None], now: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._now = now
        self._gateway = self._region = ""
        self.sinks: list[Sink] = []

    def configure(self, sinks: Iterable[AlertSink], gateway: str, region: str) -> None:
        """These from now on; what waits for one that stays, goes on waiting."""
        self._gateway, self._region = gateway, region
        before = {s.spec: s for s in self.sinks}
        self.sinks = [
            before.pop(spec) if spec in before else Sink(spec, self._say, self._now) for spec in dict.fromkeys(sinks)
        ]
        for gone in before.values():
            gone.task.cancel()

    def post(self, notice: Notice) -> None:
        """To all who want this kind."""
        body = b""
        for sink in self.sinks:
            if sink.wants(notice.kind):
                body = body or event(notice, self._gateway, self._region)
                sink.put(body)

    def counts(self) -> list[dict[str, Any]]:
        """How each sink is; of its address only what holds no token."""
        return [
            {"to": s.named, "waiting": len(s.waiting), "sent": s.sent, "lost": s.lost, "error": s.failing}
            for s in self.sinks
        ]

    async def stop(self) -> None:
        """Send what is queued, if that is quick."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVING_S):
                for sink in self.sinks:
                    await sink.idle.wait()
        for sink in self.sinks:
            sink.task.cancel()
        await asyncio.gather(*(s.task for s in self.sinks), return_exceptions=True)


def said(error: BaseException) -> str:
    """For people, and without any address."""
    if isinstance(error, TimeoutError):
        return "does not answer"
    if isinstance(error, ssl.SSLError):
        return f"has a certificate that is not trusted ({error.reason or type(error).__name__})"
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return "answers something that is not HTTP"


def utc(at: float) -> str:
    """A moment, to the millisecond."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.{int(at * 1000) % 1000:03d}Z"
