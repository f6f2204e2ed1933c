"""Pools as they are now, in every worker; and a deployment taken out of them or brought back."""

from __future__ import annotations

from sluicegate.admin.base import Gateway, Reply, Table, said, wrong


def table(gateway: Gateway) -> Table:
    """Resources of this file."""

    async def pools() -> Reply:
        return said(200, {"pools": await gateway.pools()})

    async def drain(instance: str, deployment: str) -> Reply:
        return await moved(f"{instance}/{deployment}", True)

    async def undrain(instance: str, deployment: str) -> Reply:
        return await moved(f"{instance}/{deployment}", False)

    async def moved(deployment: str, away: bool) -> Reply:
        error = await gateway.drain(deployment, away)
        return wrong(409, error) if error else said(200, {"deployment": deployment, "drained": away})

    return {
        ("GET", "/v1/pools"): pools,
        ("POST", "/v1/deployments/{}/{}/drain"): drain,
        ("POST", "/v1/deployments/{}/{}/undrain"): undrain,
    }
