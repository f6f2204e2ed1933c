"""The admin plane of one keeper: everything on the Unix socket, metrics and health on TCP.

Traffic does not depend on it: an address that is taken is tried again every few seconds, and said once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Any, Protocol

from sluicegate.admin import explain as explain_resource
from sluicegate.admin import gateway as gateway_resource
from sluicegate.admin import metrics as metrics_resource
from sluicegate.admin import pools as pools_resource
from sluicegate.admin.base import Gateway, Table
from sluicegate.admin.server import RETRY_S, SOCKET, Server, loopback, only
from sluicegate.core.settings import Gateway as Settings

OPEN = ("/metrics", "/health")
"""Paths on TCP."""


class Keeper(Gateway, Protocol):
    """Where it listens is the keeper's to know."""

    @property
    def settings(self) -> Settings: ...
    @property
    def say(self) -> Callable[..., None]: ...


class Plane:
    """Lives beside the workers, in the keeper. `render` makes the metrics page."""

    def __init__(self, render: Callable[[], str], content_type: str) -> None:
        self._metrics = metrics_resource.table(render, content_type)
        self._unix: Server | None = None
        self._tcp: Server | None = None
        self._trying: asyncio.Task[Any] | None = None
        self._data = ""

    async def start(self, keeper: Keeper) -> None:
        """Listen. Raises OSError when there can be no Unix socket."""
        table: Table = {**gateway_resource.table(keeper), **pools_resource.table(keeper), **self._metrics}
        table |= explain_resource.table(keeper)
        self._unix = Server(table)
        self._data = keeper.settings.data
        await self._unix.listen_unix(keeper.settings.data)
        where = keeper.settings.admin
        if not keeper.settings.telemetry.prometheus:
            table = {key: handler for key, handler in table.items() if key[1] != "/metrics"}
        if loopback(where.host):
            self._trying = asyncio.get_running_loop().create_task(self._listen(keeper, only(table, *OPEN)))
        else:
            what = "an address that others reach needs a credential, which arrives later: write 127.0.0.1"
            keeper.say("admin.unavailable", address=f"{where.host}:{where.port}", error=what)

    async def _listen(self, keeper: Keeper, table: Table) -> None:
        where = keeper.settings.admin
        told = False
        while True:
            server = Server(table)
            try:
                port = await server.listen_tcp(where.host, where.port)
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
