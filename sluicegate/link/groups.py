"""The worker's side of groups that only the directory knows: who waits for them, and for how long.

The keeper asks (keeper/groups.py); the prover keeps what it says. Each bearer is asked about once at a time, however
many of its requests wait; who waits goes on after `PATIENCE_S` with nothing, so a directory that hangs holds up nobody
but those whose groups it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sluicegate.core.principal import Whose
from sluicegate.link.channel import Belongs, Wanted

PATIENCE_S = 5.0
"""For the keeper's answer."""

MOST = 1000
"""Bearers that are asked about at once, and requests that wait; all others are told to come again."""


class Handle(Protocol):
    def cancel(self) -> None: ...


class Prover(Protocol):
    """Who keeps them (identity/prover.py)."""

    def whose(self, token: bytes) -> Whose | None: ...
    def told(self, whose: Whose, groups: list[str] | None, until: float) -> None: ...


class _Waiter:
    """One request."""

    __slots__ = ("done", "handle")

    def __init__(self, done: Callable[[], None]) -> None:
        self.done = done
        self.handle: Handle | None = None


class Elsewhere:
    """`send` is the channel's, `now` the worker's clock, `later` calls after so many seconds."""

    def __init__(
        self,
        prover: Callable[[], Prover | None],
        send: Callable[[Wanted], None],
        now: Callable[[], float],
        later: Callable[[float, Callable[[], None]], Handle],
    ) -> None:
        self._prover = prover
        self._send = send
        self._now = now
        self._later = later
        self._asked: dict[Whose, float] = {}
        "Of whom the keeper has yet to say something, since when."
        self._waiting: dict[Whose, list[_Waiter]] = {}
        self._count = 0
        self._rests: dict[str, float] = {}
        "By issuer: nobody is asked before."
        self.gone = False
        "There is no keeper any more."

    def want(self, whose: Whose) -> bool:
        """Ask for them, unless that is under way. False: nobody will answer."""
        now = self._now()
        since = self._asked.get(whose)
        if since is not None and now - since < PATIENCE_S:
            return True
        if self.gone or now < self._rests.get(whose.issuer, 0.0):
            return False
        if len(self._asked) >= MOST:
            self._asked = {one: at for one, at in self._asked.items() if now - at < PATIENCE_S}
            if len(self._asked) >= MOST:
                return False
        self._asked[whose] = now
        self._send(Wanted(whose.issuer, whose.tenant, whose.kind, whose.oid))
        return True

    def ask(self, token: bytes, done: Callable[[], None]) -> bool:
        """As core/ports.py Groups has it."""
        prover = self._prover()
        whose = None if prover is None else prover.whose(token)
        if whose is None or self._count >= MOST or not self.want(whose):
            return False
        waiter = _Waiter(done)
        self._count += 1
        self._waiting.setdefault(whose, []).append(waiter)
        waiter.handle = self._later(PATIENCE_S, lambda: self._over(whose, waiter))
        return True

    def take(self, message: Belongs) -> None:
        """The keeper knows, or knows that it will not."""
        whose = Whose(message.issuer, message.tenant, message.kind, message.oid)
        self._asked.pop(whose, None)
        prover = self._prover()
        if message.how == "unavailable":
            self._rests[message.issuer] = message.until
        elif prover is not None:
            prover.told(whose, message.groups if message.how == "known" else None, message.until)
        self._go_on(whose)

    def adopted(self) -> None:
        """Another configuration is in force: what did not go may go now."""
        self._rests.clear()

    def lost(self) -> None:
        """The keeper is gone: nobody answers any more."""
        self.gone = True
        self._asked.clear()
        for whose in list(self._waiting):
            self._go_on(whose)

    def _go_on(self, whose: Whose) -> None:
        for waiter in self._waiting.pop(whose, []):
            self._count -= 1
            if waiter.handle is not None:
                waiter.handle.cancel()
            waiter.done()

    def _over(self, whose: Whose, waiter: _Waiter) -> None:
        waiting = self._waiting.get(whose)
        if waiting is None or waiter not in waiting:
            return
        waiting.remove(waiter)
        if not waiting:
            del self._waiting[whose]
        self._count -= 1
        waiter.done()
