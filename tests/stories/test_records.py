"""Stories of records: what one request leaves behind, from the exchange through journal and mover into the ledger."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate.core.pricing import Tariffs
from sluicegate.core.settings import Rollout, Timeouts
from sluicegate.core.snapshot import Directory, Snapshot
from sluicegate.keeper.mover import Mover
from sluicegate.link.journal import Journal
from sluicegate.sim.stage import Client, Stage
from sluicegate.stores.sqlite.ledger import Ledger
from sluicegate.stores.sqlite.reader import Reader
from tests.spec.reading import compiled

TWO = """
version: 1
gateway: {secrets: ["${env:SECRET}"], region: westeurope, boundaries: [eu]}
boundaries:
  eu: {regions: [westeurope], processing: global}
instances:
  a: {endpoint: https://a.example, region: westeurope, auth: {key: "${env:AOAI_KEY}"}, deployments: {first: MODEL}}
  b: {endpoint: https://b.example, region: westeurope, auth: {key: "${env:AOAI_KEY}"}, deployments: {second: MODEL}}
models:
  chat: {use: [a/first, b/second]}
tenants:
  shop: {boundary: eu, labels: {cost_centre: 4711, owner: shop}}
  bare: {boundary: eu}
consumers:
  web: {tenant: shop, key: "${env:APP_KEY}", models: [chat], labels: {owner: web}}
  plain: {tenant: bare, key: "${env:AOAI_KEY}", models: [chat]}
""".replace("MODEL", "{model: gpt-4.1, version: 2025-04-14, sku: GlobalStandard}")
INPUT, OUTPUT = 2_000, 8_000
"""Nano-USD for a token of gpt-4.1, by the book; priority costs 1.75 times as much."""


AUTUMN = 1_790_000_000.0
"""Of 2026: prices of priority processing begin in its spring."""


class Booked:
    """A stage that writes a journal in files, and what the ledger holds of it afterwards."""

    def __init__(self, folder: Path, snapshot: Snapshot, directory: Directory | None = None, **more: Any) -> None:
        self.folder = folder
        clock: list[Stage] = []
        self.journal = Journal(
            str(folder / "journal"), "node-1", "cafe", snapshot.prices, lambda: clock[0].clock.wall() if clock else 0.0,
            lambda: clock[0].clock.now() if clock else 0.0, spawn=lambda work: work(),
        )  # fmt: skip
        self.stage = Stage(snapshot=snapshot, directory=directory, journal=self.journal, **more)  # type: ignore[arg-type]
        clock.append(self.stage)
        self.stage.clock.step_wall(AUTUMN - self.stage.clock.wall())
        self.journal._offset = self.stage.clock.wall() - self.stage.clock.now()
        self.snapshot = snapshot

    def ask(self, content: str = "hello", **more: Any) -> Client:
        client = self.stage.ask(content, **more)
        self.stage.settle()
        assert not self.stage.bugs, self.stage.bugs
        return client

    def records(self, killed: bool = False) -> list[dict[str, Any]]:
        """Oldest first. `killed`: the worker is gone without a word."""
        if killed:
            os.close(self.journal._lock)
        else:
            self.journal.close()
        path = str(self.folder / "ledger.sqlite")
        ledger = Ledger(path)
        Mover(str(self.folder / "journal"), ledger, tariffs=lambda: Tariffs(self.snapshot.prices)).run()
        ledger.close()
        reader = Reader(path)
        try:
            return [reader.record(r["id"]) or {} for r in reversed(reader.requests(1000, {}))]
        finally:
            reader.close()


@pytest.fixture
def booked(tmp_path: Path) -> Booked:
    return Booked(tmp_path, *compiled(TWO))


def test_G3_a_record_says_boundary_region_and_labels_of_its_tenant_and_consumer(booked: Booked):
    booked.ask(consumer="web")
    booked.ask(consumer="plain")
    web, plain = booked.records()
    assert web["context"] == {
        "kind": "live", "boundary": "eu", "region": "westeurope", "labels": {"cost_centre": "4711", "owner": "web"},
    }  # fmt: skip
    assert plain["context"] == {"kind": "live", "boundary": "eu", "region": "westeurope"}
    assert web["tenant"] == "shop" and web["kind"] == "live"


def test_nothing_known_is_written_once_for_all(tmp_path: Path):
    booked = Booked(tmp_path, *compiled(TWO.replace(", region: westeurope, boundaries: [eu]", "")
                                        .replace("boundaries:\n  eu: {regions: [westeurope], processing: global}\n", "")
                                        .replace("boundary: eu, ", "").replace("boundary: eu", "")))  # fmt: skip
    booked.ask(consumer="plain")
    assert booked.records()[0]["context"] == {}


def test_a_gateway_that_is_said_to_be_elsewhere_writes_so_from_then_on(booked: Booked):
    booked.ask(consumer="web")
    moved = replace(booked.snapshot, gateway=replace(booked.snapshot.gateway, region="swedencentral"))
    booked.stage.world.adopt(moved, booked.stage.world.callers)
    booked.ask(consumer="web")
    assert [r["context"]["region"] for r in booked.records()] == ["westeurope", "swedencentral"]


def test_I1_a_record_names_the_arm_of_a_rollout(tmp_path: Path):
    snapshot, directory = compiled(TWO)
    first, second = snapshot.deployments
    second = replace(second, version="2026-01-01")
    cuts = (("eu", (second.number,)),)
    model = replace(snapshot.models[0], deployments=(first.number,), cuts=(("eu", (first.number,)),))
    for share, arm in ((0.0, None), (1.0, "gpt-4.1@2026-01-01")):
        on = replace(model, rollout=Rollout((second.number,), share, cuts=cuts))
        booked = Booked(tmp_path / str(share), replace(snapshot, models=(on,), deployments=(first, second)), directory)
        booked.ask(consumer="web")
        (record,) = booked.records()
        assert record["context"].get("arm") == arm and record["context"]["labels"]["owner"] == "web"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("asked", "answered", "tier", "price", "times"),
    [
        ("", "", "", "gpt-4.1@2025-04-14/GlobalStandard/global", 1.0),
        ("priority", "", "priority", "gpt-4.1@2025-04-14/GlobalStandard/global priority", 1.75),
        ("priority", "[sim:tier=default]", "default", "gpt-4.1@2025-04-14/GlobalStandard/global", 1.0),
    ],
    ids=["plain", "priority", "downgraded"],
)
def test_G1_the_tier_of_the_answer_decides_the_price(
    booked: Booked, stream: bool, asked: str, answered: str, tier: str, price: str, times: float
):
    more = {"service_tier": asked} if asked else {}
    booked.ask("hello " + answered, stream=stream, **more)
    (record,) = booked.records()
    assert (record["service_tier"], record["price"], record["usage_source"]) == (tier, price, "upstream")
    assert record["cost"] == round((record["input"] * INPUT + record["output"] * OUTPUT) * times)


def test_a_priority_answer_that_broke_off_before_it_said_so_is_estimated_at_that_price(booked: Booked):
    client = booked.stage.ask("hello", service_tier="priority")
    booked.stage.clock.run_for(0.05)
    client.drive.on_gone = 0.0
    client.leave()
    booked.stage.settle()
    (record,) = booked.records()
    assert (record["service_tier"], record["usage_source"]) == ("priority", "estimated")
    assert record["price"].endswith(" priority") and record["cost"] == round(record["input"] * INPUT * 1.75)


def test_what_an_attempt_cost_that_failed_over_is_overhead(tmp_path: Path):
    snapshot, directory = compiled(TWO)
    model = replace(snapshot.models[0], timeouts=Timeouts(first_byte=5.0))
    booked = Booked(tmp_path, replace(snapshot, models=(model,)), directory)
    booked.stage.upstream.fault("hang", instance="a", times=1)
    booked.ask()
    booked.stage.upstream.fault("status", status=500, times=1)
    booked.ask()
    hung, refused = booked.records()
    first, second = hung["attempts"]
    assert first["cause"] == "timeout.first_byte" and first["charged_to"] == "overhead"
    assert first["tokens"]["input"] > 0 and first["tokens"]["output"] == 0
    assert first["cost"] == hung["overhead"] == first["tokens"]["input"] * INPUT
    assert second["charged_to"] == "consumer" and second["cost"] == hung["cost"]
    assert [a["cause"] for a in refused["attempts"]] == ["upstream.status_5xx", ""]
    assert refused["overhead"] == 0 and refused["attempts"][0]["tokens"] is None, "a 500 is billed by nobody"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_answer_cut_before_anything_of_it_was_passed_on_costs_what_came(booked: Booked, stream: bool):
    booked.stage.upstream.fault("cut", instance="a", times=1, at=200 if stream else 300)
    assert booked.ask("hello [sim:tokens=400]", stream=stream).status == 200
    (record,) = booked.records()
    first = record["attempts"][0]
    assert first["cause"] == "answer.truncated" and first["tokens"]["input"] > 0
    assert record["overhead"] == first["tokens"]["input"] * INPUT + first["tokens"]["output"] * OUTPUT
    assert (first["tokens"]["output"] > 0) == (not stream)


def test_a_request_that_a_kill_interrupted_is_priced_by_who_was_asked_first_and_marked(booked: Booked):
    client = booked.stage.ask("hello " * 100, consumer="web")
    booked.stage.clock.run_for(0.05)
    (record,) = booked.records(killed=True)
    assert (record["state"], record["usage_source"], record["deployment"]) == ("interrupted", "estimated", 1)
    assert record["cost"] == record["input"] * INPUT > 0 and record["price"].startswith("gpt-4.1@")
    assert record["currency"] == "USD" and record["context"]["labels"]["owner"] == "web"
    client.drive.on_gone = 0.0
    client.leave()


def test_a_request_that_nobody_could_take_has_no_price(booked: Booked):
    booked.stage.upstream.fault("throttle", wait_s=60)
    assert booked.ask().status == 429 and booked.ask().status == 429
    assert [(r["state"], r["cost"], r["deployment"]) for r in booked.records()] == [("settled", None, 0)] * 2
