"""Client connections without sockets: the real edge, driver and exchange between a transport and an upstream of ours.

Every byte arrives when the test says so and the clock stands still until it is moved, so that "at every offset" and
"after ten seconds" are exact and take no time. The transport fails on what a real one would punish: a write after
the close.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from sluicegate.apis import APIS, Paths
from sluicegate.core.caller import digest
from sluicegate.core.settings import Listen
from sluicegate.core.snapshot import ConsumerEntry, Directory, Snapshot
from sluicegate.core.state import World
from sluicegate.core.wheel import TICK_S, Wheel
from sluicegate.drive import Bound
from sluicegate.edge.http1 import Connection
from sluicegate.edge.listener import Server
from sluicegate.providers import PROVIDERS
from sluicegate.stores.memory.journal import Journal
from tests.abuse.outside import ANSWER, EVENTS, Answer, Broken, Client
from tests.gateway import KEY, SECRET, instance, snapshot

JSON = ((b"Content-Type", b"application/json"),)
SSE = ((b"Content-Type", b"text/event-stream"),)
OTHER_KEY = "another-key-0123456789"


def callers() -> Directory:
    """`app` with KEY may use `chat`; `other` with OTHER_KEY may use nothing that exists."""
    return Directory(
        (SECRET,),
        (
            ConsumerEntry(1, "app", "default", ("chat",), (digest(KEY.encode(), SECRET),)),
            ConsumerEntry(2, "other", "else", ("nothing",), (digest(OTHER_KEY.encode(), SECRET),)),
        ),
    )


class Attempt:
    """A call that the test answers."""

    def __init__(self, call: Any, sink: Any, clock: Callable[[], float]) -> None:
        self.call = call
        self.sink = sink
        self.clock = clock
        self.bytes = call.head + bytes(call.body)
        self.sent = "all"
        self.stuck = False
        "The upstream takes nothing more."
        self.over = False
        self.paused = False
        self.cancelled = False
        if call.source is not None:
            self.sent = "some"
            call.source.taker = self
            self.pump()

    def pump(self) -> None:
        """More of the body may be here."""
        while not self.stuck and not self.over and self.call.source.taker is self:
            piece = self.call.source.take(64 * 1024)
            if piece is None:
                self.sent = "all"
                return
            if not piece:
                return
            self.bytes += piece

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def cancel(self) -> None:
        assert not self.over
        self.over = self.cancelled = True
        if self.call.source is not None:
            self.call.source.taker = None

    def answer(self, body: bytes = ANSWER, status: int = 200, headers: Any = JSON) -> None:
        """All of it at once."""
        self.begin(status, headers)
        self.piece(body)
        self.end()

    def begin(self, status: int = 200, headers: Any = JSON) -> None:
        if not self.over:
            self.sink.head(status, headers, self.clock())

    def piece(self, *pieces: bytes) -> None:
        for piece in pieces:
            if not self.over:
                self.sink.data(piece, self.clock())

    def end(self, how: str = "done") -> None:
        if not self.over:
            self.over = True
            self.sink.end(how, self.clock())

    def stream(self) -> None:
        """A whole stream."""
        self.begin(200, SSE)
        self.piece(*EVENTS)
        self.end()


class Upstream:
    """The upstream port. With `at_once` every call is answered before `start` returns."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.calls: list[Attempt] = []
        self.at_once: bytes | None = ANSWER

    def start(self, call: Any, sink: Any) -> Attempt:
        attempt = Attempt(call, sink, self.clock)
        self.calls.append(attempt)
        if self.at_once is not None:
            attempt.answer(self.at_once)
        return attempt

    @property
    def bytes(self) -> list[bytes]:
        return [c.bytes for c in self.calls]


class Transport:
    """What the edge needs of a transport. `room`: bytes the client takes before writing is paused; None: all."""

    def __init__(self, line: Line, room: int | None) -> None:
        self.line = line
        self.room = room
        self.high = 0
        self.out = bytearray()
        "What the client received."
        self.waiting = bytearray()
        "What it did not take yet."
        self.pausing = False
        self.closing = False
        self.lost = False
        self.aborted = False
        self.eof = False
        self.reading = True
        self.writes = 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("192.0.2.7", 50000) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high or 0

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing and not self.eof, f"written after the close: {bytes(data)!r}"
        self.writes += 1
        self.waiting += data
        self._flush()
        if len(self.waiting) > self.high and not self.pausing:
            self.pausing = True
            self.line.connection.pause_writing()

    def writelines(self, pieces: Iterable[bytes]) -> None:
        self.write(b"".join(pieces))

    def take(self, size: int | None) -> None:
        """The client reads that many bytes more; None: whatever comes."""
        self.room = size
        self._flush()
        if self.pausing and len(self.waiting) <= self.high // 4:
            self.pausing = False
            self.line.connection.resume_writing()

    def _flush(self) -> None:
        size = len(self.waiting) if self.room is None else min(self.room, len(self.waiting))
        self.out += self.waiting[:size]
        del self.waiting[:size]
        if self.room is not None:
            self.room -= size

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.closing
        self.reading = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True


