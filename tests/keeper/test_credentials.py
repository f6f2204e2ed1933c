"""Keyless: a gateway that shows tokens upstream, as processes over sockets, with everybody who hands them out."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sluicegate.sim.azure.tokens import Cloud, says
from sluicegate.sim.fleet import FleetThread
from tests.identity.provider import APP, Provider
from tests.identity.provider import TENANT as DIRECTORY
from tests.keeper.running import ENV, KEY, ROOT, Gateway, config, until

CHAT = "/openai/deployments/chat/chat/completions?api-version=2024-10-21"
QUICK = {"deployments": {"gpt-4o": {"latency": {"first_token_s": 0.0, "per_token_s": 0.0}, "tokens": [1, 2]}}}
CLIENT = "3f0c0000-0000-4000-8000-000000000002"
TENANT = "11110000-0000-4000-8000-000000000003"
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


CALLERS: list[Caller] = []


@pytest.fixture(autouse=True)
def hung_up() -> Iterator[None]:
    yield
    while CALLERS:
        CALLERS.pop().connection.close()


class Caller:
    """One kept connection."""

    def __init__(self, gateway: Gateway) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        self.last: dict[str, Any] = {}
        CALLERS.append(self)

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


# ---------------------------------------------------------------- a token that is refused


TWO = """\
version: 1
gateway:
  data: {folder}/data
  drain: 5s
  workers: {workers}
  admin: {{address: '127.0.0.1:0'}}
  secrets: ["${{env:SECRET}}"]
  listen: {{address: '127.0.0.1:0'}}
instances:
  a:
    endpoint: {a}
    auth: {auth_a}
    deployments: {{gpt-4o: {{model: gpt-4o, version: 2024-11-20, sku: ProvisionedManaged}}}}
  b:
    endpoint: {b}
    auth: {auth_b}
    deployments: {{gpt-4o: {{model: gpt-4o, version: 2024-11-20}}}}
models:
  chat: {{use: gpt-4o@2024-11-20}}
consumers:
  my-app: {{key: "${{env:APP_KEY}}", models: [chat]}}
