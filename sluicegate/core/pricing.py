"""Usage x price -> money, exact: prices are pico-units per counted unit, a cost is rounded once, half even, to nano.

A price depends on the deployment, the service tier of the answer, the length of the prompt and the time of the call.
Whole micro-units are too coarse for a ledger: an embedding of eight tokens costs 0.16 of one. Where there is no price
there is no cost: None, never 0. Provisioned capacity is paid by the hour, so what a token of it costs is 0, and its
price says so by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple, TypeVar

from sluicegate.core.events import Usage
from sluicegate.core.settings import DEFAULT_TIER, Price, Prices

PTU: Final = "ptu"
"""The class of a provisioned deployment's price: pico-units for a PTU and hour."""

PICO_PER_NANO: Final = 1000

MOST: Final = 10**18
"""Nano-units of one call: a billion. What is more is a price that was mistyped, or usage that is a lie; a ledger cannot
hold it, and no cost is better than none of the records."""

UNITS: Final[dict[str, int]] = {
    "1M_tokens": 1_000_000, "1M_chars": 1_000_000, "1K_pages": 1000, "1K_searches": 1000, "1K_calls": 1000,
    "hour": 3600, "second": 1, "image": 1, "session": 1, "ptu_hour": 1,
}  # fmt: skip
"""How many counted units (tokens, characters, seconds ...) a published price is for. Reservations are not among them:
they are paid whether or not anything is called."""

APART: Final = (
    "audio_input", "audio_output", "cached_audio_input", "cached_image_input", "image_input", "image_output",
)  # fmt: skip
"""Tokens that are no text."""

WHOLE: Final = ("audio_duration", "character", "image")
"""What is billed instead of tokens where a price names it: seconds, characters, images."""

INSTEAD: Final[dict[str, str]] = {
    "cached_input": "input", "cache_write": "input", "cache_write_1h": "cache_write",
    "cached_audio_input": "audio_input", "cached_image_input": "image_input",
}  # fmt: skip
"""A class without a price of its own is billed as this one."""


@dataclass(frozen=True, slots=True)
class Contract:
    """A price that somebody agreed on: before the book, for one deployment or for a model and version everywhere."""

    id: str
    rates: tuple[tuple[str, Fraction], ...]
    "Class, and units of `currency` for one counted unit: 2.30 EUR for a million tokens is Fraction(23, 10**7)."
    currency: str
    deployment: str = ""
    "instance/deployment; empty: wherever model and version are."
    model: str = ""
    version: str = ""
    tier: str = DEFAULT_TIER
    since: float = 0.0


class Priced(NamedTuple):
    """A deployment as prices see it."""

    number: int
    label: str
    "instance/deployment."
    model: str
    version: str
    sku: str
    processing: str
    "regional, data_zone or global."
    region: str


class Row(NamedTuple):
    """One line of a price book."""

    model: str
    version: str
    sku: str
    tier: str
    zone: str
    class_: str
    prompt_over: int
    rate: Fraction
    "Units of currency for one counted unit."
    currency: str
    since: float


class Regions(NamedTuple):
    """Where a region lies in the price book: its data zone and its group of regional prices; empty: none."""

    data_zone: str
    group: str


def nano(pico: int, per: int = 1) -> int:
    """pico / per in nano-units, rounded half to even. `per` above 0."""
    per *= PICO_PER_NANO
    whole, rest = divmod(pico, per)
    rest *= 2
    return whole + 1 if rest > per or (rest == per and whole & 1) else whole


def pico(price: Price, quantities: Mapping[str, int | Fraction]) -> Fraction | None:
    """The exact cost in pico-units of any classes; None when one that was used has no price."""
    rates = {class_: Fraction(amount, per) for class_, amount, per in price.rates}
    total = Fraction(0)
    for class_, quantity in quantities.items():
        rate = _rate(rates, class_)
        if rate is None and quantity:
            return None
        total += (rate or 0) * quantity
    return total


def _rate(rates: Mapping[str, Fraction], class_: str) -> Fraction | None:
    while class_ not in rates:
        if class_ not in INSTEAD:
            return None
        class_ = INSTEAD[class_]
    return rates[class_]


