"""So much in any stretch of time: a sliding window whose slots fall out at the time of their last entry.

Sixty slots a window. A slot is over when a sixtieth of the window has passed since its first entry, and is forgotten
one window after its last: no stretch as long as the window ever holds more than the amount, and under full demand at
most a sixtieth of it is held back. (Twelve slots on a fixed grid are wrong by more: forgotten at their end they let
twice the amount through within a window, forgotten a slot later they hold back 8 %.)

What was reserved too high is given back to the slot it was taken from. What was reserved too low beyond the amount
is debt: as slots fall out, the room they leave repays it before anybody else has it.
"""

from __future__ import annotations

from math import inf

from sluicegate.core.limits.base import Claim, Limit, LimitSpec
from sluicegate.core.twin import twin

SLOTS = 60


class Slot:
    """What was taken between two times."""

    __slots__ = ("amount", "first", "last")

    def __init__(self, at: float, amount: int) -> None:
        self.first = at
        self.last = at
        self.amount = amount


class Window(Limit):
    """`now` never goes back between two calls (core/policy.py sees to it)."""

    __slots__ = ("debt", "filled", "slot_s", "slots", "wanted")

    def __init__(self, spec: LimitSpec, key: str) -> None:
        super().__init__(spec, key)
        self.slot_s = spec.window / SLOTS
        self.slots: list[Slot] = []
        "Oldest first, 62 at most; one that few requests use has few."
        self.filled = 0
        "The sum of the slots."
        self.wanted = 0
        "By the claim that `lacks` looked at last."
        self.debt = 0
        "Used, but not in any slot: there was no room."

    def configure(self, spec: LimitSpec) -> None:
        """Another window looks at the same slots."""
        super().configure(spec)
        self.window = spec.window
        self.slot_s = spec.window / SLOTS

    def fork(self) -> Limit:
        new = super().fork()
        assert isinstance(new, Window)
        new.slots = [twin(slot, Slot(0.0, 0)) for slot in self.slots]
        return new

    def lacks(self, claim: Claim, now: float) -> float | None:
        self.wanted = wants = self.wants(claim)
        slots = self.slots
        if slots and slots[0].last <= now - self.window:
            self._advance(now)
        over = self.filled + self.debt + wants - self.amount
        if over <= 0:
            return None
        return inf if wants > self.whole else self._until(over, now)

    def reserve(self, claim: Claim, now: float) -> int:
        self._take(self.wanted, now)
        return self.wanted

    def charge(self, amount: int, now: float) -> None:
        """Used without having been reserved."""
        self._advance(now)
        room = max(0, min(amount, self.amount - self.filled))
        self.debt += amount - room
        self._take(room, now)

    def give_back(self, amount: int, at: float) -> None:
        """Of what was taken at the time `at`, so much was not used: it repays debt, or its slot has room again. If
        that is forgotten, it was paid for with time."""
        if self.debt:
            repaid = min(self.debt, amount)
            self.debt -= repaid
            amount -= repaid
        for slot in reversed(self.slots):
            if slot.first <= at:
                slot.amount -= amount
                self.filled -= amount
                return

    def remaining(self, now: float) -> int:
        slots = self.slots
        if slots and slots[0].last <= now - self.window:
            self._advance(now)
        left = self.amount - self.filled - self.debt
        return left if left > 0 else 0

    def resets(self, now: float) -> float:
        slots = self.slots
        if not slots:
            return 0.0
        if self.debt:
            return self._until(self.filled + self.debt, now)
        left = slots[-1].last + self.window - now
        return left if left > 0.0 else 0.0

    def empty(self, now: float) -> bool:
        self._advance(now)
        return not self.filled and not self.debt

    def used(self, now: float) -> int:
        self._advance(now)
        return self.filled + self.debt

    def short(self, claim: Claim, now: float) -> int:
        wants = self.wants(claim)
        if not self.lent or wants > self.whole:
            return 0
        return self.used(now) + wants - self.amount

    def recent(self, since: float) -> int:
        return min(sum(slot.amount for slot in self.slots if slot.first >= since), self.whole // 4)

    def _take(self, amount: int, now: float) -> None:
        self.filled += amount
        slots = self.slots
        if slots:
            slot = slots[-1]
            if now - slot.first < self.slot_s:
                slot.amount += amount
                slot.last = now
                return
        slots.append(Slot(now, amount))

    def _advance(self, now: float) -> None:
        """Forget the slots that are older than the window; repay debt with the room they leave."""
        slots = self.slots
        window = self.window
        while slots and slots[0].last <= now - window:
            slot = slots.pop(0)
            self.filled -= slot.amount
            if self.debt:
                repaid = max(0, min(self.debt, self.amount - self.filled))
                self.debt -= repaid
                self.filled += repaid
                slots.append(Slot(max(slot.last + window, slots[-1].last if slots else 0.0), repaid))

    def _until(self, over: int, now: float) -> float:
        """Seconds until so much has fallen out. While there is debt, what falls out comes in again a window later."""
        wait = 0.0
        if over > self.filled > 0:
            rounds = (over - 1) // self.filled
            over -= rounds * self.filled
            wait = rounds * self.window
        for slot in self.slots:
            over -= slot.amount
            if over <= 0:
                return max(wait + slot.last + self.window - now, 0.001)
        return self.slot_s


def per(window: float) -> str:
    """`minute` for 60."""
    return {1.0: "second", 60.0: "minute", 3600.0: "hour", 86_400.0: "day"}.get(window, f"{window:g}s")
