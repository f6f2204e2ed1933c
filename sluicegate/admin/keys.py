"""Keys of consumers: what they are called; made and shown once, put to rest, revoked. What a key is nobody knows but
who was given it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sluicegate.admin.base import Asked, Gateway, Reply, Route, Wrong
from sluicegate.admin.consumers import CHANGES, key_of, most, people_of, refused
from sluicegate.admin.shapes import keys as shapes
from sluicegate.core.kept import Refused
from sluicegate.spec.moments import utc

LAST = 253402300799.0
"""The last second of 9999: what is later nobody can write down."""

OF = {
    404: "no such consumer or key, or none that you may see",
    409: "it is declared in a file, or has two keys already",
    412: CHANGES[412],
    503: CHANGES[503],
}


def routes(gateway: Gateway) -> list[Route]:
    """Resources of this file."""

    async def keys(asked: Asked) -> Any:
        query = asked.query
        found, more = await gateway.keys(query.consumer, query.after, most(query.most), asked.who.tenant)
        return {"keys": found, "more": more}

    async def new(asked: Asked) -> Any:
        until = moment(asked.body.expires)
        who = asked.who
        try:
            kept, key, text = await people_of(gateway).new_key(asked.path[0], until, who.name, who.tenant, asked.note)
        except Refused as e:
            raise refused(e) from None
        value = {**key_of(key.id, key.made, key.by, utc(key.expires), key.disabled), "consumer": kept.name,
                 "text": text}  # fmt: skip
        return Reply(201, json.dumps(value).encode() + b"\n", headers=(("etag", f'"{kept.version}"'),))

    async def change(asked: Asked) -> Any:
        until = None if asked.body.expires is None else moment(asked.body.expires)
        who, (name, called) = asked.who, asked.path
        try:
            kept, key = await people_of(gateway).change_key(
                name, called, asked.body.disabled, until, who.name, who.tenant, asked.note
            )
        except Refused as e:
            raise refused(e) from None
        return {**key_of(key.id, key.made, key.by, utc(key.expires), key.disabled), "consumer": kept.name}

    async def remove(asked: Asked) -> Any:
        who, (name, called) = asked.who, asked.path
        try:
            await people_of(gateway).remove_key(name, called, who.name, who.tenant, asked.note)
        except Refused as e:
            raise refused(e) from None
        return {"consumer": name, "key": called, "removed": True}

    async def revoke(asked: Asked) -> Any:
        told = await gateway.revoke(asked.body.consumer, asked.body.key, asked.who.name, asked.who.tenant)
        if isinstance(told, str):
            raise Wrong(409, told)
        return told

    where = "/v1/consumers/{name}/keys"
    return [
        Route("GET", "/v1/keys", "tenant", keys, "Keys by consumer: declared ones, and those that were revoked.",
              query=shapes.KeyPage, answers=shapes.Keys, id="keys"),
        Route("POST", "/v1/keys/revoke", "people", revoke,
              "Let nobody in with a key any more: on all workers at once, across restarts, whatever the configuration "
              "says. Its streams end with an error event; what does not stream is answered.", takes=shapes.Revoke,
              answers=shapes.RevokedKey, errors={409: "no such consumer or key"}, writes=True, id="key_revoke"),
        Route("POST", where, "people", new,
              "Make a key for a consumer that no file declares. `text` is the key: it is shown here and never again.",
              takes=shapes.KeyAsked, answers=shapes.NewKey, errors=OF, status=201, writes=True, notes=True,
              id="key_new"),
        Route("PATCH", f"{where}/{{key}}", "people", change, "Let a key rest, wake it, or say until when it holds.",
              takes=shapes.KeyChange, answers=shapes.KeyState, errors=OF, writes=True, notes=True, id="key_set"),
        Route("DELETE", f"{where}/{{key}}", "people", remove, "Nobody gets in with this key any more.",
              answers=shapes.RemovedKey, errors=OF, writes=True, notes=True, id="key_delete"),
    ]  # fmt: skip


def moment(text: str) -> float:
    """Until when, wall time; empty: for ever. Raises Wrong."""
    if not text:
        return 0.0
    try:
        found = datetime.fromisoformat(text)
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        if found.timestamp() > LAST:
            raise ValueError
        return max(1.0, found.timestamp())  # 0 would be for ever
    except (ValueError, OverflowError):
        what = "is no time"
        raise refused(
            Refused("invalid", f"/expires: {what}", (("/expires", what, "write 2026-12-31 or 2026-12-31T18:00:00Z"),))
        ) from None
