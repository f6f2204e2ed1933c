"""Stories of residency: a stamp that loses everybody stays a stamp (S-06), an answer from elsewhere takes its member
out, a consumer of another boundary is told where to go. In virtual time, judged by the ledger of the simulator."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate import drive as drive_module
from sluicegate.core import exchange as exchange_module
from sluicegate.core.snapshot import Directory, Snapshot
from sluicegate.core.state import World
from sluicegate.sim.stage import Client, Stage
from tests.laws.mutants import mutant
from tests.spec.reading import compiled
from tests.stories.test_records import Booked

MODEL = "model: gpt-4.1, version: 2025-04-14"
STAMPS = f"""
version: 1
gateway: {{secrets: ["${{env:SECRET}}"], region: westeurope, boundaries: [eu, world]}}
boundaries:
  eu: {{regions: [westeurope, swedencentral], processing: data_zone}}
  world: {{regions: any, processing: global}}
  uk: {{regions: [uksouth], processing: regional, url: https://uk.llm.contoso.example}}
  ch: {{regions: [switzerlandnorth], processing: regional}}
instances:
  weu: {{endpoint: https://w.example, region: westeurope, auth: {{key: "${{env:AOAI_KEY}}"}}, deployments: {{
    first: {{{MODEL}, sku: Standard}}, zone: {{{MODEL}, sku: DataZoneStandard}}}}}}
  sdc: {{endpoint: https://s.example, region: swedencentral, auth: {{key: "${{env:AOAI_KEY}}"}}, deployments: {{
    second: {{{MODEL}, sku: Standard}}}}}}
  usa: {{endpoint: https://u.example, region: eastus, auth: {{key: "${{env:AOAI_KEY}}"}}, deployments: {{
    third: {{{MODEL}, sku: Standard}}, any: {{{MODEL}, sku: GlobalStandard}}}}}}
models:
  chat: {{use: [weu/first, weu/zone, sdc/second, usa/third, usa/any], timeouts: {{first_byte: 3s}}, retry: {{attempts: 5}}}}
tenants: {{retail: {{boundary: eu}}, labs: {{boundary: world}}, crown: {{boundary: uk}}, bank: {{boundary: ch}}}}
consumers:
  shop: {{tenant: retail, key: "${{env:APP_KEY}}", models: [chat]}}
  lab: {{tenant: labs, key: "${{env:AOAI_KEY}}", models: [chat]}}
  crown: {{tenant: crown, key: "${{env:THIRD}}", models: [chat]}}
  bank: {{tenant: bank, key: "${{env:FOURTH}}", models: [chat]}}
"""
ENV = {"THIRD": "key-of-the-third-00000001", "FOURTH": "key-of-the-fourth-0000001"}
EU, US = ("weu", "sdc"), ("usa",)


class Alarms:
    """What a worker would tell its keeper."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, str]] = []
        self.out: list[str] = []

    def raised(self, kind: str, subject: str, detail: str) -> None:
        self.said.append((kind, subject, detail))

    def over(self, kind: str, subject: str) -> None: ...

    def barred(self, deployment: str, detail: str) -> None:
        self.out.append(deployment)
        self.raised("region.mismatch", deployment, detail)


def stamps(text: str = STAMPS) -> tuple[Snapshot, Directory]:
    return compiled(text, ENV)


def stage(text: str = STAMPS, **more: Any) -> tuple[Stage, Alarms]:
    snapshot, directory = stamps(text)
    made = Stage(snapshot=snapshot, directory=directory, **more)
    made.world.alarms = alarms = Alarms()
    return made, alarms


def calls(stage: Stage, *instances: str) -> int:
    return sum(len(stage.ledger.of(name)) for name in instances)


def asked(stage: Stage, consumer: str, **more: Any) -> Client:
    client = stage.ask(consumer=consumer, **more)
    stage.settle()
    assert not stage.bugs, stage.bugs
    return client


