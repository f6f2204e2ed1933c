"""A connection on its way: name, address, TCP, TLS, each within what is left of its time. The only place with tasks."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from sluicegate.core.addresses import forbidden

if TYPE_CHECKING:
    from sluicegate.upstream.pool import Pool


class Opening:
    """One connect under way. It ends in `pool.came`, in `pool.failed`, or in silence after `abort`."""

    __slots__ = ("aborted", "deadline", "pool", "slot", "task", "until")

    def __init__(self, pool: Pool, limit_s: float) -> None:
        client = pool.client
        self.pool = pool
        self.aborted = False
        self.until = self.deadline = client.now() + limit_s
        self.slot = -1
        client.wheel.watch(self, self.until)
        self.task = client.loop.create_task(self.run())

    def abort(self) -> None:
        """Nobody wants it any more."""
        self.aborted = True
        self.pool.openings.pop(self, None)
        self.pool.client.wheel.drop(self)
        self.task.cancel()

    async def run(self) -> None:
        """The task."""
        pool = self.pool
        try:
            how = await self.connect()
        except asyncio.CancelledError:
            if self.aborted:
                raise
            how = "connect.timeout"
        except Exception as bug:
            pool.client.loop.call_exception_handler({"message": "opening a connection failed", "exception": bug})
            how = "connect.failed"
        finally:
            pool.client.wheel.drop(self)
        if how and not self.aborted:
            pool.failed(self, how)

    async def connect(self) -> str:
        """Resolve, then try one address after the other. Empty: it worked; else the last failure."""
        pool = self.pool
        client, instance = pool.client, pool.instance
        host = instance.host.strip("[]")
        try:
            addresses = await client.resolver.addresses(host, instance.port, pool.settings.dns_s)
        except OSError:
            return "connect.dns"
        how = "connect.failed"
        for i, address in enumerate(addresses):
            if forbidden(address):
                how = "connect.failed"
                continue
            now = client.now()
            self.until = now + (self.deadline - now) / (len(addresses) - i)
            client.wheel.watch(self, self.until)
            how = await self.knock(address, last=i + 1 == len(addresses))
            if not how:
                break
            client.resolver.demote(host, address)
        return how

    async def knock(self, address: str, last: bool) -> str:
        """Connect to one address."""
        pool = self.pool
        connection = None
        try:
            connection = pool.connection()
            made = connection
            await pool.client.connect(lambda: made, address, pool.instance.port)
            await connection.ready()
        except asyncio.CancelledError:
            if connection is not None:
                connection.drop()
            if self.aborted or last:
                raise
            self.task.uncancel()  # it was `expire`: this address had its share of the time
            return "connect.timeout"
        except ssl.SSLError:  # certificate errors among them
            how = "connect.tls"
        except ConnectionRefusedError:
            how = "connect.refused"
        except TimeoutError:
            how = "connect.timeout"
        except OSError:
            how = "connect.failed"
        else:
            if not connection.transport.is_closing():
                pool.came(self, connection)
                return ""
            how = "connect.failed"
        if connection is not None:
            connection.drop()
        return how

    # ------------------------------------------------------------------ times (core/wheel.py)

    def due(self, now: float) -> float:
        return self.until

    def expire(self, now: float) -> None:
        self.task.cancel()
