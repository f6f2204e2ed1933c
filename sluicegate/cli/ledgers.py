"""What the verbs that read the ledger do the same way: find it, name what has a number, write money and times."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from sluicegate.cli.running import folder_of
from sluicegate.core.booked import Unusable
from sluicegate.spec import numbers
from sluicegate.spec.references import Wrong

BACK = re.compile(r"(\d+)([mhd])")
_STEP = {"m": "minutes", "h": "hours", "d": "days"}
NANO = 10**9


class Names:
    """Consumers and deployments by number, as they are called now."""

    def __init__(self, data: str) -> None:
        try:
            held = numbers.known(data, False)
        except Wrong as e:
            raise click.ClickException(f"gateway.data {e.what}") from None
        self._names = {kind: held.names(kind) for kind in ("consumer", "deployment")}
        self._numbers = {kind: {name: n for n, name in of.items()} for kind, of in self._names.items()}

    def name(self, key: str, value: Any) -> Any:
        """What is shown for the value of a column."""
        if key == "day":
            return day(value)
        if key not in self._names:
            return value
        return self._names[key].get(value) or (f"#{value}" if value else "")

    def numbers(self, key: str, names: Sequence[str]) -> list[Any]:
        """The values that these names stand for; exit status 2 for one that nobody ever had."""
        if key not in self._names:
            return list(names)
        found = []
        for name in names:
            number = self._numbers[key].get(name)
            if number is None and re.fullmatch(r"#\d+", name):
                number = int(name[1:])
            if number is None:
                known = ", ".join(sorted(self._numbers[key])[:8]) or "none"
                raise click.UsageError(f'no {key} was ever called "{name}". Known: {known}')
            found.append(number)
        return found


@contextmanager
def opened(ctx: click.Context, config: Sequence[str], data: str | None) -> Iterator[tuple[Any, Names]]:
    """The ledger and the names that go with it, or exit status 1 with what is wrong."""
    folder = folder_of(config, data)
    try:
        with closing(ctx.obj.ledger(folder)) as reader:
            yield reader, Names(folder)
    except Unusable as e:
        raise click.ClickException(str(e)) from None


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


def when(text: str, now: datetime) -> datetime:
    """A date, a date and time (UTC unless it says otherwise), or how long ago: 90m, 24h, 7d. Raises UsageError."""
    back = BACK.fullmatch(text)
    try:
        if back:
            return now - timedelta(**{_STEP[back[2]]: int(back[1])})
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise click.UsageError(
            f'"{text}" is no time: write 2026-11-01, 2026-11-01T14:30, or how long ago: 90m, 24h, 7d'
        ) from None
