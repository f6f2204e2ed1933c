"""The admin plane of one keeper: everything on the Unix socket, and on TCP for whoever shows an operator's key.

Traffic does not depend on it: an address that is taken is tried again every few seconds, and said once. An address
that others reach is opened once somebody has a key for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sluicegate import __version__
from sluicegate.admin import audit as audit_resource
from sluicegate.admin import config as config_resource
from sluicegate.admin import consumers as consumers_resource
from sluicegate.admin import explain as explain_resource
from sluicegate.admin import gateway as gateway_resource
from sluicegate.admin import keys as keys_resource
from sluicegate.admin import ledger as ledger_resource
from sluicegate.admin import login as login_resource
from sluicegate.admin import metrics as metrics_resource
from sluicegate.admin import openapi as openapi_resource
from sluicegate.admin import pools as pools_resource
from sluicegate.admin.base import OPEN, Gateway, Route, Who, Wrong
from sluicegate.admin.gate import Gate, loopback
from sluicegate.admin.ledger import REFUSED_S, Tail
from sluicegate.admin.live import counts
from sluicegate.admin.login import Door, Provider
from sluicegate.admin.server import RETRY_S, SOCKET, Server
from sluicegate.admin.sessions import Sessions
from sluicegate.core.settings import Admin, Login
from sluicegate.core.settings import Gateway as Settings
from sluicegate.core.snapshot import Directory, Snapshot


class Keeper(Gateway, Protocol):
    """Where it listens is the keeper's to know."""

    directory: Directory
    snapshot: Snapshot
    drained: frozenset[str]
    on_adopted: list[Callable[[], None]]

    @property
    def settings(self) -> Settings: ...
    @property
    def say(self) -> Callable[..., None]: ...
    def watch_refused(self, for_s: float) -> None: ...


class Issuer(Provider, Protocol):
    """Told what is in force."""

    def adopt(self, issuers: Sequence[Any], login: Login | None) -> None: ...


class Book(Protocol):
    """The audit log."""

    async def write(self, what: str, facts: Mapping[str, Any]) -> int: ...
    def read(self, after: int, most: int) -> tuple[list[dict[str, Any]], bool]: ...
    def verified(self) -> dict[str, Any]: ...


class Beside:
    """What lives in the keeper too and the plane shows: metrics, counts, the ledger, requests as they end."""

    def __init__(
        self,
        render: Callable[[], str],
        content_type: str,
        samples: Callable[[], Any],
        ledger: Callable[[str], Any],
        tail: Tail | None = None,
        audit: Book | None = None,
        provider: Issuer | None = None,
    ) -> None:
        self.render = render
        self.content_type = content_type
        self.samples = samples
        self.ledger = ledger
        self.tail = tail or Tail()
        self.audit = audit
        self.provider = provider


