"""Throttling: a 429 shuts a deployment until the time it named, then requests come back at a measured pace.

Want of capacity is no fault, and there is no half-open here: an answer takes up to a minute, and a provisioned
deployment often names less than a second, so that one request at a time would leave it idle. When the time is up one
request goes in, then twice as many every 100 ms, as long as no new 429 comes back: silence is the verdict.

Where no time is named, the first refusal shuts it for the first of `unnamed`, and so on. A time beyond `longest` is
not believed to the letter (86,400 s has been seen): one request looks again every `longest`.

Who is refused while requests come back is told the time at which all may: everybody who waited comes at the same
moment, and "in 0.1 s" would bring them all again, ten times.
"""

from __future__ import annotations

from math import inf
from typing import Final

from sluicegate.core.breaker import ThrottleSpec

PACE_S: Final = 0.1
"""After each of these, twice as many."""

STEPS: Final = 10
"""Of the pace; after that, 1,023 requests or one second of silence, anybody may."""


class Throttle:
    """Of one deployment, or of all that share a quota."""

    __slots__ = (
        "_began", "_longest", "_room", "_step", "_turn", "calm", "exhausted", "looked_at", "shut_at", "shut_until",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calm = True
        "Neither shut nor paced."
        self.shut_until = 0.0
        "Monotonic."
        self.shut_at = -inf
        "When the newest refusal came."
        self.exhausted = False
        "It named more than `longest`: a quota is used up."
        self.looked_at = -inf
        "When the request left that looks again at a used-up quota."
        self._longest = 0.0
        self._step = 0
        "Refusals without a time, one after the other."
        self._began = 0.0
        "When the first came back, since it was shut last; 0.0: none did."
        self._room = 0
        "For so many more in this step of the pace."
        self._turn = 0.0
        "When this step is over."

    def ready(self, now: float) -> float:
        """Monotonic time from which a request may go in: `now` if one may."""
        if self.calm:
            return now
        if now < self.shut_until:
            return self.shut_until
        if now >= self._turn or self._room:
            return now
        return self._began + STEPS * PACE_S if self._began else self._turn

    def enter(self, now: float) -> None:
        """A request goes in. Call only when `ready` and not `calm`."""
        if self.exhausted:
            self.looked_at = now
            self.shut_until = now + self._longest
        elif now < self._turn:
            self._room -= 1
        else:
            if not self._began:
                self._began = now
            step = int((now - self._began) / PACE_S + 1e-6)  # the end of a step is the next one's begin
            if step >= STEPS:
                self.calm = True
                self._step = 0
            self._room = (1 << min(step, STEPS)) - 1
            self._turn = self._began + (step + 1) * PACE_S

    def refused(self, now: float, sent_at: float, retry_after: float | None, spec: ThrottleSpec) -> None:
        """A 429 came back to a request that left at `sent_at`; `retry_after`: the seconds it named."""
        if self.exhausted and sent_at == self.looked_at:
            self.shut_until = now  # what `enter` assumed
            self.looked_at = -inf
        if not retry_after:  # "at once" is what it just refused
            if sent_at > self.shut_at:  # those that left before we knew are one refusal
                self._step += 1
            wait = min(spec.unnamed[min(max(self._step, 1), len(spec.unnamed)) - 1], spec.longest)
        else:
            wait = retry_after
        self.exhausted = wait > spec.longest
        if self.exhausted:
            wait = self._longest = spec.longest
        self.calm = False
        self.shut_at = now
        self.shut_until = max(self.shut_until, now + wait)
        self._began = 0.0
        self._room = 0

    def served(self, now: float, sent_at: float) -> None:
        """An answer came back to a request that left at `sent_at`: a quota that was used up is there again."""
        if self.exhausted and sent_at == self.looked_at:
            self.exhausted = False
            self.shut_until = now

    def give_back(self, now: float, sent_at: float) -> None:
        """The request that left at `sent_at` is over without an answer."""
        if self.exhausted and sent_at == self.looked_at:
            self.looked_at = -inf
            self.shut_until = now
