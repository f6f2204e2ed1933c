"""How often an address showed credentials that are nobody's, and when it was too often.

So many failures a minute are looked at, from one address; what comes beyond is refused without a look at it, until the
minute has made room. Behind one address may be many: a credential that was good from there not long ago goes on.
Bounded: when there are too many addresses, those that failed least are forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from sluicegate.edge.networks import source

PER_S: Final = 60.0
GOOD_S: Final = 900.0
"""How long a credential that was good is known to have been."""

SOURCES_MOST: Final = 10_000
GOOD_MOST: Final = 50_000


class Failures:
    """`most` failures a minute, all at once if need be. `secret`: anything that nobody knows, at most 64 bytes.
    `sources`, `kept`: so many addresses and good credentials are remembered."""

    __slots__ = ("_each", "_full", "_good", "_kept", "_secret", "_sources", "most")

    def __init__(self, most: int, secret: bytes, sources: int = SOURCES_MOST, kept: int = GOOD_MOST) -> None:
        self._sources = sources
        self._kept = kept
        self.most = most
        self._each = PER_S / most
        self._secret = secret
        self._full: dict[str, float] = {}
        "By source: when its failures will all be forgotten. Each adds a `most`th of a minute."
        self._good: dict[bytes, float] = {}
        "Digests of source and credential: until when they count as known."

    def wait(self, address: str, keys: Sequence[bytes], now: float) -> float:
        """0.0 if credentials from there are looked at, else the seconds until they are again."""
        if not self._full:
            return 0.0
        full = self._full.get(source(address))
        if full is None:
            return 0.0
        over = full - now - (PER_S - self._each)
        if over <= 1e-6 or self._good.get(self._mark(address, keys), 0.0) > now:
            return 0.0
        return over

    def failed(self, address: str, keys: Sequence[bytes], now: float) -> None:
        """What was shown from there is nobody's."""
        where = source(address)
        if self._good:
            self._good.pop(self._mark(address, keys), None)
        if len(self._full) >= self._sources and where not in self._full:
            self._forget(now)
        # Never more than a minute ahead: a credential that was good goes on to be looked at, and if it is revoked its
        # failures must not shut its neighbours out for hours.
        self._full[where] = min(max(self._full.get(where, now), now) + self._each, now + PER_S)

    def good(self, address: str, keys: Sequence[bytes], now: float) -> None:
        """What was shown from there is somebody's."""
        if len(self._good) >= self._kept:
            self._good = {mark: until for mark, until in self._good.items() if until > now}
            if len(self._good) >= self._kept:
                self._good.clear()
        self._good[self._mark(address, keys)] = now + GOOD_S

    def sources(self) -> int:
        """So many are remembered."""
        return len(self._full)

    def _mark(self, address: str, keys: Sequence[bytes]) -> bytes:
        told = source(address).encode() + b"".join(b"\0%d\0" % len(key) + key for key in keys)
        return blake2b(told, digest_size=16, key=self._secret).digest()

    def _forget(self, now: float) -> None:
        self._full = {where: full for where, full in self._full.items() if full > now}
        if len(self._full) >= self._sources:
            worst = sorted(self._full.items(), key=lambda item: item[1])[self._sources // 2 :]
            self._full = dict(worst)
