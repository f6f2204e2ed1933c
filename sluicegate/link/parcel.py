"""The parcel: a compiled configuration as bytes, on its way to a process that carries traffic.

Typed both ways, so a worker never holds a dictionary where a Snapshot should be, and needs neither YAML nor a
validator to read it. A parcel holds secrets in clear: it travels by an anonymous file or a socket pair, never by disk.

Of consumers there may be a million that differ in name and key only: what else they say is packed once, as a shape.
And of a directory that was known before, only the change is packed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Any

import msgspec

from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Change, ConsumerEntry, Directory, Match, Snapshot, TenantEntry

FORMAT = 6
"""Both ends come from one installation, but a rolling restart may pair two: a worker refuses what it cannot read."""

OWN = ("number", "name", "digests", "match")
"""What no two consumers share."""

SHARED = tuple(f.name for f in fields(ConsumerEntry) if f.name not in OWN)
_FIELDS = tuple(f.name for f in fields(ConsumerEntry))
_SHARED: Callable[[ConsumerEntry], tuple[Any, ...]] = attrgetter(*SHARED)


class Unreadable(Exception):
    """These bytes are not a parcel of this format. Never quotes them: they hold secrets."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Consumers, a column for each thing that is their own: what a worker keeps of a million lies side by side in its
    memory then, and what it does not keep leaves no holes (100 bytes for each consumer)."""

    numbers: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    shapes: tuple[int, ...] = ()
    digests: tuple[bytes, ...] = ()
    "One for each, in order, where `keys` does not say how many."
    keys: dict[int, int] = field(default_factory=dict)
    matches: dict[int, Match] = field(default_factory=dict)
    "Of the few that have one."


@dataclass(frozen=True, slots=True)
class People:
    """Consumers by shape. `whole`: all there are; else those that changed, and the digests that nobody has any more."""

    whole: bool
    secrets: tuple[Secret, ...]
    tenants: tuple[TenantEntry, ...]
    shapes: tuple[ConsumerEntry, ...]
    rows: Rows
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


def _shaped(entries: Sequence[ConsumerEntry]) -> tuple[tuple[ConsumerEntry, ...], Rows]:
    shapes: dict[ConsumerEntry, int] = {}
    known: dict[tuple[int, ...], int] = {}
    "By what the fields are, not what they say: looked at first because it is quick."
    of = []
    for e in entries:
        same = tuple(map(id, _SHARED(e)))
        number = known.get(same)
        if number is None:
            number = known[same] = shapes.setdefault(replace(e, number=0, name="", digests=(), match=None), len(shapes))
        of.append(number)
    rows = Rows(
        tuple([e.number for e in entries]),
        tuple([e.name for e in entries]),
        tuple(of),
        tuple([d for e in entries for d in e.digests]),
        {n: len(e.digests) for n, e in enumerate(entries) if len(e.digests) != 1},
        {n: e.match for n, e in enumerate(entries) if e.match is not None},
    )
    return tuple(shapes), rows


def _entries(people: People) -> Iterable[ConsumerEntry]:
    at = {name: _FIELDS.index(name) for name in OWN}
    shapes: Sequence[list[Any]] = [[getattr(shape, name) for name in _FIELDS] for shape in people.shapes]
    rows = people.rows
    first = 0
    try:
        for n, (number, name, shape) in enumerate(zip(rows.numbers, rows.names, rows.shapes, strict=True)):
            if not 0 <= shape < len(shapes):
                raise Unreadable("a consumer of a shape that is not there")
            last = first + rows.keys.get(n, 1)
            values = shapes[shape]
            values[at["number"]], values[at["name"]] = number, name
            values[at["digests"]], values[at["match"]] = rows.digests[first:last], rows.matches.get(n)
            first = last
            yield ConsumerEntry(*values)
    except ValueError:
        raise Unreadable("columns of consumers that differ in length") from None
    if first != len(rows.digests):
        raise Unreadable("keys of nobody")


def _encode(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(f"a parcel cannot hold a {type(value).__name__}")


def _decode(wanted: type, value: Any) -> Any:
    if wanted is Secret and isinstance(value, str):
        return Secret(value)
    raise TypeError(f"a parcel cannot hold a {wanted.__name__}")
