"""What a key looks like: `sgk_5f2a9c10_...`, and how a slip of the pen is told from a wrong key."""

from __future__ import annotations

import re
import secrets
from typing import Final
from zlib import crc32

CONSUMER: Final = "sgk"
OPERATOR: Final = "sga"

_KEY = re.compile(r"(sg[ak]_[0-9a-f]{8}_[A-Za-z0-9_-]{43})([0-9A-Za-z]{6})")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def new_key(kind: str = CONSUMER) -> tuple[str, str]:
    """What a key is called, and the key: eight hex digits, 43 characters of chance, and six that are a sum of all
    before them, so that a slip of the pen is told from a wrong key, and scanners tell a key from its likes."""
    called = secrets.token_hex(4)
    body = f"{kind}_{called}_{secrets.token_urlsafe(32)}"
    return called, body + checksum(body)


def whole(key: str) -> bool:
    """Whether this is a key as we make them, every character of it."""
    found = _KEY.fullmatch(key)
    return found is not None and checksum(found[1]) == found[2]


def checksum(body: str) -> str:
    """CRC-32 in six digits of base 62."""
    value, found = crc32(body.encode()), ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        found = _DIGITS[digit] + found
    return found
