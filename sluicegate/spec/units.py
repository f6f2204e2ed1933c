"""Units are written, never implied: counts, durations, bytes, shares, and amounts per time.

Each reads text and writes it back; `parse(write(x)) == x` for every value it can hold.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, ClassVar

from sluicegate.spec.kinds import Word
from sluicegate.spec.references import Wrong

DAY = 86400.0

_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"


class Measure(Word):
    """A number and its unit, in bounds."""

    units: ClassVar[dict[str, Decimal]]
    name: ClassVar[str]
    examples: ClassVar[str]
    bare: ClassVar[bool] = False
    "Whether a number without unit is complete."

    def __init__(self, least: float | None = None, most: float | None = None) -> None:
        self.least = least
        self.most = most

    @property
    def pattern(self) -> str:  # type: ignore[override]
        units = "|".join(self.units)
        return rf"{_NUMBER} ?({units}){'?' if self.bare else ''}"

    def says(self) -> str:
        return f"a {self.name} such as {self.examples}"

    def amount(self, text: str) -> Decimal:
        """The number in base units. Raises Wrong."""
        found = re.fullmatch(rf"({_NUMBER}) ?([A-Za-z%]*)", text)
        if found is None:
            raise Wrong(f"is not a {self.name}", f"write {self.says()}")
        number, unit = Decimal(found[1]), found[2]
        if not unit and self.bare:
            return number
        if not unit:
            raise Wrong("has no unit", f"write {self.says()}")
        if unit not in self.units:
            raise Wrong(f"is not a {self.name}: its unit is none of {', '.join(self.units)}", f"write {self.says()}")
        return number * self.units[unit]

    def parse(self, text: str) -> Any:
        value = self.number(self.amount(text))
        if self.least is not None and value < self.least:
            raise Wrong("is too small", f"write at least {self.write(self.number(Decimal(str(self.least))))}")
        if self.most is not None and value > self.most:
            raise Wrong("is too large", f"write at most {self.write(self.number(Decimal(str(self.most))))}")
        return value

    def number(self, amount: Decimal) -> Any:
        """The value a program counts with: whole unless the kind says otherwise."""
        if amount != int(amount):
            raise Wrong("does not come out whole", f"write {self.says()}")
        return int(amount)

    def write(self, value: Any) -> str:
        amount = Decimal(str(value))
        for unit, factor in sorted(self.units.items(), key=lambda u: -u[1]):
            if amount and amount % factor == 0:
                return f"{int(amount / factor)}{unit}"
        if self.bare:
            return f"{amount.normalize():f}"
        unit, factor = min(self.units.items(), key=lambda u: u[1])
        return f"{(amount / factor).normalize():f}{unit}"


class Count(Measure):
    """`500`, `60k`, `1.5M`, `2B`: powers of 1000, whole."""

    name = "count"
    examples = "500, 60k, 1.5M"
    bare = True
    units = {"k": Decimal(10**3), "M": Decimal(10**6), "B": Decimal(10**9)}


class Whole(Count):
    """A small number."""

    name = "whole number"
    examples = "3"


class Duration(Measure):
    """Seconds, written with a unit."""

    name = "duration"
    examples = "500ms, 30s, 15m, 24h"
    units = {
        "ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400),
    }  # fmt: skip

    def number(self, amount: Decimal) -> float:
        return float(amount)


class Bytes(Measure):
    """Sizes: powers of 1024 with an i, of 1000 without."""

    name = "size"
    examples = "64KiB, 32MiB, 1GB"
    units = {
        "B": Decimal(1), "kB": Decimal(10**3), "KB": Decimal(10**3), "MB": Decimal(10**6), "GB": Decimal(10**9),
        "KiB": Decimal(2**10), "MiB": Decimal(2**20), "GiB": Decimal(2**30),
    }  # fmt: skip


class Share(Measure):
    """`30%`, as a fraction."""

    name = "share"
    examples = "30%"
    units = {"%": Decimal("0.01")}

    def number(self, amount: Decimal) -> float:
        return float(amount)


class Ceiling(Word):
    """`90%`, or `none`, which is kept as 0."""

    pattern = rf"none|{_NUMBER} ?%"
    _share = Share(0.01, 1)

    def says(self) -> str:
        return "a share such as 90%, or none"

    def parse(self, text: str) -> float:
        share: float = 0.0 if text == "none" else self._share.parse(text)
        return share

    def write(self, value: float) -> str:
        return self._share.write(value) if value else "none"


class Capacity(Word):
    """`450k tokens/minute`, kept as tokens a minute."""

    pattern = rf"{_NUMBER} ?[kMB]? tokens/minute"

    def says(self) -> str:
        return "a capacity such as 450k tokens/minute"

    def parse(self, text: str) -> int:
        count, space, per = text.partition(" ")
        if re.fullmatch("[0-9]{1,12}", text):  # Azure's own capacity counts thousands of tokens a minute
            many = f"{text} tokens/minute" if int(text) >= 10_000 else f"{text}k tokens/minute"
            thousands = "" if int(text) >= 10_000 else f" where Azure says capacity {text}"
            raise Wrong("has no unit", f"write {self.says()}", better=f"write {many}{thousands}")
        if not space or per.strip() != "tokens/minute":
            raise Wrong("is not a capacity", f"write {self.says()}")
        value: int = Count(least=1).parse(count)
        return value

    def write(self, value: int) -> str:
        return f"{Count().write(value)} tokens/minute"
