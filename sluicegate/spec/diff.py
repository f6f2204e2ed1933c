"""What changes between two configurations, in words: `web-shop: limits: 60k -> 80k tokens/minute`.

A configuration is told as objects with fields, all of them text as people write it, secrets as digests of which
nothing is shown. In this form it crosses from a running gateway (`told`, `heard`), so that comparing needs neither its
files nor its keys. Defaults are written out: a value that is written where it was a default before is no change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from sluicegate.core.caller import digest
from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.secret import Secret
from sluicegate.core.settings import ParamSpec
from sluicegate.core.snapshot import ConsumerEntry, Directory
from sluicegate.core.whose import said
from sluicegate.spec.auth import AuthSpec
from sluicegate.spec.ceilings import LimitForm, amount_of, unit_of
from sluicegate.spec.kinds import Kind
from sluicegate.spec.language import Document
from sluicegate.spec.problems import counted
from sluicegate.spec.rules import Rules, rule_of
from sluicegate.spec.secret import Digest
from sluicegate.spec.sections import Listing, Named, Section
from sluicegate.spec.values import EndUser

RESTART = (
    "gateway.listen", "gateway.admin.address", "gateway.workers", "gateway.data", "stores.shared.url",
    "stores.ledger.url",
)  # fmt: skip
CONNECTIONS = ("endpoint", "tls", "connections", "provider")
"""Fields of instances."""

SECRET = "\x01"
"""Begins the digest of a secret: no other text can have it in it."""

SHOWN = 3
"""Names of objects that changed alike, before the rest is counted."""


@dataclass(frozen=True, slots=True)
class Told:
    """A configuration as objects and their fields."""

    hash: str
    objects: dict[str, dict[str, str]]
    "By path: `gateway`, `models.chat`, `instances.weu.deployments.gpt-4o`."
    grants: list[dict[str, str]]
    "What consumers have, each once."
    consumers: dict[str, tuple[int, str]]
    "By name: number of its grant, digests of its keys."
    matches: dict[str, str] = dataclasses.field(default_factory=dict)
    "By name, of consumers whose tokens or certificates are matched."


class Change(NamedTuple):
    """One field of one object, or of several that changed alike."""

    names: tuple[str, ...]
    "Paths of the objects."
    what: str
    effect: str
    "live, new connections, or restart."


def told(document: Document, directory: Directory, hash: str) -> Told:
    """The configuration as it crosses to whoever compares it: no secret is in it."""
    objects: dict[str, dict[str, str]] = {}
    _walk(Section(Document), document, "", "", objects, directory.secrets[0])
    for name in [n for n in objects if n.startswith("consumers.")]:
        del objects[name]
    numbers: dict[ConsumerEntry | tuple[object, ...], int] = {}
    grants: list[dict[str, str]] = []
    consumers: dict[str, tuple[int, str]] = {}
    for c in directory.consumers:
        same = (c.tenant, c.models, c.limits, c.params, c.operations, c.labels, c.diagnostics, c.end_user)
        number = numbers.setdefault(same, len(grants))
        if number == len(grants):
            grants.append(grant(c))
        consumers[c.name] = (number, " ".join([d[:6].hex() for d in c.digests]))
    matches = {c.name: said(c.match) for c in directory.consumers if c.match is not None}
    return Told(hash, objects, grants, consumers, matches)


def pack(config: Told) -> bytes:
    """As JSON."""
    return msgspec.json.encode(config)


def unpack(text: bytes) -> Told:
    """The inverse of `pack`. Raises ValueError."""
    return msgspec.json.decode(text, type=Told)


def compare(old: Told, new: Told) -> list[Change]:
    """Every difference, in the order of the new configuration; what objects have alike is said once."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for path in _both(old.objects, new.objects):
        for what, effect in _object(path, old.objects.get(path), new.objects.get(path)):
            alike.setdefault((path.partition(".")[0], what, effect), []).append(path)
    judged: dict[tuple[int, int], list[str]] = {}
    for name in _both(old.consumers, new.consumers):
        before, after = old.consumers.get(name), new.consumers.get(name)
        if before is None or after is None:
            words = ["removed"] if after is None else [_added(new.grants[after[0]])]
        else:
            pair = (before[0], after[0])
            if pair not in judged:
                judged[pair] = list(_fields(old.grants[before[0]], new.grants[after[0]]))
            words = judged[pair] + ([_keys(before[1], after[1])] if before[1] != after[1] else [])
            rules = (old.matches.get(name), new.matches.get(name))
            if rules[0] != rules[1]:
                words = [*words, _field("match", *rules)]
        for what in words:
            alike.setdefault(("consumers", what, "live"), []).append(f"consumers.{name}")
    return [Change(tuple(names), what, effect) for (_, what, effect), names in alike.items()]


