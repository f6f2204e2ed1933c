"""Keys of consumers: what they are called, and one revoked. What a key is nobody knows but who was given it."""

from __future__ import annotations

from typing import Any

from sluicegate.admin import shapes
from sluicegate.admin.base import Asked, Gateway, Route, Wrong
from sluicegate.admin.consumers import most


def routes(gateway: Gateway) -> list[Route]:
    """Resources of this file."""

    async def keys(asked: Asked) -> Any:
        found, more = await gateway.keys(asked.query.consumer, asked.query.after, most(asked.query.most))
        return {"keys": found, "more": more}

    async def revoke(asked: Asked) -> Any:
        told = await gateway.revoke(asked.body.consumer, asked.body.key, asked.who.name)
        if isinstance(told, str):
            raise Wrong(409, told)
        return told

    return [
        Route("GET", "/v1/keys", "viewer", keys, "Keys by consumer: declared ones, and those that were revoked.",
              query=shapes.KeyPage, answers=shapes.Keys, id="keys"),
        Route("POST", "/v1/keys/revoke", "operator", revoke,
              "Let nobody in with a key any more: on all workers at once, across restarts, whatever the configuration "
              "says. Its streams end with an error event; what does not stream is answered.", takes=shapes.Revoke,
              answers=shapes.RevokedKey, errors={409: "no such consumer or key"}, id="key_revoke"),
    ]  # fmt: skip