class Charge:
    """One price, bound: integers over one denominator. About 0.5 us a call."""

    __slots__ = (
        "cache_write", "cached", "hour", "id", "input", "media", "output", "per", "prompt_over", "since", "tier",
    )  # fmt: skip

    def __init__(self, price: Price) -> None:
        self.id = price.id
        self.tier = price.tier
        self.prompt_over = price.prompt_over
        self.since = price.since
        rates = {class_: Fraction(amount, per) for class_, amount, per in price.rates}
        if PTU in rates:
            rates = {"input": Fraction(0), "output": Fraction(0), **dict.fromkeys(APART, Fraction(0))}
        apart = {c: _rate(rates, c) for c in (*APART, *WHOLE)}
        found = [_rate(rates, c) for c in ("input", "cached_input", "cache_write", "cache_write_1h", "output")]
        self.per = 1
        for rate in [*found, *apart.values()]:
            if rate is not None:
                self.per *= rate.denominator // _gcd(self.per, rate.denominator)
        self.media = {c: r.numerator * (self.per // r.denominator) for c, r in apart.items() if r is not None}
        "Of what is no text."
        whole = [None if r is None else r.numerator * (self.per // r.denominator) for r in found]
        self.input, self.cached, self.cache_write, self.hour, self.output = whole

    def nano(self, usage: Usage) -> int | None:
        """What it costs; None when a class that was used has no price. Reasoning is output."""
        if usage.media is not None:
            return self.apart(usage, usage.media)
        total = 0
        if usage.input:
            if self.input is None:
                return None
            total = usage.input * self.input
        if usage.cached:
            if self.cached is None:
                return None
            total += usage.cached * self.cached
        if usage.cache_write:
            if self.cache_write is None:
                return None
            total += usage.cache_write * self.cache_write
            if usage.hour and self.hour is not None:
                total += usage.hour * (self.hour - self.cache_write)
        output = usage.output + usage.reasoning
        if output:
            if self.output is None:
                return None
            total += output * self.output
        return nano(total, self.per)

    def apart(self, usage: Usage, media: Mapping[str, int]) -> int | None:
        """The same where some of it is no text. Where the price is by the second, character or image, that is all."""
        billed = [media[c] * self.media[c] for c in WHOLE if media.get(c) and c in self.media]
        if billed:
            return nano(sum(billed), self.per)
        total, taken, cached, made = 0, usage.input, usage.cached, usage.output + usage.reasoning
        for class_ in APART:
            tokens = media.get(class_, 0)
            if tokens:
                if class_ not in self.media:
                    return None
                total += tokens * self.media[class_]
                if class_.startswith("cached"):
                    cached -= tokens
                elif class_.endswith("input"):
                    taken -= tokens
                else:
                    made -= tokens
        for tokens, rate in ((taken, self.input), (cached, self.cached), (made, self.output)):
            if tokens:
                if rate is None:
                    return None
                total += tokens * rate
        if not total and not (usage.total_input or usage.total_output):
            return None  # nothing of it has a price
        return nano(total, self.per)


def _gcd(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a


class Tariffs:
    """Prices, bound: from a deployment and a usage to the price's id and a cost."""

    __slots__ = ("_tariffs", "currency")

    def __init__(self, prices: Prices) -> None:
        self.currency = prices.currency
        self._tariffs = {number: tuple(Charge(p) for p in of) for number, of in prices.deployments}

    def cost(self, deployment: int, usage: Usage, tier: str, wall: float) -> tuple[str, int] | None:
        """(id of the price, nano-units) or None: no price. `tier`: of the answer; "" when it did not say."""
        prices = self._tariffs.get(deployment)
        if prices is None:
            return None
        prompt = usage.input + usage.cached + usage.cache_write
        charge = select(prices, tier, prompt, wall)
        if charge is None:
            return None
        cost = charge.nano(usage)
        return None if cost is None or cost > MOST else (charge.id, cost)


Conditional = TypeVar("Conditional", Price, Charge)


def select(prices: Iterable[Conditional], tier: str, prompt: int, wall: float) -> Conditional | None:
    """The price of a call: of those in force, the highest threshold that the prompt passes; there the tier's own, or
    else the default's (a tier without a price for long prompts bills them so); of these the latest."""
    best: Conditional | None = None
    key: tuple[int, bool, float] = (-1, False, 0.0)
    for price in prices:
        if price.since > wall or (price.prompt_over and prompt <= price.prompt_over):
            continue
        if price.tier != tier and price.tier != DEFAULT_TIER:
            continue
        mine = (price.prompt_over, price.tier == tier, price.since)
        if best is None or mine > key:
            best, key = price, mine
    return best


# ---------------------------------------------------------------------- compiling


class Book:
    """A price list, and where regions lie in it."""

    def __init__(self, rows: Iterable[Row], regions: Mapping[str, Regions]) -> None:
        self.regions = regions
        self._rows: dict[tuple[str, str, str, str], list[Row]] = {}
        for row in rows:
            self._rows.setdefault((row.model, row.version, row.sku, row.zone), []).append(row)

    def zone(self, target: Priced) -> str:
        """Where the deployment's prices are; empty: its region is not known."""
        if target.processing == "global":
            return "global"
        region = self.regions.get(target.region)
        if region is None:
            return ""
        return region.data_zone if target.processing == "data_zone" else region.group

    def rows(self, target: Priced) -> Sequence[Row]:
        """Of this deployment; those of its model without version where its version has none."""
        zone = self.zone(target)
        for model, version in ((target.model, target.version), (target.model, ""), ("*", "")):
            found = self._rows.get((model, version, target.sku, zone))
            if found:
                return found
        return ()

    def prices(self, target: Priced, currency: str, rates: Mapping[str, Fraction]) -> tuple[Price, ...]:
        """Its prices over time, in `currency`."""
        grouped: dict[tuple[str, int], list[Row]] = {}
        for row in self.rows(target):
            grouped.setdefault((row.tier, row.prompt_over), []).append(row)
        prices = []
        for (tier, over), rows in grouped.items():
            for since in sorted({r.since for r in rows}):
                held = {r.class_: r for r in sorted(rows, key=lambda r: r.since) if r.since <= since}
                name = "/".join(filter(None, (_selector(rows[0]), target.sku, rows[0].zone)))
                if tier != DEFAULT_TIER:
                    name += f" {tier}"
                if over:
                    name += f" over {over}"
                if PTU in held:
                    name += " ptu_hour"
                of = tuple(
                    (c, *_pico(r.rate, r.currency, currency, rates))
                    for c, r in sorted(held.items())
                )  # fmt: skip
                prices.append(Price(name, of, tier, over, since))
        return tuple(prices)


def _selector(row: Row) -> str:
    return f"{row.model}@{row.version}" if row.version else "" if row.model == "*" else row.model


class NoRate(ValueError):
    """A price is in a currency that has no rate."""


def _pico(rate: Fraction, of: str, into: str, rates: Mapping[str, Fraction]) -> tuple[int, int]:
    if of != into:
        if of not in rates:
            raise NoRate(f"prices in {of} need a rate to {into}")
        rate = rate * rates[of]
    rate = rate * 10**12
    return rate.numerator, rate.denominator


def compile_prices(
    targets: Iterable[Priced],
    book: Book | None,
    contracts: Sequence[Contract] = (),
    currency: str = "USD",
    rates: Mapping[str, Fraction] | None = None,
) -> Prices:
    """The prices of these deployments. `rates`: units of `currency` for one unit of another. Raises NoRate.

    A contract replaces the book for its tier from its day on: one for the deployment before one for its model.
    """
    rates = rates or {}
    found = []
    for target in targets:
        prices = list(book.prices(target, currency, rates)) if book is not None else []
        mine = [c for c in contracts if c.deployment == target.label] or [
            c for c in contracts if not c.deployment and (c.model, c.version) == (target.model, target.version)
        ]
        for contract in mine:
            of = tuple((class_, *_pico(rate, contract.currency, currency, rates)) for class_, rate in contract.rates)
            agreed = Price(contract.id, of, contract.tier, 0, contract.since)
            replaced = [p for p in prices if p.tier == contract.tier and p.since >= contract.since]
            prices = [p for p in prices if p not in replaced]
            # Long prompts cost what was agreed, too: a contract names no threshold.
            thresholds = {p.prompt_over for p in prices if p.tier == contract.tier} | {
                p.prompt_over for p in replaced
            }  # fmt: skip
            prices += [Price(agreed.id, of, agreed.tier, over, agreed.since) for over in sorted({0, *thresholds})]
        if prices:
            found.append((target.number, tuple(prices)))
    return Prices(currency, tuple(found))
