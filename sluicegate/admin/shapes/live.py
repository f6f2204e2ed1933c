"""Counts of the traffic at one moment."""

from __future__ import annotations

import msgspec


class ModelTraffic(msgspec.Struct):
    """Counts since the start: `status` by what clients saw, `refused` by reason, `tokens` by class. `answers`: of the
    requests, those that were let in, which took `seconds` together."""

    model: str
    requests: int
    answers: int
    status: dict[str, int]
    refused: dict[str, int]
    tokens: dict[str, int]
    seconds: float
    deployments: list[str]


class DeploymentTraffic(msgspec.Struct):
    """Counts since the start: `calls` by cause, `none` where it served. `states`: in how many workers."""

    deployment: str
    tier: int
    drained: bool
    calls: dict[str, int]
    in_flight: int
    states: dict[str, int]


class ConsumerTraffic(msgspec.Struct):
    """Counts since the start."""

    tenant: str
    consumer: str
    requests: int
    tokens: int


class Live(msgspec.Struct):
    """All counts at one moment: two of these make rates. `at_s` is a clock that never goes back."""

    at_s: float
    name: str
    config: str
    up_s: float
    workers: int
    in_flight: int
    clients: int
    models: list[ModelTraffic]
    deployments: list[DeploymentTraffic]
    consumers: list[ConsumerTraffic]
