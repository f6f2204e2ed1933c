"""Cases 61 to 70: whoever tries to use more than its limits, or to be billed for less than it used.

In virtual time, with the real exchange, driver and limits; the simulator's ledger knows what was really used.
"""

from __future__ import annotations

import gc
import json
import sys
from collections import Counter
from dataclasses import replace
from typing import Any, cast

import pytest

from sluicegate.apis import APIS, Paths
from sluicegate.apis.base import FormApi
from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.params import ParamSpec
from sluicegate.core.snapshot import ConsumerEntry, Directory, TenantEntry
from sluicegate.sim.stage import SECRET, Client, Stage
from tests.abuse.outside import request
from tests.apis import samples
from tests.edge.line import House, callers
from tests.gateway import instance, snapshot

MANY = 10_000_000
ONE: dict[str, Any] = {"weu": {"deployments": {"d": {"latency": {"first_token_s": 0.2, "per_token_s": 0.02}}}}}


def staged(*limits: LimitSpec, given: Any = None, params: tuple[ParamSpec, ...] = (), **more: Any) -> Stage:
    """`bad` has these limits, `good` has none."""
    stage = Stage(given or ONE, **more)
    bad = ConsumerEntry(1, "bad", "loud", ("chat",), (), limits, params)
    good = ConsumerEntry(2, "good", "calm", ("chat",), ())
    stage.adopt(stage.snapshot, Directory((SECRET,), (bad, good), (TenantEntry(1, "loud"), TenantEntry(2, "calm"))))
    return stage


def used(stage: Stage) -> list[int]:
    return [limit.used(stage.clock.now()) for limit in stage.world.policies.limits()]


def over(stage: Stage) -> None:
    stage.settle()
    assert not stage.bugs, stage.bugs
    assert stage.world.in_flight == 0


def content(client: Client) -> int:
    """Tokens that the client has: the simulator sends each in an event of its own."""
    events = (json.loads(line[6:]) for line in bytes(client.body).split(b"\n\n") if line.startswith(b"data: {"))
    return sum(bool(choice["delta"].get("content")) for e in events for choice in e.get("choices", ()))


# ---------------------------------------------------------------------- 61: leave before the usage is said


def test_abuse_61_ten_thousand_streams_left_after_the_first_token_are_booked_as_if_they_had_been_read():
    """Usage stands at the end of a stream: who books only what is said there gives these away."""
    stage = staged(LimitSpec("token_rate", MANY))
    prompt = "Tell me a story about a lock keeper. " * 20
    clients: list[Client] = []
    for _ in range(100):
        batch = [stage.ask(prompt, stream=True, consumer="bad") for _ in range(100)]
        while not all(c.first_at is not None and content(c) for c in batch):
            stage.clock.run_for(0.05)
        for client in batch:
            client.leave()
        clients += batch
    over(stage)
    journal = stage.journal
    assert journal.records == journal.settled == len(clients) == 10_000
    delivered = sum(map(content, clients[-len(journal.recent) :]))
    prompts = sum(e.claim.prompt for e in stage.ledger.entries[-len(journal.recent) :])
    usages = [r.usage for r in journal.recent]
    assert all(r.estimated and r.how == "gone" for r in journal.recent)
    assert sum(u.total_input for u in usages if u) >= prompts > 100 * len(usages)
    assert sum(u.total_output for u in usages if u) >= delivered >= len(usages)


def test_abuse_61_the_limit_is_reached_by_those_who_leave_no_later_than_by_those_who_read():
    def admitted(leave: bool) -> int:
        stage = staged(LimitSpec("token_rate", 50_000))
        prompt = "word " * 500
        for n in range(1000):
            client = stage.ask(prompt, stream=True, max_tokens=20, consumer="bad")
            stage.clock.run_for(0.5 if n < 3 else 0.01)
            if leave:
                client.leave()
            elif client.ended_at is None:
                stage.settle()
            if client.status == 429:
                break
        over(stage)
        return stage.journal.records

    assert admitted(leave=True) <= admitted(leave=False) * 1.15


