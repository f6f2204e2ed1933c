"""What the shores are told: plain numbers and paths, compiled from the spec. Nothing else lives here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sluicegate.core.secret import Secret

DEFAULT_TIER: Final = "default"
"""Of service tiers: what is asked for when nothing is said."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Certificate chain and key of a listener, PEM files."""

    certificate: str
    key: str
    client_ca: str = ""
    "PEM file with the authorities of client certificates; empty: none is asked for."
    client_required: bool = True
    "A client without one is not let in."


@dataclass(frozen=True, slots=True)
class Listen:
    """Where clients connect, and what one of them may hold of us. Times in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 8080
    tls: TlsFiles | None = None
    connections: int = 10_000
    "Open client connections; beyond it quiet ones of whoever has the most make room, and new ones wait in the backlog."
    handshakes: int = 64
    "TLS handshakes in progress at once; beyond it new connections wait in the backlog."
    head_s: float = 10.0
    "From the first byte of a request (or the end of the handshake) to the end of its head."
    body_s: float = 30.0
    "Longest gap between two pieces of a body."
    body_total_s: float = 300.0
    "Whole time for a body: bounds a client that sends one byte every 29 s."
    keep_alive_s: float = 75.0
    write_s: float = 30.0
    "How long a client may take nothing of what is waiting for it before it is cut (slow_reader)."
    head_bytes: int = 32 * 1024
    head_count: int = 100
    target_bytes: int = 8 * 1024
    pipelined_bytes: int = 64 * 1024
    write_high: int = 64 * 1024
    "Bytes waiting for one client at which its upstream is paused."


@dataclass(frozen=True, slots=True)
class Cors:
    """Which pages in browsers may read our answers."""

    origins: tuple[str, ...]
    "Exactly so: `https://app.contoso.example`."
    max_age_s: float = 600.0
    "How long a browser remembers that it may."


@dataclass(frozen=True, slots=True)
class DigestedFile:
    """A file, and what was in it: another content is another configuration."""

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class ForwardedCertificate:
    """Where a trusted proxy says which certificate its client showed."""

    header: str
    "Lower case."
    ca: DigestedFile | None = None
    "Authorities that must have signed it; None: the proxy has looked."


@dataclass(frozen=True, slots=True)
class Front:
    """What is asked of a request before anybody looks who sent it. As it stands here, nothing is."""

    doors: tuple[str, ...] = ()
    "Values of X-Azure-FDID, lower case; empty: the header is not looked at."
    proxies: tuple[str, ...] = ()
    "Networks of those who may say for whom they ask."
    client_address: str = "x-forwarded-for"
    "The header in which they say it."
    allow: tuple[str, ...] = ()
    "Networks of clients; empty: all."
    base_paths: tuple[str, ...] = ()
    "What stands before the path of a request and is cut off."
    cors: Cors | None = None
    query_keys: bool = False
    "A key may stand in the query of a URL."
    failures: int = 0
    "Failed authentications a minute from one address; 0: however many."
    certificates: bool = False
    "Clients show certificates when they connect."
    forwarded: ForwardedCertificate | None = None
    crl: tuple[DigestedFile, ...] = ()
    "Lists of revoked certificates."


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Of one model's attempts, seconds. `total` is over all attempts of a request."""

    connect: float = 2.0
    first_byte: float = 60.0
    idle: float = 60.0
    total: float = 900.0


@dataclass(frozen=True, slots=True)
class OnDisconnect:
    """What happens upstream when the client leaves: 0.0 aborts at once, else the seconds it may go on."""

    stream: float = 0.0
    other: float = 30.0


@dataclass(frozen=True, slots=True)
class Connections:
    """Of one instance: how connections to it are kept."""

    idle_min: int = 0
    "Connections opened ahead and kept for TLS instances, so that a request rarely waits for a handshake."
    idle_max: int = 256
    idle_s: float = 60.0
    "An idle connection is closed after this; Azure's front ends close at about 120 s, and we must be first."
    life_s: float = 600.0
    "A connection is retired after this, less up to a quarter by jitter: picks up DNS changes (private endpoints move)."
    handshakes: int = 16
    "Connects in progress at once; later ones wait in order."
    dns_s: float = 30.0
    "How long a resolved address is used for new connections."


@dataclass(frozen=True, slots=True)
class Spill:
    """What else than throttling sends a request to the next member."""

    long_context: bool = True
    "A 400 for a prompt too long for this member."
    soft_ceiling: float | None = None
    "Share of the declared capacity beyond which a member is passed over; None: never."
    platform: bool = False
    "The platform's own spillover headers pass."


@dataclass(frozen=True, slots=True)
class Rollout:
    """A second arm of a model: its deployments, its share, and what keeps a caller on one arm."""

    deployments: tuple[int, ...]
    "Numbers, in order, as those of the model."
    share: float
    "0.0 to 1.0."
    stick_to: str = "consumer"
    "end_user, consumer or conversation."
    cuts: tuple[tuple[str, tuple[int, ...]], ...] = ()
    "For each boundary, the members inside it, in order; where there is none its tenants stay on the model's own arm."


