"""Stories of one request and several members: who is asked, in which order, why the next one is, what the client sees.

In virtual time: a minute of waiting costs nothing, and every figure is exact.
"""

import json
from typing import Any

import pytest

from sluicegate.core.record import UsageRecord
from sluicegate.core.settings import OnDisconnect, Timeouts
from sluicegate.sim.stage import Client, Stage

THREE: dict[str, Any] = {
    "weu": {"region": "West Europe", "deployments": {"gpt-4o": {}}},
    "swc": {"region": "Sweden Central", "deployments": {"gpt-4o": {}}},
    "frc": {"region": "France Central", "deployments": {"gpt-4o": {}}},
}
PAIRED: dict[str, Any] = {
    "standard": {"deployments": {"s": {}}},
    "provisioned": {"deployments": {"p": {"sku": "ProvisionedManaged"}}},
}


def asked(stage: Stage, content: str = "hello", **more: Any) -> tuple[Client, UsageRecord]:
    """One request to its end, and what was booked."""
    client = stage.ask(content, **more)
    stage.settle()
    assert not stage.bugs, stage.bugs
    assert stage.world.in_flight == 0 and not any(m.in_flight for m in stage.world.members.values())
    return client, stage.journal.recent[-1]


def trail(record: UsageRecord, stage: Stage) -> list[tuple[str, str]]:
    """Of each attempt: which instance, and why it did not serve (empty: it did)."""
    names = {i.number: i.name for i in stage.snapshot.instances}
    at = {d.number: names[d.instance] for d in stage.snapshot.deployments}
    return [(at[a.deployment], a.cause) for a in record.attempts]


def error(client: Client) -> dict[str, Any]:
    """The error that the client was shown."""
    shown: dict[str, Any] = json.loads(client.body)["error"]
    return shown


# ---------------------------------------------------------------------- a member that is broken


@pytest.mark.parametrize("stream", [False, True])
def test_A11_one_refuses_connections_one_answers_500_the_third_serves(stream: bool):
    stage = Stage(THREE)
    stage.upstream.mode("weu", "down")
    stage.upstream.fault("status", status=500, instance="swc")
    client, record = asked(stage, stream=stream)
    assert client.status == 200 and client.ended_at is not None
    assert trail(record, stage) == [("weu", "connect.refused"), ("swc", "upstream.status_5xx"), ("frc", "")]
    assert (record.state, record.how, record.status) == ("settled", "done", 200)
    assert record.trail == ["weu/gpt-4o: connect.refused", "swc/gpt-4o: upstream.status_5xx"]
    served = stage.ledger.of("frc")[0]
    assert record.usage is not None
    assert (record.usage.total_input, record.usage.total_output) == (served.claim.prompt, served.claim.completion)


def test_A11_the_attempts_say_when_they_began_and_ended():
    stage = Stage(THREE, timeouts=Timeouts(connect=2.0, first_byte=5.0))
    stage.upstream.mode("weu", "stall")
    stage.upstream.fault("hang", instance="swc")
    client, record = asked(stage)
    assert client.status == 200
    began = record.at
    times = [(round(a.at - began, 1), round(a.ended_at - a.at, 1)) for a in record.attempts]
    assert trail(record, stage) == [("weu", "connect.timeout"), ("swc", "timeout.first_byte"), ("frc", "")]
    assert times[0] == (0.0, pytest.approx(2.0, abs=0.2))
    assert times[1] == (pytest.approx(2.0, abs=0.2), pytest.approx(5.0, abs=0.2))
    assert times[2] == (pytest.approx(7.0, abs=0.3), 0.0)


def test_A11_a_reset_before_the_answer_is_a_fault_like_any_other():
    stage = Stage(THREE)
    stage.upstream.fault("reset", instance="weu")
    client, record = asked(stage)
    assert client.status == 200
    assert trail(record, stage) == [("weu", "connection.reset"), ("swc", "")]


