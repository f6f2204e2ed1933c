"""A segment of the journal as a file: frames one after the other, and how they are read again.

    magic (8 bytes)  seed (4)  frame*          a frame: length (4)  crc32 over the body, begun with the seed (4)  body

The first frame says who writes (Began). Segments are recycled without being wiped: the seed is drawn anew for every
life, so that what is left of the life before is not taken for a frame. The end is where the frames stop making sense:
zeros, a torn frame of a writer that was killed, or the life before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from struct import Struct
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec

from sluicegate.core.booked import (
    ADMITTED,
    BEGAN,
    FEW,
    SEALED,
    SETTLED,
    Admitted,
    Began,
    Circumstances,
    Settled,
    Tried,
)

VERSION = 1
MAGIC = b"SLUICEJ1"
SEED = Struct("<I")
FRAME = Struct("<II")
FIRST = len(MAGIC) + SEED.size
"""Where the first frame begins."""

SUFFIX = ".journal"
LOCK = "lock"
"""Held by the writer of a folder for as long as it lives."""

_TOKENS = Settled._fields.index("tokens")
_ATTEMPTS = Settled._fields.index("attempts")

Booked = Began | Admitted | Settled


class Frames(NamedTuple):
    """What was read."""

    found: list[Booked]
    end: int
    "Where to read on."
    sealed: bool
    unknown: int
    "Frames of kinds that this version does not know: skipped."


class Foreign(Exception):
    """Not a segment of a journal."""


def name(serial: int) -> str:
    """The file of a segment."""
    return f"{serial:08d}{SUFFIX}"


def serials(folder: str) -> list[int]:
    """The segments of a writer, in order."""
    found = (f[: -len(SUFFIX)] for f in os.listdir(folder) if f.endswith(SUFFIX))
    return sorted(int(n) for n in found if n.isdigit())


WINDOW = 512 * 1024
LONGEST = WINDOW // 2
"""Of a frame, so that a window always holds one."""


def read(path: str, start: int = 0) -> Frames:
    """The frames from `start` on, as many as a window holds. Raises Foreign, or OSError."""
    start = max(start, FIRST)
    with open(path, "rb") as f:
        head = f.read(FIRST)
        if head[: len(MAGIC)] != MAGIC:
            if not head.strip(b"\0"):
                return Frames([], FIRST, False, 0)  # being made
            raise Foreign(f"{os.path.basename(path)} is no segment of a journal")
        (seed,) = SEED.unpack_from(head, len(MAGIC))
        f.seek(start)
        data = f.read(WINDOW)
    return _frames(data, seed, start)


def _frames(data: bytes, seed: int, start: int) -> Frames:
    found: list[Booked] = []
    at, unknown, sealed = 0, 0, False
    while (body := frame(data, at, seed)) is not None:
        try:
            fields: list[Any] = msgspec.msgpack.decode(body)
            kind = fields[0]
            make = _MAKE.get(kind)
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError, IndexError, KeyError):
            break
        if kind == SEALED:  # not passed, so that it is found again
            sealed = True
            break
        at += FRAME.size + len(body)
        if make is None:
            unknown += 1
        else:
            found.append(make(fields))
            if len(found) <= FEW and len(found) & 7 == 0:
                os.sched_yield()  # a worker that waits for this core goes first
    return Frames(found, start + at, sealed, unknown)


def frame(data: bytes, at: int, seed: int) -> bytes | None:
    """The body of the frame at this place, None where there is none that is whole."""
    if at + FRAME.size > len(data):
        return None
    length, crc = FRAME.unpack_from(data, at)
    body = data[at + FRAME.size : at + FRAME.size + length]
    if not length or len(body) < length or crc32(body, seed) != crc:
        return None
    return body


_MAYBE: Final = re.compile(rb"(?=..[\x00-\x04]\x00....(?:[\x90-\x9f]|\xdc..)[\x00-\x7f])", re.DOTALL)
"""What a frame begins like: a length, a checksum, an array, a small number."""


def behind(path: str, start: int) -> int:
    """Where whole frames go on behind a spoilt one, or garbage, that is at `start`; 0: nowhere, it is the end. What is
    left of a life before has another seed. Raises Foreign, or OSError."""
    with open(path, "rb") as f:
        data = f.read()
    if data[: len(MAGIC)] != MAGIC:
        if not data[:FIRST].strip(b"\0"):
            return 0
        raise Foreign(f"{os.path.basename(path)} is no segment of a journal")
    (seed,) = SEED.unpack_from(data, len(MAGIC))
    for found in _MAYBE.finditer(data, max(start, FIRST) + 1):
        if frame(data, found.start(), seed) is not None:
            return found.start()
    return 0


def _context(value: list[Any] | None) -> Circumstances | None:
    if value is None:
        return None
    fields = value[: len(Circumstances._fields)]
    if len(fields) > 7:
        fields[7] = tuple((k, v) for k, v in fields[7])
    return Circumstances(*fields)


def _began(fields: list[Any]) -> Began:
    return Began(*fields[1 : 1 + len(Began._fields)])


def _admitted(fields: list[Any]) -> Admitted:
    fields = fields[1 : 1 + len(Admitted._fields)]
    fields[8] = _context(fields[8])
    return Admitted(*fields)


def _settled(fields: list[Any]) -> Settled:
    fields = fields[1 : 1 + len(Settled._fields)]
    tokens = fields[_TOKENS]
    fields[_TOKENS] = tokens and tuple(tokens)
    fields[_ATTEMPTS] = tuple(_tried(a) for a in fields[_ATTEMPTS])
    fields[_ATTEMPTS + 1] = tuple(fields[_ATTEMPTS + 1])
    fields[_ATTEMPTS + 2] = _context(fields[_ATTEMPTS + 2])
    return Settled(*fields)


def _tried(fields: list[Any]) -> Tried:
    fields = fields[: len(Tried._fields)]
    if len(fields) > 7 and fields[7]:
        fields[7] = tuple(fields[7])
    return Tried(*fields)


_MAKE: dict[int, Any] = {BEGAN: _began, ADMITTED: _admitted, SETTLED: _settled}


def writers(folder: str) -> Iterator[str]:
    """The folders of writers, oldest first."""
    try:
        entries = sorted(e.name for e in os.scandir(folder) if e.is_dir())
    except FileNotFoundError:
        return
    yield from (e for e in entries if e.startswith(WRITER))


WRITER = "w-"
DONE = "done"
SPARE = "spare"
