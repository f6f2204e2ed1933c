"""Azure's regions and the part of the world that each is in: as far as a data zone reaches, else the geography.

From the facts that come with the gateway; regions that came later are unknown, which silences the one lint that asks.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import sluicegate
from sluicegate.core.residency import plain

_FILE = Path(sluicegate.__file__).parent / "data" / "regions.csv"


@cache
def areas() -> dict[str, str]:
    """`westeurope` -> `data zone eu`, `brazilsouth` -> `Brazil`."""
    with open(_FILE, encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    return {r["region"]: f"data zone {r['data_zone']}" if r["data_zone"] else r["geography"] for r in rows}


@cache
def _zones() -> dict[str, str]:
    """The data zone of each region that has one, by its plain name."""
    with open(_FILE, encoding="utf-8", newline="") as f:
        return {plain(r["region"]): r["data_zone"] for r in csv.DictReader(f) if r["data_zone"]}


def answers_from(region: str, processing: str) -> tuple[str, ...]:
    """The regions, plain, that answers of a deployment there may name; empty: any."""
    if not region or processing == "global":
        return ()
    here = plain(region)
    zone = _zones().get(here)
    if processing == "regional" or zone is None:
        return (here,)
    return tuple(sorted(name for name, of in _zones().items() if of == zone))
