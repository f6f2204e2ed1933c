"""The upstream port on real sockets: a pool for each instance, calls without a task or a future of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from sluicegate.core.ports import Call, Sink
from sluicegate.core.snapshot import Instance
from sluicegate.core.wheel import Wheel
from sluicegate.upstream.connection import Attempt
from sluicegate.upstream.pool import Pool
from sluicegate.upstream.resolve import Resolver


class Client:
    """All connections of a worker to its instances."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wheel: Wheel,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = lambda: 0.5,
    ) -> None:
        self.loop = loop
        self.wheel = wheel
        self.now = clock
        self.chance = chance
        self.resolver = Resolver(loop, clock)
        self.closed = False
        self.pools: dict[int, Pool] = {}

    def start(self, call: Call, sink: Sink) -> Attempt:
        """Begin a call (core/ports.py Upstream)."""
        instance = call.instance
        pool = self.pools.get(instance.number)
        if pool is None or pool.instance is not instance:
            pool = self.pool(instance)
        attempt = Attempt(pool, call, sink, self.now() + call.connect_s)
        pool.start(attempt)
        return attempt

    def pool(self, instance: Instance) -> Pool:
        """The pool of an instance. One whose endpoint, authorities or settings changed gets a new one; the old one's
        idle connections are closed, its calls go on."""
        pool = self.pools.get(instance.number)
        if pool is not None:
            old = pool.instance
            if (old.scheme, old.host, old.port, old.ca, old.connections) == (
                instance.scheme, instance.host, instance.port, instance.ca, instance.connections,
            ):  # fmt: skip
                pool.instance = instance
                return pool
            pool.close()
        self.pools[instance.number] = pool = Pool(self, instance)
        return pool

    def warm(self, instances: Iterable[Instance]) -> None:
        """Open the connections that are to be kept ahead."""
        for instance in instances:
            self.pool(instance).grow()

    def close(self) -> None:
        """Close idle connections, stop connecting. Calls under way go on."""
        self.closed = True
        for pool in self.pools.values():
            pool.close()
