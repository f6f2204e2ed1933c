"""Keyless: a gateway that shows tokens upstream, as processes over sockets, with everybody who hands them out."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sluicegate.sim.azure.tokens import Cloud
from sluicegate.sim.fleet import FleetThread
from tests.keeper.running import KEY, Gateway, config

CHAT = "/openai/deployments/chat/chat/completions?api-version=2024-10-21"
QUICK = {"deployments": {"gpt-4o": {"latency": {"first_token_s": 0.0, "per_token_s": 0.0}, "tokens": [1, 2]}}}
AOAI = "https://cognitiveservices.azure.com"


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud() as cloud:
        yield cloud


@pytest.fixture
def fleet(cloud: Cloud) -> Iterator[FleetThread]:
    """One instance that takes tokens for itself and keys that nobody has."""
    with FleetThread({"a": QUICK}, seed=1) as fleet:
        fleet["a"].instance.bearers = cloud.issuer.takes(AOAI)
        yield fleet


def keyless(folder: Path, fleet: FleetThread, auth: str, workers: int = 1) -> str:
    return config(folder, fleet["a"].origin, workers).replace("{key: '${env:UPSTREAM_KEY}'}", auth)


def machine(cloud: Cloud) -> dict[str, str]:
    """The environment of a virtual machine."""
    return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": cloud["imds"].origin}


class Caller:
    """One kept connection."""

    def __init__(self, gateway: Gateway) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        self.last: dict[str, Any] = {}

    def ask(self, **headers: str) -> int:
        body = json.dumps({"messages": [{"role": "user", "content": "hello"}]})
        self.connection.request("POST", CHAT, body, {"api-key": KEY, "content-type": "application/json", **headers})
        answer = self.connection.getresponse()
        self.last = json.loads(answer.read())
        return answer.status


def ask_many(gateway: Gateway, times: int, callers: int = 4) -> Counter[int]:
    """So many requests, by so many callers at once."""
    statuses: Counter[int] = Counter()

    def some(_: int) -> None:
        caller = Caller(gateway)
        for _ in range(times // callers):
            statuses[caller.ask()] += 1
        caller.connection.close()

    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(some, range(callers)))
    return statuses


def test_E10_a_thousand_calls_over_two_workers_are_one_request_for_a_token(
    cloud: Cloud, fleet: FleetThread, tmp_path: Path
):
    with Gateway(tmp_path, keyless(tmp_path, fleet, "managed_identity", 2), machine(cloud)) as gateway:
        assert ask_many(gateway, 1000) == {200: 1000}
        assert cloud.issuer.asked == {"imds": 1} and not cloud.issuer.wrong
    assert len(cloud.issuer.made) == 1
    text = next(iter(cloud.issuer.made))
    said = "".join(gateway.said)
    assert text not in said and KEY not in said
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert text.encode() not in path.read_bytes(), path
