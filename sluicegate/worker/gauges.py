"""What is now, in the counters for all to see: who is connected, how deployments are, how the journal does.

What requests come to is counted as they end (link/counting.py); this is looked at once a second.
"""

from __future__ import annotations

from collections import Counter

from sluicegate.core.families import (
    CLIENTS,
    DEPLOYMENT_IN_FLIGHT,
    DEPLOYMENT_STATE,
    IN_FLIGHT,
    JOURNAL_FAILING,
    JOURNAL_LOST,
    JOURNAL_STALLED,
    LAG,
    OTHER,
    REQUESTS,
    UPSTREAMS,
)
from sluicegate.core.refusals import status_of
from sluicegate.core.state import World
from sluicegate.edge.listener import Server
from sluicegate.link.counters import Counters
from sluicegate.link.journal import Journal
from sluicegate.upstream.client import Client


class Gauges:
    """Of one worker. `written`: the journal in files, if there is one."""

    def __init__(
        self, counters: Counters, world: World, server: Server, upstream: Client, written: Journal | None
    ) -> None:
        self._counters = counters
        self._world = world
        self._server = server
        self._upstream = upstream
        self._written = written
        self.late_s = 0.0
        "The longest that the loop was late since it was told last."
        self._states: dict[str, str] = {}
        "Of deployments, as the counters have them."
        self._refused: Counter[str] = Counter()
        "Early refusals that the counters know of."
        self._lost = self._stalled_us = 0
        "Of the journal, as the counters have it."

    def publish(self, now: float) -> None:
        """What is now, and what was refused before any exchange."""
        counters = self._counters
        cells, row = counters.cells, counters.row
        cells[row(IN_FLIGHT)] = self._world.in_flight
        cells[row(CLIENTS)] = len(self._server.connections)
        cells[row(LAG)] = int(self.late_s * 1e6)
        self.late_s = 0.0
        upstream = self._upstream.counts()
        for state, number in (("idle", upstream.idle), ("busy", upstream.busy), ("connecting", upstream.connecting)):
            cells[row(UPSTREAMS, state)] = number
        rest = row(DEPLOYMENT_IN_FLIGHT, OTHER)  # of those for whom there is no place, the sum
        cells[rest] = 0
        for member in self._world.members.values():
            place = row(DEPLOYMENT_IN_FLIGHT, member.label)
            cells[place] = member.in_flight + (cells[rest] if place == rest else 0)
            state = member.door.state(now)[0]
            before = self._states.get(member.label)
            if before != state:
                if before is not None:
                    cells[row(DEPLOYMENT_STATE, member.label, before)] -= 1
                self._states[member.label] = state
                cells[row(DEPLOYMENT_STATE, member.label, state)] += 1
        if self._written is not None:
            lost, stalled_us = self._written.lost, int(self._written.stalled_s * 1e6)
            cells[row(JOURNAL_LOST)] += lost - self._lost
            cells[row(JOURNAL_STALLED)] += stalled_us - self._stalled_us
            self._lost, self._stalled_us = lost, stalled_us
            cells[row(JOURNAL_FAILING)] = 1 if self._written.failing else 0
        for reason, number in self._server.refusals.items():
            new = number - self._refused[reason]
            if new:
                self._refused[reason] = number
                cells[row(REQUESTS, "", str(status_of(reason)), reason)] += new
        counters.publish()

    def forget(self) -> None:
        """Deployments may be gone: whoever is there yet is told of anew."""
        cells, row = self._counters.cells, self._counters.row
        for label, state in self._states.items():
            cells[row(DEPLOYMENT_STATE, label, state)] -= 1
            cells[row(DEPLOYMENT_IN_FLIGHT, label)] = 0
        self._states.clear()
