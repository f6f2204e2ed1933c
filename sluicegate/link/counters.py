"""Counters in shared memory: each worker adds in a region of its own, the keeper reads all of them and sums.

No lock: a region has one writer, a cell is one aligned 64-bit integer, and a name is there before the length that
covers it. A region says itself what its cells are, so nothing has to be agreed on beforehand: names appear when they
are first counted. It outlives its worker; the next one goes on where the last one stopped, so that counters never go
back. Behind the regions lies one piece that all workers write (`shared`), for what holds over all of them at once
(edge/failures.py). A worker counts in a list and publishes it once a second (adding to a list costs half of adding to
shared memory): one that is killed takes the last second of its counts with it. What must not be lost is in the journal.
"""

from __future__ import annotations

import mmap
import os
from array import array
from collections.abc import Collection, Iterator
from typing import Final

import msgspec

from sluicegate.core.families import FAMILIES, OTHER, Family

CELLS: Final = 16_384
NAMES_BYTES: Final = 256 * 1024
REGION_BYTES: Final = CELLS * 8 + NAMES_BYTES
SHARED_BYTES: Final = 1024 * 1024
"""Behind all regions."""
SECRET: Final = 32
"""Bytes of it that the keeper makes, and nobody else knows."""

_NAMES = CELLS * 8
_LENGTH = 0
"Cell that holds how many bytes of names are written."
_USED = 1
"Cell that holds how many cells are taken."
_FIRST = 2

NOWHERE: Final = -1
"""The region of a worker for which there is none left: it is not seen in the sums."""

Row = tuple[str, tuple[str, ...], int, int]
"""Family, labels, first cell, how many."""

Samples = dict[tuple[str, tuple[str, ...]], list[int]]
"""Cells by family and labels."""


def size(regions: int) -> int:
    """Bytes of a file for that many regions. It is sparse: only what is counted takes memory."""
    return regions * REGION_BYTES + SHARED_BYTES


class Counters:
    """A worker's region. Without a file, or NOWHERE, it is plain memory, which nobody else reads."""

    def __init__(self, fd: int = -1, region: int = 0) -> None:
        if fd >= 0:
            whole = mmap.mmap(fd, os.fstat(fd).st_size)
            view = memoryview(whole)[region * REGION_BYTES : (region + 1) * REGION_BYTES]
            if region == NOWHERE:
                view = memoryview(bytearray(REGION_BYTES))
            shared = memoryview(whole)[-SHARED_BYTES:]
        else:
            view = memoryview(bytearray(REGION_BYTES))
            shared = memoryview(bytearray(SHARED_BYTES))
            shared[:SECRET] = os.urandom(SECRET)
        self.shared = shared
        "What all workers write; zeros at first but for its secret."
        self._shared = view[:_NAMES].cast("q")
        self._names = view[_NAMES:]
        self._length = self._shared[_LENGTH]
        self.cells = self._shared[: max(self._shared[_USED], _FIRST)].tolist()
        "Add here, at the places that `row` gives."
        self._rows: dict[tuple[str, tuple[str, ...]], int] = {}
        self._sets: dict[str, int] = {}
        for family, labels, first, count in _rows(bytes(self._names[: self._length])):
            self._rows[family, labels] = first
            self._sets[family] = self._sets.get(family, 0) + 1
            if FAMILIES[family].kind in ("gauge", "max"):  # of whoever had this region before
                for cell in range(first, first + count):
                    self.cells[cell] = 0
        for family in FAMILIES:  # while there is room, so that there always is one place to count what is too much
            self._place(FAMILIES[family], tuple(OTHER for _ in FAMILIES[family].labels))
        self.publish()

    def publish(self) -> None:
        """Let the keeper see what was counted: about 20 us for 1,000 cells."""
        cells = self.cells
        used = cells[_USED] = len(cells)
        self._shared[_USED:used] = array("q", cells[_USED:])
        self._shared[_LENGTH] = self._length  # last: it covers names of cells that are there by now

    def row(self, family: Family, *labels: str) -> int:
        """The first cell of this label set; that of `other` when there are too many. Not for the hot path: keep it."""
        place = self._rows.get((family.name, labels))
        if place is None and self._sets[family.name] < family.most:
            place = self._place(family, labels)
        return self._rows[family.name, tuple(OTHER for _ in labels)] if place is None else place

    def full(self, family: Family) -> bool:
        """Whether a label set that is not there yet would be counted under `other`."""
        return self._sets[family.name] >= family.most

    def _place(self, family: Family, labels: tuple[str, ...]) -> int | None:
        """Take cells for a label set; None when there is no room."""
        key = (family.name, labels)
        known = self._rows.get(key)
        if known is not None:
            return known
        first, count, length = len(self.cells), family.cells, self._length
        row: Row = (family.name, labels, first, count)
        body = msgspec.msgpack.encode(row)
        end = length + 4 + len(body)
        if first + count > CELLS or end > NAMES_BYTES:
            return None
        self._names[length:end] = len(body).to_bytes(4, "big") + body
        self.cells.extend([0] * count)
        self._length = end
        self._rows[key] = first
        self._sets[family.name] = self._sets.get(family.name, 0) + 1
        return first


class Board:
    """All regions, as the keeper sees them. Owns the file; workers inherit it."""

    def __init__(self, fd: int, regions: int) -> None:
        os.ftruncate(fd, size(regions))
        self._map = mmap.mmap(fd, size(regions))
        self._map[-SHARED_BYTES : SECRET - SHARED_BYTES] = os.urandom(SECRET)
        self._regions = regions

    def read(self, live: Collection[int]) -> Samples:
        """The sums over all regions; gauges of those only in which a worker lives. Costs about 1 us a name."""
        sums: Samples = {}
        for region in range(self._regions):
            start = region * REGION_BYTES
            with memoryview(self._map) as whole, whole[start : start + _NAMES] as part, part.cast("q") as cells:
                length = cells[_LENGTH]
                names = self._map[start + _NAMES : start + _NAMES + length]
                for family, labels, first, count in _rows(names):
                    kind = FAMILIES[family].kind
                    if region in live or kind not in ("gauge", "max"):
                        _add(sums, (family, labels), kind, cells[first : first + count].tolist())
        return sums

    def close(self) -> None:
        """Give the memory back."""
        self._map.close()


def _add(sums: Samples, name: tuple[str, tuple[str, ...]], kind: str, values: list[int]) -> None:
    before = sums.get(name)
    if before is None:
        sums[name] = values
    elif kind == "max":
        before[0] = max(before[0], values[0])
    else:
        for n, value in enumerate(values):
            before[n] += value


_decoder = msgspec.msgpack.Decoder(Row)


def _rows(names: bytes) -> Iterator[Row]:
    at = 0
    while at < len(names):
        end = at + 4 + int.from_bytes(names[at : at + 4], "big")
        row = _decoder.decode(names[at + 4 : end])
        if row[0] in FAMILIES:  # a version of ours that is being replaced may know others
            yield row
        at = end
