"""Health, and leaving: readiness goes first, what is running ends, nothing is reset."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.breaker import BreakerSpec, ThrottleSpec
from sluicegate.core.pool import Member
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Auth, Model
from sluicegate.core.state import World
from sluicegate.edge.health import REST_S, Health, ready_at
from sluicegate.sim.fleet import FleetThread
from sluicegate.stores.memory.journal import Journal
from tests.gateway import KEY, GatewayThread, directory, instance, snapshot

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


def test_a_router_and_a_consumer_ask_for_more(gateway: GatewayThread) -> None:
    for path in ("/health/region", "/status-0123456789abcdef", "/health/region?model=chat"):
        assert get(gateway, path) == (200, b'{"status":"up"}')
    assert get(gateway, "/health/region", "HEAD") == (200, b"")

    def model(name: str, key: str) -> tuple[int, dict[str, object]]:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        connection.request("GET", f"/health/models/{name}", headers={"api-key": key} if key else {})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        connection.close()
        return answer.status, body

    assert model("chat", KEY) == (
        200,
        {"state": "available", "available": 1, "total": 1, "deployments": [{"tier": 1, "available": True}]},
    )
    for name, key, status, reason in (
        ("chat", "", 401, "credential.missing"),
        ("chat", "somebody-else", 401, "credential.unknown"),
        ("other", KEY, 404, "route.model"),
        ("%63hat", KEY, 200, None),
    ):
        found, body = model(name, key)
        assert found == status
        assert reason is None or body["error"]["reason"] == reason  # type: ignore[index]


class Asked:
    """A request that keeps its answer."""

    def __init__(self, url: bytes) -> None:
        self.url, self.method, self.status, self.body = url, "GET", 0, b""

    def head(self, status: int, headers: bytes, length: int) -> None:
        self.status = status

    def data(self, chunk: bytes) -> None:
        self.body += chunk

    def end(self) -> None:
        pass


class Region:
    """Health over two models whose deployments come and go by hand; time by hand."""

    def __init__(self, real: bool = False) -> None:
        self.clock = 1000.0
        self.shut: dict[int, float] = {}
        instances = [instance(n, 1) for n in (1, 2, 3)]
        made = snapshot(instances)
        models = (Model(1, "chat", (1, 2), ("chat_completions",)), Model(2, "embed", (3,), ("chat_completions",)))
        self.world = World(replace(made, models=models), directory(("chat", "embed")), Journal())
        bound = SimpleNamespace(world=self.world)
        server = SimpleNamespace(bound=bound, draining=False, replaced=False, now=lambda: self.clock, config_hash="h")
        self.server = server
        self.said: list[tuple[str, ...]] = []
        self.world.alarms = self
        shut = ready_at if real else lambda m, now: max(now, self.shut.get(m.deployment.number, now))
        self.health = Health(server, shut)  # type: ignore[arg-type]

    def raised(self, kind: str, subject: str, detail: str) -> None:
        self.said.append((kind, subject, detail))

    def over(self, kind: str, subject: str) -> None:
        self.said.append((kind, subject))

    def barred(self, deployment: str, detail: str) -> None:
        raise AssertionError

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock += 1.0
            self.health.look(self.clock)

    def get(self, url: bytes) -> tuple[int, bytes]:
        asked = Asked(url)
        assert self.health.answer(asked, url.partition(b"?")[0])  # type: ignore[arg-type]
        return asked.status, asked.body


def test_a_region_is_down_when_nothing_could_be_served_for_ten_seconds_and_up_when_it_could_for_ten() -> None:
    region = Region()
    region.pass_time(1)
    region.shut = {1: 2000.0, 2: 2000.0, 3: 2000.0}
    region.pass_time(10)
    assert region.get(b"/health/region") == (200, b'{"status":"up"}')
    region.pass_time(1)
    assert region.get(b"/health/region") == (503, b'{"status":"down","for_s":10}')
    assert region.get(b"/status-0123456789abcdef")[0] == 503
    del region.shut[2]
    region.pass_time(10)
    assert region.get(b"/health/region")[0] == 503
    region.pass_time(1)
    assert region.get(b"/health/region")[0] == 200
    assert region.get(b"/health/region?model=chat")[0] == 200
    assert region.get(b"/health/region?model=embed") == (503, b'{"status":"down"}')
    assert region.get(b"/health/region?model=embed&model=chat")[0] == 200
    assert region.get(b"/health/region?model=made-up") == (503, b'{"status":"down"}'), "as one that is down"


def fail(member: Member, now: float) -> None:
    """A client's request goes in, if one may, and fails at once."""
    if member.door.ready(now, 0)[0] <= now:
        ticket = member.door.enter(now, 1)
        member.door.failed(ticket, now, now, "connect.refused", BreakerSpec())
        member.door.leave(ticket, now, 1, now)


