"""The scenarios of the guidance once more over real sockets, at a smaller scale: the real worker, simulated instances.

Their figures are judged in virtual time (test_scenarios.py); here, that the same happens on the wire.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Auth, Deployment, Instance, Model, Snapshot
from sluicegate.sim.fleet import FleetThread
from tests.gateway import KEY, GatewayThread, snapshot

PAIR: dict[str, Any] = {
    "ptu": {"deployments": {"p": {
        "sku": "ProvisionedManaged", "tokens": [5, 5], "capacity": {"ptu_tokens_per_minute": 60_000, "bucket_s": 0.5},
    }}},
    "std": {"deployments": {"s": {"tokens": [5, 5]}}},
}  # fmt: skip
THREE: dict[str, Any] = {name: {"deployments": {"d": {"tokens": [5, 5]}}} for name in ("a", "b", "c")}


def fitting(fleet: FleetThread) -> Snapshot:
    """A configuration for the fleet as it listens: by tier, then in its order."""
    instances: list[Instance] = []
    deployments: list[Deployment] = []
    for number, served in enumerate(fleet):
        instances.append(
            Instance(
                number,
                served.name,
                "azure_openai",
                "http",
                "127.0.0.1",
                served.port,
                "",
                Auth("key", Secret(served.key)),
            )
        )
        for name, spec in served.instance.spec.deployments.items():
            tier = 0 if spec.sku == "ProvisionedManaged" else 1
            deployments.append(Deployment(len(deployments), name, number, spec.model, spec.version, spec.sku, tier))
    order = tuple(d.number for d in sorted(deployments, key=lambda d: d.tier))
    plain = snapshot(instances)
    model = Model(1, "chat", order, ("chat_completions",))
    return Snapshot(plain.hash, plain.gateway, tuple(instances), tuple(deployments), (model,))


def ask(http: httpx2.Client, gateway: GatewayThread, content: str = "hi", **fields: Any) -> httpx2.Response:
    return http.post(
        f"{gateway.url}/openai/deployments/chat/chat/completions?api-version=2024-10-21",
        headers={"api-key": KEY},
        json={"messages": [{"role": "user", "content": content}], **fields},
    )


def test_S01_a_spike_bursts_to_standard_and_comes_home():
    with FleetThread(PAIR) as fleet, GatewayThread(fitting(fleet)) as gateway, httpx2.Client() as http:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda n: ask(http, gateway, max_tokens=30), range(80)))
        assert {answer.status_code for answer in answers} == {200}
        served = [e for e in fleet.ledger if e.status == 200]
        refused = [e for e in fleet.ledger if e.status == 429]
        assert len(served) == 80 and {e.instance for e in served} == {"ptu", "std"}
        assert refused and {e.instance for e in refused} == {"ptu"}
        for _ in range(10_000):  # as soon as it takes something again, and it will
            assert ask(http, gateway, max_tokens=30).status_code == 200
            if fleet.ledger[-1].instance == "ptu":
                break
        assert fleet.ledger[-1].status == 200 and fleet.ledger[-1].instance == "ptu"


def test_S02_a_dead_instance_and_a_revoked_credential_are_not_seen_by_clients():
    with FleetThread(THREE) as fleet, GatewayThread(fitting(fleet)) as gateway, httpx2.Client() as http:
        assert ask(http, gateway).status_code == 200
        fleet.mode("a", "down")
        fleet.fault("status", shape="wrong_key", status=401, instance="b")
        answers = [ask(http, gateway) for _ in range(5)]
        assert {answer.status_code for answer in answers} == {200}
        assert len([e for e in fleet.ledger.of("c") if e.status == 200]) == 5


def test_S03_all_throttled_is_a_429_with_the_soonest_time():
    with FleetThread(THREE) as fleet, GatewayThread(fitting(fleet)) as gateway, httpx2.Client() as http:
        for name, wait_s in (("a", 40.0), ("b", 9.0), ("c", 25.0)):
            fleet.fault("throttle", instance=name, wait_s=wait_s)
        refused = ask(http, gateway)
        assert refused.status_code == 429 and refused.headers["x-should-retry"] == "true"
        assert refused.headers["retry-after"] == "9" and 8000 < int(refused.headers["retry-after-ms"]) <= 9000
        assert refused.json()["error"]["reason"] == "pool.throttled"
        fleet.lift()


@pytest.mark.parametrize("at", ["inside_json", "before_finish"])
def test_S08_a_stream_that_breaks_does_not_look_complete(at: str):
    with FleetThread(THREE) as fleet, GatewayThread(fitting(fleet)) as gateway, httpx2.Client() as http:
        fleet.fault("cut", at=at)
        answer = ask(http, gateway, "[sim:tokens=30]", stream=True)
        events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        assert answer.status_code == 200 and "[DONE]" not in events
        assert "error" in json.loads(events[-1])
        assert len(fleet.ledger) == 1, "no second attempt: bytes had left"