@dataclass(frozen=True, slots=True)
class Says:
    """What tokens of an issuer say of themselves, in one of their forms."""

    iss: str
    audiences: tuple[str, ...]
    "One of them has to be in `aud`."
    tenant: str = ""
    "`tid`; empty: any."
    version: str = ""
    "`ver`; empty: any."


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs tokens that consumers show, and how these are judged. Times in seconds."""

    name: str
    says: tuple[Says, ...]
    algorithms: tuple[str, ...]
    source: str
    "Where its keys are: URL of its discovery document, URL of its key set, or path of a file with that."
    kind: str = "discovery"
    "Of the source: discovery, set or file."
    leeway_s: float = 30.0
    groups: str = "refuse"
    "What becomes of a token whose bearer is in more groups than it holds."
    refresh_s: float = 3600.0
    keep_s: float = 86_400.0
    "So long keys hold that could not be fetched anew."
    ca: str | None = None
    "PEM file with the authorities that its certificate is checked against; None: the system's."
    graph: str = ""
    "Of `groups: resolve`: where the directory is asked, without a slash at its end."
    groups_by: int = 0
    "And as whom: the identity, by its place in the Snapshot."


@dataclass(frozen=True, slots=True)
class OperatorKey:
    """Somebody who may use the management API from elsewhere."""

    name: str
    role: str
    "One of core/operators.py: ROLES."
    digest: bytes
    "Of the key, as core/operators.py makes it."
    tenant: str = ""
    "Of a tenant_admin: whose consumers it sees and changes."


@dataclass(frozen=True, slots=True)
class LoginRule:
    """Who of those that an issuer knows has a role here."""

    role: str
    claim: str
    "groups, roles, or users: their `oid` or `sub`."
    values: tuple[str, ...]
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Login:
    """How people come in, and programs with tokens."""

    issuer: str
    client_id: str
    rules: tuple[LoginRule, ...]
    "In order: the first that holds decides."
    client_secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class Admin:
    """Where metrics and the management API listen, in the keeper."""

    host: str = "127.0.0.1"
    port: int = 8081
    hosts: tuple[str, ...] = ()
    "Names by which it may be called, besides localhost and addresses."
    keys: tuple[OperatorKey, ...] = ()
    tls: TlsFiles | None = None
    public_url: str = ""
    "How browsers call it; empty: by its address."
    login: Login | None = None


@dataclass(frozen=True, slots=True)
class AlertSink:
    """Somebody who is told of alerts."""

    to: Secret
    "An address, http or https; it may hold a token."
    region: str = ""
    kinds: tuple[str, ...] = ()
    "Empty: all."
    spool_s: float = 0.0
    "How long a notice waits for a sink that is gone; 0.0: for three attempts."


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What is written about the traffic."""

    access_log: str = ""
    "`stdout`, `stderr` or a path; empty: none."
    prometheus: bool = True
    alerts: tuple[AlertSink, ...] = ()
    "Of the keeper only: workers do not get them."
    client_address: bool = False
    "Records and the access log say from where somebody asked."


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept, seconds."""

    records: float = 400 * 86400.0
    journal: float = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """The process itself."""

    name: str = "sluicegate"
    region: str = ""
    data: str = "./data"
    listen: Listen = field(default_factory=Listen)
    drain_s: float = 600.0
    "How long running exchanges may take after SIGTERM before they are cut with an error frame."
    workers: int = 1
    admin: Admin = field(default_factory=Admin)
    telemetry: Telemetry = field(default_factory=Telemetry)
    retention: Retention = field(default_factory=Retention)
    retry_budget: float = 0.2
    "Retries after faults, as a share of all requests of the gateway."
    boundaries: tuple[str, ...] = ()
    "Tenants of these are served; a consumer of any other boundary is refused."
    front: Front = field(default_factory=Front)
    public_url: str = ""
    "By which clients call this gateway, without slash at the end; empty: not said."
    core_dumps: bool = False
    "Whether others may see the memory of its processes (link/sealed.py)."


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose token is shown upstream, and what for. Equal ones are one identity: its token is fetched once."""

    kind: str
    "managed_identity, workload_identity, service_principal, azure_cli or azure_identity."
    scope: str
    "What the token is for: `https://cognitiveservices.azure.com/.default`."
    client_id: str = ""
    tenant_id: str = ""
    authority: str = ""
    "Where tokens are asked for, without slash at its end; empty: as the environment says."
    secret: Secret | None = None
    certificate: str = ""
    "PEM file with certificate and key."
    which: str = ""
    "Of azure_identity: the name of the credential."

    def __str__(self) -> str:
        """For people; says nothing secret."""
        who = {
            "managed_identity": f"managed identity {self.client_id or '(system)'}",
            "workload_identity": f"workload identity {self.client_id or '(of the environment)'}",
            "service_principal": f"service principal {self.client_id}",
            "azure_cli": "whoever is logged in with az",
            "azure_identity": f"azure-identity's {self.which}",
        }.get(self.kind, self.kind)
        return f"{who} for {self.scope}"


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """One rule about one field of request bodies. Values are JSON texts, because a field may hold anything."""

    field: str
    "Name of a top-level field; `max_tokens` stands for its whole family."
    default: str | None = None
    "Put where the request has none."
    max: float | None = None
    "Larger numbers are cut to it."
    force: str | None = None
    "Put whatever the request says."
    allow: tuple[str, ...] | None = None
    "Anything else is refused."
    mode: str = "enforce"
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Price:
    """What a deployment's units cost, under which conditions."""

    id: str
    "Stands in the record, so that a cost can be traced to its row."
    rates: tuple[tuple[str, int, int], ...]
    "Token class, and pico-units for so many counted units: a fraction, because another currency's rate is one."
    tier: str = DEFAULT_TIER
    prompt_over: int = 0
    "It holds for requests with more prompt tokens than this, for all their classes."
    since: float = 0.0
    "From this wall time on, seconds; of several the latest not after the call holds."


@dataclass(frozen=True, slots=True)
class Prices:
    """All prices of a configuration, by number of the deployment: plain data, it crosses to the workers."""

    currency: str = "USD"
    deployments: tuple[tuple[int, tuple[Price, ...]], ...] = ()
