"""What a worker tells the keeper of: each thing once a minute, however often it is said in between.

Breakers are looked at once a second, so the road of a request knows nothing of alerts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sluicegate.core.pool import Member
from sluicegate.link.channel import Alarm

REPEAT_S = 60.0
"""What lasts is said again after this: a keeper that started in between knows it then."""

MOST = 1024
"""Things that are kept in mind; beyond it the oldest is forgotten, and may be said again earlier."""

OWN = ("upstream.credential", "upstream.deployment")
"""Causes of an open breaker that are alerts of their own."""


class Alarms:
    """Of one worker."""

    def __init__(self, tell: Callable[[Alarm], None], now: Callable[[], float]) -> None:
        self._tell = tell
        self._now = now
        self._said: dict[tuple[str, str], float] = {}
        self._open: dict[str, str] = {}
        "Kind of alert by deployment whose breaker is open."

    def raised(self, kind: str, subject: str, detail: str) -> None:
        """Somebody should be told."""
        self._raised(kind, subject, detail, False)

    def barred(self, deployment: str, detail: str) -> None:
        """It answers from where it must not: it should be taken out of all pools."""
        self._raised("region.mismatch", deployment, detail, True)

    def _raised(self, kind: str, subject: str, detail: str, drain: bool) -> None:
        now = self._now()
        before = self._said.get((kind, subject))
        if before is not None and now < before + REPEAT_S:
            return
        self._said.pop((kind, subject), None)
        self._said[kind, subject] = now
        if len(self._said) > MOST:
            del self._said[next(iter(self._said))]
        self._tell(Alarm(kind, subject[:256], detail[:1024], drain=drain))

    def over(self, kind: str, subject: str) -> None:
        """That is no more."""
        if self._said.pop((kind, subject), None) is not None:
            self._tell(Alarm(kind, subject[:256], "", True))

    def forget(self, kind: str) -> None:
        """Another configuration: what is so still is news again."""
        for said in [said for said in self._said if said[0] == kind]:
            del self._said[said]

    def look(self, members: Iterable[Member], now: float) -> None:
        """At the breakers."""
        still: dict[str, str] = {}
        for member in members:
            breaker = member.door.breaker
            if breaker.closed:
                continue
            kind = breaker.cause if breaker.cause in OWN else "breaker.open"
            still[member.label] = kind
            self.raised(kind, member.label, breaker.cause)
        for label, kind in self._open.items():
            if still.get(label) != kind:
                self.over(kind, label)
        self._open = still
