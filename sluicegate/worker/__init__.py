"""A worker: the process that carries traffic, wired from a parcel and listening sockets it inherits.

Started as a program of its own (`python -m sluicegate.worker`), so that it never has the configuration language, the
admin plane or a database loaded: about 40 MB. Nothing imports this room but the tests that say so.
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

import uvloop

from sluicegate.core.snapshot import Directory, Snapshot
from sluicegate.edge.listener import STILL_LISTEN_S
from sluicegate.link.bugs import tell
from sluicegate.link.channel import Down, Drain, Taken, open_channel
from sluicegate.link.counters import Counters
from sluicegate.link.parcel import unpack
from sluicegate.link.sealed import seal
from sluicegate.worker.told import Told, why
from sluicegate.worker.worker import Worker, paths, report

__all__ = ["Worker", "main", "paths", "report", "serve"]

GC_THRESHOLD = (50_000, 20, 50)
"""A request leaves no cycles behind, so looking for them every 700 objects (the default) is 4 % for nothing."""


async def serve(
    snapshot: Snapshot,
    directory: Directory,
    sockets: list[socket.socket],
    end: socket.socket | None = None,
    counters: Counters | None = None,
    records: str = "",
) -> dict[str, object]:
    """Carry traffic until SIGTERM, SIGINT or the keeper's word, then drain. Returns the totals that nobody was told."""
    try:
        worker = Worker(snapshot, directory, counters, records)
    except OSError as bad:
        if end is None:
            raise
        channel = await open_channel(end, Down, lambda _: None, lambda: None)
        channel.send(Taken(0, "", "refused", why(bad)))
        channel.close()
        await asyncio.sleep(0)
        return {}
    del directory
    tell(report)
    told = Told(worker)
    if end is not None:
        await told.connect(end)
    worker.start(sockets)
    for sig in (signal.SIGTERM, signal.SIGINT):
        worker.loop.add_signal_handler(sig, told.leave.set)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    if end is not None:
        told.ready()
    else:
        host, port = snapshot.gateway.listen.host, sockets[0].getsockname()[1]
        ready = {"event": "ready", "config": snapshot.hash, "host": host, "port": port}
        print(json.dumps(ready), file=sys.stderr, flush=True)
    await told.leave.wait()
    for sig in (signal.SIGTERM, signal.SIGINT):  # a second signal does not wait
        worker.loop.remove_signal_handler(sig)
    drain = told.drain
    if drain is None:  # a signal
        told.leaving()
        drain = Drain(worker.snapshot.gateway.drain_s, STILL_LISTEN_S, False)
    await worker.stop(drain.limit_s, drain.still_listen_s, drain.replaced)
    totals = worker.totals()
    if not told.end(totals):
        return totals
    await asyncio.sleep(0)  # the channel writes at once or in this turn
    return {}


def main(argv: list[str]) -> int:
    """`--parcel-fd N --listen-fd M [--channel-fd C] [--counters-fd D --region R]`: all inherited."""
    given = dict(zip(argv[::2], argv[1::2], strict=False))
    names = ("parcel", "listen", "channel", "counters")
    parcel_fd, listen_fd, channel_fd, counters_fd = (int(given.get(f"--{n}-fd", -1)) for n in names)
    if parcel_fd < 0 or listen_fd < 0:
        print("a worker is started by `sluicegate serve`, not by hand", file=sys.stderr)
        return 2
    for sig in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):  # meant for the keeper, but a terminal tells everybody
        signal.signal(sig, signal.SIG_IGN)
    end = socket.socket(fileno=channel_fd) if channel_fd >= 0 else None
    # Not read(): several workers share this file, and with it one position in it.
    snapshot, directory = unpack(os.pread(parcel_fd, os.fstat(parcel_fd).st_size, 0))
    os.close(parcel_fd)
    if not snapshot.gateway.core_dumps:
        seal()
    counters = None
    if counters_fd >= 0:
        counters = Counters(counters_fd, int(given["--region"]))
        os.close(counters_fd)
    assert isinstance(directory, Directory)
    records = os.path.join(snapshot.gateway.data, "journal")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        serving = serve(snapshot, directory, [socket.socket(fileno=listen_fd)], end, counters, records)
        del directory  # as it came it is of no more use: 200 bytes for each consumer
        totals = runner.run(serving)
    if totals:
        print(json.dumps(totals), file=sys.stderr, flush=True)
    return 0
