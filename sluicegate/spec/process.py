"""The process itself: where clients connect, what it keeps, what it says about its traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from sluicegate.core.alerts import KINDS
from sluicegate.core.operators import ROLES
from sluicegate.core.secret import Secret
from sluicegate.core.settings import Cors, Front, Gateway, Listen
from sluicegate.spec.addresses import Address, BasePath, Bind, HostName, Network, Origin, PublicUrl
from sluicegate.spec.kinds import Choice, Name, Text
from sluicegate.spec.secret import Digest, Hidden, OperatorDigest
from sluicegate.spec.sections import Keys, Listing
from sluicegate.spec.sinks import Hook, Lost
from sluicegate.spec.units import DAY, Bytes, Duration, Whole
from sluicegate.spec.values import DoorId, HeaderName, LogTarget, Region

_G, _L, _F = Gateway(), Listen(), Front()
CLIENT_ADDRESS = ("x-forwarded-for", "forwarded", "x-real-ip", "x-azure-clientip", "x-azure-socketip")
YEARS = 100 * 365 * DAY


@dataclass(frozen=True, slots=True)
class CallerTls:
    """Certificates of clients."""

    ca: Annotated[str, Text("a path to a PEM file", 4096)]
    "PEM file with the authorities that sign them."
    require: bool = True
    "Whether a client without one is let in: if not, those who come without show a key or token."


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Certificate and key that clients see."""

    instead: ClassVar = dict.fromkeys(("cert", "cert_file", "crt", "chain"), "write certificate: /path/to/chain.pem")

    certificate: Annotated[str, Text("a path to a PEM file", 4096)]
    "PEM file with the certificate and its chain."
    key: Annotated[str, Text("a path to a PEM file", 4096)]
    "PEM file with the private key, without passphrase."
    client: CallerTls | None = None
    "Clients show certificates; left out: none is asked for."


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

    instead: ClassVar = dict.fromkeys(("port", "host", "bind"), "address says both: address: 0.0.0.0:8080")

    address: Annotated[Bind, Address()] = Bind(_L.host, _L.port)
    "Host and port. 127.0.0.1 is reached from this machine only, 0.0.0.0 from every network it is on."
    tls: ServerTls | None = None
    "Certificate and key; without it the listener speaks plain HTTP."
    connections: Annotated[int, Whole(1, 1_000_000)] = _L.connections
    "Open client connections. Beyond it quiet ones of whoever has the most are closed, and new ones wait in the kernel."
    handshakes: Annotated[int, Whole(1, 10_000)] = _L.handshakes
    "TLS handshakes in progress at once; beyond it new connections wait."
    headers: Annotated[int, Whole(10, 10_000)] = _L.head_count
    "Headers of a request."
    timeouts: ListenTimeouts = ListenTimeouts()
    "How long a client may take."
    sizes: ListenSizes = ListenSizes()
    "How much a client may send or leave waiting."


@dataclass(frozen=True, slots=True)
class OperatorSpec:
    """Somebody, or some program, that may use the management API."""

    role: Annotated[str, Choice(ROLES)]
    """`viewer` sees; `auditor` reads who changed what, too; `operator` drains, loads configurations, makes consumers
    and keys; `owner` may everything; `tenant_admin` sees and changes the consumers of one tenant, and nothing else."""
    key: Annotated[Digest, OperatorDigest()]
    "The digest of its key, as `sluicegate key new NAME --admin` prints it."
    tenant: Annotated[str, Name()] = ""
    "Of a `tenant_admin`: whose consumers it sees and changes."


@dataclass(frozen=True, slots=True)
class AdminTls:
    """Certificate and key of the management API."""

    certificate: Annotated[str, Text("a path to a PEM file", 4096)]
    "PEM file with the certificate and its chain."
    key: Annotated[str, Text("a path to a PEM file", 4096)]
    "PEM file with the private key, without passphrase."


@dataclass(frozen=True, slots=True)
class WhoSpec:
    """Who of those that the issuer knows: one of these is enough."""

    groups: Annotated[tuple[str, ...], Listing(Text("an id of a group", 256))] = ()
    "Of the claim `groups`: ids, which do not change, rather than names."
    roles: Annotated[tuple[str, ...], Listing(Text("a role of an application", 256))] = ()
    "Of the claim `roles`."
    users: Annotated[tuple[str, ...], Listing(Text("an id of somebody", 256))] = ()
    "Of the claims `oid` and `sub`: ids, never names or addresses, which others may get later."


