"""What is told of a request that was refused before it was admitted: plain data, on its way from a worker to the access
log. Of those that were admitted the journal tells.

A name instead of objects, wall time instead of the worker's clock; no text of a client that was not let in.
"""

from __future__ import annotations

from typing import NamedTuple

from sluicegate.core.record import UsageRecord


class Entry(NamedTuple):
    """One request."""

    id: str
    wall: float
    "When its head was there, seconds since 1970."
    took_s: float
    api: str
    tenant: str
    consumer: int
    "Its number; 0: nobody known."
    status: int
    reason: str
    how: str
    stream: bool
    trail: str = ""
    "How who asked was recognised, in names of ours."
    client: str = ""
    "Its address, where that is to be written down."
    more: int = 0
    "So many others that were refused for the same reason have no line of their own."


def entry(record: UsageRecord, offset: float) -> Entry:
    """Of a record that was refused. `offset`: wall time less the clock of the record."""
    return Entry(
        record.id, record.at + offset, record.ended_at - record.at, record.api, record.tenant, record.consumer,
        record.status, record.reason, record.how, record.stream, "; ".join(record.trail),
        record.context.client,
    )  # fmt: skip
