"""Who is asked for the token of an identity, by its kind."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from sluicegate.core.settings import Identity
from sluicegate.upstream.credentials.azure_cli import azure_cli
from sluicegate.upstream.credentials.entra import Sign, service_principal, workload_identity
from sluicegate.upstream.credentials.managed_identity import managed_identity
from sluicegate.upstream.credentials.token import LATER_S, Failed, Fetched

Source = Callable[[Identity, Mapping[str, str], Callable[[], float]], Awaitable[Fetched]]

SOURCES: dict[str, Source] = {
    "managed_identity": managed_identity,
    "workload_identity": workload_identity,
    "azure_cli": azure_cli,
}
"""Those that need nothing beside."""


class Sources:
    """All of them. `sign` and `library` bring libraries along, and load them when first asked: they are handed in."""

    def __init__(
        self,
        environ: Mapping[str, str],
        sign: Sign,
        library: Callable[[Identity], Awaitable[Fetched]],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.environ = environ
        self.sign = sign
        self.library = library
        self.wall = wall

    async def fetch(self, identity: Identity) -> Fetched:
        """A token. Raises Failed."""
        if identity.kind == "service_principal":
            return await service_principal(identity, self.environ, self.wall, self.sign)
        if identity.kind == "azure_identity":
            return await self.library(identity)
        source = SOURCES.get(identity.kind)
        if source is None:
            raise Failed("nobody hands out such tokens", LATER_S)
        return await source(identity, self.environ, self.wall)
