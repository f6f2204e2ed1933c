"""`sluicegate check --ask`: each deployment is asked for nothing; what is wrong with a key, a name or an address shows."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sluicegate.main import program
from sluicegate.sim.fleet import FleetThread
from tests.abuse.outside import Upstream, answer
from tests.certificates import Authority

FLEET = {
    "weu": {
        "deployments": {
            "gpt-4o-ptu": {"sku": "ProvisionedManaged"},
            "gpt-4o": {},
            "small": {"model": "text-embedding-3-small"},
        }
    }
}


def config(folder: Path, endpoint: str, deployments: str, more: str = "") -> str:
    path = folder / "gateway.yaml"
    path.write_text(
        f"""version: 1
gateway: {{data: "{folder}/data"}}
instances:
  weu:
    endpoint: {endpoint}
    auth: {{key: "${{env:AOAI_KEY}}"}}
    deployments: {{{deployments}}}
{more}
models:
  chat: {{use: gpt-4o@2024-11-20}}
  embed: {{use: text-embedding-3-small@1}}
consumers:
  one: {{key: "${{env:APP_KEY}}", models: [chat]}}
"""
    )
    return str(path)


GOOD = (
    "gpt-4o-ptu: {model: gpt-4o, version: 2024-11-20, sku: ProvisionedManaged}, gpt-4o: {model: gpt-4o, version: "
    "2024-11-20}, small: {model: text-embedding-3-small, version: 1}"
)


def run(path: str, key: str, *args: str) -> Result:
    env = {"AOAI_KEY": key, "APP_KEY": "key-of-my-app-0000000001"}
    return CliRunner().invoke(program, ["check", "-c", path, "--ask", "--timeout", "10", *args], env=env)


@pytest.mark.parametrize("version", ["", "    api_version: 2024-10-21"])
def test_those_that_are_there_answer_and_nothing_is_made_or_charged(tmp_path: Path, version: str):
    with FleetThread(FLEET, seed=1) as fleet:
        served = fleet["weu"]
        done = run(config(tmp_path, f"http://127.0.0.1:{served.port}", GOOD, version), served.key)
        assert done.exit_code == 0, done.output
        for name in ("gpt-4o-ptu", "gpt-4o", "small"):
            assert f"  weu/{name}: answers, 400: it is there, and takes the credential\n" in done.stdout
        assert not (tmp_path / "data").exists() and served.key not in done.output


def test_a_wrong_key_a_wrong_name_and_a_throttled_one_are_told_apart(tmp_path: Path):
    with FleetThread(FLEET, seed=1) as fleet:
        served = fleet["weu"]
        path = config(tmp_path, f"http://127.0.0.1:{served.port}", GOOD.replace("gpt-4o-ptu:", "gpt-4o-ptx:"))
        done = run(path, served.key, "--json")
        assert done.exit_code == 1
        asked = {one["deployment"]: one for one in json.loads(done.stdout)["asked"]}
        assert [name for name, one in asked.items() if not one["good"]] == ["weu/gpt-4o-ptx"]
        assert asked["weu/gpt-4o-ptx"]["says"].startswith("404: is not there")
        refused = run(path, "another-key-0123456789")
        assert refused.exit_code == 1 and refused.stdout.count("NO, 401: refuses what the gateway shows") == 3
        assert "another-key-0123456789" not in refused.output
    with Upstream() as upstream:
        upstream.answer = answer(b'{"error":{"code":"429"}}', b"429 Too Many Requests")
        done = run(config(tmp_path, f"http://127.0.0.1:{upstream.port}", GOOD), "some-key-0123456789")
        assert done.exit_code == 0 and done.stdout.count("429: it is there, and throttled now") == 3
        names = ("gpt-4o-ptu", "gpt-4o", "small")
        assert {seen.body for seen in upstream.requests} == {b'{"model": "%b"}' % name.encode() for name in names}


def test_who_cannot_be_reached_or_believed_is_told_with_what_to_look_at(tmp_path: Path):
    with Upstream() as upstream:
        port = upstream.port
    gone = run(config(tmp_path, f"http://127.0.0.1:{port}", GOOD), "some-key-0123456789")
    assert gone.exit_code == 1 and f"NO, nobody can be talked to at 127.0.0.1:{port}: connection refused" in gone.stdout
    nobody = run(config(tmp_path, "https://nobody.invalid", GOOD), "some-key-0123456789")
    assert nobody.exit_code == 1 and "NO, nobody is called nobody.invalid: is the name right" in nobody.stdout
    server = Authority(tmp_path).server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.file, server.key_file)
    with Upstream(context) as upstream:
        strange = run(config(tmp_path, f"https://localhost:{upstream.port}", GOOD), "some-key-0123456789")
        assert strange.exit_code == 1 and "NO, its certificate is not good: " in strange.stdout
        assert not upstream.requests, "nothing was shown to it"


def test_a_configuration_that_is_not_valid_asks_nobody(tmp_path: Path):
    with Upstream() as upstream:
        path = config(tmp_path, f"http://127.0.0.1:{upstream.port}", GOOD.replace("version: 1}", "versoin: 1}"))
        assert run(path, "some-key-0123456789").exit_code == 2
        assert run(path, "some-key-0123456789", "--json").exit_code == 2
        assert upstream.connections == 0
