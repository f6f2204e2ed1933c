"""How what the ledger holds is told: names instead of numbers, money and moments as people write them.

The same for the command line, which reads the ledger itself, and for the management API.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from sluicegate.spec import numbers, places
from sluicegate.spec.places import Places
from sluicegate.spec.references import Wrong

BACK = re.compile(r"(\d+)([mhd])")
_STEP = {"m": "minutes", "h": "hours", "d": "days"}
NANO = 10**9

RECORDED = ("end_user", "member")
"""What only records say."""
PLACED = ("subscription", "tier")
"""What follows from the deployment that served, as it was declared then."""
BY = ("consumer", "tenant", "model", "deployment", "day", *RECORDED, *PLACED)
TOKENS = ("input", "cached", "cache_write", "output", "reasoning")
COUNTS = ("requests", "refused", "interrupted", "estimated", "unpriced")
STATES = ("open", "settled", "interrupted", "adjusted")
OTHERS = "(others)"
"""In place of names: the sum of all that are not told one by one."""

MOST = 10_000
"""Requests that are listed at once."""


class Unclear(Exception):
    """What was asked for cannot be: the message says what to write instead."""


class Names:
    """Consumers and deployments by number, as they are called now. Raises Unclear where they cannot be read."""

    def __init__(self, data: str) -> None:
        try:
            held = numbers.known(data, False)
        except Wrong as e:
            raise Unclear(f"gateway.data {e.what}") from None
        self._names = {kind: held.names(kind) for kind in ("consumer", "deployment")}
        self._numbers = {kind: {name: n for n, name in of.items()} for kind, of in self._names.items()}
        self._data = data

    def places(self) -> Places:
        """Of deployments, since when. Raises Unclear."""
        try:
            return places.known(self._data)
        except Wrong as e:
            raise Unclear(f"gateway.data {e.what}; {e.hint}") from None

    def name(self, key: str, value: Any) -> Any:
        """What is shown for the value of a column."""
        if key == "day":
            return day(value)
        if key not in self._names:
            return value
        return self._names[key].get(value) or (f"#{value}" if value else "")

    def numbers(self, key: str, names: Sequence[str]) -> list[Any]:
        """The values that these names stand for. Raises Unclear for one that nobody ever had."""
        if key not in self._names:
            return list(names)
        found = []
        for name in names:
            number = self._numbers[key].get(name)
            if number is None and re.fullmatch(r"#\d+", name):
                number = int(name[1:])
            if number is None:
                known = ", ".join(sorted(self._numbers[key])[:8]) or "none"
                raise Unclear(f'no {key} was ever called "{name}". Known: {known}')
            found.append(number)
        return found


class Span(NamedTuple):
    """A stretch of time in whole minutes, seconds since 1970; `end` is not part of it."""

    begin: int
    end: int


def span(since: str, until: str, now: datetime) -> Span:
    """From what was written, empty: from the first of this month, until now. Raises Unclear."""
    first = when(since, now) if since else now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    last = when(until, now) if until else now
    begin, end = int(first.timestamp()) // 60 * 60, math.ceil(last.timestamp() / 60) * 60
    if begin >= end:
        raise Unclear(f"--until {_time(last)} is not after --since {_time(first)}")
    return Span(begin, end)


def usage_of(ledger: Any, by: Sequence[str], during: Span, names: Names) -> dict[str, Any]:
    """What the ledger's reader sums, plain data. By end user: from the records, which are not kept for ever; else of
    times before those in whole hours, as `since` and `until` say."""
    recorded = any(key in by for key in RECORDED)
    if not recorded:
        during = Span(*ledger.told_apart(during.begin, during.end))
    found = _placed(ledger, by, during, names.places()) if set(by) & set(PLACED) else ledger.usage(*during, by)
    kept = ledger.kept_since() if recorded else None
    sums = [
        {
            **{k: OTHERS if v is None else names.name(k, v) for k, v in zip(by, s.key, strict=True)},
            **{c: s.counts[c] for c in COUNTS},
            "tokens": {t: s.counts[t] for t in TOKENS},
            "cost": {
                currency: {"amount": money(cost), "nano": cost, "overhead": money(overhead), "overhead_nano": overhead}
                for currency, (cost, overhead) in sorted(s.money.items())
            },
        }
        for s in found
    ]
    if "tier" in by:
        _share(sums, by)
    return {
        "since": minute(during.begin), "until": minute(during.end), "by": list(by), "usage": sums,
        "kept_since": minute(kept) if kept is not None and kept > during.begin else "",
    }  # fmt: skip


class _Sum(NamedTuple):
    """As the ledger's reader has them."""

    key: tuple[Any, ...]
    counts: dict[str, int]
    money: dict[str, tuple[int, int]]


