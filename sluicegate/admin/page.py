"""The reference page of the management API, as Markdown, made from its routes.

docs/reference/admin-api.md is this page: `sluicegate schema --admin-page > docs/reference/admin-api.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sluicegate.admin.base import OPEN, Route
from sluicegate.admin.openapi import REF, statuses
from sluicegate.core.operators import MAY

_HEAD = """# Management API

Every path, made from the code by `sluicegate schema --admin-page`. The same as OpenAPI 3.1: `GET /openapi.json`, or \
`sluicegate schema --openapi`.

## How it is reached

| | where | credential |
|---|---|---|
| Unix socket | `control.sock` in `gateway.data` (mode 0600) | none: whoever can open it is the owner |
| TCP | `gateway.admin.address`, 127.0.0.1:8081 | `authorization: Bearer sga_...`, a key of `gateway.admin.keys`; or \
a token of the issuer of `gateway.admin.login` |
| a browser | the same, `/login` | a session, see [People and roles](../how-to/operators.md) |

```yaml
version: 1
gateway:
  admin:
    address: 127.0.0.1:8081
    keys:
      # sluicegate key new ops --admin
      ops: {role: operator, key: "sga1:5f2a9c10:MDEyMzQ1Njc4OWFiY2RlZg"}
instances:
  weu:
    endpoint: https://contoso-weu.openai.azure.com
    auth: {key: "${env:AOAI_KEY}"}
    deployments:
      gpt-4o: {model: gpt-4o, version: 2024-11-20}
models:
  chat: {use: gpt-4o@2024-11-20}
consumers:
  my-app: {key: "${env:MY_APP_KEY}", models: [chat]}
```

Each path says which roles may: [what they are](../how-to/operators.md). An `operator` may load any configuration, and \
with it any secret that the gateway's process can read: give the role as you would give a login on the machine. \
Keys of consumers are no credential here (401); somebody who is known and has no role for a path gets 403. A \
`tenant_admin` meets what belongs to other tenants as if it were not there. Changes of `keys`, `login` and `hosts` \
take effect with a reload.

A change by a browser that is logged in needs the header `x-csrf-token`, which `GET /v1/whoami` says. Changes of one \
consumer take `If-Match` with the `etag` of GET. Every change is written into the audit log before it takes effect; if \
that cannot be, it is refused (503).

Without `gateway.admin.tls` the listener speaks plain HTTP: on another address than loopback, put TLS in front of it, \
or a tunnel. Requests whose Host header is neither an address nor `localhost` nor listed in `gateway.admin.hosts` (nor \
the host of `public_url`) are refused (421), so that \
no page in a browser can have its own name lead here; no CORS header is ever sent. Ten wrong keys from one address, \
then one every 6 s. One request a connection; heads up to 8 KiB within 10 s; 64 connections, 32 from one \
address, 16 live tails. Every change is a line on stderr: who, with which role, what, with which outcome; so is a \
wrong key, and a role that did not suffice.

Errors are `{"error": {"message": ...}}`, and say what to do.

"""


def page(routes: Sequence[Route]) -> str:
    """The whole page."""
    lines = [_HEAD, "## Paths\n", "| path | role | |", "|---|---|---|"]
    shapes: list[type] = []
    for route in routes:
        lines.append(f"| `{route.method} {route.path}` | {roles_of(route)} | {route.summary} |")
        shapes += [t for t in (route.takes, route.answers) if t is not None and t is not dict and t not in shapes]
    lines.append("")
    for route in routes:
        lines += _route(route)
    lines.append("## Shapes\n")
    own = [t for t in shapes if hasattr(t, "raw")]
    _, components = msgspec.json.schema_components([t for t in shapes if t not in own], ref_template=REF)
    components |= {t.__name__: {"description": t.__doc__ or "", **t.schema()} for t in own}  # type: ignore[attr-defined]
    for name, shape in sorted(components.items()):
        lines += [f"### {name}\n", " ".join(shape["description"].split()), "", "| field | |", "|---|---|"]
        for field, schema in shape["properties"].items():
            default = f", default `{schema['default']}`" if schema.get("default") not in (None, "", []) else ""
            lines.append(f"| `{field}` | {_kind(schema)}{default} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def roles_of(route: Route) -> str:
    """Who may."""
    return ", ".join(MAY[route.role]) if route.role else "none"


def _route(route: Route) -> list[str]:
    lines = [f"### {route.method} {route.path}\n", f"{route.summary}\n"]
    said = [f"Roles: {roles_of(route)}." if route.role != OPEN else "Needs no credential."]
    if route.query is not None:
        (made,), components = msgspec.json.schema_components([route.query], ref_template=REF)
        shape = components[made["$ref"].rpartition("/")[2]]
        parts = ", ".join(f"`{name}` ({_kind(schema)})" for name, schema in shape["properties"].items())
        said.append(f"Parameters: {parts}. {' '.join(shape['description'].split())}")
    if route.takes is not None:
        said.append(f"Body: {_shape(route.takes)}, up to {route.most // 1024} KiB.")
    what = _shape(route.answers) if route.content_type == "application/json" else f"`{route.content_type}`"
    said.append(f"Answers {what}.")
    own = {status: when for status, when in statuses(route).items() if status in route.errors}
    for status, when in sorted(own.items()):
        as_ = f"; answers {_shape(route.refused)}, too" if route.refused and status == 409 else ""
        said.append(f"{status}: {when}{as_}.")
    return [*lines, " ".join(said), ""]


def _shape(shape: type | None) -> str:
    return "an object" if shape is None or shape is dict else f"[{shape.__name__}](#{shape.__name__.lower()})"


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"map to {_kind(inner)}" if isinstance(inner, dict) and inner else "object"
    return str(schema.get("type", "anything"))
