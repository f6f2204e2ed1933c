"""Tokens of whoever is logged in with `az` on this machine: for developers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

from sluicegate.core.settings import Identity
from sluicegate.upstream.credentials.token import LATER_S, Failed, Fetched, fetched

WITHIN_S = 15.0
LARGEST = 256 * 1024
_PLAIN = re.compile(r"[A-Za-z0-9:/._-]+")
_TENANT = re.compile(r"[A-Za-z0-9.-]{0,253}")


async def azure_cli(identity: Identity, environ: Mapping[str, str], wall: Callable[[], float]) -> Fetched:
    """Asked in a thread: it takes seconds. Raises Failed."""
    resource = identity.scope.removesuffix("/.default")
    if not _PLAIN.fullmatch(resource) or not _TENANT.fullmatch(identity.tenant_id):
        raise Failed("az cannot be asked for such a scope or tenant", LATER_S)
    tenant = ["--tenant", identity.tenant_id] if identity.tenant_id else []
    said = await asyncio.to_thread(_asked, ["--resource", resource, *tenant], environ)
    if "expires_on" in said:  # newer ones say it in seconds; `expiresOn` is local time
        said.pop("expiresOn", None)
    return fetched(said, wall())


def _asked(words: list[str], environ: Mapping[str, str]) -> dict[str, Any]:
    program = shutil.which("az", path=environ.get("PATH", os.defpath))
    if program is None:
        raise Failed("there is no az on this machine", LATER_S)
    command = [program, "account", "get-access-token", "--output", "json", *words]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=WITHIN_S,
            check=False, cwd="/", env=dict(environ),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failed(f"az said nothing within {WITHIN_S:g} s") from None
    except OSError:
        raise Failed("az cannot be started", LATER_S) from None
    if done.returncode:
        raise Failed(f"az ended with status {done.returncode}: az login?", LATER_S)
    try:
        found = json.loads(done.stdout) if len(done.stdout) <= LARGEST else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Failed("az said something else than a token", LATER_S)
    return found
