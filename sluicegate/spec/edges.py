"""Every way on which something of a request can leave its boundary: one table, each row with what travels on it.

A row that does not say what travels is no row: the load fails, before anything is compiled. Whoever adds a place that
data goes to (a sink, a store, a cache, a model asked by a guard) adds a row here, with the fields of the language that
declare it and the modules that carry it; tests/spec/test_edges.py looks for places that no row covers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from sluicegate.core.snapshot import Deployment, Model, Snapshot
from sluicegate.spec.language import Document
from sluicegate.spec.problems import Path

PROMPT: Final = "prompt"
METADATA: Final = "metadata"
COUNTERS: Final = "counters"
NOTHING: Final = "nothing"

LABELS: Final = {
    PROMPT: "prompts and answers, with everything around them",
    METADATA: "who asked what, when, at which cost: names, counts and ids, no text",
    COUNTERS: "sums that belong to nobody",
    NOTHING: "nothing of any request",
}
"""What may travel on an edge."""

REGIONAL: Final = "regional"


class End(NamedTuple):
    """Where an edge leads. `local`: into the gateway's own folder or process, so it is where the gateway is."""

    what: str
    path: Path
    region: str
    processing: str = REGIONAL
    via: str = ""
    "The model on whose behalf."
    local: bool = False


class Ground:
    """What ends are found in: a configuration, declared and compiled."""

    def __init__(self, document: Document, snapshot: Snapshot) -> None:
        self.document = document
        self.snapshot = snapshot
        self._deployments = {d.number: d for d in snapshot.deployments}
        self._instances = {i.number: i for i in snapshot.instances}

    def here(self, what: str, path: Path = ("gateway", "data")) -> End:
        """An end where the gateway is."""
        return End(what, path, self.document.gateway.region, local=True)

    def deployment(self, number: int, via: str) -> End:
        """A deployment as an end."""
        d = self._deployments[number]
        instance = self._instances[d.instance]
        at: Path = ("instances", instance.name, "deployments", d.name)
        return End(f"{instance.name}/{d.name}", at, instance.region, d.processing, via)

    def models(self, boundary: str) -> Iterator[tuple[Model, tuple[int, ...]]]:
        """Models with their members inside."""
        for model in self.snapshot.models:
            yield model, dict(model.cuts).get(boundary, ())

    def of(self, number: int) -> Deployment:
        """By its number."""
        return self._deployments[number]


Ends = Callable[[Ground, str], Iterator[End]]
"""The ends of an edge for tenants of a boundary."""


def _gateway(ground: Ground, boundary: str) -> Iterator[End]:
    yield ground.here("this gateway", ("gateway", "region"))


def _route(ground: Ground, boundary: str) -> Iterator[End]:
    for model, members in ground.models(boundary):
        yield from (ground.deployment(n, model.name) for n in members)


def _spillover(ground: Ground, boundary: str) -> Iterator[End]:
    for model, members in ground.models(boundary):
        first = min((ground.of(n).tier for n in members), default=0)
        yield from (ground.deployment(n, model.name) for n in members if ground.of(n).tier > first)


def _failover(ground: Ground, boundary: str) -> Iterator[End]:
    for model, members in ground.models(boundary):
        if len(members) > 1:
            yield from (ground.deployment(n, model.name) for n in members)


def _platform(ground: Ground, boundary: str) -> Iterator[End]:
    for model, members in ground.models(boundary):
        if model.spill.platform:
            instances = [ground.of(n).instance for n in members]
            yield from (ground.deployment(n, model.name) for n in members if instances.count(ground.of(n).instance) > 1)


def _rollout(ground: Ground, boundary: str) -> Iterator[End]:
    for model in ground.snapshot.models:
        if model.rollout is not None:
            arm = dict(model.rollout.cuts).get(boundary, ())
            yield from (ground.deployment(n, model.name) for n in arm)


def _fallback(ground: Ground, boundary: str) -> Iterator[End]:
    models = {m.name: m for m in ground.snapshot.models}
    for model in ground.snapshot.models:
        for name in model.fallback:
            members = dict(models[name].cuts).get(boundary, ()) if name in models else ()
            yield from (ground.deployment(n, f"{model.name} to {name}") for n in members)


def _records(ground: Ground, boundary: str) -> Iterator[End]:
    yield ground.here("journal, ledger, directory and audit log in gateway.data")


def _access_log(ground: Ground, boundary: str) -> Iterator[End]:
    if ground.snapshot.gateway.telemetry.access_log:
        yield ground.here(ground.document.telemetry.access_log, ("telemetry", "access_log"))


