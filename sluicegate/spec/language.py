"""The language: every section of a configuration and every key in it. This table is what errors, schema and pages say.

A field without default is required. `later` names keys that belong to the language and do not work yet: writing one
is an error that says so, because nothing is ignored silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from sluicegate.core.secret import Secret
from sluicegate.core.settings import Connections, Gateway, Listen, OnDisconnect, Timeouts
from sluicegate.core.snapshot import Auth, Model
from sluicegate.providers import PROVIDERS
from sluicegate.spec.forms import AuthForm, Grants, Use, UseForm
from sluicegate.spec.kinds import Choice, Name, PublicName, Text
from sluicegate.spec.sections import Keys, Listing, otherwise
from sluicegate.spec.skus import SKUS
from sluicegate.spec.units import Bytes, Capacity, Duration, Whole
from sluicegate.spec.values import Address, Bind, Endpoint, Hidden, LanguageVersion, Leave, Url

_G, _L, _T, _C, _D = Gateway(), Listen(), Timeouts(), Connections(), OnDisconnect()
_M = Model(0, "", (), ())
_BIND = Bind(_L.host, _L.port)
DAY = 86400.0


# ---------------------------------------------------------------- the process


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Certificate and key that clients see."""

    certificate: Annotated[str, Text("a path to a PEM file", 4096)]
    "PEM file with the certificate and its chain."
    key: Annotated[str, Text("a path to a PEM file", 4096)]
    "PEM file with the private key, without passphrase."


@dataclass(frozen=True, slots=True)
class ListenTimeouts:
    """How long one client may hold a connection of ours with nothing to show for it."""

    head: Annotated[float, Duration(0.1, 600)] = _L.head_s
    "From the first byte of a request to the end of its headers."
    body: Annotated[float, Duration(0.1, 3600)] = _L.body_s
    "Longest gap between two pieces of a body."
    body_total: Annotated[float, Duration(0.1, 3600)] = _L.body_total_s
    "Whole time for a body."
    keep_alive: Annotated[float, Duration(0.1, 3600)] = _L.keep_alive_s
    "A connection without a request is closed after this."
    write: Annotated[float, Duration(0.1, 3600)] = _L.write_s
    "How long a client may take nothing of what is waiting for it."


@dataclass(frozen=True, slots=True)
class ListenSizes:
    """How much of our memory one client may hold."""

    head: Annotated[int, Bytes(1024, 2**20)] = _L.head_bytes
    "All headers of a request together."
    target: Annotated[int, Bytes(256, 2**16)] = _L.target_bytes
    "The URL of a request."
    pipelined: Annotated[int, Bytes(1024, 2**24)] = _L.pipelined_bytes
    "Requests sent ahead while one is being answered."
    answer: Annotated[int, Bytes(4096, 2**24)] = _L.write_high
    "Bytes waiting for a slow client at which its upstream is paused."


@dataclass(frozen=True, slots=True)
class ListenSpec:
    """Where clients connect, and what one of them may hold of us."""

    address: Annotated[Bind, Address()] = _BIND
    "Host and port. 127.0.0.1 is reached from this machine only, 0.0.0.0 from every network it is on."
    tls: ServerTls | None = None
    "Certificate and key; without it the listener speaks plain HTTP."
    connections: Annotated[int, Whole(1, 1_000_000)] = _L.connections
    "Open client connections; beyond it new ones wait in the kernel."
    handshakes: Annotated[int, Whole(1, 10_000)] = _L.handshakes
    "TLS handshakes in progress at once; beyond it new connections wait."
    headers: Annotated[int, Whole(10, 10_000)] = _L.head_count
    "Headers of a request."
    timeouts: ListenTimeouts = ListenTimeouts()
    "How long a client may take."
    sizes: ListenSizes = ListenSizes()
    "How much a client may send or leave waiting."