def test_abuse_61_many_tokens_in_one_event_are_many_tokens():
    """A content filter lets whole sentences pass at once; counted as events they would be a tenth of the truth."""
    row = APIS["chat_completions"]
    asked = b'{"model":"m","stream":true,"messages":[]}'
    facts = row.facts(row.fields(asked), asked)
    meter = row.meter(facts, False)
    sentence = "The lock keeper opened the upper gate and the water fell. " * 4
    for text in ("Well", sentence):
        meter.feed(
            b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n", 0
        )
    assert 45 <= meter.delivered <= 75, "about 50, by any tokenizer"


# ---------------------------------------------------------------------- 62: all at once


@pytest.mark.parametrize(
    ("limit", "fits"),
    [(LimitSpec("request_rate", 1), 1), (LimitSpec("concurrency", 1), 1), (LimitSpec("token_rate", 150), 1)],
    ids=["one request", "one place", "tokens for one"],
)
def test_abuse_62_five_hundred_at_once_for_one_that_is_left(limit: LimitSpec, fits: int):
    stage = staged(limit)
    clients = [stage.ask("hello", max_tokens=100, consumer="bad") for _ in range(500)]
    over(stage)
    assert Counter(c.status for c in clients) == {200: fits, 429: 500 - fits}
    assert len(stage.ledger) == fits


def test_abuse_62_the_same_when_all_have_sent_their_heads_before_any_body_came():
    """Nothing is held while a body is read, and nothing is decided by what was there before it."""
    house = House()
    limited(house, LimitSpec("request_rate", 1))
    lines = [house.line() for _ in range(500)]
    whole = request()
    split = len(whole) - 10
    for line in lines:
        line.send(whole[:split])
    for line in lines:
        line.send(whole[split:])
    assert Counter(line.answers()[0].status for line in lines) == {200: 1, 429: 499}
    assert len(house.upstream.calls) == 1


# ---------------------------------------------------------------------- 63: maxima that confuse

PROMPT = 40
"""More tokens than the whole body of "hello" is estimated at."""


@pytest.mark.parametrize(
    ("fields", "reserves"),
    [
        ({}, 1000), ({"max_tokens": None}, 1000), ({"max_tokens": 0}, 0), ({"max_tokens": 7}, 7),
        ({"max_tokens": 7, "max_completion_tokens": 500}, 500), ({"max_tokens": 500, "max_completion_tokens": 7}, 500),
        ({"n": 128}, 128_000), ({"n": 128, "max_tokens": 10}, 1280), ({"n": None, "max_tokens": 10}, 10),
        ({"best_of": 20, "max_tokens": 10}, 200), ({"best_of": 20, "n": 30, "max_tokens": 10}, 300), ({"best_of": 5}, 5000),
        ({"max_tokens": 2**31 - 1}, 2**31 - 1),
    ],
    ids=str,
)  # fmt: skip
def test_abuse_63_what_is_reserved_is_the_most_that_may_come(fields: dict[str, Any], reserves: int):
    stage = staged(LimitSpec("token_rate", 2**40))
    stage.ask("hello", consumer="bad", **fields)
    assert reserves < used(stage)[0] <= reserves + PROMPT
    over(stage)
    usage = stage.journal.recent[-1].usage
    assert usage is None or used(stage) == [usage.total_input + usage.total_output], "settled with the truth"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n", "best_of"])
@pytest.mark.parametrize("value", [-1, 2**31, 10**400, 1.5, 1e3, "5", True, [5], {"a": 1}], ids=lambda v: str(v)[:12])
def test_abuse_63_what_is_no_number_of_tokens_or_choices_is_a_400_and_reserves_nothing(name: str, value: Any):
    stage = staged(LimitSpec("token_rate", 2**40))
    client = stage.ask("hello", consumer="bad", **{name: value})
    over(stage)
    assert client.status == 400 and json.loads(client.body)["error"]["reason"] == "request.invalid_field"
    assert not stage.world.policies.limits() and not len(stage.ledger)


