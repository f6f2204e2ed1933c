"""Shapes of traffic: how many requests a second over time, and the moments at which they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import log
from random import Random

Rate = Callable[[float], float]
"""Requests a second at so many seconds from the start."""


STEP_S = 0.05
"""The rate is looked at this often."""


def steady(rate: float) -> Rate:
    return lambda t: rate


def ramp(start: float, to: float, over_s: float) -> Rate:
    """From one rate to another in `over_s` seconds, then there."""
    return lambda t: start + (to - start) * min(1.0, t / over_s)


def spike(base: float, peak: float, at_s: float, for_s: float) -> Rate:
    """A rate, and for a while another."""
    return lambda t: peak if at_s <= t < at_s + for_s else base


def bursts(base: float, peak: float, every_s: float, for_s: float) -> Rate:
    """A rate, and again and again for a while another."""
    return lambda t: peak if t % every_s >= every_s - for_s else base


def arrivals(rate: Rate, for_s: float, seed: int | None = None) -> Iterator[float]:
    """Ascending moments in seconds: spaced as the rate says, or, with a seed, at random around it (Poisson)."""
    chance = Random(seed) if seed is not None else None
    t = area = 0.0
    wanted = 1.0
    while t < for_s:
        now = rate(t)
        if area + now * STEP_S < wanted:
            area += now * STEP_S
            t += STEP_S
            continue
        t += (wanted - area) / now
        if t < for_s:
            yield t
        area = 0.0
        wanted = 1.0 if chance is None else -log(1.0 - chance.random())
