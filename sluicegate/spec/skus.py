"""Deployment types of Azure, and the tier that follows from each."""

from __future__ import annotations

PROVISIONED, STANDARD, NEVER = 0, 1, -1

SKUS: dict[str, int] = {
    "ProvisionedManaged": PROVISIONED,
    "DataZoneProvisionedManaged": PROVISIONED,
    "GlobalProvisionedManaged": PROVISIONED,
    "Standard": STANDARD,
    "DataZoneStandard": STANDARD,
    "GlobalStandard": STANDARD,
    "DeveloperTier": STANDARD,
    "DataZoneBatch": NEVER,
    "GlobalBatch": NEVER,
}
"""Provisioned capacity is paid for whether it is used or not, so it comes first; batch kinds serve no live call."""
