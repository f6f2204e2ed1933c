"""The metrics page, rendered by whoever was handed in."""

from __future__ import annotations

from collections.abc import Callable

from sluicegate.admin.base import Reply, Table


def table(render: Callable[[], str], content_type: str) -> Table:
    """Resources of this file."""

    async def metrics() -> Reply:
        return Reply(200, render().encode(), content_type)

    return {("GET", "/metrics"): metrics}
