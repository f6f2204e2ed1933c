"""What the management API takes and answers: the truth of its OpenAPI document. Fields may be added, none goes away.

Times end in `_s` where they are seconds, and are ISO 8601 in UTC where they are moments.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec

from sluicegate.spec.made import schema


def moment(at: float) -> str:
    """A wall time; 0: none."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else ""


class Health(msgspec.Struct):
    """The process answers."""

    status: str


class Wrong(msgspec.Struct):
    """A part of what was sent, and what is wrong with it. `pointer`: JSON pointer into the body."""

    pointer: str
    what: str
    hint: str


class Trouble(msgspec.Struct, omit_defaults=True):
    """What is wrong, and what to do about it; of a body that does not fit, everything that is wrong with it."""

    message: str
    problems: list[Wrong] = []


class Failure(msgspec.Struct):
    """Every answer that is none."""

    error: Trouble


class WorkerState(msgspec.Struct):
    """A process that carries traffic. `state`: starting, ready, leaving."""

    seat: int
    pid: int
    state: str
    config: str
    restarts: int
    up_s: float


class Source(msgspec.Struct):
    """Where the configuration in force came from. `kind`: files (its own), or applied (sent by somebody)."""

    kind: str
    files: list[str]
    by: str
    at: str


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


class Reload(msgspec.Struct):
    """What loading a configuration came to. `state`: adopted, unchanged, refused. `restart`: what waits for the next
    start. `report`: what is wrong or worth knowing, for people."""

    state: str
    config: str
    report: str
    restart: list[str]


class File(msgspec.Struct, forbid_unknown_fields=True):
    """A file of a configuration."""

    name: str
    text: str


class Files(msgspec.Struct, forbid_unknown_fields=True):
    """A configuration; later files override earlier ones. `base`: where relative paths begin, for the owner only;
    empty: beside the gateway's own files."""

    files: list[File]
    base: str = ""


class Apply(msgspec.Struct, forbid_unknown_fields=True):
    """A configuration to put in force. `expect`: the hash of what was in force when it was looked at; another one is
    refused. Empty: whatever is in force."""

    files: list[File]
    base: str = ""
    expect: str = ""


class Problem(msgspec.Struct):
    """A finding. `severity`: error, warning, note."""

    severity: str
    file: str
    line: int
    column: int
    path: str
    what: str
    hint: str


class Checked(msgspec.Struct):
    """Whether a configuration can take effect."""

    valid: bool
    config: str
    problems: list[Problem]
    report: str


class Change(msgspec.Struct):
    """One change of objects that change alike. `effect`: live, new connections, restart."""

    names: list[str]
    what: str
    effect: str


class Diff(msgspec.Struct):
    """What a configuration would change, if it is valid; else `report` says everything that is wrong. `before`: hash of
    what is in force; `words`: the changes, for people."""

    valid: bool
    before: str
    after: str
    changes: list[Change]
    words: str
    report: str


class Effective(msgspec.Struct):
    """What is in force: objects by path, each field as it would be written, secrets as ***."""

    config: str
    source: Source
    objects: dict[str, dict[str, str]]


class ConsumerInfo(msgspec.Struct):
    """Who may ask. `grant`: what it has, each field as it would be written; `keys`: those in force. `origin`: file, or
    api (made while the gateway runs)."""

    name: str
    tenant: str
    models: list[str]
    grant: dict[str, str]
    keys: list[str]
    origin: str
    disabled: bool


class NewConsumer:
    """A consumer: what its section in a file would say, `name`, and `disabled`."""

    raw: ClassVar[bool] = True

    @staticmethod
    def schema() -> dict[str, Any]:
        """JSON schema."""
        found = schema()
        rests = {"type": "boolean", "description": "Nobody gets in with its keys.", "default": False}
        return {**found, "title": "NewConsumer", "properties": {**found["properties"], "disabled": rests}}


class KeyShown(msgspec.Struct):
    """A key of a consumer: what it is called. `made`, `by`, `expires`: empty for those of a file."""

    key: str
    made: str
    by: str
    expires: str
    disabled: bool


class Consumer(msgspec.Struct):
    """A consumer. `origin`: file (changed there only), or api; `fields`: what was sent, for those of the API; `grant`:
    what it has, its plan's included, empty while it is disabled; `version`: as in the ETag, 0 for those of a file."""

    name: str
    tenant: str
    origin: str
    version: int
    disabled: bool
    fields: dict[str, Any]
    grant: dict[str, str]
    keys: list[KeyShown]
    made: str
    made_by: str
    changed: str
    changed_by: str


class ConsumersExport(msgspec.Struct):
    """Each as a line of a `directory` file."""

    consumers: list[dict[str, Any]]


class Removed(msgspec.Struct):
    """It is gone."""

    name: str
    removed: bool


class KeyAsked(msgspec.Struct, forbid_unknown_fields=True):
    """A new key. `expires`: a date or a time, UTC unless it says otherwise; empty: never."""

    expires: str = ""


class KeyChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is other about a key. `expires` empty: it never does."""

    disabled: bool | None = None
    expires: str | None = None


class KeyState(msgspec.Struct):
    """A key as it is now."""

    consumer: str
    key: str
    made: str
    by: str
    expires: str
    disabled: bool


class NewKey(msgspec.Struct):
    """A key, once: `text` is shown now and kept nowhere."""

    consumer: str
    key: str
    text: str
    made: str
    by: str
    expires: str
    disabled: bool


class RemovedKey(msgspec.Struct):
    """It is gone."""

    consumer: str
    key: str
    removed: bool


class AuditEntries(msgspec.Struct):
    """Entries as they were written; with `more` the next page is `?after=` the `seq` of the last of these."""

    entries: list[dict[str, Any]]
    more: bool


class AuditState(msgspec.Struct):
    """Whether the log is whole: `flaws` says what is wrong, and `line` from which line on. `seq` and `hash`: its last
    entry that hangs together with all before it."""

    whole: bool
    seq: int
    hash: str
    flaws: list[AuditFlaw]


class AuditFlaw(msgspec.Struct):
    """Something that is wrong with the log."""

    line: int
    what: str


class Consumers(msgspec.Struct):
    """By name; with `more` the next page is `?after=` the last of these."""

    consumers: list[ConsumerInfo]
    more: bool


class KeyInfo(msgspec.Struct):
    """A key of a consumer: what it is called, never what it is. `declared`: the configuration still has it; `expires`:
    until when it holds, empty: for ever."""

    consumer: str
    key: str
    revoked: bool
    declared: bool
    by: str
    at: str
    expires: str


class Keys(msgspec.Struct):
    """By consumer; with `more` the next page is `?after=` the last consumer of these."""

    keys: list[KeyInfo]
    more: bool


class Revoke(msgspec.Struct, forbid_unknown_fields=True):
    """Which key."""

    consumer: str
    key: str


class RevokedKey(msgspec.Struct):
    """It is refused by all workers. `kept`: it stays so across restarts. `silent`: workers that did not say so within
    a second."""

    consumer: str
    key: str
    kept: bool
    silent: list[int]


class Usage(msgspec.Struct):
    """What was used: sums by what was asked for. `kept_since`: sums by end user begin there, earlier records are
    gone."""

    since: str
    until: str
    by: list[str]
    usage: list[dict[str, Any]]
    kept_since: str = ""


class Requests(msgspec.Struct):
    """Records, newest first."""

    requests: list[dict[str, Any]]


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


class Evidence(msgspec.Struct):
    """Calls by what was declared of who was asked and the region that the answer named; `verdicts`: how many agree,
    contradict, named no region, or were made when no boundary was declared."""

    since: str
    until: str
    calls: int
    verdicts: dict[str, int]
    groups: list[dict[str, Any]]
    contradictions: list[dict[str, Any]]


class EvidenceAsked(msgspec.Struct, forbid_unknown_fields=True):
    """`since`, `until`: a date, a time, or how long ago (7d); `tenant` may be repeated."""

    since: str = ""
    until: str = ""
    tenant: list[str] = []


class Explained(msgspec.Struct, omit_defaults=True):
    """What each worker says, and which of them did not answer."""

    workers: list[dict[str, Any]]
    silent: list[int]
    match: dict[str, Any] | None = None
    "Of a question about claims: whose they are, and which rules nearly match."


class ModelTraffic(msgspec.Struct):
    """Counts since the start: `status` by what clients saw, `refused` by reason, `tokens` by class."""

    model: str
    requests: int
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


class Page(msgspec.Struct, forbid_unknown_fields=True):
    """Which part of a long list."""

    after: str = ""
    most: int = 100


class Whoami(msgspec.Struct):
    """Whoever asks. `kind`: key, login, token or uid; `may`: what paths can need."""

    name: str
    role: str
    tenant: str
    kind: str
    may: list[str]
    csrf: str


class Callback(msgspec.Struct, forbid_unknown_fields=True):
    """What an issuer sends along; there may be more."""

    loose: ClassVar[bool] = True

    state: str = ""
    code: str = ""
    error: str = ""


class Leave:
    """The form of our own page."""

    raw: ClassVar[bool] = True

    @staticmethod
    def schema() -> dict[str, Any]:
        """JSON schema."""
        return {"type": "object", "properties": {"csrf": {"type": "string"}}}


class AuditAsked(msgspec.Struct, forbid_unknown_fields=True):
    """Which part of the log: entries after this number."""

    after: int = 0
    most: int = 100


class KeyPage(msgspec.Struct, forbid_unknown_fields=True):
    """Of which consumer, and which part of a long list."""

    consumer: str = ""
    after: str = ""
    most: int = 100


class UsageAsked(msgspec.Struct, forbid_unknown_fields=True):
    """`by`: consumer, tenant, model, deployment, day, end_user, member; may be repeated. `since`, `until`: date, time,
    or how long ago (7d)."""

    by: list[str] = []
    since: str = ""
    until: str = ""


class RequestsAsked(msgspec.Struct, forbid_unknown_fields=True):
    """How many, and of whom; every filter may be repeated."""

    last: int = 20
    consumer: list[str] = []
    tenant: list[str] = []
    model: list[str] = []
    deployment: list[str] = []
    state: list[str] = []
    reason: list[str] = []
    status: list[int] = []
