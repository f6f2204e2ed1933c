"""The supervisor: as many workers as there are seats, whatever happens to them.

A worker that ends is replaced on the same socket, later each time if it ended young. A new configuration is in force
on all of them or on none: first every worker prepares it, then all adopt it. Workers are replaced one at a time, the
new one accepting before the old one stops.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import IO, Any

from sluicegate.core.keyset import KeySet
from sluicegate.keeper.lending import Lending
from sluicegate.keeper.sockets import anonymous
from sluicegate.keeper.workers import STILL_LISTEN_S, Seat, Worker, spawn
from sluicegate.link.channel import (
    Adopt,
    Alarm,
    Belongs,
    Entries,
    Forget,
    Keys,
    Lends,
    News,
    Offer,
    Rejected,
    Token,
    Wanted,
    packed,
)
from sluicegate.link.counters import NOWHERE

BACKOFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Before the next worker starts, by how many ended young in a row. Meanwhile its connections wait in the backlog."""

YOUNG_S = 10.0
START_S = 30.0
"""A worker that is not ready by then is replaced."""

PREPARE_S = 20.0
SLOWEST = 256 * 1024
"""Bytes of a configuration a second that a worker on a busy machine reads at least: a million consumers are 36 MB."""

ADOPT_S = 5.0
"""A worker that prepared and does not adopt in this time hangs: it is replaced, by one that starts with the new
configuration."""

REVOKE_S = 1.0
"""Within which every worker has to say that a key is revoked."""

HANG_S = 30.0
"""A worker that says nothing for so long is replaced. Far beyond what a large configuration or a busy machine costs."""

SAME_SIGNAL_S = 0.2

LATE_S = 5.0
"""Beyond its time to drain, before a worker is killed."""

QUIET_S = 2.0
"""After a change of consumers: what workers start with is made when there was no other for so long, or one starts."""

Say = Callable[..., None]
Pack = Callable[[], Awaitable[bytes]]


class CannotStart(Exception):
    """A worker could not take the configuration it was started with."""