@dataclass(frozen=True, slots=True)
class LoginSpec:
    """Who may use the management API as whom an issuer says they are: people by a page, programs by a token."""

    issuer: Annotated[str, Name()]
    "One of `issuers`, of which its discovery document is known."
    client_id: Annotated[str, Text("an id of an application", 256)] = ""
    """What this gateway is called there: tokens of people who log in are made for it. Left out: the audience of the
    issuer, an id of an application if it has one."""
    client_secret: Annotated[Secret, Hidden("the secret of that application")] | None = None
    "A reference to its secret; left out: it has none (PKCE is used either way)."
    owners: WhoSpec | None = None
    "They may everything."
    operators: WhoSpec | None = None
    "They change what runs."
    auditors: WhoSpec | None = None
    "They see, and read who changed what."
    viewers: WhoSpec | None = None
    "They see."
    tenant_admins: Annotated[Mapping[str, WhoSpec], Keys("tenant")] = field(default_factory=dict)
    "By tenant, who sees and changes its consumers."


@dataclass(frozen=True, slots=True)
class AdminSpec:
    """Where metrics and the management API listen."""

    address: Annotated[Bind, Address()] = Bind(_G.admin.host, _G.admin.port)
    "Host and port. Metrics need no credential while it is on loopback; everything else needs one of `keys`."
    hosts: Annotated[tuple[str, ...], Listing(HostName())] = ()
    "Names by which it is called. Addresses and localhost always work; requests for any other name are refused."
    keys: Annotated[Mapping[str, OperatorSpec], Keys("operator")] = field(default_factory=dict)
    "Who may use the management API from elsewhere. The Unix socket in `data` needs no key: it is its owner's alone."
    tls: AdminTls | None = None
    "Certificate and key; without it the listener speaks plain HTTP."
    public_url: Annotated[str, PublicUrl()] | None = None
    "How browsers call it, for the way back from a login: https://admin.contoso.example. Left out: by its address."
    login: LoginSpec | None = None
    "People by an issuer of tokens, and programs, too."


@dataclass(frozen=True, slots=True)
class CorsSpec:
    """Which pages in browsers may read our answers."""

    origins: Annotated[tuple[str, ...], Listing(Origin())]
    "Where those pages come from, exactly."
    max_age: Annotated[float, Duration(0, DAY)] = Cors(()).max_age_s
    "How long a browser remembers the answer."


@dataclass(frozen=True, slots=True)
class ForwardedSpec:
    """Where a trusted proxy says which certificate its client showed."""

    header: Annotated[str, HeaderName()]
    """Its name: `client-cert` (RFC 9440), `x-forwarded-client-cert` (Envoy), `x-arr-clientcert` (App Service), or what
    your proxy was told to write. PEM, escaped or not, and base64 are read. Of anybody else it is not."""
    ca: Annotated[str, Text("a path to a PEM file", 4096)] | None = None
    "PEM file with the authorities that must have signed it, each directly; left out: the proxy has checked that."


@dataclass(frozen=True, slots=True)
class CertificatesSpec:
    """Certificates of clients: those that were revoked, and those that a proxy passes on."""

    crl: Annotated[tuple[str, ...], Listing(Text("a path to a file", 4096))] = ()
    "Lists of revoked certificates, PEM, signed by the authorities above. A file that changes is read anew."
    forwarded: ForwardedSpec | None = None
    "Where a trusted proxy says it; left out: nobody is asked."


