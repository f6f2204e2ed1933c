"""One request to a service of the house's own business (tokens, vaults), from the keeper: rare, small and bounded.

Not the road of a request: a connection for each, closed after it. Certificates are verified always; redirects are not
followed, so that what is shown to one host never reaches another; link-local addresses are refused when connecting,
but for those who ask for tokens where clouds hand them out. Errors say what went wrong and quote nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httptools

from sluicegate.core.addresses import forbidden
from sluicegate.upstream.tls import Contexts

LARGEST = 256 * 1024
"""Bytes of an answer, its head included."""

WITHIN_S = 10.0
_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[ -~]*")


class Unreachable(Exception):
    """There is no answer, or none that can be read. The text says why and shows nothing of it."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    "Names in lower case."
    body: bytes

    def __repr__(self) -> str:
        return f"Answer({self.status}, {len(self.body)} bytes)"

    def document(self) -> dict[str, Any]:
        """The body, a JSON object. Raises Unreachable."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise Unreachable("its answer is not a JSON object")
        return found


class _Reading:
    """Takes an answer from the parser."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


async def fetch(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    within_s: float = WITHIN_S,
    link_local: bool = False,
    contexts: Contexts | None = None,
    ca: str | None = None,
    largest: int = LARGEST,
) -> Answer:
    """The answer, whatever its status. `link_local`: such addresses are allowed, because this is where tokens are
    handed out. `ca`: PEM file with the authorities of its certificate, None: the system's. `largest`: bytes of it.
    Raises Unreachable."""
    try:
        async with asyncio.timeout(within_s):
            return await _fetch(method, url, headers or {}, body, link_local, contexts or Contexts(), ca, largest)
    except TimeoutError:
        raise Unreachable(f"no answer within {within_s:g} s") from None


async def _fetch(
    method: str, url: str, headers: Mapping[str, str], body: bytes, link_local: bool, contexts: Contexts,
    ca: str | None, largest: int,
) -> Answer:  # fmt: skip
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        port = parts.port or _PORTS[parts.scheme]
    except (KeyError, ValueError):
        raise Unreachable("its address is none that we can call") from None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    shown = f"[{host}]" if ":" in host else host
    lines = [
        f"{method} {target} HTTP/1.1",
        f"host: {shown}{'' if port == _PORTS[parts.scheme] else f':{port}'}",
        "user-agent: sluicegate",
        "accept-encoding: identity",
        "connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
        *([f"content-length: {len(body)}"] if body or method != "GET" else []),
    ]
    if parts.username is not None or not host or not all(_PLAIN.fullmatch(line) for line in lines):
        raise Unreachable("its address, or what is shown there, cannot be sent")
    tls = None
    if parts.scheme == "https":
        try:
            tls = contexts.get(ca)
        except ssl.SSLError:
            raise Unreachable("this machine has no authorities to check its certificate") from None
    reader, writer = await _connected(host, port, tls, link_local)
    try:
        writer.write("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body)
        return await _read(reader, largest)
    except ssl.SSLError:
        raise Unreachable("TLS with it broke") from None
    except OSError:
        raise Unreachable("the connection broke") from None
    finally:
        writer.close()


async def _connected(
    host: str, port: int, tls: ssl.SSLContext | None, link_local: bool
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)
    except (OSError, UnicodeError):
        raise Unreachable(f"the name {host} does not resolve") from None
    why = f"{host} leads to addresses that are refused"
    for address in dict.fromkeys(str(info[4][0]) for info in found):
        if forbidden(address) and not link_local:
            continue
        try:
            return await asyncio.open_connection(
                address, port, ssl=tls, server_hostname=host if tls else None, limit=LARGEST
            )
        except ssl.SSLCertVerificationError:
            raise Unreachable(f"the certificate of {host} is not to be trusted") from None
        except ssl.SSLError:
            why = f"no TLS with {host}"
        except OSError as e:
            why = f"no connection to {host}: {(e.strerror or 'refused').lower()}"
    raise Unreachable(why)


async def _read(reader: asyncio.StreamReader, largest: int) -> Answer:
    reading = _Reading()
    parser: Any = httptools.HttpResponseParser(reading)
    size = 0
    try:
        while not reading.complete:
            data = await reader.read(64 * 1024)
            size += len(data)
            if size > largest:
                raise Unreachable(f"its answer is larger than {largest // 1024} KiB")
            if not data:
                break
            parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        raise Unreachable("its answer is no HTTP") from None
    framed = "content-length" in reading.headers or "transfer-encoding" in reading.headers
    if not parser.get_status_code() or (framed and not reading.complete):
        raise Unreachable("its answer broke off")
    return Answer(int(parser.get_status_code()), reading.headers, bytes(reading.body))
