"""Pools and deployments as they are now, in every worker; and a deployment taken out of them or brought back."""

from __future__ import annotations

from typing import Any

from sluicegate.admin.base import Asked, Gateway, Route, Wrong
from sluicegate.admin.shapes import pools as shapes


def routes(gateway: Gateway) -> list[Route]:
    """Resources of this file."""

    async def pools(asked: Asked) -> Any:
        return {"pools": await gateway.pools()}

    async def deployments(asked: Asked) -> Any:
        found: dict[str, dict[str, Any]] = {}
        for pool in await gateway.pools():
            for member in pool["deployments"]:
                held = found.setdefault(member["deployment"], {**member, "pools": []})
                held["pools"].append(pool["model"])
        return {"deployments": list(found.values())}

    async def credentials(asked: Asked) -> Any:
        return {"credentials": gateway.told_credentials()}

    async def drain(asked: Asked) -> Any:
        return await moved(asked, True)

    async def undrain(asked: Asked) -> Any:
        return await moved(asked, False)

    async def moved(asked: Asked, away: bool) -> Any:
        deployment = "/".join(asked.path)
        error = await gateway.drain(deployment, away)
        if error:
            raise Wrong(409, error)
        return {"deployment": deployment, "drained": away}

    where = "/v1/deployments/{instance}/{deployment}"
    unknown = {409: "no such deployment, or workers could not take the change"}
    return [
        Route("GET", "/v1/pools", "viewer", pools, "Pools, in the order in which their deployments are tried.",
              answers=shapes.Pools, id="pools"),
        Route("GET", "/v1/deployments", "viewer", deployments, "Deployments, with the pools that have them.",
              answers=shapes.Deployments, id="deployments"),
        Route("GET", "/v1/credentials", "viewer", credentials,
              "Identities whose tokens are shown upstream: how long theirs last, and what is wrong. No token.",
              answers=shapes.Credentials, id="credentials"),
        Route("POST", f"{where}/drain", "operator", drain, "Give a deployment no new calls; those under way end.",
              answers=shapes.Moved, errors=unknown, id="drain", writes=True),
        Route("POST", f"{where}/undrain", "operator", undrain, "Bring a drained deployment back.",
              answers=shapes.Moved, errors=unknown, id="undrain", writes=True),
    ]  # fmt: skip