def _placed(ledger: Any, by: Sequence[str], during: Span, placed: Places) -> list[_Sum]:
    """Sums by what follows from the deployment: from sums by deployment, of each stretch of time in which nothing
    changed."""
    inner = [*dict.fromkeys(("deployment" if key in PLACED else key) for key in by)]
    at = inner.index("deployment")
    found: dict[tuple[Any, ...], _Sum] = {}
    recorded = any(key in by for key in RECORDED)
    edges = {during.begin: during.begin}
    for moment in placed.moments(*during):  # long ago they can be told apart by the hour only
        edges[moment if recorded else max(during.begin, ledger.told_apart(moment, during.end)[0])] = moment
    for begin, end in pairwise([*edges, during.end]):
        for s in ledger.usage(begin, end, inner):
            place = placed.of(s.key[at], edges[begin]) if s.key[at] else None
            of = dict(zip(inner, s.key, strict=True))
            said = {"subscription": place.subscription if place else "", "tier": str(place.tier) if place else ""}
            rest = s.key[at] is None
            key = tuple(None if rest else said[k] if k in PLACED else of[k] for k in by)
            held = found.setdefault(key, _Sum(key, dict.fromkeys(s.counts, 0), {}))
            for name, count in s.counts.items():
                held.counts[name] += count
            for currency, (cost, overhead) in s.money.items():
                before = held.money.get(currency, (0, 0))
                held.money[currency] = (before[0] + cost, before[1] + overhead)
    days = [n for n, key in enumerate(by) if key == "day"]

    def order(s: _Sum) -> tuple[Any, ...]:
        if s.key[0] is None:
            return (True,)
        cost = sum(c for c, _ in s.money.values())
        return (False, *(s.key[n] for n in days), -cost, -s.counts["requests"], tuple(map(str, s.key)))

    return sorted(found.values(), key=order)


def _share(sums: list[dict[str, Any]], by: Sequence[str]) -> None:
    """Of each, how much of what deployments served under the other keys this tier served: what is beyond the first
    spilled over."""
    others = [key for key in by if key != "tier"]
    whole: dict[tuple[Any, ...], list[int]] = {}
    for s in sums:
        if s["tier"] not in ("", OTHERS):
            held = whole.setdefault(tuple(s[key] for key in others), [0, 0])
            held[0] += s["requests"]
            held[1] += sum(s["tokens"].values())
    for s in sums:
        requests, tokens = whole.get(tuple(s[key] for key in others), (0, 0))
        served = s["tier"] not in ("", OTHERS)
        s["share"] = {
            "requests": round(s["requests"] / requests, 4) if served and requests else None,
            "tokens": round(sum(s["tokens"].values()) / tokens, 4) if served and tokens else None,
        }


def named(record: dict[str, Any], names: Names) -> dict[str, Any]:
    """A record with names instead of numbers, and a time that people can read."""
    record = {"id": record["id"], "time": moment(record["wall_us"]), **record}
    for key in ("consumer", "deployment"):
        if key in record:
            record[key] = names.name(key, record[key])
    for attempt in record["attempts"]:
        attempt["deployment"] = names.name("deployment", attempt["deployment"])
    return record


def money(nano: int) -> str:
    """Exact, with at least two decimals."""
    sign = "-" if nano < 0 else ""
    whole, rest = divmod(abs(nano), NANO)
    return f"{sign}{whole}.{f'{rest:09d}'.rstrip('0').ljust(2, '0')}"


def day(second: int) -> str:
    """The date, UTC."""
    return datetime.fromtimestamp(second, UTC).date().isoformat()


def moment(wall_us: int) -> str:
    """Date and time, UTC, to the millisecond."""
    whole, us = divmod(wall_us, 1_000_000)
    return f"{datetime.fromtimestamp(whole, UTC).replace(tzinfo=None).isoformat()}.{us // 1000:03d}Z"


def minute(second: int) -> str:
    """Date and time, UTC, to the minute."""
    return _time(datetime.fromtimestamp(0, UTC) + timedelta(seconds=second))


def _time(at: datetime) -> str:
    return moment(int(at.timestamp()) * 1_000_000)[:16] + "Z"


def when(text: str, now: datetime) -> datetime:
    """A date, a date and time (UTC unless it says otherwise), or how long ago: 90m, 24h, 7d. Raises Unclear."""
    back = BACK.fullmatch(text)
    try:
        if back:
            return now - timedelta(**{_STEP[back[2]]: int(back[1])})
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Unclear(
            f'"{text}" is no time: write 2026-11-01, 2026-11-01T14:30, or how long ago: 90m, 24h, 7d'
        ) from None
