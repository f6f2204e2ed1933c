"""What a deployment takes before it says 429: the counters of standard kinds, the leaking bucket of provisioned ones.

As the service documents them. Standard: tokens estimated at arrival (prompt + maximum) are added to a count that is
reset each minute, and whoever comes once the count has reached the limit is refused; requests are counted in slices of
1 or 10 s. Provisioned: weighted tokens in a bucket that leaks at the rate that was bought; above 100 % a 429 says
when it will be below again; the estimate is put right when the answer is over.

All of it lets the request that crosses the limit in: the tests come before the adding.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from sluicegate.sim.answer import Claim
from sluicegate.sim.azure.facts import UNKNOWN, Ptu
from sluicegate.sim.spec import CapacitySpec

MINUTE_S: Final = 60.0
UNSAID: Final = 16
"""Standard kinds: output tokens assumed of a request that names no maximum."""
SHOWN: Final = (2699, 449_000)
"""Requests and tokens remaining of a deployment without declared capacity."""


class Standard:
    """Counters of a deployment, or of a quota that several share. Times are monotonic seconds."""

    __slots__ = ("_minute", "_requests", "_slice", "_tokens", "requests_per_slice", "spec")

    def __init__(self, spec: CapacitySpec) -> None:
        self.spec = spec
        per_minute = spec.requests_per_minute or 6 * ceil(spec.tokens_per_minute / 1000)
        self.requests_per_slice = ceil(per_minute * spec.slice_s / MINUTE_S)
        "0: no bound."
        self._minute = self._slice = -MINUTE_S
        "When the counts were last reset: at the first request after their time was up."
        self._tokens = 0
        self._requests = 0

    def estimate(self, prompt: int, cached: int, maximum: int | None, choices: int) -> int:
        """Tokens that a request counts as at its arrival."""
        return prompt + (UNSAID if maximum is None else maximum) * choices

    def lacks(self, now: float) -> tuple[float, str]:
        """Seconds until a request is taken, 0.0: now; and of what there is too little, `tokens` or `requests`."""
        self._reset(now)
        spec = self.spec
        if spec.tokens_per_minute and self._tokens >= spec.tokens_per_minute:
            return self._minute + MINUTE_S - now, "tokens"
        if self.requests_per_slice and self._requests >= self.requests_per_slice:
            return self._slice + spec.slice_s - now, "requests"
        return 0.0, ""

    def take(self, estimate: float, now: float) -> None:
        self._reset(now)
        if not self._tokens and not self._requests:
            self._minute = self._slice = now
        self._tokens += int(estimate)
        self._requests += 1

    def settle(self, estimate: float, claim: Claim | None, now: float) -> None:
        """Nothing: what was estimated stays counted."""

    def left(self, now: float) -> tuple[int, int]:
        """Requests and tokens remaining, for the headers."""
        spec = self.spec
        self._reset(now)
        requests, tokens = SHOWN
        if self.requests_per_slice:
            requests = max(0, self.requests_per_slice - self._requests)
        if spec.tokens_per_minute:
            tokens = max(0, spec.tokens_per_minute - self._tokens)
        return requests, tokens

    def utilisation(self, now: float) -> float:
        return 0.0

    def _reset(self, now: float) -> None:
        if now >= self._minute + MINUTE_S:
            self._minute, self._tokens = now, 0
        if now >= self._slice + self.spec.slice_s:
            self._slice, self._requests = now, 0


class Provisioned:
    """The bucket of one deployment. Its level is in normalised tokens."""

    __slots__ = ("_leaked_at", "_level", "full", "rate", "spec", "weights")

    def __init__(self, spec: CapacitySpec, weights: Ptu = UNKNOWN) -> None:
        self.spec = spec
        self.weights = weights
        self.rate = (spec.ptu_tokens_per_minute or spec.ptu * weights.tokens_per_minute) / MINUTE_S
        "Normalised tokens a second."
        self.full = self.rate * spec.bucket_s
        self._level = 0.0
        self._leaked_at = 0.0

    def estimate(self, prompt: int, cached: int, maximum: int | None, choices: int) -> float:
        return self.weigh(prompt, cached, (self.spec.unsaid if maximum is None else maximum) * choices)

    def weigh(self, prompt: int, cached: int, output: int) -> float:
        """Normalised tokens."""
        weights = self.weights
        return weights.input * (prompt - cached) + weights.cached * cached + weights.output * output

    def lacks(self, now: float) -> tuple[float, str]:
        self._leak(now)
        if self._level < self.full:
            return 0.0, ""
        return (self._level - self.full) / self.rate + 0.001, "tokens"

    def take(self, estimate: float, now: float) -> None:
        self._leak(now)
        self._level += estimate

    def settle(self, estimate: float, claim: Claim | None, now: float) -> None:
        """The answer is over: what it used in place of what was estimated. No claim: it used nothing."""
        self._leak(now)
        used = 0.0 if claim is None else self.weigh(claim.prompt, claim.cached, claim.completion)
        self._level = max(0.0, self._level + used - estimate)

    def left(self, now: float) -> tuple[int, int]:
        return SHOWN

    def utilisation(self, now: float) -> float:
        """Share of the bucket that is full; above 1 by what the last request let in added."""
        self._leak(now)
        return self._level / self.full

    def _leak(self, now: float) -> None:
        self._level = max(0.0, self._level - (now - self._leaked_at) * self.rate)
        self._leaked_at = now


Capacity = Standard | Provisioned


def capacity(spec: CapacitySpec, weights: Ptu | None) -> Capacity | None:
    """What a spec asks for; None: no bound."""
    if spec.ptu or spec.ptu_tokens_per_minute:
        return Provisioned(spec, weights or UNKNOWN)
    return Standard(spec) if spec.tokens_per_minute or spec.requests_per_minute else None
