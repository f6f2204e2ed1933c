"""Limits: ceilings over a short time, one file a kind. The table is the truth; laws and docs iterate over it."""

from __future__ import annotations

from typing import Final

from sluicegate.core.limits.base import Limit
from sluicegate.core.limits.concurrency import Concurrency
from sluicegate.core.limits.request_rate import RequestRate
from sluicegate.core.limits.token_rate import TokenRate

LIMITS: Final[dict[str, type[Limit]]] = {
    "token_rate": TokenRate,
    "request_rate": RequestRate,
    "concurrency": Concurrency,
}
