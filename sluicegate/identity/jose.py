"""The outer shape of a signed token, and of the sets of keys that go with it. Strict: one way to write each.

What two readers could read differently is refused: another base64 alphabet or padding, bits that decode to nothing, a
member that stands twice, numbers beyond JSON.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final, NoReturn

from sluicegate.core.keyset import KeySet

LARGEST: Final = 16 * 1024
"""Bytes of a token. Entra's reach 4 KB, with 200 groups 10."""

LARGEST_HEADER: Final = 8 * 1024
LONGEST_KID: Final = 256
DEEPEST: Final = 16
"""Of what lies in each other in a header, in claims, in a set of keys."""

MOST_KEYS: Final = 100
"""Of one issuer. Entra publishes about eight."""

TYPES: Final = ("jwt", "at+jwt", "application/at+jwt", "application/jwt")
"""`typ` of a token that may let somebody in, where it says one: not that of a logout or a proof of possession."""

RSA_BITS: Final = (2048, 8192)
CURVES: Final = {"P-256": 32, "P-384": 48, "P-521": 66}
"""Bytes of a coordinate."""

_PART: Final = re.compile(rb"[A-Za-z0-9_-]+")
_MEMBERS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y")}


class Malformed(Exception):
    """Says why, for the log; never quotes what was read."""


def decoded(part: bytes) -> bytes:
    """What one part of a token holds."""
    if not _PART.fullmatch(part) or len(part) % 4 == 1:
        raise Malformed("a part is not base64url without padding")
    plain = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    if urlsafe_b64encode(plain).rstrip(b"=") != part:  # bits at the end that say nothing: another text for the same
        raise Malformed("a part has bits beyond its end")
    return plain


def object_of(data: bytes) -> dict[str, Any]:
    """A JSON object in which no member stands twice."""
    try:
        text = data.decode("utf-8")
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_constant)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(found, ensure_ascii=False).encode("utf-8")  # half of a pair is no text
    except Malformed:
        raise
    except (ValueError, RecursionError):  # UnicodeError is one
        raise Malformed("not JSON") from None
    if not isinstance(found, dict):
        raise Malformed("not a JSON object")
    if text.count("{") + text.count("[") > DEEPEST and _deeper(found):
        raise Malformed(f"deeper than {DEEPEST}")
    return found


def _deeper(found: Any) -> bool:
    """Whether things lie in each other beyond DEEPEST."""
    layer = [found]
    for _ in range(DEEPEST):
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not layer:
            return False
    return True


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("a member stands twice")
    return found


def _constant(text: str) -> NoReturn:
    raise Malformed(f"{text} is no JSON")


def keyset(source: str, data: bytes, until: float) -> KeySet:
    """The keys of a set that can be used; of each the public members only. Raises Malformed when there is none."""
    listed = object_of(data).get("keys")
    if not isinstance(listed, list):
        raise Malformed("it has no list of keys")
    keys = [key for jwk in listed[:MOST_KEYS] if isinstance(jwk, dict) and (key := _public(jwk)) is not None]
    if not keys:
        raise Malformed("none of its keys can be used")
    return KeySet(source, until, tuple(keys))


def _public(jwk: dict[str, Any]) -> dict[str, str] | None:
    """The key as it is kept; None: not one for checking signatures."""
    kty = jwk.get("kty")
    members = _MEMBERS.get(kty) if isinstance(kty, str) else None
    operations = jwk.get("key_ops", ["verify"])
    if members is None or jwk.get("use", "sig") != "sig" or not isinstance(operations, list):
        return None
    if "verify" not in operations:
        return None
    found = {"kty": str(kty)}
    for name in (*members, "kid", "alg"):
        value = jwk.get(name)
        if value is None and name not in members:
            continue
        if not isinstance(value, str) or len(value) > 2048:
            return None
        found[name] = value
    if len(found.get("kid", "")) > LONGEST_KID:
        return None
    try:
        if kty == "RSA":
            bits = int.from_bytes(decoded(found["n"].encode())).bit_length()
            exponent = int.from_bytes(decoded(found["e"].encode()))
            fits = RSA_BITS[0] <= bits <= RSA_BITS[1] and 3 <= exponent < 2**32 and exponent % 2 == 1
        else:
            size = CURVES.get(found["crv"], 0)
            fits = size > 0 and all(len(decoded(found[c].encode())) == size for c in ("x", "y"))
    except (Malformed, UnicodeError):
        return None
    return found if fits else None
