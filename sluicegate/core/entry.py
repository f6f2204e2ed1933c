"""What is told of a request when it is over: plain data, on its way from a worker to the access log.

Names instead of objects, wall time instead of the worker's clock; no text of the client but the model that it was let
in for.
"""

from __future__ import annotations

from typing import NamedTuple

from sluicegate.core.record import UsageRecord


class Tried(NamedTuple):
    """One attempt."""

    deployment: str
    status: int
    cause: str
    took_s: float


class Entry(NamedTuple):
    """One request."""

    id: str
    wall: float
    "When its head was there, seconds since 1970."
    took_s: float
    first_token_s: float | None
    api: str
    model: str
    tenant: str
    consumer: int
    status: int
    reason: str
    how: str
    state: str
    stream: bool
    estimated: bool
    tokens: tuple[int, int, int, int, int] | None
    "Input, cached, cache_write, output, reasoning: disjoint."
    attempts: list[Tried]


def entry(record: UsageRecord, offset: float, labels: dict[int, str]) -> Entry:
    """Of a record that is over. `offset`: wall time less the clock of the record; `labels`: deployments by number."""
    usage = record.usage
    tokens = None
    if usage is not None:
        tokens = (usage.input, usage.cached, usage.cache_write, usage.output, usage.reasoning)
    first = record.first_token_at
    return Entry(
        record.id, record.at + offset, record.ended_at - record.at, None if first is None else first - record.at,
        record.api, record.model if record.state != "refused" else "", record.tenant, record.consumer, record.status,
        record.reason, record.how, record.state, record.stream, record.estimated, tokens,
        [Tried(labels.get(a.deployment, ""), a.status, a.cause, a.ended_at - a.at) for a in record.attempts],
    )  # fmt: skip