def test_a_region_whose_deployments_all_fail_is_down_though_each_is_looked_at_again_and_again() -> None:
    """One look every three seconds was taken for health: routers sent everybody to a region that answered nobody."""
    region = Region(real=True)
    members = list(region.world.members.values())
    for _ in range(5):
        for member in members:
            fail(member, region.clock)
    for _ in range(20):
        region.pass_time(1)
        for member in members:
            fail(member, region.clock)
    assert region.get(b"/health/region")[0] == 503
    chat = region.world.routes.all()[0]
    assert json.loads(region.health.detail(chat, region.clock))["state"] == "unavailable"
    # Its routers left: nobody tries any more. After a while it is worth a try, or it would be gone for good.
    region.pass_time(int(REST_S))
    assert region.get(b"/health/region")[0] == 503
    region.pass_time(12)
    assert region.get(b"/health/region")[0] == 200
    for member in members:  # nobody mended it
        fail(member, region.clock)
    region.pass_time(11)
    assert region.get(b"/health/region")[0] == 503
    # One member that answers is enough, and its breaker is closed by the answer.
    door = members[0].door
    region.pass_time(3)
    ticket = door.enter(region.clock, 1)
    door.answered(ticket, region.clock, region.clock, BreakerSpec())
    region.pass_time(11)
    assert region.get(b"/health/region")[0] == 200


def test_a_model_that_nobody_can_serve_is_an_alert_until_somebody_can() -> None:
    region = Region(real=True)
    one, two, three = region.world.members.values()
    for _ in range(5):
        fail(one, region.clock)
    ticket = two.door.enter(region.clock, 1)
    two.door.throttled(ticket, region.clock, region.clock, "throttled.rate", 60.0, 1, BreakerSpec(), ThrottleSpec())
    region.pass_time(10)
    assert region.said == []
    region.pass_time(2)
    assert region.said[0] == (
        "model.down",
        "chat",
        "nobody could serve it for 10 s: broken (connect.refused) 1, throttled 1",
    )
    assert {said[:2] for said in region.said} == {("model.down", "chat")}, "the other model is well"
    region.said.clear()
    region.pass_time(62)
    assert region.said[-1] == ("model.down", "chat")
    assert len([said for said in region.said if len(said) == 2]) == 1
    assert three.door.clear


def test_a_model_that_is_gone_from_the_configuration_is_no_alert_any_more() -> None:
    region = Region()
    region.shut = {3: 9999.0}
    region.pass_time(12)
    assert ("model.down", "embed") in [said[:2] for said in region.said]
    made = region.world.snapshot
    region.world.adopt(replace(made, models=made.models[:1]), directory(("chat",)))
    region.said.clear()
    region.pass_time(1)
    assert region.said == [("model.down", "embed")]


@given(st.lists(st.booleans(), min_size=1, max_size=120))
def test_a_region_never_changes_its_mind_within_ten_seconds(able: list[bool]) -> None:
    region = Region()
    said = [True]
    for each in able:
        region.shut = {} if each else dict.fromkeys((1, 2, 3), 10_000.0)
        region.pass_time(1)
        said.append(region.get(b"/health/region")[0] == 200)
    changes = [n for n in range(1, len(said)) if said[n] != said[n - 1]]
    assert all(b - a >= 10 for a, b in zip(changes, changes[1:], strict=False))
    for n in changes:  # and only after ten seconds of the contrary
        assert all(each is said[n] for each in able[max(0, n - 11) : n])


def test_one_model_in_detail_says_states_and_times_and_no_names() -> None:
    region = Region()
    region.shut = {1: 1004.0}
    assert json.loads(region.health.detail(region.world.routes.all()[0], region.clock)) == {
        "state": "degraded", "available": 1, "total": 2, "next_recovery_s": 4.0,
        "deployments": [{"tier": 1, "available": False, "ready_in_s": 4.0}, {"tier": 1, "available": True}],
    }  # fmt: skip
    region.shut = {1: 1004.0, 2: 1002.5}
    found = json.loads(region.health.detail(region.world.routes.all()[0], region.clock))
    assert (found["state"], found["available"], found["next_recovery_s"]) == ("unavailable", 0, 2.5)


def test_a_region_that_leaves_says_so_and_one_whose_worker_is_replaced_does_not() -> None:
    region = Region()
    region.pass_time(1)
    region.server.draining = True
    for path in (b"/health/ready", b"/health/region"):
        assert region.get(path) == (503, b'{"status":"draining"}')
    assert region.get(b"/health/live")[0] == 200
    region.server.replaced = True
    assert region.get(b"/health/ready")[0] == region.get(b"/health/region")[0] == 200


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
