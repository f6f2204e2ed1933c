"""What would become of a request now, by what each worker has in force and in memory."""

from __future__ import annotations

from typing import Any

from sluicegate.admin.base import Asked, Gateway, Route, Wrong
from sluicegate.admin.shapes import explain as shapes


def routes(gateway: Gateway) -> list[Route]:
    """Resources of this file."""

    async def explain(asked: Asked) -> Any:
        told = await gateway.explain(asked.body)
        if isinstance(told, str):
            raise Wrong(409, told)
        return told

    return [
        Route("POST", "/v1/explain", "viewer", explain,
              "Where a request would go now, and why; nothing is sent. `sluicegate explain` makes the question.",
              takes=dict, answers=shapes.Explained, errors={409: "it cannot be said"}, id="explain"),
    ]  # fmt: skip
