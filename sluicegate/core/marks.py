"""A table in memory that several processes share: by the digest of something, until when it is marked.

No lock: a mark is one aligned 64-bit integer, a part of the digest above and a time below. Where two write the same
mark at the same moment one of them is lost. A digest has eight places; where all are taken by others, the one that is
over first makes room. What is stored says nothing of what was digested, as long as whoever digests has a key.
"""

from __future__ import annotations

from typing import Final

WAYS: Final = 8


class Marks:
    """`cells`: integers of 64 bits, zeros at first, a multiple of WAYS of them. Times are kept in units of `unit_s`, in
    so many `bits`: what is left of the 64 tells digests of the same places apart."""

    __slots__ = ("_bits", "_cells", "_mask", "_sets", "_unit")

    def __init__(self, cells: memoryview[int], bits: int, unit_s: float) -> None:
        self._cells = cells
        self._sets = len(cells) // WAYS
        self._bits = bits
        self._mask = (1 << bits) - 1
        self._unit = unit_s

    def until(self, digest: int) -> float:
        """0.0: not marked."""
        at, cell = self._find(digest)
        return (cell & self._mask) * self._unit if at >= 0 else 0.0

    def mark(self, digest: int, until: float) -> None:
        """Until then, whatever was said before; 0.0: no more."""
        at, _ = self._find(digest)
        if not until:
            if at >= 0:
                self._cells[at] = 0
            return
        if at < 0:
            at = self._room(digest)
        time = min(max(round(until / self._unit), 1), self._mask)
        self._cells[at] = self._tag(digest) << self._bits | time

    def count(self) -> int:
        """So many are marked, over or not."""
        return sum(1 for cell in self._cells if cell)

    def _tag(self, digest: int) -> int:
        """Never 0 with a time of 0: a place that is free is 0."""
        return digest >> self._bits

    def _first(self, digest: int) -> int:
        return (digest & self._mask) % self._sets * WAYS

    def _find(self, digest: int) -> tuple[int, int]:
        """Its place and what stands there; -1 where there is none."""
        cells, tag, bits = self._cells, self._tag(digest), self._bits
        first = self._first(digest)
        for at in range(first, first + WAYS):
            cell = cells[at]
            if cell and cell >> bits == tag:
                return at, cell
        return -1, 0

    def _room(self, digest: int) -> int:
        first, mask = self._first(digest), self._mask
        return min(range(first, first + WAYS), key=lambda at: self._cells[at] & mask)
