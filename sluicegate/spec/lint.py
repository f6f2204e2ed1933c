"""What a configuration that compiles may still not do as people hope. Warnings and notes, never errors.

Where the guidance for gateways says so, the finding ends in the id of its row in docs/features.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import islice
from typing import NamedTuple

from sluicegate.core.claims import CHANGING
from sluicegate.core.match import bare
from sluicegate.core.residency import plain
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Deployment, Instance, Model, Snapshot
from sluicegate.spec.addresses import Url
from sluicegate.spec.book import families
from sluicegate.spec.grants import People
from sluicegate.spec.kinds import Context, quoted
from sluicegate.spec.language import Document
from sluicegate.spec.matching import Matches, looked_at, misspelt
from sluicegate.spec.pasted import azure, regional
from sluicegate.spec.problems import Path, Severity
from sluicegate.spec.regions import areas
from sluicegate.spec.skus import LEVELS, PROVISIONED, SKUS
from sluicegate.spec.units import Duration

SHORT_KEY = 16
AZURES = ("azure_openai", "foundry")
"""Providers whose standard deployments are cut from a quota of their subscription."""

QUOTA_SKUS = ("Standard", "DataZoneStandard", "GlobalStandard")
"""Kinds whose deployments are cut from one quota: of a subscription, region, model and kind."""

NOT_VERSIONS = frozenset(("latest", "newest", "current", "default", "auto", "any", "stable", "preview", "*"))


EXPRESSIONS = 200
"""That are tried one after the other for a token that is new: some tenths of a millisecond."""

ENOUGH = 20
"""Findings of one kind about consumers, of whom there may be a hundred thousand."""

_GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_NO_MATCHES: Matches = {}


class Finding(NamedTuple):
    """What a rule has to say. `key`: about the thing of this name, not about what was written for it."""

    path: Path
    severity: Severity
    what: str
    hint: str = ""
    key: bool = False


class Sight:
    """What the rules look at."""

    def __init__(
        self, document: Document, snapshot: Snapshot, people: People, cx: Context, matches: Matches = _NO_MATCHES
    ) -> None:
        self.document = document
        self.snapshot = snapshot
        self.people = people
        self.matches = matches
        self.cx = cx
        self.instances = {i.number: i for i in snapshot.instances}
        self.deployments = {d.number: d for d in snapshot.deployments}

    def instance(self, d: Deployment) -> Instance:
        """The one that holds it."""
        return self.instances[d.instance]

    def label(self, d: Deployment) -> str:
        """`weu/gpt-4o`."""
        return f"{self.instance(d).name}/{d.name}"

    def path(self, d: Deployment) -> Path:
        """Where it was declared."""
        return ("instances", self.instance(d).name, "deployments", d.name)

    def members(self, model: Model) -> list[Deployment]:
        """Its deployments."""
        return [self.deployments[n] for n in model.deployments]


def lint(sight: Sight) -> None:
    """Write every finding down."""
    for rule in RULES:
        found: Iterator[Finding] = rule(sight)
        if rule in ABOUT_MANY:
            found = islice(found, ENOUGH)
        for f in found:
            sight.cx.say(f.path, f.what, f.hint, f.severity, f.key)


def plain_http(sight: Sight) -> Iterator[Finding]:
    """Keys and prompts on a network in clear."""
    for name, spec in sight.document.instances.items():
        if spec.endpoint.scheme == "http" and not spec.endpoint.loopback:
            what = "plain HTTP: the key and all text cross the network in clear"
            if azure(spec.endpoint.host):
                hint = "write https://: resources of Azure answer nothing else"
                yield Finding(("instances", name, "endpoint"), "warning", what, hint)
            else:
                yield Finding(("instances", name, "endpoint"), "note", what, "write https:// if the server can")
    listen = sight.snapshot.gateway.listen
    if listen.tls is None and not Url("http", listen.host, 80, "").loopback:
        what = "plain HTTP: clients' keys and all text cross the network in clear"
        yield Finding(("gateway", "listen", "address"), "note", what, "add tls, unless something in front does it")
    admin = sight.snapshot.gateway.admin
    if not Url("http", admin.host, 80, "").loopback:
        at = ("gateway", "admin", "address")
        if admin.keys:
            what = "plain HTTP: operators' keys cross the network in clear"
            yield Finding(at, "note", what, "put something in front that speaks TLS, or write 127.0.0.1 and tunnel")
        else:
            what = "others reach this address and nobody has a key: it stays closed, metrics too"
            yield Finding(at, "warning", what, "declare gateway.admin.keys, or write 127.0.0.1")


def keys_in_urls(sight: Sight) -> Iterator[Finding]:
    """Whoever stands between writes URLs down."""
    if sight.snapshot.gateway.front.query_keys:
        what = "keys in URLs end in the logs of browsers, proxies and whatever else sees them"
        yield Finding(
            ("gateway", "query_keys"), "warning", what, "let clients send api-key as a header, then remove it"
        )


def believed_certificates(sight: Sight) -> Iterator[Finding]:
    """A header that holds a certificate proves nothing by itself."""
    said = sight.snapshot.gateway.front.forwarded
    if said is not None and said.ca is None:
        what = "whoever signed it counts: the proxy must have checked that (App Service does not)"
        hint = "write ca: with the authorities that may have signed it"
        yield Finding(("gateway", "certificates", "forwarded"), "note", what, hint, key=True)


def shown_upstream(sight: Sight) -> Iterator[Finding]:
    """What instances are shown of us, where that is worth a word."""
    for name, spec in sight.document.instances.items():
        at: Path = ("instances", name, "auth")
        kind = spec.auth.kind
        clear = spec.endpoint.scheme == "http" and not spec.endpoint.loopback
        if kind == "passthrough":
            what = "clients show their own token there: whoever may call through the gateway may call around it (E9)"
            yield Finding(at, "warning", what, "close its network to all but the gateway, or write managed_identity")
        elif kind == "azure_cli":
            what = "shows whoever is logged in with az: for a developer's machine"
            yield Finding(at, "warning", what, "write managed_identity or workload_identity where it serves others")
        if clear and kind not in ("none", "key"):
            what = "plain HTTP: the token crosses the network in clear, and is good for every resource of its kind"
            yield Finding(("instances", name, "endpoint"), "warning", what, "write https://")


def no_region(sight: Sight) -> Iterator[Finding]:
    """Names that are nearly a region of Azure's: deployments there would be away from everybody, and in no boundary."""
    for name, spec in sight.document.instances.items():
        at: Path = ("instances", name, "region")
        if spec.region and spec.region not in areas() and azure(spec.endpoint.host) and at not in sight.cx.sealed:
            near = get_close_matches(plain(spec.region), areas(), n=1, cutoff=0.85)
            if near:
                what = f"no region of Azure is called {quoted(spec.region)}; was {quoted(near[0])} meant?"
                yield Finding(at, "warning", what, "azure-cli names them all: az account list-locations -o table")


