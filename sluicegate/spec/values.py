"""Values with a grammar of their own: addresses, endpoints, selectors, secrets, what happens when a client leaves."""

from __future__ import annotations

import base64
import ipaddress
import re
from binascii import a2b_base64
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sluicegate.core.addresses import metadata
from sluicegate.core.params import UNTOUCHABLE
from sluicegate.core.secret import Secret
from sluicegate.spec.kinds import MISSING, Context, Word, quoted
from sluicegate.spec.nodes import WORDS, Mapping, Node, Scalar
from sluicegate.spec.problems import Path
from sluicegate.spec.references import ASK, PENDING, Wrong
from sluicegate.spec.units import Duration
from sluicegate.wire.headers import CREDENTIAL_HEADERS

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")

PREFIX = "sgk1:"
ADMIN_PREFIX = "sga1:"
"""Digests of consumers' keys, and of operators'."""

_DIGITS = r"[0-9a-f]{8}:[A-Za-z0-9_-]{21}[AQgw]"
"""Of 16 bytes in base64: the last of 22 characters has two bits only."""

DIGEST = PREFIX + _DIGITS
ADMIN_DIGEST = ADMIN_PREFIX + _DIGITS


def read_digest(text: str, prefix: str = PREFIX) -> Digest | None:
    """The digest that `text` is, None for anything else."""
    if not text.startswith(prefix) or not _DIGEST.fullmatch(text[5:]):
        return None
    return Digest(text[5:13], a2b_base64(text[14:].replace("-", "+").replace("_", "/") + "=="))


def write_digest(digest: Digest, prefix: str = PREFIX) -> str:
    """As it stands in a configuration."""
    return f"{prefix}{digest.id}:{base64.urlsafe_b64encode(digest.value).decode().rstrip('=')}"


_DIGEST = re.compile(_DIGITS)


class OperatorDigest(Word):
    """What `sluicegate key new --admin` prints."""

    pattern = ADMIN_DIGEST

    def says(self) -> str:
        return "the digest of an operator's key: sga1:..., from `sluicegate key new NAME --admin`"

    def parse(self, text: str) -> Digest:
        digest = read_digest(text, ADMIN_PREFIX)
        if digest is None:
            if text.startswith(PREFIX):
                raise Wrong(
                    "is the digest of a consumer's key", "make another: sluicegate key new NAME --admin", quoted=False
                )
            hint = "make a key and its digest: sluicegate key new NAME --admin"
            raise Wrong("is not the digest of an operator's key", hint, quoted=False)
        return digest

    def write(self, value: Digest) -> str:
        return f"{ADMIN_PREFIX}{value.id}:***"


class HostName(Word):
    """`admin.contoso.example`."""

    pattern = r"[A-Za-z0-9._-]{1,253}"

    def says(self) -> str:
        return "a host name such as admin.contoso.example"

    def parse(self, text: str) -> str:
        if not _HOST.fullmatch(text):
            raise Wrong("is not a host name", f"write {self.says()}, without port")
        return text.lower()


class Network(Word):
    """`10.0.0.0/8`, or one address."""

    pattern = r"[0-9A-Fa-f:.]+(/[0-9]{1,3})?"

    def says(self) -> str:
        return "a network such as 10.0.0.0/8 or 2001:db8::/32"

    def parse(self, text: str) -> str:
        try:
            return str(ipaddress.ip_network(text))
        except ValueError:
            pass
        try:
            inside = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise Wrong("is not a network", f"write {self.says()}") from None
        raise Wrong("is an address inside a network", f"write the network, {inside}, or the address alone")


