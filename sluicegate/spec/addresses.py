"""Addresses: where we listen, whom we call, by which names and networks others know us."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from sluicegate.core.addresses import metadata
from sluicegate.spec.kinds import Word
from sluicegate.spec.pasted import meant, portal
from sluicegate.spec.references import Wrong

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"

_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")


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
        if portal(text):
            hint = "copy what Keys and Endpoint of the resource shows as Endpoint"
            raise Wrong("is a page of Azure's portals, not a resource", hint, quoted=False)
        found = self._parts.fullmatch(text)
        if found is None:
            if "@" in text:
                raise Wrong("has a user or password in it", "credentials belong in auth:", quoted=False)
            better = meant(text)
            hint = f"write {better}" if better else ""
            raise Wrong("is not an address we can call", f"write {self.says()}, without ? and #", better=hint)
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


class PublicUrl(Word):
    """`https://llm.contoso.example`, with the path that clients put before ours."""

    pattern = r"https?://\S+"

    def says(self) -> str:
        return "an address such as https://llm.contoso.example"

    def parse(self, text: str) -> str:
        return Endpoint().write(Endpoint().parse(text))


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
