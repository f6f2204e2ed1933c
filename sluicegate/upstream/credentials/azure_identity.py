"""Tokens by the library azure-identity, for flows that we do not speak ourselves. The library is an extra (`azure`),
brings 33 MB along, and is loaded when the first token is asked for."""

from __future__ import annotations

import asyncio
import importlib
import time
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
_made: dict[str, Any] = {}


async def by_library(identity: Identity) -> Fetched:
    """Asked in a thread; the library keeps a cache of its own, which says the same token until it is old. Raises
    Failed."""
    return await asyncio.to_thread(_asked, identity)


def _asked(identity: Identity) -> Fetched:
    try:
        credential = _made.get(identity.which)
        if credential is None:
            found = importlib.import_module("azure.identity")
            credential = _made[identity.which] = getattr(found, NAMES[identity.which])()
        token = credential.get_token(identity.scope)
        return Fetched(Secret(str(token.token)), float(token.expires_on) - time.time())
    except Exception as e:  # its errors may quote anything
        raise Failed(f"azure-identity: {type(e).__name__}") from None