def of_all(sight: Sight) -> Iterator[Finding]:
    """A token does not say which of a region's resources it is for."""
    for name, spec in sight.document.instances.items():
        if regional(spec.endpoint.host) and spec.auth.kind not in ("none", "key"):
            what = "all resources of this region share this address, which takes keys and no tokens"
            hint = "write the resource's own name, https://NAME.openai.azure.com (it needs a custom subdomain)"
            yield Finding(("instances", name, "endpoint"), "warning", what, hint)


def called_alike(sight: Sight) -> Iterator[Finding]:
    """A deployment's own name where the name of its model belongs."""
    for name, spec in sight.document.instances.items():
        for deployment, declared in spec.deployments.items():
            if spec.provider in AZURES and declared.model == deployment and not families(declared.model):
                at: Path = ("instances", name, "deployments", deployment, "model")
                what = "the deployment's own name, and no model that this version knows: it has no prices and no window"
                yield Finding(at, "note", what, "write the model as the portal shows it beside the deployment: gpt-4o")


def keys_from_upstream(sight: Sight) -> Iterator[Finding]:
    """The key of a resource given out to an application: it opens the resource itself, around the gateway."""
    ours = {
        spec.auth.key.reveal(): name for name, spec in sight.document.instances.items() if spec.auth.key is not None
    }
    for name, spec, keys in sight.people:
        for n, key in enumerate(keys):
            if isinstance(key, Secret) and key.reveal() in ours:
                at: Path = ("consumers", name, "keys", n) if spec.keys is not None else ("consumers", name, "key")
                what = f"the key that the gateway shows to instances.{ours[key.reveal()]}: it opens that without us"
                yield Finding(at, "warning", what, f"make one of its own: sluicegate key new {name}")


