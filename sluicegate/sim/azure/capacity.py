"""What a deployment takes before it says 429: the windows of standard kinds, the leaking bucket of provisioned ones.

Standard: tokens estimated at arrival (prompt + max_tokens) in a window of 60 s, requests in one of 10 s. Provisioned:
work in the bucket leaks at the rate that was bought; above 100 % a 429 says when it will be below again.
"""

from __future__ import annotations

from collections import deque

from sluicegate.sim.spec import CapacitySpec

TOKENS_S = 60.0
REQUESTS_S = 10.0
BUCKET_S = 10.0
"""Provisioned: so many seconds of the bought rate make 100 % of the bucket."""


class Capacity:
    """Use of one deployment. Times are monotonic seconds."""

    __slots__ = ("_bucket", "_leaked_at", "_requests", "_tokens", "_used", "spec")

    def __init__(self, spec: CapacitySpec) -> None:
        self.spec = spec
        self._tokens: deque[tuple[float, int]] = deque()
        self._used = 0
        self._requests: deque[float] = deque()
        self._bucket = 0.0
        self._leaked_at = 0.0

    def take(self, tokens: int, now: float) -> float:
        """0.0: taken; else the seconds until the same would be."""
        spec = self.spec
        if spec.ptu_tokens_per_minute:
            return self._pour(tokens, now, spec.ptu_tokens_per_minute / 60.0)
        if not spec.tokens_per_minute:
            return 0.0
        self._forget(now)
        most = spec.requests_per_10s or -(-spec.tokens_per_minute // 1000)
        wait = self._requests[0] + REQUESTS_S - now if len(self._requests) >= most else 0.0
        over = self._used + tokens - spec.tokens_per_minute
        for at, taken in self._tokens:
            if over <= 0:
                break
            over -= taken
            wait = max(wait, at + TOKENS_S - now)
        if over > 0:
            wait = max(wait, TOKENS_S)  # larger than the window itself
        if wait > 0:
            return wait
        self._tokens.append((now, tokens))
        self._used += tokens
        self._requests.append(now)
        return 0.0

    def left(self, now: float) -> tuple[int, int]:
        """Requests and tokens remaining, for the headers."""
        spec = self.spec
        if not spec.tokens_per_minute:
            return 2699, 449_000
        self._forget(now)
        most = spec.requests_per_10s or -(-spec.tokens_per_minute // 1000)
        return max(0, most - len(self._requests)), max(0, spec.tokens_per_minute - self._used)

    def utilisation(self, now: float) -> float:
        """Share of the bucket that is full."""
        rate = self.spec.ptu_tokens_per_minute / 60.0
        if not rate:
            return 0.0
        self._leak(now, rate)
        return self._bucket / (rate * BUCKET_S)

    def _pour(self, tokens: int, now: float, rate: float) -> float:
        self._leak(now, rate)
        size = rate * BUCKET_S
        if self._bucket >= size:
            return (self._bucket - size) / rate + 0.001
        self._bucket += tokens
        return 0.0

    def _leak(self, now: float, rate: float) -> None:
        self._bucket = max(0.0, self._bucket - (now - self._leaked_at) * rate)
        self._leaked_at = now

    def _forget(self, now: float) -> None:
        tokens, requests = self._tokens, self._requests
        while tokens and tokens[0][0] <= now - TOKENS_S:
            self._used -= tokens.popleft()[1]
        while requests and requests[0] <= now - REQUESTS_S:
            requests.popleft()