def words(changes: Sequence[Change]) -> str:
    """For people, a line each, and what it takes to put them in force."""
    if not changes:
        return "no change"
    lines = []
    for names, what, effect in changes:
        shown = ", ".join(names[:SHOWN])
        if len(names) > SHOWN:
            shown += f" and {len(names) - SHOWN} more"
        lines.append(f"{shown}: {what}" + (f"  ({effect})" if effect != "live" else ""))
    counts = [
        f"{sum(len(c.names) for c in changes if c.effect == effect)} {says}"
        for effect, says in (
            ("live", "live"),
            ("new connections", "for new connections"),
            ("restart", "after a restart"),
        )
        if any(c.effect == effect for c in changes)
    ]
    total = sum(len(c.names) for c in changes)
    return "\n".join([*lines, f"{counted(total, 'change')}: {', '.join(counts)}"])


# ---------------------------------------------------------------- telling


def _walk(
    section: Section, value: Any, path: str, prefix: str, objects: dict[str, dict[str, str]], key: Secret
) -> None:
    """Tell a section: `path` is the object it belongs to, `prefix` what its fields begin with there."""
    for name, (kind, field) in section.fields.items():
        held = getattr(value, field.name)
        if isinstance(kind, Named) and not isinstance(kind.kind, Section):
            objects[path].update((f"{prefix}{name}.{entry}", kind.kind.write(inner)) for entry, inner in held.items())
        elif isinstance(kind, Named):
            for entry, inner in held.items():
                below = f"{path}.{prefix}{name}.{entry}" if path else f"{name}.{entry}"
                objects[below] = {}
                assert isinstance(kind.kind, Section)
                _walk(kind.kind, inner, below, "", objects, key)
        elif isinstance(kind, Section):
            if path:
                if held is None and path == "defaults":
                    held = kind.cls()
                if held is not None:
                    _walk(kind, held, path, f"{prefix}{name}.", objects, key)
            else:
                objects[name] = {}
                _walk(kind, held, name, "", objects, key)
        elif path and name != "was":
            if held is None and path == "defaults":  # elsewhere the value of `defaults` holds
                held = field.metadata.get("otherwise")
            objects[path].update(_tell(f"{prefix}{name}", kind, held, key))


def _tell(name: str, kind: Kind, value: Any, key: Secret) -> Iterator[tuple[str, str]]:
    if value is None or value in ("", ()):
        return
    if isinstance(kind, Listing) and isinstance(kind.kind, LimitForm):
        yield from _limits(name, value)
    elif isinstance(kind, Rules):
        yield from _rules(name, value)
    elif isinstance(value, AuthSpec):
        secret = value.key or value.client_secret
        shown = "key" if value.key is not None else kind.write(value)
        yield name, shown if secret is None else f"{shown} {_sealed([secret], key)}"
    elif isinstance(value, tuple) and any(isinstance(v, Secret) for v in value):
        yield name, _sealed(value, key)
    else:
        yield name, kind.write(value)