def lonely(sight: Sight) -> Iterator[Finding]:
    """A pool of one, for everybody or for the tenants of a boundary."""
    hint = "declare another of the same model and version"
    for model in sight.snapshot.models:
        at: Path = ("models", model.name, "use")
        if len(model.deployments) == 1:
            what = "one deployment only: when it is throttled or broken, nothing stands in for it (A8)"
            yield Finding(at, "warning", what, hint)
            continue
        for boundary, members in model.cuts:
            if len(members) == 1 and any(t.boundary == boundary for t in sight.document.tenants.values()):
                only = sight.label(sight.deployments[members[0]])
                what = f"inside boundary {quoted(boundary)} one deployment only, {only}: nothing stands in for it (A8)"
                yield Finding(at, "warning", what, f"{hint} there")


def no_burst(sight: Sight) -> Iterator[Finding]:
    """Provisioned capacity that nothing helps out."""
    for model in sight.snapshot.models:
        members = sight.members(model)
        if len(members) > 1 and all(d.tier == PROVISIONED for d in members):
            what = "all members are provisioned: what they cannot take is refused (A9)"
            hint = "a standard deployment of the same model and version takes bursts"
            yield Finding(("models", model.name, "use"), "note", what, hint)


def one_quota(sight: Sight) -> Iterator[Finding]:
    """Standard deployments that are cut from one quota: together they take no more than one of them would (A7)."""
    cx = sight.cx
    groups: dict[tuple[str, ...], list[Deployment]] = {}
    for d in sight.snapshot.deployments:
        instance = sight.instance(d)
        if instance.provider in AZURES and d.sku in QUOTA_SKUS:
            spec = sight.document.instances[instance.name]
            where = (
                cx.sealed.get(("instances", instance.name, "subscription"), spec.subscription)
                or f"the subscription of {instance.name}"
            )
            place = cx.sealed.get(("instances", instance.name, "region"), instance.region) or instance.name
            of = cx.sealed.get((*sight.path(d), "model"), d.model)
            shared = cx.sealed.get((*sight.path(d), "quota_group"), d.quota_group)
            group: tuple[str, ...] = (shared,) if d.quota_group else (where, place, of, d.sku)
            groups.setdefault(group, []).append(d)
    for model in sight.snapshot.models:
        pool = set(model.deployments)
        for group, members in groups.items():
            both = [d for d in members if d.number in pool]
            if len(both) > 1:
                labels = " and ".join(sight.label(d) for d in both[:2])
                more = f" and {len(both) - 2} more" if len(both) > 2 else ""
                what = (
                    f"{labels}{more} share one quota ({', '.join(group)}): balancing them gains no throughput (A7, L3)"
                )
                hint = "give the whole quota to one deployment, or declare one of another subscription or region"
                yield Finding(("models", model.name, "use"), "warning", what, hint)


