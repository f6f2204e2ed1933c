"""What tests of the management API share: operators with keys, a gateway that knows them, and how it is asked."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from sluicegate.core.caller import digest
from sluicegate.core.operators import operator_digest
from sluicegate.core.secret import Secret
from sluicegate.main import Live, program
from sluicegate.spec.secret import ADMIN_PREFIX, Digest, write_digest
from tests.keeper.running import ENV, KEY, Gateway, config

SECRET = Secret(ENV["SECRET"])
OPS, EYE = "sga_00000001_operator", "sga_00000002_viewer"
ROTATED = "sgk_5f2a9c10_second-key-of-my-app"
SMALL = {"deployments": {"gpt-4o": {"latency": {"first_token_s": 0.01, "per_token_s": 0.001}}}}
ROUTES = {route.id: route for route in Live()._routes()}


def sealed(key: str, id: str) -> str:
    return write_digest(Digest(id, operator_digest(key.encode(), SECRET)), ADMIN_PREFIX)


def text_of(folder: Path, endpoint: str, workers: int = 2) -> str:
    keys = (
        f'{{ops: {{role: operator, key: "{sealed(OPS, "00000001")}"}}, '
        f'eye: {{role: viewer, key: "{sealed(EYE, "00000002")}"}}}}'
    )
    second = write_digest(Digest("5f2a9c10", digest(ROTATED.encode(), SECRET)))
    return (
        config(folder, endpoint, workers)
        .replace("admin: {address: '127.0.0.1:0'}", f"admin: {{address: '127.0.0.1:0', keys: {keys}}}")
        .replace('key: "${env:APP_KEY}", models', f'keys: ["${{env:APP_KEY}}", "{second}"], models')
    )


def ask(
    gateway: Gateway, method: str, path: str, body: Any = None, key: str | None = OPS, **headers: str
) -> tuple[int, Any, dict[str, str]]:
    """Status, body (read, where it is JSON), headers. `body`: as it is, where it is bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.admin, timeout=20)
    try:
        sent = {} if key is None else {"authorization": f"Bearer {key}"}
        raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        connection.request(method, path, raw, {**sent, **{k.replace("_", "-"): v for k, v in headers.items()}})
        answer = connection.getresponse()
        said = answer.read()
        json_ = answer.headers["content-type"] == "application/json"
        return answer.status, json.loads(said) if json_ else said, dict(answer.headers)
    finally:
        connection.close()


def chat(gateway: Gateway, key: str = KEY, stream: bool = False) -> int:
    """Over a connection of its own, so that the kernel chooses a worker."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    try:
        body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 5, "stream": stream}
        path = "/openai/deployments/chat/chat/completions?api-version=2024-10-21"
        connection.request("POST", path, json.dumps(body), {"api-key": key, "content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def everywhere(gateway: Gateway, key: str, status: int) -> bool:
    """On both workers: the kernel chooses one for each connection."""
    return {chat(gateway, key) for _ in range(16)} == {status}


def run(*args: str, env: dict[str, str] | None = None, input: str | None = None) -> Result:
    return CliRunner().invoke(program, args, env=env, input=input, catch_exceptions=False)