class Plane:
    """Lives beside the workers, in the keeper."""

    def __init__(self, beside: Beside) -> None:
        self._beside = beside
        self._unix: Server | None = None
        self._tcp: Server | None = None
        self._trying: asyncio.Task[Any] | None = None
        self._data = ""
        self._port = 0
        self._tls: ssl.SSLContext | None = None

    async def start(self, keeper: Keeper) -> None:
        """Listen. Raises OSError when there can be no Unix socket."""

        def log(who: Who, route: Route, path: str, status: int, error: str) -> None:
            facts = {"error": error} if error else {}
            keeper.say("admin.change", who=who.name, role=who.role, what=route.id, path=path, status=status, **facts)

        audit = self._beside.audit

        async def denied(peer: str, who: str, what: str, status: int) -> None:
            keeper.say("admin.denied", peer=peer, what=what[:200], status=status, **({"who": who} if who else {}))
            if audit is not None and rarely(time.monotonic()):
                facts = {"from": peer, "path": what[:200], "outcome": "refused", "status": status}
                with contextlib.suppress(Wrong):
                    await audit.write("admin.denied", {**facts, **({"who": {"name": who}} if who else {})})

        rarely = Rarely()

        self._beside.tail.remind = lambda: keeper.watch_refused(2 * REFUSED_S)
        where = keeper.settings.admin
        self._data = keeper.settings.data
        self._unix = Server(every(keeper, self._beside, OPEN), None, log, audit=audit)
        await self._unix.listen_unix(keeper.settings.data)
        door = self._door(keeper)
        gate = Gate(lambda: keeper.settings.admin, lambda: keeper.directory.secrets, time.monotonic, door)
        mine = every(keeper, self._beside, OPEN if loopback(where.host) else "viewer", door)
        if not keeper.settings.telemetry.prometheus:
            mine = [route for route in mine if route.path != "/metrics"]
        self._trying = asyncio.get_running_loop().create_task(
            self._listen(keeper, where, lambda: Server(mine, gate, log, denied, audit))
        )

    def _door(self, keeper: Keeper) -> Door | None:
        """Where people log in, if anybody ever may."""
        provider = self._beside.provider
        if provider is None:
            return None

        sessions = Sessions(time.monotonic)
        vouches: list[object] = []

        def adopted() -> None:
            admin = keeper.settings.admin
            login = admin.login
            now = login and (login.client_id, [i for i in keeper.snapshot.issuers if i.name == login.issuer])
            if vouches != [now]:  # what another issuer said of people is worth nothing here
                sessions.close_all()
                vouches[:] = [now]
            provider.adopt(keeper.snapshot.issuers, admin.login)
            if self._tls is not None and admin.tls is not None:
                with contextlib.suppress(OSError):  # looked at when the configuration was; new connections have it
                    self._tls.load_cert_chain(admin.tls.certificate, admin.tls.key)

        def url() -> str:
            admin = keeper.settings.admin
            host = f"[{admin.host}]" if ":" in admin.host else admin.host
            return admin.public_url or f"http{'s' if admin.tls else ''}://{host}:{self._port}"

        keeper.on_adopted.append(adopted)
        adopted()
        rarely = Rarely()
        return Door(
            provider, sessions, lambda: keeper.settings.admin.login, url, self._beside.audit,
            keeper.say, lambda: rarely(time.monotonic()),
        )  # fmt: skip

    async def _listen(self, keeper: Keeper, where: Admin, made: Callable[[], Server]) -> None:
        told = False
        while True:
            server = made()
            try:
                admin = keeper.settings.admin
                if where.tls is not None and self._tls is None:
                    self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
                    self._tls.load_cert_chain(where.tls.certificate, where.tls.key)
                if not loopback(where.host) and not admin.keys and admin.login is None:
                    raise OSError(0, "others reach this address and nobody has a key: declare gateway.admin.keys")
                port = self._port = await server.listen_tcp(where.host, where.port, self._tls)
            except OSError as e:
                if not told:
                    error = (e.strerror or "error").lower()
                    keeper.say("admin.unavailable", address=f"{where.host}:{where.port}", error=error)
                told = True
                await asyncio.sleep(RETRY_S)
            else:
                self._tcp = server
                keeper.say("admin.ready", host=where.host, port=port)
                return

    async def stop(self) -> None:
        """Close both."""
        if self._trying is not None:
            self._trying.cancel()
        for server in (self._unix, self._tcp):
            if server is not None:
                await server.stop()
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self._data, SOCKET))


class Rarely:
    """Attempts that are refused are written down, too, but somebody who makes many does not fill the disk: a hundred at
    once, then one every ten seconds. On stderr they are all."""

    MOST = 100
    EACH_S = 10.0

    def __init__(self) -> None:
        self._left = float(self.MOST)
        self._at = 0.0

    def __call__(self, now: float) -> bool:
        self._left = min(self.MOST, self._left + (now - self._at) / self.EACH_S)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def every(keeper: Keeper, beside: Beside, metrics: str = OPEN, door: Door | None = None) -> list[Route]:
    """All routes. `metrics`: the role that /metrics needs; `door`: where people log in."""
    found = [
        *login_resource.routes(door),
        *gateway_resource.routes(keeper),
        *pools_resource.routes(keeper),
        *consumers_resource.routes(keeper),
        *keys_resource.routes(keeper),
        *ledger_resource.routes(lambda: beside.ledger(keeper.settings.data), lambda: keeper.settings.data, beside.tail),
        *explain_resource.routes(keeper),
        *config_resource.routes(keeper),
        *audit_resource.routes(
            lambda after, most: beside.audit.read(after, most) if beside.audit else ([], False),
            lambda: beside.audit.verified() if beside.audit else {"whole": True, "seq": 0, "hash": "", "flaws": []},
        ),
        *metrics_resource.routes(
            beside.render, beside.content_type, lambda: counts(beside.samples(), keeper, time.monotonic()), metrics
        ),
    ]
    return [*found, *openapi_resource.routes(found, __version__)]