def one_subscription(sight: Sight) -> Iterator[Finding]:
    """Instances of one subscription and region: more of them are not more quota."""
    seen: dict[tuple[str, str], str] = {}
    for name, spec in sight.document.instances.items():
        if spec.subscription and spec.region:
            first = seen.setdefault((spec.subscription, spec.region), name)
            theirs = {d.model for d in sight.document.instances[first].deployments.values() if d.sku in QUOTA_SKUS}
            ours = {d.model for d in spec.deployments.values() if d.sku in QUOTA_SKUS}
            if first != name and ours & theirs:
                what = f"subscription and region of instances.{first}: standard deployments share one quota (A7, A10)"
                hint = "another subscription, or another region, has a quota of its own"
                yield Finding(("instances", name, "subscription"), "note", what, hint)


def over_areas(sight: Sight) -> Iterator[Finding]:
    """A pool over several parts of the world, and nothing that says whose prompts may go where (L2)."""
    if sight.document.boundaries:
        return
    known = areas()
    for model in sight.snapshot.models:
        spread = {known[r]: r for d in sight.members(model) if (r := sight.instance(d).region) in known}
        if len(spread) > 1:
            where = " and ".join(f"{region} ({area})" for area, region in list(spread.items())[:2])
            what = f"its members are in {where}: prompts of every tenant may go to each (L2)"
            hint = "declare boundaries: and give each tenant one, or split the model"
            yield Finding(("models", model.name, "use"), "warning", what, hint)


def by_the_platform(sight: Sight) -> Iterator[Finding]:
    """Regional deployments pooled over regions: the platform itself does that (L3)."""
    for model in sight.snapshot.models:
        members = sight.members(model)
        regions = {sight.instance(d).region for d in members}
        same = {areas().get(r) for r in regions}
        if len(regions) > 1 and len(same) == 1 and None not in same and all(d.sku == "Standard" for d in members):
            what = "several regions for capacity: Azure itself balances data zone and global deployments (B20, L3)"
            hint = "where its boundary allows, sku: DataZoneStandard or GlobalStandard needs no pool for capacity"
            yield Finding(("models", model.name, "use"), "note", what, hint)


def one_gateway_region(sight: Sight) -> Iterator[Finding]:
    """Deployments of many regions behind a gateway of one (A13). A region from a reference: one file, many gateways."""
    regions = {i.region for i in sight.snapshot.instances if i.region}
    at: Path = ("gateway", "region")
    home = sight.snapshot.gateway.region
    if home and len(regions) > 1 and at not in sight.cx.sealed:
        what = f"one gateway region, {len(regions)} regions of deployments: when {home} is gone, so are all (A13, L5)"
        yield Finding(at, "note", what, "run a gateway in each: region: ${env:REGION} lets them share this file")


def unpinned(sight: Sight) -> Iterator[Finding]:
    """Words where a version belongs: members would answer differently and nobody would know (B5)."""
    for name, spec in sight.document.instances.items():
        for deployment, declared in spec.deployments.items():
            if declared.version.casefold() in NOT_VERSIONS:
                what = "names no version: what answers may change, and differ from the other members (B5, L4)"
                hint = "write the version that is deployed, and pin it in Azure (versionUpgradeOption)"
                yield Finding(("instances", name, "deployments", deployment, "version"), "warning", what, hint)


def mixed(sight: Sight) -> Iterator[Finding]:
    """Versions that were mixed on purpose, or not at all."""
    for model in sight.snapshot.models:
        if sight.document.models[model.name].mixed_versions:
            at: Path = ("models", model.name, "mixed_versions")
            if model.mixed_versions:
                yield Finding(
                    at, "warning", "answers depend on the member: each carries a warning header (B5, L4)", "", True
                )
            else:
                yield Finding(at, "note", "all members are of one model and version", "remove it", True)


def nowhere(sight: Sight) -> Iterator[Finding]:
    """Instances of no region are outside every boundary that names regions."""
    if any(b.regions != ("*",) for b in sight.document.boundaries.values()):
        for name, spec in sight.document.instances.items():
            if not spec.region:
                what = "has no region, so it is outside every boundary that names regions"
                yield Finding(
                    ("instances", name), "warning", what, "write region: westeurope, or a name of your own", True
                )