class DoorId(Word):
    """The id of an Azure Front Door profile."""

    pattern = r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"

    def says(self) -> str:
        return "the id of a Front Door, such as 9a3f2c1e-0000-4000-8000-5b1d7e000001"

    def parse(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise Wrong("is not the id of a Front Door", "look for `frontDoorId` of the profile: az afd profile show")
        return text.lower()


class BasePath(Word):
    """`/llm`."""

    pattern = r"(/[A-Za-z0-9._~-]+)+"

    def says(self) -> str:
        return "a path such as /llm"

    def parse(self, text: str) -> str:
        if len(text) > 256 or not re.fullmatch(self.pattern, text) or any(p in (".", "..") for p in text.split("/")):
            raise Wrong("is not a plain path", f"write {self.says()}, without slash at the end")
        return text


class Origin(Word):
    """`https://app.contoso.example`."""

    pattern = r"https?://[A-Za-z0-9.:\[\]-]+"

    def says(self) -> str:
        return "an origin such as https://app.contoso.example"

    def parse(self, text: str) -> str:
        if text == "*":
            raise Wrong("would let every page of the web call with what its readers know", f"write {self.says()}")
        url = Endpoint().parse(text)
        if url.base_path or text.endswith("/"):
            raise Wrong("has a path", f"write {self.says()}: browsers say no more than that")
        return Endpoint().write(url)


class HeaderName(Word):
    """`client-cert`."""

    pattern = r"[A-Za-z0-9][A-Za-z0-9-]{0,63}"

    def says(self) -> str:
        return "the name of a header such as client-cert"

    def parse(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise Wrong("is not the name of a header", f"write {self.says()}")
        return text.lower()


class PublicUrl(Word):
    """`https://llm.contoso.example`, with the path that clients put before ours."""

    pattern = r"https?://\S+"

    def says(self) -> str:
        return "an address such as https://llm.contoso.example"

    def parse(self, text: str) -> str:
        return Endpoint().write(Endpoint().parse(text))


class EndUser(Word):
    """Where a request says who uses the application that sends it."""

    pattern = r"field:[a-z][a-z0-9_]{0,62}|claim:.{1,128}|header:[a-z0-9][a-z0-9-]{0,62}"

    def says(self) -> str:
        return "field:user or another field of the body, claim:oid, or header:x-user of a trusted proxy"

    def parse(self, text: str) -> str:
        kind, colon, name = text.partition(":")
        if kind == "claim" and name and name.isprintable() and len(name) <= 128:
            return text
        if kind == "header" and re.fullmatch("[a-z0-9][a-z0-9-]{0,62}", name):
            if name.encode() in CREDENTIAL_HEADERS:
                raise Wrong("is a header of credentials, not of names", f"write {self.says()}")
            return text
        if not colon or kind != "field" or not re.fullmatch(self.pattern, text):
            raise Wrong("does not say where", f"write {self.says()}")
        if name in UNTOUCHABLE:
            raise Wrong("names a field that says something else", f"write {self.says()}")
        return name

    def write(self, value: str) -> str:
        return value if not value or value.startswith(("claim:", "header:")) else f"field:{value}"


class Bind(NamedTuple):
    """Where to listen."""

    host: str
    port: int


class Url(NamedTuple):
    """Where an instance is."""

    scheme: str
    host: str
    "Without brackets, lower case."
    port: int
    base_path: str

    @property
    def loopback(self) -> bool:
        """Never leaves the machine."""
        address = _ip(self.host)
        return self.host == "localhost" or (address is not None and address.is_loopback)


class Selector(NamedTuple):
    """`model@version`."""

    model: str
    version: str

    def __str__(self) -> str:
        return f"{self.model}@{self.version}"


class Digest(NamedTuple):
    """What is left of a consumer's key where the key itself is kept nowhere."""

    id: str
    "Eight hex digits that tell keys of one consumer apart."
    value: bytes
    expires: float = 0.0
    "Wall time from which on nobody gets in with the key; 0: never."


Key = Secret | Digest
"""What a consumer shows, or its digest."""


class LanguageVersion(Word):
    """Which language the document is written in."""

    pattern = "1"

    def says(self) -> str:
        return "1"

    def parse(self, text: str) -> str:
        if text != "1":
            raise Wrong("is not a version of the language that this gateway reads", "write version: 1")
        return text


class Address(Word):
    """`127.0.0.1:8080`, `[::]:8443`, `localhost:8080`."""

    pattern = r"\S+:[0-9]{1,5}"

    def says(self) -> str:
        return "an address such as 0.0.0.0:8080"

    def parse(self, text: str) -> Bind:
        host, colon, port = text.rpartition(":")
        if not colon or not re.fullmatch("[0-9]{1,5}", port):
            raise Wrong("has no port", f"write {self.says()}")
        if int(port) > 65535:
            raise Wrong("has a port that does not exist", "ports are 0 to 65535")
        if not host:
            raise Wrong("has no host", "write 127.0.0.1 for this machine only, 0.0.0.0 for every network it is on")
        return Bind(_host(host), int(port))

    def write(self, value: Bind) -> str:
        return f"[{value.host}]:{value.port}" if ":" in value.host else f"{value.host}:{value.port}"


class Endpoint(Word):
    """`https://contoso.openai.azure.com`, with a path where the server has one."""

    pattern = r"https?://\S+"
    _parts = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[^/:@?#\[\]]+)(?::([0-9]{1,5}))?((?:/[A-Za-z0-9._~-]+)*)/?")

    def says(self) -> str:
        return "an address such as https://contoso.openai.azure.com"

    def parse(self, text: str) -> Url:
        found = self._parts.fullmatch(text)
        if found is None:
            if "@" in text:
                raise Wrong("has a user or password in it", "credentials belong in auth:", quoted=False)
            raise Wrong("is not an address we can call", f"write {self.says()}, without ? and #")
        scheme, host, port, path = found[1], _host(found[2]).lower(), found[3], found[4]
        address = _ip(host)
        if address is not None and metadata(address):
            raise Wrong("is a metadata address", "it is refused everywhere: it hands out the machine's credentials")
        if any(part in (".", "..") for part in path.split("/")):
            raise Wrong("has . or .. in its path", "write the path out")
        number = int(port) if port else {"http": 80, "https": 443}[scheme]
        if not 0 < number < 65536:
            raise Wrong("has a port that does not exist", "ports are 1 to 65535")
        return Url(scheme, host, number, path)

    def write(self, value: Url) -> str:
        host = f"[{value.host}]" if ":" in value.host else value.host
        port = "" if value.port == {"http": 80, "https": 443}[value.scheme] else f":{value.port}"
        return f"{value.scheme}://{host}{port}{value.base_path}"


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _host(text: str) -> str:
    """A host without brackets. Numbers in disguise (0x7f.1, 2130706433) are refused: resolvers take them as IPs."""
    bracketed = text.startswith("[") and text.endswith("]")
    bare = text[1:-1] if bracketed else text
    if _ip(bare) is not None and bracketed == (":" in bare):
        return bare
    if bracketed or ":" in bare:
        raise Wrong("is not an address we can use", "IPv6 addresses stand in brackets: [::1]:8080")
    if not _HOST.fullmatch(bare) or re.fullmatch(r"0[xX][0-9A-Fa-f]*|[0-9]+", bare.rpartition(".")[2]):
        raise Wrong("has a host that is neither a name nor an IP address", "check its spelling")
    return bare


class Select(Word):
    """`gpt-4o@2024-11-20`."""

    pattern = r"[^@\s]+@[^@\s]+"

    def says(self) -> str:
        return "a selector such as gpt-4o@2024-11-20"

    def parse(self, text: str) -> Selector:
        if not re.fullmatch(self.pattern, text):
            hint = f"write {self.says()}, or a list of instance/deployment"
            raise Wrong("does not say model and version", hint)
        model, _, version = text.partition("@")
        return Selector(model, version)


class Member(Word):
    """`weu/gpt-4o`: an instance and its deployment."""

    pattern = r"[^/\s]+/[^/\s]+"

    def says(self) -> str:
        return "a deployment such as weu/gpt-4o"

    def parse(self, text: str) -> tuple[str, str]:
        if not re.fullmatch(self.pattern, text):
            raise Wrong("is not a deployment", "write instance/deployment, as they are called under instances:")
        instance, _, deployment = text.partition("/")
        return instance, deployment

    def write(self, value: tuple[str, str]) -> str:
        return "/".join(value)


class Leave(Word):
    """`abort`, or `finish 30s`: what goes on upstream when the client has left."""

    pattern = r"abort|finish [0-9.]+ ?(ms|s|m|h|d)"

    def says(self) -> str:
        return "abort, or finish and a time such as finish 30s"

    def parse(self, text: str) -> float:
        if text == "abort":
            return 0.0
        word, _, time = text.partition(" ")
        if word != "finish" or not time:
            raise Wrong("is not known here", f"write {self.says()}")
        value: float = Duration(least=0.001, most=3600).parse(time.strip())
        return value

    def write(self, value: float) -> str:
        return f"finish {Duration().write(value)}" if value else "abort"


class LogTarget(Word):
    """`stdout`, `stderr`, a path, or `none`, which is kept as nothing."""

    pattern = r"[^\x00-\x1f\x7f]+"

    def says(self) -> str:
        return "stdout, stderr, none, or a path to a file"

    def parse(self, text: str) -> str:
        if len(text) > 4096 or not re.fullmatch(self.pattern, text):
            raise Wrong("is not a path", f"write {self.says()}")
        return "" if text == "none" else text

    def write(self, value: str) -> str:
        return value or "none"


class Moment(Word):
    """`2026-12-31`, or `2026-12-31T18:00:00Z`: UTC unless it says otherwise."""

    pattern = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]{5,15}(Z|[+-][0-9:]{4,5})?)?"

    def says(self) -> str:
        return "a date or a time such as 2026-12-31"

    def parse(self, text: str) -> float:
        try:
            if not re.fullmatch(self.pattern, text):
                raise ValueError
            found = datetime.fromisoformat(text)
            found = found if found.tzinfo else found.replace(tzinfo=UTC)
            if found.timestamp() > 253402300799:  # 9999, in UTC: what is later cannot be shown
                raise ValueError
            return max(1.0, found.timestamp())  # 0 stands for never
        except (ValueError, OverflowError):
            raise Wrong("is no time", f"write {self.says()}, or 2026-12-31T18:00:00Z") from None


class Hidden(Word):
    """A secret: a reference to it, never itself. Nothing that stands or is found there is ever shown."""

    pattern = r"\$\{(env|file|keyvault):.*\}"

    def __init__(self, what: str, shortest: int = 1, longest: int = 4096, digests: bool = False) -> None:
        self._what = what
        self._shortest = shortest
        self._longest = longest
        self._digests = digests

    def says(self) -> str:
        return f"a reference to {self._what}: ${{env:NAME}} or ${{file:/path}}"

    def schema(self) -> dict[str, Any]:
        if not self._digests:
            return {"type": "string", "pattern": rf"^({self.pattern})$"}
        ending = {"key": {"type": "string", "pattern": rf"^({DIGEST})$"}, "expires": Moment().schema()}
        return {
            "anyOf": [
                {"type": "string", "pattern": rf"^({self.pattern}|{DIGEST})$"},
                {"type": "object", "properties": ending, "required": [*ending], "additionalProperties": False},
            ]
        }

    def write(self, value: Any) -> str:
        return f"{PREFIX}{value.id}:***" if isinstance(value, Digest) else "***"

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        if self._digests and isinstance(node, Mapping):
            return self._expiring(cx, node, path)
        if not isinstance(node, Scalar):
            cx.say(path, f"is {WORDS[type(node)]}, not {self.says()}")
            return MISSING
        if node.refused:
            return MISSING
        if node.empty or not node.text:
            cx.say(path, "is empty", f"write {self.says()}")
            return MISSING
        if self._digests and node.text.startswith(PREFIX):
            digest = read_digest(node.text)
            if digest is None:
                hint = f"it is {PREFIX}, eight hex digits, a colon and 22 characters"
                cx.say(path, "begins like the digest of a key and is none", hint)
            return digest or MISSING
        try:
            secret = Secret(cx.sources.resolve(node.text, secret=True).text)
            if cx.sources.pending(node.text):
                cx.say(path, PENDING, ASK, "note")
            self.check(secret.reveal())
        except Wrong as e:
            cx.say(path, e.what, e.hint)
            return MISSING
        return secret

    def _expiring(self, cx: Context, node: Mapping, path: Path) -> Any:
        """`{key: sgk1:..., expires: 2026-12-31}`."""
        for name in node.items:
            if name not in ("key", "expires"):
                cx.problems.add(node.keys[name], path, f"unknown key {quoted(name)}", "known here: key, expires")
        digest, until = node.items.get("key"), node.items.get("expires")
        if digest is None or until is None:
            cx.say(path, "needs key and expires", "write {key: sgk1:..., expires: 2026-12-31}")
            return MISSING
        cx.values[*path, "key"], cx.values[*path, "expires"] = digest.place, until.place
        found = self.read(cx, digest, (*path, "key")) if isinstance(digest, Scalar) else MISSING
        moment = Moment().read(cx, until, (*path, "expires"))
        if isinstance(found, Secret):
            what = "is a reference, and only a key of which there is the digest has an end"
            cx.say((*path, "key"), what, "make one: sluicegate key new NAME")
            return MISSING
        return found._replace(expires=moment) if isinstance(found, Digest) and moment is not MISSING else MISSING

    def check(self, text: str) -> None:
        """Whether it can be sent in a header and used as it is. Raises Wrong, which says nothing of the text."""
        if not re.fullmatch(r"[\x21-\x7e]*", text):
            hint = "look for blanks, line ends and quotes around it"
            raise Wrong("has characters that no key has (blanks, controls, or beyond ASCII)", hint)
        if not text:
            raise Wrong("leads to nothing")
        if len(text) < self._shortest:
            hint = f"at least {self._shortest} characters, for example from: openssl rand -hex 32"
            raise Wrong("is too short to be a secret", hint)
        if len(text) > self._longest:
            raise Wrong("is too long to be a secret", f"at most {self._longest} characters")
