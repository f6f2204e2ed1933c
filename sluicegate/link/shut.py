"""News of throttled deployments: what one worker was told by a 429, the others need not find out by asking.

Looked at twenty times a second, so that the road of a request knows nothing of it: a worker may ask a deployment for
another 0.05 s after its neighbour was refused. Faults are not told: a worker that sees an answer knows more than one
that heard of a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sluicegate.core.breaker import ThrottleSpec
from sluicegate.core.pool import Member

TOPIC = "shut"

Shut = tuple[str, bool, float]
"""Deployment as instance/deployment; whether it is its quota; seconds from now."""


class ShutNews:
    """What this worker knows, and has told or heard."""

    def __init__(self, tell: Callable[[list[Shut]], None]) -> None:
        self._tell = tell
        self._known: dict[tuple[str, bool], float] = {}
        "When the refusal came that the others know of."

    def look(self, members: Iterable[Member], now: float) -> None:
        """Tell of refusals that came since the last look."""
        news: list[Shut] = []
        quotas: set[int] = set()
        for member in members:
            door = member.door
            for throttle, quota in ((door.throttle, False), (door.quota, True)):
                if throttle is None or throttle.calm or now >= throttle.shut_until or id(throttle) in quotas:
                    continue
                if quota:  # of many deployments: told once
                    quotas.add(id(throttle))
                key = (member.label, quota)
                if throttle.shut_at > self._known.get(key, 0.0):
                    self._known[key] = throttle.shut_at
                    news.append((member.label, quota, throttle.shut_until - now))
        if news:
            self._tell(news)

    def heard(self, news: Any, members: Iterable[Member], now: float, spec: ThrottleSpec) -> None:
        """Another worker tells. It is not told on."""
        by_label = {m.label: m for m in members}
        for label, quota, wait in news:
            member = by_label.get(label)
            if member is not None:
                member.door.heard(quota, wait, now, spec)
                for other in by_label.values():  # whoever shares the quota was told the same
                    if other is member or (quota and other.door.quota is member.door.quota):
                        self._known[other.label, quota] = now