def hasty(sight: Sight) -> Iterator[Finding]:
    """Times that another time makes pointless."""
    for model in sight.snapshot.models:
        times = model.timeouts
        for key in ("connect", "first_byte", "idle"):
            if getattr(times, key) > times.total:
                what = f"{key} is longer than total ({Duration().write(times.total)}), which ends the request first"
                yield Finding(("models", model.name, "timeouts", key), "warning", what, "shorten it, or raise total")


def overrides(sight: Sight) -> Iterator[Finding]:
    """Facts that were overridden by hand."""
    for name, spec in sight.document.instances.items():
        for deployment, declared in spec.deployments.items():
            for key in ("tier", "processing"):
                if getattr(declared, key) is not None:
                    at: Path = ("instances", name, "deployments", deployment, key)
                    yield Finding(at, "note", f"overrides what follows from {declared.sku}")


def claimed(sight: Sight) -> Iterator[Finding]:
    """Prompts that are said to stay nearer than the kind of deployment keeps them, where a boundary relies on it."""
    if not sight.document.boundaries:
        return
    for d in sight.snapshot.deployments:
        given = sight.document.instances[sight.instance(d).name].deployments[d.name].processing
        if given is not None and LEVELS.index(given) < LEVELS.index(SKUS[d.sku].processing):
            what = f"{d.sku} is processed {SKUS[d.sku].processing}, and boundaries take it for {given} (F7)"
            hint = "remove it, unless Azure promises you that in writing; the proof of residency names it as assumed"
            yield Finding((*sight.path(d), "processing"), "warning", what, hint)


def global_pool(sight: Sight) -> Iterator[Finding]:
    """Global or data zone deployments of several regions: each of them is balanced over the same machines already."""
    for model in sight.snapshot.models:
        for kind in ("GlobalStandard", "DataZoneStandard"):
            same = [d for d in sight.members(model) if d.sku == kind and sight.instance(d).provider in AZURES]
            regions = {sight.instance(d).region for d in same}
            zones = {areas().get(r) for r in regions}
            if len(regions) > 1 and (kind == "GlobalStandard" or len(zones) == 1):
                labels = " and ".join(sight.label(d) for d in same[:2])
                what = f"{labels} are {kind}: Azure balances each over the same capacity already (B20, L3)"
                hint = "several of them add quota and survive a region, not capacity or nearness"
                yield Finding(("models", model.name, "use"), "note", what, hint)


def twins(sight: Sight) -> Iterator[Finding]:
    """Two names for one place: usually a line that was copied and not changed."""
    seen: dict[Url, str] = {}
    for name, spec in sight.document.instances.items():
        first = seen.setdefault(spec.endpoint, name)
        if first != name:
            what = f"the same address as instances.{first}: deployments of both share their capacity and their faults"
            hint = "declare all its deployments in one instance"
            yield Finding(("instances", name, "endpoint"), "warning", what, hint)


def unused(sight: Sight) -> Iterator[Finding]:
    """What nobody can reach: usually a name that was meant and not written."""
    document = sight.document
    used = {number for model in sight.snapshot.models for number in model.deployments}
    used |= {number for model in sight.snapshot.models if model.rollout for number in model.rollout.deployments}
    for d in sight.snapshot.deployments:
        if d.number not in used and d.tier >= PROVISIONED:
            hint = "name it in the use of a model, or remove it"
            yield Finding(sight.path(d), "note", "no model uses it", hint, key=True)
    plans = {spec.plan for _, spec, _ in sight.people}
    tenants = {spec.tenant for _, spec, _ in sight.people}
    boundaries = {t.boundary for t in document.tenants.values()}
    for section, names, known, who in (
        ("plans", document.plans, plans, "consumer has it"),
        ("tenants", document.tenants, tenants, "consumer belongs to it"),
        ("boundaries", document.boundaries, boundaries, "tenant has it"),
    ):
        for name in _missing(names, known):
            yield Finding((section, name), "note", f"no {who}", "", key=True)


