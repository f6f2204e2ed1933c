"""Stories of Anthropic's dialect: Claude in Foundry and at Anthropic behind one name, in virtual time."""

import json
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from sluicegate.apis.messages_stream import name_of
from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.record import UsageRecord
from sluicegate.core.settings import ParamSpec, Spill
from sluicegate.core.snapshot import ConsumerEntry, Directory
from sluicegate.sim.stage import SECRET, Client, Stage

CLAUDE = {"claude": {"model": "claude-sonnet-4-6", "version": "1", "sku": "GlobalStandard"}}
MIXED: dict[str, Any] = {
    "hub": {"kind": "foundry", "deployments": CLAUDE},
    "own": {"kind": "anthropic", "deployments": CLAUDE},
}
ALONE: dict[str, Any] = {"own": {"kind": "anthropic", "deployments": CLAUDE}}
SLOW: dict[str, Any] = {
    "own": {"kind": "anthropic", "deployments": {"claude": {**CLAUDE["claude"], "latency": {"per_token_s": 0.1}}}}
}
OPERATIONS = ("messages", "count_tokens")
VERSION = ((b"anthropic-version", b"2023-06-01"),)


def staged(
    fleet: dict[str, Any] = ALONE, limits: tuple[LimitSpec, ...] = (), params: tuple[ParamSpec, ...] = (), **more: Any
) -> Stage:
    stage = Stage(fleet, operations=OPERATIONS, keep_bodies=True, **more)
    app = ConsumerEntry(1, "app", "default", ("chat",), (), limits, params)
    stage.adopt(stage.snapshot, Directory((SECRET,), (app,)))
    return stage


def ask(stage: Stage, content: str = "hello", api: str = "messages", **more: Any) -> tuple[Client, UsageRecord]:
    """One request to its end, and what was booked."""
    fields = {"max_tokens": 500} if api == "messages" else {}
    client = stage.ask(content, api=api, api_version=None, headers=VERSION, **{**fields, **more})
    stage.settle()
    assert not stage.bugs, stage.bugs
    assert stage.world.in_flight == 0 and not any(m.in_flight for m in stage.world.members.values())
    return client, stage.journal.recent[-1] if stage.journal.recent else UsageRecord("", "", 0.0)


def names(client: Client) -> list[str]:
    """Of the events that a client saw."""
    return [name_of(e + b"\n\n") for e in bytes(client.body).split(b"\n\n") if e]


def error(client: Client) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(client.body)
    assert said["type"] == "error" and set(said) == {"type", "error", "request_id"}
    return {"status": client.status, **said["error"]}


def trail(record: UsageRecord, stage: Stage) -> list[tuple[str, str]]:
    instances = {i.number: i.name for i in stage.snapshot.instances}
    at = {d.number: instances[d.instance] for d in stage.snapshot.deployments}
    return [(at[a.deployment], a.cause) for a in record.attempts]


# ---------------------------------------------------------------------- fine weather


