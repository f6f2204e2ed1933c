"""`auth` of an instance: what the gateway shows there, in a word or in a map."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from sluicegate.core.secret import Secret
from sluicegate.core.settings import Identity
from sluicegate.spec.addresses import Endpoint, Url
from sluicegate.spec.kinds import MISSING, Choice, Context, Kind, Text, Word, closest, quoted
from sluicegate.spec.nodes import Mapping, Node, Scalar
from sluicegate.spec.problems import Path
from sluicegate.spec.references import Wrong
from sluicegate.spec.secret import Hidden
from sluicegate.spec.sections import Section

SYSTEM = "system"
ENVIRONMENT = "environment"
LIBRARY = ("default", "environment", "developer_cli", "powershell")
"""Credentials of azure-identity, as its extra offers them."""


class ClientId(Word):
    """Which identity: its client id, or the one that there is."""

    pattern = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"

    def __init__(self, word: str = "") -> None:
        self._word = word

    def says(self) -> str:
        other = f", or {self._word}" if self._word else ""
        return f"a client id such as 3f0c0000-0000-4000-8000-000000000002{other}"

    def parse(self, text: str) -> str:
        if text != self._word and not re.fullmatch(self.pattern, text):
            raise Wrong("is no client id", f"write {self.says()}")
        return text.lower()

    def schema(self) -> dict[str, Any]:
        other = f"|{self._word}" if self._word else ""
        return {"type": "string", "pattern": rf"^({self.pattern}{other}|.*\$\{{.*)$"}


class Tenant(Word):
    """An Entra tenant."""

    pattern = r"[0-9A-Za-z][0-9A-Za-z.-]{0,252}"

    def says(self) -> str:
        return "a tenant such as 11110000-0000-4000-8000-000000000003 or contoso.onmicrosoft.com"

    def parse(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise Wrong("is no tenant", f"write {self.says()}")
        return text.lower()


class Scope(Word):
    """What a token is for."""

    pattern = r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9:/._-]+/\.default"

    def says(self) -> str:
        return "a scope such as https://cognitiveservices.azure.com/.default"

    def parse(self, text: str) -> str:
        if len(text) > 256 or not re.fullmatch(self.pattern, text):
            raise Wrong("is no scope", f"write {self.says()}")
        return text


class Authority(Endpoint):
    """Where an Entra cloud hands out tokens."""

    def says(self) -> str:
        return "an address such as https://login.microsoftonline.com"

    def parse(self, text: str) -> Url:
        url = super().parse(text)
        if url.scheme != "https" and not url.loopback:
            raise Wrong("is not https://", "secrets are not sent in clear")
        if url.base_path:
            raise Wrong("has a path", f"write {self.says()}: the tenant stands in tenant_id")
        return url


@dataclass(frozen=True, slots=True)
class AuthSpec:
    """What the gateway shows to an instance, instead of what clients show. One of these, with what belongs to it."""

    key: Annotated[Secret, Hidden("the resource's key")] | None = None
    "A reference to a key of the resource; it goes into the header that the provider wants."
    managed_identity: Annotated[str, ClientId(SYSTEM)] | None = None
    "The identity of the machine, App Service or Container App it runs on: `system`, or the client id of another."
    workload_identity: Annotated[str, ClientId(ENVIRONMENT)] | None = None
    "The identity that an AKS cluster vouches for: `environment`, or a client id."
    client_id: Annotated[str, ClientId()] | None = None
    "A service principal, with `tenant_id` and a secret or a certificate."
    tenant_id: Annotated[str, Tenant()] | None = None
    "The service principal's tenant; of `azure_cli` and `workload_identity` another one than theirs."
    client_secret: Annotated[Secret, Hidden("the service principal's secret", longest=256)] | None = None
    "A reference to the service principal's secret."
    client_certificate: Annotated[str, Text("a path to a PEM file", 4096)] | None = None
    "Instead: PEM file with its certificate and private key; read anew for each token."
    azure_cli: Annotated[str, Choice(("developer",))] | None = None
    "`developer`: whoever is logged in with `az` on this machine. For a developer's machine."
    azure_identity: Annotated[str, Choice(LIBRARY)] | None = None
    "A credential of the library azure-identity (the extra `azure`)."
    scope: Annotated[str, Scope()] | None = None
    "What tokens are for, where the endpoint does not say it."
    authority: Annotated[Url, Authority()] | None = None
    "Where tokens are asked for, where neither the endpoint nor AZURE_AUTHORITY_HOST says it."

    @property
    def kind(self) -> str:
        """The word for it."""
        if self.client_id is not None:
            return "service_principal"
        return next((k for k in ONE_OF if getattr(self, k) is not None), "none")


@dataclass(frozen=True, slots=True)
class Passthrough(AuthSpec):
    """The client's own token."""

    @property
    def kind(self) -> str:
        return "passthrough"


ONE_OF = ("key", "managed_identity", "workload_identity", "client_id", "azure_cli", "azure_identity")
"""Keys that each say who we are."""

BELONGS = {
    "tenant_id": ("client_id", "azure_cli", "workload_identity"),
    "client_secret": ("client_id",),
    "client_certificate": ("client_id",),
    "scope": ONE_OF[1:],
    "authority": ("client_id", "workload_identity"),
}
"""And keys that say more about some of them."""

WORDS = {
    "none": AuthSpec(),
    "managed_identity": AuthSpec(managed_identity=SYSTEM),
    "workload_identity": AuthSpec(workload_identity=ENVIRONMENT),
    "azure_cli": AuthSpec(azure_cli="developer"),
    "azure_identity": AuthSpec(azure_identity="default"),
    "passthrough": Passthrough(),
}