def _missing(names: Iterable[str], known: set[str]) -> list[str]:
    return [name for name in names if name not in known]


def short_keys(sight: Sight) -> Iterator[Finding]:
    """Keys that can be guessed."""
    for name, spec, keys in sight.people:
        for n, key in enumerate(keys):
            if isinstance(key, Secret) and len(key.reveal()) < SHORT_KEY:
                at: Path = ("consumers", name, "keys", n)
                at = at if spec.keys is not None else ("consumers", name, "key")
                yield Finding(at, "warning", f"shorter than {SHORT_KEY} characters", "openssl rand -hex 32 makes a key")


def changing(sight: Sight) -> Iterator[Finding]:
    """Claims that say who somebody is today."""
    for name, (match, spec) in sight.matches.items():
        at: Path = ("consumers", name, "match")
        hint = "oid and sub never change and are never given to another; azp names the application"
        for claim, below in looked_at(match):
            if claim in CHANGING:
                what = f"lets in by {claim}: {CHANGING[claim]} (E5)"
                yield Finding((*at, *below), "warning", what, hint)
        if spec.each in CHANGING:
            yield Finding(("consumers", name, "each"), "warning", f"by {spec.each}: {CHANGING[spec.each]}", hint)


def by_headers(sight: Sight) -> Iterator[Finding]:
    """Whoever reaches the proxy, and can make it pass a header on, is that caller."""
    for name, (match, _) in sight.matches.items():
        if bare(match):
            what = "lets in whoever a trusted proxy names in a header, without any other proof (A5)"
            hint = "the proxy must ask its clients who they are, and drop this header from what they send"
            yield Finding(("consumers", name, "match"), "warning", what, hint)


def misspelt_claims(sight: Sight) -> Iterator[Finding]:
    """Claims that are nearly ones that everybody knows. A provider may call its own as it likes."""
    for name, (match, _) in sight.matches.items():
        for claim, below in looked_at(match):
            meant = misspelt(claim)
            if meant:
                what = f"no usual claim is called {quoted(claim)}; was {quoted(meant)} meant?"
                yield Finding(("consumers", name, "match", *below), "note", what)


def capitals(sight: Sight) -> Iterator[Finding]:
    """Ids in capitals: Entra writes them in small letters, and letters count."""
    for name, (match, _) in sight.matches.items():
        for claim, values in match.claims:
            for value in values:
                if value != value.lower() and _GUID.fullmatch(value):
                    what = "has capitals, and tokens of Entra have small letters: it would not match"
                    yield Finding(("consumers", name, "match", claim), "warning", what, f"write {value.lower()}")


def many_expressions(sight: Sight) -> Iterator[Finding]:
    """Maps are found by value, expressions are tried."""
    tried = [name for name, (match, _) in sight.matches.items() if match.tree is not None]
    if len(tried) > EXPRESSIONS:
        what = f"one of {len(tried)} expressions: all are tried for every token that is new"
        yield Finding(("consumers", tried[0], "match"), "warning", what, "write maps: they are found by value")


def lone_family(sight: Sight) -> Iterator[Finding]:
    """A family of one."""
    for name, (match, spec) in sight.matches.items():
        if spec.each and any(claim == spec.each and len(values) == 1 for claim, values in match.claims):
            yield Finding(("consumers", name, "each"), "note", f"its match lets in one {spec.each} only", "", True)


RULES = (
    plain_http, of_all, shown_upstream, no_region, called_alike, keys_from_upstream, keys_in_urls,
    believed_certificates, lonely, no_burst, one_quota, one_subscription,
    over_areas, by_the_platform, one_gateway_region, unpinned, mixed, nowhere, hasty, overrides, claimed,
    global_pool, twins, unused,
    short_keys, changing, by_headers, misspelt_claims, capitals, many_expressions, lone_family,
)  # fmt: skip

ABOUT_MANY = (keys_from_upstream, changing, by_headers, misspelt_claims, capitals, lone_family)
"""Rules about each consumer."""
