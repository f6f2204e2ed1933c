"""One timer wheel: deadlines for thousands of connections and attempts at no cost per byte.

`call_later` plus `cancel` costs 2.2 us a pair; here a deadline is an attribute of the timed thing and setting it is
free. The thing is filed under the tick at which it must be looked at; when that tick comes, it says when it is really
due and is filed again or expired. Precision: one tick, always late, never early.
"""

from __future__ import annotations

from math import inf

from sluicegate.core.ports import Timed

TICK_S = 0.05
"""A time-out is late by one tick at most, plus what the loop is busy with: it is promised within 100 ms."""

FARTHEST = 1200
"""Ticks: nothing is filed further ahead than a minute, so a deadline that moved nearer by surprise is late by that at
most; `watch` refiles at once when it is called for a nearer one."""


class Wheel:
    """Timed things by tick. The owner calls `turn(now)` every TICK_S."""

    __slots__ = ("_slots", "_turned")

    def __init__(self) -> None:
        self._slots: dict[int, dict[Timed, None]] = {}
        "In the order in which they were filed, which is the order in which they expire: runs can be repeated."
        self._turned = 0

    def __len__(self) -> int:
        return sum(len(s) for s in self._slots.values())

    def watch(self, timed: Timed, due: float) -> None:
        """See to it that `timed` is looked at by `due`. Cheap when it already will be."""
        farthest = self._turned + FARTHEST
        slot = int(due / TICK_S) + 1 if due < (farthest + 1) * TICK_S or not self._turned else farthest
        if slot <= self._turned:
            slot = self._turned + 1
        if timed.slot >= 0:
            if timed.slot <= slot:
                return
            self._slots[timed.slot].pop(timed, None)
        timed.slot = slot
        filed = self._slots.get(slot)
        if filed is None:
            self._slots[slot] = {timed: None}
        else:
            filed[timed] = None

    def drop(self, timed: Timed) -> None:
        """Forget it; not being filed is fine."""
        if timed.slot >= 0:
            filed = self._slots.get(timed.slot)
            if filed is not None:
                filed.pop(timed, None)
            timed.slot = -1

    def turn(self, now: float) -> None:
        """Look at everything whose tick has come: expire what is due, file the rest again."""
        upto = int(now / TICK_S)
        if not self._turned or upto - self._turned > len(self._slots):
            ready = [s for s in self._slots if s <= upto]
        else:
            ready = [s for s in range(self._turned + 1, upto + 1) if s in self._slots]
        self._turned = upto
        ready.sort()
        for slot in ready:
            for timed in self._slots.pop(slot, ()):
                if timed.slot != slot:
                    continue  # dropped or refiled by an expiry in this very turn
                timed.slot = -1
                due = timed.due(now)
                if due <= now:
                    timed.expire(now)
                elif due != inf:
                    self.watch(timed, due)