@dataclass(frozen=True, slots=True)
class GatewaySpec:
    """The process itself."""

    later: ClassVar = (
        "boundaries", "public_url", "trusted_proxies", "front_door_ids", "admin", "workers", "private_networks",
    )  # fmt: skip

    name: Annotated[str, Name()] = _G.name
    "What this gateway is called in logs and metrics."
    region: Annotated[str, Name()] = _G.region
    "The Azure region, or a name of your own, that this gateway runs in."
    data: Annotated[str, Text("a path to a directory", 4096)] = _G.data
    "Directory for what the gateway keeps."
    drain: Annotated[float, Duration(0, DAY)] = _G.drain_s
    "How long running requests may take after SIGTERM before they are cut with an error that clients understand."
    listen: ListenSpec = ListenSpec()
    "Where clients connect."
    secrets: Annotated[tuple[Secret, ...], Listing(Hidden("the installation's secret", shortest=32))] | None = None
    """They key the digests of consumers' keys; the first is current, the others are still accepted. The same on every
    gateway that shares this configuration. Left out: one is made in `gateway.data` at the first start."""


# ---------------------------------------------------------------- what exists


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How an instance's certificate is checked."""

    ca: Annotated[str, Text("a path to a PEM file", 4096)]
    "PEM file with the authorities to trust, instead of the system's."


@dataclass(frozen=True, slots=True)
class ConnectionsSpec:
    """How connections to an instance are kept."""

    idle_min: Annotated[int, Whole(0, 1000)] = _C.idle_min
    "Connections opened ahead and kept (TLS instances), so that a request rarely waits for a handshake."
    idle_max: Annotated[int, Whole(0, 100_000)] = _C.idle_max
    "Idle connections kept at most."
    idle: Annotated[float, Duration(0.1, DAY)] = _C.idle_s
    "An idle connection is closed after this. Azure closes them at about two minutes; be first."
    life: Annotated[float, Duration(1, DAY)] = _C.life_s
    "A connection is retired after this, so that changes in DNS are seen."
    handshakes: Annotated[int, Whole(1, 10_000)] = _C.handshakes
    "Connects in progress at once; later ones wait in order."
    dns: Annotated[float, Duration(0, DAY)] = _C.dns_s
    "How long a resolved address is used for new connections."


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """One addressable model deployment, called as it is called in Azure."""

    later: ClassVar = ("weight", "processing", "quota_group", "max_input", "was")

    model: Annotated[str, Text("a model such as gpt-4o", 128, r"[^\s@]+")]
    "The model it deploys. Declared, because Azure's data plane does not say."
    version: Annotated[str, Text("a version such as 2024-11-20", 64, r"[^\s@]+")]
    "The model's version: deployments stand in for each other only if both agree."
    sku: Annotated[str, Choice(tuple(SKUS))] = "Standard"
    "Deployment type. Provisioned kinds are tried before standard kinds; batch kinds serve no live request."
    tier: Annotated[int, Whole(0, 9)] | None = None
    "Overrides the order that follows from the SKU: 0 first."
    ptu: Annotated[int, Whole(1, 1_000_000)] | None = None
    "Provisioned throughput units, of provisioned kinds only."
    capacity: Annotated[int, Capacity()] | None = None
    "What the deployment may take, as Azure's quota says it."


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """The Azure resource, or server, that holds deployments."""

    later: ClassVar = ("subscription", "was")

    endpoint: Annotated[Url, Endpoint()]
    "Its address. For a server that speaks OpenAI's API, with the path before /chat/completions: http://host:8000/v1."
    auth: Annotated[Auth, AuthForm()]
    "What the gateway shows: `{key: ${env:NAME}}`, or `none`."
    deployments: Annotated[Mapping[str, DeploymentSpec], Keys("deployment", PublicName())]
    "Its deployments, by the name that Azure knows them by."
    provider: Annotated[str, Choice(tuple(PROVIDERS), ("foundry", "anthropic"))] = "azure_openai"
    "How it is spoken to."
    region: Annotated[str, Name()] = ""
    "The Azure region, or a name of your own, that it is in."
    api_version: (
        Annotated[str, Text("an API version such as 2024-10-21", 32, r"\d{4}-\d{2}-\d{2}(-preview)?")] | None
    ) = None
    "For a resource without /openai/v1: requests without api-version go up with this one."
    tls: ClientTls | None = None
    "How its certificate is checked, where the system's authorities do not do."
    connections: ConnectionsSpec = ConnectionsSpec()
    "How connections to it are kept."


# ---------------------------------------------------------------- how models are reached


