"""The books that come with the gateway: list prices and windows of models from sluicegate/data, a starting point that
users replace.

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


def window(model: str, version: str, sku: str) -> int | None:
    """The longest prompt that a deployment of this type takes, tokens; None: the book does not say."""
    table = _windows()
    return table.get((model, version, sku)) or table.get((model, version, ""))


def families(model: str) -> frozenset[str]:
    """What one can ask of a model, in the words of the book (chat, audio.speech); empty: it is not there."""
    return _families().get(model, frozenset())


@cache
def _families() -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for r in _lines("models.csv"):
        found[r["model"]] = found.get(r["model"], frozenset()) | frozenset(r["operations"].split())
    return found


@cache
def _windows() -> dict[tuple[str, str, str], int]:
    """Of models, and where provisioned deployments take less, of these. Not of embeddings: there it bounds each of many
    inputs, and what is estimated is all of them."""
    found = {
        (r["model"], r["version"], ""): int(r["max_input"])
        for r in _lines("models.csv")
        if r["max_input"] and "embeddings" not in r["operations"].split()
    }
    for r in _lines("ptu.csv"):
        if r["max_prompt_tokens"]:
            found[r["model"], r["version"], r["sku"]] = int(r["max_prompt_tokens"])
    return found


def day(text: str) -> float:
    """Midnight UTC as seconds since 1970; 0.0 for an empty text."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() if text else 0.0


def _lines(name: str) -> list[dict[str, str]]:
    with open(FOLDER / name, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))
