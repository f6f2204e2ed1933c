"""The parcel: a compiled configuration as bytes, on its way to a process that carries traffic.

Typed both ways, so a worker never holds a dictionary where a Snapshot should be, and needs neither YAML nor a
validator to read it. A parcel holds secrets in clear: it travels by an anonymous file or a socket pair, never by disk.

Of consumers there may be a million that differ in name and key only: what else they say is packed once, as a shape.
And of a directory that was known before, only the change is packed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import msgspec

from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Change, ConsumerEntry, Directory, Match, Snapshot, TenantEntry

FORMAT = 5
"""Both ends come from one installation, but a rolling restart may pair two: a worker refuses what it cannot read."""

OWN = ("number", "name", "digests", "match")
"""What no two consumers share."""

SHARED = tuple(f.name for f in fields(ConsumerEntry) if f.name not in OWN)
_FIELDS = tuple(f.name for f in fields(ConsumerEntry))


class Unreadable(Exception):
    """These bytes are not a parcel of this format. Never quotes them: they hold secrets."""


class Row(NamedTuple):
    """One consumer: what is its own, and the number of its shape."""

    number: int
    name: str
    digests: tuple[bytes, ...]
    match: Match | None
    shape: int


@dataclass(frozen=True, slots=True)
class People:
    """Consumers by shape. `whole`: all there are; else those that changed, and the digests that nobody has any more."""

    whole: bool
    secrets: tuple[Secret, ...]
    tenants: tuple[TenantEntry, ...]
    shapes: tuple[ConsumerEntry, ...]
    rows: tuple[Row, ...]
    dropped: tuple[bytes, ...] = ()
    gone: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is packed."""

    format: int
    snapshot: Snapshot
    people: People | None


def pack(snapshot: Snapshot, people: Directory | Change | None) -> bytes:
    """Both as msgpack. No people: those that the reader has still apply."""
    found = None
    if isinstance(people, Directory):
        found = People(True, people.secrets, people.tenants, *_shaped(people.consumers))
    elif people is not None:
        found = People(False, (), (), *_shaped(people.entries), people.dropped, people.gone)
    return msgspec.msgpack.encode(Parcel(FORMAT, snapshot, found), enc_hook=_encode)


def unpack(packed: bytes) -> tuple[Snapshot, Directory | Change | None]:
    """The inverse of `pack`. Raises Unreadable."""
    try:
        parcel = msgspec.msgpack.decode(packed, type=Parcel, dec_hook=_decode)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Unreadable(f"not a parcel of format {FORMAT} ({type(e).__name__})") from None
    if parcel.format != FORMAT:
        raise Unreadable(f"a parcel of format {parcel.format}; this worker reads format {FORMAT}")
    people = parcel.people
    if people is None:
        return parcel.snapshot, None
    entries = tuple(_entries(people))
    if people.whole:
        return parcel.snapshot, Directory(people.secrets, entries, people.tenants)
    return parcel.snapshot, Change(people.dropped, entries, people.gone)


def changed(before: Directory, now: Directory) -> Directory | Change | None:
    """What a reader that knows `before` needs to know `now`: nothing, the change, or all of it."""
    if before.secrets != now.secrets or before.tenants != now.tenants:
        return now
    old = {e.number: e for e in before.consumers}
    entries = tuple(e for e in now.consumers if old.pop(e.number, None) != e)
    if not entries and not old:
        return None
    if 2 * (len(entries) + len(old)) > len(now.consumers):
        return now
    gone = {e.number for e in entries}
    dropped = [d for e in before.consumers if e.number in gone or e.number in old for d in e.digests]
    return Change(tuple(dropped), entries, tuple(old))


def _shaped(entries: Iterable[ConsumerEntry]) -> tuple[tuple[ConsumerEntry, ...], tuple[Row, ...]]:
    shapes: dict[ConsumerEntry, int] = {}
    known: dict[tuple[int, ...], int] = {}
    "By what the fields are, not what they say: looked at first because it is quick."
    rows = []
    for e in entries:
        same = tuple(id(getattr(e, name)) for name in SHARED)
        number = known.get(same)
        if number is None:
            number = known[same] = shapes.setdefault(replace(e, number=0, name="", digests=(), match=None), len(shapes))
        rows.append(Row(e.number, e.name, e.digests, e.match, number))
    return tuple(shapes), tuple(rows)


def _entries(people: People) -> Iterable[ConsumerEntry]:
    at = {name: _FIELDS.index(name) for name in OWN}
    shapes: Sequence[list[Any]] = [[getattr(shape, name) for name in _FIELDS] for shape in people.shapes]
    for row in people.rows:
        if not 0 <= row.shape < len(shapes):
            raise Unreadable("a consumer of a shape that is not there")
        values = shapes[row.shape]
        values[at["number"]], values[at["name"]], values[at["digests"]] = row.number, row.name, row.digests
        values[at["match"]] = row.match
        yield ConsumerEntry(*values)


def _encode(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(f"a parcel cannot hold a {type(value).__name__}")


def _decode(wanted: type, value: Any) -> Any:
    if wanted is Secret and isinstance(value, str):
        return Secret(value)
    raise TypeError(f"a parcel cannot hold a {wanted.__name__}")
