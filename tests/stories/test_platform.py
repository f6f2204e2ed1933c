"""Stories of the platform's own spillover: passed where it is switched on, seen either way, never a way around."""

from dataclasses import replace
from typing import Any

import pytest

from sluicegate.core.settings import Spill
from sluicegate.sim.stage import Client, Stage

HEADER = b"x-ms-spillover-deployment"
FAST = {"latency": {"first_token_s": 0.2, "per_token_s": 0.005}}
FLEET: dict[str, Any] = {
    "weu": {"deployments": {"ptu": {"sku": "ProvisionedManaged", **FAST}, "std": FAST, "other": FAST}},
    "sdc": {"deployments": {"far": FAST}},
}
"""`other` is declared, and no member of the pool."""


def stage(platform: bool, configured: str = "") -> Stage:
    """`configured`: where the resource itself says that it spills."""
    weu = {**FLEET["weu"]["deployments"], "ptu": {**FLEET["weu"]["deployments"]["ptu"], "spillover": configured}}
    made = Stage({**FLEET, "weu": {"deployments": weu}}, spill=Spill(platform=platform))
    numbers = {d.name: d.number for d in made.snapshot.deployments}
    members = tuple(numbers[name] for name in ("ptu", "std", "far"))
    model = replace(made.snapshot.models[0], deployments=members)
    made.adopt(replace(made.snapshot, models=(model,)))
    return made


def asked(stage: Stage, target: str | None, **more: Any) -> Client:
    headers = () if target is None else ((HEADER, target.encode()),)
    client = stage.ask("hello", headers=headers, **more)
    stage.settle()
    assert not stage.bugs, stage.bugs
    return client


def billed(stage: Stage) -> list[str]:
    return [stage.world.members[a.deployment].label for a in stage.journal.recent[-1].attempts]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_decision_33_where_it_is_on_a_client_may_ask_for_it_and_sees_it(stage_on: Stage, stream: bool):
    stage_on.upstream.fault("throttle", deployment="ptu", wait_s=9)
    client = asked(stage_on, "std", stream=stream)
    assert client.status == 200 and [e.spilled_to for e in stage_on.ledger.entries] == ["std"]
    assert client.header("x-ms-spillover-from-deployment") == "ptu" and client.header("x-ms-spillover-error") == "429"
    record = stage_on.journal.recent[-1]
    assert record.trail == ["weu/ptu: platform.spillover from ptu to std, 429"]
    assert billed(stage_on) == ["weu/std"], "who served is billed, not who was asked"
    client = asked(stage_on, "std", stream=stream)
    assert client.status == 200, "the gateway leaves the deployment open: Azure answered"
    assert len(stage_on.ledger) == 2


def test_an_answer_that_did_not_spill_says_nothing(stage_on: Stage):
    client = asked(stage_on, "std")
    assert client.status == 200 and b"spillover" not in client.headers and billed(stage_on) == ["weu/ptu"]


def test_a_prompt_too_long_spills_by_the_platform_too(stage_on: Stage):
    stage_on.upstream.fault("status", shape="too_long", deployment="ptu")
    client = asked(stage_on, "std")
    assert client.status == 200 and client.header("x-ms-spillover-error") == "400" and len(stage_on.ledger) == 1


@pytest.mark.parametrize("target", ["other", "far", "ptu", "gone", "std\r\nx: y"])
def test_a_header_is_no_way_to_a_deployment_outside_the_pool(stage_on: Stage, target: str):
    stage_on.upstream.fault("throttle", deployment="ptu", wait_s=9)
    assert asked(stage_on, target).status == 200
    assert [e.spilled_to for e in stage_on.ledger.entries] == ["", ""], "the gateway itself sent it on"
    assert billed(stage_on) == ["weu/ptu", "weu/std"]


def test_where_it_is_off_nobody_asks_for_it_and_the_gateway_spills_itself():
    made = stage(False)
    made.upstream.fault("throttle", deployment="ptu", wait_s=9)
    client = asked(made, "std")
    assert client.status == 200 and [e.spilled_to for e in made.ledger.entries] == ["", ""]
    assert made.journal.recent[-1].trail == ["weu/ptu: upstream.throttled.rate"]


def test_what_the_resource_does_by_itself_is_recorded_even_where_it_is_off():
    made = stage(False, "std")
    made.upstream.fault("throttle", deployment="ptu", wait_s=9)
    client = asked(made, None)
    assert client.status == 200 and b"spillover" not in client.headers
    assert made.journal.recent[-1].trail == ["weu/ptu: platform.spillover from ptu to std, 429"]
    assert billed(made) == ["weu/std"]


@pytest.fixture
def stage_on() -> Stage:
    return stage(True)
