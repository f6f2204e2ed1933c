"""Keys that were revoked, kept in `gateway.data`: the configuration may still declare them, nobody gets in with them.

Only digests are kept. A revoked key never comes back: there is no word that undoes it, a new key is made instead.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from sluicegate.core.caller import digest
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Directory

FILE = "revoked.json"


@dataclass(frozen=True, slots=True)
class Revoked:
    """One key."""

    digest: str
    "In hex."
    consumer: str
    key: str
    "What it is called."
    by: str
    at: str


def load(data: str) -> dict[bytes, Revoked]:
    """Those kept there, by digest. Raises OSError or ValueError: a gateway that cannot read them does not start."""
    path = os.path.join(data, FILE)
    try:
        with open(path, encoding="utf-8") as f:
            found = json.load(f)
        if not isinstance(found, list):
            raise ValueError
        return {bytes.fromhex(entry["digest"]): Revoked(**entry) for entry in found}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, UnicodeDecodeError):
        hint = "restore it: without it, keys that were revoked would be let in again"
        raise ValueError(f"{path} is damaged: {hint}") from None


def keep(data: str, revoked: Iterable[Revoked]) -> None:
    """Write them down, whole or not at all. Raises OSError."""
    os.makedirs(data, mode=0o700, exist_ok=True)
    path = os.path.join(data, FILE)
    with open(os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as f:
        json.dump([asdict(entry) for entry in revoked], f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(f"{path}.new", path)
    fd = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)  # else a power cut brings the old one back
    finally:
        os.close(fd)


def names(digests: Iterable[bytes], known: Mapping[bytes, str]) -> dict[str, bytes]:
    """What the keys of one consumer are called: as `sluicegate key new` called them; of those that the configuration
    refers to, the first eight hex digits of their digest."""
    return {known.get(d) or d[:4].hex(): d for d in digests}


def moved(
    revoked: Mapping[bytes, Revoked], directory: Directory, keys: Mapping[str, tuple[Secret, ...]]
) -> list[Revoked]:
    """Revoked keys whose digest is another one now, because another secret is the first. `keys`: in clear, by consumer;
    possible as long as the secret of then is still among those accepted."""
    first, *others = directory.secrets
    found = []
    for consumer, held in keys.items():
        for key in held:
            raw = key.reveal().encode()
            now = digest(raw, first)
            if now in revoked:
                continue
            for other in others:
                before = revoked.get(digest(raw, other))
                if before is not None:
                    found.append(replace(before, digest=now.hex(), consumer=consumer))
                    break
    return found
