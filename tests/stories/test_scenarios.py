"""Stories of whole days: the example scenarios, each by what it expects, and what only the ledger can tell.

Minutes of traffic in virtual time; the files are those of examples/scenarios and examples/topologies, run as `sluicegate simulate` runs them.
"""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sluicegate.cli.scenario import read
from sluicegate.sim.ledger import Entry
from sluicegate.sim.scenario import Scenario, judged, scenario_spec
from sluicegate.sim.stage import Stage

HERE = Path(__file__).parents[2] / "examples" / "scenarios"
TOPOLOGIES = HERE.parent / "topologies"
FILES = [*sorted(HERE.glob("*.yaml")), *sorted(TOPOLOGIES.glob("*.scenario.yaml"))]


@cache
def played(path: Path) -> Scenario:
    """Each once."""
    scenario = read(str(path))
    scenario.run()
    return scenario


def between(scenario: Scenario, start_s: float, end_s: float) -> list[Entry]:
    """Upstream calls that came in that part of the scenario."""
    zero = scenario.started_at
    return [e for e in scenario.stage.ledger if start_s <= e.first_at - zero < end_s]


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_an_example_scenario_comes_out_as_it_says(path: Path):
    scenario = played(path)
    data = scenario.summary.data
    assert scenario.spec.expect, "a scenario that expects nothing shows nothing"
    assert not judged(data, scenario.spec.expect), scenario.summary.table()
    assert data["open"] == 0 and scenario.stage.world.in_flight == 0 and not scenario.stage.ledger.open()
    assert data["requests"] == data["served"] + data["refused"] + data["cut"] + data["left"]
    if not data["cut"] and not data["left"]:
        tokens = data["tokens"]
        broken = [e.claim for e in scenario.stage.ledger if e.claim is not None and e.ended != "done"]
        lost = (sum(claim.prompt for claim in broken), sum(claim.completion for claim in broken))  # it failed over
        assert (tokens["booked_input"] + lost[0], tokens["booked_output"] + lost[1]) == (
            tokens["prompt"],
            tokens["output"],
        )


def test_S01_a_spike_bursts_to_standard_and_comes_home():
    scenario = played(HERE / "spike.yaml")
    before, after = between(scenario, 0, 150), between(scenario, 400, 600)
    assert {e.instance + "/" + e.deployment for e in before + after} == {"weu/gpt-4o-ptu"}
    during = between(scenario, 220, 320)
    assert {e.deployment for e in during} == {"gpt-4o-ptu", "gpt-4o"}
    served = [e for e in during if e.status == 200]
    provisioned = sum(e.deployment == "gpt-4o-ptu" for e in served)
    assert 0.1 < provisioned / len(served) < 0.6, "what fits is still taken by the provisioned one"


def test_S08_what_was_said_of_long_streams_is_booked():
    scenario = played(HERE / "long-streams.yaml")
    data = scenario.summary.data
    assert data["tokens"]["booked_output"] == pytest.approx(data["tokens"]["output"], rel=0.001)
    left = [e for e in scenario.stage.ledger if e.ended == "client"]
    assert len(left) == data["left"]
    for entry in left:
        assert entry.left_at is not None and entry.left_at - entry.first_at == pytest.approx(400, abs=1.0)
        assert 380 <= entry.claim.completion <= 410, "upstream stopped within a second of the client's leaving"


def test_a_request_is_never_lost_whatever_befalls_the_fleet():
    """Everything at once: each request ends, is booked once, and holds nothing afterwards."""
    fleet: dict[str, Any] = {
        name: {"deployments": {"d": {"latency": {"first_token_s": 0.2, "per_token_s": 0.02, "jitter": 0.5}}}}
        for name in ("a", "b", "c")
    }
    kinds = ("status", "throttle", "reset", "hang", "cut", "html")
    events = [{"at_s": 0, "fault": {"kind": kind, "share": 0.06}} for kind in kinds]
    events += [
        {"at_s": 20, "patch": {"a": {"mode": "down"}}}, {"at_s": 30, "patch": {"a": {"mode": "up"}}},
        {"at_s": 40, "patch": {"b": {"mode": "stall"}}}, {"at_s": 50, "patch": {"b": {"mode": "up"}}},
    ]  # fmt: skip
    scenario = Scenario(scenario_spec({
        "for_s": 60, "seed": 9, "fleet": fleet, "events": events,
        "traffic": [{"steady": 15, "stream": 0.5, "retries": 2, "patience_s": 15}, {"users": 10, "think_s": 0.2}],
    }))  # fmt: skip
    data = scenario.run().data
    assert data["requests"] > 1000 and data["open"] == 0
    assert data["requests"] == data["served"] + data["refused"] + data["cut"] + data["left"]
    journal = scenario.stage.journal
    assert not journal.open and journal.records == journal.settled + journal.interrupted
    assert scenario.stage.world.in_flight == 0 and not any(m.in_flight for m in scenario.stage.world.members.values())
    assert not scenario.stage.ledger.open()


def test_S01_nobody_is_asked_before_the_time_a_429_named_and_home_is_tried_then():
    scenario = played(HERE / "spike.yaml")
    calls = [e for e in scenario.stage.ledger if e.deployment == "gpt-4o-ptu"]
    refused = [n for n, e in enumerate(calls) if e.status == 429]
    assert len(refused) > 20
    for n in refused[:-1]:
        named = calls[n].retry_s
        assert named is not None
        waited = calls[n + 1].first_at - calls[n].first_at
        assert waited >= named
        assert waited < named + 2.0, "home is asked again as soon as it may be, at several requests a second"


def test_S02_what_was_mended_serves_again():
    scenario = played(HERE / "broken.yaml")
    for name, within_s in (("deleted", 35), ("unreachable", 10), ("revoked", 35)):
        back = [e for e in between(scenario, 240, 300) if e.instance == name and e.status == 200]
        assert back and back[0].first_at - scenario.started_at < 240 + within_s, name


def test_S03_all_throttled_costs_no_call_and_the_time_told_counts_down():
    stage = Stage({"a": {}, "b": {}, "c": {}})
    for name, for_s in (("a", 30.0), ("b", 12.0), ("c", 20.0)):
        stage.upstream.fault("throttle", instance=name, for_s=for_s)
    told = []
    for _ in range(5):
        client = stage.ask()
        stage.clock.run_for(2.0)
        assert client.status == 429 and client.header("x-should-retry") == "true"
        told.append(int(client.header("retry-after-ms") or 0))
        assert client.ended_at is not None and client.ended_at - client.asked_at < 0.02
    assert told == [12000, 10000, 8000, 6000, 4000] and len(stage.ledger) == 3
    stage.clock.run_for(2.0)
    home = stage.ask()
    stage.settle()
    assert home.status == 200 and stage.ledger[-1].instance == "b" and not stage.ledger.early()


def test_G14_a_retry_storm_is_not_made_worse_and_is_over_at_once():
    scenario = played(HERE / "retry-storm.yaml")  # 20 a second
    assert len(between(scenario, 30, 80)) <= 1.2 * 20 * 50, "half of all answers are 500"
    assert len(between(scenario, 81, 120)) <= 39, "all of them are: a look a second"
    well = between(scenario, 125, 135)
    assert len(well) == pytest.approx(200, abs=1) and {e.status for e in well} == {200}


def test_the_faster_region_is_found_within_seconds_after_they_swapped():
    scenario = played(HERE / "latency.yaml")
    before, after = between(scenario, 20, 120), between(scenario, 125, 240)
    assert sum(e.instance == "near" for e in before) > 0.9 * len(before)
    assert sum(e.instance == "far" for e in after) > 0.9 * len(after)
