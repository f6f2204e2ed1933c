"""What loads when a configuration asks for it: signatures cost a worker 10 MB and 70 ms, and most check none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from sluicegate.core.keyset import KeySet
from sluicegate.core.ports import Certificates, Resolver
from sluicegate.core.principal import Principal, Whose
from sluicegate.core.settings import Issuer, Login

Post = Callable[[str, Mapping[str, str], bytes, str | None], Awaitable[tuple[int, bytes]]]
"""Address, headers, body, PEM file of authorities: status and body. Raises identity.fetch.Unreachable."""


def prover(
    wall: Callable[[], float], now: Callable[[], float], lacks: Callable[[str], None], wants: Callable[[Whose], object]
) -> Resolver:
    """Who proves tokens. `lacks` is told the source whose keys lack one that a token names, `wants` whose groups are
    left to the directory."""
    from sluicegate.identity import prover

    return prover.Prover(wall, now, lacks, wants)


def certificates(
    wall: Callable[[], float], authorities: Sequence[str], lists: Sequence[str], forwarded: str
) -> Certificates:
    """Who reads client certificates. Raises OSError for files that cannot be used."""
    from sluicegate.identity import certificates

    return certificates.Certificates(wall, authorities, lists, forwarded)


class Issuers:
    """Who people log in at. What checks signatures is loaded when somebody may."""

    def __init__(
        self, post: Post, sets: Callable[[], Iterable[KeySet]], lacks: Callable[[str], None],
        wall: Callable[[], float], now: Callable[[], float],
    ) -> None:  # fmt: skip
        self._post = post
        self._sets = sets
        self._lacks = lacks
        self._wall = wall
        self._now = now
        self._logins: Any = None

    @property
    def failed(self) -> type[Exception]:
        from sluicegate.identity.login import Failed

        return Failed

    def words(self, claims: Mapping[str, object]) -> str:
        from sluicegate.identity.login import words

        return words(claims)

    def adopt(self, issuers: Sequence[Issuer], login: Login | None) -> None:
        if login is not None and self._logins is None:
            from sluicegate.identity.login import Logins

            self._logins = Logins(self._post, self._sets, self._lacks, self._wall, self._now)
        if self._logins is not None:
            self._logins.adopt(issuers, login)

    async def where(self, redirect: str, state: str, nonce: str, verifier: str) -> str:
        return str(await self._logins.where(redirect, state, nonce, verifier))

    async def redeem(self, code: str, redirect: str, nonce: str, verifier: str) -> Principal:
        found: Principal = await self._logins.redeem(code, redirect, nonce, verifier)
        return found

    def program(self, token: bytes) -> Principal | str:
        found: Principal | str = self._logins.program(token)
        return found
