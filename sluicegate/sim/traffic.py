"""Shapes of traffic: how many requests a second over time, and the moments at which they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import log
from random import Random

Rate = Callable[[float], float]
"""Requests a second at so many seconds from the start."""


def steady(rate: float) -> Rate:
    return lambda t: rate


def ramp(start: float, to: float, over_s: float) -> Rate:
    """From one rate to another in `over_s` seconds, then there."""
    return lambda t: start + (to - start) * min(1.0, t / over_s)


def spike(base: float, peak: float, at_s: float, for_s: float) -> Rate:
    """A rate, and for a while another."""
    return lambda t: peak if at_s <= t < at_s + for_s else base


def arrivals(rate: Rate, for_s: float, seed: int | None = None) -> Iterator[float]:
    """Ascending moments in seconds: evenly spaced by the rate, or, with a seed, at random as a Poisson process."""
    chance = Random(seed) if seed is not None else None
    t = 0.0
    while True:
        now = rate(t)
        if now <= 0:
            t += 0.1
        else:
            t += (1.0 if chance is None else -log(1.0 - chance.random())) / now
        if t >= for_s:
            return
        if now > 0:
            yield t
