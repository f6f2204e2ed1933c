"""The public keys of one issuer, on their way from the keeper, which fetches them, to workers, which check with them.

A module of its own because msgspec reads it from the channel.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeySet:
    """What an issuer publishes, as far as it can be used."""

    source: str
    "Where it was fetched: Issuer.source."
    until: float
    "Wall time: from then on they hold no more, unless they were fetched anew."
    keys: tuple[dict[str, str], ...]
    "JWKs, public members only."
