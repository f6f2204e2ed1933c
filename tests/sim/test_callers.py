"""Callers try again as the OpenAI SDKs do, and leave when they have waited long enough."""

from random import Random
from typing import Any

import pytest

from sluicegate.sim.callers import Asking, retry_wait
from sluicegate.sim.stage import Client, Stage

BODY = b'{"model":"chat","messages":[{"role":"user","content":"hi"}]}'
STREAM = BODY[:-1] + b',"stream":true}'


def answered(status: int, headers: str = "", reset: bool = False) -> Client:
    client = Client(Stage(), b"", None)
    client.status = status
    client.headers = headers.encode()
    if reset:
        client.reset_at = 1.0
    return client


@pytest.mark.parametrize(
    ("status", "headers", "tries", "waits"),
    [
        (429, "retry-after-ms: 250\r\nretry-after: 9", 1, 0.25),
        (429, "retry-after: 9", 1, 9.0),
        (429, "retry-after: 121", 1, None),
        (429, "retry-after-ms: 120000", 1, 120.0),
        (429, "", 1, 0.5),
        (429, "retry-after: soon", 3, 2.0),
        (503, "", 6, 8.0),
        (500, "", 1, 0.5),
        (408, "", 1, 0.5),
        (409, "", 1, 0.5),
        (400, "", 1, None),
        (404, "", 1, None),
        (429, "x-should-retry: false\r\nretry-after: 1", 1, None),
        (400, "x-should-retry: true\r\nretry-after: 1", 1, 1.0),
    ],
)
def test_the_wait_is_the_sdks(status: int, headers: str, tries: int, waits: float | None):
    assert retry_wait(answered(status, headers), tries, 0.0) == waits


def test_a_connection_that_broke_before_an_answer_is_tried_again_and_a_back_off_has_jitter():
    assert retry_wait(answered(0, reset=True), 1, 1.0) == pytest.approx(0.375)


def asking(stage: Stage, body: bytes = BODY, retries: int = 2, patience_s: float = 0.0) -> tuple[Asking, list[Asking]]:
    over: list[Asking] = []
    return Asking(stage, body, "app", "chat", (), retries, patience_s, Random(1), over.append), over


@pytest.mark.parametrize(("retries", "tries", "reason"), [(2, 2, ""), (0, 1, "pool.throttled")])
def test_a_caller_waits_as_told_and_asks_again(retries: int, tries: int, reason: str):
    stage = Stage()
    stage.upstream.fault("throttle", times=1, wait_s=3)
    caller, over = asking(stage, retries=retries)
    stage.clock.run_for(10)
    stage.settle()
    assert over == [caller] and (caller.tries, caller.reason) == (tries, reason)
    if not reason:
        assert caller.status == 200 and caller.ended_at == pytest.approx(caller.asked_at + 3, abs=0.01)


def test_an_answer_that_broke_off_is_not_asked_for_again():
    stage = Stage()
    stage.upstream.fault("cut", at="inside_json", times=1)
    caller, over = asking(stage, STREAM)
    stage.clock.run_for(10)
    stage.settle()
    assert over == [caller] and (caller.status, caller.reason, caller.tries) == (200, "cut", 1)


@pytest.mark.parametrize("fault", [{"kind": "hang"}, {"kind": "throttle", "wait_s": 100}, {}])
def test_patience_ends_an_answer_a_wait_for_another_try_and_nothing_else(fault: dict[str, Any]):
    stage = Stage()
    if fault:
        stage.upstream.fault(**fault)
    caller, over = asking(stage, patience_s=5.0)
    stage.clock.run_for(20)
    stage.settle()
    assert over == [caller] and caller.left == bool(fault)
    assert caller.ended_at == pytest.approx(caller.asked_at + (5.0 if fault else 0.0))
    assert not stage.ledger.open() and stage.world.in_flight == 0
    stage.clock.run_for(200)
    assert caller.tries == 1
