"""What a configuration that compiles may still not do as people hope. Warnings and notes, never errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Snapshot
from sluicegate.spec.grants import keys_of
from sluicegate.spec.kinds import Context
from sluicegate.spec.language import Document
from sluicegate.spec.problems import Path, Severity
from sluicegate.spec.units import Duration
from sluicegate.spec.values import Url

SHORT_KEY = 16


class Finding(NamedTuple):
    """What a rule has to say. `key`: about the thing of this name, not about what was written for it."""

    path: Path
    severity: Severity
    what: str
    hint: str = ""
    key: bool = False


def lint(document: Document, snapshot: Snapshot, cx: Context) -> None:
    """Write every finding down."""
    for rule in (plain_http, lonely, hasty, overrides, twins, idle_capacity, short_keys):
        for f in rule(document, snapshot):
            cx.say(f.path, f.what, f.hint, f.severity, f.key)


def plain_http(document: Document, snapshot: Snapshot) -> Iterator[Finding]:
    """Keys and prompts on a network in clear."""
    for name, spec in document.instances.items():
        if spec.endpoint.scheme == "http" and not spec.endpoint.loopback:
            what = "plain HTTP: the key and all text cross the network in clear"
            yield Finding(("instances", name, "endpoint"), "note", what, "write https:// if the server can")
    listen = snapshot.gateway.listen
    if listen.tls is None and not Url("http", listen.host, 80, "").loopback:
        what = "plain HTTP: clients' keys and all text cross the network in clear"
        yield Finding(("gateway", "listen", "address"), "note", what, "add tls, unless something in front does it")


def lonely(document: Document, snapshot: Snapshot) -> Iterator[Finding]:
    """A pool of one."""
    for model in snapshot.models:
        if len(model.deployments) == 1:
            what = "one deployment only: when it is throttled or broken, nothing stands in for it"
            yield Finding(
                ("models", model.name, "use"), "warning", what, "declare another of the same model and version"
            )


def hasty(document: Document, snapshot: Snapshot) -> Iterator[Finding]:
    """Times that another time makes pointless."""
    for model in snapshot.models:
        times = model.timeouts
        for key in ("connect", "first_byte", "idle"):
            if getattr(times, key) > times.total:
                what = f"{key} is longer than total ({Duration().write(times.total)}), which ends the request first"
                yield Finding(("models", model.name, "timeouts", key), "warning", what, "shorten it, or raise total")


def overrides(document: Document, snapshot: Snapshot) -> Iterator[Finding]:
    """Facts that were overridden by hand."""
    for name, spec in document.instances.items():
        for deployment, declared in spec.deployments.items():
            if declared.tier is not None:
                what = f"overrides what follows from {declared.sku}"
                yield Finding(("instances", name, "deployments", deployment, "tier"), "note", what)


def twins(document: Document, snapshot: Snapshot) -> Iterator[Finding]:
    """Two names for one place: usually a line that was copied and not changed."""
    seen: dict[Url, str] = {}
    for name, spec in document.instances.items():
        first = seen.setdefault(spec.endpoint, name)
        if first != name:
            what = f"the same address as instances.{first}: deployments of both share their capacity and their faults"
            yield Finding(
                ("instances", name, "endpoint"), "warning", what, "declare all its deployments in one instance"
            )


def idle_capacity(document: Document, snapshot: Snapshot) -> Iterator[Finding]:
    """Deployments nobody can reach."""
    used = {number for model in snapshot.models for number in model.deployments}
    used |= {number for model in snapshot.models if model.rollout for number in model.rollout.deployments}
    instances = {i.number: i.name for i in snapshot.instances}
    for d in snapshot.deployments:
        if d.number not in used and d.tier >= 0:
            path = ("instances", instances[d.instance], "deployments", d.name)
            yield Finding(path, "note", "no model uses it", "name it in the use of a model, or remove it", key=True)


def short_keys(document: Document, snapshot: Snapshot) -> Iterator[Finding]:
    """Keys that can be guessed."""
    for name, spec in document.consumers.items():
        for n, key in enumerate(keys_of(spec)):
            if isinstance(key, Secret) and len(key.reveal()) < SHORT_KEY:
                path: Path = ("consumers", name, "key") if spec.keys is None else ("consumers", name, "keys", n)
                yield Finding(
                    path, "warning", f"shorter than {SHORT_KEY} characters", "openssl rand -hex 32 makes a key"
                )
