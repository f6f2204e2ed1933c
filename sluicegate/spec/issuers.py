"""Issuers: who signs the tokens that consumers may show instead of keys, and how these are judged."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import urlsplit

from sluicegate.core.settings import Identity, Issuer, Says
from sluicegate.spec.addresses import Endpoint, Url
from sluicegate.spec.auth import AuthForm, AuthSpec, identity_of
from sluicegate.spec.kinds import MISSING, Choice, Context, Kind, Text, Word, quoted
from sluicegate.spec.nodes import Listing as ListNode
from sluicegate.spec.nodes import Node
from sluicegate.spec.problems import Path
from sluicegate.spec.references import Wrong
from sluicegate.spec.sections import Listing
from sluicegate.spec.units import DAY, Duration

_I = Issuer("", (), (), "")

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""No HS*: whoever can check such a token can make one. No none."""

USUAL = ("RS256", "PS256", "ES256")

PUBLIC = "https://login.microsoftonline.com"
STS = {
    PUBLIC: "https://sts.windows.net",
    "https://login.microsoftonline.us": "https://sts.windows.net",
    "https://login.partner.microsoftonline.cn": "https://sts.chinacloudapi.cn",
}
"""By the authority of a cloud, who its tokens of version 1 say they are of. Of any other: the authority itself."""

GRAPHS = {
    PUBLIC: "https://graph.microsoft.com",
    "https://login.microsoftonline.us": "https://graph.microsoft.us",
    "https://login.partner.microsoftonline.cn": "https://microsoftgraph.chinacloudapi.cn",
}
"""By the authority of a cloud, where its directories are asked."""

MORE_GRAPHS = ("https://dod-graph.microsoft.us",)

_GUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
DISCOVERY = "/.well-known/openid-configuration"


class Guid(Word):
    """`11110000-0000-4000-8000-000000000003`."""

    pattern = _GUID

    def says(self) -> str:
        return "an id such as 11110000-0000-4000-8000-000000000003"

    def parse(self, text: str) -> str:
        if not re.fullmatch(_GUID, text):
            raise Wrong("is not such an id", f"write {self.says()}")
        return text.lower()


class Algorithm(Choice):
    """Of signatures."""

    def __init__(self) -> None:
        super().__init__(ALGORITHMS)

    def parse(self, text: str) -> str:
        if text.startswith("HS") or text.lower() == "none":
            raise Wrong("proves nothing: whoever can check it can make it", f"write {self.says()}")
        return super().parse(text)


class OneOrMore(Kind):
    """One, or a list of them."""

    def __init__(self, kind: Word) -> None:
        self._one = kind
        self._list = Listing(kind)

    def says(self) -> str:
        return f"{self._one.says()}, or a list of them"

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        if isinstance(node, ListNode):
            return self._list.read(cx, node, path)
        one = self._one.read(cx, node, path)
        return MISSING if one is MISSING else (one,)

    def write(self, value: tuple[str, ...]) -> str:
        return value[0] if len(value) == 1 else self._list.write(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self._one.schema(), self._list.schema()]}


class IssuerUrl(Word):
    """`https://id.example`: exactly as its tokens say it, a slash at the end included."""

    pattern = r"https?://\S+"

    def says(self) -> str:
        return "what its tokens say in `iss`, such as https://id.partner.example"

    def parse(self, text: str) -> str:
        url: Url = Endpoint().parse(text)
        if url.scheme == "http" and not url.loopback:
            raise Wrong("sends keys where anybody could change them", "write https://; http:// on this machine only")
        return text


class KeysAt(IssuerUrl):
    """Where a key set is: an address, or a path."""

    pattern = r"\S+"

    def says(self) -> str:
        return "the address of a key set such as https://id.partner.example/keys, or a path to a file"

    def parse(self, text: str) -> str:
        if "://" not in text:
            if len(text) > 4096 or not text.isprintable():
                raise Wrong("is not a path", f"write {self.says()}")
            return text
        return super().parse(text.partition("?")[0]) and text


