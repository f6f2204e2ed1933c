"""On which bill a deployment was, and in which tier, since when: kept in `gateway.data`, for reports.

Records carry a deployment's number and no more. Where it belongs may change while its records stay, so what was true
at the time is kept beside them: a line for each change, to the minute. Text, replaced as a whole, like numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sluicegate.core.snapshot import Snapshot
from sluicegate.spec.language import Document
from sluicegate.spec.references import Wrong
from sluicegate.spec.whole import END, write_whole

FILE = "places"
_HEAD = "sluicegate places 1"


class Place(NamedTuple):
    """Of one deployment."""

    tier: int
    subscription: str = ""
    "Empty: its instance says none."


def now(document: Document, snapshot: Snapshot) -> dict[int, Place]:
    """Of every deployment that is declared, by number."""
    of = {i.number: document.instances[i.name].subscription for i in snapshot.instances if i.name in document.instances}
    return {d.number: Place(d.tier, of.get(d.instance, "")) for d in snapshot.deployments}


class Places:
    """What was true when."""

    def __init__(self) -> None:
        self._held: dict[int, list[tuple[int, Place]]] = {}
        "By number, oldest first, each with the second from which on."

    def note(self, places: Mapping[int, Place], at: float) -> bool:
        """This is so from now on. Whether it is news."""
        minute = int(at) // 60 * 60
        news = False
        for number, place in places.items():
            held = self._held.setdefault(number, [])
            if held and held[-1][1] == place:
                continue
            news = True
            while held and held[-1][0] >= minute:
                held.pop()
            held.append((minute, place))
        return news

    def of(self, number: int, at: int) -> Place | None:
        """Where it was then; what is known first holds for the time before, too. None: never heard of it."""
        found = None
        for since, place in self._held.get(number, ()):
            if found is None or since <= at:
                found = place
        return found

    def moments(self, begin: int, end: int) -> list[int]:
        """When something changed in between."""
        changes = {since for held in self._held.values() for since, _ in held[1:]}
        return sorted(since for since in changes if begin < since < end)

    def write(self, data: str) -> None:
        """Keep it. Raises OSError."""
        lines = [
            f"{since} {n} {place.tier} {place.subscription}" for n, held in self._held.items() for since, place in held
        ]
        write_whole(data, FILE, [_HEAD, *lines])


def known(data: str) -> Places:
    """What is kept in `data`; nothing yet is fine. Raises Wrong."""
    path = os.path.join(data, FILE)
    places = Places()
    try:
        with open(path) as f:
            lines = f.read().splitlines()
    except FileNotFoundError:
        return places
    except (OSError, UnicodeDecodeError) as e:
        what = (e.strerror or "error").lower() if isinstance(e, OSError) else "not UTF-8"
        raise Wrong(f"holds places that cannot be read: {path}: {what}", f"is {path} there, for this user?") from None
    try:
        if lines[0] != _HEAD or lines[-1] != END:
            raise ValueError
        for since, number, tier, subscription in _split(lines[1:-1]):
            held = places._held.setdefault(int(number), [])
            if held and held[-1][0] >= int(since):
                raise ValueError
            held.append((int(since), Place(int(tier), subscription)))
    except (ValueError, IndexError):
        hint = "restore it from a backup, or remove it: sums by subscription and tier then begin with what is declared"
        raise Wrong(f"holds places that are damaged: {path}", hint) from None
    return places


def _split(lines: Iterable[str]) -> Iterable[list[str]]:
    for line in lines:
        yield line.split(" ")
