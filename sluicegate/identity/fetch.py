"""One small document over HTTP, for the keeper: who publishes keys may be slow, huge, hostile or gone.

All of it in `WITHIN_S`; at most `LARGEST` bytes; no proxy of the environment is asked; a redirect is followed on the
same host only, as another one was not declared; certificates are checked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import httptools

from sluicegate.core.addresses import metadata

WITHIN_S: Final = 5.0
LARGEST: Final = 256 * 1024
REDIRECTS: Final = 3
_AGAIN: Final = (301, 302, 303, 307, 308)
_READ: Final = 64 * 1024


class Unreachable(Exception):
    """Why there is no document; fit to be shown."""


class _Answer:
    """What httptools tells of an answer."""

    def __init__(self) -> None:
        self.location = b""
        self.body = bytearray()
        self.size = 0
        self.done = False
        self.framed = False
        "It says where it ends; else the connection does."

    def on_header(self, name: bytes, value: bytes) -> None:
        self.size += len(name) + len(value)
        lower = name.lower()
        if lower == b"location":
            self.location = value
        elif lower in (b"content-length", b"transfer-encoding"):
            self.framed = True
        if self.size > LARGEST:
            raise ValueError

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.done = True


async def get(url: str, ca: str | None = None) -> bytes:
    """The document at this address. Raises Unreachable."""
    try:
        async with asyncio.timeout(WITHIN_S):
            return await _get(url, ca)
    except TimeoutError:
        raise Unreachable(f"no answer within {WITHIN_S:g} s") from None
    except ssl.SSLCertVerificationError as e:
        raise Unreachable(f"its certificate is not trusted ({e.verify_message})") from None
    except ssl.SSLError as e:
        raise Unreachable(f"TLS failed ({e.reason or 'error'})") from None
    except OSError as e:
        raise Unreachable((e.strerror or type(e).__name__).lower()) from None
    except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError):  # the second is none of the first
        raise Unreachable("its answer is not HTTP") from None


async def _get(url: str, ca: str | None) -> bytes:
    context: ssl.SSLContext | None = None
    for _ in range(REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme == "https" and context is None:
            context = await asyncio.to_thread(ssl.create_default_context, cafile=ca)
        status, answer = await _once(parts, context if parts.scheme == "https" else None)
        if status in _AGAIN:
            there = urlsplit(urljoin(url, answer.location.decode("latin-1")))
            if (there.scheme, there.netloc.lower()) != (parts.scheme, parts.netloc.lower()):
                raise Unreachable("it redirects to another host, which is not followed")
            url = there.geturl()
            continue
        if status != 200:
            raise Unreachable(f"it answers {status}")
        return bytes(answer.body)
    raise Unreachable("it redirects again and again")


async def _once(parts: Any, context: ssl.SSLContext | None) -> tuple[int, _Answer]:
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=_READ)
    try:
        peer = writer.get_extra_info("peername")
        if not peer:  # it took the connection and dropped it before anybody could look
            raise Unreachable("connection reset")
        address = ipaddress.ip_address(peer[0].partition("%")[0])
        if metadata(address):
            raise Unreachable("its name leads to a metadata address, which is asked for nothing")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not target.isascii() or not target.isprintable() or " " in target:
            raise Unreachable("its address holds odd characters")
        head = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
        writer.write(head.encode("ascii"))
        answer = _Answer()
        parser = httptools.HttpResponseParser(answer)
        while not answer.done:
            data = await reader.read(_READ)
            if not data:
                break
            parser.feed_data(data)
            if len(answer.body) > LARGEST:
                raise Unreachable(f"its answer is larger than {LARGEST // 1024} KiB")
        status: int = parser.get_status_code()
        if not answer.done and (answer.framed or not answer.body):
            raise Unreachable("its answer breaks off")
        return status, answer
    finally:
        writer.transport.abort()
