"""What things cost: the book, what was agreed on instead of it, and the currency that all of it is told in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, NamedTuple

from sluicegate.spec.kinds import Choice, Name, PublicName, Text, Word
from sluicegate.spec.references import Wrong
from sluicegate.spec.sections import Keys

_AMOUNT = r"[0-9]{1,12}(?:\.[0-9]{1,12})?"


class Money(NamedTuple):
    """An amount and its currency."""

    amount: Decimal
    currency: str


class Currency(Name):
    """`EUR`."""

    pattern = r"[A-Z]{3}"
    hint = "three capitals, such as EUR"

    def says(self) -> str:
        return "a currency such as EUR"


class Amount(Word):
    """`0.85 EUR`."""

    pattern = rf"{_AMOUNT} ?[A-Z]{{3}}"
    per = ""

    def says(self) -> str:
        return "an amount such as 0.85 EUR"

    def parse(self, text: str) -> Money:
        found = re.fullmatch(rf"({_AMOUNT}) ?([A-Z]{{3}}){self.per}", text)
        if found is None:
            raise Wrong(f"is not {self.says().split(' such as')[0]}", f"write {self.says()}")
        return Money(Decimal(found[1]), found[2])

    def write(self, value: Money) -> str:
        return f"{value.amount:f} {value.currency}{self.per}"


class TokenPrice(Amount):
    """`2.30 EUR/Mtok`: for a million tokens."""

    pattern = rf"{_AMOUNT} ?[A-Z]{{3}}/Mtok"
    per = "/Mtok"

    def says(self) -> str:
        return "a price such as 2.30 EUR/Mtok"


class Rate(Word):
    """How many units of our currency one of another is: `0.92`."""

    pattern = _AMOUNT

    def says(self) -> str:
        return "a rate such as 0.92"

    def parse(self, text: str) -> Decimal:
        if not re.fullmatch(self.pattern, text) or not Decimal(text):
            raise Wrong("is not a rate", f"write {self.says()}")
        return Decimal(text)

    def write(self, value: Decimal) -> str:
        return f"{value:f}"


class Day(Word):
    """`2026-01-01`: midnight UTC."""

    pattern = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"

    def says(self) -> str:
        return "a date such as 2026-01-01"

    def parse(self, text: str) -> float:
        try:
            if not re.fullmatch(self.pattern, text):
                raise ValueError
            day = date.fromisoformat(text)
        except ValueError:
            raise Wrong("is not a date", f"write {self.says()}") from None
        return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()

    def write(self, value: float) -> str:
        return datetime.fromtimestamp(value, UTC).date().isoformat()


@dataclass(frozen=True, slots=True)
class ContractSpec:
    """Prices that were agreed on, for one deployment or a model and version everywhere; they come before the book."""

    instance: Annotated[str, Name()] = ""
    "With `deployment`: where it holds."
    deployment: Annotated[str, PublicName()] = ""
    "With `instance`: where it holds."
    model: Annotated[str, Text("a model such as gpt-4o", 128, r"[^\s@]+")] = ""
    "With `version`: it holds for all their deployments."
    version: Annotated[str, Text("a version such as 2024-11-20", 64, r"[^\s@]+")] = ""
    "With `model`: it holds for all their deployments."
    tier: Annotated[str, Choice(("default", "priority", "flex"))] = "default"
    "The service tier of answers that it is for."
    from_: Annotated[float, Day()] | None = None
    "From this day on, midnight UTC; left out: always."
    input: Annotated[Money, TokenPrice()] | None = None
    "A million tokens of prompts that were not cached."
    cached: Annotated[Money, TokenPrice()] | None = None
    "A million cached tokens; left out: as input."
    cache_write: Annotated[Money, TokenPrice()] | None = None
    "A million tokens written to a cache; left out: as input."
    output: Annotated[Money, TokenPrice()] | None = None
    "A million tokens of answers, reasoning included."
    amount: Annotated[Money, Amount()] | None = None
    "With `per`: a price of provisioned capacity."
    per: Annotated[str, Choice(("ptu_hour",))] | None = None
    "What `amount` is for."


@dataclass(frozen=True, slots=True)
class PricesSpec:
    """What things cost."""

    book: Annotated[str, Choice(("builtin", "none"))] = "builtin"
    "List prices that come with the gateway, a starting point: see `sluicegate/data`. Or `none`."
    currency: Annotated[str, Currency()] = "USD"
    "What costs are told in."
    rates: Annotated[Mapping[str, Annotated[Decimal, Rate()]], Keys("currency", Currency())] = field(
        default_factory=dict
    )
    "Units of `currency` for one of another; those of the builtin book are USD."
    contracts: tuple[ContractSpec, ...] = ()
    "What was agreed on instead of the book."
