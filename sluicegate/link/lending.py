"""The worker's side of limits that several workers hold together: what it wants of its keeper, and what it gives back.

The rules are core/limits/lender.py; here are only the way there and back, and what happens while nobody answers:
whoever waits goes on after `PATIENCE_S` with what there is, so a keeper that is gone costs a moment and no request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from sluicegate.core.limits.lender import Holds, Lend, Recall, Rest, Returned, Want
from sluicegate.link.channel import Lends, Needs

PATIENCE_S = 0.25
"""For the keeper's answer; it waits up to 0.05 s for what others give back."""


class Policies(Protocol):
    """Whose shares they are (core/policy.py)."""

    def got(self, lend: Lend, now: float) -> None: ...
    def recalled(self, recall: Recall, now: float) -> Returned: ...
    def told(self, rest: Rest) -> None: ...
    def returns(self, now: float) -> list[Returned]: ...
    def pending(self, now: float) -> list[Returned]: ...
    def moved(self) -> list[Holds]: ...
    def leave(self, now: float) -> list[Returned]: ...
    def alone(self, parts: int) -> None: ...


class _Asked:
    """One request that waits: for how many answers, until when, and whom to tell."""

    __slots__ = ("done", "left", "until")

    def __init__(self, left: int, until: float, done: Callable[[], None]) -> None:
        self.left = left
        self.until = until
        self.done = done

    def answered(self) -> None:
        if self.left:
            self.left -= 1
            if not self.left:
                self.done()


class Borrower:
    """Asks for more of a limit. `send` is the channel's; `now` the worker's clock; `workers`: how many share."""

    def __init__(
        self, policies: Policies, send: Callable[[Needs], None], now: Callable[[], float], workers: int
    ) -> None:
        self._policies = policies
        self._send = send
        self._now = now
        self._workers = workers
        self._waiting: dict[str, deque[_Asked]] = {}
        "By limit, in the order in which they asked: the keeper answers in that order."
        self.gone = False
        "There is no keeper any more."

    def ask(self, wants: Sequence[Want], done: Callable[[], None]) -> bool:
        """Ask for these; `done` is called once, when all are answered or nobody will. False: there is nobody to ask."""
        if self.gone or not wants or any(self._silent(want.key) for want in wants):
            return False
        now = self._now()
        asked = _Asked(len(wants), now + PATIENCE_S, done)
        for want in wants:
            self._waiting.setdefault(want.key, deque()).append(asked)
        self._send(Needs(self._policies.moved(), self._policies.pending(now), list(wants)))
        return True

    def take(self, message: Lends) -> None:
        """The keeper lends, or wants something back."""
        now = self._now()
        if message.recalls:
            back = [self._policies.recalled(recall, now) for recall in message.recalls]
            self._send(Needs(self._policies.moved(), back))
        for rest in message.rests:
            self._policies.told(rest)
        for lend in message.lends:
            self._policies.got(lend, now)
        for lend in message.lends:  # all of it is there before anybody tries again
            waiting = self._waiting.get(lend.key)
            if waiting:
                asked = waiting.popleft()
                if not waiting:
                    del self._waiting[lend.key]
                asked.answered()

    def tick(self) -> None:
        """Several times a second: what fell free goes back, and who waited long enough goes on."""
        now = self._now()
        if self.gone:
            return
        back = self._policies.returns(now)
        moved = self._policies.moved()
        if back or moved:
            self._send(Needs(moved, back))
        if self._waiting:
            for waiting in list(self._waiting.values()):
                for asked in list(waiting):  # who goes on may ask again
                    if asked.left and now >= asked.until:
                        asked.left = 0
                        asked.done()
            # Their places stay until the keeper's late answer comes: it answers in order.

    def _silent(self, key: str) -> bool:
        """Somebody waited for it in vain, and the keeper has not answered yet: nobody else waits."""
        waiting = self._waiting.get(key)
        return waiting is not None and not waiting[0].left

    def leave(self) -> None:
        """This worker is about to end, and carries nothing any more."""
        if not self.gone:
            self._send(Needs(self._policies.moved(), self._policies.leave(self._now())))

    def lost(self) -> None:
        """The keeper is gone: nobody answers any more."""
        self.gone = True
        self._policies.alone(self._workers)
        waiting, self._waiting = self._waiting, {}
        for line in waiting.values():
            for asked in line:
                if asked.left:
                    asked.left = 0
                    asked.done()