@pytest.mark.parametrize(
    ("shape", "status", "cause"),
    [
        ("wrong_key", 401, "upstream.credential"),
        ("no_permission", 401, "upstream.credential"),
        ("network", 403, "upstream.credential"),
        ("no_deployment", 404, "upstream.deployment"),
    ],
)
def test_A8_what_is_our_fault_is_never_shown_as_the_clients(shape: str, status: int, cause: str):
    stage = Stage(THREE)
    stage.upstream.fault("status", shape=shape, status=status, instance="weu")
    client, record = asked(stage)
    assert client.status == 200
    assert trail(record, stage) == [("weu", cause), ("swc", "")]
    assert record.attempts[0].status == status


@pytest.mark.parametrize("shape", ["wrong_key", "no_permission", "network", "no_deployment"])
def test_A8_not_even_when_nobody_else_is_left(shape: str):
    stage = Stage({"only": {}})
    stage.upstream.fault("status", shape=shape)
    client, record = asked(stage)
    assert client.status == 503 and error(client)["reason"] == "pool.failed"
    shown = client.headers + bytes(client.body)
    for word in (b"subscription", b"Principal", b"Virtual Network", b"DeploymentNotFound", b"only", b"gpt-4o"):
        assert word not in shown, "nothing of the upstream's words, nor our names of it"
    assert client.header("x-should-retry") == "false"
    assert client.header("retry-after") == "30", "when it is looked at again"
    assert record.reason == "pool.failed"


def test_B7_a_request_that_is_itself_wrong_is_not_tried_elsewhere():
    stage = Stage(THREE)
    for prompt, code in (("[sim:filter]", "content_filter"), ("[sim:too_long]", "context_length_exceeded")):
        client, record = asked(stage, prompt)
        assert client.status == 400 and error(client)["code"] == code
        assert [name for name, _ in trail(record, stage)] == ["weu"]
        assert (record.state, record.status) == ("settled", 400)


def test_B7_a_version_that_does_not_exist_is_the_clients_to_see():
    """It named it; and it must not be able to put a deployment out of service."""
    stage = Stage(THREE)
    stage.upstream.fault("status", shape="no_resource", instance="weu")
    client, record = asked(stage)
    assert client.status == 404 and error(client)["message"] == "Resource not found"
    assert trail(record, stage) == [("weu", "")]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("code", ["400", "BadRequestError", "content_filter", "invalid_request_error"])
def test_B7_nor_where_it_is_said_behind_a_status_200(code: str, stream: bool):
    """Servers that send their head before they look at the request: a client whose prompts they do not take would have
    opened the breakers of all of them, for everybody."""
    stage = Stage(THREE)
    stage.upstream.fault("error_event", code=code, done=stream)
    for _ in range(6):
        client, record = asked(stage, stream=stream)
        assert client.status == 400 and client.header("content-type") == "application/json"
        assert error(client)["code"] == code and client.body.count(b"data:") == 0
        assert len(record.attempts) == 1 and record.attempts[0].cause == ""
        assert (record.state, record.status, record.usage) == ("settled", 400, None)
    assert all(d.clear and not d.breaker.faults for d in stage.world.doors.values())


@pytest.mark.parametrize("stream", [True, False])
def test_B23_a_prompt_too_long_spills_where_it_is_said_behind_a_status_200(stream: bool):
    stage = Stage(PAIRED)
    stage.upstream.fault("error_event", instance="provisioned", code="context_length_exceeded")
    client, record = asked(stage, stream=stream)
    assert client.status == 200
    assert trail(record, stage) == [("provisioned", "upstream.context_length"), ("standard", "")]
    stage = Stage({"only": {}})
    stage.upstream.fault("error_event", code="context_length_exceeded")
    client, record = asked(stage, stream=stream)
    assert client.status == 400 and error(client)["code"] == "context_length_exceeded"


def test_B7_attempts_that_end_in_faults_are_counted_out():
    four = {f"m{n}": {} for n in range(4)}
    stage = Stage(four, attempts=2)
    stage.upstream.fault("status", status=500)
    client, record = asked(stage)
    assert client.status == 503 and error(client)["reason"] == "pool.failed"
    assert [name for name, _ in trail(record, stage)] == ["m0", "m1"]
    assert len(stage.ledger) == 2


def test_B7_the_time_of_a_request_is_over_all_its_attempts():
    four = {f"m{n}": {} for n in range(4)}
    stage = Stage(four, attempts=4, timeouts=Timeouts(first_byte=4.0, total=6.0))
    stage.upstream.fault("hang")
    client, record = asked(stage)
    assert client.status == 503
    assert client.ended_at - client.asked_at == pytest.approx(6.0, abs=0.2)  # type: ignore[operator]
    assert trail(record, stage) == [("m0", "timeout.first_byte"), ("m1", "timeout.total")]


