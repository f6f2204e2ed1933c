"""The ledger: settled facts of every admitted exchange, append-only, and their sums by minute, hour and day.

One writer, the mover in the keeper. A batch is one transaction: its records, what they add to the sums, and the place
in the journal up to which it was read; so the sums are those of the rows, always, and nothing is counted twice. WAL, so
that readers (each with a connection of its own) never wait for the writer nor it for them; checkpoints by hand.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from os import sched_yield
from typing import Any, NamedTuple, TypeVar

import msgspec

from sluicegate.core.booked import FEW, Admitted, Circumstances, Place, Settled, Unusable
from sluicegate.stores.sqlite.schema import FILE

SPANS = {"minute": 60, "hour": 3600, "day": 86400}
"""Of the sums, seconds; all in UTC."""

_RECORD = (
    "id", "wall_us", "node", "spec", "writer", "kind", "state", "api", "consumer", "tenant", "model", "deployment",
    "status", "reason", "how", "stream", "took_us", "first_token_us", "usage_source", "input", "cached",
    "cache_write", "output", "reasoning", "currency", "cost", "overhead", "price", "service_tier", "more",
)  # fmt: skip
_KEYS = ("consumer", "tenant", "model", "deployment", "currency")
SUMS = (
    "requests", "refused", "interrupted", "estimated", "unpriced", "input", "cached", "cache_write", "output",
    "reasoning", "cost", "overhead",
)  # fmt: skip
"""What is summed: `refused`, of the requests those that ended in a refusal after they were admitted; `unpriced`, those
with usage and no price."""

_INSERT = f"INSERT INTO records ({', '.join(_RECORD)}) VALUES ({', '.join('?' * len(_RECORD))})"
_ADD = (
    f"INSERT INTO sums (span, start, {', '.join(_KEYS)}, {', '.join(SUMS)}) "
    f"VALUES ({', '.join('?' * (2 + len(_KEYS) + len(SUMS)))}) "
    f"ON CONFLICT (span, start, {', '.join(_KEYS)}) DO UPDATE SET "
    + ", ".join(f"{c} = {c} + excluded.{c}" for c in SUMS)
)


T = TypeVar("T")
Key = tuple[int, int, str, str, int, str]
"""Start of the span in seconds, consumer, tenant, model, deployment, currency."""


class More(NamedTuple):
    """What is looked at one record at a time only."""

    attempts: tuple[Any, ...]
    trail: tuple[str, ...]
    context: Any = None


class Ledger:
    """The writer. Raises Unusable for a file that is none, or of a newer version; else what SQLite raises, as Unusable
    too, with nothing written."""

    def __init__(self, path: str) -> None:
        self._db = FILE.connect(path)
        try:
            FILE.prepare(self._db, path, synchronous="NORMAL")
            self._db.execute("PRAGMA wal_autocheckpoint = 0")  # `checkpoint` does it, beside the batches
        except BaseException:
            self._db.close()
            raise
        self.path = path
        self._file = _inode(path)
        self.repeated = 0
        "Records that were there already."

    def there(self) -> bool:
        """Whether its file is where it was opened. One that was moved or removed takes everything, and nobody sees it
        again."""
        return _inode(self.path) == self._file

    def place(self, writer: str) -> Place:
        """How far this writer was read."""
        found = self._one("SELECT serial, offset, node, spec FROM places WHERE writer = ?", writer)
        return Place(*found) if found else Place()

    def move(
        self, writer: str, place: Place, admitted: Sequence[Admitted], settled: Sequence[tuple[Settled, str, str]]
    ) -> None:
        """One batch, all or nothing."""
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._move(writer, place, admitted, settled)
        except sqlite3.Error as e:
            raise Unusable(f"{self.path}: {e}") from None

    def _move(
        self, writer: str, place: Place, admitted: Sequence[Admitted], settled: Sequence[tuple[Settled, str, str]]
    ) -> None:
        db = self._db
        ids = [r.id for r, _, _ in settled]
        known = self._known(ids + [a.id for a in admitted])
        db.executemany(
            "INSERT OR IGNORE INTO open VALUES (?, ?, ?, ?, ?)",
            ((a.id, writer, place.node, place.spec, _pack(a)) for a in _gently(admitted) if a.id not in known),
        )
        rows: list[tuple[Any, ...]] = []
        minutes: dict[Key, list[int]] = {}
        for record, node, spec in _gently(settled):
            if record.id in known:
                self.repeated += 1
                continue
            known.add(record.id)
            rows.append(_row(record, node, spec, writer))
            _add(minutes, record)
        db.executemany(_INSERT, _gently(rows))
        db.executemany("DELETE FROM open WHERE id = ?", ((i,) for i in _gently(ids)))
        db.executemany(_ADD, ((*key, *values) for key, values in _spans(minutes)))
        db.execute(
            "INSERT INTO places VALUES (?, ?, ?, ?, ?) ON CONFLICT (writer) DO UPDATE SET serial = excluded.serial, "
            "offset = excluded.offset, node = excluded.node, spec = excluded.spec",
            (writer, place.serial, place.offset, place.node, place.spec),
        )

    def _known(self, ids: list[str]) -> set[str]:
        found: set[str] = set()
        for n in range(0, len(ids), 500):
            some = ids[n : n + 500]
            marks = ", ".join("?" * len(some))
            found.update(i for (i,) in self._db.execute(f"SELECT id FROM records WHERE id IN ({marks})", some))
        return found

    def open(self, writer: str, most: int) -> list[tuple[Admitted, str, str]]:
        """What this writer admitted and has not settled, with node and spec hash."""
        found = self._all("SELECT record, node, spec FROM open WHERE writer = ? LIMIT ?", writer, most)
        return [(_unpack(raw), node, spec) for raw, node, spec in found]

    def openers(self) -> set[str]:
        """Writers of which something is open."""
        return {writer for (writer,) in self._all("SELECT DISTINCT writer FROM open")}

    def oldest(self) -> int:
        """When the oldest open record was admitted; ids sort by time. 0: none is open."""
        found = self._one("SELECT record FROM open ORDER BY id LIMIT 1")
        return _unpack(found[0]).wall_us if found else 0

    def forget(self, writer: str) -> None:
        """Its journal is gone."""
        self._change("DELETE FROM places WHERE writer = ?", writer)

    def expire(self, before_us: int, most: int) -> int:
        """Delete up to so many records older than that, and the sums by minute of hours that have none left. Sums by
        hour and day stay."""
        gone = self._change(
            "DELETE FROM records WHERE id IN (SELECT id FROM records WHERE wall_us < ? ORDER BY wall_us LIMIT ?)",
            before_us, most,
        )  # fmt: skip
        if gone < most:
            hour = before_us // 1_000_000 // 3600 * 3600
            self._change("DELETE FROM sums WHERE span = 60 AND start < ?", hour)
        return gone

    def checkpoint(self) -> None:
        """Bring the write-ahead log into the file, as far as no reader needs it."""
        self._all("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Checkpoint, and close."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            pass
        self._db.close()

    def _change(self, sql: str, *values: Any) -> int:
        try:
            with self._db:
                return self._db.execute(sql, values).rowcount
        except sqlite3.Error as e:
            raise Unusable(f"{self.path}: {e}") from None

    def _all(self, sql: str, *values: Any) -> list[Any]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as e:
            raise Unusable(f"{self.path}: {e}") from None

    def _one(self, sql: str, *values: Any) -> Any:
        return next(iter(self._all(sql, *values)), None)


def _inode(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def _gently(rows: Sequence[T]) -> Iterable[T]:
    """A few rows: each, after who waits for this core; a worker that shares it would wait 1 ms for them. Many: as they
    are, for who lets others go first all the time is never done."""
    return rows if len(rows) > FEW else _in_turn(rows)


def _in_turn(rows: Sequence[T]) -> Iterator[T]:
    for row in rows:
        sched_yield()
        yield row


def _row(r: Settled, node: str, spec: str, writer: str) -> tuple[Any, ...]:
    kind = "live" if r.context is None else r.context.kind
    tokens = r.tokens or (None,) * 5
    more = _pack(More(r.attempts, r.trail, r.context))
    return (
        r.id, r.wall_us, node, spec, writer, kind, r.state, r.api, r.consumer, r.tenant, r.model, r.deployment,
        r.status, r.reason, r.how, r.stream, r.took_us, r.first_token_us, r.usage_source, *tokens, r.currency, r.cost,
        r.overhead, r.price, r.service_tier, more,
    )  # fmt: skip


def _add(minutes: dict[Key, list[int]], r: Settled) -> None:
    key = (r.wall_us // 60_000_000 * 60, r.consumer, r.tenant, r.model, r.deployment, r.currency)
    held = minutes.get(key)
    if held is None:
        held = minutes[key] = [0] * len(SUMS)
    held[0] += 1
    if r.reason:
        held[1] += 1
    if r.state == "interrupted":
        held[2] += 1
    if r.usage_source == "estimated":
        held[3] += 1
    tokens = r.tokens
    if tokens is not None:
        if r.cost is None:
            held[4] += 1
        held[5] += tokens[0]
        held[6] += tokens[1]
        held[7] += tokens[2]
        held[8] += tokens[3]
        held[9] += tokens[4]
    if r.cost is not None:
        held[10] += r.cost
    held[11] += r.overhead


def _spans(minutes: dict[Key, list[int]]) -> Iterator[tuple[tuple[int, *Key], list[int]]]:
    """The sums of every span; longer ones are added up from those by minute."""
    for span in SPANS.values():
        sums: dict[Key, list[int]] = {}
        for key, values in minutes.items():
            key = (key[0] // span * span, *key[1:])
            held = sums.get(key)
            sums[key] = values if held is None else [a + b for a, b in zip(held, values, strict=True)]
        for key, values in sums.items():
            yield (span, *key), values


_CONTEXT = Admitted._fields.index("context")
_LABELS = Circumstances._fields.index("labels")
_pack = msgspec.msgpack.encode


def _unpack(raw: bytes) -> Admitted:
    fields = msgspec.msgpack.decode(raw)
    context = fields[_CONTEXT]
    if context is not None:
        context[_LABELS] = tuple((k, v) for k, v in context[_LABELS])
        fields[_CONTEXT] = Circumstances(*context)
    return Admitted(*fields)


def columns() -> Iterable[str]:
    """Of a record, as a reader sees them."""
    return _RECORD