@pytest.mark.parametrize("value", ["0", "129", "-0", "01", "1E1"])
@pytest.mark.parametrize("name", ["n", "best_of"])
def test_abuse_63_no_spelling_of_a_number_gets_past_the_bounds(name: str, value: str):
    stage = staged(LimitSpec("token_rate", 2**40))
    client = stage.ask(b'{"model":"chat","messages":[],"%b":%b}' % (name.encode(), value.encode()), consumer="bad")
    over(stage)
    assert client.status == 400 and not len(stage.ledger)


def test_abuse_63_what_is_learned_of_many_choices_is_learned_of_one():
    """Else a consumer with n: 100 would teach a reserve of a hundred answers, and one with n: 1 would wait for it."""
    stage = staged(LimitSpec("token_rate", 2**40))
    for _ in range(300):
        stage.ask("[sim:tokens=50]", n=10, consumer="bad")
        stage.settle()
    before = used(stage)[0]
    stage.ask("[sim:tokens=50]", consumer="bad")
    assert 50 <= used(stage)[0] - before <= 60 + PROMPT
    over(stage)


# ---------------------------------------------------------------------- 64: usage that is not said, or is not true


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    "lie",
    [
        {"missing": True}, {"prompt": 0, "completion": 0}, {"prompt": -5, "completion": 3}, {"prompt": 5, "completion": -3},
        {"prompt": 10**12, "completion": 1}, {"prompt": 1, "completion": 10**12}, {"prompt": 0, "completion": 50},
    ],
    ids=str,
)  # fmt: skip
def test_abuse_64_usage_that_is_withheld_or_forged_is_estimated_and_flagged(lie: dict[str, Any], stream: bool):
    stage = staged(LimitSpec("token_rate", 100_000))
    stage.upstream.fault("usage", **lie)
    prompt = "one two three four " * 50
    client = stage.ask(f"{prompt}[sim:tokens=50]", stream=stream, consumer="bad")
    over(stage)
    assert client.status == 200
    record, truth = stage.journal.recent[-1], stage.ledger[-1].claim
    assert record.estimated and record.usage is not None
    assert record.usage.total_input >= truth.prompt and record.usage.total_output >= truth.completion * 0.8
    total = record.usage.total_input + record.usage.total_output
    assert used(stage) == [total] and total < 1000, "no credit, and no ruin"


@pytest.mark.parametrize("options", [None, {"include_usage": False}, {"include_usage": None}, {}], ids=str)
def test_abuse_64_a_client_that_does_not_want_usage_is_billed_exactly_and_sees_none(options: Any):
    stage = staged(LimitSpec("token_rate", 100_000))
    client = stage.ask("[sim:tokens=50]", stream=True, stream_options=options, consumer="bad")
    over(stage)
    record, truth = stage.journal.recent[-1], stage.ledger[-1].claim
    assert record.usage is not None and not record.estimated
    assert (record.usage.total_input, record.usage.total_output) == (truth.prompt, truth.completion)
    assert b'"usage"' not in client.body and client.body.endswith(b"data: [DONE]\n\n")


# ---------------------------------------------------------------------- 65: cheap paths


@pytest.mark.parametrize(
    ("kind", "marks", "classes"),
    [
        ("cached", "[sim:prompt_tokens=2000][sim:cached=1500][sim:tokens=20]", {"cached": 1500, "input": 500, "output": 20}),
        ("reasoning", "[sim:prompt_tokens=100][sim:tokens=20]", {"reasoning": 300}),
    ],
)  # fmt: skip
def test_abuse_65_cached_and_reasoning_tokens_count(kind: str, marks: str, classes: dict[str, int]):
    given = {"weu": {"deployments": {"d": {"reasoning": 300 if kind == "reasoning" else 0}}}}
    stage = staged(LimitSpec("token_rate", 100_000), given=given)
    stage.ask(marks, consumer="bad")
    over(stage)
    usage = stage.journal.recent[-1].usage
    assert usage is not None
    assert {name: getattr(usage, name) for name in classes} == classes
    truth = stage.ledger[-1].claim
    assert used(stage) == [truth.prompt + truth.completion]


