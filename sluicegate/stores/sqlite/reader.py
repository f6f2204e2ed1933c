"""What people and reports ask of the ledger: a connection of its own, read only, while the gateway runs or not."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sluicegate.core.booked import Admitted, Tried, Unusable
from sluicegate.stores.sqlite.schema import check, connect

TOKENS = ("input", "cached", "cache_write", "output", "reasoning")
COUNTS = ("requests", "refused", "interrupted", "estimated", "unpriced", *TOKENS)
MONEY = ("cost", "overhead")
KEYS = ("consumer", "tenant", "model", "deployment")
HOUR, DAY = 3600, 86400

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
        self._db = connect(path, write=False)
        try:
            if not check(self._db, path):
                raise Unusable(f"{path} is empty: it is made when a gateway starts")
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Done."""
        self._db.close()

    def usage(self, since: int, until: int, by: Sequence[str]) -> list[Sum]:
        """Sums of [since, until), whole minutes in seconds since 1970, by any of KEYS and `day`; largest cost first,
        days in order. All from the same moment, however much is written meanwhile."""
        columns = ", ".join(f"start / {DAY} * {DAY}" if k == "day" else k for k in by)
        sums = ", ".join(f"sum({c})" for c in (*COUNTS, *MONEY))
        parts = spans(since, until)
        if not parts:
            return []
        where = " OR ".join("(span = ? AND start >= ? AND start < ?)" for _ in parts)
        sql = f"SELECT {columns + ', ' if columns else ''}currency, {sums} FROM sums WHERE {where}"
        sql += f" GROUP BY {', '.join(str(n + 1) for n in range(len(by) + 1))}"
        found: dict[tuple[Any, ...], Sum] = {}
        for row in self._all(sql, *(v for part in parts for v in part)):
            key, currency, rest = row[: len(by)], row[len(by)], row[len(by) + 1 :]
            held = found.setdefault(key, Sum(key, dict.fromkeys(COUNTS, 0), {}))
            for name, value in zip(COUNTS, rest, strict=False):
                held.counts[name] += value
            if currency:
                held.money[currency] = (rest[-2], rest[-1])
        days = [n for n, k in enumerate(by) if k == "day"]
        cost = {k: sum(c for c, _ in s.money.values()) for k, s in found.items()}
        return sorted(
            found.values(),
            key=lambda s: (*(s.key[n] for n in days), -cost[s.key], -s.counts["requests"], tuple(map(str, s.key))),
        )

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
    names = ("kind", "parent", "boundary", "class", "arm", "conversation", "end_user", "labels", "region")
    found = dict(zip(names, value or (), strict=False))
    return {k: dict(v) if k == "labels" else v for k, v in found.items() if v}


def _open(raw: bytes, node: str, spec: str) -> dict[str, Any]:
    found = dict(zip(Admitted._fields, msgspec.msgpack.decode(raw), strict=False))
    context = _context(found.pop("context"))
    return {**found, "node": node, "spec": spec, "state": "open", "attempts": [], "trail": [], "context": context}
