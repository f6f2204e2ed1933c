"""The Snapshot: the compiled, immutable answer to "given this request, what applies?".

Plain data (frozen dataclasses, tuples, numbers, text), because it crosses from the keeper to its workers (decision
49); table rows stand in it by name and are bound once on arrival (core/route.py). Consumers and digests of their
keys travel apart, as the Directory, because there may be a million of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sluicegate.core.breaker import BreakerSpec, ThrottleSpec
from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.secret import Secret
from sluicegate.core.settings import (
    Connections,
    Gateway,
    Identity,
    Issuer,
    OnDisconnect,
    ParamSpec,
    Prices,
    Rollout,
    Spill,
    Timeouts,
)


@dataclass(frozen=True, slots=True)
class Auth:
    """What we show upstream. kind `key`: `secret` in the provider's header; `token`: that of `identity`, as a bearer;
    `passthrough`: the client's own bearer; `none`: nothing."""

    kind: str = "none"
    secret: Secret | None = None
    identity: int = 0
    "Number of the identity whose token is shown; 0: none."


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
    weight: int = 1
    capacity: int | None = None
    "Tokens per minute it may take, as declared."
    ptu: int | None = None
    quota_group: str = ""
    "Deployments that share a quota: throttled together. Empty: its own."
    processing: str = "regional"
    "regional, data_zone or global."
    max_input: int | None = None
    "Longest prompt, tokens, as declared; None: the window of the model book holds."
    window: int | None = None
    "Longest prompt by the model book; None: not known."
    answers_from: tuple[str, ...] = ()
    "Regions that its answers may name (core/residency.py), plain; empty: any."
    inside: tuple[str, ...] = ()
    "Boundaries that are served here and that it is inside of."


@dataclass(frozen=True, slots=True)
class Model:
    """The public name a consumer asks for, and how it is reached."""

    number: int
    name: str
    deployments: tuple[int, ...]
    "Numbers, in the order in which they are tried: the gateway's own region first, then by tier, then as declared."
    operations: tuple[str, ...]
    timeouts: Timeouts = field(default_factory=Timeouts)
    attempts: int = 3
    "Attempts that may end in a fault; throttled answers do not count."
    on_disconnect: OnDisconnect = field(default_factory=OnDisconnect)
    body_max: int = 32 * 1024 * 1024
    "Of a body that is held; of a form that is passed on, so much is kept to be sent again."
    balance: str = "least_tokens"
    "Inside a tier: least_tokens, weighted, round_robin, least_busy or latency."
    breaker: BreakerSpec = field(default_factory=BreakerSpec)
    throttle: ThrottleSpec = field(default_factory=ThrottleSpec)
    spill: Spill = field(default_factory=Spill)
    rollout: Rollout | None = None
    fallback: tuple[str, ...] = ()
    "Public names of other models, tried in order when no member of this one can serve; within the grant only."
    params: tuple[ParamSpec, ...] = ()
    mixed_versions: bool = False
    "Members differ in model or version: every answer carries a warning."
    cuts: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """For each boundary, the members inside it, in order. Empty numbers: its tenants are refused here; no boundary at
    all: nobody has one, and `deployments` holds for everybody."""
    body_upload: int = 512 * 1024 * 1024
    "Of a form that is passed on while it is read."
    public_urls: bool = False
    "Bodies that name an address which is not public are refused (core/urls.py)."


@dataclass(frozen=True, slots=True)
class Boundary:
    """Where some tenants' prompts may be processed."""

    name: str
    regions: tuple[str, ...]
    "Plain (core/residency.py); ('*',): any."
    url: str = ""
    "Where its consumers are served; empty: nobody says."


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One compiled configuration."""

    hash: str
    gateway: Gateway
    instances: tuple[Instance, ...]
    deployments: tuple[Deployment, ...]
    models: tuple[Model, ...]
    prices: Prices = field(default_factory=Prices)
    "By number of the deployment."
    issuers: tuple[Issuer, ...] = ()
    "Whose tokens are proved."
    identities: tuple[Identity, ...] = ()
    "The first has number 1. Workers get none of them, only their tokens."
    boundaries: tuple[Boundary, ...] = ()
    "All that are declared, also those that are not served here."


@dataclass(frozen=True, slots=True)
class Tree:
    """A piece of an expression of `match`, as core/expr reads it from text and binds it."""

    op: str
    "What it does; see core/expr/parse.py."
    value: str | int | float | bool | None = None
    "Of a literal; the name of a variable, field, function."
    parts: tuple[Tree, ...] = ()
    at: int = 0
    "Where it stands in the text, characters from its beginning."


Wanted = tuple[tuple[str, tuple[str, ...]], ...]
"""Names, each with the texts of which one must be among its values."""


@dataclass(frozen=True, slots=True)
class Match:
    """Which tokens and certificates belong to a consumer: all of these, or what an expression says."""

    issuer: str = ""
    "Name of the issuer; empty: any, or none at all."
    claims: Wanted = ()
    certificate: Wanted = ()
    headers: Wanted = ()
    tree: Tree | None = None
    text: str = ""
    "The expression as it was written: for people."
    each: str = ""
    "Claim of which every value is a consumer of its own; empty: all are one."


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
    limits: tuple[LimitSpec, ...] = ()
    params: tuple[ParamSpec, ...] = ()
    operations: tuple[str, ...] = ()
    "Operations it may use; empty: all that its models offer."
    labels: tuple[tuple[str, str], ...] = ()
    diagnostics: bool = False
    "Answers tell it where they come from."
    end_user: str = ""
    """Who uses it, empty: nobody is named. A field of its bodies, `claim:` and a claim of its tokens, or `header:` and
    a header of a trusted proxy."""
    match: Match | None = None
    "Whose tokens and certificates are its own; None: it shows keys only."


@dataclass(frozen=True, slots=True)
class TenantEntry:
    """A group of consumers that is billed and isolated together."""

    number: int
    name: str
    limits: tuple[LimitSpec, ...] = ()
    params: tuple[ParamSpec, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    boundary: str = ""


@dataclass(frozen=True, slots=True)
class Directory:
    """Who may ask: consumers and the digests of their keys."""

    secrets: tuple[Secret, ...]
    "The installation's own secret(s), `gateway.secrets`, first is current."
    consumers: tuple[ConsumerEntry, ...]
    tenants: tuple[TenantEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What is other in a Directory than in the one before; secrets and tenants are the same."""

    dropped: tuple[bytes, ...]
    "Digests that nobody has any more, or somebody else."
    entries: tuple[ConsumerEntry, ...]
    "Consumers that are new or say something else."
    gone: tuple[int, ...] = ()
    "Numbers of consumers that nobody is any more."