IMAGE = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
LOW = {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "A" * 640_000, "format": "wav"}}
PAPER = {"type": "file", "file": {"file_id": "f"}}


@pytest.mark.parametrize(
    ("part", "tokens"), [(IMAGE, 765), (LOW, 85), (SOUND, 100), (PAPER, 765)], ids=["image", "low", "audio", "file"]
)
def test_abuse_65_what_is_no_text_is_reserved_by_what_it_is(part: dict[str, Any], tokens: int):
    stage = staged(LimitSpec("token_rate", 100_000))
    body = {"model": "chat", "max_tokens": 1, "messages": [{"role": "user", "content": [part] * 10}]}
    stage.ask(json.dumps(body).encode(), consumer="bad")
    assert 10 * tokens < used(stage)[0] < 10 * tokens + 200
    over(stage)


def test_abuse_65_tools_count_as_the_text_they_are():
    stage = staged(LimitSpec("token_rate", 100_000))
    tools = [{"type": "function", "function": {"name": "f", "description": "words " * 4000, "parameters": {}}}]
    stage.ask("hi", max_tokens=1, tools=tools, consumer="bad")
    assert used(stage)[0] > 5000
    over(stage)


UNMETERED = [
    "/openai/v1/embeddings", "/v1/embeddings", "/openai/deployments/chat/embeddings?api-version=2024-10-21",
    "/openai/v1/completions", "/openai/v1/images/variations", "/openai/deployments/chat/images/variations?api-version=2024-10-21",
    "/openai/v1/audio/voices", "/openai/deployments/chat/audio/voice_consents?api-version=2024-10-21", "/openai/v1/realtime?model=chat",
    "/openai/v1/batches", "/openai/v1/files", "/openai/v1/responses", "/openai/v1/responses/resp_1", "/openai/v1/assistants",
    "/openai/v1/threads/runs", "/openai/v1/fine_tuning/jobs", "/openai/v1/vector_stores", "/openai/v1/evals",
]  # fmt: skip


@pytest.mark.parametrize("path", UNMETERED)
def test_abuse_65_there_is_no_way_up_that_is_not_metered(path: str):
    """An operation we do not know how to meter is not passed through: a path is a row of APIS, and offered by the
    model, or it leads nowhere."""
    house = House()
    limited(house, LimitSpec("request_rate", 1000))
    body = b'{"model":"chat","input":[[15339,1917],[65]],"previous_response_id":"r","prompt":"x"}'
    answers = house.line().send(request(path=path.encode(), body=body)).answers()
    url, _, query = path.partition("?")
    known = not isinstance(Paths(APIS.values()).match("POST", url.encode(), query.encode()), str)
    assert [a.status for a in answers] == [403 if known else 404] and not house.upstream.calls


@pytest.mark.parametrize("name", [name for name, row in APIS.items() if not row.unmetered and row.takes == "json"])
def test_abuse_65_every_operation_estimates_what_comes_in_and_reads_what_was_used(name: str):
    row = APIS[name]
    asked = samples.body(name)
    facts = row.facts(row.fields(asked), asked)
    assert 900 < facts.estimate < 1200
    assert row.meter(facts, True).usage is None, "not said is not 0"


def test_abuse_65_forms_are_estimated_by_what_is_in_them():
    sound, form = 1_600_000, {"model": b"chat", "prompt": b"word " * 190}  # 100 seconds of mp3
    rows = {name: cast(FormApi, row) for name, row in APIS.items() if row.takes == "form"}
    assert set(rows) == {"audio_transcriptions", "audio_translations", "images_edits"}
    for row in rows.values():
        facts = row.form(form, ["model", "prompt", "image"], sound)
        assert 900 < facts.estimate < 1200
        assert row.meter(facts, False).usage is None, "not said is not 0"


