"""The price book that comes with the gateway: list prices from sluicegate/data, a starting point that users replace.

Its sources, dates and doubts stand in sluicegate/data/README.md. Never a billing authority.
"""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from fractions import Fraction
from functools import cache
from pathlib import Path

import sluicegate
from sluicegate.core.pricing import UNITS, Book, Regions, Row

FOLDER = Path(sluicegate.__file__).parent / "data"


@cache
def builtin() -> Book:
    """The book, read once: 20 ms."""
    rows = []
    for line in _lines("prices.csv"):
        per = UNITS.get(line["unit"])
        if per is None:
            continue  # a reservation
        rows.append(
            Row(
                line["model"], line["version"], line["sku"], line["tier"], line["zone"], line["token_class"],
                int(line["prompt_over"] or 0), Fraction(line["price"]) / per, line["currency"],
                day(line["effective_from"]),
            )
        )  # fmt: skip
    regions = {r["region"]: Regions(r["data_zone"], r["price_group"]) for r in _lines("regions.csv")}
    return Book(rows, regions)


def day(text: str) -> float:
    """Midnight UTC as seconds since 1970; 0.0 for an empty text."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() if text else 0.0


def _lines(name: str) -> list[dict[str, str]]:
    with open(FOLDER / name, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))
