"""From what was declared to what applies: numbers instead of names, pools in the order in which they are tried.

Everything that can only be judged across sections is judged here: references to nothing, pools that disagree, two
consumers with one key. Numbers are by order of declaration and hold for this process.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from dataclasses import fields

from sluicegate.core import settings
from sluicegate.core.caller import digest
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import ConsumerEntry, Directory, Instance, Model, Snapshot
from sluicegate.spec.kinds import Context, closest
from sluicegate.spec.language import ConsumerSpec, Document, GatewaySpec, InstanceSpec, ModelSpec, TimeoutsSpec
from sluicegate.spec.pools import Offers
from sluicegate.spec.problems import Path
from sluicegate.spec.references import Wrong
from sluicegate.spec.skus import PROVISIONED, SKUS

DATED = ("azure_openai",)
"""Providers that know `api-version`."""


LATER_OPERATIONS = (
    "audio", "batches", "completions", "embeddings", "files", "fine_tuning", "images", "realtime", "responses",
)  # fmt: skip


class Compiler:
    """One compilation. `base`: the directory of the configuration; `operations`: what the gateway knows to serve."""

    def __init__(self, document: Document, cx: Context, base: str, operations: Sequence[str]) -> None:
        self.document = document
        self.cx = cx
        self.base = base
        self.operations = tuple(operations)
        self.offers = Offers(cx)

    def snapshot(self) -> Snapshot:
        """The compiled configuration, its hash still empty. Worth something only if no error was reported."""
        gateway = self.gateway(self.document.gateway)
        instances = [self.instance(n, *item) for n, item in enumerate(self.document.instances.items(), 1)]
        models = [self.model(n, *item) for n, item in enumerate(self.document.models.items(), 1)]
        return Snapshot("", gateway, tuple(instances), tuple(self.offers.deployments), tuple(models))

    def directory(self, secrets: tuple[Secret, ...]) -> Directory:
        """Consumers, their keys digested under the first secret."""
        entries = []
        for number, (name, spec) in enumerate(self.document.consumers.items(), 1):
            digests = tuple(digest(key.reveal().encode(), secrets[0]) for key in keys_of(spec))
            entries.append(ConsumerEntry(number, name, spec.tenant, spec.models, digests))
        return Directory(secrets, tuple(entries))

    # ------------------------------------------------------------ the process

    def gateway(self, spec: GatewaySpec) -> settings.Gateway:
        listen, at = spec.listen, ("gateway", "listen", "tls")
        tls = None
        if listen.tls is not None:
            tls = settings.TlsFiles(self.path(listen.tls.certificate), self.path(listen.tls.key))
            self.check_certificate(tls, at)
        return settings.Gateway(
            name=spec.name,
            region=spec.region,
            data=self.path(spec.data),
            drain_s=spec.drain,
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

    def check_certificate(self, tls: settings.TlsFiles, at: Path) -> None:
        if self.readable(tls.certificate, (*at, "certificate")) and self.readable(tls.key, (*at, "key")):
            try:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(tls.certificate, tls.key, password=_no_passphrase)
            except Wrong as e:
                self.cx.say((*at, "key"), e.what, e.hint)
            except (ssl.SSLError, ValueError):
                hint = "both are PEM files, the certificate first in its chain, and the key belongs to it"
                self.cx.say((*at, "certificate"), "certificate and key do not make a pair we can serve with", hint)

    # ------------------------------------------------------------ what exists

    def instance(self, number: int, name: str, spec: InstanceSpec) -> Instance:
        at: Path = ("instances", name)
        if spec.api_version is not None and spec.provider not in DATED:
            self.cx.say((*at, "api_version"), f"has no effect with provider {spec.provider}", "remove it", key=True)
        if spec.provider in DATED and spec.endpoint.base_path.startswith("/openai"):
            hint = "write only the resource's address: the gateway adds the path of each request"
            self.cx.say((*at, "endpoint"), "has a path that belongs to requests", hint)
        if spec.connections.idle_min > spec.connections.idle_max:
            hint = f"write at most {spec.connections.idle_max}, or raise idle_max"
            self.cx.say((*at, "connections", "idle_min"), "is more than idle_max", hint)
        for deployment, declared in spec.deployments.items():
            here = (*at, "deployments", deployment)
            tier = SKUS[declared.sku]
            if declared.ptu is not None and tier != PROVISIONED:
                hint = "remove it, or write the provisioned kind: sku: ProvisionedManaged"
                self.cx.say((*here, "ptu"), f"has no effect on a deployment of {declared.sku}", hint, key=True)
            if declared.tier is not None:
                if tier < 0:
                    self.cx.say((*here, "tier"), "a batch deployment serves no live request", "remove it", key=True)
                tier = declared.tier if tier >= 0 else tier
            self.offers.add(name, number, deployment, declared.model, declared.version, declared.sku, tier)
        return Instance(
            number=number,
            name=name,
            provider=spec.provider,
            scheme=spec.endpoint.scheme,
            host=spec.endpoint.host,
            port=spec.endpoint.port,
            base_path=spec.endpoint.base_path,
            auth=spec.auth,
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

    def authorities(self, spec: InstanceSpec, at: Path) -> str | None:
        if spec.tls is None:
            return None
        if spec.endpoint.scheme != "https":
            self.cx.say((*at, "tls"), "has no effect on an http:// endpoint", "remove it, or write https://", key=True)
            return None
        ca, here = self.path(spec.tls.ca), (*at, "tls", "ca")
        if self.readable(ca, here):
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
            except (ssl.SSLError, ValueError):
                self.cx.say(here, "holds no certificate that we can read", "write a PEM file: BEGIN CERTIFICATE ...")
        return ca

    # ------------------------------------------------------------ how models are reached

    def model(self, number: int, name: str, spec: ModelSpec) -> Model:
        at: Path = ("models", name)
        defaults = self.document.defaults
        for n, operation in enumerate(spec.operations or ()):
            if operation not in self.operations:
                here: Path = (*at, "operations", n)
                what = f"no operation is called {self.cx.shown(here, operation)}{closest(operation, self.operations)}"
                if operation in LATER_OPERATIONS:
                    what = f"{operation} belongs to the language and arrives later"
                self.cx.say(here, what, f"known: {', '.join(self.operations)}")
        retry = spec.retry or defaults.retry
        body = spec.body or defaults.body
        leaving = spec.on_disconnect or defaults.on_disconnect
        plain = Model(0, "", (), ())
        return Model(
            number=number,
            name=name,
            deployments=self.offers.pool(spec.use, (*at, "use")),
            operations=spec.operations or self.operations,
            timeouts=merged(spec.timeouts, defaults.timeouts),
            attempts=retry.attempts if retry else plain.attempts,
            on_disconnect=settings.OnDisconnect(leaving.stream, leaving.other) if leaving else plain.on_disconnect,
            body_max=body.max if body else plain.body_max,
        )

    # ------------------------------------------------------------ who may use it

    def check_consumers(self) -> None:
        """Every grant names a model, every consumer has a key, and no two have the same."""
        owners: dict[Secret, Path] = {}
        for name, spec in self.document.consumers.items():
            at: Path = ("consumers", name)
            for n, model in enumerate(spec.models):
                if model != "*" and ("models", model) not in self.cx.keys:
                    self.unknown_model((*at, "models", n), model)
            if spec.key is not None and spec.keys is not None:
                self.cx.say((*at, "keys"), "stands beside key", "put both into keys", key=True)
            if not keys_of(spec) and not self.cx.problems.damaged(at):
                self.cx.say(at, "has no key", f"write key: ${{env:{name.upper().replace('-', '_')}_KEY}}", key=True)
            for n, key in enumerate(keys_of(spec)):
                here: Path = (*at, "key") if spec.keys is None else (*at, "keys", n)
                if key in owners:
                    first = owners[key]
                    whose = "it twice" if first[1] == name else f"the same key as consumers.{first[1]}"
                    what = f"shows {whose} ({self.cx.place(first)})"
                    self.cx.say(here, what, "one key belongs to one consumer: give each its own")
                else:
                    owners[key] = here

    def unknown_model(self, at: Path, model: str) -> None:
        near = closest(model, self.document.models)
        hint = "" if near else f"declared: {', '.join(self.document.models)}"
        if model == "all":
            hint = "for every model write models: all, without brackets"
        self.cx.say(at, f"no model is called {self.cx.shown(at, model)}{near}", hint)

    # ------------------------------------------------------------ files

    def path(self, path: str) -> str:
        """A path of the file system: relative ones start beside the configuration."""
        return os.path.normpath(os.path.join(self.base, path))

    def readable(self, path: str, at: Path) -> bool:
        try:
            with open(path, "rb") as f:
                f.read(1)
        except OSError as e:
            what = f"{self.cx.shown(at, path)} cannot be read: {(e.strerror or 'error').lower()}"
            self.cx.say(at, what, "relative paths start beside the configuration")
            return False
        return True


def keys_of(spec: ConsumerSpec) -> tuple[Secret, ...]:
    """The keys a consumer shows, from whichever field has them."""
    return spec.keys or ((spec.key,) if spec.key is not None else ())


def merged(own: TimeoutsSpec, defaults: TimeoutsSpec) -> settings.Timeouts:
    """Key by key: the model's, then those of `defaults`, then ours."""
    values = {}
    for f in fields(TimeoutsSpec):
        given = (getattr(own, f.name), getattr(defaults, f.name))
        values[f.name] = next((v for v in given if v is not None), f.metadata["otherwise"])
    return settings.Timeouts(**values)


def _no_passphrase() -> str:
    raise Wrong("has a passphrase", "store it without one, readable by this user only: openssl pkey -in KEY -out PLAIN")