# ---------------------------------------------------------------------- 66, 69: other doors, other names


def limited(house: House, *limits: LimitSpec) -> None:
    """The consumers of the house, the first with these limits."""
    directory = callers()
    first, *rest = directory.consumers
    house.world.adopt(house.snapshot, replace(directory, consumers=(replace(first, limits=limits), *rest)))
    house.bound.adopted()


FAMILIES = [
    "/openai/deployments/chat/chat/completions?api-version=2024-10-21",
    "/openai/deployments/chat/chat/completions?api-version=2024-12-01-preview",
    "/openai/v1/chat/completions", "/v1/chat/completions", "/openai/v1/chat/completions?api-version=preview",
    "/openai/chat/completions?api-version=2024-10-21", "/models/chat/completions?api-version=2024-05-01-preview",
]  # fmt: skip
ELSEWHERE = ["/models/completions", "/anthropic/messages", "/engines/chat/completions", "/openai/realtime"]


@pytest.mark.parametrize("each", ["", "key", "model", "consumer", "tenant"])
def test_abuse_66_one_key_has_one_limit_whichever_door_it_takes(each: str):
    house = House()
    limited(house, LimitSpec("request_rate", 5, each=each))
    bearer = b"Authorization: Bearer client-key-0123456789"
    statuses = []
    for n in range(30):
        path = FAMILIES[n % len(FAMILIES)].encode()
        shown = request(path=path) if n % 2 else request(bearer, path=path, key=None)
        statuses.append(house.line().send(shown).answers()[0].status)
    assert statuses == [200] * 5 + [429] * 25
    assert len(house.upstream.calls) == 5


def test_abuse_66_another_dialect_is_no_other_limit():
    base = snapshot([instance(1, 80, provider="foundry")])
    model = replace(base.models[0], operations=("chat_completions", "messages", "count_tokens"))
    house = House(snap=replace(base, models=(model,)))
    limited(house, LimitSpec("request_rate", 5))
    paths = [
        "/v1/messages",
        "/anthropic/v1/messages",
        "/v1/messages/count_tokens",
        "/models/chat/completions",
        "/v1/chat/completions",
    ]
    house.upstream.at_once = None
    lines = [house.line().send(request(path=paths[n % 5].encode())) for n in range(30)]
    refused = [line.answers()[0].status for line in lines if line.answers()]
    assert len(house.upstream.calls) == 5 and refused == [429] * 25
    for call in house.upstream.calls:
        call.answer(b"{}", status=400)


def test_abuse_66_doors_that_are_not_there_lead_nowhere():
    house = House()
    limited(house, LimitSpec("request_rate", 1))
    assert house.line().send(request()).answers()[0].status == 200
    for path in ELSEWHERE:
        assert house.line().send(request(path=path.encode())).answers()[0].status == 404
    socket = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: x", b"Sec-WebSocket-Version: 13")
    assert house.line().send(request(*socket)).answers()[0].status == 429
    assert len(house.upstream.calls) == 1


def test_abuse_69_no_name_or_address_that_a_client_chooses_gives_it_another_limit():
    house = House()
    limited(house, LimitSpec("request_rate", 5), LimitSpec("concurrency", 50))
    statuses = []
    for n in range(40):
        address = b"198.51.100.%d" % n
        said = (
            b"X-Forwarded-For: " + address, b"Forwarded: for=" + address, b"X-Real-IP: " + address, b"User-Agent: u%d" % n,
            b"x-ms-client-principal: u%d" % n, b"x-user-id: u%d" % n, b"x-litellm-tags: t%d" % n, b"x-sluicegate-consumer: c%d" % n,
            b"openai-organization: o%d" % n, b"x-ms-client-request-id: r%d" % n, b"Cookie: session=%d" % n,
            b"x-stainless-retry-count: %d" % (n % 9),
        )  # fmt: skip
        body = b'{"model":"chat","user":"u%d","safety_identifier":"s%d","metadata":{"k":"%d"},"messages":[]}' % (
            n,
            n,
            n,
        )
        line = house.line()
        line.connection.peer = address.decode()
        statuses.append(line.send(request(*said, body=body)).answers()[0].status)
    assert statuses == [200] * 5 + [429] * 35