def moved(stage: Stage, instance: str, region: str) -> None:
    """From now on its answers name this region."""
    stage.upstream.patch({instance: {"region": region}})


def reason(client: Client) -> str | None:
    return client.header("x-sluicegate-reason")


@pytest.mark.parametrize(
    ("fault", "more", "status", "says"),
    [
        ("throttle", {"wait_s": 30}, 429, "boundary.throttled"),
        ("status", {"status": 500}, 503, "boundary.failed"),
        ("reset", {}, 503, "boundary.failed"),
        ("hang", {}, 503, "boundary.failed"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_S06_a_stamp_that_loses_all_its_members_refuses_and_asks_nobody_outside(
    fault: str, more: dict[str, Any], status: int, says: str, stream: bool
):
    there, _ = stage()
    for name in EU:
        there.upstream.fault(fault, instance=name, **more)
    for _ in range(30):
        client = asked(there, "shop", stream=stream)
        assert (client.status, reason(client)) == (status, says), client.body
        there.clock.run_for(1.0)
    assert calls(there, *EU) and not calls(there, *US), "members outside are well, and get nothing"
    assert asked(there, "lab").status == 200, "who may go there, does"
    assert calls(there, *US) == 1


def test_a_member_outside_is_asked_by_nobody_whatever_balance_says():
    """L8: the fastest of all is outside, and only those inside are compared."""
    text = STAMPS.replace("retry: {attempts: 5}", "balance: latency")
    there, _ = stage(text)
    for _ in range(200):
        assert asked(there, "shop").status == 200
    assert not calls(there, *US)


def test_F6_a_consumer_of_another_boundary_is_told_where_it_is_served_and_nothing_else():
    there, _ = stage()
    for version in ("2024-10-21", None):
        told = asked(there, "crown", api_version=version)
        body = json.loads(told.body)["error"]
        assert (told.status, reason(told)) == (403, "boundary.mismatch")
        assert told.header("x-sluicegate-url") == "https://uk.llm.contoso.example"
        assert "Use https://uk.llm.contoso.example instead." in body["message"]
        silent = asked(there, "bank", api_version=version)
        assert (silent.status, reason(silent), silent.header("x-sluicegate-url")) == (403, "boundary.mismatch", None)
        for client in (told, silent):
            seen = bytes(client.body) + client.headers
            for word in (b"westeurope", b"eastus", b'"eu"', b"weu", b"usa", b"uksouth", b"chat"):
                assert word not in seen, word
    assert not calls(there, *EU, *US)
    assert not there.world.in_flight


def test_a_consumer_of_another_boundary_is_refused_before_its_body_is_read():
    there, _ = stage()
    client = there.ask(b"not JSON at all", consumer="crown", api_version=None)
    there.settle()
    assert client.status == 403, "nobody looked at the body"


def test_an_answer_from_outside_takes_its_member_out_at_once_and_marks_the_record(tmp_path: Path):
    snapshot, directory = stamps()
    booked = Booked(tmp_path, snapshot, directory)
    there = booked.stage
    there.world.alarms = alarms = Alarms()
    moved(there, "weu", "eastus")
    first = asked(there, "shop")
    assert first.status == 200, "what is done is done: it was processed, and the record says where"
    assert alarms.out == ["weu/first"]
    before = calls(there, "weu")
    moved(there, "weu", "westeurope")
    for _ in range(20):
        assert asked(there, "shop").status == 200
    assert calls(there, "weu") == before + 20, "its other deployment was never seen elsewhere"
    assert all(e.deployment == "zone" for e in there.ledger.of("weu")[before:])
    (kind, subject, detail), *_ = alarms.said
    assert (kind, subject) == ("region.mismatch", "weu/first")
    assert detail == "answers from East US, declared is westeurope regional Standard: outside boundary eu"
    record, *_ = booked.records()
    (attempt,) = record["attempts"]
    assert (attempt["region"], attempt["declared"]) == ("East US", "westeurope regional Standard")
    assert "weu/first: region.mismatch East US" in record["trail"]


def test_a_data_zone_may_answer_from_all_of_it_and_a_global_one_from_anywhere():
    there, alarms = stage()
    drained = [d.number for d in there.snapshot.deployments if d.name in ("first", "second", "third")]
    models = tuple(
        replace(
            m,
            deployments=tuple(n for n in m.deployments if n not in drained),
            cuts=tuple((b, tuple(n for n in ns if n not in drained)) for b, ns in m.cuts),
        )
        for m in there.snapshot.models
    )
    there.adopt(replace(there.snapshot, models=models))
    for region in ("francecentral", "polandcentral", "westeurope"):
        moved(there, "weu", region)
        assert asked(there, "shop").status == 200
    assert not alarms.said
    there.upstream.fault("throttle", instance="weu", wait_s=600)
    moved(there, "usa", "japaneast")
    assert asked(there, "lab").status == 200
    assert not alarms.said


def test_a_contradiction_inside_the_boundary_is_told_and_nothing_more():
    there, alarms = stage()
    moved(there, "weu", "swedencentral")
    for _ in range(3):
        assert asked(there, "shop").status == 200
    assert not alarms.out and {s for _, s, _ in alarms.said} == {"weu/first"}


def test_without_boundaries_a_contradiction_is_told_and_nobody_is_taken_out():
    text = STAMPS
    for line in ("boundaries: [eu, world]",):
        text = text.replace(", " + line, "")
    begin, end = text.index("boundaries:\n"), text.index("instances:")
    text = text[:begin] + text[end:]
    for name in ("eu", "world", "uk", "ch"):
        text = text.replace(f"{{boundary: {name}}}", "{}")
    there, alarms = stage(text)
    moved(there, "weu", "eastus")
    for _ in range(3):
        assert asked(there, "shop").status == 200
    assert alarms.said and not alarms.out
    assert there.world.members and not any(m.declared for m in there.world.members.values())


def test_all_members_inside_that_answer_from_outside_leave_nobody_and_no_time_to_come_back():
    there, alarms = stage()
    for name in EU:
        moved(there, name, "eastus")
    for _ in range(3):
        assert asked(there, "shop").status == 200
    last = asked(there, "shop")
    assert (last.status, reason(last)) == (503, "boundary.failed")
    assert sorted(alarms.out) == ["sdc/second", "weu/first", "weu/zone"]
    assert int(last.header("retry-after") or 0) == 1, "not never, and not a number that is none"
    states = {p["deployment"]: p["state"] for p in there.world.pools(there.clock.now())}
    assert states["weu/first"] == "barred" and states["usa/third"] == "closed"
    there.adopt(there.snapshot)  # an operator brought them back
    for name in EU:
        moved(there, name, "westeurope")
    assert asked(there, "shop").status == 200


def test_a_boundary_that_moves_while_requests_are_under_way_holds_for_who_begins_after():
    """Who was sent stays where it is; who waits with its body, or fails over later, goes by what it began with or by
    the new one, never outside both."""
    there, _ = stage()
    narrow, _d = stamps(STAMPS.replace("eu: {regions: [westeurope, swedencentral]", "eu: {regions: [westeurope]"))
    there.upstream.fault("throttle", instance="weu", wait_s=60)
    running = [there.ask(consumer="shop", stream=True) for _ in range(3)]
    there.clock.run_for(0.05)
    sweden = calls(there, "sdc")
    assert sweden == 3
    there.adopt(narrow)
    refused = asked(there, "shop")
    assert (refused.status, reason(refused)) == (429, "boundary.throttled")
    assert calls(there, "sdc") == sweden and not calls(there, *US)
    assert [c.status for c in running] == [200] * 3


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_began_under_a_wider_boundary_fails_over_to_nobody_outside_the_new_one(stream: bool):
    """It hangs at a member while the boundary shrinks; whoever would be next is outside by the time it is asked."""
    there, _ = stage()
    there.upstream.fault("hang", instance="weu")
    waiting = [there.ask(consumer="shop", stream=stream) for _ in range(4)]
    there.clock.run_for(1.0)
    assert calls(there, "weu") == 4
    there.adopt(stamps(STAMPS.replace("eu: {regions: [westeurope, swedencentral]", "eu: {regions: [westeurope]"))[0])
    there.settle()
    assert not there.bugs and not calls(there, "sdc", *US)
    assert {(c.status, reason(c)) for c in waiting} == {(503, "boundary.failed")}
    wider, _ = stage()
    wider.upstream.fault("hang", instance="weu")
    assert asked(wider, "shop").status == 200, "else it does fail over"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("before", ["labs: {boundary: world}", ""])
def test_a_request_whose_tenant_is_given_another_boundary_fails_over_to_nobody_outside_it(stream: bool, before: str):
    """It was under way when its tenant could be served anywhere, or there were no boundaries yet."""
    old = STAMPS
    if not before:
        old = "\n".join(
            line for line in STAMPS.splitlines() if not line.startswith(("  eu:", "  world:", "  uk:", "  ch:"))
        )
        old = old.replace("boundaries:\n", "").replace(", boundaries: [eu, world]", "")
        old = old.replace("tenants: {retail: {boundary: eu}, labs: {boundary: world}, crown: {boundary: uk}, "
                          "bank: {boundary: ch}}", "tenants: {retail: {}, labs: {}, crown: {}, bank: {}}")  # fmt: skip
    new = STAMPS.replace("labs: {boundary: world}", "labs: {boundary: eu}")
    for moves in (False, True):
        there, _ = stage(old)
        there.upstream.fault("hang", instance="weu")
        there.upstream.fault("status", instance="sdc", status=500)
        waiting = [there.ask(consumer="lab", stream=stream) for _ in range(4)]
        there.clock.run_for(1.0)
        assert calls(there, "weu") == 4
        if moves:
            there.adopt(*stamps(new))
        there.settle()
        assert not there.bugs
        assert bool(calls(there, *US)) is not moves
        assert {c.status for c in waiting} == {503 if moves else 200}


def test_a_world_of_mutants_a_route_that_is_not_cut_is_seen():
    """The stories above look at something: a World that forgets to cut sends to the members outside."""
    snapshot, directory = stamps()
    uncut = tuple(replace(m, cuts=tuple((b, m.deployments) for b, _ in m.cuts)) for m in snapshot.models)
    there = Stage(snapshot=replace(snapshot, models=uncut), directory=directory)
    for name in EU:
        there.upstream.fault("throttle", instance=name, wait_s=60)
    assert asked(there, "shop").status == 200
    assert calls(there, *US) == 1
    assert isinstance(there.world, World)


MUTANTS = {
    "does not bar who answers from outside": (
        "    if outside:\n        member.door.bar()\n",
        "    if outside:\n",
        test_all_members_inside_that_answer_from_outside_leave_nobody_and_no_time_to_come_back,
    ),
    "does not look where an answer comes from": (
        "if attempt.region != member.seen:",
        "if False:",
        test_a_contradiction_inside_the_boundary_is_told_and_nothing_more,
    ),
    "goes by the boundary that it began with": (
        "while member is not None and not _still_inside(",
        "while member is not None and False and not _still_inside(",
        lambda: test_a_request_that_began_under_a_wider_boundary_fails_over_to_nobody_outside_the_new_one(False),
    ),
    "reads the body first": (
        "    if who.boundary and not world.routes.serves(who.boundary):",
        "    if False:",
        test_a_consumer_of_another_boundary_is_refused_before_its_body_is_read,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_that_forgets_the_boundary_once_is_caught(name: str, monkeypatch: pytest.MonkeyPatch):
    old, new, story = MUTANTS[name]
    monkeypatch.setattr(drive_module, "exchange", mutant(exchange_module, old, new).exchange)
    with pytest.raises(AssertionError):
        story()
