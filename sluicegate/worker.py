"""A worker: the process that carries traffic, wired from a parcel and listening sockets it inherits.

Started as a program of its own (`python -m sluicegate.worker`), so that it never has the configuration language, the
admin plane or a database loaded: about 40 MB. Nothing imports this file but the tests that say so.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import sys
import time
from random import random

import uvloop

from sluicegate.apis import APIS, Paths
from sluicegate.core.snapshot import Directory, Snapshot
from sluicegate.core.state import World
from sluicegate.core.wheel import TICK_S, Wheel
from sluicegate.drive import Bound
from sluicegate.edge.listener import Server
from sluicegate.edge.tls import server_context
from sluicegate.link.parcel import unpack
from sluicegate.providers import PROVIDERS
from sluicegate.stores.memory.journal import Journal
from sluicegate.upstream.client import Client

log = logging.getLogger("sluicegate")

GC_THRESHOLD = (50_000, 20, 50)
"""A request leaves no cycles behind, so looking for them every 700 objects (the default) is 4 % for nothing."""


class Worker:
    """Everything a worker has, built in the running loop."""

    def __init__(self, snapshot: Snapshot, directory: Directory) -> None:
        self.loop = asyncio.get_running_loop()
        self.snapshot = snapshot
        self.journal = Journal()
        self.wheel = Wheel()
        self.world = World(snapshot, directory, self.journal)
        self.upstream = Client(self.loop, self.wheel, time.monotonic, random)
        self.bound = Bound(self.world, self.upstream, PROVIDERS, self.wheel, time.monotonic, time.time, report)
        listen = snapshot.gateway.listen
        tls = server_context(listen.tls) if listen.tls else None
        self.server = Server(self.bound, Paths(APIS.values()), listen, snapshot.hash, tls)
        self._turns = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, sockets: list[socket.socket]) -> None:
        """Begin: accept on these listening sockets, turn the wheel."""
        self.server.listen(sockets)
        self.upstream.warm(self.snapshot.instances)
        self._turn()

    def _turn(self) -> None:
        """Just after each tick: at any other moment everything would be late by up to one tick more."""
        now = time.monotonic()
        self._timer = self.loop.call_later(TICK_S - now % TICK_S + 0.001, self._turn)
        try:
            self.wheel.turn(now)
        except Exception as bug:
            report(bug)
        self._turns += 1
        if self._turns % 2 == 0:
            self.server.tick()

    async def stop(self, limit_s: float, still_listen_s: float = 2.0) -> None:
        """Drain, then close what is left."""
        await self.server.drain(limit_s, still_listen_s)
        self.upstream.close()
        if self._timer is not None:
            self._timer.cancel()

    def totals(self) -> dict[str, object]:
        """What this worker did, for the line it prints when it ends."""
        totals = dict(self.journal.totals())
        refused = totals.get("refused", 0)
        early = sum(self.server.refusals.values())
        totals["refused"] = (refused if isinstance(refused, int) else 0) + early
        return {"event": "totals", **totals, "refused_early": dict(self.server.refusals)}


def report(bug: BaseException) -> None:
    """A bug or a broken machine: logged with its place, never with a request's text."""
    log.error("unexpected %s", type(bug).__name__, exc_info=bug)


async def serve(snapshot: Snapshot, directory: Directory, sockets: list[socket.socket]) -> dict[str, object]:
    """Carry traffic until SIGTERM or SIGINT, then drain. Returns the totals."""
    worker = Worker(snapshot, directory)
    worker.start(sockets)
    told = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        worker.loop.add_signal_handler(sig, told.set)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    host, port = snapshot.gateway.listen.host, sockets[0].getsockname()[1]
    ready = {"event": "ready", "config": snapshot.hash, "host": host, "port": port}
    print(json.dumps(ready), file=sys.stderr, flush=True)
    await told.wait()
    for sig in (signal.SIGTERM, signal.SIGINT):  # a second signal does not wait
        worker.loop.remove_signal_handler(sig)
    await worker.stop(snapshot.gateway.drain_s)
    return worker.totals()


def main(argv: list[str]) -> int:
    """`--parcel-fd N --listen-fd M [M ...]`: both inherited from whoever started us."""
    parcel_fd, listen_fds = -1, []
    args = iter(argv)
    for arg in args:
        if arg == "--parcel-fd":
            parcel_fd = int(next(args))
        elif arg == "--listen-fd":
            listen_fds.append(int(next(args)))
    if parcel_fd < 0 or not listen_fds:
        print("a worker is started by `sluicegate serve`, not by hand", file=sys.stderr)
        return 2
    with open(parcel_fd, "rb") as parcel:
        parcel.seek(0)
        snapshot, directory = unpack(parcel.read())
    sockets = [socket.socket(fileno=fd) for fd in listen_fds]
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        totals = runner.run(serve(snapshot, directory, sockets))
    print(json.dumps(totals), file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)