def _metrics(ground: Ground, boundary: str) -> Iterator[End]:
    if ground.document.telemetry.prometheus:
        yield ground.here("/metrics, for who scrapes it", ("gateway", "admin", "address"))


def _admin(ground: Ground, boundary: str) -> Iterator[End]:
    yield ground.here("management API, for operators", ("gateway", "admin", "address"))


def _alerts(ground: Ground, boundary: str) -> Iterator[End]:
    for n, sink in enumerate(ground.document.telemetry.alerts):
        parts = urlsplit(sink.to.reveal())
        yield End(f"{parts.scheme}://{parts.netloc}", ("telemetry", "alerts", n), sink.region)


def _issuers(ground: Ground, boundary: str) -> Iterator[End]:
    for issuer in ground.snapshot.issuers:
        yield End(f"keys of issuer {issuer.name}", ("issuers", issuer.name), "")
        if issuer.graph:
            yield End(f"directory of issuer {issuer.name}", ("issuers", issuer.name, "groups_by"), "")


def _credentials(ground: Ground, boundary: str) -> Iterator[End]:
    for instance in ground.snapshot.instances:
        if instance.auth.identity:
            at: Path = ("instances", instance.name, "auth")
            yield End(f"who makes tokens for {instance.name}", at, "")


@dataclass(frozen=True, slots=True)
class Edge:
    """One kind of edge."""

    name: str
    carries: tuple[str, ...]
    "Of LABELS. What carries nothing may end anywhere."
    says: str
    ends: Ends
    fields: tuple[str, ...] = ()
    "Fields of the language that say where it ends."
    modules: tuple[str, ...] = ()
    "Modules that open connections for it."


_POOL = ("upstream/client.py", "upstream/opening.py", "upstream/connection.py", "upstream/pool.py")

EDGES: tuple[Edge, ...] = (
    Edge("gateway", (PROMPT, METADATA, COUNTERS), "from the client to this gateway", _gateway,
         ("gateway.region", "gateway.data")),
    Edge("route", (PROMPT,), "to a member of the model's pool", _route,
         ("instances.NAME.endpoint", "instances.NAME.region"), _POOL),
    Edge("spillover", (PROMPT,), "to the next tier, for want of capacity", _spillover),
    Edge("failover", (PROMPT,), "to another member, after a fault", _failover),
    Edge("platform", (PROMPT,), "to another deployment by Azure's own spillover", _platform),
    Edge("rollout", (PROMPT,), "to the other arm of a rollout", _rollout, ("models.NAME.rollout.to",)),
    Edge("fallback", (PROMPT,), "to another model", _fallback),
    Edge("records", (METADATA,), "into what is kept: journal, ledger, directory, audit log", _records),
    Edge("access_log", (METADATA,), "into the access log", _access_log, ("telemetry.access_log",)),
    Edge("metrics", (COUNTERS,), "to who reads the metrics", _metrics),
    Edge("admin", (METADATA,), "to operators", _admin),
    Edge("alerts", (METADATA,), "to who is told of alerts", _alerts,
         ("telemetry.alerts[].to", "telemetry.alerts[].region"), ("telemetry/alerts.py",)),
    # The id of who bears a token goes back to the directory that made it, and that made it for this gateway.
    Edge("issuers", (NOTHING,), "for the keys of issuers, and the groups of those who are in too many: by the keeper",
         _issuers,
         ("issuers.NAME.issuer", "issuers.NAME.authority", "issuers.NAME.jwks", "issuers.NAME.graph",
          "issuers.NAME.groups_by.authority"), ("identity/fetch.py",)),
    Edge("credentials", (NOTHING,), "for tokens that the gateway shows: its own identity, by the keeper", _credentials,
         ("instances.NAME.auth.authority",), ("upstream/fetch.py",)),
)  # fmt: skip


class Unlabelled(Exception):
    """An edge does not say what travels on it."""


def checked(edges: Sequence[Edge]) -> Sequence[Edge]:
    """The table, if every row says what travels on it. Raises Unlabelled."""
    names = [edge.name for edge in edges]
    for edge in edges:
        wrong = [label for label in edge.carries if label not in LABELS]
        if not edge.carries or wrong or (NOTHING in edge.carries and len(edge.carries) > 1):
            known = ", ".join(LABELS)
            raise Unlabelled(f'edge "{edge.name}" does not say what travels on it: carries is {known}')
        if names.count(edge.name) > 1:
            raise Unlabelled(f'two edges are called "{edge.name}"')
    return edges
