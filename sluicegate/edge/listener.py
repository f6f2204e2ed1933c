"""Where clients come in: the accept loop, what all connections of a worker share, and leaving without breaking any.

We accept ourselves instead of using `create_server`, because two bounds need it: open connections (beyond it new ones
wait in the kernel's backlog instead of being reset) and TLS handshakes in progress (each costs 0.6 ms of CPU, and a
burst of them would stall every stream).

Who opens connections and does nothing with them would keep everybody else out for as long as it likes. So when all
places are taken, the quiet connections of whoever has the most of them make room.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from math import inf
from os import urandom
from typing import Any

from sluicegate.apis import Match, Paths
from sluicegate.core import settings
from sluicegate.core.ports import Certificates
from sluicegate.core.settings import Listen
from sluicegate.drive import Bound
from sluicegate.edge.early import Early
from sluicegate.edge.failures import SECRET, room
from sluicegate.edge.front import Front
from sluicegate.edge.health import Health
from sluicegate.edge.http1 import Connection
from sluicegate.edge.listing import Listing

ACCEPT_BURST = 32
"""Connections taken per readiness of a listening socket, so that a flood does not starve the streams."""

SEEN_MOST = 1024
SEEN_BYTES = 256

RETRY_S = 0.2
"""After running out of file descriptors: when to try accepting again."""

QUIET_S = 1.0
"""When all places are taken: a connection on which nothing was asked for so long may be closed."""

ROOM = 64
"""So many at once, at most: looking for them costs 0.5 us for each open connection."""

UNSENT_BYTES = 128 * 1024
"""What the kernel may hold of an answer that a client does not take. It would hold 4 MB, which nobody here counts:
a few hundred clients that do not read would put all TCP of the machine under memory pressure (measured: 5.7 MB for
each on its way through us, 2.6 MB with this)."""

STILL_LISTEN_S = 2.0
"""After SIGTERM: how long new connections are still served (with readiness off), so that none that a router sent
before it looked is reset. Measured: closing at once resets what waits in the backlog, 2 s gave none. A kept
connection is closed when it was not used for so long."""

REPLACED_QUIET_S = 5.0
"""A kept connection of a worker that has a successor is closed when it was not used for so long; used before that, it
is answered with `Connection: close`. Nobody waits for this worker to go, and whoever closes a connection that is in use
races with its next request (nginx has keepalive_min_timeout for the same)."""


NOTHING = settings.Front()
"""Of a front: asked of nobody."""


class Server:
    """What the connections of one worker share."""

    def __init__(
        self,
        bound: Bound,
        paths: Paths,
        settings: Listen,
        config_hash: str,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.bound = bound
        self.paths = paths
        self.settings = settings
        self.config_hash = config_hash
        self.wheel = bound.wheel
        self.now: Callable[[], float] = bound.now
        self.tls = tls
        self.connections: set[Connection] = set()
        self.shared: memoryview[int] | None = None
        "Memory of all workers (edge/failures.py)."
        self.front: Front | None = None
        "None: nothing is asked before who it is."
        self.tells = False
        "Records say who asked from where."
        self.draining = False
        self.replaced = False
        "Draining, but another worker has our sockets: readiness of the gateway goes on."
        self.health = Health(self)
        self.listing = Listing(self)
        self.refusals: Counter[str] = Counter()
        "Refusals before any exchange began, by reason."
        self.early = Early()
        "The same for the access log."
        self.date_line = b""
        self.seen: dict[tuple[str, bytes], Match] = {}
        "Request lines that led to an operation: clients repeat theirs. Bounded, since they choose them."
        self.handshaking = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self._sockets: list[socket.socket] = []
        self._accepting = False
        self._waiting_for_room = False
        self._starting: set[asyncio.Task[None]] = set()
        self._drained: asyncio.Event | None = None
        self._worker = urandom(6).hex()
        self._id_prefix = ""
        self._id = 0
        self.tick()

    def tick(self) -> None:
        """Every tenth of a second: what answers and ids say of the wall clock."""
        wall = self.bound.wall()
        self._id_prefix = f"{int(wall * 1000):012x}{self._worker}"
        self.date_line = b"date: %b\r\n" % formatdate(wall, usegmt=True).encode()
        if self.front is not None and wall >= self.front.expires:
            self.front.expires = inf
            for connection in self.connections:  # some certificate is over: each is looked at again
                connection.like = None

    def next_id(self) -> str:
        """128 bits in hex: 48 of wall milliseconds (of the latest tick), 48 of this worker, 32 that count. Sorts by
        time."""
        self._id = (self._id + 1) & 0xFFFFFFFF
        return f"{self._id_prefix}{self._id:08x}"

    def remember(self, method: str, url: bytes, match: Match) -> None:
        """This request line is well-formed and leads there."""
        if len(url) <= SEEN_BYTES:
            if len(self.seen) >= SEEN_MOST:
                self.seen.clear()
            self.seen[method, url] = match

    def know(self, paths: Paths) -> None:
        """Other operations than before: those that a configuration names."""
        self.paths = paths
        self.seen.clear()

    def stand(self, spec: settings.Front, certificates: Certificates | None = None, tells: bool = False) -> None:
        """Ask this of requests from now on, also on connections that are open. `tells`: records say their address."""
        if tells is not self.tells:
            self.tells = tells
            for connection in self.connections:
                connection.fronted()
        front = self.front
        if front is None and spec == NOTHING:
            return
        if front is not None and spec == front.spec and certificates is front.certificates:
            for connection in self.connections:
                connection.like = None  # rules may read other headers
            return
        if self.shared is None:
            self.shared = room(secret=urandom(SECRET))
        self.front = Front(spec, self.shared, certificates) if spec != NOTHING else None
        for connection in self.connections:
            connection.fronted()

    def refused(self, reason: str, id: str = "", client: str = "", status: int = 0) -> None:
        """A request, or a connection (without id), was refused before any exchange."""
        self.refusals[reason] += 1
        if self.early.wanted:
            self.early.add(id or self.next_id(), self.bound.wall(), status, reason, client)

    # ------------------------------------------------------------------ accepting

    def listen(self, sockets: list[socket.socket]) -> None:
        """Begin accepting on these listening sockets, in the running loop."""
        self.loop = asyncio.get_running_loop()
        for s in sockets:
            s.setblocking(False)
            if s.family != socket.AF_UNIX:  # what is accepted inherits it
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self._sockets.extend(sockets)
        self._resume()

    def _resume(self) -> None:
        if self._accepting or self.loop is None or not self._sockets:
            return
        self._accepting = True
        for s in self._sockets:
            self.loop.add_reader(s.fileno(), self._accept, s)

    def _pause(self) -> None:
        if self._accepting and self.loop is not None:
            self._accepting = False
            for s in self._sockets:
                self.loop.remove_reader(s.fileno())

    def _full(self) -> bool:
        taken = len(self.connections) + len(self._starting)
        return taken >= self.settings.connections or self.handshaking >= self.settings.handshakes

    def _accept(self, listening: socket.socket) -> None:
        assert self.loop is not None
        for _ in range(ACCEPT_BURST):
            if self._full():
                self._pause()
                self._make_room()
                return
            try:
                s, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as e:
                if e.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._pause()
                    self.loop.call_later(RETRY_S, self._resume)
                    return
                raise
            if self.front is not None and s.family != socket.AF_UNIX and not self.front.admits(peer[0]):
                s.close()  # before anything is said, TLS included
                self.refused("front.address", client=peer[0] if self.tells else "")
                continue
            s.setblocking(False)
            if s.family != socket.AF_UNIX:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self.loop.create_task(self._start(s))
            self._starting.add(task)
            task.add_done_callback(self._started)

    def _make_room(self) -> None:
        """No place is free, or too many handshakes are in progress: close what is quiet, look again in a moment."""
        assert self.loop is not None
        if len(self.connections) >= self.settings.connections and self._knocking():
            for connection in self.most_quiet(self.now() - QUIET_S):
                connection.close()
        if not self._waiting_for_room:
            self._waiting_for_room = True
            self.loop.call_later(RETRY_S, self._look_for_room)

    def _knocking(self) -> bool:
        """Somebody waits to be accepted."""
        waiting = select.poll()
        for s in self._sockets:
            waiting.register(s.fileno(), select.POLLIN)
        return bool(waiting.poll(0))

    def _look_for_room(self) -> None:
        self._waiting_for_room = False
        if not self._accepting and self._sockets:
            if self._full():
                self._make_room()
            else:
                self._resume()

    def most_quiet(self, before: float) -> list[Connection]:
        """The connections that were quiet longest, of whoever has the most that are quiet since then: one consumer,
        or, where no key of ours was shown, one address."""
        by_whom: dict[object, list[Connection]] = {}
        for connection in self.connections:
            if connection.idle() and connection.since <= before:
                by_whom.setdefault(connection.whose(), []).append(connection)
        most = max(by_whom.values(), key=len, default=[])
        most.sort(key=lambda connection: connection.since)
        return [c for c in most[: min(ROOM, len(self.connections) // 16 + 1)] if c.quiet(before)]

    def _connection(self) -> Any:
        return Connection(self)

    async def _start(self, s: socket.socket) -> None:
        """Make a connection of an accepted socket; with TLS this is the handshake."""
        assert self.loop is not None
        if self.tls is None:
            await self.loop.connect_accepted_socket(self._connection, s)
            return
        self.handshaking += 1
        try:
            await self.loop.connect_accepted_socket(
                self._connection, s, ssl=self.tls, ssl_handshake_timeout=self.settings.head_s,
                ssl_shutdown_timeout=2.0,
            )  # fmt: skip
        except (OSError, TimeoutError, ssl.SSLError, asyncio.CancelledError):
            self.refused("tls.handshake")
        finally:
            self.handshaking -= 1

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        if not task.cancelled() and (e := task.exception()) is not None and not isinstance(e, OSError):
            self.bound.report(e)
        if not self._accepting and not self._full():
            self._resume()

    def connection_closed(self) -> None:
        """A place is free again."""
        if not self._accepting and not self._full():
            self._resume()
        if self._drained is not None and not self.connections and not self.bound.live:
            self._drained.set()

    # ------------------------------------------------------------------ leaving

    async def drain(self, limit_s: float, still_listen_s: float = STILL_LISTEN_S, replaced: bool = False) -> None:
        """Leave: readiness off at once, `Connection: close` on answers, new connections served for a moment more,
        then none; running exchanges end in their time, at `limit_s` they are cut with an error frame.

        A kept connection is closed when it has been quiet: a client that was not told `Connection: close`, because
        its answer had begun before, sends its next request here and is told then.

        `replaced`: another worker accepts on the same sockets, so none is accepted here from now on, and kept
        connections have more time."""
        assert self.loop is not None
        self.draining = True
        self.replaced = replaced
        self._drained = asyncio.Event()
        began = self.loop.time()
        quiet_s = max(still_listen_s, REPLACED_QUIET_S) if replaced and still_listen_s else still_listen_s
        if replaced:
            self._leave_sockets()
        await asyncio.sleep(min(still_listen_s, limit_s))
        self._leave_sockets()
        self._close_quiet(quiet_s)
        try:
            async with asyncio.timeout(max(0.0, began + limit_s - self.loop.time())):
                while self.connections or self._starting or self.bound.live:
                    self._drained.clear()
                    try:
                        async with asyncio.timeout(0.25):
                            await self._drained.wait()
                    except TimeoutError:
                        self._close_quiet(quiet_s)
        except TimeoutError:
            now = self.now()
            self._close_quiet(0.0)
            for drive in list(self.bound.live):
                drive.cut(now)
            await asyncio.sleep(0.1)  # let the last frames leave
            for connection in list(self.connections):
                connection.abort()
        for task in self._starting:
            task.cancel()

    def _leave_sockets(self) -> None:
        """Accept no more. Whoever else holds the sockets still does."""
        self._pause()
        for s in self._sockets:
            s.close()
        self._sockets.clear()

    def _close_quiet(self, for_s: float) -> None:
        before = self.now() - for_s
        for connection in list(self.connections):
            if connection.quiet(before):
                connection.close()
