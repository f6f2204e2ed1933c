"""Secrets of key vaults: what `${keyvault:vault/secret}` leads to. Asked in the keeper, when a configuration is loaded.

Kept for a quarter of an hour; what was read once is used on while the vault cannot be asked. Many are asked for side by
side, after the first of their vault has been answered: one that is gone is waited for once. A vault is always one of
Azure's own, by name: a configuration can point nowhere else. We show it the identity that the environment says, as
Azure's own libraries do: a service principal, else the cluster's, else the machine's.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
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

AT_ONCE = 8
"""Secrets that are asked for side by side: a vault answers 4,000 in ten seconds, to all who ask together."""

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


class _NotThere(Failed):
    """This secret is not there, or not for us."""


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
        self._showing = asyncio.Lock()
        self._at_once = asyncio.Semaphore(AT_ONCE)
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
        answer = self.many([reference])[reference]
        if isinstance(answer, LookupError):
            raise answer
        return answer

    def many(self, references: Sequence[str]) -> dict[str, str | LookupError]:
        """What each leads to, or why not."""
        wrong = LookupError("is not vault/secret or vault/secret/version")
        answers: dict[str, str | LookupError] = {}
        with self._lock:
            wanted: dict[str, list[tuple[str, str, str]]] = {}
            for reference in dict.fromkeys(references):
                found = _REFERENCE.fullmatch(reference)
                held = self._held.get(reference)
                if found is None:
                    answers[reference] = wrong
                elif held is not None and (found["version"] or self._now() < held.at + FRESH_S):
                    answers[reference] = held.value.reveal()
                else:
                    one = (reference, found["secret"], found["version"] or "")
                    wanted.setdefault(found["vault"].lower(), []).append(one)
            if wanted:
                answers |= asyncio.run(self._vaults(wanted))
        return answers

    def due(self) -> bool:
        """Whether it is time to read everything again."""
        return bool(self._held) and self._now() >= self._due

    def read_again(self) -> bool:
        """All that was ever asked for, but what names its version. Whether something is other than before."""
        self._due = self._now() + READ_AGAIN_S * (0.9 + 0.2 * random())
        before = {reference: held.value for reference, held in self._held.items()}
        self.many(list(before))
        return any(self._held[reference].value != value for reference, value in before.items())

    async def _vaults(self, wanted: Mapping[str, Sequence[tuple[str, str, str]]]) -> dict[str, str | LookupError]:
        """Of each vault the first alone, then the others: whether it answers at all is found out once."""
        self._showing = asyncio.Lock()
        self._at_once = asyncio.Semaphore(AT_ONCE)
        answers: dict[str, str | LookupError] = {}

        async def take(vault: str, some: Iterable[tuple[str, str, str]]) -> None:
            for reference, answer in await asyncio.gather(*(self._one(vault, *one) for one in some)):
                answers[reference] = answer

        async def all_of(vault: str, some: Sequence[tuple[str, str, str]]) -> None:
            await take(vault, some[:1])
            await take(vault, some[1:])

        await asyncio.gather(*(all_of(vault, some) for vault, some in wanted.items()))
        return answers

    async def _one(self, vault: str, reference: str, secret: str, version: str) -> tuple[str, str | LookupError]:
        """One secret, or why not; where it was read before, what it was then."""
        try:
            async with self._at_once:
                value = await self._read(vault, secret, version)
        except (Failed, Unreachable) as e:
            held = self._held.get(reference)
            if held is None:
                return reference, LookupError(str(e))
            self.failing[reference] = str(e)
            return reference, held.value.reveal()
        self.failing.pop(reference, None)
        self._held[reference] = Held(Secret(value), self._now())
        return reference, value

    async def _read(self, vault: str, secret: str, version: str) -> str:
        until, why = self._down.get(vault, (0.0, ""))
        if self._now() < until:
            raise Failed(why)
        try:
            return await self._asked(vault, secret, version)
        except _NotThere:
            raise
        except (Failed, Unreachable) as e:
            self._down[vault] = (self._now() + DOWN_S, str(e))
            raise

    async def _asked(self, vault: str, secret: str, version: str) -> str:
        address = self._address(f"{vault}.{self.domain}")
        url = f"{address}/secrets/{secret}/{version}?api-version={VERSION}"
        shown: Secret | None = None
        for _ in range(2):
            shown = await self._show(shown)
            headers = {"authorization": f"Bearer {shown.reveal()}"}
            answer = await fetch("GET", url, headers, within_s=WITHIN_S, contexts=self._contexts)
            if answer.status != 401:
                break
        if answer.status in (403, 404):  # says nothing of the others
            raise _NotThere(str(refused(answer, f"key vault {vault}")))
        if answer.status != 200:
            raise refused(answer, f"key vault {vault}")
        value = answer.document().get("value")
        if not isinstance(value, str) or not value or len(value) > LONGEST:
            raise Failed(f"key vault {vault} has nothing there that could be a secret")
        return value

    async def _show(self, refused: Secret | None) -> Secret:
        """The token, a new one instead of one that was refused: one, however many wait for it."""
        async with self._showing:
            if self._shown is None or self._shown[0] is refused or self._now() >= self._shown[1]:
                try:
                    got = await self._token(self._identity)
                except Failed as e:
                    raise Failed(f"the vault is not asked, for want of a token: {e.what}") from None
                self._shown = (got.token, self._now() + got.life_s - 60)
            return self._shown[0]
