"""Residency over real sockets: a stamp that loses its members, an answer from elsewhere, a consumer of another one."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sluicegate.main import program
from sluicegate.sim.fleet import FleetThread
from tests.keeper.running import ENV, KEY, Gateway, Load, until

MODEL = "{model: gpt-4o, version: 2024-11-20}"
TEXT = """\
version: 1
gateway:
  data: {folder}/data
  drain: 2s
  workers: 2
  region: westeurope
  boundaries: [eu]
  admin: {{address: '127.0.0.1:0'}}
  secrets: ["${{env:SECRET}}"]
  listen: {{address: '127.0.0.1:0'}}
boundaries:
  eu: {{regions: [westeurope, swedencentral], processing: regional}}
  us: {{regions: [eastus], processing: regional, url: https://us.llm.contoso.example}}
instances:
  weu: {{endpoint: '{weu}', region: westeurope, auth: {{key: '${{env:UPSTREAM_KEY}}'}}, deployments: {{d: {model}}}}}
  sdc: {{endpoint: '{sdc}', region: swedencentral, auth: {{key: '${{env:UPSTREAM_KEY}}'}}, deployments: {{d: {model}}}}}
  usa: {{endpoint: '{usa}', region: eastus, auth: {{key: '${{env:UPSTREAM_KEY}}'}}, deployments: {{d: {model}}}}}
models:
  chat: {{use: [weu/d, sdc/d, usa/d]}}
tenants: {{eu: {{boundary: eu}}, us: {{boundary: us}}}}
consumers:
  my-app: {{tenant: eu, key: "${{env:APP_KEY}}", models: [chat]}}
  other: {{tenant: us, key: "${{env:OTHER_KEY}}", models: [chat]}}
"""
OTHER = "key-of-another-app-000001"
QUICK = {"d": {"model": "gpt-4o", "version": "2024-11-20", "latency": {"first_token_s": 0.01, "per_token_s": 0.001}}}


@pytest.fixture
def fleet() -> Iterator[FleetThread]:
    regions = {"weu": "westeurope", "sdc": "swedencentral", "usa": "eastus"}
    given = {n: {"deployments": QUICK, "key": ENV["UPSTREAM_KEY"], "region": r} for n, r in regions.items()}
    with FleetThread(given, seed=3) as fleet:
        yield fleet


def written(folder: Path, fleet: FleetThread) -> str:
    return TEXT.format(folder=folder, model=MODEL, **{name: fleet[name].origin for name in ("weu", "sdc", "usa")})


def asked(gateway: Gateway, key: str = KEY, path: str = "/openai/deployments/chat/chat/completions?api-version=2024-10-21",
          body: bytes = b'{"messages":[{"role":"user","content":"hello"}]}') -> http.client.HTTPResponse:  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.request(
        "POST" if body else "GET", path, body or None, {"api-key": key, "content-type": "application/json"}
    )
    answer = connection.getresponse()
    answer.text = answer.read()  # type: ignore[attr-defined]
    connection.close()
    return answer


def verb(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(program, [*args, "--data", str(folder / "data")])


def told(folder: Path, *args: str) -> Any:
    done = verb(folder, *args, "--json")
    return json.loads(done.stdout)


def test_S06_over_sockets_a_stamp_that_loses_its_members_asks_nobody_outside(fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, written(tmp_path, fleet), {"OTHER_KEY": OTHER}) as gateway:
        assert asked(gateway).status == 200
        for name in ("weu", "sdc"):
            fleet.fault("status", instance=name, status=500)
        with Load(gateway.port, 60, 4) as load:
            until(lambda: load.outcomes["503"] >= 60)
        last = asked(gateway)
        assert (last.status, last.headers["x-sluicegate-reason"]) == (503, "boundary.failed")
        fleet.lift()
        for name in ("weu", "sdc"):
            fleet.fault("throttle", instance=name, wait_s=20)
        until(lambda: asked(gateway).headers["x-sluicegate-reason"] == "boundary.throttled")
        assert not fleet.ledger.of("usa")


def test_F6_over_sockets_a_consumer_of_another_stamp_is_sent_to_its_own(fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, written(tmp_path, fleet), {"OTHER_KEY": OTHER}) as gateway:
        for path in ("/openai/deployments/chat/chat/completions?api-version=2024-10-21", "/v1/chat/completions"):
            answer = asked(gateway, OTHER, path)
            assert (answer.status, answer.headers["x-sluicegate-url"]) == (403, "https://us.llm.contoso.example")
        models = asked(gateway, OTHER, "/v1/models", b"")
        assert models.status == 403 and b"https://us.llm.contoso.example" in models.text  # type: ignore[attr-defined]
        assert not [e for name in ("weu", "sdc", "usa") for e in fleet.ledger.of(name)]


def test_an_answer_from_elsewhere_takes_its_deployment_out_of_all_workers_until_somebody_has_looked(
    fleet: FleetThread, tmp_path: Path
):
    text = written(tmp_path, fleet)
    fleet.patch({"weu": {"region": "eastus"}})
    with Gateway(tmp_path, text, {"OTHER_KEY": OTHER}) as gateway:
        until(lambda: asked(gateway).status == 200 and told(tmp_path, "status")["drained"] == ["weu/d"])
        until(lambda: len({w["config"] for w in told(tmp_path, "status")["workers"]}) == 1)
        before = len(fleet.ledger.of("weu"))
        for _ in range(20):
            assert asked(gateway).status == 200
        assert len(fleet.ledger.of("weu")) == before <= 3, "one for each worker, and one that was on its way"
        shown = verb(tmp_path, "status").output
        assert "region.mismatch weu/d: answers from East US" in shown and "drained: weu/d" in shown
        proof = verb(tmp_path, "residency", "prove")
        assert proof.exit_code == 0 and "drained, so nothing goes there now: weu/d" in proof.output
        assert "not served here: its tenants (us) are refused" in proof.output and "OUTSIDE" not in proof.output
        until(lambda: told(tmp_path, "residency", "report")["calls"] >= 21)
        report = verb(tmp_path, "residency", "report")
        assert report.exit_code == 1 and "contradictions, the first of them:" in report.output
        by = {g["deployment"]: g for g in told(tmp_path, "residency", "report")["groups"]}
        assert by["weu/d"]["seen"] == "East US" and by["weu/d"]["verdict"] == "contradicts"
        assert by["sdc/d"]["seen"] == "Sweden Central" and by["sdc/d"]["verdict"] == "agrees"
        assert (by["sdc/d"]["region"], by["sdc/d"]["processing"]) == ("swedencentral", "regional")
        rows = verb(tmp_path, "residency", "report", "--csv").output.splitlines()
        assert rows[0].startswith("time,id,tenant,consumer,") and len(rows) > 20
        assert verb(tmp_path, "residency", "report", "--tenant", "us").exit_code == 0
        assert told(tmp_path, "residency", "report", "--tenant", "us")["calls"] == 0
        gateway.tell(signal.SIGTERM)
        gateway.process.wait(20)
    with Gateway(tmp_path, text, {"OTHER_KEY": OTHER}) as gateway:
        for _ in range(10):
            assert asked(gateway).status == 200
        assert len(fleet.ledger.of("weu")) == before, "a restart forgets nothing"
        assert verb(tmp_path, "undrain", "weu/d").exit_code == 0, "too early: it is so still"
        until(lambda: asked(gateway).status == 200 and told(tmp_path, "status")["drained"] == ["weu/d"])
        fleet.patch({"weu": {"region": "westeurope"}})
        assert verb(tmp_path, "undrain", "weu/d").exit_code == 0
        fleet.fault("throttle", instance="sdc", wait_s=20)
        until(lambda: asked(gateway).status == 200 and len(fleet.ledger.of("weu")) > before + 4)
        assert told(tmp_path, "status")["drained"] == []