class Supervisor:
    """The workers of one gateway. `say(event, **facts)` is told what happens; it must not raise."""

    def __init__(self, sockets: Sequence[socket.socket], say: Say, counters_fd: int = -1) -> None:
        self.seats = [Seat(n, s) for n, s in enumerate(sockets)]
        self.say = say
        self.workers: set[Worker] = set()
        "Every process that has not been reaped."
        self.version = 0
        self.config = ""
        "Hash of the configuration that is in force."
        self._size = 0
        "Bytes of what workers start with."
        self._kept = 0
        "Which parcel workers start with now. The hash does not say: drained deployments are no part of it."
        self.stopping = False
        self.changing = asyncio.Lock()
        "One reload or rolling restart at a time."
        self.totals: dict[str, Any] = {}
        "What workers that left had done."
        self.on_news: Callable[[Worker, News], None] = self.pass_on
        self.on_entries: Callable[[Entries], None] = lambda entries: None
        "Requests that are over."
        self.on_alarm: Callable[[int, Alarm], None] = lambda pid, alarm: None
        "A worker, by its pid, says what somebody should be told."
        self.on_gone: Callable[[int, str], None] = lambda pid, how: None
        "A worker is over; `how`: empty when it was told to, else its exit status."
        self.on_change: Callable[[], None] = lambda: None
        "A worker was started, or is gone."
        self.revoked: list[str] = []
        "Digests of keys that no worker may let in, in hex."
        self.keys: dict[str, KeySet] = {}
        "Of issuers, by source: what workers that start are told."
        self.on_lacks: Callable[[str], None] = lambda source: None
        "Of a source, that a worker met a token of a key that is not known."
        self.tokens: dict[int, Token] = {}
        "What is shown upstream, by number of the identity: every worker has it before it is ready."
        self.on_wanted: Callable[[int, Wanted], None] = lambda pid, wanted: None
        "A worker, by its pid, wants to know somebody's groups."
        self.on_rejected: Callable[[Rejected], None] = lambda rejected: None
        "An instance does not take what it is shown."
        self.lending = Lending(self._lend, time.monotonic)
        self._parcel: IO[bytes] | None = None
        self._pack: Pack | None = None
        "Makes what workers start with; None: it is made."
        self._counters_fd = counters_fd
        self._free = list(range(regions(len(self.seats))))
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------ starting

    async def start(self, parcel: bytes, config: str) -> None:
        """All workers, ready. Raises CannotStart; then none is left."""
        self._keep(parcel, config)
        workers = [await self._seat(seat) for seat in self.seats]
        for taken in await asyncio.gather(*(w.took(0, self._patience(START_S)) for w in workers)):
            if taken.state == "refused":
                self.stopping = True
                await self._end_all()
                raise CannotStart(taken.error)
        for worker in workers:
            worker.state = "ready"

    def _patience(self, least_s: float) -> float:
        """Seconds that a worker has to read what it starts with."""
        return least_s + self._size / SLOWEST

    def _keep(self, parcel: bytes | Pack, config: str) -> None:
        """What workers start with from now on, or how it is made when one does."""
        self._kept += 1
        self.config = config
        if isinstance(parcel, bytes):
            self._write(parcel)
        else:
            self._pack = parcel
            self._go(self._when_quiet(self._kept))

    def _write(self, parcel: bytes) -> None:
        before = self._parcel
        self._pack = None
        self._size = len(parcel)
        self._parcel = anonymous()
        self._parcel.write(parcel)
        self._parcel.flush()
        if before is not None:
            before.close()

    async def _when_quiet(self, kept: int) -> None:
        """After the last of several changes what workers start with is made once: none has to wait for it."""
        await asyncio.sleep(QUIET_S)
        if self._kept == kept and not self.stopping:
            await self._fresh()

    async def _fresh(self) -> None:
        """What workers start with is what is in force."""
        while (pack := self._pack) is not None:
            parcel = await pack()
            if self._pack is pack:
                self._write(parcel)

    async def _seat(self, seat: Seat) -> Worker:
        """A worker on this seat, not ready yet."""
        seat.worker = worker = await self._spawn(seat)
        return worker

    async def _spawn(self, seat: Seat) -> Worker:
        await self._fresh()
        assert self._parcel is not None
        kept = self._kept
        region = self._free.pop(0) if self._free else NOWHERE
        try:
            worker = await spawn(seat, self._parcel.fileno(), self._counters_fd, region)
        except Exception:
            self._release(region)
            raise
        worker.parcel = kept
        worker.on_lost = self.reap
        worker.on_news = self.on_news
        worker.on_leaving = self.leaving
        worker.on_needs = self.lending.take
        worker.on_entries = self.on_entries
        worker.on_alarm = self.on_alarm
        worker.on_lacks = self.on_lacks
        worker.on_wanted = self.on_wanted
        worker.on_rejected = self.on_rejected
        for token in self.tokens.values():
            worker.send(token)
        if self.revoked:  # it reads this before the head of its first request
            worker.tell("revoke", self.revoked)
        if self.keys:
            worker.send(Keys(list(self.keys.values())))
        self.workers.add(worker)
        self.lending.joined(worker.pid)
        self.on_change()
        return worker

    def _release(self, region: int) -> None:
        if region != NOWHERE:
            self._free.append(region)

    # ------------------------------------------------------------------ a worker ended

    def reap(self) -> None:
        """To be called on SIGCHLD and when a channel ends: see who is over, and replace them."""
        gone = [w for w in self.workers if w.reaped()]
        self.workers.difference_update(gone)
        if gone:
            self.on_change()
        for worker in gone:
            self.lending.left(worker.pid)
            self._release(worker.region)
            add(self.totals, worker.totals)
            seat = worker.seat
            by_itself = seat.worker is worker and not self.stopping
            self.on_gone(worker.pid, f"status {worker.popen.returncode}" if by_itself else "")
            if seat.worker is not worker:
                continue
            seat.worker = None
            if self.stopping:
                continue
            young = time.monotonic() - worker.began < YOUNG_S
            seat.failures = seat.failures + 1 if young else 0
            delay = BACKOFF_S[min(seat.failures, len(BACKOFF_S) - 1)]
            self.say("worker.ended", pid=worker.pid, status=worker.popen.returncode, restart_in_s=delay)
            self._go(self._revive(seat, delay))

    def leaving(self, worker: Worker) -> None:
        """Somebody sent it SIGTERM. Perhaps to all of us: the keeper's own signal has a moment to arrive."""
        if self.stopping or worker.state == "leaving":
            return
        worker.state = "leaving"
        if worker.seat.worker is worker:
            worker.seat.worker = None
            self.say("worker.leaves", pid=worker.pid)
            self._go(self._revive(worker.seat, SAME_SIGNAL_S))

    async def _revive(self, seat: Seat, delay: float) -> None:
        await asyncio.sleep(delay)
        if self.stopping or seat.worker is not None:
            return
        seat.restarts += 1
        try:
            worker = await self._seat(seat)
        except Exception as e:  # no memory, no process; or a bug of ours: an empty seat serves nobody
            seat.failures += 1
            self.say("worker.not_started", error=_words(e))
            self._go(self._revive(seat, BACKOFF_S[min(seat.failures, len(BACKOFF_S) - 1)]))
            return
        taken = await worker.took(0, self._patience(START_S))
        if taken.state == "refused":
            if not self.stopping:
                self.say("worker.not_ready", pid=worker.pid, error=taken.error)
            worker.kill()
            return
        await self._bring_up(worker)
        self.say("worker.ready", pid=worker.pid, config=worker.config)

    async def _bring_up(self, worker: Worker) -> None:
        """It is ready, and a new configuration may have come in force while it started."""
        if worker.parcel != self._kept:
            await self._fresh()  # before it is ready: nobody may send it a change of what it does not have yet
            if worker.state in ("gone", "leaving"):
                return
        worker.state = "ready"
        if worker.parcel != self._kept and self._parcel is not None and not self.stopping:
            version = self.version
            parcel = os.pread(self._parcel.fileno(), os.fstat(self._parcel.fileno()).st_size, 0)
            worker.expect(version)
            worker.send(Offer(version, parcel))
            taken = await worker.took(version, PREPARE_S + len(parcel) / SLOWEST)
            if taken.state == "prepared":
                worker.parcel = self._kept
                worker.send(Adopt(version))
            else:
                worker.kill()

    # ------------------------------------------------------------------ a new configuration

    async def adopt(self, whole: bytes | Pack, changed: bytes, config: str) -> str:
        """Put a configuration in force on all workers. Empty when it is, else why it is on none.

        `whole` is what workers start with from now on (or makes it, where it is large and they need little of it),
        `changed` what running ones need.
        """
        async with self.changing:
            self.version += 1
            version = self.version
            workers = self._ready()
            offer = packed(Offer(version, changed))
            for worker in workers:
                worker.expect(version)
                worker.send_packed(offer)
            taken = await asyncio.gather(*(w.took(version, PREPARE_S + len(changed) / SLOWEST) for w in workers))
            errors = [t.error for t in taken if t.state == "refused"]
            if errors or self.stopping:
                for worker in workers:
                    worker.send(Forget(version))
                return errors[0] if errors else "the gateway is leaving"
            self._keep(whole, config)  # from here on there is no way back: who fails now starts with the new one
            for worker in workers:
                worker.parcel = self._kept
                worker.expect(version)
                worker.send(Adopt(version))
            for worker, result in zip(
                workers, await asyncio.gather(*(w.took(version, ADOPT_S) for w in workers)), strict=True
            ):
                if result.state == "refused" and worker.state != "gone":
                    self.say("worker.hangs", pid=worker.pid, error=result.error)
                    worker.kill()
            for worker in self._ready():
                if worker not in workers:
                    await self._bring_up(worker)
            return ""

    def _ready(self) -> list[Worker]:
        return [s.worker for s in self.seats if s.worker is not None and s.worker.state == "ready"]

    # ------------------------------------------------------------------ replacing, leaving

    async def roll(self, drain_s: float) -> str:
        """Replace every worker, one at a time, on its own socket. Empty when all are, else what is in the way."""
        if self.changing.locked():
            return "another change is under way"
        async with self.changing:
            if any(w.state == "leaving" for w in self.workers):
                return "workers of the restart before this one are still draining"
            for seat in self.seats:
                old = seat.worker
                if old is None or old.state != "ready":
                    continue  # its successor is on its way already
                try:
                    new = await self._spawn(seat)
                except Exception as e:
                    return f"no worker could be started: {_words(e)}"
                taken = await new.took(0, self._patience(START_S))
                if taken.state == "refused" or self.stopping:
                    new.kill()
                    return taken.error or "the gateway is leaving"
                new.state = "ready"
                seat.worker = new
                self.say("worker.replaced", pid=old.pid, by=new.pid)
                old.leave(drain_s, replaced=True)
            return ""

    async def stop(self, drain_s: float) -> None:
        """Drain all workers; kill who does not end in time."""
        self.stopping = True
        for task in self._tasks:
            task.cancel()
        for worker in self.workers:
            if worker.state in ("ready", "leaving"):
                worker.leave(drain_s, replaced=False)
            else:
                worker.popen.terminate()
        # As long as workers accept, the backlog is served; then nobody would, and clients must see that.
        ended = self._go(self._all_ended())
        await asyncio.wait([ended], timeout=min(STILL_LISTEN_S, drain_s))
        self._close_sockets()
        await asyncio.wait([ended], timeout=drain_s + LATE_S)
        await self._end_all()

    async def _all_ended(self) -> None:
        for worker in list(self.workers):
            await worker.ended.wait()

    async def _end_all(self) -> None:
        for worker in self.workers:
            worker.kill()
        await self._all_ended()
        self.reap()
        for task in self._tasks:
            task.cancel()
        self._close_sockets()
        if self._parcel is not None:
            self._parcel.close()

    def _close_sockets(self) -> None:
        for seat in self.seats:
            seat.listening.close()

    async def look_alive(self) -> None:
        """Ask every worker for a word; one that has none for HANG_S stands still, and is replaced. What it was doing
        is lost, as nobody would have got it."""
        workers = self._ready()
        answers = await asyncio.gather(*(w.ask("alive", within_s=HANG_S) for w in workers))
        for worker, answer in zip(workers, answers, strict=True):
            if answer is None and worker.state == "ready" and not self.stopping:
                self.say("worker.hangs", pid=worker.pid, error=f"no word for {HANG_S:g} s")
                worker.kill()

    # ------------------------------------------------------------------ small things

    async def ask(self, what: str, value: Any = None) -> list[tuple[Worker, Any]]:
        """Live state of every worker that is ready and answers."""
        workers = self._ready()
        answers = await asyncio.gather(*(w.ask(what, value) for w in workers))
        return [(w, a) for w, a in zip(workers, answers, strict=True) if a is not None]

    async def revoke(self, digests: list[str]) -> list[int]:
        """No worker lets these keys in from now on, nor does one that starts later. Those that did not say so in time.
        Beside reloads and restarts, which take their time: those that start or leave are told, too."""
        self.revoked += digests
        workers = [w for w in self.workers if w.state != "gone"]
        said = await asyncio.gather(*(w.ask("revoke", digests, REVOKE_S) for w in workers))
        return [w.pid for w, yes in zip(workers, said, strict=True) if not yes and w.state == "ready"]

    def tell_keys(self, sets: Sequence[KeySet]) -> None:
        """Public keys of issuers, for all workers and those to come."""
        self.keys |= {one.source: one for one in sets}
        data = packed(Keys(list(sets)))
        for worker in self.workers:
            worker.send_packed(data)

    def supply(self, token: Token) -> None:
        """Every worker shows this from now on, and those that start later. Beside reloads and restarts."""
        if token.text:
            self.tokens[token.number] = token
        else:
            self.tokens.pop(token.number, None)
        data = packed(token)
        for worker in self.workers:
            if worker.state != "gone":
                worker.send_packed(data)

    def belongs(self, pid: int, message: Belongs) -> None:
        """What a worker wanted to know of somebody."""
        self._send(pid, message)

    def _lend(self, pid: int, message: Lends) -> None:
        self._send(pid, message)

    def _send(self, pid: int, message: Belongs | Lends) -> None:
        for worker in self.workers:
            if worker.pid == pid:
                worker.send(message)

    def live_regions(self) -> set[int]:
        """Places in the shared counters in which somebody counts."""
        return {w.region for w in self.workers if w.region != NOWHERE}

    def pass_on(self, worker: Worker, news: News) -> None:
        """News of one worker goes to all others."""
        data = packed(news)
        for other in self._ready():
            if other is not worker:
                other.send_packed(data)

    def _go(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _words(e: Exception) -> str:
    return (e.strerror or "error").lower() if isinstance(e, OSError) else type(e).__name__


def regions(seats: int) -> int:
    """Places in the shared counters: every worker may have a successor while it drains. Whose are taken by more that
    drain counts for itself alone (NOWHERE)."""
    return 2 * seats + 1


def add(sums: dict[str, Any], more: dict[str, Any]) -> None:
    """Counts by name, summed; maps within too."""
    for name, value in more.items():
        if isinstance(value, dict):
            add(sums.setdefault(name, {}), value)
        elif isinstance(value, int):
            sums[name] = sums.get(name, 0) + value
