"""Requests at the same time."""

from __future__ import annotations

from math import inf
from typing import ClassVar

from sluicegate.core.events import Usage
from sluicegate.core.limits.base import Claim, Limit, LimitSpec

WAIT_S = 1.0
"""When one of the others ends nobody knows; this is what a client that was refused is told to wait."""


class Concurrency(Limit):
    """20 concurrent."""

    __slots__ = ("running",)

    kind: ClassVar[str] = "concurrency"
    counts: ClassVar[str] = ""

    def __init__(self, spec: LimitSpec, key: str) -> None:
        super().__init__(spec, key)
        self.running = 0
        self.window = 0.0

    def wants(self, claim: Claim) -> int:
        return 1

    def lacks(self, claim: Claim, now: float) -> float | None:
        if self.running < self.amount:
            return None
        return WAIT_S if self.whole else inf

    def reserve(self, claim: Claim, now: float) -> int:
        self.running += 1
        return 1

    def settle(self, at: float, taken: int, usage: Usage | None, left: bool, now: float) -> None:
        self.running -= 1

    def remaining(self, now: float) -> int:
        return max(0, self.amount - self.running)

    def resets(self, now: float) -> float:
        return WAIT_S if self.running else 0.0

    def empty(self, now: float) -> bool:
        return not self.running

    def used(self, now: float) -> int:
        return self.running

    def describe(self) -> str:
        return f"{self.whole} requests at the same time"

    def short(self, claim: Claim, now: float) -> int:
        return self.running + 1 - self.amount if self.lent and self.whole else 0

    def recent(self, since: float) -> int:
        return self.running // 4