def grant(c: ConsumerEntry) -> dict[str, str]:
    """What a consumer has, each field as it would be written."""
    fields = {"tenant": c.tenant, "models": "all" if c.models == ("*",) else _list(c.models)}
    fields |= dict(_limits("limits", c.limits)) | dict(_rules("params", c.params))
    if c.operations:
        fields["operations"] = _list(c.operations)
    if c.end_user:
        fields["end_user"] = EndUser().write(c.end_user)
    return fields | {f"labels.{name}": text for name, text in c.labels}


def _limits(name: str, limits: Sequence[LimitSpec]) -> Iterator[tuple[str, str]]:
    for limit in limits:
        yield f"{name}: {unit_of(limit)}", amount_of(limit)


def _rules(name: str, rules: Sequence[ParamSpec]) -> Iterator[tuple[str, str]]:
    for rule in rules:
        yield f"{name}.{rule.field}" + (f" ({rule.origin})" if rule.origin.startswith("plans.") else ""), rule_of(rule)


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(names)}]"


def _sealed(secrets: Sequence[Secret | Digest], key: Secret) -> str:
    """Of keys in a list some may be digests already."""
    digests = (s.value if isinstance(s, Digest) else digest(s.reveal().encode(), key) for s in secrets)
    return " ".join(SECRET + d[:6].hex() for d in digests)


# ---------------------------------------------------------------- comparing


def _both(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    yield from new
    for name in old:
        if name not in new:
            yield name


def _object(path: str, old: dict[str, str] | None, new: dict[str, str] | None) -> Iterator[tuple[str, str]]:
    if new is None:
        yield "removed", "live"
    elif old is None:
        yield _added(new), "live"
    else:
        for field in _both(old, new):
            if old.get(field) != new.get(field):
                yield _field(field, old.get(field), new.get(field)), _effect(path, field)


def _fields(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for field in _both(old, new):
        if old.get(field) != new.get(field):
            yield _field(field, old.get(field), new.get(field))


def _field(field: str, old: str | None, new: str | None) -> str:
    """`use: a@1 -> a@2`, `limits: 60k -> 80k tokens/minute`, `limits: 20 concurrent removed`."""
    if SECRET in (old or "") + (new or ""):
        return f"{field}: {seen(old)} -> {seen(new)}" if seen(old) != seen(new) else f"{field}: another secret"
    name, colon, unit = field.partition(": ")
    tail = f" {unit}" if colon else ""
    if old is None or new is None:
        return f"{name}: {old or new}{tail} {'removed' if new is None else 'added'}"
    return f"{name}: {old} -> {new}{tail}"


def seen(text: str | None) -> str:
    """Without the digests of secrets."""
    if text is None:
        return "none"
    return " ".join("***" if part.startswith(SECRET) else part for part in text.split(" "))


def _keys(old: str, new: str) -> str:
    before, after = set(old.split()), set(new.split())
    came, went = len(after - before), len(before - after)
    if came and went:
        return f"{counted(came, 'key')} for {counted(went, 'other')}" if came != 1 or went != 1 else "another key"
    if not came and not went:
        return "its keys in another order"
    return f"{counted(came, 'key')} added" if came else f"{counted(went, 'key')} removed"


def _added(fields: Mapping[str, str]) -> str:
    said = []
    for field in ("use", "endpoint", "model", "version", "sku", "tenant", "models", "boundary", "regions"):
        if field in fields:
            said.append(f"{field} {fields[field]}")
    return "added" + (f" ({', '.join(said)})" if said else "")


def _effect(path: str, field: str) -> str:
    field = field.partition(": ")[0]
    whole = f"{path}.{field}"
    if any(whole == name or whole.startswith(name + ".") for name in RESTART):
        return "restart"
    if path.startswith("instances.") and ".deployments." not in path and field.split(".")[0] in CONNECTIONS:
        return "new connections"
    return "live"