class House:
    """A worker's server with connections of the test's own, its clock and its wheel."""

    built: ClassVar[list[House]] = []
    "Of the running test: each must be empty once its clients left, see conftest.py."

    def __init__(self, listen: Listen | None = None, snap: Snapshot | None = None) -> None:
        House.built.append(self)
        self.time = 1000.0
        self.snapshot = snap or snapshot([instance(1, 80)], listen)
        self.wheel = Wheel()
        self.wheel.turn(self.time)
        self.journal = Journal(strict=True)
        self.world = World(self.snapshot, callers(), self.journal)
        self.upstream = Upstream(self.now)
        self.bugs: list[BaseException] = []
        self.bound = Bound(
            self.world, self.upstream, PROVIDERS, self.wheel, self.now, lambda: 1.7e9, self.bugs.append
        )  # fmt: skip
        self.server = Server(self.bound, Paths(APIS.values()), self.snapshot.gateway.listen, self.snapshot.hash)

    def now(self) -> float:
        return self.time

    def line(self, room: int | None = None) -> Line:
        return Line(self, room)

    def pass_time(self, seconds: float) -> None:
        """The clock moves on, the wheel turns at every tick, as in the worker."""
        for _ in range(round(seconds / TICK_S)):
            self.time += TICK_S
            self.wheel.turn(self.time)

    def vacate(self) -> None:
        """Every client leaves, and what may go on without them gets its time."""
        for connection in list(self.server.connections):
            connection.connection_lost(None)
        if self.bound.live:
            self.pass_time(self.snapshot.models[0].on_disconnect.other + 1)

    def is_empty(self) -> bool:
        """Nothing is held: connections, exchanges, timers, records in flight."""
        assert not self.bugs, self.bugs
        return not (self.server.connections or self.bound.live or self.world.in_flight or len(self.wheel))


class Line:
    """One client's connection."""

    def __init__(self, house: House, room: int | None = None) -> None:
        self.house = house
        self.connection = Connection(house.server)
        self.transport = Transport(self, room)
        self.held = b""
        "Sent while the gateway was not reading: in the kernel's buffer, so to speak."
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def send(self, *pieces: bytes) -> Line:
        """These bytes arrive, piece by piece."""
        for piece in pieces:
            if self.held or not self.transport.reading or self.transport.closing:
                self.held += piece
            elif piece:
                self._feed(piece)
            self.settle()
        return self

    def settle(self) -> None:
        """What a loop would do now: deliver what waited, report a close."""
        transport = self.transport
        while self.held and transport.reading and not transport.closing:
            piece, self.held = self.held, b""
            self._feed(piece)
        if transport.closing and not transport.lost:
            transport.lost = True
            self.connection.connection_lost(None)

    def leave(self) -> None:
        """The client is gone."""
        if not self.transport.lost:
            self.transport.closing = self.transport.lost = True
            self.connection.connection_lost(None)

    def _feed(self, piece: bytes) -> None:
        self.connection.data_received(piece)

    @property
    def out(self) -> bytes:
        return bytes(self.transport.out)

    @property
    def closed(self) -> bool:
        """For the client: nothing more will come."""
        self.settle()
        return self.transport.closing or self.transport.eof

    def answers(self) -> list[Answer]:
        """What the client received so far, whole answers only, none may be half."""
        self.settle()
        reader = _Reader(self.out)
        found = []
        while reader.buffer:
            got = reader.answer()
            assert got.whole or got.status < 200, got
            found.append(got)
        return found


class _Reader(Client):
    """Reads answers from bytes at hand."""

    def __init__(self, received: bytes) -> None:
        self.buffer = received

    def more(self) -> bytes:
        return b""


__all__ = ["ANSWER", "EVENTS", "Broken", "House", "Line"]
