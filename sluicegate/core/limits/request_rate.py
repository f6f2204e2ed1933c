"""Requests per window. A request that never left the gateway was none."""

from __future__ import annotations

from typing import ClassVar

from sluicegate.core.events import Usage
from sluicegate.core.limits.base import Claim
from sluicegate.core.limits.window import Window, per


class RequestRate(Window):
    """600 requests/minute."""

    __slots__ = ()

    kind: ClassVar[str] = "request_rate"
    counts: ClassVar[str] = "requests"

    def wants(self, claim: Claim) -> int:
        return 1

    def settle(self, at: float, taken: int, usage: Usage | None, left: bool, now: float) -> None:
        if not left:
            self.give_back(taken, at)

    def describe(self) -> str:
        return f"{self.whole} requests/{per(self.window)}"
