"""The keeper's side of limits that several workers hold together: core/limits/lender.py, over the channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sluicegate.core.limits.lender import Lend, Lender, Recall
from sluicegate.link.channel import Lends, Needs

TICK_S = 0.02
"""How often who waits is looked at: a part of the lender's patience."""

TOLD_S = 1.0
"""How often workers are told what nobody holds."""


class Lending:
    """One lender and the workers it lends to, by process id. `send(pid, message)` drops what nobody can get."""

    def __init__(self, send: Callable[[int, Lends], None], now: Callable[[], float]) -> None:
        self.lender = Lender()
        self._send = send
        self._now = now
        self._told_at = 0.0

    def joined(self, pid: int) -> None:
        """A worker is ready."""
        self.lender.joined(pid)

    def left(self, pid: int) -> None:
        """A worker ended; what it did not give back is in use for one window more, as far as anybody knows."""
        self._out(self.lender.gone(pid, self._now()))

    def take(self, pid: int, message: Needs) -> None:
        """A worker says what it holds, gives back, or wants."""
        now = self._now()
        if message.holds:
            self.lender.joined(pid, message.holds)
        for back in message.returned:
            self._out(self.lender.returned(pid, back, now))
        for want in message.wants:
            self._out(self.lender.want(pid, want, now))

    def tick(self) -> None:
        """Every TICK_S while anything is lent."""
        if not len(self.lender):
            return
        now = self._now()
        self._out(self.lender.tick(now))
        if now - self._told_at >= TOLD_S:
            self._told_at = now
            rests: dict[int, Lends] = {}
            for pid, rest in self.lender.rests():
                rests.setdefault(pid, Lends()).rests.append(rest)
            for pid, message in rests.items():
                self._send(pid, message)

    def elsewhere(self, limits: Mapping[int, Sequence[Mapping[str, Any]]]) -> dict[int, dict[str, int]]:
        """Of the limits that workers told of (core/explain.py): what each could get if it asked, by key. That is what
        nobody holds and what the others hold and do not use."""
        unused: dict[str, dict[int, int]] = {}
        for pid, rows in limits.items():
            for row in rows:
                if row["share"] is not None:
                    unused.setdefault(row["key"], {})[pid] = max(0, row["share"] - row["used"])
        found: dict[int, dict[str, int]] = {}
        for key, of in unused.items():
            free = self.lender.free(key)
            if free is not None:
                for pid, own in of.items():
                    found.setdefault(pid, {})[key] = free + sum(of.values()) - own
        return found

    def _out(self, messages: Iterable[tuple[int, Lend | Recall]]) -> None:
        for pid, message in messages:
            if isinstance(message, Lend):
                self._send(pid, Lends(lends=[message]))
            else:
                self._send(pid, Lends(recalls=[message]))
