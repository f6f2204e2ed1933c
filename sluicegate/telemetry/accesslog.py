"""The access log: a line of JSON for each request, written by the keeper.

Of requests that were admitted it is made from the journal, on its way into the ledger: a worker pays nothing for it,
and a request that was cut short by its worker's death has its line, too. Of those that were refused before that, the
worker tells. A thread of its own writes, because a pipe that nobody reads blocks its writer; what finds no room in its
queue is dropped and counted. Neither prompts nor answers nor keys are in it. Of requests that were refused before any
exchange (edge/early.py) there are so many lines a second, and one that says how many more there were.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from sluicegate.core.booked import FEW, Settled
from sluicegate.core.entry import Entry

WAITING = 256
"""Batches in the queue: a worker sends at most 20 a second, the mover about as many."""

END_S = 2.0
"""At the end: how long the queue may take to be written."""

STANDARD = {"stdout": 1, "stderr": 2}


class Tokens(msgspec.Struct):
    """Disjoint classes."""

    input: int
    cached: int
    cache_write: int
    output: int
    reasoning: int


class Tried(msgspec.Struct, omit_defaults=True):
    """One attempt."""

    deployment: str
    status: int
    ms: float
    cause: str = ""


class Line(msgspec.Struct, omit_defaults=True):
    """One line. What has no value is left out."""

    time: str
    id: str
    api: str
    tenant: str = ""
    consumer: str = ""
    model: str = ""
    status: int | None = None
    reason: str = ""
    how: str = ""
    state: str = ""
    stream: bool | None = None
    ms: float | None = None
    first_token_ms: float | None = None
    tokens: Tokens | None = None
    estimated: bool | None = None
    attempts: list[Tried] = []
    trail: str = ""
    client: str = ""
    more: int = 0


class AccessLog:
    """Lives in the keeper. `consumer` and `deployment` give names for numbers."""

    def __init__(self, consumer: Callable[[int], str], deployment: Callable[[int], str]) -> None:
        self._consumer = consumer
        self._deployment = deployment
        self._where = ""
        self._queue: queue.Queue[bytes | str | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._over = False
        self._moved = False
        "To be opened anew, for which there was no room in the queue."
        self.dropped = 0
        "Lines that found no room or no file."

    def configure(self, where: str) -> None:
        """`stdout`, `stderr`, a path, or empty for none; from now on."""
        if where != self._where:
            self._where = where
            self._moved = not self._put(where)
        if where and self._thread is None:
            self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
            self._thread.start()

    def reopen(self) -> None:
        """The file was moved away (SIGHUP): open it anew."""
        if self._where:
            self._moved = not self._put(self._where)

    def take(self, entries: Sequence[Entry], dropped: int = 0) -> None:
        """Requests that were refused."""
        self.dropped += dropped
        if self._where:
            self._lines([refused(e, self._consumer(e.consumer)) for e in entries])

    def settled(self, records: Sequence[Settled]) -> None:
        """Requests that were admitted, and are in the ledger. From the mover's thread."""
        if self._where:
            consumer, deployment = self._consumer, self._deployment
            lines = []
            for r in records:
                lines.append(line(r, consumer(r.consumer), deployment))
                if len(records) <= FEW:
                    os.sched_yield()  # a worker that waits for this core goes first
            self._lines(lines)

    def _lines(self, lines: list[Line]) -> None:
        if lines and not self._put(_encoder.encode_lines(lines)):
            self.dropped += len(lines)

    def stop(self) -> None:
        """Write what is waiting, then end."""
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                self._queue.put(None, timeout=END_S)
            except queue.Full:
                self._over = True  # it stands still: it ends with the next line that is read, or with the process
                return
            thread.join(END_S)

    def _put(self, what: bytes | str) -> bool:
        try:
            self._queue.put_nowait(what)
        except queue.Full:
            return False
        return True

    def _write(self) -> None:
        fd, where = -1, ""
        torn = False
        while (what := self._queue.get()) is not None and not self._over:
            if isinstance(what, str):
                _close(fd)
                where = what
                fd, torn = _open(where), False
                continue
            if self._moved:
                self._moved = torn = False
                _close(fd)
                fd, where = -1, self._where
            if fd < 0:  # its folder may be there by now
                fd = _open(where)
            rest = memoryview(b"\n" + what if torn else what)
            try:
                while rest:
                    rest = rest[os.write(fd, rest) :]
                torn = False
            except OSError:  # a full disk, a closed pipe, no file: traffic goes on without its log
                left = bytes(rest)
                self.dropped += min(left.count(b"\n"), what.count(b"\n"))
                if len(left) <= len(what):
                    begun = what[: len(what) - len(left)]
                    torn = bool(begun) and not begun.endswith(b"\n")
        _close(fd)


def line(r: Settled, consumer: str, deployment: Callable[[int], str]) -> Line:
    """Of a request that was admitted."""
    first, tokens = r.first_token_us, r.tokens
    return Line(
        stamp(r.wall_us), r.id, r.api, r.tenant, consumer, r.model, r.status, r.reason, r.how, r.state, r.stream,
        _ms(r.took_us), None if first is None else _ms(first), None if tokens is None else Tokens(*tokens),
        None if tokens is None else r.usage_source == "estimated",
        [Tried(deployment(t.deployment), t.status, _ms(t.took_us), t.cause) for t in r.attempts],
        client="" if r.context is None else r.context.client,
    )  # fmt: skip


def refused(e: Entry, consumer: str) -> Line:
    """Of one that was not."""
    return Line(
        stamp(int(e.wall * 1e6)), e.id, e.api, e.tenant, consumer, "", e.status, e.reason, e.how, "refused", e.stream,
        _ms(e.took_s * 1e6), trail=e.trail, client=e.client, more=e.more,
    )  # fmt: skip


def encoded(of: Line) -> bytes:
    """As JSON, without its end."""
    return _encoder.encode(of)


_encoder = msgspec.json.Encoder()
_second = (0, "")


def stamp(wall_us: int) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    global _second
    second, rest = divmod(wall_us // 1000, 1000)
    known, text = _second
    if second != known:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _second = (second, text)
    return f"{text}.{rest:03d}Z"


def _ms(us: float) -> float:
    return round(us / 1000, 1)


def _open(where: str) -> int:
    if not where:
        return -1
    if where in STANDARD:
        return os.dup(STANDARD[where])
    try:
        return os.open(where, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    except OSError:
        return -1


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)
