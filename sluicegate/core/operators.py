"""Who may ask the gateway about itself, and tell it what to do: roles, and the digests of operators' keys.

An operator's key is not a consumer's: its digest is made another way, so that neither opens the other's door even where
somebody declares the same text for both.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from sluicegate.core.caller import DIGEST_BYTES
from sluicegate.core.secret import Secret

ROLES: Final = ("viewer", "tenant_admin", "auditor", "operator", "owner")
"""See; the consumers of one tenant; see, and what was changed by whom; change what runs; everything. Whoever can open
the Unix socket is the owner."""

MAY: Final = {
    "tenant": ROLES,
    "viewer": ("viewer", "auditor", "operator", "owner"),
    "people": ("tenant_admin", "operator", "owner"),
    "audit": ("auditor", "owner"),
    "operator": ("operator", "owner"),
}
"""By what a path asks for, the roles that have it. `tenant`: see what belongs to one's tenant, or to all; `viewer`: see
the whole gateway; `people`: change consumers and their keys; `audit`: read who changed what; `operator`: change what
runs."""

PERSON: Final = b"sluicegate-admin"


def may(role: str, wanted: str) -> bool:
    """Whether this role has what a path asks for."""
    return role in MAY[wanted]


def operator_digest(key: bytes, secret: Secret) -> bytes:
    """Keyed BLAKE2b of an operator's key, 16 bytes."""
    return blake2b(key, digest_size=DIGEST_BYTES, key=secret.reveal().encode()[:64], person=PERSON).digest()