"""


@pytest.fixture
def pair(cloud: Cloud) -> Iterator[FleetThread]:
    with FleetThread({"a": QUICK, "b": QUICK}, seed=1) as fleet:
        for served in fleet:
            served.instance.bearers = cloud.issuer.takes(AOAI)
        yield fleet


def two(folder: Path, fleet: FleetThread, a: str = "managed_identity", b: str = "managed_identity", **more: Any) -> str:
    values = {"workers": 1, "auth_a": a, "auth_b": b, **more}
    return TWO.format(folder=folder, a=fleet["a"].origin, b=fleet["b"].origin, **values)


def served_by(fleet: FleetThread) -> Counter[str]:
    return Counter(e.instance for e in fleet.ledger.of(None, None) if e.status == 200)


def refused_by(fleet: FleetThread, name: str) -> int:
    return sum(e.status in (401, 403) for e in fleet.ledger.of(name, None))


def test_E11_one_refuses_our_token_and_the_client_gets_its_answer_from_the_other(
    cloud: Cloud, pair: FleetThread, tmp_path: Path
):
    """It leaves its pool at the first refusal, somebody is alerted, another token is asked for, and with that it is
    asked again at once. The client sees nothing of it; abuse 52: nor of the body of the refusal."""
    with Gateway(tmp_path, two(tmp_path, pair), machine(cloud)) as gateway:
        caller = Caller(gateway)
        assert caller.ask() == 200 and served_by(pair) == {"a": 1}
        assert cloud.issuer.asked == {"imds": 1}, "one identity, however many instances show it"
        first = next(iter(cloud.issuer.made))
        pair["a"].instance.bearers = lambda text: text != first and cloud.issuer.takes(AOAI)(text)
        assert caller.ask() == 200
        assert served_by(pair) == {"a": 1, "b": 1} and refused_by(pair, "a") == 1
        alert = gateway.event("alert")
        assert (alert["kind"], alert["subject"], alert["state"]) == ("upstream.credential", "a/gpt-4o", "fired")
        until(lambda: cloud.issuer.asked["imds"] == 2)
        until(lambda: caller.ask() == 200 and served_by(pair)["a"] > 1)
        assert refused_by(pair, "a") == 1 and cloud.issuer.asked["imds"] == 2
        for text in cloud.issuer.made:
            assert text not in "".join(gateway.said)


def test_abuse_52_nothing_of_an_upstream_s_refusal_is_shown(cloud: Cloud, pair: FleetThread, tmp_path: Path):
    """All refuse: the client hears of a 503 of ours, whatever they say of our token."""
    for served in pair:
        served.instance.bearers = lambda text: False
    with Gateway(tmp_path, two(tmp_path, pair), machine(cloud)) as gateway:
        caller = Caller(gateway)
        assert [caller.ask() for _ in range(20)] == [503] * 20
        assert caller.last["error"]["reason"] == "pool.failed"
        text = json.dumps(caller.last)
        assert "subscription key" not in text and "401" not in text and "token" not in text
        assert refused_by(pair, "a") == refused_by(pair, "b") == 1
        until(lambda: cloud.issuer.asked["imds"] == 2)
        assert [caller.ask() for _ in range(20)] == [503] * 20
        assert cloud.issuer.asked["imds"] == 2, "another token once a minute at most"
        assert refused_by(pair, "a") == refused_by(pair, "b") <= 2


def test_a_worker_that_starts_has_the_token_before_it_is_ready(cloud: Cloud, fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, keyless(tmp_path, fleet, "managed_identity"), machine(cloud)) as gateway:
        assert Caller(gateway).ask() == 200
        os.kill(gateway.workers[0], signal.SIGKILL)
        gateway.event("worker.ready")
        assert Caller(gateway).ask() == 200
        gateway.tell(signal.SIGUSR2)
        gateway.event("restarted")
        assert Caller(gateway).ask() == 200
        assert cloud.issuer.asked == {"imds": 1}


def test_a_start_without_tokens_goes_on_says_so_and_serves_when_they_come(
    cloud: Cloud, fleet: FleetThread, tmp_path: Path
):
    cloud.issuer.answers.extend(says(400, error="identity_not_found") for _ in range(2))
    with Gateway(tmp_path, keyless(tmp_path, fleet, "managed_identity"), machine(cloud)) as gateway:
        assert Caller(gateway).ask() == 503
        assert not fleet.ledger.of("a", None), "nothing goes up without a credential"
        alert = next(e for e in events(gateway) if e["event"] == "alert")
        assert alert["kind"] == "upstream.credential"
        assert alert["detail"] == "the metadata service answered 400 identity_not_found"
        # Somebody gives the machine its identity, and says so by a reload that names another one.
        text = keyless(tmp_path, fleet, f"{{managed_identity: {CLIENT}}}")
        cloud.issuer.answers.clear()
        gateway.file.write_text(text)
        gateway.hang_up_until("config.adopted")
        assert Caller(gateway).ask() == 200
        assert [made.client for made in cloud.issuer.made.values()] == [CLIENT]


def events(gateway: Gateway) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gateway.said if line.startswith("{")]


def test_E12_the_secret_of_a_service_principal_is_rotated_under_load(cloud: Cloud, fleet: FleetThread, tmp_path: Path):
    """What it was given for the old secret is shown until there is a token for the new one: nobody notices."""
    secret = tmp_path / "secret"
    secret.write_text("the-old-secret-of-it")
    cloud.issuer.secrets[CLIENT] = {"the-old-secret-of-it"}
    auth = f"{{client_id: {CLIENT}, tenant_id: {TENANT}, client_secret: '${{file:{secret}}}', authority: '{{0}}'}}"
    text = keyless(tmp_path, fleet, auth.replace("{0}", cloud["entra"].origin))
    with Gateway(tmp_path, text) as gateway:
        assert Caller(gateway).ask() == 200
        with ThreadPoolExecutor(1) as pool:
            load = pool.submit(ask_many, gateway, 1200)
            cloud.issuer.secrets[CLIENT] = {"the-new-secret-of-it"}
            secret.write_text("the-new-secret-of-it")
            gateway.hang_up_until("config.adopted")
            assert load.result() == {200: 1200}
        until(lambda: len(cloud.issuer.made) == 2)
        assert not cloud.issuer.wrong


def test_whose_tokens_there_are_and_for_how_long_is_told_and_no_token(cloud: Cloud, pair: FleetThread, tmp_path: Path):
    auth = f"{{managed_identity: {CLIENT}}}"
    with Gateway(tmp_path, two(tmp_path, pair, b=auth), machine(cloud)) as gateway:
        shown = sluicegate("pools", "--data", str(tmp_path / "data"), cloud=cloud, folder=tmp_path)
        told = sluicegate("pools", "--json", "--data", str(tmp_path / "data"), cloud=cloud, folder=tmp_path)
        assert gateway.pid
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert [
        "a",
        "managed",
        "identity",
        "(system)",
        "for",
        f"{AOAI}/.default",
        "for",
        "another",
        "1440",
        "minutes",
    ] in lines
    found = json.loads(told.stdout)["credentials"]
    assert [(c["instances"], c["held"], c["requests"], c["error"]) for c in found] == [
        (["a"], True, 1, ""), (["b"], True, 1, ""),
    ]  # fmt: skip
    assert all(43_000 < c["next_in_s"] < 70_000 for c in found), "between half and four fifths of a day"
    assert not any(text in shown.stdout + told.stdout for text in cloud.issuer.made)


# ---------------------------------------------------------------- keys that are rotated


def keyed(path: Path) -> str:
    return f"{{key: '${{file:{path}}}'}}"


def test_E12_keys_are_rotated_under_load_and_nobody_notices(pair: FleetThread, tmp_path: Path):
    """As Azure's two keys are meant: the file holds the second one, then the first is made anew. Twice, with two
    workers: 2,000 requests, all answered, and each key is shown as soon as it stands in the file."""
    path = tmp_path / "key"
    keys = [f"key-number-{n}-of-the-resource" for n in range(4)]
    pair.patch({"a": {"key": keys[0], "second_key": keys[1]}, "b": {"mode": "down"}})
    path.write_text(keys[0])
    with Gateway(tmp_path, two(tmp_path, pair, keyed(path), keyed(path), workers=2)) as gateway:
        with ThreadPoolExecutor(1) as pool:
            load = pool.submit(ask_many, gateway, 2000)
            for now, after in ((1, 2), (2, 3)):
                path.write_text(keys[now])
                gateway.event("config.adopted")
                pair.patch({"a": {"key": keys[after], "second_key": keys[now]}})
            statuses = load.result()
            more = ask_many(gateway, 40)
        assert statuses == {200: 2000} and more == {200: 40}
        assert refused_by(pair, "a") == 0
        shown = [e.head for e in pair.ledger.of("a", None)]
        assert any(keys[0].encode() in head for head in shown) and keys[2].encode() in shown[-1]
        assert not any(key in line for key in keys for line in gateway.said)


def test_E12_a_key_that_is_gone_before_the_new_one_is_there_costs_nobody_an_answer(pair: FleetThread, tmp_path: Path):
    """The other member serves; when the new key stands in the file, the first is asked again at once: not after the
    30 seconds of a rejected credential."""
    path = tmp_path / "key"
    path.write_text("the-old-key-of-the-resource")
    pair.patch({"a": {"key": "the-old-key-of-the-resource"}, "b": {"key": "the-key-of-b-of-the-resource"}})
    env = {"KEY_OF_B": "the-key-of-b-of-the-resource"}
    with Gateway(tmp_path, two(tmp_path, pair, keyed(path), "{key: '${env:KEY_OF_B}'}", workers=2), env) as gateway:
        assert ask_many(gateway, 40) == {200: 40} and served_by(pair) == {"a": 40}
        pair.patch({"a": {"key": "the-new-key-of-the-resource"}})
        assert ask_many(gateway, 400) == {200: 400}
        assert served_by(pair)["b"] >= 392 and 1 <= refused_by(pair, "a") <= 8, "at most who was under way"
        path.write_text("the-new-key-of-the-resource")
        gateway.event("config.adopted")
        assert ask_many(gateway, 40) == {200: 40}
        assert served_by(pair)["a"] >= 40 + 30


# ---------------------------------------------------------------- key vaults


def vaulted(folder: Path, fleet: FleetThread) -> str:
    text = two(folder, fleet, "{key: '${keyvault:contoso-kv/key-of-a}'}", "{key: '${env:UPSTREAM_KEY}'}")
    return text.replace("${env:APP_KEY}", "${keyvault:contoso-kv/key-of-my-app}")


def program(cloud: Cloud) -> tuple[str, ...]:
    return ("tests.keeper.vaulted", cloud["vault"].origin)


def test_E12_keys_in_a_vault_are_read_when_the_configuration_is_and_rotated_there(
    cloud: Cloud, pair: FleetThread, tmp_path: Path
):
    cloud.issuer.vault = {"key-of-a": ["the-first-key-of-a-0001"], "key-of-my-app": [KEY]}
    pair.patch({"a": {"key": "the-first-key-of-a-0001"}, "b": {"mode": "down"}})
    with Gateway(tmp_path, vaulted(tmp_path, pair), machine(cloud), program=program(cloud)) as gateway:
        assert Caller(gateway).ask() == 200
        assert cloud.issuer.asked == {"imds": 1, "vault": 2}
        cloud.issuer.vault["key-of-a"].append("the-second-key-of-a-002")
        pair.patch({"a": {"key": "the-second-key-of-a-002", "second_key": "the-first-key-of-a-0001"}})

        def rotated() -> bool:  # what was read a moment ago is not read again
            gateway.hang_up_until("config.adopted")
            assert Caller(gateway).ask() == 200
            return b"the-second-key-of-a-002" in pair.ledger.of("a", None)[-1].head

        until(rotated)
        assert not any("key-of-a-0" in line for line in gateway.said)


def sluicegate(*words: str, cloud: Cloud, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, "-P", "-m", *program(cloud), *words], capture_output=True, text=True, cwd=folder, timeout=60,
        env={**environ, **ENV, **machine(cloud), "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip


def test_a_vault_that_cannot_be_asked_keeps_a_gateway_from_starting_and_check_from_nothing(
    cloud: Cloud, pair: FleetThread, tmp_path: Path
):
    file = tmp_path / "gateway.yaml"
    file.write_text(vaulted(tmp_path, pair))
    checked = sluicegate("check", "-c", str(file), cloud=cloud, folder=tmp_path)
    assert checked.returncode == 0 and "was not asked" in checked.stderr and not cloud.issuer.asked
    resolved = sluicegate("check", "--resolve", "-c", str(file), cloud=cloud, folder=tmp_path)
    assert resolved.returncode == 2
    assert "instances.a.auth.key: cannot be read: key vault contoso-kv answered 404 SecretNotFound" in resolved.stderr
    served = sluicegate("serve", "-c", str(file), cloud=cloud, folder=tmp_path)
    assert served.returncode == 2 and "nothing was started" in served.stderr
    cloud.issuer.vault = {"key-of-a": ["the-first-key-of-a-0001"], "key-of-my-app": [KEY]}
    resolved = sluicegate("check", "--resolve", "-c", str(file), cloud=cloud, folder=tmp_path)
    assert resolved.returncode == 0, resolved.stderr
    assert "was not asked" not in resolved.stderr and "key-of-a-0001" not in resolved.stdout + resolved.stderr


# ---------------------------------------------------------------- the client's own token


def test_E9_a_proved_token_goes_up_as_it_is_and_limits_hold(fleet: FleetThread, tmp_path: Path):
    """With a directory that signs tokens: what arrives is the client's own, limits and grants are ours."""
    with Provider() as entra:
        text = keyless(tmp_path, fleet, "passthrough")
        issuers = f"issuers:\n  contoso: {{kind: entra, tenant_id: {DIRECTORY}, authority: '{entra.url}', audience: {AOAI}}}\n"
        people = f"  mine: {{match: {{issuer: contoso, azp: {APP}}}, models: [chat], limits: [3 requests/minute]}}\n"
        fleet["a"].instance.bearers = lambda text: True
        with Gateway(tmp_path, text.replace("instances:\n", issuers + "instances:\n") + people) as gateway:
            caller = Caller(gateway)
            assert caller.ask() == 401 and caller.last["error"]["reason"] == "passthrough.no_token"
            token = entra.signer.entra(entra.url, 1, aud=AOAI)
            statuses = [caller.ask(**{"api-key": token}) for _ in range(5)]
            assert statuses == [200, 200, 200, 429, 429]
            assert caller.ask(**{"api-key": entra.signer.entra(entra.url, 1, aud="api://other")}) == 401
            heads = [e.head for e in fleet.ledger.of("a", None)]
            assert len(heads) == 3 and all(f"authorization: Bearer {token}".encode() in head for head in heads)
            assert not any(b"api-key" in head.lower() for head in heads)
            assert token not in "".join(gateway.said)
