"""The OpenAPI document of the management API, made from its routes: what the server obeys is what is published."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sluicegate.admin.base import OPEN, Asked, Reply, Route
from sluicegate.admin.shapes.errors import Failure
from sluicegate.core.operators import MAY

REF: Final = "#/components/schemas/{name}"

EVERYWHERE: Final = {
    401: "no operator's key, or a wrong one",
    403: "the key's role does not suffice",
    421: "the Host header names nobody we know",
    429: "too many wrong keys from this address",
    500: "a bug of the gateway",
}
"""Statuses that any path with a credential may answer."""

ABOUT: Final = """The management API of one gateway. On the Unix socket `control.sock` in `gateway.data` whoever can \
open it is the owner; by TCP (`gateway.admin.address`) a key of `gateway.admin.keys` is shown, as a bearer token. \
`x-roles` are the roles \
that may."""


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """OpenAPI 3.1."""
    shown: list[type] = [Failure]
    for route in routes:
        shown += [t for t in (route.answers, route.takes) if t is not None and t is not dict and t not in shown]
    own = [t for t in shown if hasattr(t, "raw")]
    _, components = msgspec.json.schema_components([t for t in shown if t not in own], ref_template=REF)
    components |= {t.__name__: {"description": t.__doc__ or "", **t.schema()} for t in own}  # type: ignore[attr-defined]
    for shape in components.values():
        shape["description"] = " ".join(shape["description"].split())
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sluicegate management API", "version": version, "description": ABOUT,
                 "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }  # fmt: skip


def _operation(route: Route) -> dict[str, Any]:
    """One method of one path."""
    failure = {"application/json": {"schema": {"$ref": REF.format(name="Failure")}}}
    content: dict[str, Any] = {"schema": {"type": "string"}}
    if route.content_type == "application/json":
        content = {"schema": schema_of(route.answers)}
    responses: dict[str, Any] = {
        str(route.status): {"description": "As asked.", "content": {route.content_type: content}}
    }
    for status, when in sorted(statuses(route).items()):
        own = {"application/json": {"schema": schema_of(route.refused)}} if route.refused and status == 409 else failure
        responses[str(status)] = {"description": when, "content": own}
    made: dict[str, Any] = {
        "operationId": route.id,
        "summary": route.summary,
        "parameters": [*_in_path(route), *_in_query(route)],
        "responses": responses,
        "security": [] if route.role == OPEN else [{"key": []}],
        "x-roles": list(MAY[route.role]) if route.role else [],
    }
    if route.takes is not None:
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema_of(route.takes)}},
        }
    return made


def statuses(route: Route) -> dict[int, str]:
    """What a path may answer instead, and when."""
    found = {} if route.role == OPEN else dict(EVERYWHERE)
    if route.writes:
        found[503] = "the audit log cannot be written: what is not written down is not done"
    if route.role == OPEN:
        found[421] = EVERYWHERE[421]
    if "{" in route.path:
        found[404] = "a part of the path is no name"
    if route.query is not None or route.takes is not None:
        found[400] = "the request does not fit"
    if route.takes is not None:
        found |= {
            408: "the body did not come in time",
            411: "a body without content-length",
            413: f"a body of more than {route.most} bytes",
        }
    return found | dict(route.errors)


def schema_of(shape: type | None) -> dict[str, Any]:
    """A reference to a shape; what has no shape of its own is any object."""
    if shape is None or shape is dict:
        return {"type": "object"}
    return {"$ref": REF.format(name=shape.__name__)}


def _in_path(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[^/%]+$"}}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]


def _in_query(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    (made,), components = msgspec.json.schema_components([route.query], ref_template=REF)
    shape = components[made["$ref"].rpartition("/")[2]]
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in shape["properties"].items()
    ]


def routes(every: Sequence[Route], version: str) -> list[Route]:
    """The document itself."""
    made: list[bytes] = []

    async def openapi(asked: Asked) -> Any:
        if not made:
            made.append(msgspec.json.encode(document([*every, *own], version)) + b"\n")
        return Reply(200, made[0])

    own = [
        Route("GET", "/openapi.json", OPEN, openapi, "This document.", answers=dict, id="openapi"),
    ]
    return own
