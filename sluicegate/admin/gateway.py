"""The gateway as a whole: how it is, load the configuration again, replace the workers."""

from __future__ import annotations

from sluicegate.admin.base import Gateway, Reply, Table, said, wrong


def table(gateway: Gateway) -> Table:
    """Resources of this file."""

    async def health() -> Reply:
        return said(200, {"status": "live"})

    async def status() -> Reply:
        return said(200, gateway.status())

    async def configuration() -> Reply:
        return Reply(200, await gateway.declared())

    async def reload() -> Reply:
        outcome = await gateway.reload()
        body = {"state": outcome.state, "config": outcome.config, "report": outcome.report, "restart": outcome.waiting}
        return said(409 if outcome.state == "refused" else 200, body)

    async def restart() -> Reply:
        error = await gateway.restart()
        return wrong(409, error) if error else said(200, gateway.status())

    return {
        ("GET", "/health"): health,
        ("GET", "/v1/status"): status,
        ("GET", "/v1/configuration"): configuration,
        ("POST", "/v1/reload"): reload,
        ("POST", "/v1/restart"): restart,
    }
