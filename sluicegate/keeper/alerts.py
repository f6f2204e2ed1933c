"""Alerts of this gateway: what is the matter now, and what was.

Workers and the keeper itself say what they see, each of them again and again; what comes of it is one notice when a
thing begins and one when it is over. Over means: nobody says it any more for CALM_S, so that a breaker which opens and
closes for an hour is one alert. Every notice is a line on stderr, is kept for the management API, and goes to whoever
the configuration names (telemetry/alerts.py), who never holds anybody up.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from sluicegate.core.alerts import KINDS
from sluicegate.core.settings import AlertSink
from sluicegate.spec.moments import utc

KEPT = 1000
"""Notices, for whoever asks."""

OPEN = 1000
"""Things that are the matter at once; what is more is said on stderr only."""

CALM_S = 30.0
"""After the last word of it a thing is over."""

REPEAT_S = 300.0
"""What merely happened, and happens again within this, is counted and not told again."""

KEEPER = 0
"""Who says it: the keeper itself, else the pid of a worker."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One line of the story. `state`: fired, or resolved."""

    id: str
    kind: str
    subject: str
    state: str
    detail: str
    at: float
    "Wall time, seconds."
    since: float
    "When it began."
    times: int
    "How often it was said."


class Sinks(Protocol):
    """Who is told. Never waits, never raises."""

    def configure(self, sinks: Iterable[AlertSink], gateway: str, region: str) -> None: ...
    def post(self, notice: Notice) -> None: ...
    def counts(self) -> list[dict[str, Any]]: ...
    async def stop(self) -> None: ...


class Matter:
    """Something that is the matter."""

    def __init__(self, number: int, detail: str, at: float) -> None:
        self.number = number
        self.detail = detail
        self.since = at
        self.times = 0
        self.told = True
        self.by: set[int] = set()
        "Who says it is so."
        self.last = 0.0
        "When that was said, or the last of them said that it is over; monotonic."


class Alerts:
    """Of one keeper. `say(event, **facts)` writes a line on stderr."""

    def __init__(
        self,
        say: Callable[..., None],
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sinks: Sinks | None = None,
    ) -> None:
        self._say = say
        self._now = now
        self._wall = wall
        self.sinks = sinks
        self.matters: dict[tuple[str, str], Matter] = {}
        self.notices: deque[Notice] = deque(maxlen=KEPT)
        self._numbers = 0
        self._base = f"{int(wall() * 1000):x}"
        self.unheard = 0
        "Told to nobody but stderr, because too much was the matter."

    def raised(self, kind: str, subject: str, detail: str, by: int = KEEPER) -> None:
        """Somebody says that this is the matter."""
        if kind not in KINDS:
            self._say("alert.unknown", kind=kind[:64], subject=subject)
            return
        now = self._now()
        matter = self.matters.get((kind, subject))
        if matter is None:
            self._numbers += 1
            matter = Matter(self._numbers, detail, self._wall())
            if len(self.matters) >= OPEN:
                self.unheard += 1
                self._say("alert", kind=kind, subject=subject, state="fired", detail=detail, unheard=self.unheard)
                return
            self.matters[kind, subject] = matter
            matter.times = 1
            self._tell(kind, subject, "fired", matter)
        else:
            matter.times += 1
            matter.detail = detail or matter.detail
        matter.last = now
        if KINDS[kind].lasts:
            matter.by.add(by)

    def over(self, kind: str, subject: str, by: int = KEEPER) -> None:
        """Who said so says that it is no more."""
        matter = self.matters.get((kind, subject))
        if matter is not None and by in matter.by:
            matter.by.discard(by)
            matter.last = self._now()

    def gone(self, by: int) -> None:
        """A worker is gone: what it saw, others see or nobody does."""
        for matter in self.matters.values():
            if by in matter.by:
                matter.by.discard(by)
                matter.last = self._now()

    def tick(self) -> None:
        """What is over, now that it was calm for a while."""
        now = self._now()
        for (kind, subject), matter in list(self.matters.items()):
            if matter.by:
                continue
            lasts = KINDS[kind].lasts
            if now >= matter.last + (CALM_S if lasts else REPEAT_S):
                del self.matters[kind, subject]
                if lasts:
                    self._tell(kind, subject, "resolved", matter)

    def told(self) -> dict[str, Any]:
        """Plain data: what is the matter, the last notices (newest first), and how the sinks are."""
        open_ = [
            {"kind": kind, "subject": subject, "detail": m.detail, "since": utc(m.since), "times": m.times}
            for (kind, subject), m in self.matters.items()
        ]
        notices = [{**asdict(n), "at": utc(n.at), "since": utc(n.since)} for n in reversed(self.notices)]
        return {"open": open_, "notices": notices, "sinks": self.sinks.counts() if self.sinks else []}

    def _tell(self, kind: str, subject: str, state: str, matter: Matter) -> None:
        id_ = f"{self._base}-{matter.number}-{state}"
        notice = Notice(id_, kind, subject, state, matter.detail, self._wall(), matter.since, matter.times)
        self.notices.append(notice)
        self._say("alert", kind=kind, subject=subject, state=state, detail=matter.detail, times=matter.times)
        if self.sinks is not None:
            self.sinks.post(notice)