# ---------------------------------------------------------------------- 67: clocks

HOUR = 3600.0
STEPS = [(5.0, HOUR), (11.0, -HOUR), (12.0, -HOUR), (30.0, 86_400.0 * 31), (31.0, -86_400.0 * 365), (90.0, HOUR / 2)]


@pytest.mark.parametrize("kind", ["request_rate", "token_rate", "concurrency"])
def test_abuse_67_whatever_becomes_of_the_wall_clock_limits_are_the_same(kind: str):
    """An NTP step, summer time, the end of a month, an operator with `date -s`: no free window, and no lock-out."""

    def day(steps: list[tuple[float, float]]) -> list[int]:
        stage = staged(LimitSpec(kind, {"request_rate": 30, "token_rate": 3000, "concurrency": 2}[kind]))
        began = stage.clock.now()
        for after, seconds in steps:
            stage.clock.at(began + after, lambda s=seconds: stage.clock.step_wall(s))  # type: ignore[misc]
        clients: list[Client] = []
        stage.play(
            [n * 0.25 for n in range(720)], lambda _: clients.append(stage.ask("hi", max_tokens=90, consumer="bad"))
        )
        stage.clock.run_for(181)
        over(stage)
        return [c.status for c in clients]

    steady = day([])
    assert Counter(steady)[429] > 100
    assert day(STEPS) == steady


def test_abuse_67_a_date_or_a_clock_of_the_client_moves_nothing():
    house = House()
    limited(house, LimitSpec("request_rate", 2))
    statuses = []
    for date in (b"Mon, 01 Jan 1990 00:00:00 GMT", b"Fri, 31 Dec 2100 23:59:59 GMT", b"0", b"-1", b"now"):
        said = (b"Date: " + date, b"x-ms-date: " + date, b"X-Request-Start: " + date, b"Retry-After: 0", b"Age: 99999")
        statuses.append(house.line().send(request(*said)).answers()[0].status)
    assert statuses == [200, 200, 429, 429, 429]


@pytest.mark.parametrize("wrong_s", [-HOUR, -40.0, 40.0, HOUR])
def test_abuse_67_a_clock_that_differs_from_the_upstreams_opens_no_door_and_keeps_none_shut(wrong_s: float):
    """A 429 that names a date means the upstream's clock. Read by ours, an hour off, it would be no wait, or an hour."""
    stage = Stage(ONE)
    stage.bound.wall = lambda: stage.clock.wall() + wrong_s
    stage.upstream.fault("throttle", wait_s=20, form="date", times=1)
    assert stage.ask().drive is not None
    stage.clock.run_for(1.0)
    clients: list[Client] = []
    stage.play([n * 0.5 for n in range(60)], lambda _: clients.append(stage.ask()))
    stage.clock.run_for(40)
    over(stage)
    assert not stage.ledger.early()
    served = [c for c in clients if c.status == 200]
    assert served and served[0].asked_at - (stage.ledger[0].sent_at or 0) < 21.5