@dataclass(frozen=True, slots=True)
class IssuerSpec:
    """Who signs tokens that consumers may show."""

    kind: Annotated[str, Choice(("entra", "oidc"))]
    "`entra`: a directory of Microsoft Entra ID; `oidc`: any other provider of OpenID Connect."
    audience: Annotated[tuple[str, ...], OneOrMore(Text("an audience such as api://sluicegate", 512, r"[!-~]+"))]
    """Whom its tokens have to be meant for, one or several. Tokens of Entra's version 2 say the id of the application
    here (a GUID), those of version 1 that or its URI (`api://...`): write what yours say, both where there are both."""
    tenant_id: Annotated[str, Guid()] | None = None
    "Of `entra`: the directory. Tokens of any other one are refused."
    issuer: Annotated[str, IssuerUrl()] | None = None
    "Of `oidc`: the issuer, exactly as its tokens say it in `iss`."
    authority: Annotated[Url, Endpoint()] | None = None
    "Of `entra`: who signs in another cloud, such as https://login.microsoftonline.us. Left out: the public one."
    jwks: Annotated[str, KeysAt()] | None = None
    "Of `oidc`: where its keys are, an address or a file. Left out: where its discovery document says."
    algorithms: Annotated[tuple[str, ...], Listing(Algorithm())] = USUAL
    "How its tokens may be signed."
    leeway: Annotated[float, Duration(0, 60)] = _I.leeway_s
    "So far its clock may be from ours."
    groups_overage: Annotated[str, Choice(("refuse", "resolve"))] = _I.groups
    """Of a token whose bearer is in more groups than it holds: `refuse`, or `resolve`: of `entra`, ask the directory.
    Entra leaves groups out beyond 200; roles of an application do not have this limit."""
    groups_by: Annotated[AuthSpec, AuthForm()] | None = None
    """Of `resolve`: as whom the directory is asked, written as `auth` of instances is, without key. In the directory
    it needs GroupMember.Read.All and User.Read.All, for applications also Application.Read.All."""
    graph: Annotated[Url, Endpoint()] | None = None
    "Of `resolve`: Microsoft Graph, where `authority` does not say it: https://dod-graph.microsoft.us."
    keys_refresh: Annotated[float, Duration(60, DAY)] = _I.refresh_s
    "How often its keys are fetched. A token with a key that is not known has them fetched at once, once a minute."
    keys_keep: Annotated[float, Duration(60, 30 * DAY)] = _I.keep_s
    "So long its keys hold while they cannot be fetched; then its tokens are refused."
    ca: Annotated[str, Text("a path to a PEM file", 4096)] | None = None
    "PEM file with the authorities that its certificate is checked against, instead of the system's."


OWN = {"entra": ("tenant_id", "authority"), "oidc": ("issuer", "jwks")}
"""What each kind has to itself; of these the first is needed."""


def issuer(name: str, spec: IssuerSpec, cx: Context, path: Any) -> Issuer | None:
    """As it is judged by; None where something is missing, which was reported. `path`: of a file, from the directory
    of the configuration."""
    at: Path = ("issuers", name)
    other = next(kind for kind in OWN if kind != spec.kind)
    for key in OWN[other]:
        if getattr(spec, key) is not None:
            cx.say((*at, key), f"has no effect with kind: {spec.kind}", f"remove it, or write kind: {other}", key=True)
    needed = OWN[spec.kind][0]
    if getattr(spec, needed) is None:
        if not cx.problems.damaged((*at, needed)):  # else it is there, and cannot be read
            cx.say(at, f"needs {needed}", f"write {needed}: whose tokens these are", key=True)
        return None
    says, source, kind = _entra(spec) if spec.kind == "entra" else _oidc(spec, path)
    if spec.kind == "entra":
        if spec.authority is not None and spec.authority.scheme == "http" and not spec.authority.loopback:
            hint = "write https://; http:// on this machine only"
            cx.say((*at, "authority"), "sends keys where anybody could change them", hint)
        if not any(re.fullmatch(_GUID, audience) for audience in spec.audience):
            what = "is no id of an application: tokens of version 2 are refused, which always say that id"
            cx.say((*at, "audience"), what, "write it too: [api://..., GUID]; or leave it so for version 1", "note")
    return Issuer(
        name, says, spec.algorithms, source, kind, spec.leeway, spec.groups_overage, spec.keys_refresh, spec.keys_keep,
        None if spec.ca is None else path(spec.ca),
    )  # fmt: skip