def test_B7_nothing_is_tried_again_once_the_client_has_a_part():
    stage = Stage(THREE)
    stage.upstream.fault("reset", at="before_finish", instance="weu")
    client, record = asked(stage, stream=True)
    assert client.status == 200 and client.ended_at is not None
    assert b'"code":"upstream_interrupted"' in client.body and b"[DONE]" not in client.body
    assert trail(record, stage) == [("weu", "")] and len(stage.ledger) == 1
    assert (record.state, record.how) == ("interrupted", "cut")
    assert record.usage is not None and record.usage.output > 0 and record.estimated


# ---------------------------------------------------------------------- want of capacity


@pytest.mark.parametrize("stream", [False, True])
def test_A9_a_full_provisioned_deployment_spills_in_one_more_attempt(stream: bool):
    stage = Stage(PAIRED)
    stage.upstream.fault("throttle", instance="provisioned", wait_s=1.5, form="ms", for_s=1.0)
    client, record = asked(stage, stream=stream)
    assert client.status == 200
    assert trail(record, stage) == [("provisioned", "upstream.throttled.rate"), ("standard", "")]
    assert record.attempts[0].retry_after == 1.5
    stage.clock.run_for(1.5)
    _, record = asked(stage, stream=stream)
    assert trail(record, stage) == [("provisioned", "")]


@pytest.mark.parametrize(
    ("waits", "forms", "soonest"),
    [
        ((7.0, 3.0, 9.0), ("both", "both", "both"), 3.0),
        ((7.0, 0.25, 9.0), ("s", "ms", "s"), 0.25),
        ((40.0, 30.0, 2.0), ("s", "s", "date"), 2.0),
        ((5.0, 6.0, 7.0), ("s", "s", "none"), 1.0),
    ],
)
def test_B10_all_throttled_is_the_soonest_time_in_both_headers(
    waits: tuple[float, ...], forms: tuple[str, ...], soonest: float
):
    stage = Stage(THREE)
    for name, wait_s, form in zip(THREE, waits, forms, strict=True):
        stage.upstream.fault("throttle", instance=name, wait_s=wait_s, form=form)
    client, record = asked(stage)
    assert client.status == 429 and error(client)["reason"] == "pool.throttled"
    named = int(client.header("retry-after-ms") or 0) / 1000
    assert named == pytest.approx(soonest, abs=1.0 if "date" in forms else 0.01)
    assert int(client.header("retry-after") or 0) == max(1, -(-round(named * 1000) // 1000))
    assert client.header("x-should-retry") == "true"
    assert [cause for _, cause in trail(record, stage)] == ["upstream.throttled.rate"] * 3
    assert len(stage.ledger) == 3, "each member once"


def test_B10_four_that_throttle_in_turn_are_not_four_faults():
    four = {f"m{n}": {} for n in range(4)}
    stage = Stage(four, attempts=2)
    stage.upstream.fault("throttle", wait_s=2)
    client, _ = asked(stage)
    assert client.status == 429 and len(stage.ledger) == 4


def test_B10_one_fault_among_the_throttled_makes_no_promise():
    stage = Stage(THREE)
    stage.upstream.fault("throttle", wait_s=9, instance="weu")
    stage.upstream.fault("status", status=502, instance="swc")
    stage.upstream.fault("throttle", wait_s=9, instance="frc")
    client, _ = asked(stage)
    assert client.status == 503 and error(client)["reason"] == "pool.failed"
    assert client.header("retry-after") == "1" and client.header("x-should-retry") == "false"


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("rate", "upstream.throttled.rate"),
        ("capacity", "upstream.throttled.capacity"),
        ("size", "upstream.throttled.size"),
    ],
)
def test_A9_three_kinds_of_429_are_told_apart(reason: str, cause: str):
    stage = Stage(PAIRED)
    stage.upstream.fault("throttle", instance="provisioned", reason=reason)
    _, record = asked(stage)
    assert trail(record, stage) == [("provisioned", cause), ("standard", "")]


