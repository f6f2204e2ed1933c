"""Azure's regions and the part of the world that each is in: as far as a data zone reaches, else the geography.

From the facts that come with the gateway; regions that came later are unknown, which silences the one lint that asks.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import sluicegate

_FILE = Path(sluicegate.__file__).parent / "data" / "regions.csv"


@cache
def areas() -> dict[str, str]:
    """`westeurope` -> `data zone eu`, `brazilsouth` -> `Brazil`."""
    with open(_FILE, encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    return {r["region"]: f"data zone {r['data_zone']}" if r["data_zone"] else r["geography"] for r in rows}
