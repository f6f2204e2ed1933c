"""From what was declared to what applies: numbers instead of names, pools in the order in which they are tried.

Everything that can only be judged across sections is judged here: references to nothing, pools that disagree, two
consumers with one key. Numbers are by order of declaration and hold for this process.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields, replace

from sluicegate.core import settings
from sluicegate.core.breaker import BreakerSpec, ThrottleSpec
from sluicegate.core.residency import plain
from sluicegate.core.snapshot import Auth, Boundary, Deployment, Instance, Model, Snapshot
from sluicegate.spec.addresses import Endpoint
from sluicegate.spec.auth import identity_of
from sluicegate.spec.beside import Files
from sluicegate.spec.book import families, window
from sluicegate.spec.capacity import BoundarySpec, DeploymentSpec, InstanceSpec
from sluicegate.spec.forms import Use
from sluicegate.spec.front import front
from sluicegate.spec.issuers import check, directory, issuer
from sluicegate.spec.kinds import Context, closest, quoted
from sluicegate.spec.language import Document
from sluicegate.spec.offered import LATER, has, offered, problem
from sluicegate.spec.operators import Operators
from sluicegate.spec.pasted import azure
from sluicegate.spec.pools import Offers
from sluicegate.spec.prices import price
from sluicegate.spec.problems import Path
from sluicegate.spec.process import GatewaySpec, TelemetrySpec
from sluicegate.spec.reach import ModelSpec, TimeoutsSpec
from sluicegate.spec.regions import answers_from
from sluicegate.spec.residency import hold, inside
from sluicegate.spec.resources import one_place
from sluicegate.spec.skus import LEVELS, PROVISIONED, SKUS

DATED = ("azure_openai", "foundry")
"""Providers that know `api-version`."""

BELONGS = {
    "azure_openai": r"/openai(/.*)?", "foundry": r"/(openai|models|anthropic)(/.*)?", "anthropic": r"(/.*)?/v1(/.*)?",
}  # fmt: skip
"""By provider, what paths of an endpoint belong to requests."""

FOUNDRY = ".services.ai.azure.com"
"""How the hosts of Foundry resources end."""

CLAUDE = "claude"
CLAUDE_SKUS = ("GlobalStandard", "DataZoneStandard")
"""How models of this name are deployed: never so that prompts stay in a region."""


class Compiler:
    """One compilation. `base`: the directory of the configuration; `operations`: what the gateway knows to serve."""

    def __init__(self, document: Document, cx: Context, base: str, operations: Sequence[str]) -> None:
        self.document = document
        self.cx = cx
        self.files = Files(cx, base)
        self.operations = tuple(operations)
        self.offers = Offers(cx)
        self.identities: dict[settings.Identity, int] = {}
        "Whose tokens are shown, each once, with its number."

    def snapshot(self) -> Snapshot:
        """The compiled configuration, its hash still empty. Worth something only if no error was reported."""
        gateway = self.gateway(self.document.gateway)
        instances = [self.instance(n, *item) for n, item in enumerate(self.document.instances.items(), 1)]
        one_place(self.document, self.cx)
        self.check_boundaries()
        models = [self.model(n, *item) for n, item in enumerate(self.document.models.items(), 1)]
        self.check_fallbacks(models)
        self.offers.check_weights(models)
        deployments = tuple(self.offers.deployments)
        prices = price(self.document, deployments, [self.offers.label(d) for d in deployments], self.cx)
        issuers, identities = self.issuers(), tuple(self.identities)
        boundaries = tuple(bounds(*item) for item in self.document.boundaries.items())
        snapshot = Snapshot(
            "", gateway, tuple(instances), deployments, tuple(models), prices, issuers, identities, boundaries
        )
        hold(self.document, snapshot, self.served, self.cx)
        return snapshot

    # ------------------------------------------------------------ the process

    def gateway(self, spec: GatewaySpec) -> settings.Gateway:
        listen, at = spec.listen, ("gateway", "listen", "tls")
        retry = self.document.defaults.retry
        if spec.admin.address.port and spec.admin.address == listen.address:
            what = "is the address of gateway.listen too"
            self.cx.say(("gateway", "admin", "address"), what, "write another port: metrics are not for clients")
        tls = None
        if listen.tls is not None:
            client = listen.tls.client
            tls = settings.TlsFiles(
                self.files.path(listen.tls.certificate), self.files.path(listen.tls.key),
                self.files.path(client.ca) if client is not None else "", client is None or client.require,
            )  # fmt: skip
            self.files.pair(tls, at)
            if client is not None and self.files.readable(tls.client_ca, (*at, "client", "ca")):
                self.files.certificates(tls.client_ca, (*at, "client", "ca"))
        return settings.Gateway(
            name=spec.name,
            region=spec.region,
            boundaries=tuple(self.served),
            data=self.files.path(spec.data),
            drain_s=spec.drain,
            workers=spec.workers,
            admin=Operators(self.document, self.files).admin(spec.admin),
            front=front(spec, self.files),
            public_url=spec.public_url or "",
            core_dumps=spec.core_dumps,
            telemetry=self.telemetry(self.document.telemetry),
            retention=settings.Retention(
                self.document.stores.retention.records, self.document.stores.retention.journal
            ),
            retry_budget=retry.budget if retry else settings.Gateway().retry_budget,
            listen=settings.Listen(
                host=listen.address.host,
                port=listen.address.port,
                tls=tls,
                connections=listen.connections,
                handshakes=listen.handshakes,
                head_s=listen.timeouts.head,
                body_s=listen.timeouts.body,
                body_total_s=listen.timeouts.body_total,
                keep_alive_s=listen.timeouts.keep_alive,
                write_s=listen.timeouts.write,
                head_bytes=listen.sizes.head,
                head_count=listen.headers,
                target_bytes=listen.sizes.target,
                pipelined_bytes=listen.sizes.pipelined,
                write_high=listen.sizes.answer,
            ),
        )

    def telemetry(self, spec: TelemetrySpec) -> settings.Telemetry:
        sinks = tuple(settings.AlertSink(a.to, a.region, a.on, a.lost) for a in spec.alerts)
        return settings.Telemetry(self.log(spec.access_log), spec.prometheus, sinks, spec.client_address)

    def issuers(self) -> tuple[settings.Issuer, ...]:
        """Those that could be read; each says of its tokens what no other does."""
        found = []
        for name, spec in self.document.issuers.items():
            one = issuer(name, spec, self.cx, self.files.path)
            where = directory(name, spec, self.cx, self.files.certificate)
            if one is not None:
                if where is not None:
                    place = self.identities.setdefault(where[1], len(self.identities) + 1)
                    one = replace(one, graph=where[0], groups_by=place)
                found.append(one)
        issuers = tuple(found)
        check(issuers, self.cx)
        for one in issuers:
            at: Path = ("issuers", one.name)
            if one.kind == "file":
                # It may come: its tokens are refused until then.
                self.files.readable(one.source, (*at, "jwks"), "warning")
            if one.ca is not None:
                self.files.authorities(one.ca, (*at, "ca"))
        return issuers

    # ------------------------------------------------------------ what exists

    def instance(self, number: int, name: str, spec: InstanceSpec) -> Instance:
        at: Path = ("instances", name)
        if spec.api_version is not None and spec.provider not in DATED:
            self.cx.say((*at, "api_version"), f"has no effect with provider {spec.provider}", "remove it", key=True)
        if self.requests_path(spec):
            hint = "write only the resource's address: the gateway adds the path of each request"
            if (*at, "endpoint") not in self.cx.sealed:
                hint = f"write {self.address(spec)}: the gateway adds the path of each request"
            self.cx.say((*at, "endpoint"), "has a path that belongs to requests", hint)
        elif spec.provider == "anthropic" and spec.endpoint.host.endswith(FOUNDRY) and not spec.endpoint.base_path:
            hint = "write its address with /anthropic after it, or provider: foundry"
            self.cx.say((*at, "endpoint"), "is a Foundry resource, which has Claude below /anthropic", hint)
        if spec.connections.idle_min > spec.connections.idle_max:
            hint = f"write at most {spec.connections.idle_max}, or raise idle_max"
            self.cx.say((*at, "connections", "idle_min"), "is more than idle_max", hint)
        for deployment, declared in spec.deployments.items():
            self.offers.add(
                name, spec.region,
                self.deployment(
                    number, spec.provider, spec.region, deployment, declared, (*at, "deployments", deployment)
                ),
            )  # fmt: skip
        return Instance(
            number=number,
            name=name,
            provider=spec.provider,
            scheme=spec.endpoint.scheme,
            host=spec.endpoint.host,
            port=spec.endpoint.port,
            base_path=spec.endpoint.base_path,
            auth=self.auth(spec, at),
            api_version=spec.api_version,
            ca=self.authorities(spec, at),
            region=spec.region,
            connections=settings.Connections(
                idle_min=spec.connections.idle_min,
                idle_max=spec.connections.idle_max,
                idle_s=spec.connections.idle,
                life_s=spec.connections.life,
                handshakes=spec.connections.handshakes,
                dns_s=spec.connections.dns,
            ),
        )

    @staticmethod
    def requests_path(spec: InstanceSpec) -> bool:
        """Whether the endpoint goes on where requests begin: after a resource of Azure nothing else can stand."""
        path, host = spec.endpoint.base_path, spec.endpoint.host
        if spec.provider in DATED and azure(host):
            return bool(path)
        return re.fullmatch(BELONGS.get(spec.provider, "-"), path) is not None

    @staticmethod
    def address(spec: InstanceSpec) -> str:
        """The endpoint without what belongs to requests."""
        url, path = spec.endpoint, spec.endpoint.base_path
        if spec.provider == "anthropic":
            path = re.sub(r"/v1(/.*)?$", "", path)
        else:
            path = ""
        return Endpoint().write(url._replace(base_path=path))

    def deployment(
        self, instance: int, provider: str, region: str, name: str, declared: DeploymentSpec, at: Path
    ) -> Deployment:
        sku = SKUS[declared.sku]
        tier = sku.tier
        if declared.ptu is not None and tier != PROVISIONED:
            hint = "remove it, or write the provisioned kind: sku: ProvisionedManaged"
            self.cx.say((*at, "ptu"), f"has no effect on a deployment of {declared.sku}", hint, key=True)
        if declared.sku not in CLAUDE_SKUS and (provider == "anthropic" or declared.model.startswith(CLAUDE)):
            self.cx.say(
                (*at, "sku"), f"Claude is not deployed as {declared.sku}", f"write sku: {' or '.join(CLAUDE_SKUS)}"
            )
        if declared.tier is not None:
            if tier < 0:
                self.cx.say((*at, "tier"), "a batch deployment serves no live request", "remove it", key=True)
            tier = declared.tier if tier >= 0 else tier
        return Deployment(
            number=len(self.offers.deployments) + 1,
            name=name,
            instance=instance,
            model=declared.model,
            version=declared.version,
            sku=declared.sku,
            tier=tier,
            weight=declared.weight,
            capacity=declared.capacity,
            ptu=declared.ptu,
            quota_group=declared.quota_group or "",
            processing=declared.processing or sku.processing,
            answers_from=answers_from(region, declared.processing or sku.processing),
            inside=tuple(
                name
                for name, boundary in self.document.boundaries.items()
                if name in self.served and inside(boundary, region, declared.processing or sku.processing)
            ),
            max_input=declared.max_input,
            window=window(declared.model, declared.version, declared.sku) if provider in DATED else None,
        )

    def auth(self, spec: InstanceSpec, at: Path) -> Auth:
        """What is shown there. Instances that show the token of one identity share it."""
        kind = spec.auth.kind
        if kind in ("none", "key", "passthrough"):
            return Auth(kind, spec.auth.key)
        path = spec.auth.client_certificate
        certificate = "" if path is None else self.files.certificate(path, (*at, "auth", "client_certificate"))
        found = identity_of(spec.auth, spec.provider, spec.endpoint.host, certificate)
        if isinstance(found, str):
            self.cx.say((*at, "auth"), found, "write scope: api://the-application/.default in a map")
            return Auth()
        return Auth("token", identity=self.identities.setdefault(found, len(self.identities) + 1))

    def authorities(self, spec: InstanceSpec, at: Path) -> str | None:
        if spec.tls is None:
            return None
        if spec.endpoint.scheme != "https":
            self.cx.say((*at, "tls"), "has no effect on an http:// endpoint", "remove it, or write https://", key=True)
            return None
        ca = self.files.path(spec.tls.ca)
        self.files.authorities(ca, (*at, "tls", "ca"))
        return ca

    # ------------------------------------------------------------ how models are reached

    def model(self, number: int, name: str, spec: ModelSpec) -> Model:
        at: Path = ("models", name)
        defaults = self.document.defaults
        self.check_operations(spec.operations or (), (*at, "operations"), naming=True)
        retry = spec.retry or defaults.retry
        body = spec.body or defaults.body
        leaving = spec.on_disconnect or defaults.on_disconnect
        breaker = spec.breaker or defaults.breaker
        throttle = spec.throttle or defaults.throttle
        plain = Model(0, "", (), ())
        if spec.mixed_versions and spec.use.selector:
            what = "has no effect on a selector, which takes one model and version"
            self.cx.say((*at, "mixed_versions"), what, "remove it, or write a list of instance/deployment", key=True)
        members = self.pool(spec.use, (*at, "use"), spec, spec.mixed_versions)
        arm = self.pool(spec.rollout.to, (*at, "rollout", "to"), spec) if spec.rollout else []
        return Model(
            number=number,
            name=name,
            deployments=tuple(d.number for d in members),
            operations=self.offered(spec, [*members, *arm], at),
            timeouts=merged(spec.timeouts, defaults.timeouts),
            attempts=retry.attempts if retry else plain.attempts,
            on_disconnect=settings.OnDisconnect(leaving.stream, leaving.other) if leaving else plain.on_disconnect,
            body_max=body.max if body else plain.body_max,
            body_upload=body.upload if body else plain.body_upload,
            public_urls=body is not None and body.urls == "refuse_private",
            balance=spec.balance or defaults.balance or plain.balance,
            breaker=BreakerSpec(breaker.faults, breaker.share, breaker.within, breaker.open)
            if breaker
            else plain.breaker,
            throttle=ThrottleSpec(throttle.longest, throttle.unnamed) if throttle else plain.throttle,
            spill=self.spill(spec, members, at),
            rollout=self.rollout(spec, members, arm, at),
            fallback=spec.fallback,
            params=spec.params,
            mixed_versions=len({(d.model, d.version) for d in members}) > 1,
            cuts=self.cuts(members),
        )

    def pool(self, use: Use, at: Path, spec: ModelSpec, mixed: bool = False) -> list[Deployment]:
        """The members, in order; only those of the gateway's region where others are not allowed."""
        home = self.document.gateway.region
        members = self.offers.pool(use, at, home, mixed)
        allowed = self.document.defaults.cross_region if spec.cross_region is None else spec.cross_region
        if allowed is False:
            where: Path = ("defaults", "cross_region") if spec.cross_region is None else (*at[:2], "cross_region")
            if not home:
                self.cx.say(where, "the gateway has no region", "write gateway.region, or cross_region: true")
                return members
            near = [d for d in members if self.offers.regions[d.number] == home]
            if members and not near:
                what = f"cross_region is false, and no member is in {self.cx.shown(('gateway', 'region'), home)}"
                self.cx.say(at, what, "declare a deployment there, or write cross_region: true")
            return near
        return members

    def spill(self, spec: ModelSpec, members: list[Deployment], at: Path) -> settings.Spill:
        spill = spec.spill or self.document.defaults.spill
        if spill is None:
            return settings.Spill()
        if spec.spill and spill.soft_ceiling and members and not any(d.capacity for d in members):
            what = "has no effect: no member says its capacity"
            hint = "write capacity: 450k tokens/minute on its deployments, or remove it"
            self.cx.say((*at, "spill", "soft_ceiling"), what, hint, key=True)
        return settings.Spill(spill.long_context, spill.soft_ceiling or None, spill.platform)

    def offered(self, spec: ModelSpec, members: list[Deployment], at: Path) -> tuple[str, ...]:
        """What may be asked of a model, as it says or as its members can."""
        providers = {
            d.number: self.document.instances[self.offers.label(d).partition("/")[0]].provider for d in members
        }
        if spec.operations is None:
            found = offered(self.operations, [d.model for d in members], providers.values())
            if members and not found:
                each = {self.offers.offered(d): " and ".join(sorted(families(d.model))) or "anything" for d in members}
                what = "its members have no operation in common that this gateway knows: "
                what += ", ".join(f"{name} offers {words}" for name, words in each.items())
                self.cx.say((*at, "use"), what, f"write operations: [...]; known: {', '.join(self.operations)}")
            return found
        for n, operation in enumerate(spec.operations):
            lacking = next((d for d in members if not has(operation, providers[d.number])), None)
            if lacking is not None:
                what = (
                    f"{self.offers.label(lacking)} cannot be asked for {operation}: it is {providers[lacking.number]}"
                )
                self.cx.say((*at, "operations", n), what, "remove the operation, or that member")
        return spec.operations

    def rollout(
        self, spec: ModelSpec, members: list[Deployment], arm: list[Deployment], at: Path
    ) -> settings.Rollout | None:
        if spec.rollout is None:
            return None
        here: Path = (*at, "rollout", "to")
        both = next((d for d in arm if d in members), None)
        if both is not None:
            what = f"{self.offers.label(both)} is in both arms"
            self.cx.say(here, what, "the new arm has deployments of its own: another version, or a list")
        numbers = tuple(d.number for d in arm)
        return settings.Rollout(numbers, spec.rollout.share, spec.rollout.stick_to, self.cuts(arm))

    def check_fallbacks(self, models: list[Model]) -> None:
        """Every fallback is another model that can do what this one can."""
        known = {m.name: m for m in models}
        for model in models:
            for n, name in enumerate(model.fallback):
                here: Path = ("models", model.name, "fallback", n)
                other = known.get(name)
                if name == model.name:
                    self.cx.say(here, "is the model itself", "name another one, or remove it")
                elif name in model.fallback[:n]:
                    self.cx.say(here, f"{self.cx.shown(here, name)} is listed twice", "keep one of them")
                elif other is None:
                    if ("models", name) not in self.cx.keys:
                        self.unknown_model(here, name)
                elif not set(model.operations) & set(other.operations):
                    what = f"{self.cx.shown(here, name)} has none of the operations of {model.name}"
                    self.cx.say(here, what, f"it has {', '.join(other.operations)}")

    def check_operations(self, operations: Sequence[str], at: Path, naming: bool = False) -> None:
        """Say which of these the gateway does not know. `naming`: of a model, which may name others by their path."""
        for n, operation in enumerate(operations):
            here: Path = (*at, n)
            if " " in operation:
                wrong = problem(operation)
                if wrong is not None:
                    self.cx.say(here, f"{self.cx.shown(here, operation)} {wrong[0]}", wrong[1])
                elif not naming and not any(operation in (m.operations or ()) for m in self.document.models.values()):
                    what = f"no model offers {self.cx.shown(here, operation)}"
                    self.cx.say(here, what, "name it in the operations of a model, too")
            elif operation not in self.operations:
                what = f"no operation is called {self.cx.shown(here, operation)}{closest(operation, self.operations)}"
                if operation in LATER:
                    what = f"{operation} belongs to the language and arrives later"
                self.cx.say(here, what, f"known: {', '.join(self.operations)}")

    def unknown_model(self, at: Path, model: str) -> None:
        near = closest(model, self.document.models)
        hint = "" if near else f"declared: {', '.join(self.document.models)}"
        if model == "all":
            hint = "for every model write models: all, without brackets"
        self.cx.say(at, f"no model is called {self.cx.shown(at, model)}{near}", hint)

    # ------------------------------------------------------------ boundaries

    @property
    def served(self) -> Sequence[str]:
        """Boundaries whose tenants this gateway serves."""
        return self.document.gateway.boundaries or tuple(self.document.boundaries)

    def regions_of(self, boundary: str) -> list[str]:
        """A boundary's regions, for an error: as they stand in the file."""
        regions = self.document.boundaries[boundary].regions
        return [self.cx.sealed.get(("boundaries", boundary, "regions", n), r) for n, r in enumerate(regions)]

    def check_boundaries(self) -> None:
        """Those served are declared, and this gateway is inside each of them."""
        declared, gateway = self.document.boundaries, self.document.gateway
        for n, name in enumerate(gateway.boundaries or ()):
            if name not in declared and not self.cx.problems.damaged(("boundaries", name)):
                here: Path = ("gateway", "boundaries", n)
                what = f"no boundary is called {self.cx.shown(here, name)}{closest(name, declared)}"
                self.cx.say(here, what, f"declared: {', '.join(declared)}" if declared else "declare boundaries:")
        for name in self.served:
            boundary = declared.get(name)
            if boundary is None or inside(boundary, gateway.region, LEVELS[0]):
                continue
            at: Path = ("gateway", "region")
            outside = f"boundary {quoted(name)} ({', '.join(self.regions_of(name))})"
            if gateway.region:
                what = f"{self.cx.shown(at, gateway.region)} is outside {outside}"
                hint = (
                    "tenants of it cannot be served from here: write gateway.boundaries without it, or add the region"
                )
                self.cx.say(at, what, hint)
            else:
                self.cx.say(at, f"left out, so this gateway is outside {outside}", "write gateway.region")

    def cuts(self, members: list[Deployment]) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """For each boundary, the members inside it; none where its tenants are not served."""
        cuts = []
        for name, boundary in self.document.boundaries.items():
            kept = [d.number for d in members if inside(boundary, self.offers.regions[d.number], d.processing)]
            cuts.append((name, tuple(kept) if name in self.served else ()))
        return tuple(cuts)

    def log(self, target: str) -> str:
        return target if target in ("", "stdout", "stderr") else self.files.path(target)


def bounds(name: str, spec: BoundarySpec) -> Boundary:
    """As the Snapshot has it."""
    regions = tuple("*" if region == "*" else plain(region) for region in spec.regions)
    return Boundary(name, regions, Endpoint().write(spec.url) if spec.url else "")


def merged(own: TimeoutsSpec, defaults: TimeoutsSpec) -> settings.Timeouts:
    """Key by key: the model's, then those of `defaults`, then ours."""
    values = {}
    for f in fields(TimeoutsSpec):
        given = (getattr(own, f.name), getattr(defaults, f.name))
        values[f.name] = next((v for v in given if v is not None), f.metadata["otherwise"])
    return settings.Timeouts(**values)
