"""The clients' connections: they send, and check every answer: status, length, tokens, [DONE], number of chunks.

Answers that come in one piece and are the upstream's byte for byte take the short way, the others are parsed.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import Counter, deque
from collections.abc import Iterator

import httptools

from bench.answers import BODIES
from bench.plan import Plan

EVENT_END = b"\n\n"
DONE = b"data: [DONE]\n\n"


class Run:
    """What all connections of a run share: the counts, the window, the end."""

    def __init__(self, plan: Plan, loop: asyncio.AbstractEventLoop) -> None:
        self.plan = plan
        self.loop = loop
        self.tls = ssl.create_default_context(cafile=plan.ca) if plan.ca else None
        self.answered = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.chunks = 0
        self.unlike = 0
        self.errors: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.stopping = False  # no new requests
        self.under_way = 0
        self.early = 0
        self.over: asyncio.Future[None] = loop.create_future()

    def fail(self, what: str) -> None:
        self.errors[what] += 1
        if sum(self.errors.values()) > 1000:  # nothing more to learn
            self.end()

    def began(self) -> None:
        self.under_way += 1

    def ended(self) -> None:
        self.under_way -= 1
        if self.stopping and not self.under_way:
            self.end()

    def stop(self) -> None:
        self.stopping = True
        if not self.under_way:
            self.end()

    def end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def usage(self, usage: dict[str, int]) -> None:
        self.input_tokens += usage["prompt_tokens"]
        self.output_tokens += usage.get("completion_tokens", 0)


class Answer:
    """An answer put together by a parser: whatever its framing, however many pieces."""

    def __init__(self) -> None:
        self.body: list[bytes] = []
        self.status = 0
        self.complete = False
        self.parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        self.complete = True


class Caller(asyncio.Protocol):
    """A connection for plain requests, one at a time."""

    __slots__ = ("_again", "_answer", "_began_ns", "_busy", "_request", "_run", "_turns", "transport")

    def __init__(
        self, run: Run, request: bytes, idle: deque[Caller] | None, turns: Iterator[bytes] | None = None
    ) -> None:
        self._run = run
        self._turns = turns  # where the next request comes from; None: it is always the same
        self._request = request
        self._again = idle  # where it waits to be used; None sends the next request by itself
        self._answer: Answer | None = None
        self._busy = False
        self._began_ns = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._busy:
            self._busy = False
            self._run.fail("connection lost")
            self._run.ended()

    def send(self, began_ns: int = 0) -> None:
        """Send the request. Its time is counted from `began_ns`, if that is given: when it was due."""
        self._busy = True
        self._began_ns = began_ns or time.perf_counter_ns()
        if self._turns is not None:
            self._request = next(self._turns)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        run = self._run
        if self._answer is None and data.startswith(b"HTTP/1.1 200 "):
            usage = BODIES.get(data[data.find(b"\r\n\r\n") + 4 :])
            if usage is not None:  # all of it, and nothing but it
                run.input_tokens += usage.input
                run.output_tokens += usage.output
                self._next()
                return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        answer = self._answer = self._answer or Answer()
        try:
            answer.parser.feed_data(data)
            if not answer.complete:
                return
            self._answer = None
            body = b"".join(answer.body)
            if answer.status != 200:
                self._run.fail(f"status {answer.status}: {body[:200].decode('utf-8', 'replace')}")
            else:
                self._run.usage(json.loads(body)["usage"])
                self._run.unlike += body not in BODIES
        except (httptools.HttpParserError, ValueError, LookupError, TypeError) as e:
            self._answer = None
            self._run.fail(f"not an answer: {type(e).__name__}")
        self._next()

    def _next(self) -> None:
        run = self._run
        run.answered += 1
        if self._again is None:
            if not run.stopping:
                if self._turns is not None:
                    self._request = next(self._turns)
                self.transport.write(self._request)
                return
        else:
            run.latencies.append((time.perf_counter_ns() - self._began_ns) / 1e3)
            self._again.append(self)
        self._busy = False
        run.ended()


class Reader(asyncio.Protocol):
    """A connection for one stream, which must be complete and have as many events as the plan says."""

    __slots__ = (
        "_done",
        "_events",
        "_over",
        "_parser",
        "_request",
        "_rest",
        "_run",
        "_status",
        "_tokens",
        "_transport",
    )

    def __init__(self, run: Run, request: bytes) -> None:
        self._run = run
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""  # an unfinished event
        self._events = 0
        self._done = False
        self._tokens = False
        self._status = 0
        self._over = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._run.began()
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._over:
            self._finish("stream cut")

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as e:
            self._finish(f"not an answer: {type(e).__name__}")

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        end = data.rfind(EVENT_END) + 2
        if end < 2:
            self._rest = data
            return
        self._rest = data[end:]
        events = data.count(EVENT_END)
        if DONE in data:
            self._done = data.endswith(DONE)
            events -= 1
        if b'"usage":{' in data:
            for line in data.splitlines():
                if b'"usage":{' in line:
                    self._run.usage(json.loads(line.removeprefix(b"data:"))["usage"])
                    self._tokens = True
        self._events += events
        self._run.chunks += events

    def on_message_complete(self) -> None:
        plan = self._run.plan
        if self._status != 200:
            self._finish(f"status {self._status}: {self._rest[:200].decode('utf-8', 'replace')}")
        elif not self._done or self._rest:
            self._finish("stream without [DONE] at its end")
        elif self._events != plan.chunks:
            self._finish(f"{self._events} events instead of {plan.chunks}")
        elif self._tokens != plan.ask_usage:
            self._finish("usage where none was asked for" if self._tokens else "no usage")
        else:
            self._finish("")

    def _finish(self, error: str) -> None:
        if self._over:
            return
        self._over = True
        run = self._run
        if error:
            run.fail(error)
        else:
            run.answered += 1
        if not run.stopping:
            run.early += 1
        run.ended()
        self._transport.close()
