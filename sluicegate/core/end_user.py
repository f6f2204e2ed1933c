"""The end user: who sits behind the application that calls us, as far as its request says so.

A word of the application's own, believed as it stands, or a claim of its token: it tells its users apart, in records,
limits and rollouts, and grants nothing. It is a text of others, so it is bounded, and printable wherever it is shown.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, Final

from sluicegate.core.claims import texts
from sluicegate.core.principal import Principal

LONGEST: Final = 128
"""Characters. A longer name is known by its digest."""

READ: Final = 4096
"""Bytes of a JSON value that are looked into."""

_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_SHORT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def end_user(raw: Any) -> str:
    """The name in a JSON value; empty where there is none. `raw`: as bytes() gives its text, None: no such field."""
    if raw is None:
        return ""
    if len(raw) > READ:
        return _digest(bytes(raw))
    text = bytes(raw)
    if len(text) < 2 or text[:1] != b'"':
        return ""
    name = text[1:-1].decode("utf-8", "replace")
    if "\\" in name:  # the same name has many spellings
        name = _ESCAPE.sub(_unescaped, name).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return named(name)


def claimed(principal: Principal, claim: str) -> str:
    """The name that a token's claim has; empty where there is none, or several."""
    values = texts(principal.claims, claim)
    return named(values[0]) if len(values) == 1 else ""


def named(name: str) -> str:
    """A name as it stands in records: not endless, and nothing in it that moves a cursor."""
    if len(name) > LONGEST:
        return _digest(name.encode("utf-8", "replace"))
    return name if name.isprintable() else "".join([c if c.isprintable() else "\ufffd" for c in name])


def mark(name: str) -> str:
    """What stands for it in the keys of limits: of one length, and no name of anybody. Empty: nobody was named."""
    return blake2b(name.encode("utf-8", "replace"), digest_size=12).hexdigest() if name else ""


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    if code:
        return chr(int(code, 16))
    return _SHORT.get(found[2], found[2])


def _digest(text: bytes) -> str:
    return "blake2b:" + blake2b(text, digest_size=16).hexdigest()