def _entra(spec: IssuerSpec) -> tuple[tuple[Says, ...], str, str]:
    authority = PUBLIC if spec.authority is None else Endpoint().write(spec.authority)
    tenant = spec.tenant_id or ""
    ids = tuple(audience for audience in spec.audience if re.fullmatch(_GUID, audience))
    says = (
        Says(f"{STS.get(authority, authority)}/{tenant}/", spec.audience, tenant, "1.0"),
        Says(f"{authority}/{tenant}/v2.0", ids, tenant, "2.0"),
    )
    return says, f"{authority}/{tenant}/v2.0{DISCOVERY}", "discovery"


def _oidc(spec: IssuerSpec, path: Any) -> tuple[tuple[Says, ...], str, str]:
    iss = spec.issuer or ""
    says = (Says(iss, spec.audience),)
    if spec.jwks is None:
        return says, iss.rstrip("/") + DISCOVERY, "discovery"
    if "://" in spec.jwks:
        return says, spec.jwks, "set"
    return says, path(spec.jwks), "file"


def directory(
    name: str, spec: IssuerSpec, cx: Context, certificate: Callable[[str, Path], str]
) -> tuple[str, Identity] | None:
    """Where the groups of this issuer's people are asked for, and as whom; None: nowhere, or something is wrong, which
    was reported. `certificate`: the whole path of one."""
    at: Path = ("issuers", name)
    if spec.groups_overage != "resolve":
        for key in ("groups_by", "graph"):
            if getattr(spec, key) is not None:
                cx.say((*at, key), "has no effect without groups_overage: resolve", "remove it", key=True)
        return None
    if spec.kind != "entra":
        what = "asks Microsoft Graph, which knows directories of Entra only"
        cx.say((*at, "groups_overage"), what, "remove it, or write kind: entra")
        return None
    auth = spec.groups_by
    if auth is None:
        if not cx.problems.damaged((*at, "groups_by")):
            what = "needs groups_by: as whom the directory is asked"
            cx.say((*at, "groups_overage"), what, "write groups_by: managed_identity, or another one")
        return None
    where: Path = (*at, "groups_by")
    if auth.kind in ("none", "key", "passthrough"):
        hint = "write managed_identity, workload_identity, or client_id and what belongs to it"
        cx.say(where, "is no identity that a directory knows", hint)
        return None
    if auth.tenant_id is not None and re.fullmatch(_GUID, auth.tenant_id) and auth.tenant_id != spec.tenant_id:
        cx.say((*where, "tenant_id"), "is another directory than the one that is asked", "write that of the issuer")
        return None
    authority = PUBLIC if spec.authority is None else Endpoint().write(spec.authority)
    graph = GRAPHS.get(authority)
    if spec.graph is not None:
        graph = Endpoint().write(spec.graph)
        if not spec.graph.loopback and graph not in (*GRAPHS.values(), *MORE_GRAPHS):
            hint = f"write one of {', '.join((*GRAPHS.values(), *MORE_GRAPHS))}"
            cx.say((*at, "graph"), "is no address of Microsoft Graph: our token would be sent there", hint)
            return None
    if graph is None:
        cx.say(at, f"needs graph: where the directory of {authority} is asked", "write graph: https://...", key=True)
        return None
    scope = auth.scope or f"{graph if spec.graph is None or not spec.graph.loopback else GRAPHS[PUBLIC]}/.default"
    login = auth.authority or (
        spec.authority if auth.kind in ("client_id", "service_principal", "workload_identity") else None
    )
    path = (
        "" if auth.client_certificate is None else certificate(auth.client_certificate, (*where, "client_certificate"))
    )
    found = identity_of(replace(auth, scope=scope, authority=login), "", urlsplit(graph).hostname or "", path)
    assert isinstance(found, Identity)  # the scope is there
    return graph, found


def check(issuers: Sequence[Issuer], cx: Context) -> None:
    """No two may say they are the same: which of them would judge?"""
    known: dict[str, str] = {}
    for one in issuers:
        for says in one.says:
            first = known.setdefault(says.iss, one.name)
            if first != one.name:
                what = f"its tokens say that they are of {quoted(says.iss)}, as those of {quoted(first)} do"
                cx.say(("issuers", one.name), what, "write one of them, with both audiences", key=True)
                break
