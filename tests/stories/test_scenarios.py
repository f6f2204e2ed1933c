"""Stories of whole days: the example scenarios, each by what it expects, and what only the ledger can tell.

Minutes of traffic in virtual time; the files are those of examples/scenarios, run as `sluicegate simulate` runs them.
"""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sluicegate.cli.scenario import read
from sluicegate.sim.ledger import Entry
from sluicegate.sim.scenario import Scenario, judged, scenario_spec

HERE = Path(__file__).parents[2] / "examples" / "scenarios"
FILES = sorted(HERE.glob("*.yaml"))


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
        assert (tokens["booked_input"], tokens["booked_output"]) == (tokens["prompt"], tokens["output"])


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