@dataclass(frozen=True, slots=True)
class TimeoutsSpec:
    """Of a model's attempts. Merged key by key: the model's, then `defaults`, then these."""

    connect: Annotated[float, Duration(0.01, 60)] | None = otherwise(_T.connect)
    "Resolving, connecting and the TLS handshake of one attempt."
    first_byte: Annotated[float, Duration(0.1, DAY)] | None = otherwise(_T.first_byte)
    "From the start of an attempt, connecting included, to its first byte; of a stream, to its first event."
    idle: Annotated[float, Duration(0.1, DAY)] | None = otherwise(_T.idle)
    "Longest gap inside an answer."
    total: Annotated[float, Duration(0.1, DAY)] | None = otherwise(_T.total)
    "All attempts of a request together."


@dataclass(frozen=True, slots=True)
class RetrySpec:
    """How often a request is tried."""

    later: ClassVar = ("budget",)

    attempts: Annotated[int, Whole(1, 10)] = _M.attempts
    "Attempts that may end in a fault; throttled answers do not count."


@dataclass(frozen=True, slots=True)
class BodySpec:
    """How large a request may be."""

    later: ClassVar = ("upload",)

    max: Annotated[int, Bytes(1024, 2**30)] = _M.body_max
    "The body of a request."


@dataclass(frozen=True, slots=True)
class OnDisconnectSpec:
    """What happens upstream when the client leaves."""

    stream: Annotated[float, Leave()] = _D.stream
    "Of a streamed answer."
    other: Annotated[float, Leave()] = _D.other
    "Of any other: the upstream computes and bills it anyway, so its usage is worth waiting for."


@dataclass(frozen=True, slots=True)
class DefaultsSpec:
    """How models are reached that do not say it themselves."""

    later: ClassVar = ("breaker", "spill", "throttle", "balance", "cross_region", "pins", "class", "end_user")

    timeouts: TimeoutsSpec = TimeoutsSpec()
    "Merged with a model's own, key by key."
    retry: RetrySpec | None = None
    "Taken whole by models without `retry`."
    body: BodySpec | None = None
    "Taken whole by models without `body`."
    on_disconnect: OnDisconnectSpec | None = None
    "Taken whole by models without `on_disconnect`."


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The public name a consumer asks for."""

    later: ClassVar = (
        "balance", "params", "rollout", "fallback", "breaker", "throttle", "spill", "cross_region", "mixed_versions",
        "was",
    )  # fmt: skip

    use: Annotated[Use, UseForm()]
    "Every deployment of a model and version, by `model@version`; or a list of `instance/deployment`."
    operations: tuple[Annotated[str, Name()], ...] | None = None
    "What may be asked of it; left out: every operation the gateway knows."
    timeouts: TimeoutsSpec = TimeoutsSpec()
    "How long things may take."
    retry: RetrySpec | None = None
    "How often a request is tried."
    body: BodySpec | None = None
    "How large a request may be."
    on_disconnect: OnDisconnectSpec | None = None
    "What happens upstream when the client leaves."


# ---------------------------------------------------------------- who may use it


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """An application that calls the gateway."""

    later: ClassVar = (
        "plan", "match", "each", "end_user", "pins", "class", "limits", "quotas", "budgets", "params", "operations",
        "was",
    )  # fmt: skip

    models: Annotated[tuple[str, ...], Grants()]
    "The models it may use, or `all`. Nothing is granted that is not written."
    key: Annotated[Secret, Hidden("its key", digests=True)] | None = None
    "A reference to the key that it shows."
    keys: Annotated[tuple[Secret, ...], Listing(Hidden("a key of it", digests=True))] | None = None
    "References to several keys, all valid, for rotation. Either this or `key`."
    tenant: Annotated[str, Name()] = "default"
    "Whom it belongs to."


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration."""

    later: ClassVar = (
        "boundaries", "issuers", "plans", "classes", "tenants", "prices", "stores", "telemetry", "queue", "jobs",
        "cache", "guards", "include", "directory",
    )  # fmt: skip

    version: Annotated[str, LanguageVersion()]
    "Of the language."
    instances: Annotated[Mapping[str, InstanceSpec], Keys("instance")]
    "What exists: resources and their deployments."
    models: Annotated[Mapping[str, ModelSpec], Keys("model", PublicName())]
    "What consumers ask for."
    consumers: Annotated[Mapping[str, ConsumerSpec], Keys("consumer")]
    "Who may ask."
    gateway: GatewaySpec = GatewaySpec()
    "The process itself."
    defaults: DefaultsSpec = DefaultsSpec()
    "How models are reached that do not say it themselves."
