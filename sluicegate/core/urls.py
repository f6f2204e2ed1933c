"""Addresses in request bodies that an upstream would fetch for a client: which of them are not of the public internet.

The gateway itself fetches nothing that a client names. Upstreams do (`image_url`, `file_url`, Azure's `data_sources`,
`server_url` of MCP), and some of them stand in a network where metadata services and machines answer that clients
should not reach. Where `body.urls` is `refuse_private`, such a request is refused before anybody gets it. It is a
fence and no wall: a public name may resolve to anything, and only who fetches can know.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from ipaddress import IPv4Address, ip_address
from typing import Any, Final
from urllib.parse import unquote

from sluicegate.core.addresses import inner

KEYS: Final = ("url", "urls", "uri", "uris", "endpoint", "endpoints", "host", "server")
"""How keys end whose values are addresses."""

NAMES: Final = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "localdomain",
                "svc")  # fmt: skip
"""Last labels of names that are nobody's on the public internet."""

_STRING: Final = re.compile(rb'"((?:[^"\\]++|\\.)*+)"(\s*+:)?', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_PLAIN: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ADDRESS: Final = re.compile(r"(?:([a-z][a-z0-9+.-]*):[/\\]*|[/\\]{2,})", re.IGNORECASE)
_ENDS: Final = (r"[/\\?#]", r"[/?#]", r"[/\\]", r"/")
"""Where a host ends, by who reads it: browsers, RFC 3986, and careless ones."""
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_WEB: Final = ("", "http", "https", "ws", "wss")
_OTHERS: Final = ("file", "ftp", "gopher", "dict", "ldap", "ldaps", "tftp", "unix", "jar", "sftp", "smb")
"""Schemes that lead to no public web page, whatever their host says."""


def private(fields: Mapping[str, Any]) -> str:
    """The name of a field of a JSON body that holds such an address at whatever depth; empty: none does."""
    for name, raw in fields.items():
        if _holds(name, bytes(raw)):
            return name
    return ""


def _holds(name: str, raw: bytes) -> bool:
    """Whether an address in this value, under keys that say it is one, is not public. A string of a list belongs to
    the key before it."""
    asked = _names_address(name)
    for found in _STRING.finditer(raw):
        text = found[1]
        if found[2] is not None:
            asked = _names_address(_unescaped(text))
        elif asked and not is_public(_unescaped(text)):
            return True
    return False


def _names_address(key: str) -> bool:
    return key.lower().endswith(KEYS)


def _unescaped(raw: bytes) -> str:
    """A JSON string as text."""
    text = raw.decode("utf-8", "replace")
    return _ESCAPE.sub(lambda m: _one(m[1]), text) if "\\" in text else text


def _one(escape: str) -> str:
    return chr(int(escape[1:], 16)) if len(escape) == 5 else _PLAIN.get(escape, escape)


def is_public(text: str) -> bool:
    """Whether this text is no address, or one that may be of the public internet, however it is read: where readers
    differ about where the host ends, every reading has to be public."""
    text = "".join(c for c in text.strip() if c > " " and c != "\x7f")  # as browsers and most libraries read it
    found = _ADDRESS.match(text)
    if found is None:
        return True
    scheme = (found[1] or "").lower()
    if scheme in _OTHERS:
        return False
    if scheme not in _WEB:
        return True
    rest = text[found.end() :]
    return all(_public_host(re.split(ends, rest, maxsplit=1)[0]) for ends in _ENDS)


def _public_host(authority: str) -> bool:
    """With user and port, as they stand before the path."""
    host = unicodedata.normalize("NFKC", unquote(authority.rpartition("@")[2])).lower().rpartition("@")[2]
    host = re.split(r"[/\\?#\x00-\x20]", host, maxsplit=1)[0]
    if not host.isascii():  # as resolvers have it: other full stops are dots, and what shows nothing is dropped
        host = "".join(c for c in host.replace("\u3002", ".") if c.isascii() or c.isalnum())
    if host.startswith("["):
        return _public_number(host[1:].partition("]")[0])
    host = host.partition(":")[0].rstrip(".")
    if not host:
        return True
    number = _ipv4(host)
    if number is not None:
        decimal = _ipv4(".".join([p.lstrip("0") or "0" if p.isdigit() else p for p in host.split(".")]))
        return not inner(number) and (decimal is None or not inner(decimal))  # Java has no octal numbers
    labels = host.split(".")
    return len(labels) > 1 and labels[-1] not in NAMES


def _public_number(text: str) -> bool:
    try:
        return not inner(ip_address(text.partition("%")[0]))
    except ValueError:
        return False


def _ipv4(host: str) -> IPv4Address | None:
    """The address that resolvers take a number for, in any of its spellings: 127.1, 0x7f000001, 0177.0.0.1."""
    parts = host.split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(p) for p in parts):
        return None
    try:
        values = [int(p, 16) if p[:2].lower() == "0x" else int(p, 8 if p[0] == "0" else 10) for p in parts]
    except ValueError:
        values = [int(p, 16) if p[:2].lower() == "0x" and len(p) > 2 else int(p) if p.isdigit() else 0 for p in parts]
    number = values[-1]
    for place, value in enumerate(values[:-1]):
        number += value << (24 - 8 * place)
    return IPv4Address(number) if 0 <= number < 1 << 32 else IPv4Address(0)
