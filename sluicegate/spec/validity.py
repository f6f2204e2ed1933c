"""Until when a certificate is good, read from its PEM text without a library: one walk over its DER."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime

EARLY_S = 14 * 86400.0
"""So long before its end somebody should be told."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_SEQUENCE, _UTC_TIME, _VERSION = 0x30, 0x17, 0xA0


def ends(pem: bytes) -> float | None:
    """Wall time at which the first certificate in the text ends; None: it cannot be read."""
    found = _PEM.search(pem)
    if found is None:
        return None
    try:
        der = base64.b64decode(b"".join(found[1].split()), validate=True)
        inside = _inside(_inside(der)[1])  # of the certificate, what is signed
        parts = _all(inside[1])
        validity = parts[4 if parts[0][0] == _VERSION else 3]
        kind, text = _all(validity[1])[1]
        return _moment(kind, text.decode("ascii"))
    except (ValueError, IndexError, binascii.Error):
        return None


def words(path: str, end: float, now: float) -> str:
    """What is the matter with a certificate that ends soon, or has ended; empty: nothing."""
    if now < end - EARLY_S:
        return ""
    day = datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if now >= end:
        return f"the certificate in {path} ended {day}: clients refuse it"
    days = int((end - now) // 86400)
    left = f"in {days} days" if days > 1 else "in a day" if days else "today"
    return f"the certificate in {path} ends {day}, {left}"


def _inside(der: bytes) -> tuple[int, bytes]:
    """Tag and content of the first value."""
    length, at = der[1], 2
    if length & 0x80:
        at += length & 0x7F
        length = int.from_bytes(der[2:at], "big")
    if at + length > len(der):
        raise ValueError("cut off")
    return der[0], der[at : at + length]


def _all(content: bytes) -> list[tuple[int, bytes]]:
    """All values that stand beside each other."""
    found = []
    while content:
        tag, inside = _inside(content)
        found.append((tag, inside))
        head = 2 + (content[1] & 0x7F if content[1] & 0x80 else 0)
        content = content[head + len(inside) :]
    return found


def _moment(kind: int, text: str) -> float:
    if kind == _UTC_TIME:  # two digits of the year: 50 is 1950
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
