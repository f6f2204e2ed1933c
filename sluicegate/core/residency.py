"""Where an answer says it comes from, against what is declared of who gave it.

Azure names a region in `x-ms-region`. What it may name follows from how far the deployment lets prompts travel: its own
region (regional), any region of its data zone, or any at all (global). Whatever else it names contradicts the
configuration; where that is outside a boundary in which the deployment serves, the deployment is out of service until
an operator brings it back, because nobody knows any more where prompts go.
"""

from __future__ import annotations

from collections.abc import Sequence

from sluicegate.core.snapshot import Boundary, Deployment


def plain(region: str) -> str:
    """`West Europe` and `westeurope` are one region."""
    return "".join(c for c in region.lower() if c.isalnum())


def contradicts(deployment: Deployment, seen: str) -> bool:
    """Whether this deployment cannot have answered from there, by what is declared of it. `seen`: plain."""
    return bool(deployment.answers_from) and seen not in deployment.answers_from


def left(deployment: Deployment, boundaries: Sequence[Boundary], seen: str) -> list[str]:
    """The boundaries in which the deployment serves and this region is not. `seen`: plain."""
    return [
        b.name for b in boundaries if b.name in deployment.inside and "*" not in b.regions and seen not in b.regions
    ]


def declared(deployment: Deployment, region: str) -> str:
    """What records say of a deployment: where it is, how far prompts may travel, what kind it is."""
    return f"{region} {deployment.processing} {deployment.sku}"
