"""Health, and leaving: readiness goes first, what is running ends, nothing is reset."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator

import pytest

from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Auth
from sluicegate.sim.fleet import FleetThread
from tests.gateway import KEY, GatewayThread, instance, snapshot

CHAT = "/openai/deployments/chat/chat/completions?api-version=2024-10-21"
HEADERS = {"api-key": KEY, "content-type": "application/json"}
STREAMED = json.dumps({"messages": [{"role": "user", "content": "slowly"}], "stream": True, "max_tokens": 30})


@pytest.fixture
def gateway() -> Iterator[GatewayThread]:
    given = {"i0": {"deployments": {"gpt-4o-0": {"latency": {"per_token_s": 0.02}}}}}
    with FleetThread(given, seed=3) as fleet:
        served = fleet["i0"]
        with GatewayThread(snapshot([instance(0, served.port, auth=Auth("key", Secret(served.key)))])) as gateway:
            yield gateway


def get(gateway: GatewayThread, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_liveness_and_readiness_need_no_credential_and_say_states_only(gateway: GatewayThread) -> None:
    assert get(gateway, "/health/live") == (200, b'{"status":"live"}')
    assert get(gateway, "/health/ready") == (200, b'{"status":"ready","config":"0123456789ab"}')
    assert get(gateway, "/health/ready", "HEAD") == (200, b"")
    assert get(gateway, "/health/live", "POST")[0] == 404
    assert get(gateway, "/health")[0] == 404


def test_draining_ends_readiness_at_once_and_lets_a_stream_end(gateway: GatewayThread) -> None:
    gateway.still_listen_s = 0.4
    stream = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    stream.request("POST", CHAT, STREAMED, HEADERS)
    answer = stream.getresponse()
    assert answer.status == 200
    assert answer.readline().startswith(b"data: ")

    stopping = threading.Thread(target=gateway.stop)
    gateway.call(lambda: None)
    stopping.start()
    while not gateway.call(lambda: gateway.worker.server.draining):
        pass
    assert get(gateway, "/health/ready") == (503, b'{"status":"draining"}')
    assert get(gateway, "/health/live")[0] == 200

    rest = answer.read()
    stream.close()
    answer.close()
    assert rest.endswith(b"data: [DONE]\n\n")
    assert b'"error"' not in rest
    stopping.join(20)
    assert not stopping.is_alive()
    assert gateway.totals["settled"] == 1
    assert gateway.totals["interrupted"] == gateway.totals["open"] == 0


def test_what_does_not_end_in_time_is_cut_with_a_frame(gateway: GatewayThread) -> None:
    object.__setattr__(gateway.snapshot.gateway, "drain_s", 0.2)
    stream = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    stream.request("POST", CHAT, STREAMED.replace("30", "2000"), HEADERS)
    answer = stream.getresponse()
    assert answer.readline().startswith(b"data: ")
    stopping = threading.Thread(target=gateway.stop)
    stopping.start()
    rest = answer.read()
    stream.close()
    answer.close()
    assert b'"reason":"stream.drained"' in rest
    assert b"[DONE]" not in rest
    stopping.join(20)
    assert gateway.totals["interrupted"] == 1
