"""Tokens per window: reserved by estimate before the request leaves, settled with what the upstream says it used.

What a request without a maximum will use is a guess, learned from the consumer's own answers, so what is used can
exceed the amount: by the sum, over the requests in flight, of what each uses beyond its guess. That becomes debt,
which later requests repay. `reserve: max` guesses the most there is room for and overshoots only where the upstream
answers with more than the whole limit.
"""

from __future__ import annotations

from typing import ClassVar

from sluicegate.core.events import Usage
from sluicegate.core.limits.base import Claim, LimitSpec
from sluicegate.core.limits.window import Window, per


class TokenRate(Window):
    """60k tokens/minute."""

    __slots__ = ("_cached", "_input", "_most", "_output")

    kind: ClassVar[str] = "token_rate"
    counts: ClassVar[str] = "tokens"

    def __init__(self, spec: LimitSpec, key: str) -> None:
        super().__init__(spec, key)
        self._configure(spec)

    def configure(self, spec: LimitSpec) -> None:
        super().configure(spec)
        self._configure(spec)

    def _configure(self, spec: LimitSpec) -> None:
        self._input = spec.count != "output"
        self._output = spec.count != "input"
        self._cached = spec.count != "uncached"
        self._most = spec.reserve == "max"

    def wants(self, claim: Claim) -> int:
        """The prompt and the maximum of the answer. Where that is a guess, it never makes a request too large."""
        wants = claim.input if self._input else 0
        if self._output:
            if claim.bounded:
                return wants + claim.output
            room = self.whole - wants
            if room > 0:
                return wants + (room if self._most or claim.output > room else claim.output)
        return wants

    def settle(self, at: float, taken: int, usage: Usage | None, left: bool, now: float) -> None:
        used = 0
        if usage is not None:
            if self._input:
                used = usage.input + usage.cache_write
                if self._cached:
                    used += usage.cached
            if self._output:
                used += usage.output + usage.reasoning
        if used > taken:
            self.charge(used - taken, now)
        elif used < taken:
            self.give_back(taken - used, at)

    def describe(self) -> str:
        count = "" if self.spec.count == "total" else self.spec.count + " "
        return f"{self.whole} {count}tokens/{per(self.window)}"
