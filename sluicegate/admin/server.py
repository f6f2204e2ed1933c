"""The admin plane's listeners: a Unix socket for operators (mode 0600, no credential), loopback TCP for what scrapes.

A small HTTP server on purpose: one request a connection, heads up to 8 KiB, bodies up to 256 KiB and only where a
resource takes one. What clients of the gateway reach is another house (edge/); this one is met by curl, Prometheus and
our own command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import socket
from collections.abc import Mapping

from sluicegate.admin.base import Handler, Reply, Table, Taking, wrong

SOCKET = "control.sock"
HEAD_BYTES = 8 * 1024
BODY_BYTES = 256 * 1024
HEAD_S = 10.0
WRITE_S = 30.0
RETRY_S = 5.0
CONNECTIONS = 64
"""At once; more are closed unanswered."""

STATUS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict",
          413: "Content Too Large", 500: "Internal Server Error"}  # fmt: skip

_REQUEST = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.[01]\r\n")
_LENGTH = re.compile(rb"^content-length:[ \t]*([0-9]{1,9})[ \t]*\r$", re.IGNORECASE | re.MULTILINE)


class Server:
    """One listener and its table."""

    def __init__(self, table: Table) -> None:
        self._exact: dict[tuple[str, str], Handler | Taking] = {}
        self._patterns: list[tuple[str, re.Pattern[str], Handler | Taking]] = []
        for (method, path), handler in table.items():
            if "{}" in path:
                parts = (re.escape(part) for part in path.split("{}"))
                self._patterns.append((method, re.compile("([^/]+)".join(parts)), handler))
            else:
                self._exact[method, path] = handler
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def listen_unix(self, folder: str) -> None:
        """Listen on `control.sock` in this folder. Raises OSError."""
        os.makedirs(folder, mode=0o700, exist_ok=True)
        # A socket's path may have 107 bytes: by way of the open folder it always fits.
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            path = f"/proc/self/fd/{fd}/{SOCKET}"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            listening = socket.socket(socket.AF_UNIX)
            before = os.umask(0o177)
            try:
                listening.bind(path)
            except OSError:
                listening.close()
                raise
            finally:
                os.umask(before)
        finally:
            os.close(fd)
        self._server = await asyncio.start_unix_server(self._client, sock=listening, limit=HEAD_BYTES)

    async def listen_tcp(self, host: str, port: int) -> int:
        """Listen there; the port. Raises OSError."""
        self._server = await asyncio.start_server(self._client, host, port, limit=HEAD_BYTES)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Close the listener and what is open on it."""
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    # ------------------------------------------------------------------ one request

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= CONNECTIONS:
            writer.close()
            return
        self._open.add(task)
        try:
            async with asyncio.timeout(HEAD_S):
                head = await reader.readuntil(b"\r\n\r\n")
            reply, body = await self._answer(head, reader)
            lines = f"HTTP/1.1 {reply.status} {STATUS[reply.status]}\r\ncontent-type: {reply.content_type}\r\n"
            lines += f"content-length: {len(reply.body)}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n"
            writer.write(lines.encode() + (reply.body if body else b""))
            async with asyncio.timeout(WRITE_S):
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it left, or sends what is no request
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader) -> tuple[Reply, bool]:
        """The reply, and whether its body is sent."""
        found = _REQUEST.match(head)
        if found is None:
            return wrong(400, "this is no HTTP/1.1 request"), True
        method, path = found[1].decode(), found[2].decode().partition("?")[0]
        with_body = method != "HEAD"
        handler, arguments = self._find("GET" if method == "HEAD" else method, path)
        if handler is None:
            known = any(self._find(other, path)[0] for other in ("GET", "POST"))
            return (wrong(405, "another method") if known else wrong(404, "there is no such path here")), with_body
        if not isinstance(handler, Taking):
            return await handler(*arguments), with_body
        said = _LENGTH.search(head)
        length = int(said[1]) if said else 0
        if length > BODY_BYTES:
            return wrong(413, f"a body may have {BODY_BYTES} bytes here"), with_body
        async with asyncio.timeout(HEAD_S):
            body = await reader.readexactly(length)
        return await handler.handler(*arguments, body), with_body

    def _find(self, method: str, path: str) -> tuple[Handler | Taking | None, tuple[str, ...]]:
        handler = self._exact.get((method, path))
        if handler is not None:
            return handler, ()
        for wanted, pattern, handler in self._patterns:
            if wanted == method and (match := pattern.fullmatch(path)):
                return handler, match.groups()
        return None, ()


def loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def only(table: Mapping[tuple[str, str], Handler | Taking], *paths: str) -> Table:
    """The part of a table that may be met without a credential."""
    return {key: handler for key, handler in table.items() if key[1] in paths}
