"""The gateway's own driver before simulated instances, in virtual time: stories start from here."""

import json
from dataclasses import replace

import pytest

from sluicegate.core.settings import Gateway, Timeouts
from sluicegate.core.snapshot import Auth, Deployment, Instance, Model, Snapshot
from sluicegate.sim.stage import Stage
from sluicegate.sim.traffic import arrivals, steady

SLOW = {"latency": {"first_token_s": 0.2, "per_token_s": 0.02}}
PTU_AND_STANDARD = {
    "std": {"deployments": {"s": SLOW}},
    "ptu": {"deployments": {"p": {"sku": "ProvisionedManaged", **SLOW}}},
}


def settled(stage: Stage) -> None:
    stage.settle()
    assert not stage.bugs, stage.bugs
    assert stage.world.in_flight == 0 and not stage.ledger.open()


def test_answers_take_virtual_time_and_no_other():
    stage = Stage(PTU_AND_STANDARD)
    plain = stage.ask("[sim:tokens=50]")
    stream = stage.ask("[sim:tokens=50]", stream=True)
    settled(stage)
    assert plain.status == stream.status == 200
    assert plain.ended_at - plain.asked_at == pytest.approx(0.2 + 50 * 0.02)
    assert stream.first_at - stream.asked_at == pytest.approx(0.2)
    assert stream.ended_at - stream.asked_at == pytest.approx(0.2 + 50 * 0.02)
    assert json.loads(plain.body)["usage"]["completion_tokens"] == 50
    assert [e.instance for e in stage.ledger] == ["ptu", "ptu"]


def test_a_throttled_provisioned_deployment_spills():
    stage = Stage(PTU_AND_STANDARD)
    stage.upstream.fault("throttle", instance="ptu", for_s=3)
    clients = []
    stage.play(arrivals(steady(20), for_s=8), lambda n: clients.append(stage.ask("hello", stream=n % 2 == 0)))
    stage.clock.run_for(8)
    settled(stage)
    assert {c.status for c in clients} == {200}
    assert stage.ledger[0].status == 429 and stage.ledger[0].retry_s == pytest.approx(2.95)
    assert len(stage.ledger.of("std")) == pytest.approx(60, abs=5)
    assert stage.ledger[-1].instance == "ptu"


def test_the_ledger_finds_requests_that_came_before_their_time():
    stage = Stage({"a": {}})
    stage.upstream.fault("throttle", times=1, wait_s=3)
    for wait_s in (0.0, 1.0, 3.0):
        stage.clock.run_for(wait_s)
        call = stage.ask("hello")
        stage.clock.run_for(0.1)
        assert call.drive.done
    too_early = [(e.number, said.number) for e, said in stage.ledger.early()]
    assert (2, 1) in too_early or len(stage.ledger) == 2  # a gateway that keeps the time sends nothing then
    assert (3, 1) not in too_early
    settled(stage)


def test_an_instance_that_dies_takes_its_answers_with_it():
    stage = Stage({"a": {"deployments": {"d": SLOW}}, "b": {"deployments": {"d": SLOW}}})
    stream = stage.ask("[sim:tokens=100]", stream=True)
    plain = stage.ask("[sim:tokens=100]")
    stage.clock.run_for(1.0)
    stage.upstream.mode("a", "down")
    after = stage.ask("hello")
    settled(stage)
    assert plain.status == after.status == 200  # nothing of them had left: tried elsewhere
    assert b'"error"' in stream.body and b"[DONE]" not in stream.body
    assert {e.ended for e in stage.ledger.of("a")} == {"stopped"}


def test_an_instance_that_lets_nobody_connect_costs_the_connect_time():
    stage = Stage({"a": {"mode": "stall"}, "b": {}}, timeouts=Timeouts(connect=2.0))
    client = stage.ask("hello")
    settled(stage)
    assert client.status == 200 and client.ended_at - client.asked_at == pytest.approx(2.0, abs=0.11)


def test_a_client_that_leaves_is_seen_upstream_at_once():
    stage = Stage(PTU_AND_STANDARD)
    client = stage.ask("[sim:tokens=100]", stream=True)
    stage.clock.run_for(1.0)
    client.leave()
    left = stage.clock.now()
    settled(stage)
    (entry,) = stage.ledger
    assert entry.ended == "client" and entry.left_at == left
    assert not entry.usage_sent and entry.sent_body > 0


def test_a_client_that_does_not_read_pauses_the_answer():
    stage = Stage(PTU_AND_STANDARD)
    client = stage.ask("[sim:tokens=100]", stream=True, room=2000)
    stage.clock.run_for(4.0)
    assert client.ended_at is None and 2000 <= len(client.body) < 4000
    for _ in range(100):
        client.take()
        stage.clock.run_for(0.1)
        if client.ended_at is not None:
            break
    settled(stage)
    assert client.body.endswith(b"data: [DONE]\n\n")


def test_the_same_seed_is_the_same_day():
    def day() -> list[object]:
        spec = {"a": {"deployments": {"d": {"latency": {"first_token_s": 0.5, "jitter": 0.5}}}}, "b": {}}
        stage = Stage(spec, seed=4)
        stage.upstream.fault("reset", instance="a", share=0.2)
        clients = []
        stage.play(
            arrivals(steady(30), 10, seed=1), lambda n: clients.append(stage.ask(f"hello {n}", stream=n % 3 == 0))
        )
        stage.clock.run_for(10)
        settled(stage)
        return [(c.status, bytes(c.body), c.ended_at) for c in clients] + [e.export() for e in stage.ledger]

    assert day() == day()


def test_faults_in_the_bytes_reach_the_driver_as_from_a_socket():
    stage = Stage({"a": {}, "b": {}})
    for fault in (
        {"kind": "cut", "at": 50},
        {"kind": "length", "by": 9},
        {"kind": "html"},
        {"kind": "gzip_bomb", "mb": 10},
    ):
        stage.upstream.fault(**fault, instance="a", times=1)
        client = stage.ask("hello")
        settled(stage)
        assert client.status == 200, fault
        stage.clock.run_for(60)
    assert stage.ledger.totals()["by_deployment"]["b/gpt-4o"] == 4


def test_a_try_again_says_which_it_is():
    stage = Stage()
    assert stage.ask(retry=2).drive.head.retries == 2 and stage.ask().drive.head.retries == 0
    settled(stage)


def test_a_configuration_whose_instances_take_tokens_is_simulated_as_if_it_had_them():
    instances = [
        Instance(1, "a", "azure_openai", "http", "127.0.0.1", 80, "", Auth("token", identity=1)),
        Instance(2, "b", "azure_openai", "http", "127.0.0.1", 81, "", Auth("token", identity=2)),
    ]
    deployments = [Deployment(n, "gpt-4o", n, "gpt-4o", "2024-11-20", "Standard", 1) for n in (1, 2)]
    models = (Model(1, "chat", (1, 2), ("chat_completions",), balance="round_robin"),)
    stage = Stage(snapshot=Snapshot("0" * 12, Gateway(), tuple(instances), tuple(deployments), models))
    clients = [stage.ask() for _ in range(4)]
    stage.settle()
    assert [client.status for client in clients] == [200] * 4
    stage.adopt(replace(stage.snapshot, hash="1" * 12))
    stage.world.withdraw(1)
    stage.world.withdraw(2)
    refused = stage.ask()
    stage.settle()
    assert refused.status == 503 and refused.header("retry-after") == "1"
