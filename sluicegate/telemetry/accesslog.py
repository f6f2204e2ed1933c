"""The access log: a line of JSON for each request that reached an exchange, written by the keeper.

A thread of its own writes, because a pipe that nobody reads blocks its writer; what finds no room in its queue is
dropped and counted. Neither prompts nor answers nor keys are in it. Requests that were refused before their head was
understood have no line: they are counted.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from sluicegate.core.entry import Entry, Tried

WAITING = 256
"""Batches in the queue: a worker sends at most 20 a second."""

END_S = 2.0
"""At the end: how long the queue may take to be written."""

CLASSES = ("input", "cached", "cache_write", "output", "reasoning")
STANDARD = {"stdout": 1, "stderr": 2}


class AccessLog:
    """Lives in the keeper. `consumer` gives a name for a number, `config` the hash in force."""

    def __init__(self, consumer: Callable[[int], str]) -> None:
        self._consumer = consumer
        self._where = ""
        self._queue: queue.Queue[bytes | str | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._over = False
        self.dropped = 0
        "Lines that found no room or no file."

    def configure(self, where: str) -> None:
        """`stdout`, `stderr`, a path, or empty for none; from now on."""
        if where != self._where:
            self._where = where
            self._put(where)
        if where and self._thread is None:
            self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
            self._thread.start()

    def reopen(self) -> None:
        """The file was moved away (SIGHUP): open it anew."""
        if self._where:
            self._put(self._where)

    def take(self, entries: Iterable[Entry], dropped: int = 0) -> None:
        """Write these, soon."""
        self.dropped += dropped
        lines = [line(e, self._consumer(e.consumer)) for e in entries]
        if self._where and lines and not self._put(b"".join(lines)):
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
        fd = -1
        while (what := self._queue.get()) is not None and not self._over:
            if isinstance(what, str):
                _close(fd)
                fd = _open(what)
                continue
            try:
                rest = memoryview(what)
                while rest:
                    rest = rest[os.write(fd, rest) :]
            except OSError:  # a full disk, a closed pipe, no file: traffic goes on without its log
                self.dropped += what.count(b"\n")
        _close(fd)


def line(entry: Entry, consumer: str) -> bytes:
    """One entry as its line. Keys without a value are left out."""
    facts: dict[str, Any] = {
        "time": datetime.fromtimestamp(entry.wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "id": entry.id, "api": entry.api, "tenant": entry.tenant, "consumer": consumer, "model": entry.model,
        "status": entry.status, "reason": entry.reason, "how": entry.how, "state": entry.state,
        "stream": entry.stream, "ms": _ms(entry.took_s),
        "first_token_ms": None if entry.first_token_s is None else _ms(entry.first_token_s),
    }  # fmt: skip
    if entry.tokens is not None:
        facts["tokens"] = dict(
            zip(("input", "cached", "cache_write", "output", "reasoning"), entry.tokens, strict=True)
        )
        facts["estimated"] = entry.estimated
    if entry.attempts:
        facts["attempts"] = [_tried(t) for t in entry.attempts]
    return json.dumps({k: v for k, v in facts.items() if v not in (None, "")}).encode() + b"\n"


def _tried(tried: Tried) -> dict[str, Any]:
    facts: dict[str, Any] = {"deployment": tried.deployment, "status": tried.status, "ms": _ms(tried.took_s)}
    if tried.cause:
        facts["cause"] = tried.cause
    return facts


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


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
