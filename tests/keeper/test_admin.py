"""The management API of a real gateway with two workers: keys and roles by TCP, what it answers, keys revoked, other
configurations put in force, requests seen as they end, and the command line that does all this from elsewhere."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluicegate.core.caller import digest
from sluicegate.sim.fleet import FleetThread
from tests.keeper.operators import EYE, OPS, ROTATED, ROUTES, SECRET, ask, chat, run, text_of
from tests.keeper.running import ENV, KEY, ROOT, Gateway, config, until


@pytest.fixture(scope="module")
def shared(fleet: FleetThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """For tests that change nothing for good."""
    folder = tmp_path_factory.mktemp("admin")
    with Gateway(folder, text_of(folder, fleet["a"].origin)) as gateway:
        yield gateway


@pytest.fixture
def own(fleet: FleetThread, tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path, text_of(tmp_path, fleet["a"].origin)) as gateway:
        yield gateway


# ---------------------------------------------------------------- who may come in


def test_E14_roles_decide_by_tcp_what_somebody_may(shared: Gateway):
    say = shared.said
    for route in ROUTES.values():
        path = route.path.replace("{instance}/{deployment}", "no/such").replace("{id}", "abc")
        path = path.replace("{name}", "none").replace("{key}", "none")
        if route.id in ("reload", "restart", "requests_tail", "config_apply") or route.id.startswith("login"):
            continue  # tests/keeper/test_login.py
        open_ = route.role == ""
        assert ask(shared, route.method, path, key=None)[0] == (200 if open_ else 401), path
        for key in (KEY, ROTATED, ENV["SECRET"], "x"):
            if not open_:
                break
            assert ask(shared, route.method, path, key=key)[0] == 200
        viewer = ask(shared, route.method, path, key=EYE)[0]
        assert (viewer == 403) == (route.role in ("operator", "people", "audit")), path
        assert (ask(shared, route.method, path, key=OPS)[0] in (401, 403)) == (route.role == "audit"), path
    for key in (KEY, ROTATED):
        status, body, _ = ask(shared, "GET", "/v1/status", key=key)
        assert status == 401 and "Keys of consumers are none" in body["error"]["message"]
    for path in ("/v1/reload", "/v1/restart", "/v1/config/apply"):
        assert ask(shared, "POST", path, key=EYE)[0] == 403
    assert ask(shared, "GET", "/v1/status", host="evil.example")[0] == 421
    assert not [line for line in say if OPS in line or EYE in line or KEY in line]


def test_wrong_keys_and_roles_that_do_not_suffice_are_written_down(own: Gateway):
    assert ask(own, "GET", "/v1/status", key="sga_guess")[0] == 401
    line = own.event("admin.denied")
    assert (line["peer"], line["what"], line["status"]) == ("127.0.0.1", "GET /v1/status", 401) and "who" not in line
    assert ask(own, "POST", "/v1/reload", key=EYE)[0] == 403
    line = own.event("admin.denied")
    assert (line["who"], line["what"], line["status"]) == ("eye", "POST /v1/reload", 403)
    assert ask(own, "GET", "/v1/status", key=None)[0] == 401
    for _ in range(9):
        assert ask(own, "GET", "/v1/status", key="sga_guess")[0] == 401
    assert ask(own, "GET", "/v1/status")[0] == 429
    assert not any("sga_" in line for line in own.said)


def test_an_address_that_others_reach_opens_when_somebody_has_a_key_and_metrics_need_one_there(
    fleet: FleetThread, tmp_path: Path
):
    text = text_of(tmp_path, fleet["a"].origin, 1).replace(
        "admin: {address: '127.0.0.1:0'", "admin: {address: '0.0.0.0:0'"
    )
    before = config(tmp_path, fleet["a"].origin, 1).replace(
        "admin: {address: '127.0.0.1:0'", "admin: {address: '0.0.0.0:0'"
    )
    gateway = Gateway(tmp_path, before)
    try:
        line = gateway.event("admin.unavailable")
        assert "nobody has a key" in line["error"]
        gateway.file.write_text(text)
        gateway.admin = gateway.event("admin.ready")["port"]
        assert ask(gateway, "GET", "/metrics", key=None)[0] == 401
        assert ask(gateway, "GET", "/metrics", key=KEY)[0] == 401
        assert b"sluicegate_info" in ask(gateway, "GET", "/metrics", key=EYE)[1]
        assert ask(gateway, "GET", "/health", key=None)[0] == 200
    finally:
        gateway.__exit__()


def test_an_operators_key_opens_no_model(shared: Gateway):
    assert chat(shared, OPS) == 401


def test_what_is_answered_is_what_is_published(shared: Gateway):
    assert chat(shared) == 200
    until(lambda: ask(shared, "GET", "/v1/requests?state=settled")[1]["requests"])
    question = {
        "consumer": "my-app", "api": "chat_completions", "path_model": "chat", "size": 100, "model": None,
        "stream": False, "max_output": None, "n": 1, "estimate": 100, "media": 0, "chance": 0.5, "fields": {},
        "key": "", "drained": {}, "rests": {}, "form": False, "repeatable": True,
    }  # fmt: skip
    files = {"files": [{"name": "gateway.yaml", "text": shared.file.read_text()}]}
    bodies = {"explain": question, "config_check": files, "config_diff": files,
              "key_revoke": {"consumer": "my-app", "key": "nothing"}}  # fmt: skip
    for route in ROUTES.values():
        if route.id in ("requests_tail", "reload", "restart", "config_apply", "key_revoke", "request"):
            continue
        if route.role in ("audit", "people") or route.id.startswith("login"):
            continue  # tests/keeper/test_people.py, test_login.py
        path = route.path.replace("{instance}/{deployment}", "weu/gpt-4o").replace("{name}", "my-app")
        status, body, _ = ask(shared, route.method, path, body=bodies.get(route.id))
        assert status == 200, "".join(shared.said[-3:])
        if route.answers not in (None, dict):
            assert msgspec.to_builtins(msgspec.convert(body, route.answers, strict=True)) == body, path
    ask(shared, "POST", "/v1/deployments/weu/gpt-4o/undrain")
    (newest,) = ask(shared, "GET", "/v1/requests?last=1")[1]["requests"]
    assert ask(shared, "GET", f"/v1/requests/{newest['id']}")[1] == newest
    assert ask(shared, "GET", "/v1/requests?consumer=nobody")[0] == 400
    assert ask(shared, "GET", "/v1/usage?by=colour")[0] == 400
    assert ask(shared, "GET", "/v1/usage?since=tomorrow")[0] == 400
    (sums,) = ask(shared, "GET", "/v1/usage?by=consumer&by=day&since=1h")[1]["usage"]
    assert sums["consumer"] == "my-app" and sums["tokens"]["input"] > 0
    said = json.dumps([ask(shared, "GET", f"/v1/{p}")[1] for p in ("config", "configuration", "consumers", "keys")])
    for secret in (*ENV.values(), ROTATED, OPS):
        assert secret not in said and secret[:12] not in said


def test_no_body_and_no_query_breaks_it(shared: Gateway):
    """Bytes of any kind where JSON, names and numbers are expected: never a 500, never silence."""
    bodies = [b"", b"null", b"[]", b"{", b'{"files": 1}', b'{"files": []}', b'{"files": [{"name": "..", "text": ""}]}',
              b'{"files": [{"name": "a", "text": "version: 1"}]}', b'{"files": [{"name": "a", "text": "\\ud800"}]}',
              b'{"consumer": 1}', b'{"consumer": "\\u0000"}', b"\xff", b"[" * 5000, b'{"a": ' * 900, b'"' + b"x" * 9000,
              b'{"consumer": "my-app", "key": "zz"}', b'{"base": "/", "files": [{"name": "a", "text": ""}]}']  # fmt: skip
    queries = ["", "?", "?after=%00", "?most=0", "?most=99999", "?most=x", "?last=-1", "?by=%ff", "?status=a", "?x=1",
               "?" + "by=day&" * 200, "?since=9999999d", "?until=0001-01-01", "?consumer=%F0%9F%92%A9"]  # fmt: skip
    for route in ROUTES.values():
        if route.id in ("requests_tail", "reload", "restart", "config_apply"):
            continue
        path = route.path.replace("{instance}/{deployment}", "a'b/c").replace("{id}", "'; --")
        path = path.replace("{name}", "'x").replace("{key}", "%00")
        path = path.replace("'", "%27").replace(" ", "%20").replace(";", "%3b")
        for query in queries if route.method == "GET" else [""]:
            status, _, _ = ask(shared, route.method, path + query)
            assert status in (200, 400, 404, 409) or route.role == "audit", (path, query, status)
        if route.takes is not None:
            for body in bodies:
                with socket.create_connection(("127.0.0.1", shared.admin), 20) as s:
                    head = f"{route.method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {OPS}\r\n"
                    s.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
                    answer = b"".join(iter(lambda: s.recv(65536), b""))
                assert answer[9:12] in (b"200", b"400", b"403", b"404", b"409"), (path, body, answer)
    assert ask(shared, "GET", "/v1/status")[0] == 200


# ---------------------------------------------------------------- keys revoked


def test_E3_a_revoked_key_is_refused_by_all_workers_within_a_second_and_across_restarts(own: Gateway):
    assert [chat(own, key) for key in (KEY, ROTATED) * 4] == [200] * 8
    (first, second) = ask(own, "GET", "/v1/keys")[1]["keys"]
    assert {first["key"], second["key"]} == {"5f2a9c10", digest(KEY.encode(), SECRET)[:4].hex()}
    began = time.monotonic()
    status, told, _ = ask(own, "POST", "/v1/keys/revoke", body={"consumer": "my-app", "key": "5f2a9c10"})
    assert (status, told["silent"], told["kept"]) == (200, [], True)
    assert time.monotonic() - began < 1.0
    assert [chat(own, ROTATED) for _ in range(12)] == [401] * 12, "whichever worker the kernel chooses"
    assert [chat(own) for _ in range(4)] == [200] * 4, "the other key of the same consumer"
    line = own.event("key.revoked")
    assert (line["by"], line["key"], line["consumer"]) == ("ops", "5f2a9c10", "my-app")
    line = own.event("admin.change")
    assert (line["who"], line["role"], line["what"], line["status"]) == ("ops", "operator", "key_revoke", 200)

    assert ask(own, "POST", "/v1/reload")[0] == 200  # the file still declares it
    assert [chat(own, ROTATED) for _ in range(6)] == [401] * 6
    for pid in own.workers:  # those that start later are told before they are asked
        os.kill(pid, signal.SIGKILL)
        assert chat(own, ROTATED) == 401
    until(lambda: len(own.workers) == 2)
    assert [chat(own, ROTATED) for _ in range(6)] == [401] * 6
    own.end()
    with Gateway(own.folder, own.file.read_text()) as again:
        assert [chat(again, ROTATED) for _ in range(6)] == [401] * 6 and chat(again) == 200
        keys = {k["key"]: k["revoked"] for k in ask(again, "GET", "/v1/keys")[1]["keys"]}
        assert sorted(keys.values()) == [False, True] and keys["5f2a9c10"]
        (consumer,) = ask(again, "GET", "/v1/consumers")[1]["consumers"]
        assert "5f2a9c10" not in consumer["keys"] and len(consumer["keys"]) == 1
        status, told, _ = ask(again, "POST", "/v1/keys/revoke", body={"consumer": "my-ap", "key": "5f2a9c10"})
        assert status == 409 and 'did you mean "my-app"' in told["error"]["message"]


def test_a_key_stays_revoked_when_the_installations_secret_rotates(fleet: FleetThread, tmp_path: Path):
    """Its digest is another one under the new secret; the old one is still accepted, so it is known."""
    text = text_of(tmp_path, fleet["a"].origin, 1)
    with Gateway(tmp_path, text, env={"NEW": "n" * 64}) as gateway:
        name = digest(KEY.encode(), SECRET)[:4].hex()
        assert ask(gateway, "POST", "/v1/keys/revoke", body={"consumer": "my-app", "key": name})[0] == 200
        assert chat(gateway) == 401 and chat(gateway, ROTATED) == 200
        gateway.file.write_text(text.replace('["${env:SECRET}"]', '["${env:NEW}", "${env:SECRET}"]'))
        gateway.hang_up_until("config.adopted")
        assert chat(gateway, ROTATED) == 200 and chat(gateway) == 401


def test_a_damaged_list_of_revoked_keys_lets_nobody_in(fleet: FleetThread, tmp_path: Path):
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "revoked.json").write_text('[{"digest": "zz"}]')
    gateway = Gateway(tmp_path, text_of(tmp_path, fleet["a"].origin))
    try:
        assert gateway.process.wait(20) == 1
        until(lambda: any("revoked.json is damaged" in line for line in gateway.said))
    finally:
        gateway.__exit__()


# ---------------------------------------------------------------- another configuration


def test_what_is_applied_is_in_force_on_all_workers_until_the_own_files_are_loaded_again(own: Gateway):
    text = own.file.read_text()
    other = text.replace("models:\n  chat:", "models:\n  talk:").replace("models: [chat]", "models: [talk]")
    files = [{"name": "other.yaml", "text": other}]
    before = ask(own, "GET", "/v1/config")[1]
    assert before["source"]["kind"] == "files" and before["source"]["files"] == ["gateway.yaml"]
    status, diff, _ = ask(own, "POST", "/v1/config/diff", body={"files": files})
    assert (
        status == 200 and diff["valid"] and "models.talk: added" in diff["words"] and diff["before"] == before["config"]
    )
    assert ask(own, "GET", "/v1/config")[1]["config"] == before["config"], "nothing changed by looking"
    stale = {"files": files, "expect": "0" * 12}
    status, done, _ = ask(own, "POST", "/v1/config/apply", body=stale)
    assert (status, done["state"]) == (409, "refused") and "look at the changes again" in done["report"]
    status, done, _ = ask(own, "POST", "/v1/config/apply", body={"files": files, "expect": diff["before"]})
    assert (status, done["state"], done["config"]) == (200, "adopted", diff["after"])
    assert [chat(own) for _ in range(8)] == [404] * 8, "no worker knows the old name"
    told = ask(own, "GET", "/v1/status")[1]
    assert told["source"]["kind"] == "applied" and told["source"]["by"] == "ops"
    assert {w["config"] for w in told["workers"]} == {done["config"]}
    assert ask(own, "POST", "/v1/reload")[0] == 200
    assert [chat(own) for _ in range(4)] == [200] * 4
    assert ask(own, "GET", "/v1/status")[1]["source"]["kind"] == "files"

    broken = [{"name": "other.yaml", "text": other.replace("gpt-4o@2024", "gtp-4o@2024")}]
    status, done, _ = ask(own, "POST", "/v1/config/apply", body={"files": broken})
    assert (status, done["state"]) == (409, "refused") and "other.yaml:" in done["report"]
    status, checked, _ = ask(own, "POST", "/v1/config/check", body={"files": broken})
    assert status == 200 and not checked["valid"] and checked["problems"][0]["severity"] == "error"
    assert [chat(own) for _ in range(4)] == [200] * 4
    status, refused, _ = ask(own, "POST", "/v1/config/apply", body={"files": files, "base": "/"})
    assert status == 403 and "base is for the owner" in refused["error"]["message"]


def test_an_operator_that_is_taken_out_of_the_configuration_is_out(own: Gateway):
    assert ask(own, "GET", "/v1/status", key=EYE)[0] == 200
    own.file.write_text(own.file.read_text().replace("eye: {role: viewer", "other: {role: operator"))
    assert ask(own, "POST", "/v1/reload")[0] == 200
    assert ask(own, "POST", "/v1/restart", key=EYE)[0] == 200, "by another name and role now"
    line = own.event("admin.change")
    while line["what"] != "restart":
        line = own.event("admin.change")
    assert line["who"] == "other"


# ---------------------------------------------------------------- requests as they end


def test_a_tail_shows_requests_as_they_end_refused_ones_too(shared: Gateway):
    connection = http.client.HTTPConnection("127.0.0.1", shared.admin, timeout=20)
    connection.request("GET", "/v1/requests/tail", headers={"authorization": f"Bearer {EYE}"})
    answer = connection.getresponse()
    assert answer.headers["content-type"] == "text/event-stream" and answer.headers["cache-control"] == "no-store"
    assert answer.readline().startswith(b": ")
    seen: list[dict[str, Any]] = []

    def read() -> None:
        while len(seen) < 2 and (line := answer.readline()):
            if line.startswith(b"data: "):
                seen.append(json.loads(line[6:]))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    until(lambda: chat(shared) == 200 and seen)
    until(lambda: len(seen) > 1 or chat(shared, "wrong-key-0000000000001") != 401)
    reader.join(20)
    connection.close()
    assert (
        seen[0]["status"] == 200
        and seen[0]["consumer"] == "my-app"
        and seen[0]["attempts"][0]["deployment"] == "weu/gpt-4o"
    )
    assert seen[0]["tokens"]["input"] > 0


@pytest.mark.parametrize("how", ["plain", "json"])
def test_requests_tail_prints_them_until_it_is_interrupted(shared: Gateway, how: str):
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "SLUICEGATE_ADMIN_KEY": EYE}
    command = [
        sys.executable,
        "-P",
        "-m",
        "sluicegate.main",
        "requests",
        "tail",
        "--admin",
        f"http://127.0.0.1:{shared.admin}",
    ]
    command += ["--status", "200", *(["--json"] if how == "json" else [])]
    child = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines: list[str] = []
    assert child.stdout and child.stderr
    reader = threading.Thread(target=lambda: lines.extend(iter(child.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]
    reader.start()
    try:
        until(lambda: (chat(shared), chat(shared, "wrong-key-0000000000001"))[0] == 200 and len(lines) > 2)
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 0, child.stderr.read()
    finally:
        child.kill()
        child.wait()
        reader.join(10)
        child.stdout.close()
        child.stderr.close()
    if how == "json":
        assert {json.loads(line)["status"] for line in lines} == {200}, "the filter leaves the refused ones out"
    else:
        assert lines[0].split() == ["time", "consumer", "model", "deployment", "status", "ms", "in", "out"]
        assert all("my-app" in line and "weu/gpt-4o" in line for line in lines[1:])


def test_G2_usage_is_there_within_two_seconds(shared: Gateway):
    def booked() -> int:
        return sum(u["requests"] for u in ask(shared, "GET", "/v1/usage?since=1h")[1]["usage"])

    settled = until(lambda: (n := booked()) == booked() and n + 1)
    late = []
    for n in range(20):
        assert chat(shared) == 200
        ended = time.monotonic()
        until(lambda n=n: booked() >= settled + n)
        late.append(time.monotonic() - ended)
    assert max(late) < 2.0, late


# ---------------------------------------------------------------- what is loaded, and how large it is


def test_keeper_and_workers_load_nothing_that_verbs_need_and_stay_small(fleet: FleetThread, tmp_path: Path):
    """Also after the management API was used."""
    text = text_of(tmp_path, fleet["a"].origin)
    with Gateway(tmp_path, text, env={"PYTHONPROFILEIMPORTTIME": "1"}) as gateway:
        assert chat(gateway) == 200
        for path in ("/v1/status", "/v1/config", "/v1/live", "/v1/requests", "/v1/consumers", "/openapi.json"):
            assert ask(gateway, "GET", path)[0] == 200
        loaded = {line.rsplit("|", 1)[1].strip() for line in gateway.said if line.startswith("import time:")}
        page = ask(gateway, "GET", "/metrics")[1].decode()
    assert {"sluicegate.keeper.keeper", "sluicegate.admin.plane", "sluicegate.edge.http1"} <= loaded
    tops = {name.partition(".")[0] for name in loaded}
    assert not tops & {"rich", "pygments", "markdown_it", "pydantic", "fastapi", "uvicorn", "starlette"}
    verbs = {name for name in loaded if name.startswith("sluicegate.cli.")}
    assert verbs == {"sluicegate.cli.configuration", "sluicegate.cli.examples"}, "what the verb serve needs"
    resident = {
        line.split('"')[1]: float(line.split()[-1]) / 1e6
        for line in page.splitlines()
        if line.startswith("sluicegate_resident_bytes")
    }
    assert resident["keeper"] <= 80 and max(mb for name, mb in resident.items() if name != "keeper") <= 45, resident


# ---------------------------------------------------------------- the command line, from elsewhere


def test_the_command_line_asks_a_gateway_elsewhere_with_a_key_from_the_environment(own: Gateway):
    url = ("--admin", f"http://127.0.0.1:{own.admin}")
    env = {"SLUICEGATE_ADMIN_KEY": OPS, "EYE": EYE}
    assert chat(own) == 200
    until(lambda: ask(own, "GET", "/v1/requests")[1]["requests"])
    status = run("status", *url, "--json", env=env)
    assert status.exit_code == 0 and json.loads(status.stdout)["name"] == "sluicegate"
    nobody = run("status", *url, "--admin-key-env", "NOBODY", env=env)
    assert nobody.exit_code == 1 and "The variable NOBODY holds none" in nobody.stderr
    refused = run("drain", "weu/gpt-4o", *url, "--admin-key-env", "EYE", env=env)
    assert refused.exit_code == 1 and "this needs operator or owner" in refused.stderr
    assert run("drain", "weu/gpt-4o", *url, env=env).exit_code == 0
    pools = run("pools", *url, "--admin-key-env", "EYE", env=env)
    assert pools.exit_code == 0 and "drained" in pools.stdout and "\x1b" not in pools.stdout
    assert run("undrain", "weu/gpt-4o", *url, env=env).exit_code == 0
    whole = run("drain", "weu", *url, env=env)
    assert whole.exit_code == 0 and whole.stdout == "no new calls go to weu/gpt-4o\n"
    assert run("undrain", "weu", *url, env=env).stdout == "in its pools again: weu/gpt-4o\n"
    lost = run("drain", "wue", *url, env=env)
    assert lost.exit_code == 1 and 'no model uses a deployment of an instance "wue". Instances: weu' in lost.stderr
    top = run("top", "--once", "--every", "0.5", *url, env=env)
    assert top.exit_code == 0 and "weu/gpt-4o" in top.stdout and "requests/s" in top.stdout, top.stderr
    seen = json.loads(run("top", "--once", "--json", "--every", "0.5", *url, env=env).stdout)
    assert seen["deployments"][0]["state"] == "closed" and [m["model"] for m in seen["models"]] == ["chat"]
    shown = run("config", "show", *url, env=env)
    assert "its own files (gateway.yaml)" in shown.stdout and "secrets: ***" in shown.stdout
    for verb, key in (("reload", "state"), ("drain weu/gpt-4o", "drained"), ("undrain weu/gpt-4o", "drained")):
        assert key in json.loads(run(*verb.split(), *url, "--json", env=env).stdout)
    usage = run("usage", *url, "--json", env=env)
    assert [u["consumer"] for u in json.loads(usage.stdout)["usage"]] == ["my-app"]
    requests = run("requests", *url, "--consumer", "my-app", env=env)
    assert requests.exit_code == 0 and "weu/gpt-4o" in requests.stdout
    one = json.loads(run("requests", *url, "--json", env=env).stdout)[0]["id"]
    assert one in run("requests", one, *url, env=env).stdout
    explained = run("explain", "--consumer", "my-app", "--model", "chat", *url, env=env)
    assert explained.exit_code == 0 and "SENT to weu/gpt-4o" in explained.stdout
    keys = run("key", "list", *url, env=env)
    assert keys.exit_code == 0 and keys.stdout.count("in force") == 2
    assert run("key", "revoke", "my-app", ROTATED, *url, env=env).exit_code == 2, "a key on the command line"
    assert run("key", "revoke", "my-app", "5f2a9c10", *url, env=env).exit_code == 0
    assert chat(own, ROTATED) == 401
    both = run("status", *url, "--data", "x", env=env)
    assert both.exit_code == 2 and "write one of them" in both.stderr
    elsewhere = run("status", "--admin", "http://127.0.0.1:9", env=env)
    assert elsewhere.exit_code == 1 and "cannot be reached" in elsewhere.stderr
    for wrong in ("127.0.0.1:8081", "ftp://x", "http://", "http://u:p@x"):
        assert run("status", "--admin", wrong, env=env).exit_code == 2


def test_apply_shows_the_changes_asks_and_says_how_long_it_holds(own: Gateway):
    url = ("--admin", f"http://127.0.0.1:{own.admin}")
    env = {"SLUICEGATE_ADMIN_KEY": OPS}
    other = own.folder / "other.yaml"
    other.write_text(own.file.read_text().replace("drain: 5s", "drain: 7s"))
    asks = run("apply", "-c", str(other), *url, env=env)
    assert asks.exit_code == 2 and "nobody is there to say yes" in asks.stderr
    assert "gateway: drain: 5s -> 7s" in asks.stdout
    assert ask(own, "GET", "/v1/status")[1]["source"]["kind"] == "files"
    done = run("apply", "-c", str(other), "--yes", *url, env=env)
    assert done.exit_code == 0, done.stderr
    assert (
        "in force on all workers" in done.stdout and "holds until the gateway loads its own files again" in done.stdout
    )
    local = run("apply", "-c", str(own.file), "--yes", env=env)
    assert local.exit_code == 0 and "gateway: drain: 7s -> 5s" in local.stdout
    assert "holds until" not in local.stdout, "its own files: as a reload"
    assert ask(own, "GET", "/v1/status")[1]["source"]["kind"] == "files"
    other.write_text(own.file.read_text().replace("[chat]", "[caht]"))
    wrong = run("apply", "-c", str(other), "--yes", "--data", str(own.folder / "data"), env=env)
    assert wrong.exit_code == 2 and 'did you mean "chat"' in wrong.stderr
    nothing = run("apply", "-c", str(own.file), env=env)
    assert nothing.exit_code == 0 and nothing.stdout.startswith("no change")


def test_A10_C1_usage_by_subscription_and_tier_follows_what_is_declared_and_metrics_say_so_too(
    fleet: FleetThread, tmp_path: Path
):
    text = text_of(tmp_path, fleet["a"].origin)
    subscribed = text.replace("weu: {endpoint:", "weu: {subscription: ai-1, region: westeurope, endpoint:")
    with Gateway(tmp_path, subscribed) as gateway:
        assert [chat(gateway, KEY) for _ in range(3)] == [200] * 3

        def used(by: str) -> dict[str, int]:
            told = ask(gateway, "GET", f"/v1/usage?by={by}")[1]["usage"]
            return {u[by]: u["requests"] for u in told}

        until(lambda: used("subscription") == {"ai-1": 3})
        [told] = ask(gateway, "GET", "/v1/usage?by=tier")[1]["usage"]
        assert (told["tier"], told["share"]) == ("1", {"requests": 1.0, "tokens": 1.0})
        info = [line for line in page(gateway).splitlines() if line.startswith("sluicegate_deployment_info{")]
        assert info == [
            'sluicegate_deployment_info{deployment="weu/gpt-4o",model="gpt-4o",version="2024-11-20",sku="Standard",'
            'tier="1",region="westeurope",subscription="ai-1"} 1'
        ]
        gateway.file.write_text(subscribed.replace("ai-1", "ai-2"))
        gateway.hang_up_until("config.adopted")
        until(lambda: 'subscription="ai-2"' in page(gateway))
        kept = (tmp_path / "data" / "places").read_text().splitlines()
        assert kept[-2].endswith(" 1 1 ai-2"), "from this minute on"


def page(gateway: Gateway) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.admin, timeout=10)
    try:
        connection.request("GET", "/metrics", headers={"authorization": f"Bearer {EYE}"})
        return connection.getresponse().read().decode()
    finally:
        connection.close()
