"""Secrets of key vaults: what `${keyvault:vault/secret}` leads to. Asked in the keeper, when a configuration is loaded.

Kept for a quarter of an hour; what was read once is used on while the vault cannot be asked. A vault is always one of
Azure's own, by name: a configuration can point nowhere else. We show it the identity that the environment says, as
Azure's own libraries do: a service principal, else the cluster's, else the machine's.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from random import random
from typing import NamedTuple

from sluicegate.core.secret import Secret
from sluicegate.core.settings import Identity
from sluicegate.upstream.credentials.token import Failed, Fetched, refused
from sluicegate.upstream.fetch import Unreachable, fetch
from sluicegate.upstream.tls import Contexts

READ_AGAIN_S = 900.0
FRESH_S = 2.0
"""So long a secret is not read again, however often a configuration is loaded."""

DOWN_S = 5.0
"""So long a vault that did not answer is not asked: a hundred secrets must not wait one after the other."""

WITHIN_S = 10.0
VERSION = "7.4"
LONGEST = 4096
"""Characters of a secret. A vault keeps up to 25 KB; nothing that we show is so long."""

DOMAINS = (
    ("microsoftonline.us", "vault.usgovcloudapi.net"),
    ("chinacloudapi.cn", "vault.azure.cn"),
    ("partner.microsoftonline.cn", "vault.azure.cn"),
)
DOMAIN = "vault.azure.net"
"""Where vaults are, by the end of AZURE_AUTHORITY_HOST; DOMAIN: where it says nothing else."""

_REFERENCE = re.compile(
    r"(?P<vault>[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9])/(?P<secret>[A-Za-z0-9-]{1,127})(?:/(?P<version>[0-9a-f]{32}))?"
)


class Held(NamedTuple):
    """A secret that was read."""

    value: Secret
    at: float
    "Monotonic."


def who(environ: Mapping[str, str], scope: str) -> Identity:
    """What we are in the eyes of a vault."""
    client, tenant = environ.get("AZURE_CLIENT_ID", ""), environ.get("AZURE_TENANT_ID", "")
    secret, certificate = environ.get("AZURE_CLIENT_SECRET", ""), environ.get("AZURE_CLIENT_CERTIFICATE_PATH", "")
    if client and tenant and (secret or certificate):
        hidden = Secret(secret) if secret else None
        return Identity("service_principal", scope, client, tenant, "", hidden, "" if secret else certificate)
    if environ.get("AZURE_FEDERATED_TOKEN_FILE"):
        return Identity("workload_identity", scope)
    return Identity("managed_identity", scope, client)


class Vault:
    """All vaults. Called in a thread that has no loop. `token` gets one for an identity (sources.py)."""

    def __init__(
        self,
        environ: Mapping[str, str],
        token: Callable[[Identity], Awaitable[Fetched]],
        now: Callable[[], float] = time.monotonic,
        address: Callable[[str], str] = "https://{}".format,
    ) -> None:
        host = environ.get("AZURE_AUTHORITY_HOST", "").partition("://")[2].rstrip("/").lower()
        self.domain = next((domain for end, domain in DOMAINS if host.endswith(end)), DOMAIN)
        self._identity = who(environ, f"https://{self.domain}/.default")
        self._token = token
        self._now = now
        self._address = address
        self._contexts = Contexts()
        self._held: dict[str, Held] = {}
        self._shown: tuple[Secret, float] | None = None
        "The token, and until when it is good."
        self._down: dict[str, tuple[float, str]] = {}
        "Vaults that did not answer: until when they are not asked, and why."
        self._lock = threading.Lock()
        self._due = now() + READ_AGAIN_S
        self.failing: dict[str, str] = {}
        "References whose last good value is used on, and why."

    def __call__(self, reference: str) -> str:
        """What `vault/secret` or `vault/secret/version` leads to. Raises LookupError, whose text says why not."""
        found = _REFERENCE.fullmatch(reference)
        if found is None:
            raise LookupError("is not vault/secret or vault/secret/version")
        with self._lock:
            held = self._held.get(reference)
            if held is not None and (found["version"] or self._now() < held.at + FRESH_S):
                return held.value.reveal()
            try:
                value = asyncio.run(self._read(found["vault"].lower(), found["secret"], found["version"] or ""))
            except (Failed, Unreachable) as e:
                if held is None:
                    raise LookupError(str(e)) from None
                self.failing[reference] = str(e)
                return held.value.reveal()
            self.failing.pop(reference, None)
            self._held[reference] = Held(Secret(value), self._now())
            return value

    def due(self) -> bool:
        """Whether it is time to read everything again."""
        return bool(self._held) and self._now() >= self._due

    def read_again(self) -> bool:
        """All that was ever asked for, but what names its version. Whether something is other than before."""
        self._due = self._now() + READ_AGAIN_S * (0.9 + 0.2 * random())
        before = {reference: held.value for reference, held in self._held.items()}
        for reference in before:
            self(reference)
        return any(self._held[reference].value != value for reference, value in before.items())

    async def _read(self, vault: str, secret: str, version: str) -> str:
        until, why = self._down.get(vault, (0.0, ""))
        if self._now() < until:
            raise Failed(why)
        try:
            return await self._asked(vault, secret, version)
        except (Failed, Unreachable) as e:
            self._down[vault] = (self._now() + DOWN_S, str(e))
            raise

    async def _asked(self, vault: str, secret: str, version: str) -> str:
        address = self._address(f"{vault}.{self.domain}")
        url = f"{address}/secrets/{secret}/{version}?api-version={VERSION}"
        for last in (False, True):
            shown = await self._show(renew=last)
            headers = {"authorization": f"Bearer {shown.reveal()}"}
            answer = await fetch("GET", url, headers, within_s=WITHIN_S, contexts=self._contexts)
            if answer.status != 401:
                break
        if answer.status != 200:
            raise refused(answer, f"key vault {vault}")
        value = answer.document().get("value")
        if not isinstance(value, str) or not value or len(value) > LONGEST:
            raise Failed(f"key vault {vault} has nothing there that could be a secret")
        return value

    async def _show(self, renew: bool) -> Secret:
        if self._shown is None or renew or self._now() >= self._shown[1]:
            try:
                got = await self._token(self._identity)
            except Failed as e:
                raise Failed(f"the vault is not asked, for want of a token: {e.what}") from None
            self._shown = (got.token, self._now() + got.life_s - 60)
        return self._shown[0]
