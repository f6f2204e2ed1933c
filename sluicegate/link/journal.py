"""The journal: records are in a file before anything they vouch for happens, and outlive the process that wrote them.

A memory-mapped segment: an append is a copy into the page cache, which a kill -9 does not touch (a power cut takes
what the kernel had not written yet, up to about 30 s). Blocks are reserved before a segment is used: a full disk is
met where a segment is made, beside the traffic, never as SIGBUS in the middle of an append (file systems that copy on
write can still break that promise). No segment to be had, for a full disk or a folder without rights: records wait in
memory, up to BACKLOG bytes, newer ones are lost and counted, traffic goes on, `alarm` is told, and once a second it is
tried again.

One writer has one folder and holds its lock as long as it lives; a reader that can take the lock knows that nothing
more will be settled there. It is compiled with the road (docs/decisions/0012).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final
from zlib import crc32

import msgspec

from sluicegate.core.booked import ADMITTED, BEGAN, SEALED, SETTLED
from sluicegate.core.pricing import Tariffs
from sluicegate.core.record import PLAIN, Attempt, Context, UsageRecord
from sluicegate.core.settings import Prices
from sluicegate.link.segments import FIRST, FRAME, LOCK, LONGEST, MAGIC, SEED, SPARE, VERSION, WRITER, name

SEGMENT: Final = 4 * 1024 * 1024
"""Bytes: about 8,000 requests."""

BACKLOG: Final = 1024 * 1024
RETRY_S: Final = 1.0

STEP_S: Final = 0.02
"""The wall clock was set by more than this against the one that events are stamped by, or the machine slept, during
which the latter may stand still: a segment can last for months."""

_frame: Final = FRAME.pack
_encode: Final = msgspec.msgpack.Encoder().encode


class Segment:
    """A file that is ready to be written."""

    __slots__ = ("map", "seed", "serial", "size")

    def __init__(self, folder: str, spare: str, serial: int, size: int) -> None:
        """Make it, or take one that was used before. Raises OSError."""
        path = os.path.join(folder, name(serial))
        draft = path + ".new"
        if not _take(spare, draft):
            os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        fd = os.open(draft, os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_size > size:
                os.ftruncate(fd, size)
            os.posix_fallocate(fd, 0, size)
            self.map = mmap.mmap(fd, size)
        except BaseException:
            os.close(fd)
            os.unlink(draft)
            raise
        os.close(fd)
        seed = os.urandom(SEED.size)
        (self.seed,) = SEED.unpack(seed)
        self.map[:FIRST] = MAGIC + seed
        self.serial = serial
        self.size = size
        os.rename(draft, path)

    def close(self) -> None:
        """What was written stays."""
        self.map.close()


def _take(spare: str, path: str) -> bool:
    try:
        for old in os.listdir(spare):
            try:
                os.rename(os.path.join(spare, old), path)
                return True
            except FileNotFoundError:
                continue  # another worker was faster
    except FileNotFoundError:
        pass
    return False


def _thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="journal", daemon=True).start()


class Journal:
    """Fulfils ports.Journal. Never raises, never waits for a disk but where the next segment was not ready in time
    (`stalled_s`)."""

    def __init__(
        self,
        folder: str,
        node: str,
        spec_hash: str,
        prices: Prices | None = None,
        wall: Callable[[], float] = time.time,
        now: Callable[[], float] = time.monotonic,
        alarm: Callable[[str], None] = lambda _: None,
        segment: int = SEGMENT,
        backlog: int = BACKLOG,
        spawn: Callable[[Callable[[], None]], None] = _thread,
    ) -> None:
        self.folder = folder
        self.node = node
        self._spec = spec_hash
        self._tariffs = Tariffs(prices or Prices())
        self._wall = wall
        self._now = now
        self._alarm = alarm
        self._size = segment
        self._most = backlog
        self._spawn = spawn
        self.writer = f"{WRITER}{int(wall() * 1e6):016x}-{os.getpid()}-{os.urandom(3).hex()}"
        self._home = ""
        self._lock = -1
        self._serial = 0
        self._segment: Segment | None = None
        self._next: Segment | None = None
        self._preparing = False
        self._map: mmap.mmap | bytearray = bytearray()
        self._seed = 0
        self._at = 0
        self._end = 0
        self._offset = 0.0
        self._tried_at = 0.0
        self._looked_at = 0.0
        self._backlog: deque[bytes] = deque()
        self._waiting = 0
        self._closed = False
        self.admitted = 0
        self.settled = 0
        self.interrupted = 0
        self.refused = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.appended = 0
        "Records in files."
        self.lost = 0
        "Records that found no room anywhere."
        self.failing = ""
        "Why there is no segment; empty: all is well."
        self.stalled_s = 0.0
        "Time that appends waited for a segment to be made."
        self._prepare()
        self._take_next()

    # ------------------------------------------------------------------ the port

    def admit(self, record: UsageRecord) -> None:
        """An exchange is about to send its first upstream byte."""
        self.admitted += 1
        context = record.context
        try:
            self._append(
                _encode((
                    ADMITTED, record.id, int((record.at + self._offset) * 1e6), record.api, record.consumer,
                    record.tenant, record.model, record.stream, record.estimate,
                    None if context is PLAIN else _context(context), record.first,
                ))
            )  # fmt: skip
        except Exception:  # a text that is no text, a disk that is none: never a client's answer
            self.lost += 1

    def settle(self, record: UsageRecord) -> None:
        """It is over: its facts are final."""
        if record.state == "settled":
            self.settled += 1
        else:
            self.interrupted += 1
        try:
            self._append(self._settled(record))
        except Exception:
            self.lost += 1

    def refuse(self, record: UsageRecord) -> None:
        """A request that was refused before admission: not journalled."""
        self.refused += 1

    # ------------------------------------------------------------------ what the worker calls besides

    def adopt(self, spec_hash: str, prices: Prices, node: str) -> None:
        """Another configuration is in force."""
        self._spec = spec_hash
        self.node = node
        self._tariffs = Tariffs(prices)
        if self._segment is not None and not self._closed:
            self._append(self._began())

    def totals(self) -> dict[str, int | str]:
        """As of stores.memory.journal: records = settled + interrupted + open."""
        return {
            "event": "totals", "records": self.admitted, "settled": self.settled, "interrupted": self.interrupted,
            "refused": self.refused, "input_tokens": self.input_tokens, "output_tokens": self.output_tokens,
            "open": self.admitted - self.settled - self.interrupted,
        }  # fmt: skip

    def tend(self) -> None:
        """Some times a second: have the next segment made in time, try again where that failed."""
        offset = self._wall() - self._now()
        if abs(offset - self._offset) > STEP_S:
            self._offset = offset
        if self._closed or self._preparing:
            return
        if self._now() - self._looked_at >= RETRY_S:
            self._looked_at = self._now()
            if self._segment is not None and not os.path.exists(os.path.join(self._home, name(self._segment.serial))):
                self._homeless(self._segment)
        if self._next is None and (self._segment is None or self._at > self._size // 2):
            now = self._now()
            if not self.failing or now - self._tried_at >= RETRY_S:
                self._preparing = True
                self._spawn(self._prepare)
        if self._segment is None:
            self._take_next()

    def close(self) -> None:
        """Nothing will be written any more. What could not be written is counted as lost."""
        if self._closed:
            return
        self._closed = True
        if self._segment is not None:
            self._seal()
        self.lost += len(self._backlog)
        self._backlog.clear()
        if self._lock >= 0:
            os.close(self._lock)

    # ------------------------------------------------------------------ inside

    def _append(self, body: bytes) -> None:
        at = self._at
        end = at + 8 + len(body)
        if end > self._end:
            self._full(body)
            return
        self._map[at:end] = _frame(len(body), crc32(body, self._seed)) + body
        self._at = end
        self.appended += 1

    def _full(self, body: bytes) -> None:
        """No room in this segment, or none at all."""
        if self._closed or len(body) > min(LONGEST, self._size - 1024):
            self.lost += 1
            return
        if self._next is None and not self.failing and not self._preparing:
            began = self._now()
            self._prepare()
            self.stalled_s += self._now() - began
        if self._take_next():
            self._append(body)
        elif self._waiting + len(body) > self._most:
            self.lost += 1
        else:
            if self._segment is not None:
                self._seal()
            self._backlog.append(body)
            self._waiting += len(body)

    def _take_next(self) -> bool:
        """On to the segment that is ready; False: there is none."""
        segment, self._next = self._next, None
        if segment is None:
            return False
        if self._segment is not None:
            self._seal()
        self._segment = segment
        self._map, self._seed = segment.map, segment.seed
        self._at, self._end = FIRST, segment.size - 64  # room for the seal
        self._offset = self._wall() - self._now()
        self._append(self._began())
        self.appended -= 1
        backlog, self._backlog, self._waiting = self._backlog, deque(), 0
        for body in backlog:
            self._append(body)
        return True

    def _seal(self) -> None:
        assert self._segment is not None
        self._end = self._segment.size
        self._append(_encode((SEALED,)))
        self.appended -= 1
        self._segment.close()
        self._segment = None
        self._at = self._end = 0

    def _began(self) -> bytes:
        serial = self._segment.serial if self._segment else 0
        return _encode((BEGAN, VERSION, self.node, self._spec, self.writer, serial, int(self._wall() * 1e6)))

    def _prepare(self) -> None:
        """Make the next segment; in a thread, but for the first."""
        self._tried_at = self._now()
        try:
            if not self._home:
                self._home = self._settle_down()
            segment = Segment(self._home, os.path.join(self.folder, SPARE), self._serial + 1, self._size)
        except OSError as e:
            why = f"cannot write the journal in {self.folder}: {(e.strerror or 'error').lower()}"
            if why != self.failing:
                self.failing = why
                self._alarm(why)
        else:
            self._serial += 1
            if self.failing:
                self.failing = ""
                self._alarm("")
            self._next = segment
        finally:
            self._preparing = False

    def _homeless(self, segment: Segment) -> None:
        """Somebody removed our folder, or moved it away: begin another one with what stands in this segment. What of it
        the ledger has already it knows by its ids."""
        at, most = FIRST, self._at
        while at < most:
            (length, _) = FRAME.unpack_from(self._map, at)
            self._backlog.append(bytes(self._map[at + 8 : at + 8 + length]))
            self._waiting += length
            at += 8 + length
        segment.close()
        self._segment, self._map, self._at, self._end = None, bytearray(), 0, 0
        if self._next is not None:
            self._next.close()
            self._next = None
        self.failing = f"cannot write the journal in {self._home}: it was removed"
        if not os.path.exists(os.path.join(self._home, LOCK)):
            os.close(self._lock)
            self._lock, self._home = -1, ""
        self._tried_at = 0.0
        self._alarm(self.failing)

    def _settle_down(self) -> str:
        """A folder of our own, which nobody sees before we hold its lock. Raises OSError."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        draft = os.path.join(self.folder, "." + self.writer)
        os.makedirs(draft, mode=0o700, exist_ok=True)
        if self._lock < 0:
            self._lock = os.open(os.path.join(draft, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        home = os.path.join(self.folder, self.writer)
        os.rename(draft, home)
        return home

    def _settled(self, record: UsageRecord) -> bytes:
        at, usage = record.at, record.usage
        wall = at + self._offset
        tokens = cost = None
        price, deployment, overhead = "", 0, 0
        if usage is not None:
            self.input_tokens += usage.input + usage.cached + usage.cache_write
            self.output_tokens += usage.output + usage.reasoning
            tokens = (usage.input, usage.cached, usage.cache_write, usage.output, usage.reasoning)
        tried = []
        for a in record.attempts:
            charged_to = a.charged_to
            billed = usage if charged_to == "consumer" else a.usage
            mine = None if billed is None else self._tariffs.cost(a.deployment, billed, record.service_tier, wall)
            if charged_to == "consumer":
                deployment = a.deployment
                if mine is not None:
                    price, cost = mine
            elif mine is not None:
                overhead += mine[1]
            tried.append(_tried(a, at, charged_to, tokens if billed is usage else _tokens(billed), mine))
        first, context = record.first_token_at, record.context
        return _encode((
            SETTLED, record.id, int(wall * 1e6), int((record.ended_at - at) * 1e6),
            None if first is None else int((first - at) * 1e6), record.api, record.consumer, record.tenant,
            record.model, record.stream, record.status, record.reason, record.how, record.state, record.usage_source,
            tokens, record.service_tier, "" if cost is None and not overhead else self._tariffs.currency, cost,
            overhead, price, deployment, tried, record.trail, None if context is PLAIN else _context(context),
        ))  # fmt: skip


def _tried(a: Attempt, at: float, charged_to: str, tokens: object, mine: tuple[str, int] | None) -> tuple[object, ...]:
    known = (
        a.deployment, int((a.at - at) * 1e6), int((a.ended_at - a.at) * 1e6), a.status, a.cause, a.sent, charged_to,
    )  # fmt: skip
    if a.region or a.declared:
        cost, price = (None, "") if mine is None else (mine[1], mine[0])
        return (*known, tokens, cost, price, a.region, a.declared)
    if mine is not None:
        return (*known, tokens, mine[1], mine[0])
    return (*known, tokens) if tokens is not None else known


def _tokens(usage: object) -> object:
    return usage and (usage.input, usage.cached, usage.cache_write, usage.output, usage.reasoning)  # type: ignore[attr-defined]


def _context(c: Context) -> object:
    """Once for a Context that many records share."""
    if c.packed is None:
        fields = (c.kind, c.parent, c.boundary, c.class_, c.arm, c.conversation, c.end_user, c.labels, c.region)
        c.packed = msgspec.Raw(_encode((*fields, c.client) if c.client else fields))
    return c.packed
