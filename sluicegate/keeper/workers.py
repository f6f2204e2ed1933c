"""One worker as the keeper sees it: a process, its channel, and the seat it sits on.

A seat is a listening socket and a place in the shared counters; it outlives the workers that sit on it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from sluicegate.link.channel import (
    Alarm,
    Answer,
    Channel,
    Down,
    Drain,
    Entries,
    Lacks,
    Leaving,
    Left,
    Needs,
    News,
    Query,
    Rejected,
    Taken,
    Up,
    Wanted,
    open_channel,
)

STILL_LISTEN_S = 2.0
"""After SIGTERM new connections are served for so long, with readiness off: routers need a moment to notice."""


class Worker:
    """A worker process. `state`: starting, ready, leaving, gone."""

    def __init__(self, seat: Seat, region: int, popen: subprocess.Popen[bytes]) -> None:
        self.seat = seat
        self.region = region
        "Its place in the shared counters."
        self.popen = popen
        self.pid = popen.pid
        self.began = time.monotonic()
        self.state = "starting"
        self.config = ""
        "Hash of the configuration it has in force."
        self.parcel = 0
        "Which of the parcels that the supervisor keeps it has."
        self.error = ""
        "Why it could not take what it was started with."
        self.totals: dict[str, Any] = {}
        self.on_news: Callable[[Worker, News], None] = lambda worker, news: None
        self.on_lost: Callable[[], None] = lambda: None
        "It will not say anything any more."
        self.on_entries: Callable[[Entries], None] = lambda entries: None
        self.on_needs: Callable[[int, Needs], None] = lambda pid, needs: None
        self.on_alarm: Callable[[int, Alarm], None] = lambda pid, alarm: None
        self.on_lacks: Callable[[str], None] = lambda source: None
        "Of keys of this source it lacks one."
        self.on_wanted: Callable[[int, Wanted], None] = lambda pid, wanted: None
        self.on_rejected: Callable[[Rejected], None] = lambda rejected: None
        self.on_leaving: Callable[[Worker], None] = lambda worker: None
        self._channel: Channel | None = None
        self._taken: dict[int, asyncio.Future[Taken]] = {0: asyncio.get_running_loop().create_future()}
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._ids = 0
        self.ended = asyncio.Event()

    async def connect(self, end: socket.socket) -> None:
        """Speak with it over our end of the pair."""
        self._channel = await open_channel(end, Up, self._take, self._lost)

    def send_packed(self, data: bytes) -> None:
        if self._channel is not None:
            self._channel.send_packed(data)

    def send(self, message: Down) -> None:
        if self._channel is not None:
            self._channel.send(message)

    async def took(self, version: int, within_s: float) -> Taken:
        """What it says of this version, once. An error in `error` when it says nothing in time, or is gone."""
        future = self._taken.setdefault(version, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(within_s):
                return await future
        except TimeoutError:
            return Taken(version, self.config, "refused", f"worker {self.pid} did not answer within {within_s:g} s")
        finally:
            self._taken.pop(version, None)

    def expect(self, version: int) -> None:
        """It is about to be told of this version: its answer may come before anybody waits for it."""
        self._taken[version] = asyncio.get_running_loop().create_future()

    async def ask(self, what: str, value: Any = None, within_s: float = 2.0) -> Any:
        """Ask for live state; None when it does not answer in time."""
        self._ids += 1
        number = self._ids
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        self.send(Query(number, what, value))
        try:
            async with asyncio.timeout(within_s):
                return await future
        except TimeoutError:
            return None
        finally:
            self._answers.pop(number, None)

    def tell(self, what: str, value: Any) -> None:
        """As `ask`, and nobody waits for the answer."""
        self._ids += 1
        self.send(Query(self._ids, what, value))

    def leave(self, limit_s: float, replaced: bool, still_listen_s: float = STILL_LISTEN_S) -> None:
        """Tell it to drain and end."""
        self.state = "leaving"
        self.send(Drain(limit_s, still_listen_s, replaced))

    def kill(self) -> None:
        """End it at once."""
        if self.popen.returncode is None:
            self.popen.kill()

    def reaped(self) -> bool:
        """Whether it is over: the process ended, and all that it said was heard."""
        if self.popen.poll() is None or (self._channel is not None and not self._channel.closed):
            return False
        if self.state != "gone":
            self.state = "gone"
            self._give_up()
            self.ended.set()
        return True

    # ------------------------------------------------------------------ what it says

    def _take(self, message: Up) -> None:
        if isinstance(message, Taken):
            if message.state != "refused":
                self.config = message.config
            future = self._taken.get(message.version)
            if future is not None and not future.done():
                future.set_result(message)
        elif isinstance(message, Answer):
            answer = self._answers.get(message.id)
            if answer is not None and not answer.done():
                answer.set_result(message.value)
        elif isinstance(message, Entries):
            self.on_entries(message)
        elif isinstance(message, Needs):
            self.on_needs(self.pid, message)
        elif isinstance(message, Alarm):
            self.on_alarm(self.pid, message)
        elif isinstance(message, Lacks):
            self.on_lacks(message.source)
        elif isinstance(message, Wanted):
            self.on_wanted(self.pid, message)
        elif isinstance(message, Rejected):
            self.on_rejected(message)
        elif isinstance(message, Leaving):
            self.on_leaving(self)
        elif isinstance(message, Left):
            self.totals = message.totals
        else:
            self.on_news(self, message)

    def _lost(self) -> None:
        """The channel broke. A worker that left closes it too; any other is of no use without it."""
        self._give_up()
        if not self.totals and self.popen.poll() is None:
            self.popen.terminate()
        self.on_lost()

    def _give_up(self) -> None:
        """Nobody waits any longer for its answers."""
        for version, future in self._taken.items():
            if not future.done():
                future.set_result(Taken(version, self.config, "refused", f"worker {self.pid} ended"))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(None)


MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2 * 1024 * 1024), "MALLOC_TRIM_THRESHOLD_": str(8 * 1024 * 1024)}
"""How glibc's allocator keeps the buffers of bodies, which are up to a mebibyte. By itself it gives them back to the
kernel after each request and takes them anew: a 200 KB prompt was 100 page faults, half of what it cost. Whoever sets
these in the environment is heard; other C libraries have no such names."""


class Seat:
    """What outlives a worker: its number and its listening socket."""

    def __init__(self, number: int, listening: socket.socket) -> None:
        self.number = number
        self.listening = listening
        self.worker: Worker | None = None
        self.failures = 0
        "Workers that ended young, in a row: the next one waits longer before it starts."
        self.restarts = 0
        "Workers started here because the one before ended by itself."


async def spawn(seat: Seat, parcel_fd: int, counters_fd: int, region: int) -> Worker:
    """Start a worker on this seat: a fresh interpreter that inherits its socket, the parcel and the counters."""
    ours, theirs = socket.socketpair()
    fds = {
        "--parcel-fd": parcel_fd,
        "--listen-fd": seat.listening.fileno(),
        "--channel-fd": theirs.fileno(),
        "--counters-fd": counters_fd,
    }
    given = {name: fd for name, fd in fds.items() if fd >= 0}
    # -P: what lies in the current directory is not part of the program.
    command = [sys.executable, "-P", "-m", "sluicegate.worker", "--region", str(region)]
    for name, fd in given.items():
        command += [name, str(fd)]
    with theirs:
        worker = Worker(seat, region, _started(command, tuple(given.values())))
    await worker.connect(ours)
    return worker


def _started(command: list[str], inherited: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """A child. Not by asyncio: on Python 3.11 its watcher would be a thread for each."""
    return subprocess.Popen(command, pass_fds=inherited, stdin=subprocess.DEVNULL, env={**MALLOC, **os.environ})
