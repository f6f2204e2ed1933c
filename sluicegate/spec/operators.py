"""Who may run the gateway: the listener of the management API, operators with keys, people of an issuer who log in."""

from __future__ import annotations

import re

from sluicegate.core import settings
from sluicegate.spec.beside import Files
from sluicegate.spec.issuers import Guid
from sluicegate.spec.kinds import closest, quoted
from sluicegate.spec.language import Document
from sluicegate.spec.problems import Path
from sluicegate.spec.process import AdminSpec, WhoSpec


class Operators:
    """As the configuration declares them."""

    def __init__(self, document: Document, files: Files) -> None:
        self._document = document
        self._files = files
        self._cx = files.cx

    def admin(self, spec: AdminSpec) -> settings.Admin:
        """Two operators with one key could not be told apart in what is written down of them."""
        keys: dict[bytes, str] = {}
        for name, operator in spec.keys.items():
            first = keys.setdefault(operator.key.value, name)
            if first != name:
                at: Path = ("gateway", "admin", "keys", name, "key")
                hint = "each has a key of its own: sluicegate key new --admin"
                self._cx.say(at, f'is the key of "{first}" too', hint)
            self._tenant_of(("gateway", "admin", "keys", name), operator.role, operator.tenant)
        return settings.Admin(
            spec.address.host,
            spec.address.port,
            spec.hosts,
            tuple(settings.OperatorKey(name, o.role, o.key.value, o.tenant) for name, o in spec.keys.items()),
            self._tls(spec),
            spec.public_url or "",
            self._login(spec),
        )

    def _tls(self, spec: AdminSpec) -> settings.TlsFiles | None:
        if spec.tls is None:
            return None
        tls = settings.TlsFiles(self._files.path(spec.tls.certificate), self._files.path(spec.tls.key))
        self._files.pair(tls, ("gateway", "admin", "tls"))
        return tls

    def _login(self, spec: AdminSpec) -> settings.Login | None:
        """Passwords and sessions never cross a network in the clear."""
        at: Path = ("gateway", "admin", "login")
        login = spec.login
        if login is None:
            return None
        issuers = self._document.issuers
        declared = issuers.get(login.issuer)
        if declared is None and not self._cx.problems.damaged(("issuers",)):
            here: Path = (*at, "issuer")
            what = f"no issuer is called {self._cx.shown(here, login.issuer)}{closest(login.issuer, issuers)}"
            self._cx.say(here, what, f"declared: {', '.join(issuers)}" if issuers else "declare it under issuers:")
        elif declared is not None and declared.jwks is not None:
            what = f"{quoted(login.issuer)} names its keys itself, so nobody knows where its people log in"
            self._cx.say((*at, "issuer"), what, f"remove issuers.{login.issuer}.jwks: its discovery document says both")
        rules: list[settings.LoginRule] = []
        for role, who in (("owner", login.owners), ("operator", login.operators), ("auditor", login.auditors)):
            rules += _rules_of(role, who)
        for tenant, who in login.tenant_admins.items():
            self._tenant_of((*at, "tenant_admins", tenant), "tenant_admin", tenant, key=True)
            rules += _rules_of("tenant_admin", who, tenant)
        rules += _rules_of("viewer", login.viewers)
        if not rules and not self._cx.problems.damaged(at):
            self._cx.say(
                at, "lets nobody in", "write owners: {groups: [...]}, or operators, auditors, viewers", key=True
            )
        if spec.public_url is not None:
            host = spec.public_url.partition("://")[2].partition("/")[0]
            near = host.startswith(("127.0.0.1", "localhost", "[::1]"))
            if not spec.public_url.startswith("https://") and not near:
                self._cx.say(("gateway", "admin", "public_url"), "is not https://", "log in by https:// only")
            if "/" in spec.public_url.partition("://")[2]:
                what = "has a path: the management API has none before its own"
                self._cx.say(("gateway", "admin", "public_url"), what, "write only its address")
        elif spec.address.host not in ("127.0.0.1", "::1", "localhost"):
            what = "others reach this address, and it is not said how browsers call it"
            self._cx.say(at, what, "write gateway.admin.public_url: https://admin.contoso.example", key=True)
        client = login.client_id
        if not client and declared is not None:
            ids = [a for a in declared.audience if re.fullmatch(Guid.pattern, a)]
            client = (ids or list(declared.audience))[0]
        return settings.Login(login.issuer, client, tuple(rules), login.client_secret)

    def _tenant_of(self, at: Path, role: str, tenant: str, key: bool = False) -> None:
        """Who speaks for a tenant names it, and nobody else does."""
        tenants = self._document.tenants
        if role == "tenant_admin" and not tenant:
            self._cx.say(at, "names no tenant", "write tenant: whose consumers it sees and changes", key=True)
        elif role != "tenant_admin" and tenant:
            what = f"has no effect on the role {role}"
            self._cx.say((*at, "tenant"), what, "remove it, or write role: tenant_admin", key=True)
        elif tenant and tenants and tenant not in tenants:
            where: Path = at if key else (*at, "tenant")
            what = f"no tenant is called {self._cx.shown(where, tenant)}{closest(tenant, tenants)}"
            self._cx.say(where, what, f"declared: {', '.join(tenants)}", key=key)


def _rules_of(role: str, who: WhoSpec | None, tenant: str = "") -> list[settings.LoginRule]:
    """What claims of somebody must hold for this role."""
    if who is None:
        return []
    given = (("groups", who.groups), ("roles", who.roles), ("users", who.users))
    return [settings.LoginRule(role, claim, values, tenant) for claim, values in given if values]