@dataclass(frozen=True, slots=True)
class GatewaySpec:
    """The process itself."""

    later: ClassVar = ("private_networks",)
    instead: ClassVar = dict.fromkeys(("port", "host", "bind", "address"), "write listen: {address: 0.0.0.0:8080}")

    name: Annotated[str, Name()] = _G.name
    "What this gateway is called in logs and metrics."
    region: Annotated[str, Region()] = _G.region
    "The Azure region, or a name of your own, that this gateway runs in. Those in other regions come last."
    boundaries: Annotated[tuple[str, ...], Listing(Name())] | None = None
    "Tenants of these boundaries are served here, those of any other are refused; left out: of all."
    data: Annotated[str, Text("a path to a directory", 4096)] = _G.data
    "Directory for what the gateway keeps."
    workers: Annotated[int, Whole(1, 256)] = _G.workers
    "Processes that carry traffic; one uses one core."
    drain: Annotated[float, Duration(0, DAY)] = _G.drain_s
    "How long running requests may take after SIGTERM before they are cut with an error that clients understand."
    listen: ListenSpec = ListenSpec()
    "Where clients connect."
    public_url: Annotated[str, PublicUrl()] | None = None
    "By which address clients call this gateway: `sluicegate verify-bypass` looks whether it is answered there."
    trusted_proxies: Annotated[tuple[str, ...], Listing(Network())] = ()
    "Networks of those in front who may say for whom they ask. What anybody else says of that is not read."
    client_address: Annotated[str, Choice(CLIENT_ADDRESS)] = _F.client_address
    "The one header in which they say it. It must be one that they write themselves, whatever the client sent."
    front_door_ids: Annotated[tuple[str, ...], Listing(DoorId())] = ()
    "Only requests that came through one of these Azure Front Doors are answered, by `X-Azure-FDID`."
    allow: Annotated[tuple[str, ...], Listing(Network())] = ()
    "Networks of clients. Others are not even greeted, or refused where a trusted proxy asks for them; left out: all."
    base_paths: Annotated[tuple[str, ...], Listing(BasePath())] = ()
    "What something in front puts before our paths, such as `/llm`. It is cut off; paths without it are served, too."
    cors: CorsSpec | None = None
    "Which pages in browsers may read our answers; left out: none."
    query_keys: bool = _F.query_keys
    "Whether a key may stand in the URL, as `api-key` or `subscription-key`. Others write URLs into their logs."
    failures: Annotated[int, Whole(1, 1_000_000)] | None = None
    """Credentials that are nobody's, a minute, from one address (of IPv6, one /64). What comes beyond is refused
    without a look, but for credentials that were good from there not long ago; left out: however many."""
    certificates: CertificatesSpec | None = None
    "Certificates of clients, beside `listen.tls.client`."
    admin: AdminSpec = AdminSpec()
    "Where metrics and the management API listen."
    core_dumps: bool = _G.core_dumps
    """Whether the kernel may write the memory of our processes to disk when one crashes, and a debugger of the same
    user may look into it. Keys and prompts are in it."""
    secrets: Annotated[tuple[Secret, ...], Listing(Hidden("the installation's secret", shortest=32))] | None = None
    """They key the digests of consumers' keys; the first is current, the others are still accepted. The same on every
    gateway that shares this configuration. Left out: one is made in `gateway.data` at the first start."""


@dataclass(frozen=True, slots=True)
class RetentionSpec:
    """How long things are kept."""

    records: Annotated[float, Duration(60, YEARS)] = _G.retention.records
    "Usage records in the ledger."
    journal: Annotated[float, Duration(60, YEARS)] = _G.retention.journal
    "Segments of the journal whose records are in the ledger."


@dataclass(frozen=True, slots=True)
class StoresSpec:
    """Where things are kept."""

    later: ClassVar = ("shared", "ledger")

    retention: RetentionSpec = RetentionSpec()
    "How long things are kept."


@dataclass(frozen=True, slots=True)
class AlertSpec:
    """Somebody who is told when something needs attention: one POST for each notice, a CloudEvent in JSON."""

    to: Annotated[Secret, Hook()]
    "Its address. What follows the host is never shown; with a query it must be a reference."
    region: Annotated[str, Name()] = ""
    "Where it is. Required once `boundaries` exist."
    on: tuple[Annotated[str, Choice(tuple(KINDS), later=("budget.warn",))], ...] = ()
    "Which kinds of alerts; left out: all."
    lost: Annotated[float, Lost()] = 0.0
    "When it is gone: `open` tries three times, `spool 1h` for so long. It never holds up a request."


@dataclass(frozen=True, slots=True)
class TelemetrySpec:
    """What is said about the traffic."""

    later: ClassVar = ("otlp",)

    access_log: Annotated[str, LogTarget()] = _G.telemetry.access_log
    "One line of JSON for each request: `stdout`, `stderr`, a file, or `none`."
    client_address: bool = _G.telemetry.client_address
    "Whether records and the access log say the address from which somebody asked: it may be about a person."
    prometheus: bool = _G.telemetry.prometheus
    "Whether /metrics answers at `gateway.admin.address`."
    alerts: tuple[AlertSpec, ...] = ()
    "Who is told when something needs attention, besides whoever reads stderr and the management API."
