"""Doors of a deployment: faults open the breaker, throttling shuts it until a time.

What is configured stands here, beside what it configures.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerSpec:
    """When faults open a deployment's breaker, and for how long. Times in seconds."""

    faults: int = 5
    "That many in a row open it."
    share: float = 0.5
    "So does this share of at least 20 answers within `within`."
    within: float = 30.0
    open: float = 3.0
    "Until one request looks again."


@dataclass(frozen=True, slots=True)
class ThrottleSpec:
    """How long a throttled deployment is shut. Times in seconds."""

    longest: float = 600.0
    "The longest time that is believed; beyond it one request looks again every so often."
    unnamed: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0)
    "Where the answer names no time: the first refusal shuts it for the first of these, and so on."
