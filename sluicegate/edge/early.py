"""Requests that are refused before any exchange, for the access log: some of each reason in full, the rest as a number.

Whoever is kept out can ask as often as it likes, so what is written of it is bounded: so many lines a second of one
reason, then one that says how many more there were. Nothing is kept while nobody wants to know.
"""

from __future__ import annotations

from typing import Final

from sluicegate.core.entry import Entry

LINES: Final = 10
"""Of one reason, a second and worker."""

SECOND_S: Final = 1.0


class Early:
    """Of one worker."""

    __slots__ = ("_ends", "_entries", "_last", "_more", "_told", "wanted")

    def __init__(self) -> None:
        self.wanted = False
        self._entries: list[Entry] = []
        self._ends = 0.0
        "When this second is over."
        self._told: dict[str, int] = {}
        "Lines of this second, by reason. Reasons are ours: there is a table of them."
        self._more: dict[str, int] = {}
        self._last: dict[str, Entry] = {}
        "The last that had no line of its own."

    def want(self, wanted: bool) -> None:
        """Whether somebody wants to know, from now on."""
        self.wanted = wanted
        if not wanted:
            self._entries = []
            self._told.clear()
            self._more.clear()
            self._last.clear()

    def add(self, id: str, wall: float, status: int, reason: str, client: str) -> None:
        """One was refused. `client`: its address, where that is to be written down."""
        if not self.wanted:
            return
        entry = Entry(id, wall, 0.0, "", "", 0, status, reason, "", False, "", client)
        told = self._told.get(reason, 0)
        if told < LINES:
            self._told[reason] = told + 1
            self._entries.append(entry)
        else:
            self._more[reason] = self._more.get(reason, 0) + 1
            self._last[reason] = entry

    def take(self, now: float) -> list[Entry]:
        """What is to be written by now; to be asked some times a second."""
        if now >= self._ends and self._told:
            self._ends = now + SECOND_S
            for reason, more in self._more.items():
                last = self._last[reason]
                # One that stands for itself and the others.
                self._entries.append(
                    Entry(last.id, last.wall, 0.0, "", "", 0, last.status, reason, "", False, "", last.client, more - 1)
                )
            self._told.clear()
            self._more.clear()
            self._last.clear()
        entries, self._entries = self._entries, []
        return entries
