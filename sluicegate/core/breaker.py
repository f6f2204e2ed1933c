"""The breaker: when to stop asking a deployment that fails, and when to ask again.

    closed      --  `faults` in a row, or `share` of at least 20 answers within `within`  -->  open
    closed      --  a rejected credential, a deployment that is not there                 -->  open, for 30 s
    any         --  there is no credential to show                                        -->  open, until there is
    open        --  `open` seconds                                                        -->  half open: one ticket
    half open   --  its answer's head; or no failure within 1 s                           -->  closed
    half open   --  it fails                                                              -->  open
    half open   --  its client leaves                                                     -->  open, but not for long

Silence is a verdict only for a member that failed fast. One that failed by silence (time-outs) is closed by a head
alone, one that broke its answers off by a whole answer; until then another ticket goes in every `open` seconds.

Every request that goes in takes a ticket, and news counts only if its ticket is not older than the state: what was
sent before the breaker opened says nothing about the time after. So only who looks again ends the looking.

Everything that changes the state is in this file. A 429 is no fault: see core/throttle.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

SILENCE_S: Final = 1.0
"""No failure for so long closes a half-open breaker."""

OURS_S: Final = 30.0
"""A rejected credential and a missing deployment are looked at again so often, by one request."""

ENOUGH: Final = 20
"""Answers, before a share of them says anything."""

REJECTED: Final = "upstream.credential"
"""Cause: the credential that we show was refused, or there is none to show."""

OURS: Final = frozenset({REJECTED, "upstream.deployment"})
"""Causes that are the gateway's own trouble: one is enough."""


@dataclass(frozen=True, slots=True)
class BreakerSpec:
    """When faults open a deployment's breaker, and for how long. Times in seconds."""

    faults: int = 5
    "That many in a row open it."
    share: float = 0.5
    "So does this share of at least 20 answers within `within`."
    within: float = 30.0
    open: float = 3.0
    "Until one request looks again."


@dataclass(frozen=True, slots=True)
class ThrottleSpec:
    """How long a throttled deployment is shut. Times in seconds."""

    longest: float = 600.0
    "The longest time that is believed; beyond it one request looks again every so often."
    unnamed: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0)
    "Where the answer names no time: the first refusal shuts it for the first of these, and so on."


