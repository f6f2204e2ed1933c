"""The metrics page, rendered by whoever was handed in; and the same counts as JSON, for live views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sluicegate.admin.base import Asked, Reply, Route
from sluicegate.admin.shapes import live as shapes


def routes(
    render: Callable[[], str], content_type: str, counts: Callable[[], dict[str, Any]], role: str
) -> list[Route]:
    """Resources of this file. `role`: what /metrics needs."""

    async def metrics(asked: Asked) -> Any:
        return Reply(200, render().encode(), content_type)

    async def live(asked: Asked) -> Any:
        return counts()

    return [
        Route("GET", "/metrics", role, metrics, "Prometheus' text format. On loopback no key is needed.",
              content_type=content_type, id="metrics"),
        Route("GET", "/v1/live", "viewer", live, "All counts at one moment, as `sluicegate top` shows them.",
              answers=shapes.Live, id="live"),
    ]  # fmt: skip
