"""Scenarios: files that run in virtual time, the same every time, and say what came of it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from sluicegate.cli.simulate import command
from sluicegate.sim.scenario import (
    BoundSpec,
    BurstsSpec,
    EventSpec,
    LoadSpec,
    Scenario,
    ScenarioSpec,
    SpikeSpec,
    judged,
    scenario_spec,
)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "simulator.md"
PAIR: dict[str, Any] = {"weu": {"deployments": {
    "ptu": {"sku": "ProvisionedManaged", "capacity": {"ptu_tokens_per_minute": 60_000, "bucket_s": 10},
            "latency": {"first_token_s": 0.2, "per_token_s": 0.01, "jitter": 0.3}},
    "std": {"latency": {"first_token_s": 0.3, "per_token_s": 0.02, "jitter": 0.3}},
}}}  # fmt: skip


def run(**given: Any) -> dict[str, Any]:
    return Scenario(scenario_spec({"for_s": 60, "fleet": PAIR, **given})).run().data


def test_what_the_callers_saw_and_what_was_booked_and_what_was_said_agree():
    data = run(traffic=[{"steady": 5, "stream": 0.5, "max_tokens": 200}], seed=3)
    assert data["requests"] == data["served"] == pytest.approx(300, rel=0.2)
    assert data["by_tier"]["provisioned"] + data["by_tier"]["standard"] == data["served"]
    assert 0.1 < data["spilled_share"] < 0.9
    by = data["by_deployment"]
    assert by["weu/ptu"]["throttled"] == data["upstream_429s"] > 0
    assert by["weu/std"]["served"] == data["by_tier"]["standard"]
    tokens = data["tokens"]
    assert (tokens["prompt"], tokens["output"]) == (tokens["booked_input"], tokens["booked_output"])
    assert tokens["prompt"] == sum(d["prompt_tokens"] for d in by.values())
    assert tokens["booked_output"] == data["by_consumer"]["app"]["booked_output"]
    assert 0.1 < data["first_token_s"]["p50"] < 0.5 < data["whole_s"]["p50"]


def test_prompts_are_as_long_as_they_should_be():
    data = run(traffic=[{"steady": 1, "even": True, "prompt_tokens": [500, 500], "output_tokens": [7, 7]}])
    assert data["tokens"]["prompt"] == 500 * data["requests"] and data["tokens"]["output"] == 7 * data["requests"]


@pytest.mark.parametrize(
    ("load", "requests"),
    [
        ({"ramp": [0.1, 20]}, 600),
        ({"spike": {"base": 1, "peak": 20, "at_s": 10, "for_s": 10}}, 250),
        ({"bursts": {"base": 1, "peak": 20, "every_s": 30, "for_s": 5}}, 250),
        ({"steady": 4, "from_s": 30, "for_s": 10}, 40),
    ],
)
def test_each_shape_of_traffic_comes_to_its_area(load: dict[str, Any], requests: int):
    assert run(traffic=[{**load, "even": True}])["requests"] == pytest.approx(requests, rel=0.1)


def test_users_ask_again_after_their_answer_and_a_think():
    data = run(traffic=[{"users": 4, "think_s": 2.0, "output_tokens": [80, 80], "max_tokens": 100}])
    cycle_s = 2.0 + 0.2 + 80 * 0.01
    assert data["requests"] == pytest.approx(4 * 60 / cycle_s, rel=0.1) and data["open"] == 0


def test_a_recorded_workload_is_replayed(tmp_path: Path):
    (tmp_path / "t.csv").write_text("t_s,input_tokens,output_tokens\n0,100,10\n1.5,200,20\n70,300,30\n")
    spec = scenario_spec({"for_s": 60, "fleet": PAIR, "traffic": [{"trace": "t.csv", "stream": 1}]})
    data = Scenario(spec, base=str(tmp_path)).run().data
    assert data["requests"] == 2 and data["tokens"] == {
        "prompt": 300, "output": 30, "booked_input": 300, "booked_output": 30,
    }  # fmt: skip


def test_equal_prefixes_are_equal_text(tmp_path: Path):
    (tmp_path / "t.csv").write_text(
        "t_s,input_tokens,output_tokens,prefix_block_ids\n0,1200,10,1 2\n1,1300,10,1 2\n2,1200,10,1 3\n"
    )
    spec = scenario_spec({"for_s": 60, "fleet": {"i": {}}, "traffic": [{"trace": "t.csv"}]})
    scenario = Scenario(spec, base=str(tmp_path))
    scenario.stage.ledger.keep_digests = scenario.stage.ledger.keep_bodies = True
    data = scenario.run().data
    one, two, three = (msgspec.json.decode(e.body)["messages"][0]["content"] for e in scenario.stage.ledger)
    assert one[:4096] == two[:4096] != three[:4096] and one[:2048] == three[:2048]
    assert data["tokens"]["prompt"] == 3700


def test_events_happen_in_their_time():
    data = run(
        traffic=[{"steady": 10, "even": True, "max_tokens": 100, "output_tokens": [5, 5], "prompt_tokens": [10, 10]}],
        fleet={"a": {}, "b": {}},
        events=[
            {"at_s": 10, "fault": {"kind": "throttle", "instance": "a"}},
            {"at_s": 20, "lift": True},
            {"at_s": 30, "patch": {"b": {"mode": "down"}, "a": {"region": "Sweden Central"}}},
        ],
    )
    assert data["served"] == data["requests"] and data["by_deployment"]["b/gpt-4o"]["served"] > 0
    assert data["by_deployment"]["a/gpt-4o"]["throttled"] > 0


def test_what_is_refused_cut_and_left_is_told_apart():
    data = run(
        fleet={"a": {}, "b": {"deployments": {"gpt-4o": {}}}},
        traffic=[{"steady": 5, "stream": 1, "patience_s": 3, "retries": 1}, {"steady": 2}],
        events=[
            {"at_s": 0, "fault": {"kind": "cut", "at": "before_done", "share": 0.1}},
            {"at_s": 20, "fault": {"kind": "hang", "for_s": 5}},
            {"at_s": 40, "fault": {"kind": "throttle", "for_s": 10}},
        ],
    )
    assert data["requests"] == data["served"] + data["refused"] + data["cut"] + data["left"]
    assert data["left"] > 0 and data["refused_by"]["pool.throttled"] > 0 and data["retried"] > 0


# ---------------------------------------------------------------- the same every time

DAY = {
    "for_s": 40, "seed": 5, "fleet": PAIR, "traffic": [
        {"steady": 8, "stream": 0.5, "retries": 2, "patience_s": 20},
        {"users": 5, "think_s": 0.5, "max_tokens": 300},
    ],
    "events": [
        {"at_s": 0, "fault": {"kind": "hang", "instance": "weu", "share": 0.05}},
        {"at_s": 10, "fault": {"kind": "reset", "share": 0.1}},
    ],
}  # fmt: skip
PRINT_DAY = """
import json, sys
from sluicegate.sim.scenario import Scenario, scenario_spec
scenario = Scenario(scenario_spec(json.loads(sys.argv[1])), seed=int(sys.argv[2]))
scenario.stage.ledger.keep_digests = True
data = scenario.run().data
print(json.dumps([data, [e.export() for e in scenario.stage.ledger]]))
"""


def test_the_same_seed_is_the_same_ledger_byte_for_byte_in_another_process_too():
    def day(seed: int, hashes: str) -> bytes:
        env = {**os.environ, "PYTHONHASHSEED": hashes}
        return subprocess.run(
            [sys.executable, "-c", PRINT_DAY, json.dumps(DAY), str(seed)], env=env, check=True, capture_output=True
        ).stdout

    one = day(5, "1")
    assert len(json.loads(one)[1]) > 300
    assert one == day(5, "2") == day(5, "3")
    assert one != day(6, "1")


def test_no_clock_but_the_virtual_one_is_read_and_nobody_sleeps(monkeypatch: pytest.MonkeyPatch):
    scenario = Scenario(scenario_spec(DAY))

    def forbidden(*args: object) -> float:
        raise AssertionError("the real clock")

    for name in ("time", "monotonic", "perf_counter", "sleep", "time_ns", "monotonic_ns"):
        monkeypatch.setattr(time, name, forbidden)
    data = scenario.run().data
    monkeypatch.undo()
    assert data["requests"] > 300


# ---------------------------------------------------------------- judging, and what is wrong


def test_expectations_are_judged_by_figure():
    data = {"served": 5, "by_deployment": {"weu/gpt-4o": {"served": 3}}, "refused_by": {}, "title": "x"}
    bounds = {
        "served": BoundSpec(least=5, most=5), "by_deployment/weu/gpt-4o/served": BoundSpec(most=2),
        "refused_by/pool.throttled": BoundSpec(most=0),
    }  # fmt: skip
    assert judged(data, bounds) == ["by_deployment/weu/gpt-4o/served is 3, expected at most 2"]
    assert judged(data, {"refused_by/pool.throttled": BoundSpec(least=1)}) != []
    for path in ("servd", "by_deployment/weu/gpt-4/served", "title", "served/x", "by_deployment"):
        with pytest.raises(ValueError, match="expect"):
            judged(data, {path: BoundSpec(least=1)})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"for_s": 0}, "for_s"),
        ({"traffic": [{}]}, r"traffic\[0\].*exactly one"),
        ({"traffic": [{"steady": 1, "users": 2}]}, r"traffic\[0\].*exactly one"),
        ({"traffic": [{"steady": 1, "prompt_tokens": [5, 1]}]}, "prompt_tokens"),
        ({"traffic": [{"steady": 1, "stream": 2}]}, "stream"),
        ({"traffic": [{"steady": 1, "stead": 2}]}, "stead"),
        ({"traffic": [{"steady": 1, "consumer": "nobody"}]}, "there is no 'nobody', only app"),
        ({"traffic": [{"steady": 1, "model": "none"}]}, "there is no 'none', only chat"),
        ({"traffic": [{"trace": "missing.csv"}]}, "missing.csv"),
        ({"events": [{"at_s": 1, "fault": {"kind": "flood"}}]}, "flood"),
        ({"events": [{"at_s": 1, "patch": {"gone": {}}}]}, "there is no 'gone'"),
    ],
)
def test_a_wrong_scenario_is_told_so_with_the_place(wrong: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=says):
        run(**{"traffic": [{"steady": 1}], **wrong})


def test_the_verb_runs_a_file_and_fails_where_it_is_not_as_expected(tmp_path: Path):
    gateway = {
        "version": "1",
        "instances": {"weu": {
            "endpoint": "https://weu.example", "region": "${env:SCENARIO_REGION|westeurope}",
            "auth": {"key": "${env:SCENARIO_KEY}"},
            "deployments": {"gpt-4o": {"model": "gpt-4o", "version": "2024-11-20"}},
        }},
        "models": {"chat": {"use": "gpt-4o@2024-11-20"}},
        "consumers": {"shop": {"key": "${file:/nowhere/key}", "models": ["chat"]}},
    }  # fmt: skip
    file = tmp_path / "s.yaml"
    document: dict[str, Any] = {
        "for_s": 60, "gateway": gateway, "traffic": [{"steady": 1, "consumer": "shop"}],
        "fleet": {"weu": {"deployments": {"gpt-4o": {"capacity": {"tokens_per_minute": 10_000}}}}},
        "expect": {"served_share": {"least": 1}},
    }  # fmt: skip
    file.write_text(json.dumps(document))
    failed = CliRunner().invoke(command, ["--scenario", str(file)])
    assert failed.exit_code == 1 and "not as expected: served_share is 0." in failed.output, failed.output
    assert "pool.throttled" in failed.output and "weu/gpt-4o" in failed.output
    document["expect"] = {"served_share": {"most": 0.9}}
    file.write_text(json.dumps(document))
    good = CliRunner().invoke(command, ["--scenario", str(file), "--json", "--seed", "4"])
    assert good.exit_code == 0, good.output
    data = json.loads(good.output)
    assert data["unexpected"] == [] and data["cpu_s"] > 0 and data["by_consumer"]["shop"]["served"] == data["served"]
    document["gateway"]["models"]["chat"]["use"] = "gpt-5@1"
    file.write_text(json.dumps(document))
    wrong = CliRunner().invoke(command, ["--scenario", str(file)])
    assert wrong.exit_code == 1 and "models.chat.use" in wrong.output
    absent = CliRunner().invoke(command, ["--scenario", str(tmp_path / "gone.yaml")])
    assert absent.exit_code == 1 and "gone.yaml" in absent.output


def test_the_page_names_every_field_of_a_scenario():
    page = PAGE.read_text()
    for shape in (ScenarioSpec, LoadSpec, SpikeSpec, BurstsSpec, EventSpec, BoundSpec):
        for field in msgspec.structs.fields(shape):
            assert f"`{field.name}`" in page, f"{shape.__name__}.{field.name}"
