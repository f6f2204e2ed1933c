"""The gateway as a whole: how it is, what is the matter, where what it sends goes."""

from __future__ import annotations

import msgspec

from sluicegate.admin.shapes.config import Source


class Health(msgspec.Struct):
    """The process answers."""

    status: str


class WorkerState(msgspec.Struct):
    """A process that carries traffic. `state`: starting, ready, leaving."""

    seat: int
    pid: int
    state: str
    config: str
    restarts: int
    up_s: float


class Status(msgspec.Struct):
    """The gateway as a whole."""

    name: str
    region: str
    version: str
    pid: int
    up_s: float
    config: str
    listen: str
    models: int
    deployments: int
    consumers: int
    drained: list[str]
    revoked: int
    source: Source
    workers: list[WorkerState]
    alerts: int


class Matter(msgspec.Struct):
    """Something that is the matter now. `times`: how often it was said."""

    kind: str
    subject: str
    detail: str
    since: str
    times: int


class Notice(msgspec.Struct):
    """What was told. `state`: fired, or resolved."""

    id: str
    kind: str
    subject: str
    state: str
    detail: str
    at: str
    since: str
    times: int


class Sink(msgspec.Struct):
    """Somebody who is told: notices that wait, were taken, were lost; `error`: why the last one was not taken."""

    to: str
    waiting: int
    sent: int
    lost: int
    error: str


class Alerts(msgspec.Struct):
    """What is the matter now, the last 1,000 notices (newest first), and how those are who are told."""

    open: list[Matter]
    notices: list[Notice]
    sinks: list[Sink]


class ResidencyEdge(msgspec.Struct):
    """One end of one edge: what travels there, on behalf of which model, where it is, whether that is inside the
    boundary (null: nothing of a request travels there), and why."""

    edge: str
    carries: list[str]
    via: str
    to: str
    region: str
    processing: str
    inside: bool | None
    why: str


class ResidencyBoundary(msgspec.Struct):
    """A boundary, whose tenants have it, and every edge on which something of theirs travels."""

    boundary: str
    regions: list[str]
    processing: str
    served: bool
    tenants: list[str]
    holds: bool
    edges: list[ResidencyEdge]


class Residency(msgspec.Struct):
    """The proof for what is in force. `holds`: boundaries are declared, and no end is outside one that is served."""

    config: str
    gateway: str
    region: str
    declared: bool
    holds: bool
    boundaries: list[ResidencyBoundary]
    drained: list[str]
    assumed: list[str]
