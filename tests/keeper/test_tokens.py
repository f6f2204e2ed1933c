"""Tokens through keeper and worker, over real sockets: keys fetched from a provider, rotated, lost and found."""

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.abuse.outside import CHAT, Upstream
from tests.identity.provider import APP, CLIENT, TENANT, URI, Provider, Signer
from tests.keeper.running import Gateway

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
  contoso: {{kind: entra, tenant_id: {tenant}, authority: '{provider}', audience: ['{uri}', {client}]}}
  partner: {{kind: oidc, issuer: '{partner}', audience: sluicegate}}
instances:
  weu: {{endpoint: '{endpoint}', auth: {{key: '${{env:UPSTREAM_KEY}}'}}, deployments: {{gpt-4o: {{model: gpt-4o, version: 2024-11-20}}}}}}
models:
  chat: {{use: gpt-4o@2024-11-20}}
consumers:
  my-app: {{key: "${{env:APP_KEY}}", models: [chat]}}
  recommender: {{match: {{issuer: contoso, azp: {app}}}, models: [chat]}}
  partner-app: {{match: {{issuer: partner, sub: somebody}}, models: [chat]}}
"""


def config(folder: Path, upstream: Upstream, provider: Provider, partner: str, workers: int = 1) -> str:
    return CONFIG.format(
        folder=folder, workers=workers, tenant=TENANT, provider=provider.url, uri=URI, client=CLIENT, app=APP, partner=partner,
        endpoint=f"http://127.0.0.1:{upstream.port}",
    )  # fmt: skip


def ask(port: int, token: str, header: str = "Authorization", scheme: str = "Bearer ") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(
            "POST", "/v1/chat/completions", CHAT, {header: scheme + token, "Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("x-sluicegate-reason") or ""
    finally:
        connection.close()


def until(port: int, token: str, status: int, within_s: float = 15.0) -> None:
    """The keeper and its workers need a moment."""
    end = time.monotonic() + within_s
    while (got := ask(port, token))[0] != status:
        assert time.monotonic() < end, got


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def alerts(gateway: Gateway) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in gateway.said if line.startswith("{")]
    return [line for line in found if "issuer.keys" in json.dumps(line)]


def test_tokens_of_two_issuers_are_let_in_from_the_first_request_on(tmp_path: Path, upstream: Upstream):
    with Provider() as entra, Provider() as partner:
        partner.signer.add("ec", "ES256")
        with Gateway(tmp_path, config(tmp_path, upstream, entra, partner.url, workers=2)) as gateway:
            for _ in range(4):  # over both workers, with luck
                for token in (
                    entra.signer.entra(entra.url, 1), entra.signer.entra(entra.url, 2), partner.signer.token(aud="sluicegate"),
                    partner.signer.token("key-1", aud=["sluicegate"]),
                ):  # fmt: skip
                    assert ask(gateway.port, token) == (200, "")
                    assert ask(gateway.port, token, "api-key", "") == (200, "")
            assert ask(gateway.port, entra.signer.entra(entra.url, azp="other"))[1] == "identity.unmatched"
            assert ask(gateway.port, partner.signer.token(aud="other")) == (401, "credential.token")
            assert ask(gateway.port, partner.signer.token(iss="https://third.example", aud="sluicegate")) == (
                401,
                "credential.token",
            )
            assert (entra.fetches(), partner.fetches()) == (1, 1)
            assert alerts(gateway) == []


def test_a_rotated_key_is_picked_up_without_a_restart_and_a_flood_asks_once(tmp_path: Path, upstream: Upstream):
    with Provider() as entra, Provider() as partner:
        with Gateway(tmp_path, config(tmp_path, upstream, entra, partner.url, workers=2)) as gateway:
            old = entra.signer.entra(entra.url)
            assert ask(gateway.port, old) == (200, "")
            entra.signer.add("key-2")
            for n in range(300):
                entra.signer.keys[f"flood-{n}"] = entra.signer.keys["key-2"]
                assert ask(gateway.port, entra.signer.entra(entra.url, kid=f"flood-{n}"))[0] == 401
                del entra.signer.keys[f"flood-{n}"]
            assert entra.fetches() == 1, "a minute has not passed since the start"
            assert ask(gateway.port, old) == (200, "")


def test_a_file_of_keys_reaches_workers_without_reload_and_a_key_taken_back_ends_its_tokens(
    tmp_path: Path, upstream: Upstream
):
    with Provider() as entra:
        keys = tmp_path / "keys.json"
        signer = Signer()
        keys.write_text(json.dumps(signer.set()))
        text = config(tmp_path, upstream, entra, signer.iss, workers=2).replace(
            "audience: sluicegate", f"audience: sluicegate, jwks: '{keys}'"
        )
        with Gateway(tmp_path, text) as gateway:
            old = signer.token(aud="sluicegate")
            assert ask(gateway.port, old) == (200, "")
            signer.add("key-2")
            new = signer.token(aud="sluicegate")
            assert ask(gateway.port, new) == (401, "credential.token")
            keys.write_text(json.dumps(signer.set()))
            until(gateway.port, new, 200)
            del signer.keys["key-1"]
            keys.write_text(json.dumps(signer.set()))
            until(gateway.port, old, 401)
            for _ in range(8):
                assert ask(gateway.port, new) == (200, "")


def test_abuse_38_a_start_while_a_provider_hangs_says_so_and_serves_all_others(tmp_path: Path, upstream: Upstream):
    with Provider() as entra, Provider() as partner:
        partner.mode = "hang"
        began = time.monotonic()
        with Gateway(tmp_path, config(tmp_path, upstream, entra, partner.url)) as gateway:
            assert time.monotonic() - began < 20
            (told,) = alerts(gateway)
            assert "partner" in json.dumps(told) and "no answer within 5 s" in json.dumps(told)
            assert ask(gateway.port, partner.signer.token(aud="sluicegate")) == (503, "credential.issuer_unavailable")
            assert ask(gateway.port, entra.signer.entra(entra.url)) == (200, "")
            assert ask(gateway.port, "key-of-my-app-0000000001") == (200, "")


def test_abuse_38_a_restart_while_a_provider_is_down_goes_on_with_the_keys_it_had(tmp_path: Path, upstream: Upstream):
    with Provider() as entra, Provider() as partner:
        token = partner.signer.token(aud="sluicegate")
        text = config(tmp_path, upstream, entra, partner.url)
        with Gateway(tmp_path, text) as gateway:
            assert ask(gateway.port, token) == (200, "")
            gateway.end()
        partner.mode = "down"
        with Gateway(tmp_path, text) as gateway:
            assert ask(gateway.port, token) == (200, "")
            gateway.end()


def test_issuers_come_and_go_with_the_configuration(tmp_path: Path, upstream: Upstream):
    with Provider() as entra, Provider() as partner:
        text = config(tmp_path, upstream, entra, partner.url)
        lines = text.splitlines()
        without = (
            "\n".join(
                line for line in lines if "issuer" not in line and "contoso" not in line and "partner" not in line
            )
            + "\n"
        )
        token = entra.signer.entra(entra.url)
        with Gateway(tmp_path, without) as gateway:
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
            headers = {"api-key": token, "Content-Type": "application/json"}

            def again() -> tuple[int, str]:
                connection.request("POST", "/v1/chat/completions", CHAT, headers)
                answer = connection.getresponse()
                answer.read()
                return answer.status, answer.headers.get("x-sluicegate-reason") or ""

            assert again() == (401, "credential.unknown"), "nobody is trusted: a token is a wrong key"
            (worker,) = gateway.workers
            libraries = Path(f"/proc/{worker}/maps")
            assert "cryptography" not in libraries.read_text(), "10 MB that a worker without issuers does not need"
            gateway.file.write_text(text)
            gateway.hang_up_until("config.adopted")
            assert again() == (200, ""), "on the same connection, with the same head"
            assert "cryptography" in libraries.read_text()
            gateway.file.write_text(text.replace(CLIENT, CLIENT.replace("2222", "9999")))
            gateway.hang_up_until("config.adopted")
            assert again() == (401, "credential.token"), "the audience is another one now"
            gateway.file.write_text(without)
            gateway.hang_up_until("config.adopted")
            assert again() == (401, "credential.unknown")
            connection.close()


def test_connections_that_are_open_hear_of_issuers_also_when_nothing_else_changes(tmp_path: Path, upstream: Upstream):
    with Provider() as entra, Provider() as partner:
        text = config(tmp_path, upstream, entra, partner.url) + f"telemetry: {{access_log: '{tmp_path}/access.log'}}\n"
        matching = [line for line in text.splitlines() if "match:" not in line]
        with_issuers = "\n".join(matching) + "\n"
        without = "\n".join(line for line in matching if "issuer" not in line and "kind:" not in line) + "\n"
        token = entra.signer.entra(entra.url)
        with Gateway(tmp_path, without) as gateway:
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
            headers = {"api-key": token, "Content-Type": "application/json"}

            def again() -> str:
                connection.request("POST", "/v1/chat/completions", CHAT, headers)
                answer = connection.getresponse()
                answer.read()
                return answer.headers.get("x-sluicegate-reason") or ""

            for _ in range(2):
                assert again() == "credential.unknown"
                gateway.file.write_text(with_issuers)
                gateway.hang_up_until("config.adopted")
                assert again() == "identity.unmatched"
                gateway.file.write_text(without)
                gateway.hang_up_until("config.adopted")
            assert again() == "credential.unknown"
            gateway.file.write_text(with_issuers)
            gateway.hang_up_until("config.adopted")
            headers["api-key"] = entra.signer.entra(entra.url, exp=1)
            assert again() == "credential.token"
            connection.close()
            end = time.monotonic() + 10
            while "credential.token.expired" not in (log := (tmp_path / "access.log").read_text()):
                assert time.monotonic() < end, log
                time.sleep(0.05)
            assert headers["api-key"][:30] not in log, "why, and never the token"


def test_a_worker_that_takes_over_knows_the_keys(tmp_path: Path, upstream: Upstream):
    import os
    import signal

    with Provider() as entra, Provider() as partner:
        with Gateway(tmp_path, config(tmp_path, upstream, entra, partner.url)) as gateway:
            token = entra.signer.entra(entra.url)
            assert ask(gateway.port, token) == (200, "")
            entra.mode = partner.mode = "hang"
            (worker,) = gateway.workers
            os.kill(worker, signal.SIGKILL)
            gateway.event("worker.ready")
            assert ask(gateway.port, token) == (200, "")
