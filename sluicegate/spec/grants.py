"""Who may use what, compiled: each consumer with what its plan and tenant say, judged against models and boundaries.

Permissions are default deny and only ever narrower: a grant that leads nowhere is an error, one that a boundary
empties too. What consumers have in common is judged once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import NamedTuple

from sluicegate.core.caller import CLAIM, HEADER, digest
from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.secret import Secret
from sluicegate.core.settings import ParamSpec
from sluicegate.core.snapshot import ConsumerEntry, Directory, Model, TenantEntry
from sluicegate.spec.ceilings import LimitForm, identity
from sluicegate.spec.compile import Compiler
from sluicegate.spec.kinds import closest, quoted
from sluicegate.spec.matching import Matches, Matching
from sluicegate.spec.people import ConsumerSpec, PlanSpec, TenantSpec
from sluicegate.spec.problems import MOST, Path
from sluicegate.spec.rules import contradiction
from sluicegate.spec.secret import Digest, Key

DEFAULT = "default"
"""The tenant of consumers that name none."""

People = Sequence[tuple[str, ConsumerSpec, tuple[Key, ...]]]
"""Every consumer: its name, what is said of it, its keys."""

_NO_PLAN = PlanSpec()
_NO_MATCHES: Matches = {}


class Grant(NamedTuple):
    """What one consumer has, whatever its name and keys."""

    tenant: str
    models: tuple[str, ...]
    limits: tuple[LimitSpec, ...]
    params: tuple[ParamSpec, ...]
    operations: tuple[str, ...]
    diagnostics: bool
    labels: tuple[tuple[str, str], ...]
    end_user: str


def keys_of(spec: ConsumerSpec) -> tuple[Key, ...]:
    """The keys a consumer shows, from whichever field has them."""
    return spec.keys or ((spec.key,) if spec.key is not None else ())


class Grants:
    """One compilation of those who may ask."""

    def __init__(
        self, compiler: Compiler, models: Iterable[Model], people: People, matches: Matches = _NO_MATCHES
    ) -> None:
        self.compiler = compiler
        self.document = compiler.document
        self.cx = compiler.cx
        self.models = {m.name: m for m in models}
        self.people = people
        self.matching = Matching(compiler.document, matches, self.cx)
        self._grants: dict[int, Grant] = {}
        "By identity of what is said: many consumers share it."
        self.keyless: Container[str] = ()
        "Consumers that may have no key yet: made by the management API."

    def check(self) -> None:
        """Say everything that is wrong with tenants, plans and consumers."""
        for name, tenant in self.document.tenants.items():
            self._check_tenant(name, tenant)
        for name, plan in self.document.plans.items():
            self._check_common(("plans", name), plan)
        self.check_people()
        if not self.people and not self.cx.problems.damaged(("consumers",)):
            self.cx.say((), "needs consumers", "write consumers: a map from names to consumers")
        self.check_keys()
        self.matching.check()
        self.check_headed()
        self._check_end_users()

    def check_people(self) -> None:
        """Say everything that is wrong with consumers, each by itself."""
        sound: set[int] = set()
        wrong = 0
        for name, spec, _ in self.people:
            if id(spec) not in sound:
                before = len(self.cx.problems)
                self._check_consumer(name, spec)
                if len(self.cx.problems) == before:
                    sound.add(id(spec))
                else:
                    wrong += 1
                    if wrong > MOST:
                        break

    def directory(self, secrets: tuple[Secret, ...], number: Callable[[str, str], int]) -> Directory:
        """Consumers and tenants, keys digested under the first secret. `number` numbers them by kind and name."""
        current = secrets[0]
        entries = []
        grants = self._grants
        matches = self.matching.matches
        for name, spec, keys in self.people:
            match = matches.get(name)
            grant = grants.get(id(spec)) or self.grant(spec)
            digests = tuple([k.value if type(k) is Digest else digest(_bytes(k), current) for k in keys])
            entries.append(
                ConsumerEntry(
                    number("consumer", name), name, grant.tenant, grant.models, digests, grant.limits, grant.params,
                    grant.operations, grant.labels, grant.diagnostics, grant.end_user,
                    None if match is None else self.matching.resolved(match[0], spec.each),
                )
            )  # fmt: skip
        tenants = dict(self.document.tenants)
        for grant in self._grants.values():
            tenants.setdefault(grant.tenant, TenantSpec())
        return Directory(
            secrets,
            tuple(entries),
            tuple(
                TenantEntry(number("tenant", name), name, t.limits, t.params, t.labels, t.boundary)
                for name, t in tenants.items()
            ),
        )

    def grant(self, spec: ConsumerSpec) -> Grant:
        """The consumer's own, then its plan's: ceilings and permissions whole, rules and labels together."""
        plan = self.document.plans.get(spec.plan, _NO_PLAN)
        tenant = self.document.tenants.get(spec.tenant)
        grant = self._grants[id(spec)] = Grant(
            spec.tenant,
            spec.models or plan.models,
            spec.limits or plan.limits,
            plan.params + spec.params,
            spec.operations or plan.operations,
            spec.diagnostics or plan.diagnostics,
            tuple(sorted({**dict(plan.labels), **dict(spec.labels)}.items())),
            spec.end_user or plan.end_user or (tenant.end_user if tenant else "") or self.document.defaults.end_user,
        )
        return grant

    def check_headed(self) -> None:
        """End users that a proxy names need one that is believed."""
        document = self.document
        if document.gateway.trusted_proxies or self.cx.problems.damaged(("gateway", "trusted_proxies")):
            return
        places: list[tuple[Path, str]] = [(("defaults", "end_user"), document.defaults.end_user)]
        places += [(("tenants", name, "end_user"), t.end_user) for name, t in document.tenants.items()]
        places += [(("plans", name, "end_user"), p.end_user) for name, p in document.plans.items()]
        places += [(("consumers", name, "end_user"), spec.end_user) for name, spec, _ in self.people]
        for at in [at for at, said in places if said.startswith(HEADER)][:MOST]:
            what = "has no effect: headers are believed only of a proxy that is trusted"
            self.cx.say(at, what, "write gateway.trusted_proxies: [10.0.0.0/8]")

    def _check_end_users(self) -> None:
        """Whoever counts or keeps apart each end user needs somebody who names them."""
        named = {grant.tenant for grant in self._grants.values() if grant.end_user}
        if any(self.cx.problems.damaged((section,)) for section in ("consumers", "plans", "tenants", "defaults")):
            return
        for name, tenant in self.document.tenants.items():
            for n, limit in enumerate(tenant.limits):
                if limit.each == "end_user" and name not in named:
                    self._nobody(("tenants", name, "limits", n), "counts each end user, but none of its consumers")
        for model in self.models.values():
            if model.rollout is not None and model.rollout.stick_to == "end_user" and not named:
                self._nobody(("models", model.name, "rollout", "stick_to"), "is end_user, but no consumer")

    def _misnamed(self, at: Path, spec: ConsumerSpec) -> bool:
        """What would say who the end user is could not be read, and that was said already."""
        places: list[Path] = [at, ("plans", spec.plan), ("tenants", spec.tenant), ("defaults",)]
        return any(self.cx.problems.damaged((*place, "end_user")) for place in places)

    def _nobody(self, at: Path, what: str) -> None:
        self.cx.say(at, f"{what} says who that is", "write end_user: field:safety_identifier at the consumer")

    # ------------------------------------------------------------ tenants and plans

    def _check_tenant(self, name: str, spec: TenantSpec) -> None:
        at: Path = ("tenants", name)
        boundaries = self.document.boundaries
        if spec.boundary and spec.boundary not in boundaries:
            here: Path = (*at, "boundary")
            if not self.cx.problems.damaged(("boundaries", spec.boundary)):
                what = f"no boundary is called {self.cx.shown(here, spec.boundary)}{closest(spec.boundary, boundaries)}"
                self.cx.say(here, what, f"declared: {', '.join(boundaries)}" if boundaries else "declare boundaries:")
        elif not spec.boundary and boundaries and not self.cx.problems.damaged((*at, "boundary")):
            self.cx.say(at, "has no boundary", f"write boundary: one of {', '.join(boundaries)}", key=True)
        self._check_limits(spec.limits, (*at, "limits"))

    def _check_common(self, at: Path, spec: PlanSpec | ConsumerSpec) -> None:
        for n, model in enumerate(spec.models):
            if model != "*" and ("models", model) not in self.cx.keys:
                self.compiler.unknown_model((*at, "models", n), model)
        self.compiler.check_operations(spec.operations, (*at, "operations"))
        self._check_limits(spec.limits, (*at, "limits"))

    def _check_limits(self, limits: Sequence[LimitSpec], at: Path) -> None:
        seen: dict[tuple[object, ...], int] = {}
        for n, limit in enumerate(limits):
            first = seen.setdefault(identity(limit), n)
            if first != n:
                what = f"counts the same as {quoted(LimitForm().write(limits[first]))} in this list"
                self.cx.say((*at, n), what, "keep the smaller one")
            for i, model in enumerate(limit.models):
                if ("models", model) not in self.cx.keys:
                    self.compiler.unknown_model((*at, n, "models", i), model)
            self.compiler.check_operations(limit.operations, (*at, n, "operations"))

    # ------------------------------------------------------------ consumers

    def _check_consumer(self, name: str, spec: ConsumerSpec) -> None:
        at: Path = ("consumers", name)
        self._check_common(at, spec)
        boundary = self._check_tenant_of(at, spec)
        plans = self.document.plans
        if spec.plan and spec.plan not in plans:
            here: Path = (*at, "plan")
            if not self.cx.problems.damaged(("plans", spec.plan)):
                what = f"no plan is called {self.cx.shown(here, spec.plan)}{closest(spec.plan, plans)}"
                self.cx.say(here, what, f"declared: {', '.join(plans)}" if plans else "declare it under plans:")
            return
        grant = self.grant(spec)
        where: Path = (*at, "models") if spec.models else (*at, "plan")
        if not grant.models and not self.cx.problems.damaged((*at, "models")):
            missing = f"has no models, and plan {spec.plan} grants none" if spec.plan else "has no models"
            self.cx.say(at, missing, "nothing is granted that is not written: models: [...], or models: all", key=True)
        for n, limit in enumerate(grant.limits):
            if limit.each == "end_user" and not grant.end_user and not self._misnamed(at, spec):
                self._nobody((*at, "limits", n) if spec.limits else (*at, "plan"), "counts each end user, but nothing")
        for n, model in enumerate(grant.models):
            here = (*where, n) if spec.models else where
            for found in self._offered(model):
                self._check_grant(here, grant, found, boundary, listed=model != "*")

    def _offered(self, name: str) -> Iterator[Model]:
        if name == "*":
            yield from self.models.values()
        elif name in self.models:
            yield self.models[name]

    def _check_tenant_of(self, at: Path, spec: ConsumerSpec) -> str:
        """The boundary of the consumer's tenant, empty for none."""
        tenants = self.document.tenants
        tenant = tenants.get(spec.tenant)
        here: Path = (*at, "tenant")
        if tenant is not None:
            return tenant.boundary
        if self.cx.problems.damaged(("tenants", spec.tenant)):
            return ""
        if spec.tenant != DEFAULT and tenants:
            what = f"no tenant is called {self.cx.shown(here, spec.tenant)}{closest(spec.tenant, tenants)}"
            self.cx.say(here, what, f"declared: {', '.join(tenants)}; or declare it: NAME: {{}}")
        elif self.document.boundaries:
            what = "belongs to no tenant that is declared, so it is inside no boundary"
            self.cx.say(at, what, f"write tenant: {', or '.join(tenants) or 'NAME'}", key=True)
        return ""

    def _check_grant(self, at: Path, grant: Grant, model: Model, boundary: str, listed: bool) -> None:
        """What a consumer may use must be there for it, and the rules for it must be possible."""
        if boundary and listed and boundary in self.compiler.served and model.deployments:
            if not dict(model.cuts).get(boundary, model.deployments):
                inside = f"inside boundary {quoted(boundary)} of tenant {grant.tenant}"
                self.cx.say(at, f"{quoted(model.name)} has no deployment {inside}", self._way_in(boundary))
        tenant = self.document.tenants.get(grant.tenant)
        both = contradiction((*model.params, *(tenant.params if tenant else ()), *grant.params))
        if both is not None:
            what = f"the rules of {both[0].origin} and {both[1].origin} for {both[0].field} cannot hold together"
            self.cx.say(at, f"{quoted(model.name)}: {what}", "change one of them, or remove the grant")
        if grant.operations and not set(grant.operations) & set(model.operations):
            what = f"{quoted(model.name)} offers none of its operations: it cannot be used"
            self.cx.say(at, what, f"it offers {', '.join(model.operations)}", "note")
        if grant.models != ("*",):
            for n, other in enumerate(model.fallback):
                if other not in grant.models:
                    shown = self.cx.shown(("models", model.name, "fallback", n), other)
                    what = f"{quoted(model.name)} falls back to {shown}, which it may not use: no fallback for it"
                    self.cx.say(at, what, "", "note")

    def _way_in(self, name: str) -> str:
        boundary = self.document.boundaries[name]
        regions = self.compiler.regions_of(name)
        where = (
            "any region"
            if boundary.regions == ("*",)
            else " or ".join(filter(None, [", ".join(regions[:-1]), regions[-1]]))
        )
        level = boundary.processing.replace("_", " ")
        return f"remove the grant, or declare a deployment in {where}, processed at most {level}"

    def check_keys(self) -> None:
        """Every consumer has a key, and no two have the same."""
        owners: dict[object, tuple[str, int]] = {}
        for name, spec, keys in self.people:
            if spec.key is not None and spec.keys is not None:
                self.cx.say(("consumers", name, "keys"), "stands beside key", "put both into keys", key=True)
            shows = keys or name in self.matching.matches or name in self.keyless
            if not shows and not self.cx.problems.damaged(("consumers", name)):
                hint = f"write key: ${{env:{name.upper().replace('-', '_').replace('.', '_')}_KEY}}"
                hint += ", or match: for callers with tokens" if self.matching.issuers else ""
                self.cx.say(("consumers", name), "has no key", hint, key=True)
            if spec.end_user.startswith(CLAIM) and name not in self.matching.matches:
                what = "has no effect: only tokens have claims, and it shows keys"
                hint = "write match: too, or end_user: field:safety_identifier"
                self.cx.say(("consumers", name, "end_user"), what, hint)
            if spec.each and name not in self.matching.matches:
                hint = "write match: {issuer: ...}, or remove it"
                self.cx.say(("consumers", name, "each"), "has no effect without match", hint, key=True)
            for n, key in enumerate(keys):
                first = owners.setdefault(key.value if type(key) is Digest else key, (name, n))
                if first != (name, n):
                    self._twice(name, n, first)

    def _twice(self, name: str, n: int, first: tuple[str, int]) -> None:
        here, there = self._key_path(name, n), self._key_path(*first)
        whose = "it twice" if first[0] == name else f"the same key as consumers.{first[0]}"
        what = f"shows {whose} ({self.cx.place(there)})"
        self.cx.say(here, what, "one key belongs to one consumer: give each its own")

    def _key_path(self, name: str, n: int) -> Path:
        several: Path = ("consumers", name, "keys", n)
        return several if several in self.cx.values else ("consumers", name, "key")

    def check_digests(self, secrets: Sequence[Secret]) -> None:
        """A key that one consumer refers to and another has the digest of is one key of two consumers."""
        written = {k.value: (name, n) for name, _, keys in self.people for n, k in enumerate(keys) if type(k) is Digest}
        if not written:
            return
        for name, _, keys in self.people:
            for n, key in enumerate(keys):
                if isinstance(key, Secret):
                    for secret in secrets:
                        first = written.get(digest(_bytes(key), secret))
                        if first is not None:
                            self._twice(name, n, first)


def _bytes(key: Key) -> bytes:
    assert isinstance(key, Secret)
    return key.reveal().encode()
