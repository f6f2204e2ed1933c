"""A call under way, as its caller holds it: waiting for a connection, on one, or over."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from sluicegate.core.events import Sent
from sluicegate.core.ports import Call, Sink

if TYPE_CHECKING:
    from sluicegate.upstream.connection import Connection
    from sluicegate.upstream.pool import Pool


class Attempt:
    """The handle of core/ports.py. It outlives the connection it was on: what it says then is what was last known."""

    __slots__ = ("_sent", "again", "call", "connection", "deadline", "over", "paused", "pool", "sink", "slot")

    def __init__(self, pool: Pool, call: Call, sink: Sink) -> None:
        self.pool = pool
        self.call = call
        self.sink = sink
        self.connection: Connection | None = None
        self.over = False
        "Ended or cancelled: nothing is called back any more."
        self.again = False
        "The kept connection it was on turned out to be dead: it takes only a new one, and fails if that dies too."
        self.paused = False
        self.deadline = inf
        "Until when it waits for a connection; never looked at while it is on one."
        self.slot = -1
        self._sent: Sent = "nothing"

    def __repr__(self) -> str:
        return f"Attempt(instance={self.call.instance.name!r}, sent={self.sent!r}, over={self.over})"

    @property
    def sent(self) -> Sent:
        """How much of the request may have reached the upstream; in doubt more."""
        connection = self.connection
        return self._sent if connection is None else connection.sent()

    def pause(self) -> None:
        """Stop reading the answer. What one read brought is delivered still, at most READ_BYTES."""
        if not self.paused:
            self.paused = True
            if self.connection is not None:
                self.connection.transport.pause_reading()

    def resume(self) -> None:
        """Go on reading it."""
        if self.paused:
            self.paused = False
            if self.connection is not None:
                self.connection.transport.resume_reading()

    def cancel(self) -> None:
        """Give up: the connection is closed, or the place in the queue freed, before this returns."""
        if self.over:
            return
        self.over = True
        connection = self.connection
        if connection is None:
            self.pool.forget(self)
        else:
            self._sent = connection.sent()
            self.connection = None
            connection.drop()

    # ------------------------------------------------------------------ what the pool and the connection do with it

    def detach(self) -> None:
        """Leave the connection, which is dead, for another."""
        if self.connection is not None:
            self._sent = self.connection.sent()
            self.connection = None

    def end(self, how: str, sent: Sent, now: float) -> None:
        """Tell the end, once."""
        self.over = True
        self.connection = None
        self._sent = sent
        self.sink.end(how, now)

    # ------------------------------------------------------------------ while it waits (core/wheel.py)

    def due(self, now: float) -> float:
        return inf if self.over or self.connection is not None else self.deadline

    def expire(self, now: float) -> None:
        self.pool.forget(self, late=True)
        self.end("connect.timeout", self._sent, now)