def test_abuse_67_a_door_that_is_shut_stays_so_whatever_the_wall_clock_does():
    stage = Stage(ONE)
    stage.upstream.fault("throttle", wait_s=20, times=1)
    stage.ask()
    clients: list[Client] = []
    stage.play([n * 0.5 for n in range(60)], lambda _: clients.append(stage.ask()))
    for after, seconds in ((3.0, HOUR), (6.0, -2 * HOUR), (9.0, 86_400.0 * 31)):
        stage.clock.at(stage.clock.now() + after, lambda s=seconds: stage.clock.step_wall(s))  # type: ignore[misc]
    stage.clock.run_for(40)
    over(stage)
    early = [e for e in stage.ledger if 0 < e.first_at - (stage.ledger[0].sent_at or 0) < 20 - 0.001]
    assert not early and sum(c.status == 200 for c in clients) > 10


# ---------------------------------------------------------------------- 68: one that takes all there is


def test_abuse_68_ten_thousand_streams_of_one_tenant_are_its_cap_and_the_others_notice_nothing():
    stage = staged(LimitSpec("concurrency", 40), given={"weu": {"deployments": {"d": {"latency": {
        "first_token_s": 0.2, "per_token_s": 0.1}}}}})  # fmt: skip
    alone = stage.ask("[sim:tokens=20]", stream=True, consumer="good")
    over(stage)
    took = (alone.ended_at or 0) - alone.asked_at
    clients = [stage.ask("[sim:tokens=2000]", stream=True, consumer="bad") for _ in range(10_000)]
    assert stage.world.in_flight == 40
    others = [stage.ask("[sim:tokens=20]", stream=True, consumer="good") for _ in range(20)]
    stage.clock.run_for(20)
    assert {c.status for c in others} == {200}
    assert max((c.ended_at or 1e9) - c.asked_at for c in others) <= took * 1.5
    assert Counter(c.status for c in clients) == {200: 40, 429: 9960}
    for client in clients:
        if client.ended_at is None:
            client.leave()
    over(stage)
    assert used(stage) == [0]


# ---------------------------------------------------------------------- 70: a client that does not listen


def calls(function: Any) -> int:
    """How many functions it calls, all in all."""
    count = 0

    def tracer(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.disable()  # what others do when it runs is not the function's
    sys.setprofile(tracer)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


@pytest.mark.parametrize("why", ["limit", "pool"])
def test_abuse_70_a_storm_of_retries_is_refused_at_the_same_small_cost_each_and_nobody_is_called(why: str):
    stage = staged(LimitSpec("request_rate", 3 if why == "limit" else MANY), given={f"m{n}": {} for n in range(4)})
    if why == "pool":
        stage.upstream.fault("throttle", wait_s=600)
    for _ in range(10):
        stage.ask("hi", consumer="bad")
        stage.settle()
    before, written = len(stage.ledger), stage.journal.records
    costs = []
    for n in range(20_000):
        if n % 2000 < 2:
            costs.append(calls(lambda again=n % 7: stage.ask("hi", consumer="bad", retry=again)))  # type: ignore[misc]
        else:
            client = stage.ask("hi", consumer="bad", retry=n % 7)
            assert client.status == 429 and client.ended_at == client.asked_at
    assert max(costs) <= 1.2 * min(costs) + 20, "not more, however long it goes on"
    assert len(stage.ledger) == before, "no call of an upstream"
    assert stage.world.in_flight == 0 and not stage.bound.live
    if why == "limit":
        assert stage.journal.records == written, "no record: what is refused is counted"
        assert len(stage.world.policies) <= 10
    else:
        assert client.header("retry-after-ms") is not None


def test_abuse_70_a_storm_does_not_put_off_the_time_at_which_it_may_come_again():
    stage = staged(LimitSpec("request_rate", 10))
    for _ in range(10):
        assert stage.ask("hi", consumer="bad").drive
    waits = []
    for _ in range(100):
        client = stage.ask("hi", consumer="bad")
        assert client.status == 429
        waits.append(int(client.header("retry-after-ms") or 0))
        stage.clock.run_for(0.5)
    assert waits == sorted(waits, reverse=True) and waits[-1] <= 11_000
    stage.clock.run_for(11.0)
    last = stage.ask("hi", consumer="bad")
    over(stage)
    assert last.status == 200
