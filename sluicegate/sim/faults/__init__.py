"""Everything an upstream may do wrong, as a table, and the book that says which of it befalls a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zlib import crc32

import msgspec

from sluicegate.sim.answer import Answer
from sluicegate.sim.azure.request import Request
from sluicegate.sim.faults import broken, instead, lies
from sluicegate.sim.faults.base import Fault

KINDS: dict[str, type[Fault]] = {
    kind.__struct_config__.tag: kind  # type: ignore[misc]
    for kind in (*instead.KINDS, *lies.KINDS, *broken.KINDS)
}
"""By the word that names them; docs/reference/simulator.md holds one row of each."""


def fault(given: Mapping[str, Any]) -> Fault:
    """A fault from plain data, `kind` among it. Raises ValueError saying what is wrong."""
    kind = KINDS.get(str(given.get("kind")))
    if kind is None:
        raise ValueError(f"kind: {given.get('kind')!r} is none of {', '.join(KINDS)}")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as e:
        raise ValueError(f"{given['kind']}: {e}") from None


class Active:
    """A fault in force, and how often it has struck."""

    __slots__ = ("fault", "hits", "marker", "number", "seen", "since")

    def __init__(self, fault: Fault, number: int, since: float) -> None:
        self.fault = fault
        self.number = number
        self.since = since
        self.seen = 0
        "Requests that it could have struck."
        self.hits = 0
        self.marker = fault.marker.encode() if fault.marker is not None else None

    def act(self, answer: Answer, request: Request, now: float, wall: float) -> Answer:
        """What becomes of the answer."""
        changed = self.fault.act(answer, request, now - self.since, wall)
        if self.number not in changed.faults:
            changed.faults.append(self.number)
        return changed

    def over(self, now: float) -> bool:
        fault = self.fault
        return (fault.times is not None and self.hits >= fault.times) or (
            fault.for_s is not None and now >= self.since + fault.for_s
        )

    def export(self, now: float) -> dict[str, Any]:
        """Plain data."""
        out: dict[str, Any] = {"number": self.number, "hits": self.hits, "over": self.over(now)}
        return {**msgspec.to_builtins(self.fault), **out}


class FaultBook:
    """The faults of a fleet, in the order in which they act."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.active: list[Active] = []
        self._count = 0

    def add(self, given: Fault | Mapping[str, Any], now: float) -> Active:
        """Put a fault in force. Raises ValueError."""
        made = given if isinstance(given, Fault) else fault(given)
        self._count += 1
        active = Active(made, self._count, now)
        # a new list: a request in another thread may be reading the old one
        self.active = sorted([*self.active, active], key=lambda a: (a.fault.stage, a.number))
        return active

    def remove(self, number: int | None = None) -> int:
        """Lift one fault, or all; how many there were."""
        kept = [a for a in self.active if number is not None and a.number != number]
        removed = len(self.active) - len(kept)
        self.active = kept
        return removed

    def accepting(self, instance: str, now: float) -> str:
        """What befalls a new connection: `reset`, `hang` or nothing."""
        for active in self.active:
            if isinstance(active.fault, broken.Accept) and self._strikes(active, instance, None, now):
                return active.fault.how
        return ""

    def early(self, instance: str, request: Request, now: float) -> list[Active]:
        """Faults that answer before the body is read, by what the head says."""
        if not self.active:
            return []
        return [
            a
            for a in self.active
            if isinstance(a.fault, instead.Status | instead.Throttle) and a.fault.early
            and self._strikes(a, instance, request, now)
        ]  # fmt: skip

    def matching(self, instance: str, request: Request, now: float) -> list[Active]:
        """Faults of a complete request. Asking counts."""
        if not self.active:
            return []
        return [
            a
            for a in self.active
            if not isinstance(a.fault, broken.Accept) and not getattr(a.fault, "early", False)
            and self._strikes(a, instance, request, now)
        ]  # fmt: skip

    def _strikes(self, active: Active, instance: str, request: Request | None, now: float) -> bool:
        fault = active.fault
        if (fault.instance is not None and fault.instance != instance) or active.over(now):
            return False
        if request is not None:
            if fault.deployment is not None and fault.deployment != request.deployment:
                return False
            if fault.above_tokens is not None and request.estimate <= fault.above_tokens:
                return False
            marker = active.marker
            if marker is not None and marker not in request.head and marker not in request.body:
                return False
        active.seen += 1
        if active.seen <= fault.skip:
            return False
        if fault.share < 1.0:
            draw = crc32(b"%d %d %d" % (self.seed, active.number, active.seen)) / 2**32
            if draw >= fault.share:
                return False
        active.hits += 1
        return True
