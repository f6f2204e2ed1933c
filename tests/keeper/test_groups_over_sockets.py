"""Groups that tokens leave to the directory, through keeper and worker, over real sockets."""

import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.abuse.outside import CHAT, Upstream
from tests.identity.graph import Graph
from tests.identity.provider import CLIENT, TENANT, URI, Provider
from tests.keeper.running import KEY, Gateway
from tests.keeper.test_tokens import ask

GROUP = "77770000-0000-4000-8000-000000000001"
PERSON = "33330000-0000-4000-8000-00000000000a"
OTHER = "33330000-0000-4000-8000-00000000000b"
ELSEWHERE = {
    "_claim_names": {"groups": "src1"},
    "_claim_sources": {"src1": {"endpoint": "http://127.0.0.1:1/never/getMemberObjects"}},
}
CONFIG = """\
version: 1
gateway:
  data: {folder}/data
  drain: 2s
  workers: {workers}
  admin: {{address: '127.0.0.1:0'}}
  secrets: ["${{env:SECRET}}"]
  listen: {{address: '127.0.0.1:0'}}
issuers:
  contoso:
    kind: entra
    tenant_id: {tenant}
    authority: '{provider}'
    audience: ['{uri}', {client}]
    groups_overage: resolve
    groups_by: {{client_id: {client}, tenant_id: {tenant}, client_secret: '${{env:UPSTREAM_KEY}}', authority: '{graph}'}}
    graph: '{graph}'
instances:
  weu: {{endpoint: '{endpoint}', auth: {{key: '${{env:UPSTREAM_KEY}}'}}, deployments: {{gpt-4o: {{model: gpt-4o, version: 2024-11-20}}}}}}
models:
  chat: {{use: gpt-4o@2024-11-20}}
consumers:
  my-app: {{key: "${{env:APP_KEY}}", models: [chat]}}
  analysts: {{match: {{issuer: contoso, groups: [{group}]}}, models: [chat]}}
"""


def many(n: int, *more: str) -> list[str]:
    return [f"88880000-0000-4000-8000-{i:012d}" for i in range(n)] + list(more)


class Ground:
    def __init__(self, folder: Path, upstream: Upstream, provider: Provider, graph: Graph) -> None:
        self.folder, self.upstream, self.provider, self.graph = folder, upstream, provider, graph

    def gateway(self, workers: int = 1) -> Gateway:
        text = CONFIG.format(
            folder=self.folder, workers=workers, tenant=TENANT, provider=self.provider.url, uri=URI, client=CLIENT,
            graph=self.graph.url, group=GROUP, endpoint=f"http://127.0.0.1:{self.upstream.port}",
        )  # fmt: skip
        return Gateway(self.folder, text)

    def token(self, oid: str = PERSON, **claims: Any) -> str:
        return self.provider.signer.entra(self.provider.url, oid=oid, **{**ELSEWHERE, **claims})


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with Upstream() as upstream, Provider() as provider, Graph() as graph:
        yield Ground(tmp_path, upstream, provider, graph)


def timed(port: int, token: str) -> tuple[int, str, float]:
    began = time.monotonic()
    return *ask(port, token), time.monotonic() - began


def test_the_first_request_waits_for_the_directory_and_the_next_ask_nobody(ground: Ground):
    ground.graph.groups[PERSON] = many(10_999, GROUP)
    ground.graph.groups[OTHER] = many(300)
    with ground.gateway() as gateway:
        token = ground.token()
        assert ask(gateway.port, token) == (200, "")
        for _ in range(5):
            assert ask(gateway.port, token) == (200, "")
        assert ask(gateway.port, ground.token(hasgroups=True, _claim_names=None)) == (200, ""), "another token of hers"
        assert ask(gateway.port, ground.token(OTHER)) == (403, "identity.unmatched")
        where = [f"/v1.0/users/{oid}/getMemberObjects" for oid in (PERSON, OTHER)]
        assert ground.graph.asked == where
        assert set(ground.graph.shown) == {"Bearer of-the-directory"} and ground.graph.tokens == 1
        assert ground.graph.sent[0] == {"securityEnabledOnly": False}
        said = "\n".join(gateway.said)
        assert PERSON not in said and GROUP not in said and "of-the-directory" not in said


