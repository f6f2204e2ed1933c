"""When an upstream wants to be asked again: every header that says it, in every spelling, never an exception.

Seconds, fractions, HTTP dates, durations like `6m0s` and `120ms`. What is negative, not finite, not a number or
absurdly far away was not said. A date is compared with the upstream's own `Date`: two clocks may differ by an hour, and
ours would open a door that is shut, or keep it shut. Where there is none, with the wall clock handed in.
"""

from __future__ import annotations

import re
from calendar import timegm
from typing import Final

from sluicegate.core.ports import Headers

FAR: Final = 10.0 * 365 * 86_400
"""Seconds. Nobody throttles for longer than ten years."""

_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{0,9})?|\.[0-9]{1,9}")
_PART: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|us|ns|d|h|m|s)")
_DURATION: Final = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,9})?(?:ms|us|ns|d|h|m|s)){1,8}")
_SCALE: Final = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE: Final = re.compile(  # IMF-fixdate and RFC 850
    r"[a-z]{3,9},? ([0-9]{1,2})[ -]([a-z]{3})[ -]([0-9]{2}|[0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) (?:gmt|utc)"
)
_ASCTIME: Final = re.compile(r"[a-z]{3} ([a-z]{3}) +([0-9]{1,2}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([0-9]{4})")

_INSTANT: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,9})?(?:Z|\+00:00)"
)


def retry_after(headers: Headers, wall: float) -> float | None:
    """Seconds until the upstream wants to be asked again, None when it did not say.

    The first that makes sense of retry-after-ms, x-ms-retry-after-ms, retry-after; then the reset times of the
    budgets that are used up (of any, where none is said to be). A reset of 0 says nothing: the Responses API sends
    it on refusals.
    """
    said = {name.lower(): value for name, value in headers if name[:1] in b"rRxXdD"}
    for name in (b"retry-after-ms", b"x-ms-retry-after-ms"):
        ms = seconds(_text(said.get(name)), FAR * 1000)
        if ms is not None:
            return ms / 1000
    value = _text(said.get(b"retry-after"))
    wait = seconds(value)
    if wait is None:
        here = date(_text(said.get(b"date")))
        wait = until(value, wall if here is None else here)
    if wait is not None:
        return wait
    used_up, any_ = [], []
    for kind in (b"requests", b"tokens"):
        reset = duration(_text(said.get(b"x-ratelimit-reset-" + kind)))
        if reset:
            any_.append(reset)
            if seconds(_text(said.get(b"x-ratelimit-remaining-" + kind))) == 0:
                used_up.append(reset)
    return max(used_up) if used_up else min(any_, default=None)


def resets_at(headers: Headers, wall: float) -> float | None:
    """Seconds until what is used up of Anthropic's limits is whole again: `anthropic-ratelimit-*-reset` are instants.
    Where none is said to be used up, the soonest of them."""
    said = {name.lower(): value for name, value in headers if name[:1] in b"aAdD"}
    here = date(_text(said.get(b"date")))
    now = wall if here is None else here
    used_up, any_ = [], []
    for kind in (b"requests", b"tokens", b"input-tokens", b"output-tokens"):
        at = instant(_text(said.get(b"anthropic-ratelimit-" + kind + b"-reset")))
        if at is not None and 0 <= at - now <= FAR:
            any_.append(at - now)
            if seconds(_text(said.get(b"anthropic-ratelimit-" + kind + b"-remaining"))) == 0:
                used_up.append(at - now)
    return max(used_up) if used_up else min(any_, default=None)


def instant(value: str) -> float | None:
    """A time of RFC 3339 in UTC, as wall time."""
    found = _INSTANT.fullmatch(value.upper())
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.groups())
    if not (year >= 1970 and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        return None
    return float(timegm((year, month, day, hour, minute, second)))


def seconds(value: str, most: float = FAR) -> float | None:
    """A plain number, `22` or `0.5`."""
    if not _NUMBER.fullmatch(value):
        return None
    number = float(value)
    return number if number <= most else None


def duration(value: str) -> float | None:
    """`22` as Azure writes it, `6m0s` or `120ms` as others do."""
    if not _DURATION.fullmatch(value):
        number = seconds(value)
    else:
        number = sum(float(amount) * _SCALE[unit] for amount, unit in _PART.findall(value))
    return number if number is not None and number <= FAR else None


def until(value: str, wall: float) -> float | None:
    """Seconds from `wall` to an HTTP date; 0.0 when it is past."""
    at = date(value)
    if at is None:
        return None
    wait = max(0.0, at - wall)
    return wait if wait <= FAR else None


def date(value: str) -> float | None:
    """An HTTP date as wall time."""
    if found := _DATE.fullmatch(value):
        day, month, year, hour, minute, second = found.groups()
    elif found := _ASCTIME.fullmatch(value):
        month, day, hour, minute, second, year = found.groups()
    else:
        return None
    if month not in _MONTHS or not 1 <= int(day) <= 31:
        return None
    years = int(year) + (2000 if len(year) == 2 else 0)
    if not 1970 <= years <= 9999 or int(hour) > 23 or int(minute) > 59 or int(second) > 60:
        return None
    return float(timegm((years, _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second))))


def _text(value: bytes | None) -> str:
    """Lower-case ASCII without blanks around it; empty for anything else."""
    if value is None or len(value) > 64 or not value.isascii():
        return ""
    return value.decode("ascii").strip().lower()
