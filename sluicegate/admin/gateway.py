"""The gateway as a whole: how it is, load its own configuration again, replace the workers."""

from __future__ import annotations

from typing import Any

from sluicegate.admin.base import OPEN, Asked, Gateway, Outcome, Reply, Route, Wrong, said
from sluicegate.admin.shapes import gateway as shapes
from sluicegate.admin.shapes.config import Reload


def routes(gateway: Gateway) -> list[Route]:
    """Resources of this file."""

    async def health(asked: Asked) -> Any:
        return {"status": "live"}

    async def status(asked: Asked) -> Any:
        return gateway.status()

    async def alerts(asked: Asked) -> Any:
        return gateway.told_alerts()

    async def residency(asked: Asked) -> Any:
        return await gateway.residency()

    async def reload(asked: Asked) -> Any:
        return outcome_of(await gateway.reload(by=asked.who.name))

    async def restart(asked: Asked) -> Any:
        error = await gateway.restart()
        if error:
            raise Wrong(409, error)
        return gateway.status()

    return [
        Route("GET", "/health", OPEN, health, "The process answers.", answers=shapes.Health, id="health"),
        Route("GET", "/v1/status", "viewer", status, "How the gateway and its workers are.",
              answers=shapes.Status, id="status"),
        Route("GET", "/v1/alerts", "viewer", alerts, "What needs attention now, and what did.",
              answers=shapes.Alerts, id="alerts"),
        Route("GET", "/v1/residency", "viewer", residency,
              "The proof that nothing leaves its boundary, edge by edge, for what is in force.",
              answers=shapes.Residency, id="residency"),
        Route("POST", "/v1/reload", "operator", reload,
              "Load the gateway's own files again: in force on all workers, or on none.", answers=Reload,
              refused=Reload,
              errors={409: "refused: what was in force stays so"}, id="reload", writes=True),
        Route("POST", "/v1/restart", "operator", restart, "Replace the workers, one at a time; nobody is reset.",
              answers=shapes.Status, errors={409: "another change is under way"}, id="restart", writes=True),
    ]  # fmt: skip


def outcome_of(outcome: Outcome) -> Reply:
    """What loading a configuration came to."""
    body = {"state": outcome.state, "config": outcome.config, "report": outcome.report, "restart": outcome.waiting}
    return said(409 if outcome.state == "refused" else 200, body)
