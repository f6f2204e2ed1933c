"""What the header fields of a request mean to us, worked out once for each sequence of names.

Clients repeat their headers: the same names in the same spelling and order, with other values. So the names are
looked at once and kept with what was found; after that a head costs one look-up and the reading of a few values.
"""

from __future__ import annotations

from collections.abc import Mapping

from sluicegate.wire.headers import CREDENTIAL_HEADERS, REQUEST_MAY_PASS

KNOWN_MOST = 512
KNOWN_BYTES = 4096
"""Clients choose the names: what is kept of them is bounded in number and size."""


class Meaning:
    """Which of the names, as they were spelled, is what to us. Names in here are keys of the dictionary of fields."""

    __slots__ = ("credentials", "encoding", "expect", "forward", "host", "length", "retries", "te", "type")

    def __init__(self) -> None:
        self.host: bytes | None = None
        self.te: bytes | None = None
        self.length: bytes | None = None
        self.type: bytes | None = None
        self.encoding: bytes | None = None
        self.expect: bytes | None = None
        self.retries: bytes | None = None
        self.credentials: list[tuple[bytes, bool]] = []
        "(name, whether the value may begin with a scheme)"
        self.forward: list[tuple[bytes, bytes]] = []
        "(name, its lower-case form)"


_SINGLE = {
    b"host": "host",
    b"transfer-encoding": "te",
    b"content-length": "length",
    b"content-type": "type",
    b"content-encoding": "encoding",
    b"expect": "expect",
    b"x-stainless-retry-count": "retries",
}

_KNOWN: dict[tuple[bytes, ...], Meaning | None] = {}


def meaning_of(fields: Mapping[bytes, bytes]) -> Meaning | None:
    """The meaning of these names; None when two of them differ in nothing but case, and must be read one by one."""
    names = tuple(fields)
    try:
        return _KNOWN[names]
    except KeyError:
        pass
    meaning = _work_out(names)
    if sum(map(len, names)) <= KNOWN_BYTES:
        if len(_KNOWN) >= KNOWN_MOST:
            _KNOWN.clear()
        _KNOWN[names] = meaning
    return meaning


def _work_out(names: tuple[bytes, ...]) -> Meaning | None:
    meaning = Meaning()
    seen = set()
    for name in names:
        lower = name.lower()
        if lower in seen:
            return None
        seen.add(lower)
        if lower in _SINGLE:
            setattr(meaning, _SINGLE[lower], name)
        elif lower in CREDENTIAL_HEADERS:
            meaning.credentials.append((name, lower == b"authorization"))
        elif lower in REQUEST_MAY_PASS:
            meaning.forward.append((name, lower))
    return meaning


def read_lines(head: bytes) -> list[tuple[bytes, bytes]]:
    """Every field of a head that the parser accepted, repeated ones too; names in lower case."""
    pairs = []
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            pairs.append((name.lower(), value.strip(b" \t")))
    return pairs


def bare_key(value: bytes) -> bytes:
    """The credential in an Authorization header: without its scheme where that is Bearer."""
    return value[7:].strip() if value[:7].lower() == b"bearer " else value.rstrip()
