"""Consumers and keys that are made while a real gateway with two workers runs: in force on both within a second, kept
across restarts, written down before they are; and what is not allowed changes nothing."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sluicegate.keeper.audit import FILE, Head, verify
from sluicegate.sim.fleet import FleetThread
from tests.keeper.operators import OPS, ask, chat, everywhere, text_of
from tests.keeper.running import KEY, Gateway, until

APP = {"name": "web-shop", "models": ["chat"], "labels": {"team": "shop"}}


@pytest.fixture(scope="module")
def shared(fleet: FleetThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("people")
    with Gateway(folder, text_of(folder, fleet["a"].origin)) as gateway:
        yield gateway


@pytest.fixture
def own(fleet: FleetThread, tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path, text_of(tmp_path, fleet["a"].origin)) as gateway:
        yield gateway


def made(gateway: Gateway, name: str, **fields: Any) -> str:
    """A consumer with a key."""
    status, body, _ = ask(gateway, "POST", "/v1/consumers", {**APP, "name": name, **fields})
    assert status == 201, body
    status, body, _ = ask(gateway, "POST", f"/v1/consumers/{name}/keys", {})
    assert status == 201, body
    return str(body["text"])


def log(gateway: Gateway) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (gateway.folder / "data" / FILE).read_text().splitlines()]


def test_E14_a_consumer_that_is_made_gets_in_on_all_workers_within_a_second_until_it_is_removed(own: Gateway):
    key = made(own, "web-shop")
    began = time.monotonic()
    assert everywhere(own, key, 200) and everywhere(own, KEY, 200)
    status, body, headers = ask(own, "GET", "/v1/consumers/web-shop")
    assert status == 200 and body["origin"] == "api" and headers["etag"] == '"2"'
    assert body["grant"]["models"] == "[chat]" and body["fields"]["labels"] == {"team": "shop"}
    assert ask(own, "GET", "/v1/consumers/my-app")[1]["origin"] == "file"
    assert time.monotonic() - began < 15
    assert ask(own, "DELETE", "/v1/consumers/web-shop")[0] == 200
    assert everywhere(own, key, 401) and everywhere(own, KEY, 200)
    assert ask(own, "GET", "/v1/consumers/web-shop")[0] == 404


def test_who_is_made_under_the_name_of_somebody_who_was_removed_is_somebody_else(own: Gateway):
    """Usage, limits and what is stored belong to a number: the new one starts with nothing, the old one keeps its
    own, also after a reload. One that a file has is the same as before, however often it goes and comes."""
    first = made(own, "web-shop", limits=["1 requests/hour"])
    assert chat(own, first) == 200 and chat(own, first) == 429
    assert ask(own, "DELETE", "/v1/consumers/web-shop")[0] == 200
    second = made(own, "web-shop", limits=["1 requests/hour"])
    assert chat(own, second) == 200, "its limit is another one"
    assert chat(own, second) == 429

    def used() -> dict[str, int]:
        told = ask(own, "GET", "/v1/usage?by=consumer")[1]["usage"]
        return {u["consumer"]: u["requests"] for u in told}

    number = next(line.split()[1] for line in numbers(own) if line.endswith(" web-shop"))
    [old] = [line.split()[1] for line in numbers(own) if " web-shop~" in line]
    assert int(old) < int(number)
    until(lambda: used() == {"web-shop": 1, f"web-shop~{old}": 1})
    own.hang_up_until("config.adopted")
    assert chat(own, second) == 429 and used() == {"web-shop": 1, f"web-shop~{old}": 1}
    found = ask(own, "GET", f"/v1/requests?consumer=web-shop~{old}")[1]["requests"]
    assert [r["consumer"] for r in found] == [f"web-shop~{old}"]
    text = own.file.read_text()
    own.file.write_text(text.replace("  my-app:", "  my-apps:"))
    own.hang_up_until("config.adopted")
    own.file.write_text(text)
    own.hang_up_until("config.adopted")
    assert not any("my-app~" in line for line in numbers(own))


def test_a_worker_that_starts_right_after_changes_knows_all_of_them(own: Gateway):
    """What workers start with is made when it is needed: a hundred thousand are not packed for each change of one."""
    first = made(own, "web-shop")
    [one, other] = own.workers
    second = made(own, "batch")
    os.kill(one, signal.SIGKILL)
    assert ask(own, "DELETE", "/v1/consumers/web-shop")[0] == 200
    own.event("worker.ready")
    os.kill(other, signal.SIGKILL)
    third = made(own, "third")
    own.event("worker.ready")
    for key, status in ((first, 401), (second, 200), (third, 200), (KEY, 200)):
        assert everywhere(own, key, status)
    own.tell(signal.SIGUSR2)
    own.event("restarted")
    for key, status in ((first, 401), (second, 200), (third, 200), (KEY, 200)):
        assert everywhere(own, key, status)


def test_a_key_ends_when_its_time_is_up_whatever_is_changed_in_that_moment(own: Gateway):
    """Of many consumers the one that changed is looked at alone: another's key that ended since must not be taken for
    one that workers have forgotten."""
    ends, other = made(own, "ends"), made(own, "other")
    end = int(time.time()) + 3
    soon = datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    called = ends.split("_")[1]
    assert ask(own, "PATCH", f"/v1/consumers/ends/keys/{called}", {"expires": soon})[0] == 200
    assert everywhere(own, ends, 200) or time.time() >= end
    until(lambda: time.time() > end - 0.2)
    n = 0
    while time.time() < end + 1.2:  # one falls between the end and the next look at what ended
        n += 1
        assert ask(own, "PUT", "/v1/consumers/other", {"models": ["chat"], "labels": {"n": str(n)}})[0] == 200
    until(lambda: everywhere(own, ends, 401))
    assert everywhere(own, other, 200) and everywhere(own, KEY, 200)


def numbers(gateway: Gateway) -> list[str]:
    return (gateway.folder / "data" / "numbers").read_text().splitlines()


def test_what_was_made_is_there_after_a_restart_and_after_a_reload(fleet: FleetThread, tmp_path: Path):
    text = text_of(tmp_path, fleet["a"].origin)
    with Gateway(tmp_path, text) as gateway:
        key = made(gateway, "web-shop")
        before = ask(gateway, "GET", "/v1/consumers/web-shop")[1]
        gateway.hang_up_until("config.adopted")
        assert everywhere(gateway, key, 200)
        gateway.end()
    with Gateway(tmp_path, text) as gateway:
        assert everywhere(gateway, key, 200)
        assert ask(gateway, "GET", "/v1/consumers/web-shop")[1] == before
        head, flaws = verify((tmp_path / "data" / FILE).read_bytes().splitlines(keepends=True))
        assert flaws == [] and head.seq >= 4
    assert not [p for p in (tmp_path / "data").rglob("*") if p.is_file() and key.encode() in p.read_bytes()]


def test_a_worker_that_dies_comes_back_with_them(own: Gateway):
    key = made(own, "web-shop")
    os.kill(own.workers[0], signal.SIGKILL)
    own.event("worker.ready")
    assert everywhere(own, key, 200)


def test_one_name_belongs_to_one_of_file_and_api(own: Gateway):
    status, body, _ = ask(own, "POST", "/v1/consumers", {**APP, "name": "my-app"})
    assert status == 409 and "in a file" in body["error"]["message"]
    made(own, "web-shop")
    status, body, _ = ask(own, "POST", "/v1/consumers", APP)
    assert status == 409 and "management API" in body["error"]["message"]
    for method, path in (("PUT", "/v1/consumers/my-app"), ("DELETE", "/v1/consumers/my-app"),
                         ("POST", "/v1/consumers/my-app/keys")):  # fmt: skip
        status, body, _ = ask(own, method, path, {"models": ["chat"]} if method == "PUT" else {})
        assert status == 409 and "in a file" in body["error"]["message"], path
    text = own.file.read_text()
    own.file.write_text(text + '  web-shop: {key: "${env:APP_KEY}", models: [chat]}\n')
    own.event("config.refused")
    until(lambda: any("was made through the management API, too (by ops" in line for line in own.said))
    own.file.write_text(text)


def test_abuse_48_fields_are_judged_as_those_of_a_file_and_errors_point_at_them(shared: Gateway):
    cases: list[tuple[Any, str, str]] = [
        ({"models": ["chta"]}, "/models/0", "did you mean"),
        ({"models": ["chat"], "limits": ["60k tokens/minute", "20 bananas"]}, "/limits/1", ""),
        ({"models": ["chat"], "plan": "gold"}, "/plan", "no plan is called"),
        ({"models": ["chat"], "modles": ["chat"]}, "/modles", "unknown key"),
        ({"models": ["chat"], "role": "operator"}, "/role", "unknown key"),
        ({"models": ["chat"], "is_admin": True}, "/is_admin", "unknown key"),
        ({"models": ["chat"], "tenant_id": "x"}, "/tenant_id", "unknown key"),
        ({"models": ["chat"], "key": "${env:SECRET}"}, "/key", "no place here"),
        ({"models": ["chat"], "keys": ["sgk1:00000000:AAAAAAAAAAAAAAAAAAAAAA"]}, "/keys", "no place here"),
        ({"models": ["chat"], "labels": {"a": "${file:/etc/passwd}"}}, "/labels/a", "is a reference"),
        ({"models": ["chat"], "disabled": "yes"}, "/disabled", "truth"),
        ({"models": []}, "/models", "empty"),
        ({}, "", "says nothing"),
        ({"models": ["chat"], "name": "Web Shop"}, "/name", "not a name"),
        ({"models": ["chat"], "name": 7}, "/name", "missing"),
    ]
    for body, pointer, what in cases:
        status, found, _ = ask(shared, "POST", "/v1/consumers", {"name": "x", **body})
        assert status == 400, (body, found)
        assert pointer in [p["pointer"] for p in found["error"]["problems"]], (body, found)
        assert what in json.dumps(found), (body, found)
    for raw in (
        b"",
        b"[]",
        b'{"name":"x","models":["chat"],"models":["chat"]}',
        b"{",
        b"\xff",
        b'{"a":NaN}',
        b"[" * 5000,
    ):
        assert ask(shared, "POST", "/v1/consumers", raw)[0] == 400, raw
    assert [c["name"] for c in ask(shared, "GET", "/v1/consumers")[1]["consumers"]] == ["my-app"]


def test_any_name_that_is_one_can_be_met(own: Gateway):
    for name in ("export", "keys", "a.b_c-d", "0"):
        assert ask(own, "POST", "/v1/consumers", {**APP, "name": name})[0] == 201
        assert ask(own, "GET", f"/v1/consumers/{name}")[1]["name"] == name
        assert ask(own, "DELETE", f"/v1/consumers/{name}")[0] == 200


def test_whoever_looked_at_another_version_changes_nothing(own: Gateway):
    status, _, headers = ask(own, "POST", "/v1/consumers", APP)
    assert status == 201 and headers["etag"] == '"1"'
    path = "/v1/consumers/web-shop"
    assert ask(own, "PUT", path, {"models": "all"}, if_match='"1"')[2]["etag"] == '"2"'
    for method in ("PUT", "DELETE"):
        status, body, _ = ask(own, method, path, {"models": ["chat"]}, if_match='"1"')
        assert status == 412 and "version 2" in body["error"]["message"]
    assert ask(own, "GET", path)[1]["fields"] == {"models": "all"}
    for wrong in ("1", '"x"', '"0"', 'W/"2"'):
        assert ask(own, "PUT", path, {"models": ["chat"]}, if_match=wrong)[0] == 412
    assert ask(own, "DELETE", path, if_match='"2"')[0] == 200


def test_E3_two_keys_one_rests_one_is_removed_one_expires(own: Gateway):
    first = made(own, "web-shop")
    where = "/v1/consumers/web-shop/keys"
    status, body, _ = ask(own, "POST", where, {})
    second = body["text"]
    assert status == 201 and everywhere(own, first, 200) and everywhere(own, second, 200)
    assert ask(own, "POST", where, {})[0] == 409
    name = first.split("_")[1]
    assert ask(own, "PATCH", f"{where}/{name}", {"disabled": True})[1]["disabled"] is True
    assert everywhere(own, first, 401) and everywhere(own, second, 200)
    status, third, _ = ask(own, "POST", where, {})
    assert status == 201
    assert ask(own, "PATCH", f"{where}/{name}", {"disabled": False})[0] == 409, "that would be three"
    assert ask(own, "DELETE", f"{where}/{third['key']}")[0] == 200
    assert everywhere(own, third["text"], 401)
    assert ask(own, "PATCH", f"{where}/{name}", {"disabled": False})[0] == 200
    assert everywhere(own, first, 200)
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6))
    assert ask(own, "PATCH", f"{where}/{name}", {"expires": soon})[1]["expires"] == soon
    assert chat(own, first) == 200
    until(lambda: everywhere(own, first, 401), 20)
    assert everywhere(own, second, 200)
    assert ask(own, "PATCH", f"{where}/{name}", {"expires": ""})[0] == 200
    assert everywhere(own, first, 200)
    for wrong in ({"expires": "tomorrow"}, {"expires": "2020-01-01"}, {"expires": 7}, {"role": "x"}):
        assert ask(own, "POST", where, wrong)[0] == 400, wrong
    assert ask(own, "PATCH", f"{where}/00000000", {"disabled": True})[0] == 404
    assert ask(own, "PUT", "/v1/consumers/web-shop", {"models": ["chat"], "disabled": True})[0] == 200
    assert everywhere(own, first, 401) and everywhere(own, second, 401)
    listed = ask(own, "GET", "/v1/consumers")[1]["consumers"]
    assert [(c["name"], c["disabled"]) for c in listed] == [("my-app", False), ("web-shop", True)]
    page = ask(own, "GET", "/v1/consumers?most=1")[1]
    assert page["more"] and [c["name"] for c in page["consumers"]] == ["my-app"]
    assert [c["name"] for c in ask(own, "GET", "/v1/consumers?after=my-app")[1]["consumers"]] == ["web-shop"]
    assert ask(own, "PUT", "/v1/consumers/web-shop", {"models": ["chat"]})[0] == 200
    assert everywhere(own, first, 200)


def test_every_change_is_in_the_audit_log_with_before_and_after_and_no_key(own: Gateway):
    key = made(own, "web-shop")
    ask(own, "PUT", "/v1/consumers/web-shop", {"models": "all"})
    ask(own, "DELETE", "/v1/consumers/web-shop")
    ask(own, "POST", "/v1/consumers", {"name": "x", "models": ["none"]})
    found = log(own)
    begun = [e for e in found if e.get("outcome") == "begun"]
    assert [e["what"] for e in begun] == ["consumer_new", "key_new", "consumer_set", "consumer_delete"]
    assert begun[0]["who"] == {"name": "ops", "role": "operator", "kind": "key"} and begun[0]["from"] == "127.0.0.1"
    assert begun[0]["before"] is None and begun[0]["after"]["fields"] == {
        "labels": {"team": "shop"},
        "models": ["chat"],
    }
    assert begun[2]["before"]["fields"]["models"] == ["chat"] and begun[2]["after"]["fields"]["models"] == "all"
    assert begun[3]["after"] is None and begun[3]["before"]["keys"][0]["key"] == key.split("_")[1]
    for entry in begun:
        (end,) = [e for e in found if e.get("of") == entry["seq"]]
        assert end["outcome"] == "done"
    assert found[-1]["outcome"] == "refused" and found[-1]["status"] == 400
    assert key not in json.dumps(found) and OPS not in json.dumps(found)
    head, flaws = verify((own.folder / "data" / FILE).read_bytes().splitlines(keepends=True))
    assert flaws == [] and isinstance(head, Head)


def test_an_end_of_long_ago_is_no_key_for_ever(own: Gateway):
    key = made(own, "web-shop")
    where = "/v1/consumers/web-shop/keys"
    for at in ("1970-01-01", "1970-01-01T00:00:00Z", "1960-05-05"):
        status, body, _ = ask(own, "POST", where, {"expires": at})
        assert status == 400 and "is over already" in body["error"]["message"], body
    assert ask(own, "POST", where, {"expires": "9999-12-31T23:59:59-14:00"})[0] == 400, "a year that cannot be shown"
    assert ask(own, "GET", "/v1/directory")[0] == 200 == ask(own, "GET", "/v1/consumers/web-shop")[0]
    assert ask(own, "PATCH", f"{where}/{key.split('_')[1]}", {"expires": "1970-01-01"})[0] == 200
    until(lambda: everywhere(own, key, 401), 20)
    assert ask(own, "GET", "/v1/consumers/web-shop")[1]["keys"][0]["expires"] == "1970-01-01T00:00:01Z"


def test_what_is_no_text_too_deep_or_out_of_range_is_said_to_be_so(shared: Gateway):
    for body in (
        b'{"name": "\\ud800", "models": ["chat"]}', b'{"name": "x", "\\ud800": ["chat"]}',
        b'{"name": "x", "labels": ' + b'{"a":' * 700 + b"1" + b"}" * 700 + b"}",
        b'{"name": "x", "models": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ):  # fmt: skip
        status, found, _ = ask(shared, "POST", "/v1/consumers", body)
        assert status == 400 and "does not fit" in found["error"]["message"], found
    for path in ("/v1/usage?until=9999-12-31T23:59:59", "/v1/requests?status=99999999999999999999",
                 "/v1/requests?consumer=%23999999999999999999999999"):  # fmt: skip
        assert ask(shared, "GET", path)[0] == 400, path


def test_another_gateway_data_in_the_file_shuts_out_nobody_while_the_gateway_runs(own: Gateway):
    key = made(own, "web-shop")
    text = own.file.read_text()
    own.file.write_text(text.replace("/data\n", "/elsewhere\n", 1))
    own.event("config.refused")
    assert any("gateway.data changed" in line for line in own.said)
    assert everywhere(own, key, 200) and everywhere(own, KEY, 200)
    own.file.write_text(text)
    own.hang_up_until("config.adopted")
    assert everywhere(own, key, 200)
