"""The hash of the effective configuration: equal when what applies is equal, whatever the file looks like.

Secrets enter as keyed digests, so that a changed key changes the hash and the hash tells nothing about the key.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from typing import Any

from sluicegate.core.caller import digest
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Directory, Snapshot

BYTES = 6


def fingerprint(snapshot: Snapshot, directory: Directory) -> str:
    """Twelve hex digits."""
    key = directory.secrets[0]

    def plain(value: Any) -> Any:
        if isinstance(value, Secret):
            return digest(value.reveal().encode(), key).hex()
        if isinstance(value, bytes):
            return value.hex()
        if isinstance(value, tuple):
            return [plain(v) for v in value]
        if is_dataclass(value):
            return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.name != "hash"}
        return value

    text = json.dumps([plain(snapshot), plain(directory)], sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=BYTES).hexdigest()
