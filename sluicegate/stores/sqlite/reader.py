"""What people and reports ask of the ledger: a connection of its own, read only, while the gateway runs or not."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sluicegate.core.booked import Admitted, Circumstances, Tried, Unusable
from sluicegate.stores.sqlite.schema import FILE

TOKENS = ("input", "cached", "cache_write", "output", "reasoning")
COUNTS = ("requests", "refused", "interrupted", "estimated", "unpriced", *TOKENS)
MONEY = ("cost", "overhead")
KEYS = ("consumer", "tenant", "model", "deployment")
HOUR, DAY = 3600, 86400
END_USER, MEMBER = "end_user", "member"
RECORDED = (END_USER, MEMBER)
"""Keys that stand in records only: there may be ever more of them."""
GROUPS = 10_000
"""Sums that are told one by one, where end users are told apart: there may be any number of them."""

_PART = 10**9


def _whole(column: str) -> str:
    """A sum that does not overflow: in currencies of large numbers a year of nano-units is more than 64 bits hold. Two
    columns, see `_money`."""
    return f"sum({column} / {_PART}), sum({column} % {_PART})"


def _money(values: Sequence[int]) -> list[int]:
    """Those sums put together again."""
    return [high * _PART + low for high, low in zip(values[::2], values[1::2], strict=True)]


_OF_RECORDS = (
    "count(*)", "sum(reason != '')", "sum(state = 'interrupted')", "sum(usage_source = 'estimated')",
    "sum(input IS NOT NULL AND cost IS NULL)", *(f"sum(coalesce({t}, 0))" for t in TOKENS),
    *(_whole(f"coalesce({m}, 0)") for m in MONEY),
)  # fmt: skip
"""What the tables of sums hold, from the records themselves."""
CHUNK = 500
"""Records that are read at once, where all are asked for."""

_SHOWN = (
    "id", "wall_us", "node", "spec", "kind", "state", "api", "consumer", "tenant", "model", "deployment", "status",
    "reason", "how", "stream", "took_us", "first_token_us", "usage_source", *TOKENS, "currency", "cost", "overhead",
    "price", "service_tier", "more",
)  # fmt: skip
FILTERS = ("consumer", "tenant", "model", "deployment", "state", "reason", "status")
"""What requests can be asked for, each with the values that it may have."""


class Sum(NamedTuple):
    """What was used under one key."""

    key: tuple[Any, ...]
    counts: dict[str, int]
    money: dict[str, tuple[int, int]]
    "By currency, in nano-units: cost, and what attempts cost that failed over."


class Reader:
    """Raises Unusable, at any time."""

    def __init__(self, path: str) -> None:
        self.path = path
        if not os.path.exists(path):
            raise Unusable(f"{path} is not there: a gateway makes it when it starts")
        self._db = FILE.look(path)
        try:
            if not FILE.check(self._db, path):
                raise Unusable(f"{path} is empty: it is made when a gateway starts")
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Done."""
        self._db.close()

    def usage(self, since: int, until: int, by: Sequence[str], tenant: str = "") -> list[Sum]:
        """Sums of [since, until), whole minutes in seconds since 1970, by any of KEYS, RECORDED and `day`; largest
        cost first, days in order. All from the same moment, however much is written meanwhile. By RECORDED they come
        from the records, as far back as those are kept, and what is beyond GROUPS is one sum, under no key. `tenant`:
        of that one only, whose sums are whole whoever else there is."""
        if any(key in by for key in RECORDED):
            return ordered(grouped(self._by_record(since, until, by, tenant), len(by), GROUPS), by)
        columns = ", ".join(f"start / {DAY} * {DAY}" if k == "day" else k for k in by)
        sums = ", ".join([*(f"sum({c})" for c in COUNTS), *map(_whole, MONEY)])
        parts = spans(since, until)
        if not parts:
            return []
        where = " OR ".join("(span = ? AND start >= ? AND start < ?)" for _ in parts)
        values: list[Any] = [v for part in parts for v in part]
        if tenant:
            where = f"({where}) AND tenant = ?"
            values.append(tenant)
        sql = f"SELECT {columns + ', ' if columns else ''}currency, {sums} FROM sums WHERE {where}"
        sql += f" GROUP BY {', '.join(str(n + 1) for n in range(len(by) + 1))}"
        return ordered(grouped(self._all(sql, *values), len(by)), by)

    def _by_record(self, since: int, until: int, by: Sequence[str], tenant: str) -> Iterator[Sequence[Any]]:
        """Keys, currency and sums, largest cost first; a row at a time."""
        self._db.create_function(END_USER, 1, _end_user, deterministic=True)
        self._db.create_function(MEMBER, 1, _member, deterministic=True)
        of = {"day": f"wall_us / {DAY * 1_000_000} * {DAY}", **{key: f"{key}(more)" for key in RECORDED}}
        columns = ", ".join(of.get(k, k) for k in by)
        sql = f"SELECT {columns}, currency, {', '.join(_OF_RECORDS)} FROM records WHERE wall_us >= ? AND wall_us < ?"
        values: list[Any] = [since * 1_000_000, until * 1_000_000]
        if tenant:
            sql += " AND tenant = ?"
            values.append(tenant)
        sql += f" GROUP BY {', '.join(str(n + 1) for n in range(len(by) + 1))} ORDER BY total(cost) DESC, count(*) DESC"
        try:
            yield from self._db.execute(sql, values)
        except sqlite3.Error as e:
            raise Unusable(f"{self.path} cannot be read: {e}") from None

    def told_apart(self, since: int, until: int) -> tuple[int, int]:
        """[since, until) as it can be told: whole hours, where sums by minute are deleted with the records."""
        ((hours, minutes),) = self._all(
            "SELECT (SELECT min(start) FROM sums WHERE span = ?), (SELECT min(start) FROM sums WHERE span = 60)", HOUR
        )
        if hours is None:
            return since, until
        apart = until if minutes is None else minutes // HOUR * HOUR
        if apart <= hours:
            return since, until
        whole = (since // HOUR * HOUR, -(-until // HOUR) * HOUR)
        return whole[0] if since < apart else since, whole[1] if until <= apart else until

    def kept_since(self) -> int | None:
        """The day from which on there are records, in seconds since 1970, if there were earlier ones once."""
        ((oldest, first),) = self._all("SELECT (SELECT min(wall_us) FROM records), (SELECT min(start) FROM sums)")
        if first is None:
            return None
        kept = None if oldest is None else oldest // 1_000_000 // DAY * DAY
        return kept if kept is None or kept > first else None

    def requests(self, last: int, filters: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        """The last that match, newest first; those still open last of all, if `state` does not exclude them."""
        states = filters.get("state", ())
        conditions: list[str] = []
        values: list[Any] = []
        for name, wanted in filters.items():
            if name not in FILTERS:
                raise KeyError(name)
            conditions.append(f"{name} IN ({', '.join('?' * len(wanted))})")
            values += wanted
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        sql = f"SELECT {', '.join(_SHOWN)} FROM records{where} ORDER BY wall_us DESC, id DESC LIMIT ?"
        found = [_record(row) for row in self._all(sql, *values, last)]
        if states and "open" not in states:
            return found
        if set(filters) <= {"state", "consumer", "tenant", "model"}:
            still = [_open(raw, node, spec) for raw, node, spec in self._all("SELECT record, node, spec FROM open")]
            still = [o for o in still if all(o[name] in wanted for name, wanted in filters.items())]
            found = sorted([*found, *still], key=lambda r: (r["wall_us"], r["id"]), reverse=True)[:last]
        return found

    def between(self, since: int, until: int, tenants: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """Every record that is over of [since, until), seconds since 1970, oldest first; a few at a time, so that a
        year fits into little memory and the writer never waits."""
        where = "wall_us >= ? AND wall_us < ? AND (wall_us, id) > (?, ?)"
        if tenants:
            where += f" AND tenant IN ({', '.join('?' * len(tenants))})"
        sql = f"SELECT {', '.join(_SHOWN)} FROM records WHERE {where} ORDER BY wall_us, id LIMIT {CHUNK}"
        last: tuple[int, str] = (0, "")
        while rows := self._all(sql, since * 1_000_000, until * 1_000_000, *last, *tenants):
            for row in rows:
                found = _record(row)
                last = (found["wall_us"], found["id"])
                yield found

    def record(self, id: str) -> dict[str, Any] | None:
        """One, in full; None: not there."""
        for row in self._all(f"SELECT {', '.join(_SHOWN)} FROM records WHERE id = ?", id):
            return _record(row)
        for raw, node, spec in self._all("SELECT record, node, spec FROM open WHERE id = ?", id):
            return _open(raw, node, spec)
        return None

    def _all(self, sql: str, *values: Any) -> list[Any]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as e:
            raise Unusable(f"{self.path} cannot be read: {e}") from None


def grouped(rows: Iterable[Sequence[Any]], keys: int, most: int | None = None) -> list[Sum]:
    """By key; what comes after `most` keys under a key of nothing."""
    found: dict[tuple[Any, ...], Sum] = {}
    rest = Sum((None,) * keys, dict.fromkeys(COUNTS, 0), {})
    for row in rows:
        key, currency, values = tuple(row[:keys]), row[keys], row[keys + 1 :]
        held = found.get(key)
        if held is None:
            held = rest
            if most is None or len(found) < most:
                held = found[key] = Sum(key, dict.fromkeys(COUNTS, 0), {})
        for name, value in zip(COUNTS, values, strict=False):
            held.counts[name] += value
        if currency:
            cost, overhead = held.money.get(currency, (0, 0))
            more, more_overhead = _money(values[len(COUNTS) :])
            held.money[currency] = (cost + more, overhead + more_overhead)
    return [*found.values(), *([rest] if rest.counts["requests"] else [])]


def ordered(found: list[Sum], by: Sequence[str]) -> list[Sum]:
    """Days in order, largest cost first; the rest last."""
    days = [n for n, k in enumerate(by) if k == "day"]

    def place(s: Sum) -> tuple[Any, ...]:
        if s.key and s.key[0] is None:
            return (True,)
        cost = sum(c for c, _ in s.money.values())
        return (False, *(s.key[n] for n in days), -cost, -s.counts["requests"], tuple(map(str, s.key)))

    return sorted(found, key=place)


def _end_user(more: bytes) -> str:
    """Of a record: who used the application, as far as it said so."""
    context = msgspec.msgpack.decode(more)[2]
    return context[_END_USER] if context else ""


def _member(more: bytes) -> str:
    """Of a record: which member of its family asked; empty: its consumer is no family."""
    context = msgspec.msgpack.decode(more)[2]
    return next((text for name, text in context[_LABELS] if name == MEMBER), "") if context else ""


_END_USER = Circumstances._fields.index("end_user")
_LABELS = Circumstances._fields.index("labels")


def spans(since: int, until: int) -> list[tuple[int, int, int]]:
    """[since, until) as (span, from, to): days where they are whole, hours and minutes at the ends."""
    found = []
    low, high = since, until
    for span, larger in ((60, HOUR), (HOUR, DAY)):
        first, last = min(-(-low // larger) * larger, high), max(high // larger * larger, low)
        if first >= last:
            found.append((span, low, high))
            low = high
            break
        found += [(span, low, first), (span, last, high)]
        low, high = first, last
    found.append((DAY, low, high))
    return [part for part in found if part[1] < part[2]]


def _record(row: Sequence[Any]) -> dict[str, Any]:
    found = dict(zip(_SHOWN, row, strict=True))
    attempts, trail, context = msgspec.msgpack.decode(found.pop("more"))
    found["stream"] = bool(found["stream"])
    found["attempts"] = [dict(zip(Tried._fields, a, strict=False)) for a in attempts]
    for attempt in found["attempts"]:
        if attempt["tokens"] is not None:
            attempt["tokens"] = dict(zip(TOKENS, attempt["tokens"], strict=True))
    found["trail"] = trail
    found["context"] = _context(context)
    return found


def _context(value: Sequence[Any] | None) -> dict[str, Any]:
    names = ("kind", "parent", "boundary", "class", "arm", "conversation", "end_user", "labels", "region", "client")
    found = dict(zip(names, value or (), strict=False))
    return {k: dict(v) if k == "labels" else v for k, v in found.items() if v}


def _open(raw: bytes, node: str, spec: str) -> dict[str, Any]:
    found = dict(zip(Admitted._fields, msgspec.msgpack.decode(raw), strict=False))
    context = _context(found.pop("context"))
    return {**found, "node": node, "spec": spec, "state": "open", "attempts": [], "trail": [], "context": context}
