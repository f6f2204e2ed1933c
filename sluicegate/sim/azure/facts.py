"""What is known of provisioned throughput and regions, read from sluicegate/data/ when it is first asked for."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

PROVISIONED: Final = "ProvisionedManaged"
"""How the names of all provisioned kinds end."""


class Ptu(NamedTuple):
    """Provisioned throughput of a model: normalised tokens a minute and unit, and what a token of each class weighs."""

    tokens_per_minute: int
    input: float
    cached: float
    output: float


UNKNOWN: Final = Ptu(0, 1.0, 0.0, 4.0)
"""Weights for a model that has no row: those of the gpt-4o family."""


def ptu(model: str, sku: str) -> Ptu | None:
    """The row of a model and deployment type, else of the model; None: not known."""
    table = _ptu()
    return table.get((model, sku)) or table.get((model, ""))


def families(model: str) -> frozenset[str]:
    """What can be asked of a model, in the words of the book; empty: not known."""
    return _families().get(model, frozenset())


@cache
def _families() -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for row in _rows("models.csv"):
        found[row["model"]] = found.get(row["model"], frozenset()) | frozenset(row["operations"].split())
    return found


def region_shown(name: str) -> str:
    """`westeurope` as x-ms-region says it: `West Europe`. Anything unknown stays as it is."""
    return _regions().get(name, name)


@cache
def _ptu() -> dict[tuple[str, str], Ptu]:
    table: dict[tuple[str, str], Ptu] = {}
    for row in _rows("ptu.csv"):
        facts = Ptu(
            int(row["input_tpm_per_ptu"]),
            float(row["w_input"] or 1),
            float(row["w_cached_input"] or 0),
            float(row["w_output"] or 1),
        )
        table[row["model"], row["sku"]] = facts
        table.setdefault((row["model"], ""), facts)
    return table


@cache
def _regions() -> dict[str, str]:
    return {row["region"]: row["name"] for row in _rows("regions.csv")}


def _rows(name: str) -> list[dict[str, str]]:
    with (files("sluicegate") / "data" / name).open(encoding="utf-8") as f:
        return list(csv.DictReader(f))
