"""The admin plane's listeners: a Unix socket for the owner (mode 0600, no credential), TCP for operators with keys and
for what scrapes.

A small HTTP server on purpose (docs/decisions/0026): one request a connection, heads up to 8 KiB and within 10 s, a
bounded body and only where a route takes one, bounded writes. What clients of the gateway reach is another house
(edge/); this one is met by curl, Prometheus and our own command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import ssl
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from sluicegate.admin.base import OPEN, Asked, Audit, Reply, Route, Stream, Who, Wrong, wrong
from sluicegate.admin.gate import Denied, Gate
from sluicegate.admin.sessions import CSRF

SOCKET = "control.sock"
HEAD_BYTES = 8 * 1024
HEAD_S = 10.0
BODY_S = 30.0
WRITE_S = 30.0
RETRY_S = 5.0
CONNECTIONS = 64
"""At once; more are closed unanswered."""
EACH = 32
"""Of them, from one address: nobody keeps all others out. On the Unix socket all are one."""
STREAMS = 16
"""Answers without an end."""

STATUS = {200: "OK", 201: "Created", 302: "Found", 303: "See Other", 400: "Bad Request", 401: "Unauthorized",
          403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict",
          411: "Length Required", 412: "Precondition Failed", 413: "Content Too Large", 421: "Misdirected Request",
          429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip

POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

_REQUEST = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.[01]\r\n")
_LENGTH = re.compile(r"[0-9]{1,9}")

Log = Callable[[Who, Route, str, int, str], None]
"""Told of every change: who, what, which path, the status, and the error if there was one."""


Turned = Callable[[str, str, str, int], Awaitable[None]]
"""Told of wrong keys and roles: from which address, who if that is known, what was asked, the status."""


class Head:
    """The request line and the headers that matter."""

    def __init__(self, raw: bytes) -> None:
        found = _REQUEST.match(raw)
        if found is None:
            raise Wrong(400, "this is no HTTP/1.1 request")
        self.method = found[1].decode()
        target: str = found[2].decode()
        self.path: str = target.partition("?")[0]
        self.query: str = target.partition("?")[2]
        self._fields: dict[str, list[str]] = {}
        for line in raw[found.end() :].split(b"\r\n"):
            if line:
                name, colon, value = line.partition(b":")
                if not colon or not name or name != name.strip() or b"\n" in line or b"\r" in line:
                    raise Wrong(400, "a header is damaged")
                self._fields.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1").strip())

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return self._fields.get(name, [])

    def one(self, name: str) -> str | None:
        """A header that may stand once. Raises Wrong."""
        found = self.all(name)
        if len(found) > 1:
            raise Wrong(400, f"the header {name} stands twice")
        return found[0] if found else None


class Server:
    """One listener and its routes. `gate`: who may come in; None: whoever can connect is the owner."""

    def __init__(
        self, routes: Sequence[Route], gate: Gate | None = None, log: Log | None = None, denied: Turned | None = None,
        audit: Audit | None = None,
    ) -> None:  # fmt: skip
        self._routes = [(route, pattern(route.path)) for route in routes]
        self._gate = gate
        self._log = log
        self._denied = denied
        self._audit = audit
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._from: Counter[str] = Counter()
        self._streams = 0

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

    async def listen_tcp(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen there; the port. Raises OSError."""
        times = {"ssl_handshake_timeout": HEAD_S, "ssl_shutdown_timeout": 1.0} if tls else {}
        self._server = await asyncio.start_server(self._client, host, port, limit=HEAD_BYTES, ssl=tls, **times)
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
        peer = _peer(writer)
        if len(self._open) >= CONNECTIONS or (peer and self._from[peer] >= EACH):
            writer.close()
            return
        self._open.add(task)
        self._from[peer] += 1
        try:
            async with asyncio.timeout(HEAD_S):
                raw = await reader.readuntil(b"\r\n\r\n")
            reply, with_body = await self._answered(raw, reader, writer)
            if isinstance(reply, Stream):
                await self._stream(reply, reader, writer)
                return
            head = _head(reply.status, reply.content_type, *reply.headers, ("content-length", str(len(reply.body))))
            writer.write(head + (reply.body if with_body else b""))
            async with asyncio.timeout(WRITE_S):
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it left, or sends what is no request
        finally:
            self._open.discard(task)
            self._from[peer] -= 1
            if not self._from[peer]:
                del self._from[peer]
            writer.close()

    async def _stream(self, reply: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until it leaves, or takes nothing for too long."""
        if self._streams >= STREAMS:
            body = wrong(503, f"{STREAMS} live tails are open already").body
            writer.write(_head(503, "application/json", ("content-length", str(len(body)))) + body)
            return
        self._streams += 1
        left = asyncio.ensure_future(reader.read(1))  # nothing more is said by who listens: its end is what comes
        pieces = aiter(reply.pieces)
        try:
            writer.write(_head(200, reply.content_type))
            while not left.done():
                more = asyncio.ensure_future(anext(pieces))
                await asyncio.wait([more, left], return_when=asyncio.FIRST_COMPLETED)
                if not more.done():
                    more.cancel()
                    await asyncio.gather(more, return_exceptions=True)
                    break
                writer.write(more.result())
                async with asyncio.timeout(WRITE_S):
                    await writer.drain()
        except StopAsyncIteration:
            pass
        finally:
            self._streams -= 1
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()

    async def _answered(
        self, raw: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[Reply | Stream, bool]:
        """The reply, and whether its body is sent."""
        try:
            head = Head(raw)
        except Wrong as e:
            return wrong(e.status, e.message), True
        try:
            return await self._answer(head, reader, writer), head.method != "HEAD"
        except Denied as e:
            return wrong(e.status, e.message, *e.headers), head.method != "HEAD"
        except Wrong as e:
            return wrong(e.status, e.message, problems=e.problems), head.method != "HEAD"

    async def _answer(self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Reply | Stream:
        method = "GET" if head.method == "HEAD" else head.method
        route, parts, others = self._find(method, head.path)
        if self._gate is None:
            who, cookies, csrf = Who(_user(writer), "owner", kind="uid"), {}, ""
        else:
            self._gate.called(head.one("host"))
            # Who has no key is told nothing about what there is, and what not.
            role = route.role if route is not None else "viewer"
            cookies = _cookies(head)
            session = self._gate.session(cookies) if not head.all("authorization") and role != OPEN else None
            csrf = session.csrf if session is not None else ""
            try:
                if session is not None:
                    shown = head.one(CSRF), head.one("origin")
                    who = self._gate.logged_in(session, role, method != "GET", *shown)
                else:
                    who = self._gate.who(_peer(writer), head.all("authorization"), role)
            except Denied as e:
                if e.told and self._denied is not None:
                    await self._denied(_peer(writer), e.who, f"{head.method} {head.path}", e.status)
                raise
        if route is None:
            if others:
                raise Wrong(405, f"this path takes {', '.join(others)}")
            raise Wrong(404, "there is no such path here: /openapi.json lists them")
        if head.method == "HEAD" and route.content_type == "text/event-stream":
            raise Wrong(405, "this path takes GET")
        changes = route.writes or route.role == "operator"
        book = _Book(self._audit if route.writes else None, who, _peer(writer), route, head.path)
        try:
            query = _query(route, head.query)
            body = await _body(route, head, reader, writer)
            if not route.notes:
                await book.begin()
            answer: Any = await route.handler(Asked(
                who, parts, query, body, book.note, _expected(head), _peer(writer), cookies, csrf,
                partial(self._gate.guess, _peer(writer)) if self._gate is not None else _nothing,
            ))  # fmt: skip
        except Wrong as e:
            await book.end("refused", e.status, e.message)
            if changes and self._log is not None:
                self._log(who, route, head.path, e.status, e.message)
            raise
        except asyncio.IncompleteReadError:
            raise  # it left
        except Exception:
            await book.end("failed", 500, "")
            if changes and self._log is not None:
                self._log(who, route, head.path, 500, "a bug: see above")
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"admin: {route.method} {route.path} failed", "exception": sys.exception()}
            )
            return wrong(500, "this went wrong: stderr of the gateway says more")
        if isinstance(answer, Stream):
            return answer
        reply = answer if isinstance(answer, Reply) else Reply(200, json.dumps(answer).encode() + b"\n")
        await book.end("done" if reply.status < 400 else "refused", reply.status, "")
        if changes and self._log is not None:
            self._log(who, route, head.path, reply.status, "")
        return reply

    def _find(self, method: str, path: str) -> tuple[Route | None, tuple[str, ...], list[str]]:
        """The route, what stands for the parts of its path, and which methods this path takes."""
        others = []
        for route, known in self._routes:
            match = known.fullmatch(path)
            if match and route.method == method:
                return route, tuple(unquote(part) for part in match.groups()), []
            if match:
                others.append(route.method)
        return None, (), others


def _cookies(head: Head) -> dict[str, str]:
    """Of two of one name neither is believed: one of them may be somebody else's."""
    found: dict[str, str] = {}
    twice = set()
    for line in head.all("cookie"):
        for part in line.split(";"):
            name, _, value = part.strip().partition("=")
            if name in found:
                twice.add(name)
            found[name] = value
    return {name: value for name, value in found.items() if name not in twice}


def _nothing() -> None:
    """No guess is counted on the Unix socket."""


class _Book:
    """What is written down of one request that changes something: before it does, and what came of it."""

    def __init__(self, audit: Audit | None, who: Who, peer: str, route: Route, path: str) -> None:
        self._audit = audit
        self._who = who
        self._from = peer or "control.sock"
        self._route = route
        self._path = path
        self._begun = 0

    def _facts(self) -> dict[str, Any]:
        who = self._who
        named = {"name": who.name, "role": who.role, "kind": who.kind, **({"tenant": who.tenant} if who.tenant else {})}
        return {"who": named, "from": self._from, "path": self._path}

    async def begin(self) -> None:
        """It is about to happen. Raises Wrong where that cannot be written down."""
        if self._audit is not None:
            self._begun = await self._audit.write(self._route.id, {**self._facts(), "outcome": "begun"})

    async def note(self, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
        """It is about to happen: this becomes that. Raises Wrong where that cannot be written down."""
        if self._audit is not None:
            facts = {**self._facts(), "outcome": "begun", "before": before, "after": after}
            self._begun = await self._audit.write(self._route.id, facts)

    async def end(self, outcome: str, status: int, error: str) -> None:
        """What came of it. That it began is written down already, so this entry may be missing."""
        if self._audit is None:
            return
        facts: dict[str, Any] = {"of": self._begun} if self._begun else self._facts()
        facts |= {"outcome": outcome, "status": status, **({"error": error[:500]} if error else {})}
        with contextlib.suppress(Wrong):
            await self._audit.write(self._route.id, facts)


def _expected(head: Head) -> int:
    """The version that If-Match names; 0: none. Raises Wrong."""
    said = head.one("if-match")
    if said is None or said == "*":
        return 0
    found = re.fullmatch(r'"([1-9][0-9]{0,15})"', said)
    if found is None:
        raise Wrong(412, "If-Match is no ETag of ours: it is a version in quotes, as GET has it")
    return int(found[1])


def pattern(path: str) -> re.Pattern[str]:
    """Of a route's path. A segment has no slash, and none in disguise."""
    return re.compile("".join("([^/%]+)" if part.startswith("{") else re.escape(part)
                              for part in re.split(r"(\{\w+\})", path)))  # fmt: skip


def _head(status: int, content_type: str, *headers: tuple[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {STATUS[status]}", f"content-type: {content_type}", "cache-control: no-store",
        "x-content-type-options: nosniff", "referrer-policy: no-referrer", f"content-security-policy: {POLICY}",
        "connection: close",
        *(f"{name}: {value}" for name, value in headers),
    ]  # fmt: skip
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _peer(writer: asyncio.StreamWriter) -> str:
    """The address at the other end; empty on the Unix socket."""
    peer = writer.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""


def _user(writer: asyncio.StreamWriter) -> str:
    """Whose process is at the other end of the Unix socket."""
    there = writer.get_extra_info("socket")
    try:
        raw = there.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return f"uid {struct.unpack('3i', raw)[1]}"
    except (OSError, AttributeError):
        return "owner"


def _query(route: Route, text: str) -> Any:
    """What stands after the question mark. Raises Wrong."""
    if route.query is None:
        return None  # as before there were any, what is there is no matter
    fields = {f.name: f for f in msgspec.structs.fields(route.query)}
    values: dict[str, Any] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=100, errors="strict")
    except ValueError:
        raise Wrong(400, "the query is damaged: write name=value&name=value") from None
    for name, value in pairs:
        if name not in fields and getattr(route.query, "loose", False):
            continue
        if name not in fields:
            raise Wrong(400, f'there is no parameter "{name[:64]}"; there are: {", ".join(fields)}')
        if isinstance(fields[name].default_factory, type) and fields[name].default_factory is list:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise Wrong(400, f"{name} stands twice")
        else:
            values[name] = value
    try:
        return msgspec.convert(values, route.query, strict=False)
    except msgspec.ValidationError as e:
        raise Wrong(400, f"the query does not fit: {e}") from None


async def _body(route: Route, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
    """What is sent along, as its route wants it. Raises Wrong."""
    if route.takes is None:
        return None
    if head.one("transfer-encoding") is not None:
        raise Wrong(411, "send a body with its content-length")
    said = head.one("content-length") or "0"
    if not _LENGTH.fullmatch(said):
        raise Wrong(400, "content-length is no length")
    if int(said) > route.most:
        raise Wrong(413, f"a body may have {route.most} bytes here")
    if (head.one("expect") or "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        async with asyncio.timeout(BODY_S):
            raw = await reader.readexactly(int(said))
    except TimeoutError:
        raise Wrong(408, f"the body did not come within {BODY_S:g} s") from None
    if getattr(route.takes, "raw", False):
        return raw or b"{}"
    try:
        return msgspec.json.decode(raw or b"{}", type=route.takes)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        what = str(e) if isinstance(e, msgspec.ValidationError) else "it is no JSON"
        raise Wrong(400, f"the body does not fit: {what}") from None
