"""Consumers: who may ask, and for what. Names, never keys. Those that no file declares are made and changed here."""

from __future__ import annotations

import json
from typing import Any

from sluicegate.admin.base import Asked, Gateway, People, Reply, Route, Wrong, said
from sluicegate.admin.shapes import consumers as shapes
from sluicegate.core.kept import Kept, KeptKey, Refused
from sluicegate.spec.made import parsed
from sluicegate.spec.moments import utc
from sluicegate.spec.secret import Digest, write_digest

MOST = 1000
BODY = 64 * 1024
DEEPEST = 32
"""Levels of what is sent; no field has that many."""

STATUS = {"invalid": 400, "exists": 409, "file": 409, "keys": 409, "last": 409, "missing": 404, "stale": 412,
          "full": 503, "failed": 503}  # fmt: skip
"""By why a change is refused."""

CHANGES = {
    404: "no such consumer, or none that you may see",
    409: "it is declared in a file, the name is taken, or the gateway could not start without it",
    412: "it is not in the version of If-Match",
    503: "it cannot be kept, or a worker could not take it: everything is as it was",
}


def routes(gateway: Gateway) -> list[Route]:
    """Resources of this file."""

    async def consumers(asked: Asked) -> Any:
        after, wanted = asked.query.after, most(asked.query.most)
        found, more = await gateway.consumers(after, wanted, asked.who.tenant)
        found = [{**one, "disabled": False} for one in found]
        for kept in await gateway.people.every() if gateway.people is not None else ():
            if kept.disabled and kept.name > after and asked.who.sees(kept.tenant):
                found.append({"name": kept.name, "tenant": kept.tenant, "models": [], "grant": {}, "origin": "api",
                              "keys": [k.id for k in kept.keys], "disabled": True})  # fmt: skip
        found.sort(key=lambda one: str(one["name"]))
        return {"consumers": found[:wanted], "more": more or len(found) > wanted}

    async def export(asked: Asked) -> Any:
        found = []
        for kept in await people_of(gateway).every():
            if asked.who.sees(kept.tenant) and not kept.disabled:
                keys = [written(k) for k in kept.keys if not k.disabled]
                found.append({"name": kept.name, **parsed(kept.fields.encode()), **({"keys": keys} if keys else {})})
        return {"consumers": found}

    async def one(asked: Asked) -> Any:
        return await shown(gateway, asked, asked.path[0])

    async def create(asked: Asked) -> Any:
        body = sent(asked)
        name = body.pop("name", None)
        if not isinstance(name, str):
            raise refused(Refused("invalid", "/name: is missing", (("/name", "is missing", "write a name"),)))
        people = people_of(gateway)
        try:
            kept = await people.create(name, body, asked.who.name, asked.who.tenant, asked.note)
        except Refused as e:
            raise refused(e) from None
        return (await shown(gateway, asked, kept.name))._replace(status=201)

    async def change(asked: Asked) -> Any:
        body = sent(asked)
        name = body.pop("name", asked.path[0])
        if name != asked.path[0]:
            what = "is not the name in the path: names are for ever"
            raise refused(Refused("invalid", f"/name: {what}", (("/name", what, "leave it out"),)))
        who = asked.who
        try:
            await people_of(gateway).change(name, body, asked.expect, who.name, who.tenant, asked.note)
        except Refused as e:
            raise refused(e) from None
        return await shown(gateway, asked, name)

    async def remove(asked: Asked) -> Any:
        try:
            await people_of(gateway).remove(asked.path[0], asked.expect, asked.who.tenant, asked.note)
        except Refused as e:
            raise refused(e) from None
        return {"name": asked.path[0], "removed": True}

    return [
        Route("GET", "/v1/consumers", "tenant", consumers, "Consumers by name, with what they may use.",
              query=shapes.Page, answers=shapes.Consumers, id="consumers"),
        Route("POST", "/v1/consumers", "people", create,
              "Make a consumer: the fields and rules of one in a file, and its name. In force on all workers, or on "
              "none; across restarts.", takes=shapes.NewConsumer, answers=shapes.Consumer, most=BODY, status=201,
              errors={k: CHANGES[k] for k in (409, 503)}, writes=True, notes=True, id="consumer_new"),
        Route("GET", "/v1/directory", "people", export,
              "Consumers that no file declares, as a `directory` file has them: their keys as digests. For a backup.",
              answers=shapes.ConsumersExport, errors={503: CHANGES[503]}, id="consumers_export"),
        Route("GET", "/v1/consumers/{name}", "tenant", one, "One consumer; `etag` is its version.",
              answers=shapes.Consumer, errors={404: CHANGES[404]}, id="consumer"),
        Route("PUT", "/v1/consumers/{name}", "people", change,
              "Other fields for a consumer that no file declares: all it has to say, but for its keys.",
              takes=shapes.NewConsumer, answers=shapes.Consumer, most=BODY, errors=CHANGES, writes=True, notes=True,
              id="consumer_set"),
        Route("DELETE", "/v1/consumers/{name}", "people", remove,
              "Nobody is called so any more: its keys open nothing.", answers=shapes.Removed, errors=CHANGES,
              writes=True, notes=True, id="consumer_delete"),
    ]  # fmt: skip


