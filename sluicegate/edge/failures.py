"""How often an address showed credentials that are nobody's, and when it was too often.

So many failures a minute are looked at, from one address; what comes beyond is refused without a look at it, until the
minute has made room. Behind one address may be many: a credential that was good from there not long ago goes on.
All workers of a gateway look into one memory, so that a guesser has no more tries where there are more of them.
Bounded: when there are too many addresses, those that failed least are forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from sluicegate.core.marks import WAYS, Marks
from sluicegate.edge.networks import source

PER_S: Final = 60.0
GOOD_S: Final = 900.0
"""How long a credential that was good is known to have been."""

SECRET: Final = 32
"""Bytes at the beginning of the memory that nobody knows, and the keeper wrote."""

HEAD: Final = 64
SOURCES: Final = 16_384
GOOD: Final = 65_536
BYTES: Final = HEAD + 8 * (SOURCES + GOOD)
"""Of memory: so many addresses and good credentials are remembered. What nobody touches takes none."""

_LATEST: Final = 4
"""Of the head, as integers: when all failures will be forgotten."""

_FINE: Final = 2.0**-16
_FINE_BITS: Final = 44
"""15 us for eight years: a tag of 20 bits is left, and the place says 11 more."""

_COARSE: Final = 16.0
_COARSE_BITS: Final = 24


class Failures:
    """`most` failures a minute, all at once if need be. `memory`: zeros but for its secret. Of a gateway whose `most`
    changes the memory goes on. `sources`, `good`: so many are remembered, at most what the memory is for."""

    __slots__ = ("_each", "_good", "_head", "_secret", "_slack", "_sources", "most")

    def __init__(self, most: int, memory: memoryview[int], sources: int = SOURCES, good: int = GOOD) -> None:
        whole = memory[: HEAD + 8 * (sources + good)]
        self._secret = bytes(whole[:SECRET])
        self._head = whole[:HEAD].cast("Q")
        self._sources = Marks(whole[HEAD : HEAD + 8 * sources].cast("Q"), _FINE_BITS, _FINE)
        self._good = Marks(whole[HEAD + 8 * sources :].cast("Q"), _COARSE_BITS, _COARSE)
        self.most = most
        self._each = PER_S / most
        self._slack = min(_FINE * most, self._each / 2)
        "What rounding may have added."

    def wait(self, address: str, keys: Sequence[bytes], now: float) -> float:
        """0.0 if credentials from there are looked at, else the seconds until they are again."""
        if self._head[_LATEST] * _FINE <= now:
            return 0.0
        full = self._sources.until(self._mark(address, ()))
        if not full:
            return 0.0
        over = full - now - (PER_S - self._each)
        if over <= self._slack or self._good.until(self._mark(address, keys)) > now:
            return 0.0
        return over

    def failed(self, address: str, keys: Sequence[bytes], now: float) -> None:
        """What was shown from there is nobody's."""
        self._good.mark(self._mark(address, keys), 0.0)
        where = self._mark(address, ())
        # Never more than a minute ahead: a credential that was good goes on to be looked at, and if it is revoked its
        # failures must not shut its neighbours out for hours.
        full = min(max(self._sources.until(where), now) + self._each, now + PER_S)
        self._sources.mark(where, full)
        latest = round(full / _FINE) + 1
        if latest > self._head[_LATEST]:
            self._head[_LATEST] = latest

    def good(self, address: str, keys: Sequence[bytes], now: float) -> None:
        """What was shown from there is somebody's."""
        self._good.mark(self._mark(address, keys), now + GOOD_S)

    def sources(self) -> int:
        """So many are remembered."""
        return self._sources.count()

    def known(self) -> int:
        """So many good credentials are."""
        return self._good.count()

    def _mark(self, address: str, keys: Sequence[bytes]) -> int:
        told = source(address).encode() + b"".join(b"\0%d\0" % len(key) + key for key in keys)
        return int.from_bytes(blake2b(told, digest_size=8, key=self._secret).digest(), "little")


def room(sources: int = SOURCES, good: int = GOOD, secret: bytes = b"") -> memoryview[int]:
    """Memory of one process."""
    assert sources % WAYS == 0 and good % WAYS == 0
    made = bytearray(HEAD + 8 * (sources + good))
    made[: len(secret)] = secret
    return memoryview(made)
