"""Tokens by the library azure-identity, for flows that we do not speak ourselves. The library is an extra (`azure`),
brings 33 MB along, and is loaded when the first token is asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from sluicegate.core.secret import Secret
from sluicegate.core.settings import Identity
from sluicegate.upstream.credentials.token import Failed, Fetched

NAMES = {
    "default": "DefaultAzureCredential",
    "environment": "EnvironmentCredential",
    "developer_cli": "AzureDeveloperCliCredential",
    "powershell": "AzurePowerShellCredential",
}


class Library:
    """`load` imports azure.identity."""

    def __init__(self, load: Callable[[], Any], wall: Callable[[], float] = time.time) -> None:
        self._load = load
        self._wall = wall
        self._made: dict[str, Any] = {}

    async def __call__(self, identity: Identity) -> Fetched:
        """Asked in a thread; the library keeps a cache of its own, which says the same token until it is old. Raises
        Failed."""
        return await asyncio.to_thread(self._asked, identity)

    def _asked(self, identity: Identity) -> Fetched:
        try:
            credential = self._made.get(identity.which)
            if credential is None:
                credential = self._made[identity.which] = getattr(self._load(), NAMES[identity.which])()
            token = credential.get_token(identity.scope)
            return Fetched(Secret(str(token.token)), float(token.expires_on) - self._wall())
        except Exception as e:  # its errors may quote anything
            raise Failed(f"azure-identity: {type(e).__name__}") from None
