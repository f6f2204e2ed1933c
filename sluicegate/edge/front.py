"""The front: what is asked of a request before anybody looks who sent it.

Where it came in (the id of the front door), from which address (as a trusted proxy says), at which path (prefixes are
cut off), from which page in a browser, and whether its address has shown too many credentials that are nobody's. A
gateway whose configuration asks nothing of this has no Front, and pays for none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hmac import compare_digest
from math import inf
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from sluicegate.core import settings
from sluicegate.core.caller import Callers, Shown
from sluicegate.core.ports import Certificates
from sluicegate.core.refusals import status_of
from sluicegate.edge.failures import Failures
from sluicegate.edge.networks import Networks, client_of
from sluicegate.wire.headers import ANSWER_PASS, CREDENTIAL_HEADERS
from sluicegate.wire.refusal import refusal

if TYPE_CHECKING:
    from sluicegate.edge.http1 import Connection
    from sluicegate.edge.request import Request

Lines = Sequence[tuple[bytes, bytes]]
"""Header fields of a request, names in lower case, repeated ones as often as they came."""

DOOR: Final = b"x-azure-fdid"
ORIGIN: Final = b"origin"
ASKS_METHOD: Final = b"access-control-request-method"
ASKS_HEADERS: Final = b"access-control-request-headers"

NAMES_MOST: Final = 512
NAMES_BYTES: Final = 4096
SAID_MOST: Final = 4096
SAID_BYTES: Final = 256
"""Clients choose what is kept: it is bounded in number and size."""

OPEN: Final = (b"/health/live", b"/health/ready", b"/health/region", b"/status-0123456789abcdef")
"""Answered to whoever reaches us: routers ask here, and they come by no door. Nothing is told but states."""

QUERY_KEYS: Final = (b"api-key", b"subscription-key")
"""Names by which a URL may carry a key, in lower case."""

_TOKEN: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,4096}\Z")
_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_EXPOSED: Final = b", ".join(sorted(ANSWER_PASS - {b"content-type"} | {
    b"retry-after", b"retry-after-ms", b"x-should-retry", b"x-sluicegate-attempts", b"x-sluicegate-deployment",
    b"x-sluicegate-limit-source", b"x-sluicegate-overhead-ms", b"x-sluicegate-reason", b"x-sluicegate-request-id",
    b"x-sluicegate-warning",
}))  # fmt: skip


_CERTIFICATE: Final = {
    "credential.certificate": "Your client certificate is not one that counts here: look at its dates and its issuer.",
    "credential.revoked": "Your client certificate was revoked.",
}


class Front:
    """Of one worker, for one configuration. `shared`: memory of all workers, where failures outlive it."""

    __slots__ = (
        "_allow", "_callers", "_certificate", "_cors", "_doors", "_header", "_own", "_paths", "_picked", "_proxies",
        "_reads", "_said", "certificates", "expires", "failures", "spec",
    )  # fmt: skip

    def __init__(self, spec: settings.Front, shared: memoryview[int], certificates: Certificates | None = None) -> None:
        self.spec = spec
        self.certificates = certificates
        self._certificate = spec.forwarded.header.encode() if spec.forwarded is not None else b""
        "Header in which proxies say it."
        self.expires = inf
        "Wall time at which the first certificate is over that was let in."
        self._own = {DOOR, spec.client_address.encode(), self._certificate, ORIGIN, ASKS_METHOD, ASKS_HEADERS}
        self._callers: Callers | None = None
        self._reads: set[bytes] = set()
        "Names of header fields that are looked at: our own, and those that the rules of these callers read."
        self._picked: dict[tuple[bytes, ...], list[tuple[bytes, bytes]]] = {}
        "By the names of a head: which of them are looked at, in lower case and as they are spelled."
        self._said: dict[bytes, str] = {}
        "Who asks, by what a proxy said, where it said it once."
        self._doors = tuple(door.encode() for door in spec.doors)
        self._proxies = Networks(spec.proxies)
        self._allow = Networks(spec.allow)
        self._header = spec.client_address.encode()
        self._paths = tuple(path.encode() for path in sorted(spec.base_paths, key=len, reverse=True))
        self._cors: dict[bytes, bytes] = {}
        "What is added to answers, by origin."
        if spec.cors is not None:
            for origin in spec.cors.origins:
                said = origin.encode()
                self._cors[said] = b"access-control-allow-origin: %b\r\nvary: origin\r\n" % said
        self.failures = Failures(spec.failures, shared) if spec.failures else None

    # ------------------------------------------------------------------ connections

    def admits(self, address: str) -> bool:
        """Whether this address may connect at all: a client that is allowed, or a proxy that will say who is."""
        return self._allow.empty or self._allow.hold(address) or self._proxies.hold(address)

    def meet(self, conn: Connection) -> None:
        """Who is connected: a proxy that is believed? With which certificate?"""
        conn.trusted = not self._proxies.empty and self._proxies.hold(conn.direct)
        conn.presented = None
        if self.spec.certificates and self.certificates is not None:
            tls = conn.transport.get_extra_info("ssl_object")
            der = tls.getpeercert(True) if tls is not None else None
            if der:
                conn.presented = self.certificates.look(der)

    # ------------------------------------------------------------------ requests

    def pick(self, fields: Mapping[bytes, bytes], callers: Callers) -> Lines:
        """Of header fields that stand once each, those that are looked at here. Which these are is kept by their names,
        as clients repeat them: behind a front door no head is like the one before, its ids differ."""
        if callers is not self._callers:
            self._callers = callers
            self._reads = {name.encode() for name in callers.headers} | self._own
            self._picked.clear()
        names = tuple(fields)
        picked = self._picked.get(names)
        if picked is None:
            picked = [(name.lower(), name) for name in names if name.lower() in self._reads]
            if sum(map(len, names)) <= NAMES_BYTES:
                if len(self._picked) >= NAMES_MOST:
                    self._picked.clear()
                self._picked[names] = picked
        return [(lower, fields[name].strip(b" \t")) for lower, name in picked]

    def rewrite(self, conn: Connection, request: Request) -> None:
        """Before its line is looked at: cut off what stands before the path, take a key out of the query, know the
        page that asks."""
        url = request.url
        for path in self._paths:
            if url.startswith(path) and url[len(path) : len(path) + 1] == b"/":
                url = request.url = url[len(path) :]
                break
        if self.spec.query_keys and b"?" in url:
            self._take_keys(request, url)
        if self._cors:
            request.extra = self._cors.get(_only(conn.lines, ORIGIN), b"")
            if request.extra:
                request.extra += b"access-control-expose-headers: " + _EXPOSED + b"\r\n"

    def _take_keys(self, request: Request, url: bytes) -> None:
        path, _, query = url.partition(b"?")
        keys: list[bytes] = []
        rest: list[bytes] = []
        for pair in query.split(b"&"):
            name, _, value = pair.partition(b"=")
            if unquote_to_bytes(name).lower() in QUERY_KEYS:
                keys.append(unquote_to_bytes(value))
            else:
                rest.append(pair)
        if keys:
            request.url = path + b"?" + b"&".join(rest) if rest else path
            request.credentials = Shown([*request.credentials.keys, *keys])

    def lets(self, conn: Connection, request: Request) -> bool:
        """Whether it may go on. False: it was answered."""
        lines = conn.lines
        conn.lines = ()
        conn.peer = conn.direct
        if conn.trusted:
            values = [value for name, value in lines if name == self._header]
            if values:
                conn.peer = self._client(conn.direct, values)
        if conn.server.tells:
            conn.told = conn.peer
        path = request.url.partition(b"?")[0]
        if path in OPEN and request.method in ("GET", "HEAD"):
            return True
        if not self._allow.empty and not self._allow.hold(conn.peer):
            return self._stop(conn, request, "front.address", "Requests from your address are not answered here.")
        if self._doors and not self._came_in(lines):
            return self._stop(conn, request, "front.door", "Requests come in by the front door of this gateway only.")
        if self.certificates is not None and not self._certified(conn, request, lines):
            return False
        if conn.trusted:
            self._believe(conn, request, lines)
        if self.spec.cors is not None:
            if request.extra:
                conn.like = None  # the next page may be another
            if request.method == "OPTIONS" and _only(lines, ASKS_METHOD):
                return self._preflight(conn, request, _only(lines, ASKS_HEADERS))
        if self.failures is not None and request.credentials.keys:
            return self._credible(conn, request, self.failures)
        return True

    def _client(self, direct: str, values: Sequence[bytes]) -> str:
        header, proxies = self.spec.client_address, self._proxies
        if len(values) > 1:
            return client_of(direct, [value.decode("latin-1") for value in values], header, proxies)
        known = self._said.get(values[0])
        if known is None:
            known = client_of("", [values[0].decode("latin-1")], header, proxies)
            if len(values[0]) <= SAID_BYTES:
                if len(self._said) >= SAID_MOST:
                    self._said.clear()
                self._said[values[0]] = known
        return known or direct

    def _came_in(self, lines: Lines) -> bool:
        """All ids are compared, each in constant time: how long it takes tells nothing."""
        said = _only(lines, DOOR).lower()
        found = False
        for door in self._doors:
            found = compare_digest(said, door) or found
        return found

    def _certified(self, conn: Connection, request: Request, lines: Lines) -> bool:
        """Add the client's certificate to what it shows. A proxy's own says nothing of its clients, where it says
        theirs in a header."""
        presented = conn.presented
        if conn.trusted and self._certificate and self.certificates is not None:
            said = [value for name, value in lines if name == self._certificate]
            presented = None
            if said:
                header = self._certificate.decode()
                presented = self.certificates.forwarded(header, said[0] if len(said) == 1 else b"")
        if presented is None:
            return True
        principal = presented.principal
        if principal is None or presented.refused or principal.expires <= conn.server.bound.wall():
            reason = presented.refused or "credential.certificate"
            return self._stop(conn, request, reason, _CERTIFICATE[reason])
        self.expires = min(self.expires, principal.expires)
        request.credentials = Shown(request.credentials.keys, principal)
        return True

    def _believe(self, conn: Connection, request: Request, lines: Lines) -> None:
        """Add the headers that rules read, each that stands once."""
        names = conn.server.bound.world.callers.headers
        if names:
            headers = {}
            for name in names:
                if name.encode() not in CREDENTIAL_HEADERS:
                    said = [value for other, value in lines if other == name.encode()]
                    if len(said) == 1:
                        headers[name] = said[0].decode("latin-1")
            if headers:
                request.credentials = Shown(request.credentials.keys, request.credentials.certificate)
                request.credentials.headers = headers

    def _preflight(self, conn: Connection, request: Request, headers: bytes) -> bool:
        """A browser asks for a page whether it may ask. Which headers the page sends is the page's matter: what
        reaches us is read by our lists, and none of them is a right that the page would not have."""
        cors = self.spec.cors
        if cors is None or not request.extra:
            return self._stop(conn, request, "front.origin", "Pages of this origin may not call this gateway.")
        added = b"access-control-allow-methods: %b\r\naccess-control-max-age: %d\r\n" % (_METHODS, int(cors.max_age_s))
        if headers and _TOKEN.match(headers):
            added += b"access-control-allow-headers: " + headers + b"\r\n"
        request.head(200, added, 0)
        request.end()
        return False

    def _credible(self, conn: Connection, request: Request, failures: Failures) -> bool:
        shown = request.credentials
        now = conn.last
        wait = failures.wait(conn.peer, shown.keys, now)
        if wait:
            what = "Too many credentials that are nobody's were shown from your address: wait, then show a good one."
            return self._stop(conn, request, "credential.too_many_failures", what, wait)
        found = shown.who(conn.server.bound.world.callers)
        if not isinstance(found, str):
            failures.good(conn.peer, shown.keys, now)
        elif guessed(found):
            failures.failed(conn.peer, shown.keys, now)
            conn.like = None
        return True

    def _stop(self, conn: Connection, request: Request, reason: str, message: str, wait: float | None = None) -> bool:
        conn.like = None
        server = conn.server
        made = server.next_id()
        status, lines, body = refusal(reason, message, wait, made, server.paths.dialect(request.url))
        server.refused(reason, made, conn.told, status)
        request.head(status, lines, len(body))
        request.data(b"" if request.method == "HEAD" else body)
        request.end()
        return False


def guessed(reason: str) -> bool:
    """Whether somebody may be trying out credentials. `ambiguous` would tell that one of two is good; a token that was
    good yesterday is no guess."""
    if reason == "credential.missing" or reason == "credential.token.expired":
        return False
    return reason == "credential.ambiguous" or status_of(reason) == 401


def _only(lines: Lines, name: bytes) -> bytes:
    """The value of a header that stands once; empty where it stands not at all, or twice."""
    found = [value for other, value in lines if other == name]
    return found[0] if len(found) == 1 else b""
