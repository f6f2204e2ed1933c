"""The gateway's retry budget: second attempts after faults, as a share of all requests.

Without it, three attempts for each request make three times the load out of an upstream that is already in trouble.
A request that a client's SDK sends again adds nothing to the budget: its retries and ours do not multiply.
"""

from __future__ import annotations

from typing import Final

WINDOW_S: Final = 10.0
"""Requests and retries count for between one and two of these."""

FLOOR: Final = 30
"""So many retries are allowed in a window however few requests there are: small traffic may retry, too. Unless there
shall be none: a budget of 0 %."""


class Retries:
    """Of one worker."""

    __slots__ = ("_before", "_requests_before", "_turn", "requests", "retries", "share")

    def __init__(self, share: float) -> None:
        self.share = share
        self.requests = 0
        self.retries = 0
        self._requests_before = 0
        self._before = 0
        self._turn = 0.0

    def asked(self, now: float) -> None:
        """A client asks for the first time."""
        if now >= self._turn:
            self._roll(now)
        self.requests += 1

    def take(self, now: float) -> bool:
        """One more attempt after a fault; False: the budget is used up."""
        if now >= self._turn:
            self._roll(now)
        if not self.share:
            return False
        spent = self.retries + self._before
        if spent >= FLOOR:
            if spent + 1 > self.share * (self.requests + self._requests_before):
                return False
            if self.retries + 1 > self.share * max(self.requests, self._requests_before):
                return False  # what a quiet window left over is not saved up for a storm
        self.retries += 1
        return True

    def _roll(self, now: float) -> None:
        fresh = now >= self._turn + WINDOW_S
        self._requests_before = 0 if fresh else self.requests
        self._before = 0 if fresh else self.retries
        self.requests = self.retries = 0
        self._turn = now + WINDOW_S
