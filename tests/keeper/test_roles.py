"""Every role at every path of a real gateway, and tenants that see and change their own and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluicegate.core.caller import digest
from sluicegate.core.operators import MAY, ROLES
from sluicegate.keeper.audit import FILE, verify
from sluicegate.sim.fleet import FleetThread
from sluicegate.spec.secret import Digest, write_digest
from tests.keeper.operators import ROUTES, SECRET, ask, chat, sealed
from tests.keeper.running import ENV, KEY, Gateway, config, until

KEYS = {role: f"sga_0000000{n}_{role}" for n, role in enumerate(ROLES)}
RETAIL, HR = "sgk_aaaaaaaa_retail", "sgk_bbbbbbbb_hr"


def text_of(folder: Path, endpoint: str) -> str:
    keys = ", ".join(
        f'{role}: {{role: {role}, key: "{sealed(key, key.split("_")[1])}"'
        + (", tenant: retail}" if role == "tenant_admin" else "}")
        for role, key in KEYS.items()
    )
    people = "".join(
        f"  {name}: {{tenant: {tenant}, models: [chat], "
        f'key: "{write_digest(Digest(key.split("_")[1], digest(key.encode(), SECRET)))}"}}\n'
        for name, tenant, key in (("shop", "retail", RETAIL), ("desk", "hr", HR))
    )
    text = config(folder, endpoint, 1).replace(
        "address: '127.0.0.1:0'}", f"address: '127.0.0.1:0', keys: {{{keys}}}}}", 1
    )
    return text + people + "tenants: {retail: {labels: {cost_centre: 4711}}, hr: {}, default: {}}\n"


@pytest.fixture(scope="module")
def shared(fleet: FleetThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("roles")
    with Gateway(folder, text_of(folder, fleet["a"].origin)) as gateway:
        yield gateway


@pytest.mark.parametrize("role", ROLES)
def test_E14_every_role_at_every_path_is_let_in_as_the_table_says(shared: Gateway, role: str):
    for route in ROUTES.values():
        if route.id in ("restart", "requests_tail") or route.id.startswith("login"):
            continue
        path = route.path.replace("{instance}/{deployment}", "no/such")
        for part in ("{id}", "{name}", "{key}"):
            path = path.replace(part, "none")
        body = b"[]" if route.takes is not None else None  # no body that fits: nothing is changed
        if route.id == "reload" and role in MAY[route.role]:
            continue
        status, _, _ = ask(shared, route.method, path, body, KEYS[role])
        allowed = not route.role or role in MAY[route.role]
        assert (status not in (401, 403)) == allowed, (route.method, path, role, status)


def test_abuse_46_a_data_plane_key_is_no_credential_here_and_no_password_exists(shared: Gateway):
    for route in ROUTES.values():
        if not route.role:
            continue
        path = route.path.replace("{instance}/{deployment}", "no/such")
        for part in ("{id}", "{name}", "{key}"):
            path = path.replace(part, "none")
        for key in (KEY, RETAIL, HR):
            status = ask(shared, route.method, path, None, key)[0]
            assert status in (401, 429), path
            if status == 429:  # it guessed too often: said in its own words, and nothing is told
                return


def test_abuse_47_a_tenants_admin_sees_and_changes_its_own_and_nothing_else(fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, text_of(tmp_path, fleet["a"].origin)) as gateway:
        mine, ops = KEYS["tenant_admin"], KEYS["operator"]
        assert chat(gateway, RETAIL) == chat(gateway, HR) == chat(gateway) == 200
        until(lambda: len(ask(gateway, "GET", "/v1/requests?state=settled", key=ops)[1]["requests"]) == 3)
        every = ask(gateway, "GET", "/v1/requests", key=ops)[1]["requests"]
        seen = ask(gateway, "GET", "/v1/requests", key=mine)[1]["requests"]
        assert [r["tenant"] for r in seen] == ["retail"] and {r["tenant"] for r in every} == {"retail", "hr", "default"}
        for record in every:
            status = ask(gateway, "GET", f"/v1/requests/{record['id']}", key=mine)[0]
            assert status == (200 if record["tenant"] == "retail" else 404)
        for query in ("tenant=hr", "consumer=desk", "consumer=nobody", "tenant=hr&tenant=default"):
            assert ask(gateway, "GET", f"/v1/requests?{query}", key=mine)[:2] == (200, {"requests": []}), query
        for by in ("consumer", "tenant", "model", "day&by=consumer", "tenant&by=consumer", "end_user"):
            found = ask(gateway, "GET", f"/v1/usage?by={by}&since=1h", key=mine)[1]["usage"]
            assert sum(row["requests"] for row in found) == 1, by
            assert "desk" not in json.dumps(found) and "hr" not in json.dumps(found), by
        assert [c["name"] for c in ask(gateway, "GET", "/v1/consumers", key=mine)[1]["consumers"]] == ["shop"]
        assert {k["consumer"] for k in ask(gateway, "GET", "/v1/keys", key=mine)[1]["keys"]} == {"shop"}
        assert ask(gateway, "GET", "/v1/consumers/desk", key=mine)[0] == 404
        assert ask(gateway, "GET", "/v1/keys?consumer=desk", key=mine)[1]["keys"] == []
        status, body, _ = ask(gateway, "POST", "/v1/keys/revoke", {"consumer": "desk", "key": "bbbbbbbb"}, mine)
        assert status == 409 and "desk" not in body["error"]["message"].replace('called "desk"', "")
        assert chat(gateway, HR) == 200

        assert (
            ask(gateway, "POST", "/v1/consumers", {"name": "theirs", "tenant": "hr", "models": ["chat"]}, ops)[0] == 201
        )
        assert ask(gateway, "POST", "/v1/consumers", {"name": "ours", "models": ["chat"]}, mine)[0] == 201
        assert ask(gateway, "GET", "/v1/consumers/ours", key=ops)[1]["tenant"] == "retail"
        there = "/v1/consumers/theirs"
        for method, path, sent in (
            ("GET", there, None), ("PUT", there, {"models": ["chat"]}), ("DELETE", there, None),
            ("POST", f"{there}/keys", {}), ("PATCH", f"{there}/keys/00000000", {"disabled": True}),
            ("DELETE", f"{there}/keys/00000000", None), ("PUT", "/v1/consumers/desk", {"models": ["chat"]}),
            ("DELETE", "/v1/consumers/desk", None),
        ):  # fmt: skip
            status, body, _ = ask(gateway, method, path, sent, mine)
            assert status == 404 and "hr" not in json.dumps(body), (method, path, body)
        status, body, _ = ask(gateway, "POST", "/v1/consumers", {"name": "theirs", "models": ["chat"]}, mine)
        assert status == 409 and "hr" not in json.dumps(body)
        for fields in ({"tenant": "hr"}, {"tenant": "default"}, {"match": {"azp": "x"}}, {"each": "azp"}):
            sent = {"name": "more", "models": ["chat"], **fields}
            assert ask(gateway, "POST", "/v1/consumers", sent, mine)[0] == 400, fields
            assert ask(gateway, "PUT", "/v1/consumers/ours", {"models": ["chat"], **fields}, mine)[0] == 400, fields
        for labels, status in (({"cost_centre": "0815"}, 400), ({"cost_centre": 4711, "team": "x"}, 200)):
            sent = {"models": ["chat"], "labels": labels}
            assert ask(gateway, "PUT", "/v1/consumers/ours", sent, mine)[0] == status, "who pays is not theirs to say"
        sent = {"name": "more", "models": ["chat"], "labels": {"cost_centre": "0815"}}
        status, body, _ = ask(gateway, "POST", "/v1/consumers", sent, mine)
        assert status == 400 and body["error"]["problems"][0]["pointer"] == "/labels/cost_centre"
        sent = {"models": ["chat"], "tenant": "retail", "labels": {"cost_centre": "0815"}}
        assert ask(gateway, "PUT", "/v1/consumers/ours", sent, ops)[0] == 200, "an operator may"
        for path in ("/v1/status", "/v1/config", "/v1/audit", "/v1/pools", "/v1/requests/tail", "/v1/live"):
            assert ask(gateway, "GET", path, key=mine)[0] == 403, path


def test_who_audits_reads_every_change_of_the_configuration_in_words(fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, text_of(tmp_path, fleet["a"].origin)) as gateway:
        text = gateway.file.read_text()
        gateway.file.write_text(text.replace("models: [chat]", "limits: [60k tokens/minute], models: [chat]", 1))
        gateway.event("config.adopted")
        gateway.file.write_text(text.replace("models: [chat]", "modles: [chat]", 1))
        gateway.event("config.refused")
        gateway.file.write_text(text)
        gateway.event("config.adopted")
        assert ask(gateway, "POST", "/v1/reload", key=KEYS["operator"])[0] == 200
        assert ask(gateway, "POST", "/v1/reload", key=KEYS["viewer"])[0] == 403
        found: list[dict[str, Any]] = []
        while True:
            after = found[-1]["seq"] if found else 0
            page = ask(gateway, "GET", f"/v1/audit?after={after}&most=2", key=KEYS["auditor"])[1]
            found += page["entries"]
            if not page["more"]:
                break
        begun = [e for e in found if e["what"] == "config" and e["outcome"] == "begun"]
        assert begun[0]["changes"][0]["what"] == "limits: 60k tokens/minute added"
        assert begun[0]["who"] == {"name": "its files"} and begun[0]["after"] != begun[0]["before"]
        refused = [e for e in found if e["what"] == "config" and e["outcome"] == "refused"]
        assert "did you mean" in refused[0]["error"]
        reload = [e for e in found if e["what"] == "reload"]
        assert [e["outcome"] for e in reload] == ["begun", "done"] and reload[0]["who"]["name"] == "operator"
        denied = [e for e in found if e["what"] == "admin.denied"]
        assert denied[-1]["who"] == {"name": "viewer"} and denied[-1]["status"] == 403
        state = ask(gateway, "GET", "/v1/audit/verify", key=KEYS["auditor"])[1]
        assert state["whole"] and state["seq"] >= found[-1]["seq"]
        path = tmp_path / "data" / FILE
        lines = path.read_bytes().splitlines(keepends=True)
        assert verify(lines)[1] == [] and not any(v in path.read_text() for v in (*ENV.values(), *KEYS.values()))
        path.write_bytes(b"".join(lines[:1] + lines[2:]))
        state = ask(gateway, "GET", "/v1/audit/verify", key=KEYS["auditor"])[1]
        assert not state["whole"] and state["flaws"][0]["line"] == 2


def test_what_cannot_be_written_down_is_not_done(fleet: FleetThread, tmp_path: Path):
    """A disk that is full: the log is one that refuses every byte."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / FILE).symlink_to("/dev/full")
    with Gateway(tmp_path, text_of(tmp_path, fleet["a"].origin)) as gateway:
        sent = {"name": "more", "models": ["chat"]}
        for method, path, body in (
            ("POST", "/v1/consumers", sent), ("POST", "/v1/deployments/weu/gpt-4o/drain", None),
            ("POST", "/v1/keys/revoke", {"consumer": "shop", "key": "aaaaaaaa"}), ("POST", "/v1/restart", None),
        ):  # fmt: skip
            status, found, _ = ask(gateway, method, path, body, KEYS["operator"])
            assert status == 503 and "cannot be written down" in found["error"]["message"], path
        assert gateway.event("alert")["kind"] == "audit.failing"
        assert ask(gateway, "GET", "/v1/consumers/more", key=KEYS["operator"])[0] == 404
        before = ask(gateway, "GET", "/v1/status", key=KEYS["viewer"])[1]["config"]
        gateway.file.write_text(gateway.file.read_text().replace("models: [chat]", "models: all", 1))
        gateway.event("config.refused")
        assert ask(gateway, "GET", "/v1/status", key=KEYS["viewer"])[1]["config"] == before
        assert chat(gateway, RETAIL) == 200
