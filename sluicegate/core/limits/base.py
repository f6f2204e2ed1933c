"""What a limit is configured by, whatever its kind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """One ceiling of a consumer or tenant, as written. Plain data: it stands in the Directory."""

    kind: str
    "Name of a row of LIMITS: token_rate, request_rate, concurrency."
    amount: int
    "Tokens or requests per window, or requests at the same time."
    window: float = 60.0
    "Seconds: 1, 60 or 3600; unused by concurrency."
    each: str = ""
    "What one counter covers: consumer, tenant, key, end_user, model; empty: the principal it is written at."
    count: str = "total"
    "total, input, output or uncached tokens."
    reserve: str = "learned"
    "learned or max: what a request without a token maximum takes."
    guarantee: str = "leased"
    "leased, exact or local."
    mode: str = "enforce"
    "enforce, shadow or off."
    models: tuple[str, ...] = ()
    "Public names it counts; empty: all."
    operations: tuple[str, ...] = ()
    "Operations it counts; empty: all."
    origin: str = ""
    "Where it was written, for refusals and explanations: `tenants.retail`."
