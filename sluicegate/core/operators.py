"""Who may ask the gateway about itself, and tell it what to do: roles, and the digests of operators' keys.

An operator's key is not a consumer's: its digest is made another way, so that neither opens the other's door even where
somebody declares the same text for both.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from sluicegate.core.caller import DIGEST_BYTES
from sluicegate.core.secret import Secret

ROLES: Final = ("viewer", "operator", "owner")
"""Each may what those before it may: see; change what runs; and the owner is whoever can open the Unix socket."""

PERSON: Final = b"sluicegate-admin"


def may(role: str, wanted: str) -> bool:
    """Whether this role includes that one."""
    return ROLES.index(role) >= ROLES.index(wanted)


def operator_digest(key: bytes, secret: Secret) -> bytes:
    """Keyed BLAKE2b of an operator's key, 16 bytes."""
    return blake2b(key, digest_size=DIGEST_BYTES, key=secret.reveal().encode()[:64], person=PERSON).digest()
