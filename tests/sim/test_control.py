"""The control API: it shows, changes, breaks and heals a fleet, and says what is wrong with a request."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from sluicegate.sim.fleet import Fleet, FleetThread, PortTaken
from tests.sim.raw import ask, body_of, connect, plain


@pytest.fixture(scope="module")
def shared() -> Iterator[FleetThread]:
    spec = {"instances": {"weu": {"key": "the-key-of-weu"}, "sdc": {}}, "control": 0}
    with FleetThread(spec, keep_bodies=False) as fleet:
        yield fleet


@pytest.fixture
def fleet(shared: FleetThread) -> Iterator[FleetThread]:
    yield shared
    shared.reset()


def control(fleet: FleetThread, method: str, path: str, document: Any = None, **more: Any) -> tuple[int, Any]:
    content = None if document is None else json.dumps(document)
    answer = httpx2.request(method, fleet.control + path, content=content, **more)
    return answer.status_code, answer.json()


def test_the_ledger_holds_what_was_asked_without_secrets(fleet):
    ask(fleet["weu"], body_of(stream=True), "x-stainless-retry-count: 1", "cookie: a=b", "traceparent: 00-x")
    plain(fleet["sdc"])
    status, document = control(fleet, "GET", "/ledger")
    assert status == 200
    first, second = document["entries"]
    assert (first["instance"], first["deployment"], first["status"], first["stream"]) == ("weu", "gpt-4o", 200, True)
    assert first["credentials"] == ["api-key", "cookie"] and first["authorized"] is True
    assert first["stainless"] == {"x-stainless-retry-count": "1"} and first["headers"]["traceparent"] == "00-x"
    assert "the-key-of-weu" not in json.dumps(document)
    assert first["body_sha256"] and first["complete"] and first["ended"] == "done"
    assert first["usage"]["completion"] > 0 and first["usage"]["sent"] is False  # nobody asked for it
    assert second["usage"]["sent"] is True
    after = control(fleet, "GET", f"/ledger?after={first['number']}")[1]["entries"]
    assert [e["number"] for e in after] == [second["number"]]
    assert len(control(fleet, "GET", "/ledger?instance=sdc")[1]["entries"]) == 1
    assert control(fleet, "GET", "/totals")[1]["by_deployment"] == {"sdc/gpt-4o": 1, "weu/gpt-4o": 1}


def test_faults_come_and_go(fleet):
    status, document = control(
        fleet, "POST", "/faults", [{"kind": "status", "times": 1}, {"kind": "throttle", "share": 0}]
    )
    assert status == 200 and len(document["numbers"]) == 2
    assert plain(fleet["weu"])[0] == 500
    listed = control(fleet, "GET", "/faults")[1]["faults"]
    assert {f["kind"]: (f["hits"], f["over"]) for f in listed} == {"status": (1, True), "throttle": (0, False)}
    assert control(fleet, "DELETE", f"/faults?number={document['numbers'][0]}")[1] == {"lifted": 1}
    assert control(fleet, "DELETE", "/faults")[1] == {"lifted": 1}
    assert control(fleet, "GET", "/faults")[1] == {"faults": []}


def test_instances_change_while_they_run(fleet):
    status, document = control(fleet, "PATCH", "/config", {"instances": {"weu": {"mode": "down"}}})
    assert status == 200 and document["instances"]["weu"]["mode"] == "down"
    assert "key" not in document["instances"]["weu"] and document["instances"]["weu"]["port"] == fleet["weu"].port
    with pytest.raises(ConnectionRefusedError):
        connect(fleet["weu"])
    control(fleet, "PATCH", "/config", {"instances": {"weu": {"mode": "up", "deployments": {"new": {"text": "echo"}}}}})
    said = json.loads(ask(fleet["weu"], body_of("hi"), deployment="new")[0].partition(b"\r\n\r\n")[2])
    assert said["choices"][0]["message"]["content"] == "hi"
    assert plain(fleet["weu"])[0] == 200  # the other deployment is still there
    assert control(fleet, "POST", "/reset")[1] == {"reset": True}
    assert ask(fleet["weu"], deployment="new")[0].startswith(b"HTTP/1.1 404")
    assert control(fleet, "GET", "/totals")[1]["requests"] == 1


def test_what_is_wrong_is_said(fleet):
    for method, path, document, status, word in [
        ("POST", "/faults", {"kind": "statuss"}, 400, "none of status"),
        ("POST", "/faults", {"kind": "status", "instance": "mars"}, 400, "mars"),
        ("POST", "/faults", ["status"], 400, "object"),
        ("PATCH", "/config", {"instances": {"mars": {}}}, 400, "mars"),
        ("PATCH", "/config", {"instances": {"weu": {"port": 1}}}, 400, "port"),
        ("PATCH", "/config", {"instances": {"weu": {"mode": "sideways"}}}, 400, "sideways"),
        ("PATCH", "/config", {}, 400, "instances"),
        ("GET", "/nothing", None, 404, "served"),
        ("GET", "/ledger?limit=x", None, 400, "invalid"),
    ]:
        found, said = control(fleet, method, path, document)
        assert found == status and word in json.dumps(said), (path, said)
    assert httpx2.post(fleet.control + "/faults", content=b"{").status_code == 400
    assert control(fleet, "GET", "/")[1]["POST /faults"]


def test_a_bounded_ledger_forgets_the_oldest():
    with FleetThread(1) as fleet:
        fleet.ledger.limit = 20
        for _ in range(25):
            plain(fleet["i1"])
        assert 18 <= len(fleet.ledger) <= 20 and fleet.ledger[-1].number == 25


def test_pages_in_a_browser_are_refused(fleet):
    status, _ = control(fleet, "POST", "/reset", headers={"origin": "https://evil.example"})
    assert status == 403


def test_a_taken_port_is_named():
    with FleetThread(1) as fleet:
        port = fleet["i1"].port
        with pytest.raises(PortTaken, match=rf"instance a: 127.0.0.1:{port} is taken"):
            FleetThread({"a": {"port": port}}).__enter__()
        with pytest.raises(PortTaken, match=rf"the control API: 127.0.0.1:{port} is taken"):
            FleetThread({"instances": {"a": {}}, "control": port}).__enter__()


def test_a_wrong_spec_names_the_place():
    for given, word in [
        ({"weu": {"deployments": {"d": {"tokenz": [1, 2]}}}}, "instances.weu.deployments.d: .*tokenz"),
        ({"weu": {"deployments": {"d": {"tokens": [5, 2]}}}}, "instances.weu.deployments.d.tokens"),
        ({"weu": {"kind": "aws"}}, "instances.weu: .*aws"),
        ({"weu": {"tls": True}}, "instances.weu.tls"),
        ({"instances": {}, "seeed": 1}, "seeed"),
    ]:
        with pytest.raises(ValueError, match=word):
            Fleet(given)
