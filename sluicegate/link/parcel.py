"""The parcel: a compiled configuration as bytes, on its way to a process that carries traffic.

Typed both ways, so a worker never holds a dictionary where a Snapshot should be, and needs neither YAML nor a
validator to read it. A parcel holds secrets in clear: it travels by an anonymous file or a socket pair, never by disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Directory, Snapshot

FORMAT = 2
"""Both ends come from one installation, but a rolling restart may pair two: a worker refuses what it cannot read."""


class Unreadable(Exception):
    """These bytes are not a parcel of this format. Never quotes them: they hold secrets."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is packed."""

    format: int
    snapshot: Snapshot
    directory: Directory | None


def pack(snapshot: Snapshot, directory: Directory | None) -> bytes:
    """Both as msgpack. No directory: the one that the reader has still applies."""
    return msgspec.msgpack.encode(Parcel(FORMAT, snapshot, directory), enc_hook=_encode)


def unpack(packed: bytes) -> tuple[Snapshot, Directory | None]:
    """The inverse of `pack`. Raises Unreadable."""
    try:
        parcel = msgspec.msgpack.decode(packed, type=Parcel, dec_hook=_decode)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Unreadable(f"not a parcel of format {FORMAT} ({type(e).__name__})") from None
    if parcel.format != FORMAT:
        raise Unreadable(f"a parcel of format {parcel.format}; this worker reads format {FORMAT}")
    return parcel.snapshot, parcel.directory


def _encode(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(f"a parcel cannot hold a {type(value).__name__}")


def _decode(wanted: type, value: Any) -> Any:
    if wanted is Secret and isinstance(value, str):
        return Secret(value)
    raise TypeError(f"a parcel cannot hold a {wanted.__name__}")