@pytest.mark.parametrize("fleet", [ALONE, {"hub": MIXED["hub"]}], ids=["anthropic", "foundry"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_passes_as_it_came_and_is_booked_to_the_token(fleet: dict[str, Any], stream: bool):
    stage = staged(fleet)
    client, record = ask(
        stage, "[sim:tokens=40][sim:prompt_tokens=200][sim:cached=50][sim:written=30][sim:hour=20]", stream=stream
    )
    assert (
        client.status == 200
        and client.header(
            "content-type",
        )
        is not None
    )
    usage = record.usage
    assert usage is not None and (usage.input, usage.cached, usage.cache_write, usage.hour, usage.output) == (
        100,
        50,
        50,
        20,
        40,
    )
    assert (record.api, record.state, record.how, record.estimated) == ("messages", "settled", "done", False)
    if stream:
        assert names(client)[0] == "message_start" and names(client)[-1] == "message_stop"
    else:
        assert json.loads(client.body)["usage"]["output_tokens"] == 40
    up = json.loads(stage.ledger[-1].body)
    assert up["model"] == "claude" and up["max_tokens"] == 500


def test_tokens_are_counted_for_nothing():
    stage = staged(limits=(LimitSpec("token_rate", 50), LimitSpec("request_rate", 3)))
    seen = [ask(stage, "x" * 4000, "count_tokens") for _ in range(4)]
    assert [client.status for client, _ in seen] == [200, 200, 200, 429], "requests count, tokens do not"
    assert json.loads(seen[0][0].body)["input_tokens"] > 900
    assert seen[0][1].usage is None or seen[0][1].usage.total_input == 0
    learned = [p._learned for p in stage.world.policies._policies.values()]
    assert all(one is None or one.ratio == 1.0 for one in learned), "nothing is learned of prompts from it"


def test_D6_the_maximum_is_held_where_it_stands_and_filled_in_where_it_is_missing():
    stage = staged(params=(ParamSpec("max_tokens", max=100),))
    for given, up in ((5000, 100), (50, 50), (None, 100)):
        client, _ = ask(stage, "[sim:tokens=300]", max_tokens=given)
        assert client.status == 200 and json.loads(stage.ledger[-1].body)["max_tokens"] == up
    counted, _ = ask(stage, "hello", "count_tokens")
    assert counted.status == 200 and "max_tokens" not in json.loads(stage.ledger[-1].body)


# ---------------------------------------------------------------------- somebody else is asked


@pytest.mark.parametrize(
    ("fault", "cause"),
    [({"kind": "status", "status": 529}, "upstream.throttled.capacity"), ({"kind": "throttle", "wait_s": 9}, "upstream.throttled.rate"),
     ({"kind": "status", "status": 500}, "upstream.status_5xx"), ({"kind": "status", "shape": "wrong_key"}, "upstream.credential"),
     ({"kind": "error_event", "code": "overloaded_error"}, "upstream.throttled.capacity"),
     ({"kind": "error_event", "code": "api_error"}, "answer.error_event"), ({"kind": "html"}, "answer.content_type"),
     ({"kind": "cut", "at": 10}, "answer.truncated")],
    ids=lambda v: str(v) if isinstance(v, dict) else "",
)  # fmt: skip
def test_what_foundry_cannot_anthropic_does(fault: dict[str, Any], cause: str):
    stage = staged(MIXED)
    stage.upstream.fault(instance="hub", **fault)
    client, record = ask(stage, stream=True)
    assert client.status == 200 and names(client)[-1] == "message_stop"
    assert trail(record, stage) == [("hub", cause), ("own", "")]


def test_overloaded_is_throttled_and_opens_no_breaker():
    stage = staged(MIXED)
    stage.upstream.fault("status", status=529, instance="hub")
    for _ in range(12):
        client, record = ask(stage)
        assert client.status == 200 and record.attempts[-1].cause == ""
        stage.clock.run_for(1.0)
    stage.upstream.lift()
    stage.clock.run_for(120)
    client, record = ask(stage)
    assert [at for at, _ in trail(record, stage)] == ["hub"]


def test_a_prompt_that_is_too_long_goes_to_a_member_that_takes_it():
    fleet = {**MIXED, "hub": {"kind": "foundry", "deployments": {"claude": {**CLAUDE["claude"], "max_input": 100}}}}
    stage = staged(fleet, spill=Spill(long_context=True))
    client, record = ask(stage, "x " * 2000)
    assert error(client)["message"].startswith("prompt is too long") and client.status == 400, (
        "nobody is known to take it"
    )
    hub, own = stage.snapshot.deployments
    stage.adopt(replace(stage.snapshot, deployments=(replace(hub, max_input=1500), replace(own, max_input=200_000))))
    client, record = ask(stage, "x " * 2000)
    assert client.status == 200 and trail(record, stage) == [("hub", "upstream.context_length"), ("own", "")]


# ---------------------------------------------------------------------- refusals in its envelope


def test_every_member_throttled_is_one_429_in_its_words():
    stage = staged(MIXED)
    stage.upstream.fault("throttle", wait_s=9)
    client, _ = ask(stage)
    assert error(client)["type"] == "rate_limit_error" and error(client)["reason"] == "pool.throttled"
    assert client.header("retry-after") == "9" and client.header("x-should-retry") == "true"
    assert client.header("request-id") == json.loads(client.body)["request_id"]


@pytest.mark.parametrize(
    ("ask_", "status", "kind", "reason"),
    [
        ({"key": b"nobody's"}, 401, "authentication_error", "credential.unknown"),
        ({"model": "other"}, 404, "not_found_error", "route.model"),
        ({"content": b"{"}, 400, "invalid_request_error", "request.invalid_json"),
        ({"content": b'{"model":"chat","model":"x"}'}, 400, "invalid_request_error", "request.duplicate_key"),
        ({"fallbacks": "default"}, 400, "invalid_request_error", "request.invalid_field"),
        ({"max_tokens": 5000}, 429, "rate_limit_error", "limit.token_rate.too_large"),
    ],
)  # fmt: skip
def test_each_refusal_of_ours_is_in_its_words(ask_: dict[str, Any], status: int, kind: str, reason: str):
    stage = staged(limits=(LimitSpec("token_rate", 1000),))
    more = dict(ask_)
    client, _ = ask(stage, more.pop("content", "hello"), **more)
    said = error(client)
    assert (said["status"], said["type"], said["reason"]) == (status, kind, reason)
    assert not len(stage.ledger)


def test_a_model_that_offers_chat_has_no_messages():
    stage = Stage({"weu": {}})
    client, _ = ask(stage)
    assert error(client)["type"] == "permission_error" and error(client)["reason"] == "grant.operation"


def test_what_the_model_itself_refuses_passes_as_it_is():
    stage = staged()
    client, _ = ask(stage, max_tokens=None)
    assert client.status == 400 and json.loads(client.body)["error"]["message"] == "max_tokens: Field required"


# ---------------------------------------------------------------------- G4: cut wherever it may be


def healthy(fleet: dict[str, Any]) -> tuple[bytes, int]:
    """The stream as it is when nothing is wrong, and how long its first event is."""
    stage = staged(fleet)
    client, _ = ask(stage, "[sim:tokens=3]", stream=True)
    body = bytes(client.body)
    return body, body.index(b"\n\n") + 2


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_G4_a_stream_cut_at_every_byte_is_never_taken_for_a_whole_one(kind: str):
    whole, first = healthy(ALONE)
    ends = whole.index(b"event: message_stop")
    for at in range(len(whole)):
        stage = staged()
        stage.upstream.fault(kind, at=at)
        client, record = ask(stage, "[sim:tokens=3]", stream=True)
        if at < first:
            assert client.status == 503 and error(client)["reason"] == "pool.failed", at
            continue
        seen = names(client)
        assert client.status == 200 and seen[-1] == "error" and "message_stop" not in seen, at
        frame = json.loads(bytes(client.body).rpartition(b"data: ")[2])
        assert frame["type"] == "error" and frame["error"]["reason"] == "stream.interrupted"
        assert record.state == "interrupted" and record.usage is not None, at
        assert record.usage.input == 3 + 4 + 4, "the prompt is known from the beginning"
        told = whole[:at].rfind(b"message_delta") >= 0 and whole[:at].count(b"\n\n") >= whole[:ends].count(b"\n\n")
        assert record.estimated is not told, at


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_G4_before_the_first_event_another_member_makes_it_good(kind: str):
    whole, first = healthy(MIXED)
    for at in range(first):
        stage = staged(MIXED)
        stage.upstream.fault(kind, at=at, instance="hub")
        client, record = ask(stage, "[sim:tokens=3]", stream=True)
        assert client.status == 200 and names(client)[-1] == "message_stop", at
        assert [who for who, _ in trail(record, stage)] == ["hub", "own"]


def test_G4_the_same_bytes_however_they_are_split():
    whole, _ = healthy(ALONE)
    for size in (1, 2, 3, 7, 64, 1000):
        stage = staged()
        stage.upstream.fault("split", size=size)
        client, record = ask(stage, "[sim:tokens=3]", stream=True)
        assert len(client.body) == len(whole) and names(client)[-1] == "message_stop", size
        assert record.usage is not None and record.usage.output == 3 and not record.estimated


@pytest.mark.parametrize(
    ("fault", "last"),
    [({"kind": "drop", "events": ["done"]}, "error"), ({"kind": "drop", "events": ["usage"]}, "message_stop"),
     ({"kind": "error_event", "after": 4, "code": "overloaded_error"}, "error"),
     ({"kind": "error_event", "after": 4, "done": True}, "error")],
    ids=str,
)  # fmt: skip
def test_G4_other_lies_of_a_stream(fault: dict[str, Any], last: str):
    stage = staged(SLOW)
    stage.upstream.fault(**fault)
    client, record = ask(stage, "[sim:tokens=3]", stream=True)
    assert names(client)[-1] == last and record.state == ("settled" if last == "message_stop" else "interrupted")
    assert record.estimated is ("usage" in fault.get("events", ()) or "after" in fault)


def test_G4_a_plain_answer_cut_anywhere_is_none():
    stage = staged()
    whole = bytes(ask(stage, "[sim:tokens=3]")[0].body)
    for at in range(len(whole)):
        stage = staged(MIXED)
        stage.upstream.fault("cut", at=at, instance="hub")
        client, _ = ask(stage, "[sim:tokens=3]")
        assert client.status == 200 and json.loads(client.body)["type"] == "message", at


def test_who_leaves_in_the_middle_is_charged_for_what_was_said():
    stage = staged(SLOW)
    client = stage.ask(
        "[sim:tokens=50]", api="messages", api_version=None, headers=VERSION, max_tokens=500, stream=True
    )
    stage.clock.run_for(1.0)
    client.leave()
    stage.settle()
    record = stage.journal.recent[-1]
    assert record.how == "gone" and record.estimated and record.usage is not None and record.usage.input > 5


def test_a_limit_that_was_reserved_by_estimate_is_settled_by_what_was_said():
    stage = staged(limits=(LimitSpec("token_rate", 10_000),))
    ask(stage, "[sim:tokens=40][sim:prompt_tokens=200][sim:cached=50]", stream=True)
    assert [limit.used(stage.clock.now()) for limit in stage.world.policies.limits()] == [240]


def test_what_is_booked_is_what_the_two_places_say_they_used():
    thinking = {"claude": {**CLAUDE["claude"], "reasoning": 7, "latency": {"per_token_s": 0.01}}}
    stage = staged({**MIXED, "own": {"kind": "anthropic", "deployments": thinking}})
    stage.upstream.fault("status", status=529, instance="hub", share=0.3)
    stage.upstream.fault("cut", at=300, instance="hub", share=0.2)
    chance = Random(7)
    clients = []
    for n in range(120):
        marks = "".join(
            f"[sim:{m}={chance.randrange(90)}]" for m in ("cached", "written", "hour") if chance.random() < 0.5
        )
        content = f"[sim:tokens={1 + chance.randrange(60)}]{marks}" + "word " * chance.randrange(400)
        clients.append(
            stage.ask(content, api="messages", api_version=None, headers=VERSION, max_tokens=500, stream=n % 2 == 0)
        )
        stage.clock.run_for(chance.random())
    stage.settle()
    assert not stage.bugs and all(c.status == 200 for c in clients)
    served = [r for r in stage.journal.recent if r.api == "messages"]
    said = [e.claim for e in stage.ledger.entries if e.status == 200 and e.whole and e.claim is not None]
    exact = [r.usage for r in served if r.usage is not None and not r.estimated]
    assert len(served) == 120 and len(exact) > 90
    for usage in exact:
        claim = next(c for c in said if (c.prompt, c.completion, c.cached, c.reasoning) == (
            usage.total_input, usage.total_output, usage.cached, usage.reasoning))  # fmt: skip
        said.remove(claim)
    for record in served:
        assert record.usage is not None and record.state == ("interrupted" if record.estimated else "settled")
    assert sum(names(c)[-1] == "error" for c in clients if names(c)[:1] == ["message_start"]) == sum(
        r.estimated for r in served
    )
