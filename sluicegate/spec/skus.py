"""Deployment types of Azure, and what follows from each: the tier, and how far prompts may travel to be processed."""

from __future__ import annotations

from typing import NamedTuple

PROVISIONED, STANDARD, NEVER = 0, 1, -1

LEVELS = ("regional", "data_zone", "global")
"""How far a prompt may travel to be processed, the narrowest first."""


class Sku(NamedTuple):
    """One deployment type."""

    tier: int
    processing: str


SKUS: dict[str, Sku] = {
    "ProvisionedManaged": Sku(PROVISIONED, "regional"),
    "DataZoneProvisionedManaged": Sku(PROVISIONED, "data_zone"),
    "GlobalProvisionedManaged": Sku(PROVISIONED, "global"),
    "Standard": Sku(STANDARD, "regional"),
    "DataZoneStandard": Sku(STANDARD, "data_zone"),
    "GlobalStandard": Sku(STANDARD, "global"),
    "DeveloperTier": Sku(STANDARD, "global"),
    "DataZoneBatch": Sku(NEVER, "data_zone"),
    "GlobalBatch": Sku(NEVER, "global"),
}
"""Provisioned capacity is paid for whether it is used or not, so it comes first; batch kinds serve no live call."""
