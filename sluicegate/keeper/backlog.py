"""How the journal and its mover are, for the metrics page: whoever falls behind is seen in time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from sluicegate.keeper.mover import Moving
from sluicegate.link import segments

Fact = tuple[str, str, str, Sequence[tuple[Mapping[str, str], float]]]

STATES = ("open", "moved", "spare")


def backlog(moving: Moving, now: float, wall: float) -> list[Fact]:
    """`now`: monotonic seconds, `wall`: seconds since 1970."""
    oldest = moving.oldest_us
    return [
        ("sluicegate_ledger_lag_seconds", "gauge", "Since the ledger last had everything that the journals held.",
         [({}, max(0.0, now - moving.caught_up))]),
        ("sluicegate_ledger_failing", "gauge", "1: nothing is moved into the ledger; records wait in the journals.",
         [({}, 1 if moving.failing else 0)]),
        ("sluicegate_journal_oldest_open_seconds", "gauge",
         "Age of the oldest request that was admitted and not settled, as far as the ledger knows; 0: there is none.",
         [({}, max(0.0, wall - oldest / 1e6) if oldest else 0)]),
        ("sluicegate_journal_bytes", "gauge",
         "Of the journal on disk: open (workers write there, or it waits for the mover), moved, spare.",
         [({"state": state}, size) for state, size in zip(STATES, disk(moving.folder), strict=True)]),
    ]  # fmt: skip


def disk(folder: str) -> tuple[int, int, int]:
    """Bytes of segments: open, moved, spare."""
    homes = [os.path.join(folder, writer) for writer in segments.writers(folder)]
    return (
        sum(map(_size, homes)),
        _size(os.path.join(folder, segments.DONE)),
        _size(os.path.join(folder, segments.SPARE)),
    )


def _size(folder: str) -> int:
    total = 0
    try:
        for entry in os.scandir(folder):
            if entry.name != segments.LOCK:
                total += entry.stat().st_size
    except FileNotFoundError:  # moved away between two looks
        pass
    return total
