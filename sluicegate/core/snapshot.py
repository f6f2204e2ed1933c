"""The Snapshot: the compiled, immutable answer to "given this request, what applies?".

Plain data (frozen dataclasses, tuples, numbers, text), because it crosses from the keeper to its workers (decision
49); table rows stand in it by name and are bound once on arrival (core/route.py). Consumers and digests of their
keys travel apart, as the Directory, because there may be a million of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sluicegate.core.secret import Secret
from sluicegate.core.settings import Connections, Gateway, OnDisconnect, Timeouts


@dataclass(frozen=True, slots=True)
class Auth:
    """What we show upstream. kind `key`: `secret` in the provider's header; `none`: nothing."""

    kind: str = "none"
    secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """The Azure resource, or server, that holds deployments."""

    number: int
    name: str
    provider: str
    scheme: str
    host: str
    port: int
    base_path: str
    "Path part of the endpoint without trailing slash: '' or '/v1'."
    auth: Auth = Auth()
    api_version: str | None = None
    "Set for a resource without /openai/v1: undated requests go up dated with it."
    ca: str | None = None
    "PEM file with the authorities this instance's certificate is checked against; None: the system's."
    region: str = ""
    connections: Connections = field(default_factory=Connections)


@dataclass(frozen=True, slots=True)
class Deployment:
    """One addressable model deployment."""

    number: int
    name: str
    instance: int
    "Number of its instance."
    model: str
    version: str
    sku: str
    tier: int
    "0 provisioned, 1 standard; batch kinds never serve live calls."


@dataclass(frozen=True, slots=True)
class Model:
    """The public name a consumer asks for, and how it is reached."""

    number: int
    name: str
    deployments: tuple[int, ...]
    "Numbers, in the order in which they are tried: by tier, then as declared."
    operations: tuple[str, ...]
    timeouts: Timeouts = field(default_factory=Timeouts)
    attempts: int = 3
    "Attempts that may end in a fault; throttled answers do not count."
    on_disconnect: OnDisconnect = field(default_factory=OnDisconnect)
    body_max: int = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One compiled configuration."""

    hash: str
    gateway: Gateway
    instances: tuple[Instance, ...]
    deployments: tuple[Deployment, ...]
    models: tuple[Model, ...]


@dataclass(frozen=True, slots=True)
class ConsumerEntry:
    """One consumer as the Directory carries it."""

    number: int
    name: str
    tenant: str
    models: tuple[str, ...]
    "Public names it may use; ('*',) for `models: all`."
    digests: tuple[bytes, ...]
    "Keyed BLAKE2b of its keys, see caller.digest()."


@dataclass(frozen=True, slots=True)
class Directory:
    """Who may ask: consumers and the digests of their keys."""

    secrets: tuple[Secret, ...]
    "The installation's own secret(s), `gateway.secrets`, first is current."
    consumers: tuple[ConsumerEntry, ...]
