"""The mover: from the journals of the workers into the ledger, each record exactly once.

Where it read to is kept by the ledger, in the transaction that holds what was read: killed at any moment, it goes on
there. A writer that is gone (its lock is free) will settle nothing more: what it left open is booked as interrupted.
Segments that are moved are kept for a while, then recycled.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from sluicegate.core.booked import Admitted, Place, Settled, interrupted
from sluicegate.core.pricing import Tariffs
from sluicegate.core.settings import Retention
from sluicegate.link import segments

BATCH = 500
"""Records in one transaction."""

SPARES = 4
"""Segments kept for the next writer."""

KEPT_BYTES = 256 * 1024 * 1024
"""Of moved segments, whatever their age."""

CHECKPOINT_S, TIDY_S = 10.0, 60.0
"""How often old records are looked for and the database is checkpointed; how often old segments are."""

DOUBT_S = 3600.0
"""A wall clock that was set forward by more than this is not believed for as long: records that are deleted by a wrong
one do not come back."""

TURN_S = 5.0
"""Of moving, at most, before the rest of the house has its turn: a start waits for the first one, and the write-ahead
log grows until it is checkpointed. After a day without a ledger there is work for minutes."""

BUSY_SHARE = 0.2
"""Of the usual wait, while there is something to move: many small turns, because a long one holds up a worker that
shares its core (100 records are 2.3 ms, 20 are 1)."""

DELETED = 1000
"""Rows that are deleted in one turn, so that the next batch never waits long: 4,000 a second at least while there are
more."""


class Book(Protocol):
    """The ledger, as far as the mover needs it: one writer, this one."""

    def there(self) -> bool:
        """Whether what is written can be found again."""

    def place(self, writer: str) -> Place: ...

    def move(
        self, writer: str, place: Place, admitted: Sequence[Admitted], settled: Sequence[tuple[Settled, str, str]]
    ) -> None:
        """All of it or nothing: these records (with node and spec hash), open ones, and the place reached."""

    def open(self, writer: str, most: int) -> list[tuple[Admitted, str, str]]: ...
    def openers(self) -> set[str]:
        """Writers of which something is open."""

    def oldest(self) -> int:
        """When the oldest open one was admitted, microseconds since 1970; 0: none is open."""

    def forget(self, writer: str) -> None: ...
    def checkpoint(self) -> None: ...
    def expire(self, before_us: int, most: int) -> int:
        """Delete records older than that, at most so many; how many there were."""

    def close(self) -> None: ...


class Mover:
    """Moves what is there when it is told to: `step` until it says False."""

    def __init__(
        self,
        folder: str,
        ledger: Book,
        keep_s: float = 7 * 86400.0,
        wall: Callable[[], float] = time.time,
        on_moved: Callable[[Sequence[Settled]], None] = lambda records: None,
        tariffs: Callable[[], Tariffs | None] = lambda: None,
    ) -> None:
        self.folder = folder
        self._tariffs = tariffs
        "Prices in force, for what is booked here."
        self.ledger = ledger
        self.on_moved = on_moved
        "Told of records that are in the ledger now. Must not raise."
        self.keep_s = keep_s
        self._wall = wall
        self.moved = 0
        "Records that were handed to the ledger."
        self.interrupted = 0
        self.unknown = 0
        "Frames of kinds that this version does not know."
        self.damaged: list[str] = []
        "Segments of which a part could not be read, since somebody emptied this list."
        self._complete = False
        "Everything that there was at the start is moved."

    def run(self, enough: Callable[[], bool] = lambda: False) -> bool:
        """Everything that is there. False: it was `enough` before that."""
        while self.step():
            if enough():
                return False
        if not self._complete:
            self._forsaken()
            self._complete = True
        return True

    def _forsaken(self) -> None:
        """Once: what is open of writers whose folders somebody removed, or which a ledger from a backup still knows.
        Nothing will settle it."""
        for writer in self.ledger.openers() - set(segments.writers(self.folder)):
            while self._interrupt(writer):
                pass
            self.ledger.forget(writer)

    def step(self) -> bool:
        """One batch of one writer; False: nothing left to do. Raises what the ledger raises; OSError where a journal
        cannot be read, once all others are moved."""
        unread: OSError | None = None
        for writer in segments.writers(self.folder):
            try:
                if self._writer(writer):
                    return True
            except OSError as e:
                unread = unread or e
        if unread is not None:
            raise unread
        return False

    def tidy(self) -> None:
        """Seldom: what is old is recycled or removed."""
        done, spare = (os.path.join(self.folder, n) for n in (segments.DONE, segments.SPARE))
        os.makedirs(spare, mode=0o700, exist_ok=True)
        found = []
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(done):
                stat = entry.stat()
                found.append((stat.st_mtime, stat.st_size, entry.name))
        kept = 0
        for at, size, name in sorted(found, reverse=True):
            kept += size
            if kept > KEPT_BYTES or self._wall() - at >= self.keep_s:
                path = os.path.join(done, name)
                if len(os.listdir(spare)) < SPARES:
                    os.rename(path, os.path.join(spare, name))
                else:
                    os.unlink(path)

    # ------------------------------------------------------------------ inside

    def _writer(self, writer: str) -> bool:
        home = os.path.join(self.folder, writer)
        over = self._over(home)  # asked before reading: what is read after it is the last
        there = segments.serials(home)
        place = self.ledger.place(writer)
        for serial, after in zip(there, [*there[1:], 0], strict=False):
            if serial < place.serial:  # moved, and the mover was killed before it was put away
                self._put_away(writer, serial)
                continue
            start = place.offset if serial == place.serial else 0
            frames = self._read(home, serial, start)
            if frames.found or frames.unknown:
                self._book(writer, place._replace(serial=serial, offset=frames.end), frames)
                return True
            if not frames.sealed:
                used = after and bool(self._read(home, after, 0).found)
                if not used and not over:
                    break  # made ahead: this one is still written
                again = self._read(home, serial, start)
                if again.found or again.unknown or again.sealed:
                    return True  # between two looks
                onward = self._behind(home, serial, start)
                if used or onward:
                    self._spoilt(writer, serial)
                if onward > 0:
                    self.ledger.move(writer, place._replace(serial=serial, offset=onward), (), ())
                    return True
            if not after:
                break
            self.ledger.move(writer, Place(serial + 1, 0, place.node, place.spec), (), ())
            self._put_away(writer, serial)
            return True
        return over and self._bury(writer, home, there)

    def _read(self, home: str, serial: int, start: int) -> segments.Frames:
        try:
            return segments.read(os.path.join(home, segments.name(serial)), start)
        except segments.Foreign:
            return segments.Frames([], start, False, 0)

    def _behind(self, home: str, serial: int, start: int) -> int:
        """Where frames go on behind what cannot be read; 0: it is the end, -1: nothing of it can be read."""
        try:
            return segments.behind(os.path.join(home, segments.name(serial)), start)
        except segments.Foreign:
            return -1

    def _spoilt(self, writer: str, serial: int) -> None:
        name = os.path.join(writer, segments.name(serial))
        if name not in self.damaged[-1:]:
            self.damaged.append(name)

    def _book(self, writer: str, place: Place, frames: segments.Frames) -> None:
        node, spec = place.node, place.spec
        admitted: dict[str, Admitted] = {}
        settled = []
        for found in frames.found:
            if isinstance(found, Settled):
                admitted.pop(found.id, None)
                settled.append((found, node, spec))
            elif isinstance(found, Admitted):
                admitted[found.id] = found
            else:
                node, spec = found.node, found.spec
        self.ledger.move(writer, place._replace(node=node, spec=spec), list(admitted.values()), settled)
        self.on_moved([record for record, _, _ in settled])
        self.moved += len(settled)
        self.unknown += frames.unknown

    def _bury(self, writer: str, home: str, there: list[int]) -> bool:
        """The writer is gone and everything it left was read."""
        if self._interrupt(writer):
            return True
        for serial in there:
            self._put_away(writer, serial)
        shutil.rmtree(home)
        self.ledger.forget(writer)
        return True

    def _interrupt(self, writer: str) -> bool:
        """Some of what it left open; False: there is none."""
        left = self.ledger.open(writer, BATCH)
        if left:
            tariffs = self._tariffs()
            ended = [(interrupted(a, tariffs), node, spec) for a, node, spec in left]
            self.ledger.move(writer, self.ledger.place(writer), (), ended)
            self.on_moved([record for record, _, _ in ended])
            self.interrupted += len(left)
        return bool(left)

    def _put_away(self, writer: str, serial: int) -> None:
        done = os.path.join(self.folder, segments.DONE)
        os.makedirs(done, mode=0o700, exist_ok=True)
        name = segments.name(serial)
        os.rename(os.path.join(self.folder, writer, name), os.path.join(done, f"{writer}-{name}"))

    def _over(self, home: str) -> bool:
        try:
            fd = os.open(os.path.join(home, segments.LOCK), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        finally:
            os.close(fd)


class Moving:
    """A mover with a thread of its own, beside the workers. `open_ledger` may raise what `lost` names: then it is
    said once, records wait in the journal, and it is tried again."""

    def __init__(
        self,
        folder: str,
        open_ledger: Callable[[], Book],
        lost: tuple[type[Exception], ...],
        retention: Callable[[], Retention],
        say: Callable[..., None],
        every_s: float = 0.25,
        on_moved: Callable[[Sequence[Settled]], None] = lambda records: None,
        tariffs: Callable[[], Tariffs | None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        self._wall = wall
        self._offset = wall() - now()
        self.folder = folder
        self._on_moved = on_moved
        self._tariffs = tariffs
        self._open = open_ledger
        self._lost: tuple[type[Exception], ...] = (OSError, *lost)
        self._retention = retention
        self._say = say
        self._every_s = every_s
        self._leave = threading.Event()
        self._busy = False
        "The last turn found records."
        self._checkpoint_at = self._tidy_at = self._expire_at = -math.inf
        self._thread = threading.Thread(target=self._run, name="mover", daemon=True)
        self.mover: Mover | None = None
        self.failing = ""
        "Why nothing is moved; empty: all is well."
        self.caught_up = now()
        "When everything was last in the ledger, monotonic."
        self.oldest_us = 0
        "When the oldest request was admitted that the ledger knows as open, since 1970; 0: none is."

    async def start(self, _: object) -> None:
        """Begin: with what the run before left."""
        await asyncio.to_thread(self.turn)
        self._thread.start()

    async def stop(self) -> None:
        """Move what the workers left, then end."""
        self._leave.set()
        await asyncio.to_thread(self._thread.join, 10.0)

    def _run(self) -> None:
        while not self._leave.wait(self.pause()):
            self.turn()
        self._checkpoint_at = self._tidy_at = -math.inf
        self.turn()
        if self.mover is not None:
            self.mover.ledger.close()

    def pause(self) -> float:
        """Seconds until the next turn."""
        if self.failing:
            return max(1.0, self._every_s)
        return self._every_s * BUSY_SHARE if self._busy else self._every_s

    def turn(self) -> None:
        """Move what is there; seldom, put the house in order. Raises nothing."""
        try:
            if self.mover is not None and not self.mover.ledger.there():
                self._say("ledger.gone")
                self.mover.ledger.close()
                self.mover = None
            if self.mover is None:
                self.mover = Mover(self.folder, self._open(), on_moved=self._on_moved, tariffs=self._tariffs)
            mover, retention = self.mover, self._retention()
            began, wall, before = self._now(), self._wall(), mover.moved
            unread, complete = "", False
            try:
                complete = mover.run(lambda: self._now() - began >= TURN_S)
            except OSError as e:  # of one journal: all others are moved, and the ledger is well
                unread = _words(e)
            finally:
                damaged, mover.damaged = mover.damaged, []
                for name in damaged:
                    self._say("journal.damaged", segment=name)
            self._busy = mover.moved != before
            if complete:
                self.caught_up = began
            self.oldest_us = mover.ledger.oldest()
            if began >= self._checkpoint_at:
                self._checkpoint_at = began + CHECKPOINT_S
                mover.ledger.checkpoint()
            offset = wall - began
            if offset - self._offset > DOUBT_S:
                self._expire_at = max(began, self._expire_at) + DOUBT_S
            self._offset = offset
            if began >= self._expire_at:
                before_us = int((wall - retention.records) * 1e6)
                if mover.ledger.expire(before_us, DELETED) < DELETED:  # else there are more: in the next turn
                    self._expire_at = began + CHECKPOINT_S
            if began >= self._tidy_at:
                self._tidy_at = began + TIDY_S
                mover.keep_s = retention.journal
                mover.tidy()
            self._tell(unread)
        except OSError as e:
            self._tell(_words(e))
        except self._lost as e:
            self._tell(str(e) or type(e).__name__)
        except Exception as bug:  # the thread goes on, or nothing would be moved until the next start
            self._tell(f"unexpected {type(bug).__name__}: {bug}")

    def _tell(self, why: str) -> None:
        if why != self.failing:
            self.failing = why
            self._say("ledger.failing" if why else "ledger.well", **({"error": why} if why else {}))


def _words(e: OSError) -> str:
    what = (e.strerror or type(e).__name__).lower()
    return f"{e.filename} cannot be used: {what}" if e.filename else what
