"""Rules through keeper and workers, over real sockets: who a token is decides what it may use, and what is counted."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.abuse.outside import CHAT, Upstream
from tests.identity.provider import CLIENT, TENANT, URI, Provider
from tests.keeper.running import ENV, ROOT, Gateway, until

CONFIG = """\
version: 1
gateway:
  data: {folder}/data
  drain: 2s
  workers: 2
  admin: {{address: '127.0.0.1:0'}}
  secrets: ["${{env:SECRET}}"]
  listen: {{address: '127.0.0.1:0'}}
issuers:
  contoso: {{kind: entra, tenant_id: {tenant}, authority: '{provider}', audience: ['{uri}', {client}]}}
instances:
  one: {{endpoint: '{one}', auth: none, deployments: {{gpt-4o: {{model: gpt-4o, version: 2024-11-20}}}}}}
  two: {{endpoint: '{two}', auth: none, deployments: {{gpt-4o: {{model: gpt-4o, version: 2024-11-20}}}}}}
models:
  chat: {{use: [one/gpt-4o]}}
  chat-two: {{use: [two/gpt-4o]}}
tenants: {{red: {{}}, blue: {{}}}}
consumers:
  my-app: {{key: "${{env:APP_KEY}}", models: [chat]}}
  fixed: {{tenant: red, match: {{issuer: contoso, azp: app-1}}, models: [chat], end_user: claim:oid}}
  shared: {{tenant: red, match: {{issuer: contoso, roles: [batch]}}, models: [chat-two]}}
  also: {{tenant: red, match: {{issuer: contoso, groups: [g]}}, models: [chat-two]}}
  family:
    tenant: blue
    match: issuer == "contoso" && "llm" in scp && !(azp in ["blocked-1"])
    each: azp
    models: [chat]
    limits: [1000 requests/minute, {{requests: 2, per: hour}}]
"""


@pytest.fixture
def upstreams() -> Iterator[tuple[Upstream, Upstream]]:
    with Upstream() as one, Upstream() as two:
        yield one, two


def ask(port: int, token: str, model: str = "chat") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        body = CHAT.replace(b'"chat"', f'"{model}"'.encode())
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("POST", "/openai/v1/chat/completions", body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("x-sluicegate-reason") or ""
    finally:
        connection.close()


def models(port: int, token: str) -> list[str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/openai/v1/models", headers={"api-key": token})
        return [m["id"] for m in json.loads(connection.getresponse().read())["data"]]
    finally:
        connection.close()


def told(folder: Path, *words: str, fails: bool = False) -> Any:
    """What a verb says, as JSON."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sluicegate.main", *words, "--data", str(folder / "data"), "--json"], cwd=folder,
        env={**ENV, "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == (1 if fails else 0), done.stderr + done.stdout
    return json.loads(done.stdout)


def test_E5_a_token_is_who_its_rule_says_in_grants_limits_records_and_after_a_reload(
    tmp_path: Path, upstreams: tuple[Upstream, Upstream]
):
    one, two = upstreams
    with Provider() as entra:

        def token(**claims: Any) -> str:
            plain = {"roles": None, "azp": None, "oid": "user-1", **claims}
            return entra.signer.entra(entra.url, 2, **plain)

        text = CONFIG.format(
            folder=tmp_path, tenant=TENANT, provider=entra.url, uri=URI, client=CLIENT,
            one=f"http://127.0.0.1:{one.port}", two=f"http://127.0.0.1:{two.port}",
        )  # fmt: skip
        with Gateway(tmp_path, text) as gateway:
            port = gateway.port
            fixed, shared = token(azp="app-1", roles=["batch"]), token(roles=["batch"])
            assert ask(port, fixed) == (200, "")
            assert ask(port, shared, "chat-two") == (200, "")
            assert (len(one.requests), len(two.requests)) == (1, 1), "each has a deployment of its own"
            for who, model in ((fixed, "chat-two"), (shared, "chat"), (shared, "nothing")):
                assert ask(port, who, model) == (404, "route.model")
            assert (models(port, fixed), models(port, shared)) == (["chat"], ["chat-two"])
            assert ask(port, token(roles=["batch"], groups=["g"])) == (403, "identity.ambiguous")
            assert ask(port, token()) == (403, "identity.unmatched")
            assert ask(port, token(azp="blocked-1", scp="llm")) == (403, "identity.unmatched")

            for app in ("a", "b"):  # two an hour for each member, over both workers
                member = token(azp=app, scp="x llm")
                assert [ask(port, member)[0] for _ in range(3)] == [200, 200, 429]
            assert ask(port, token(azp="a", scp="llm", oid="user-2"))[0] == 429, "another token of the same member"

            records = until(lambda: (r := told(tmp_path, "requests", "--last", "50")) and len(r) >= 6 and r)
            full = [told(tmp_path, "requests", r["id"]) for r in records]
            by = {r["consumer"]: r for r in full}
            assert by["fixed"]["context"]["end_user"] == "user-1"
            assert by["fixed"]["trail"][:2] == ["credential: token of contoso", "match: rank 1: consumers.fixed"]
            assert by["shared"]["trail"][1] == "match: rank 2: consumers.shared"
            assert by["family"]["trail"][1] == "match: rank 3: consumers.family"
            assert {r["context"]["labels"]["member"] for r in full if r["consumer"] == "family"} == {"a", "b"}

            used = told(tmp_path, "usage", "--by", "consumer", "--by", "member")["usage"]
            assert {(u["consumer"], u["member"]): u["requests"] for u in used} == {
                ("fixed", ""): 1, ("shared", ""): 1, ("family", "a"): 2, ("family", "b"): 2,
            }  # fmt: skip

            asked = ["--claims", '{"azp": "app-1", "azpacr": "1"}', "--issuer", "contoso"]
            match = told(tmp_path, "explain", *asked)["match"]
            assert (match["consumer"], match["rank"]) == ("fixed", 1)
            assert match["rules"] == [{"consumer": "fixed", "rank": 1, "rule": "{issuer: contoso, azp: app-1}"}]
            both = told(tmp_path, "explain", *asked, "--model", "chat")
            assert both["match"]["consumer"] == both["workers"][0]["consumer"] == "fixed"
            assert both["workers"][0]["outcome"]["deployment"] == "one/gpt-4o"
            assert told(tmp_path, "explain", "--as", "family:a", "--model", "chat", fails=True)["workers"][0]["limits"]

            gateway.file.write_text(text.replace("azp: app-1", "azp: app-2"))
            gateway.hang_up_until("config.adopted")
            assert ask(port, fixed, "chat-two") == (200, ""), "rank 2 decides now"
            assert ask(port, token(azp="app-2", roles=["batch"])) == (200, "")
            gateway.file.write_text(text.replace("azp: app-1", "azp: app-1, azp: app-2"))
            assert gateway.hang_up_until("config.refused")
            assert ask(port, fixed, "chat-two") == (200, ""), "what does not load changes nothing"