async def shown(gateway: Gateway, asked: Asked, name: str) -> Reply:
    """One consumer, whoever declares it. Raises Wrong."""
    tenant = asked.who.tenant
    kept = await gateway.people.one(name) if gateway.people is not None else None
    found, _ = await gateway.consumers("", 1, tenant, name)
    if kept is not None and not asked.who.sees(kept.tenant):
        kept = None
    if kept is None and not found:
        raise Wrong(404, f'no consumer is called "{name[:64]}"')
    value: dict[str, Any] = {
        "name": name, "origin": "file", "version": 0, "disabled": False, "fields": {}, "keys": [], "made": "",
        "made_by": "", "changed": "", "changed_by": "", "tenant": "", "grant": {},
    }  # fmt: skip
    if found:
        value |= {"tenant": found[0]["tenant"], "grant": found[0]["grant"]}
        value["keys"] = [key_of(key) for key in found[0]["keys"]]
    if kept is None:
        return said(200, value)
    value |= made(kept)
    return said(200, value)._replace(headers=(("etag", f'"{kept.version}"'),))


def made(kept: Kept) -> dict[str, Any]:
    """What is shown of a consumer that no file declares."""
    return {
        "name": kept.name, "tenant": kept.tenant, "origin": "api", "version": kept.version, "disabled": kept.disabled,
        "fields": parsed(kept.fields.encode()), "made": kept.made, "made_by": kept.made_by, "changed": kept.changed,
        "changed_by": kept.changed_by,
        "keys": [key_of(k.id, k.made, k.by, utc(k.expires), k.disabled) for k in kept.keys],
    }  # fmt: skip


def written(key: KeptKey) -> Any:
    """A key as a file has it."""
    digest = write_digest(Digest(key.id, key.digest))
    return {"key": digest, "expires": utc(key.expires)} if key.expires else digest


def key_of(key: str, made: str = "", by: str = "", expires: str = "", disabled: bool = False) -> dict[str, Any]:
    """What is shown of a key."""
    return {"key": key, "made": made, "by": by, "expires": expires, "disabled": disabled}


def people_of(gateway: Gateway) -> People:
    """Raises Wrong where nobody keeps any."""
    if gateway.people is None:
        raise Wrong(503, "this gateway keeps no consumers of its own")
    return gateway.people


def sent(asked: Asked) -> dict[str, Any]:
    """The fields. Raises Wrong."""
    try:
        fields = parsed(asked.body)
    except Refused as e:
        raise refused(e) from None
    level: list[Any] = [fields]
    for _ in range(DEEPEST):
        level = [c for v in level if isinstance(v, dict | list) for c in (v.values() if isinstance(v, dict) else v)]
    if level:
        raise Wrong(400, f"the body does not fit: it is nested deeper than {DEEPEST} levels")
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Wrong(400, "the body does not fit: it holds half of a character (a lone surrogate)") from None
    return fields


def refused(e: Refused) -> Wrong:
    """What is wrong, with its status."""
    problems = [{"pointer": pointer, "what": what, "hint": hint} for pointer, what, hint in e.problems]
    return Wrong(STATUS[e.why], e.message, problems)


def most(wanted: int) -> int:
    """How many of a list. Raises Wrong."""
    if not 1 <= wanted <= MOST:
        raise Wrong(400, f"most is from 1 to {MOST}")
    return wanted
