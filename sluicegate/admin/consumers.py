"""Consumers: who may ask, and for what. Names, never keys."""

from __future__ import annotations

from typing import Any

from sluicegate.admin import shapes
from sluicegate.admin.base import Asked, Gateway, Route, Wrong

MOST = 1000


def routes(gateway: Gateway) -> list[Route]:
    """Resources of this file."""

    async def consumers(asked: Asked) -> Any:
        found, more = await gateway.consumers(asked.query.after, most(asked.query.most))
        return {"consumers": found, "more": more}

    return [
        Route("GET", "/v1/consumers", "viewer", consumers, "Consumers by name, with what they may use.",
              query=shapes.Page, answers=shapes.Consumers, id="consumers"),
    ]  # fmt: skip


def most(wanted: int) -> int:
    """How many of a list. Raises Wrong."""
    if not 1 <= wanted <= MOST:
        raise Wrong(400, f"most is from 1 to {MOST}")
    return wanted