# ---------------------------------------------------------------------- time and clients


@pytest.mark.parametrize("idle", [3.0, 30.0])
def test_a_stream_that_stands_still_is_ended_when_its_idle_time_is_up(idle: float):
    """Whether it is shorter or longer than the time for the first byte."""
    stage = Stage({"only": {}}, timeouts=Timeouts(first_byte=10.0, idle=idle))
    stage.upstream.fault("hang", at="first_event")
    client, record = asked(stage, stream=True)
    assert client.ended_at - client.asked_at == pytest.approx(idle, abs=0.2)  # type: ignore[operator]
    assert b'"code":"upstream_interrupted"' in client.body
    assert (record.state, record.how) == ("interrupted", "idle")


def test_a_stream_without_end_is_ended_when_its_time_is_up():
    stage = Stage({"only": {}}, timeouts=Timeouts(total=20.0))
    stage.upstream.fault("endless", gap_s=0.1)
    client, record = asked(stage, stream=True)
    assert client.ended_at - client.asked_at == pytest.approx(20.0, abs=0.2)  # type: ignore[operator]
    assert b'"code":"upstream_interrupted"' in client.body and b"[DONE]" not in client.body
    assert (record.state, record.how) == ("interrupted", "cut")
    assert record.usage is not None and record.usage.output == pytest.approx(200, abs=5)


def test_the_idle_time_rests_while_the_client_does_not_read():
    paced = {"only": {"deployments": {"d": {"latency": {"per_token_s": 0.1}}}}}
    stage = Stage(paced, timeouts=Timeouts(first_byte=10.0, idle=3.0))
    client = stage.ask("[sim:tokens=50]", stream=True, room=1)
    stage.clock.run_for(60)
    assert client.ended_at is None and client.first_at is not None
    client.room = None
    client.take()
    stage.settle()
    assert b"[DONE]" in client.body and stage.journal.recent[-1].how == "done"


def test_the_idle_time_runs_again_when_the_client_reads_again():
    stage = Stage({"only": {}}, timeouts=Timeouts(first_byte=10.0, idle=3.0))
    stage.upstream.fault("hang", at=600)
    client = stage.ask("[sim:tokens=50]", stream=True, room=1)
    stage.clock.run_for(60)
    assert client.ended_at is None
    client.room = None
    client.take()
    resumed = stage.clock.now()
    stage.settle()
    assert client.ended_at - resumed == pytest.approx(3.0, abs=0.2)  # type: ignore[operator]
    assert stage.journal.recent[-1].how == "idle"


def test_who_leaves_a_stream_stops_it_who_leaves_a_call_does_not():
    slow = {"only": {"deployments": {"d": {"latency": {"first_token_s": 1.0, "per_token_s": 0.1}}}}}
    stage = Stage(slow)
    stream, call = stage.ask("[sim:tokens=100]", stream=True), stage.ask("[sim:tokens=100]")
    stage.clock.run_for(5.0)
    left_at = stage.clock.now()
    stream.leave()
    call.leave()
    stage.settle()
    ends = {e.stream: e for e in stage.ledger}
    assert ends[True].ended == "client" and ends[True].ended_at == left_at
    assert ends[False].ended == "done"
    booked = {r.stream: r for r in stage.journal.recent}
    assert {r.how for r in booked.values()} == {"gone"} and {r.state for r in booked.values()} == {"settled"}
    assert booked[False].usage.total_output == 100 and not booked[False].estimated  # type: ignore[union-attr]
    assert 35 <= booked[True].usage.total_output <= 45 and booked[True].estimated  # type: ignore[union-attr]


def test_a_call_whose_client_left_is_given_up_when_its_time_is_over():
    slow = {"only": {"deployments": {"d": {"latency": {"first_token_s": 300.0}}}}}
    stage = Stage(slow, timeouts=Timeouts(first_byte=600.0), on_disconnect=OnDisconnect(other=30.0))
    call = stage.ask("hello")
    stage.clock.run_for(5.0)
    call.leave()
    left_at = stage.clock.now()
    stage.settle()
    assert stage.ledger[0].ended == "client"
    assert stage.ledger[0].ended_at - left_at == pytest.approx(30.0, abs=0.2)
