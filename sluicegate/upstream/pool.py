"""The connections to one instance: the idle ones, those being opened, and the calls that wait for one."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from typing import TYPE_CHECKING

from sluicegate.core.snapshot import Instance
from sluicegate.upstream.connection import Attempt, Connection
from sluicegate.upstream.tls import ResumingContext, client_context

if TYPE_CHECKING:
    from sluicegate.upstream.client import Client

AHEAD_S = 5.0
"""Seconds an ahead-of-time connect may take, and the shortest pause after one failed."""

AHEAD_MOST_S = 60.0


class Pool:
    """Of one instance. LIFO: the connection used last is the likeliest to be alive, the others may age away."""

    __slots__ = (
        "ahead_after", "ahead_pause", "busy", "client", "connecting", "fresh", "idle", "instance", "opened", "resumed",
        "settings", "tasks", "tls", "waiting",
    )  # fmt: skip

    def __init__(self, client: Client, instance: Instance) -> None:
        self.client = client
        self.instance = instance
        self.settings = instance.connections
        self.idle: list[Connection] = []
        self.busy = 0
        self.connecting = 0
        self.waiting: deque[Attempt] = deque()
        self.fresh: deque[Attempt] = deque()
        "Waiting for a new connection, because a kept one failed them."
        self.tasks: set[asyncio.Task[None]] = set()
        self.tls: ResumingContext | None = client_context(instance.ca) if instance.scheme == "https" else None
        self.opened = 0
        self.resumed = 0
        self.ahead_after = 0.0
        self.ahead_pause = AHEAD_S

    def start(self, attempt: Attempt) -> None:
        """Put the call on a connection, now or when there is one."""
        idle = self.idle
        while idle:
            conn = idle.pop()
            if conn.lost or conn.transport.is_closing():
                continue
            self.busy += 1
            if len(idle) < self.settings.idle_min:
                self.grow()
            conn.begin(attempt)
            return
        self.waiting.append(attempt)
        self.client.wheel.watch(attempt, attempt.due_at)
        self.grow()

    def again(self, attempt: Attempt) -> None:
        """The kept connection it was on was dead: once more, on a new one."""
        attempt.conn = None
        attempt.fresh = True
        attempt.due_at = self.client.now() + attempt.call.connect_s
        self.fresh.append(attempt)
        self.client.wheel.watch(attempt, attempt.due_at)
        self.grow()

    def forget(self, attempt: Attempt) -> None:
        """It waits no longer."""
        for queue in (self.waiting, self.fresh):
            if attempt in queue:
                queue.remove(attempt)

    def grow(self) -> None:
        """Open as many connections as are wanted, as far as handshakes may run at once."""
        wanted = len(self.waiting) + len(self.fresh)
        limit_s = max((a.call.connect_s for a in (*self.waiting, *self.fresh)), default=AHEAD_S)
        if not wanted:
            if self.client.now() < self.ahead_after:
                return
        wanted += max(0, self.settings.idle_min - len(self.idle))
        while self.connecting < min(wanted, self.settings.handshakes) and not self.client.closed:
            self.connecting += 1
            task = self.client.loop.create_task(self._connect(limit_s))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _connect(self, limit_s: float) -> None:
        """Open one connection and give it to who waits longest."""
        client, settings = self.client, self.settings
        retire_at = client.now() + settings.life_s * (1 - client.chance() / 4)
        how = "connect.failed"
        try:
            async with asyncio.timeout(limit_s):
                addresses = await client.resolver.addresses(self.instance.host, self.instance.port, settings.dns_s)
                conn = await self._first(addresses, retire_at)
        except TimeoutError:
            how = "connect.timeout"
        except socket.gaierror:
            how = "connect.dns"
        except ssl.SSLError:  # certificate errors among them
            how = "connect.tls"
        except ConnectionRefusedError:
            how = "connect.refused"
        except OSError:
            pass
        else:
            self.connecting -= 1
            self.ahead_pause, self.ahead_after = AHEAD_S, 0.0
            self._serve(conn)
            return
        self.connecting -= 1
        self._failed(how)

    async def _first(self, addresses: tuple[str, ...], retire_at: float) -> Connection:
        """The first address that answers. Raises what the last one raised."""
        error: OSError = OSError("no address")
        for address in addresses:
            try:
                _, conn = await self.client.loop.create_connection(
                    lambda: Connection(self, retire_at), address, self.instance.port, ssl=self.tls,
                    server_hostname=self.instance.host if self.tls else None,
                )  # fmt: skip
            except OSError as e:  # ssl errors are OSErrors, too
                error = e
            else:
                if self.tls is not None:
                    tls = conn.transport.get_extra_info("ssl_object")
                    self.resumed += bool(tls is not None and tls.session_reused)
                return conn
        raise error

    def _serve(self, conn: Connection) -> None:
        """A new connection: whoever needs a new one first, then whoever waits."""
        if conn.lost:
            self._failed("connect.failed")
            return
        for queue in (self.fresh, self.waiting):
            if queue:
                attempt = queue.popleft()
                self.client.wheel.drop(attempt)
                self.busy += 1
                self.client.wheel.watch(conn, self.client.now() + self.settings.idle_s)
                conn.begin(attempt)
                return
        self._keep(conn)

    def _failed(self, how: str) -> None:
        """A connect failed: so does who waited longest for it; nobody waited: try again later."""
        now = self.client.now()
        for queue in (self.fresh, self.waiting):
            if queue:
                attempt = queue.popleft()
                self.client.wheel.drop(attempt)
                attempt.end(how, now)
                self.grow()
                return
        self.ahead_after = now + self.ahead_pause
        self.ahead_pause = min(self.ahead_pause * 2, AHEAD_MOST_S)

    def put(self, conn: Connection) -> None:
        """A connection is free again: the next who waits gets it, unless it is too old."""
        self.busy -= 1
        now = conn.now
        if self.tls is not None and conn.requests == 1:
            tls = conn.transport.get_extra_info("ssl_object")
            if tls is not None:
                self.tls.session = tls.session
        if now >= conn.retire_at or self.client.closed or len(self.idle) >= self.settings.idle_max:
            conn.attempt = None
            conn.transport.close()
            self.busy += 1  # `lost` counts it out
            if self.waiting:
                self.grow()
            return
        if self.waiting:
            attempt = self.waiting.popleft()
            self.client.wheel.drop(attempt)
            self.busy += 1
            # Not from inside the parser's callback of the answer before.
            self.client.loop.call_soon(self._hand, conn, attempt)
            return
        self._keep(conn)

    def _hand(self, conn: Connection, attempt: Attempt) -> None:
        if attempt.over:
            self.put(conn)
        elif conn.lost or conn.transport.is_closing():
            self.waiting.appendleft(attempt)
            self.grow()
        else:
            conn.begin(attempt)

    def _keep(self, conn: Connection) -> None:
        conn.idle_since = now = self.client.now()
        self.idle.append(conn)
        self.client.wheel.watch(conn, now + self.settings.idle_s)

    def lost(self, conn: Connection) -> None:
        """It closed."""
        self.client.wheel.drop(conn)
        if conn in self.idle:
            self.idle.remove(conn)
        elif conn.requests:
            self.busy -= 1
        if self.settings.idle_min > len(self.idle) and not self.client.closed:
            self.grow()

    def close(self) -> None:
        """Close what is idle and stop connecting; calls under way go on."""
        for conn in list(self.idle):
            conn.transport.close()
        for task in self.tasks:
            task.cancel()
