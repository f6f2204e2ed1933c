"""The World: live state by identity, so that it outlives the snapshot that named it."""

from __future__ import annotations

from sluicegate.core.caller import Callers
from sluicegate.core.pool import Member, Pool
from sluicegate.core.ports import Journal
from sluicegate.core.route import Route, Routes
from sluicegate.core.snapshot import Directory, Snapshot


class World:
    """What an exchange may read and change: callers, routes, members, journal. No clock: `now` comes with events."""

    __slots__ = ("callers", "in_flight", "journal", "members", "routes", "snapshot")

    def __init__(self, snapshot: Snapshot, directory: Directory, journal: Journal) -> None:
        self.journal = journal
        self.in_flight = 0
        "Admitted exchanges that have not settled."
        self.members: dict[int, Member] = {}
        self.adopt(snapshot, directory)

    def adopt(self, snapshot: Snapshot, directory: Directory | Callers) -> None:
        """Put a new configuration in force. A deployment that is still the same target keeps its live state. Callers
        that are bound already are taken as they are: 100,000 are not bound again because a timeout changed."""
        instances = {i.number: i for i in snapshot.instances}
        members: dict[int, Member] = {}
        for d in snapshot.deployments:
            old = self.members.get(d.number)
            new = Member(d, instances[d.instance])
            if old is not None and old.label == new.label:
                new.in_flight = old.in_flight
            members[d.number] = new
        self.members = members
        self.routes = Routes({m.name: Route(m, Pool([members[n] for n in m.deployments])) for m in snapshot.models})
        self.callers = directory if isinstance(directory, Callers) else Callers(directory)
        self.snapshot = snapshot
