"""The connections to one instance: the idle ones, those being opened, and the calls that wait for one."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

from sluicegate.core.snapshot import Instance
from sluicegate.upstream.attempt import Attempt
from sluicegate.upstream.connection import BUSY, IDLE, Connection
from sluicegate.upstream.opening import Opening
from sluicegate.wire.headers import Like

if TYPE_CHECKING:
    from sluicegate.upstream.client import Client
    from sluicegate.upstream.tls import Session

AHEAD_S = 5.0
"""How long a connect that no call waits for may take."""

PAUSE_S = 1.0
PAUSE_MOST_S = 60.0
"""After a connect ahead of time failed: the first pause before the next, doubled up to the longest."""


SKIP = 16
"""After an answer that should have been like those before it and was not: so many are read by the parser."""


class Pool:
    """Of one instance. LIFO: the connection used last is the likeliest to be alive, the others may age away.

    Any free connection serves the call that waits longest, whichever call it was opened for; a connect that fails
    takes that call with it, unless enough others are under way.
    """

    __slots__ = (
        "busy", "client", "closed", "idle", "instance", "like", "names", "opened", "openings", "pause_s",
        "paused_until", "resumed", "session", "settings", "skip", "slot", "waiting",
    )  # fmt: skip

    def __init__(self, client: Client, instance: Instance) -> None:
        self.client = client
        self.instance = instance
        self.settings = instance.connections
        self.idle: list[Connection] = []
        self.busy = 0
        self.openings: dict[Opening, None] = {}
        "Connects under way, oldest first."
        self.waiting: deque[Attempt] = deque()
        self.session: Session | None = None
        self.closed = False
        self.like: Like | None = None
        "Reads answers of which there were some like it."
        self.names: tuple[bytes, ...] = ()
        "Of the headers of the last answer that the parser read."
        self.skip = 0
        "Answers for which it need not be tried."
        self.opened = 0
        self.resumed = 0
        self.pause_s = PAUSE_S
        self.paused_until = 0.0
        self.slot = -1

    def __repr__(self) -> str:
        return (
            f"Pool({self.instance.name!r}, idle={len(self.idle)}, busy={self.busy}, "
            f"connecting={len(self.openings)}, waiting={len(self.waiting)}, closed={self.closed})"
        )

    # ------------------------------------------------------------------ calls

    def start(self, attempt: Attempt) -> None:
        """Put the call on a connection, now or when there is one."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.transport.is_closing():
                connection.drop()
                continue
            self.busy += 1
            connection.send(attempt)
            if len(idle) < self.settings.idle_min:
                self.grow()
            return
        self.wait(attempt)

    def wait(self, attempt: Attempt) -> None:
        """Queue it for a connection."""
        client = self.client
        attempt.deadline = client.now() + attempt.call.connect_s
        self.waiting.append(attempt)
        client.wheel.watch(attempt, attempt.deadline)
        self.grow()

    def repeat(self, attempt: Attempt) -> None:
        """The kept connection it was on was dead: once more, on a new one."""
        attempt.again = True
        self.wait(attempt)

    def forget(self, attempt: Attempt, late: bool = False) -> None:
        """It waits no longer. `late`: for it took too long, so that the oldest connect is likeliest to hang."""
        self.client.wheel.drop(attempt)
        try:
            self.waiting.remove(attempt)
        except ValueError:
            return
        surplus = len(self.openings) - self.wanted()
        if surplus > 0:
            openings = list(self.openings)
            for opening in openings[:surplus] if late else openings[-surplus:]:
                opening.abort()
        self.grow()

    def note(self, head: dict[bytes, bytes]) -> None:
        """The parser read the head of an answer: when it has the names of the one before it, the next may, too."""
        names = tuple(head)
        like = self.like
        if like is not None and like.names == names:
            self.skip = SKIP if not self.skip else self.skip - 1  # alike, and not taken: odd values
        elif names != self.names:
            self.names = names
        else:
            try:
                self.like = Like(names)
                self.skip = 0
            except ValueError:
                pass

    # ------------------------------------------------------------------ connections

    def wanted(self) -> int:
        """How many connects should be under way."""
        ahead = 0
        if self.settings.idle_min and not self.closed and self.client.now() >= self.paused_until:
            ahead = max(0, self.settings.idle_min - len(self.idle))
        return min(len(self.waiting) + ahead, self.settings.handshakes)

    def grow(self) -> None:
        """Begin as many connects as are wanted."""
        for _ in range(self.wanted() - len(self.openings)):
            limit_s = self.waiting[-1].call.connect_s if self.waiting else AHEAD_S
            self.openings[Opening(self, limit_s)] = None

    def connection(self) -> Connection:
        """A new one, not connected yet. Retired after life_s less up to a quarter, so that not all go at once."""
        client = self.client
        retire_at = client.now() + self.settings.life_s * (1 - client.chance() / 4)
        return (
            client.sealing.connection(self, retire_at)
            if self.instance.scheme == "https"
            else Connection(self, retire_at)
        )

    def came(self, opening: Opening, connection: Connection) -> None:
        """A connect succeeded: whoever waits longest gets it."""
        del self.openings[opening]
        self.opened += 1
        self.pause_s, self.paused_until = PAUSE_S, 0.0
        if self.waiting:
            self.give(connection, self.waiting.popleft())
        else:
            self.keep(connection, self.client.now())
        self.grow()

    def failed(self, opening: Opening, how: str) -> None:
        """A connect failed. A call fails with it if more wait than connects are left; one that hung takes none with
        it, for the calls have their own time."""
        del self.openings[opening]
        now = self.client.now()
        if len(self.waiting) <= len(self.openings):
            self.paused_until = now + self.pause_s * (1 - self.client.chance() / 4)
            self.pause_s = min(self.pause_s * 2, PAUSE_MOST_S)
            if self.settings.idle_min:
                self.client.wheel.watch(self, self.paused_until)
        elif how != "connect.timeout":
            attempt = self.waiting.popleft()
            self.client.wheel.drop(attempt)
            attempt.end(how, attempt.sent, now)
        self.grow()

    def release(self, connection: Connection, now: float) -> None:
        """A connection is free and clean: the next call that waits gets it, unless it is too old."""
        self.busy -= 1
        if self.waiting and not self.closed and now < connection.retire_at:
            for i, attempt in enumerate(self.waiting):
                if not attempt.again:
                    del self.waiting[i]
                    self.give(connection, attempt)
                    return
        self.keep(connection, now)

    def give(self, connection: Connection, attempt: Attempt) -> None:
        """This call goes on that connection."""
        self.client.wheel.drop(attempt)
        self.busy += 1
        connection.send(attempt)

    def keep(self, connection: Connection, now: float) -> None:
        """Nobody waits for it: keep it for a while, if there is room."""
        connection.state = IDLE
        self.idle.append(connection)
        settings = self.settings
        if self.closed or now >= connection.retire_at or len(self.idle) > settings.idle_max:
            connection.close()
            return
        connection.since = now
        if connection.slot < 0:
            self.client.wheel.watch(connection, min(now + settings.idle_s, connection.retire_at))

    def left(self, connection: Connection, state: int) -> None:
        """It is closed; `state`: what it was."""
        self.client.wheel.drop(connection)
        if state == IDLE:
            if connection in self.idle:  # not the one that `start` took out just now
                self.idle.remove(connection)
        elif state == BUSY:
            self.busy -= 1
        if len(self.idle) < self.settings.idle_min:
            self.grow()

    def open(self) -> None:
        """Keep connections from now on, and open those that are to be ahead."""
        self.closed = False
        self.grow()

    def close(self) -> None:
        """Close what is idle, keep nothing; calls under way go on, and those that wait get their connection."""
        self.closed = True
        for opening in list(self.openings)[self.wanted() :]:
            opening.abort()
        for connection in list(self.idle):
            connection.close()

    # ------------------------------------------------------------------ after a failed connect ahead (core/wheel.py)

    def due(self, now: float) -> float:
        return self.paused_until or inf

    def expire(self, now: float) -> None:
        self.grow()