def test_an_application_is_asked_for_as_one_and_workers_share_what_the_keeper_knows(ground: Ground):
    ground.graph.groups[PERSON] = many(250, GROUP)
    with ground.gateway(workers=2) as gateway, ThreadPoolExecutor(20) as callers:
        token = ground.token(idtyp="app")
        got = list(callers.map(lambda _: ask(gateway.port, token), range(60)))
        assert set(got) == {(200, "")}
        assert ground.graph.asked == [f"/v1.0/servicePrincipals/{PERSON}/getMemberObjects"]


def test_a_directory_that_hangs_is_a_503_in_time_and_holds_up_nobody_else(ground: Ground):
    ground.graph.mode = "hang"
    ground.graph.groups[PERSON] = many(250, GROUP)
    with ground.gateway() as gateway, ThreadPoolExecutor(4) as callers:
        waiting = callers.submit(timed, gateway.port, ground.token())
        slowest = 0.0
        while not waiting.done():
            began = time.monotonic()
            assert ask(gateway.port, KEY) == (200, "")
            slowest = max(slowest, time.monotonic() - began)
        status, reason, took = waiting.result()
        assert (status, reason) == (503, "credential.groups_unavailable") and took < 6
        assert slowest < 1.0
        status, reason, took = timed(gateway.port, ground.token(OTHER))
        assert (status, reason) == (503, "credential.groups_unavailable") and took < 1, "it is left alone now"
        assert any('"issuer.groups"' in line for line in gateway.said)
        ground.graph.recover()
        end = time.monotonic() + 15
        while ask(gateway.port, ground.token())[0] != 200:
            assert time.monotonic() < end


@pytest.mark.parametrize("mode", ["forbidden", "garbage", "huge", "throttled", "down", "unauthorised"])
def test_a_directory_that_fails_lets_in_nobody_and_says_when_to_come_again(mode: str, ground: Ground):
    ground.graph.mode = mode
    ground.graph.groups[PERSON] = many(250, GROUP)
    with ground.gateway() as gateway:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        headers = {"Authorization": f"Bearer {ground.token()}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", CHAT, headers)
        answer = connection.getresponse()
        said = json.loads(answer.read())
        connection.close()
        assert answer.status == 503 and said["error"]["reason"] == "credential.groups_unavailable"
        assert answer.headers["x-should-retry"] == "true" and int(answer.headers["retry-after"]) >= 1
        assert "nobody may know" not in json.dumps(said) and "nobody may know" not in "\n".join(gateway.said)
        for _ in range(20):
            assert ask(gateway.port, ground.token())[0] == 503
        assert len(ground.graph.asked) <= 3, "it is left alone"
        assert ask(gateway.port, KEY) == (200, "")


@pytest.mark.parametrize(("mode", "groups"), [("well", None), ("more", []), ("well", many(11_001, GROUP))])
def test_whom_the_directory_does_not_know_or_cannot_name_all_groups_of_is_refused(
    mode: str, groups: list[str] | None, ground: Ground
):
    ground.graph.mode = mode
    if groups is not None:
        ground.graph.groups[PERSON] = groups
    with ground.gateway() as gateway:
        for _ in range(3):
            assert ask(gateway.port, ground.token()) == (401, "credential.token")
        assert len(ground.graph.asked) == 1


def test_models_are_listed_to_who_comes_again(ground: Ground):
    ground.graph.groups[PERSON] = many(250, GROUP)
    with ground.gateway() as gateway:
        token = ground.token()
        end = time.monotonic() + 10
        seen = []
        while not seen or seen[-1] != 200:
            assert time.monotonic() < end, seen
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
            connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {token}"})
            seen.append(connection.getresponse().status)
            connection.close()
        assert set(seen[:-1]) <= {503}
        assert len(ground.graph.asked) == 1
