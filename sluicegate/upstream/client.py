"""The upstream port on real sockets: a pool for each instance, calls without a task or a future of their own.

A call on a kept connection is one object, one write, and callbacks; tasks exist only while connections are opened
(opening.py). All times go through the wheel.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from sluicegate.core.ports import Call, Sink
from sluicegate.core.snapshot import Instance
from sluicegate.core.wheel import Wheel
from sluicegate.upstream.attempt import Attempt
from sluicegate.upstream.connection import READ_BYTES, Connection
from sluicegate.upstream.pool import Pool
from sluicegate.upstream.resolve import Resolver
from sluicegate.upstream.tls import Contexts, Sealing

Connect = Callable[[Callable[[], Connection], str, int], Awaitable[Any]]
"""Opens a TCP connection to an address and a port for the protocol that the factory makes."""

Identity = tuple[str, str, int, str | None, int]


class Counts(NamedTuple):
    """How many connections and attempts, now; `opened` and `resumed` since the start."""

    idle: int
    busy: int
    connecting: int
    waiting: int
    opened: int
    resumed: int


class Client:
    """All connections of a worker to its instances. `chance`: floats in [0, 1), for jitter."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wheel: Wheel,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = lambda: 0.5,
        connect: Connect | None = None,
    ) -> None:
        self.loop = loop
        self.wheel = wheel
        self.now = clock
        self.chance = chance
        self.connect: Connect = connect or loop.create_connection
        self.resolver = Resolver(loop, clock)
        self.contexts = Contexts()
        self.sealing = Sealing()
        self.room = memoryview(bytearray(READ_BYTES))
        "Every connection reads into this."
        self.closed = False
        self._pools: dict[Identity, Pool] = {}
        self._latest: dict[int, Pool] = {}

    def start(self, call: Call, sink: Sink) -> Attempt:
        """Begin a call (core/ports.py Upstream)."""
        instance = call.instance
        pool = self._latest.get(instance.number)
        if pool is None or pool.instance is not instance:
            pool = self.pool(instance)
        attempt = Attempt(pool, call, sink)
        pool.start(attempt)
        return attempt

    def pool(self, instance: Instance) -> Pool:
        """The pool of an instance, by what a connection to it is: where it leads and who may vouch for it there."""
        identity = (instance.scheme, instance.host, instance.port, instance.ca, instance.number)
        pool = self._pools.get(identity)
        if pool is None:
            self._pools[identity] = pool = Pool(self, instance)
            if self.closed:
                pool.close()
        elif pool.instance is not instance:
            pool.instance = instance
            pool.settings = instance.connections
        self._latest[instance.number] = pool
        return pool

    def warm(self, instances: Iterable[Instance]) -> None:
        """These are in force: open the connections that are to be kept ahead. Where an instance moved to another
        address, connections to the old one are not kept any more."""
        for instance in instances:
            pool = self.pool(instance)
            for other in self._pools.values():
                if other is not pool and other.instance.number == instance.number:
                    other.close()
            if not self.closed:
                pool.open()

    def retire(self, numbers: Iterable[int]) -> None:
        """These instances are gone: idle connections close, calls under way end in their time."""
        gone = set(numbers)
        for identity, pool in list(self._pools.items()):
            if pool.instance.number in gone:
                del self._pools[identity]
                self._latest.pop(pool.instance.number, None)
                pool.close()

    def close(self) -> None:
        """Drain: idle connections close now, others when their call ends; none is kept from now on."""
        self.closed = True
        for pool in self._pools.values():
            pool.close()

    def counts(self) -> Counts:
        """Of all instances together."""
        pools = self._pools.values()
        return Counts(
            sum(len(p.idle) for p in pools),
            sum(p.busy for p in pools),
            sum(len(p.openings) for p in pools),
            sum(len(p.waiting) for p in pools),
            sum(p.opened for p in pools),
            sum(p.resumed for p in pools),
        )
