"""Pools, their deployments, and the tokens that are shown to these."""

from __future__ import annotations

from typing import Any

import msgspec


class Credential(msgspec.Struct):
    """An identity whose token is shown to these instances: whether there is one now, for how long, when the next one is
    asked for, how many were asked for, and why there is none. Seconds."""

    identity: str
    instances: list[str]
    held: bool
    ends_in_s: float
    next_in_s: float
    requests: int
    error: str


class Credentials(msgspec.Struct):
    """Of all instances that take tokens."""

    credentials: list[Credential]


class Member(msgspec.Struct):
    """A deployment in a pool."""

    deployment: str
    model: str
    sku: str
    tier: int
    drained: bool
    workers: list[dict[str, Any]]


class Pool(msgspec.Struct):
    """A public model and the deployments that serve it, in the order in which they are tried."""

    model: str
    balance: str
    deployments: list[Member]


class Pools(msgspec.Struct):
    """All of them."""

    pools: list[Pool]


class Deployment(msgspec.Struct):
    """A deployment, whatever pools it is in."""

    deployment: str
    model: str
    sku: str
    tier: int
    drained: bool
    pools: list[str]
    workers: list[dict[str, Any]]


class Deployments(msgspec.Struct):
    """All that some pool has."""

    deployments: list[Deployment]


class Moved(msgspec.Struct):
    """Whether it is out of its pools."""

    deployment: str
    drained: bool