class Breaker:
    """Of one deployment. What is configured is handed in by the route that brings the news."""

    __slots__ = (
        "_answers", "_answers_before", "_bad", "_bad_before", "_oldest", "_slowest", "_turn", "_verdict", "_wait",
        "cause", "closed", "cuts", "faults", "half_open", "looked_at", "ticket", "until", "withheld",
    )  # fmt: skip

    def __init__(self) -> None:
        self.closed = True
        self.half_open = False
        self.faults = 0
        "In a row, before anything of an answer was there."
        self.cuts = 0
        "In a row, answers that broke off."
        self.cause = ""
        "Why it is open."
        self.until = 0.0
        "Monotonic: open, nobody looks before."
        self.withheld = False
        "It is open because we have nothing to show there; it stays so until we have."
        self.looked_at = 0.0
        "When the newest ticket to look went out."
        self.ticket = 0
        "The newest; while closed, that of all."
        self._oldest = 0
        "Tickets below it are of an earlier state."
        self._verdict = "silence"
        "What closes it: silence, head or whole."
        self._wait = 0.0
        "How long it is open this time."
        self._slowest = 0.0
        "Of the faults in a row: how long one took to show."
        self._answers = self._bad = 0
        self._answers_before = self._bad_before = 0
        self._turn = 0.0
        "When the current half of the window is over."

    # ------------------------------------------------------------------ before a request

    def ready(self, now: float) -> float:
        """Monotonic time from which a request may go in: `now` if one may."""
        if self.closed:
            return now
        if not self.half_open:
            return max(now, self.until)
        if self._verdict == "silence":
            if now >= self.looked_at + SILENCE_S:
                self._close()
                return now
            return self.looked_at + SILENCE_S
        return max(now, self.looked_at + self._wait)

    def enter(self, now: float) -> int:
        """The ticket of a request that goes in. Call only when `ready`."""
        if not self.closed:
            self.ticket += 1
            if not self.half_open:
                self.half_open = True
                self._oldest = self.ticket
            self.looked_at = now
        return self.ticket

    # ------------------------------------------------------------------ news

    def answered(self, ticket: int, now: float, spec: BreakerSpec) -> int:
        """An answer is there that is no fault. The ticket for its further news."""
        if ticket < self._oldest:
            return ticket
        if not self.closed:
            if self._verdict == "whole":
                return ticket
            self._close()
        self.faults = 0
        if now >= self._turn:
            self._roll(now, spec)
        self._answers += 1
        return self.ticket

    def whole(self, ticket: int) -> None:
        """That answer ended as it should."""
        if ticket >= self._oldest:
            self.cuts = 0
            if not self.closed:
                self._close()

    def failed(self, ticket: int, now: float, took: float, cause: str, spec: BreakerSpec) -> None:
        """No answer, or none that can be used; the request was sent `took` seconds ago."""
        if ticket < self._oldest:
            return
        self.faults += 1
        self._slowest = took if self.faults == 1 else max(took, self._slowest)
        if cause in OURS:
            self._open(now, OURS_S, "silence" if took < SILENCE_S else "head", cause)
        elif not self.closed:
            if ticket == self.ticket:  # of those that looked before it was known that they would fail
                self._open(now, self._wait, "whole" if self._verdict == "whole" else self._shown(), cause)
        elif self._too_many(now, 1, spec) or self.faults >= spec.faults:
            self._open(now, spec.open, self._shown(), cause)

    def broke_off(self, ticket: int, now: float, cause: str, spec: BreakerSpec) -> None:
        """That answer stopped half-way."""
        if ticket < self._oldest:
            return
        self.cuts += 1
        if not self.closed:
            if ticket == self.ticket:
                self._open(now, self._wait, "whole", cause)
        elif self._too_many(now, 0, spec) or self.cuts >= spec.faults:
            self._open(now, spec.open, "whole", cause)

    def give_back(self, ticket: int, now: float) -> None:
        """The request is over without a verdict: its client left, or the exchange broke."""
        if self.half_open and ticket == self.ticket and self.ready(now) > now:
            self.half_open = False
            self._oldest = self.ticket + 1
            self.until = now

    def look_now(self) -> None:
        """Something changed about the deployment (its credential): do not wait to look again."""
        if not self.closed and not self.half_open and not self.withheld:
            self.until = 0.0

    def withhold(self, cause: str) -> None:
        """We have no credential to show: nothing goes in until `supply`."""
        if not self.withheld:
            self.withheld = True
            self._open(inf, 0.0, "silence", cause)

    def supply(self) -> None:
        """There is a credential, or another one."""
        if self.withheld:
            self.withheld = False
            self._close()
        elif self.cause == REJECTED:
            self.look_now()

    # ------------------------------------------------------------------ the state

    def _shown(self) -> str:
        return "silence" if self._slowest < SILENCE_S else "head"

    def _open(self, now: float, wait: float, verdict: str, cause: str) -> None:
        self.closed = self.half_open = False
        self._oldest = self.ticket + 1
        self.until = now + wait
        self._wait = wait
        self._verdict = verdict
        self.cause = cause

    def _close(self) -> None:
        self.closed = True
        self.half_open = False
        self.ticket += 1
        self._oldest = self.ticket
        self.faults = self.cuts = 0
        self._answers = self._bad = self._answers_before = self._bad_before = 0
        self._turn = 0.0
        self.cause = ""

    def _too_many(self, now: float, answers: int, spec: BreakerSpec) -> bool:
        if now >= self._turn:
            self._roll(now, spec)
        self._answers += answers
        self._bad += 1
        seen = self._answers + self._answers_before
        return seen >= ENOUGH and self._bad + self._bad_before >= spec.share * seen

    def _roll(self, now: float, spec: BreakerSpec) -> None:
        """Two halves of the window: never more than `within`, never less than half of it."""
        half = spec.within / 2
        fresh = now >= self._turn + half
        self._answers_before = 0 if fresh else self._answers
        self._bad_before = 0 if fresh else self._bad
        self._answers = self._bad = 0
        self._turn = now + half