class AuthForm(Kind):
    """A word, or a map that says what we show."""

    _word = Choice(tuple(WORDS))
    map = Section(AuthSpec)
    "The form that has keys of its own."

    def says(self) -> str:
        return "{key: ${env:NAME}}, managed_identity, or another of " + ", ".join(
            w for w in WORDS if "managed" not in w
        )

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        if isinstance(node, Scalar) and not node.refused and not node.empty and not self.word(cx, node, path):
            return MISSING
        if not isinstance(node, Mapping):
            word = self._word.read(cx, node, path)
            found = WORDS[word] if word else None
        else:
            found = self.map.read(cx, node, path)
            written = [key for key in self.map.fields if key in node.items]
            if found and (not _whole(cx, written, path) or any(getattr(found, key) is None for key in written)):
                found = None
        if found and found.kind == "azure_identity" and not _installed():
            what = "needs the library azure-identity, which is not installed"
            cx.say(path, what, "pip install 'sluicegate[azure]', or write managed_identity or workload_identity")
            return MISSING
        return found or MISSING

    def word(self, cx: Context, node: Scalar, path: Path) -> bool:
        """Whether the text is one of the words. What is none is not quoted: it may be the key itself."""
        try:
            text, _ = cx.sources.resolve(node.text)
        except Wrong:
            return True  # it will be said why
        near = closest(node.text, WORDS)
        if text in WORDS:
            return True
        if near:
            cx.say(path, f"{quoted(node.text)} is not known here{near}", f"write one of {', '.join(WORDS)}")
        else:
            sole = re.fullmatch(r"\$\{[^{}]*\}", node.text)
            hint = (
                f'write {{key: "{node.text}"}}' if sole else 'write {key: "${env:NAME}"}, or one of ' + ", ".join(WORDS)
            )
            cx.say(path, "is text that is none of the words here", hint)
        return False

    def write(self, value: AuthSpec) -> str:
        for word, same in WORDS.items():
            if value == same:
                return word
        return self.map.write(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self._word.schema(), self.map.schema()]}

    def below(self) -> Iterable[tuple[str, Kind]]:
        return [("", self.map)]


def _whole(cx: Context, held: Sequence[str], path: Path) -> bool:
    """Exactly one of those that say who we are, and nothing that does not belong to it."""
    who = [k for k in held if k in ONE_OF]
    if not who:
        named = next((k for k in held if k in ("tenant_id", "client_secret", "client_certificate")), None)
        what = "needs client_id" if named else "does not say who the gateway is"
        cx.say(path, what, "write key: ${env:NAME}, managed_identity: system, or client_id and what belongs to it")
        return False
    if len(who) > 1:
        cx.say((*path, who[1]), f"stands beside {who[0]}", "an instance is shown one credential: remove one", key=True)
        return False
    good = True
    for name in held:
        if name in BELONGS and who[0] not in BELONGS[name]:
            cx.say((*path, name), f"has no effect with {who[0]}", "remove it", key=True)
            good = False
    if who[0] == "client_id":
        if "tenant_id" not in held:
            cx.say(path, "needs tenant_id", f"write tenant_id: {Tenant().says()}", key=True)
            good = False
        both = "client_secret" in held
        if both == ("client_certificate" in held):
            what = "needs client_secret or client_certificate" + (", not both" if both else "")
            cx.say(path, what, "write client_secret: ${file:/run/secrets/name}", key=True)
            good = False
    return good


def _installed() -> bool:
    """Whether the extra is there. Loads nothing of it but the door of its namespace."""
    try:
        return importlib.util.find_spec("azure.identity") is not None
    except (ImportError, ValueError):
        return False


CLOUDS = (
    (".azure.us", "azure.us", "https://login.microsoftonline.us"),
    (".azure.cn", "azure.cn", "https://login.chinacloudapi.cn"),
    (".azure.com", "azure.com", ""),
)
"""By the end of an endpoint's host: the cloud's domain, and where it hands out tokens; empty: as the environment says,
or as everywhere else."""

SERVICES = {"foundry": "ai"}
"""By provider, what tokens are for, where it is not `cognitiveservices`."""


def cloud_of(host: str) -> tuple[str, str] | None:
    """Domain and authority of the cloud that a host is in; None: not to be seen from its name."""
    for end, domain, authority in CLOUDS:
        if host.endswith(end):
            return domain, authority
    return None


def identity_of(spec: AuthSpec, provider: str, host: str, certificate: str) -> Identity | str:
    """Whose token is shown to an instance, or what is missing to know it. `certificate`: the whole path."""
    cloud = cloud_of(host)
    scope = spec.scope
    if scope is None:
        if cloud is None and provider not in ("azure_openai", "foundry"):
            return f"does not say what tokens are for, and neither does {host}"
        scope = f"https://{SERVICES.get(provider, 'cognitiveservices')}.{cloud[0] if cloud else 'azure.com'}/.default"
    authority = cloud[1] if cloud else ""
    if spec.authority is not None:
        authority = Authority().write(spec.authority)
    client = spec.client_id or spec.managed_identity or spec.workload_identity or ""
    return Identity(
        kind=spec.kind,
        scope=scope,
        client_id="" if client in (SYSTEM, ENVIRONMENT) else client,
        tenant_id=spec.tenant_id or "",
        authority=authority if spec.kind in ("service_principal", "workload_identity") else "",
        secret=spec.client_secret,
        certificate=certificate,
        which=spec.azure_identity or "",
    )
