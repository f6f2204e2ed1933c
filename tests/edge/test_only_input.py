"""Operations whose answers are no text: limits count what comes in, exactly where it can be, and nothing of the bytes
that come out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from sluicegate.core.caller import digest
from sluicegate.core.events import Usage
from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.settings import ParamSpec
from sluicegate.core.snapshot import ConsumerEntry, Directory
from tests.abuse.outside import request
from tests.edge.line import SSE, House, Line
from tests.gateway import KEY, SECRET, instance, snapshot

OPERATIONS = ("chat_completions", "completions", "embeddings", "moderations")


def house(*limits: LimitSpec, params: tuple[ParamSpec, ...] = ()) -> House:
    base = snapshot([instance(1, 80, provider="openai_compatible", base_path="/v1")])
    made = House(snap=replace(base, models=(replace(base.models[0], operations=OPERATIONS),)))
    entry = ConsumerEntry(1, "app", "default", ("chat",), (digest(KEY.encode(), SECRET),), limits, params)
    made.world.adopt(made.snapshot, Directory((SECRET,), (entry,)))
    made.bound.adopted()
    made.upstream.at_once = None
    return made


def ask(made: House, operation: str, **fields: Any) -> Line:
    body = json.dumps({"model": "chat", **fields}, separators=(",", ":")).encode()
    return made.line().send(request(path=f"/v1/{operation}".encode(), body=body))


def vectors(tokens: int | None, size: int = 6000) -> bytes:
    said = {"object": "list", "data": [{"embedding": "A" * size, "index": 0}]}
    return json.dumps(said if tokens is None else {**said, "usage": {"prompt_tokens": tokens}}).encode()


def test_a_limit_of_tokens_takes_exactly_as_many_ids():
    made = house(LimitSpec("token_rate", 1000))
    for ids, status in [(600, 200), (400, 200), (1, 429)]:
        line = ask(made, "embeddings", input=[7] * ids)
        if status == 200:
            made.upstream.calls[-1].answer(vectors(ids))
        assert line.answers()[0].status == status, ids
    assert len(made.upstream.calls) == 2


def test_more_ids_than_the_limit_at_once_never_fit():
    line = ask(house(LimitSpec("token_rate", 1000)), "embeddings", input=[[7] * 500, [7] * 501])
    assert line.answers()[0].header("x-sluicegate-reason") == b"limit.token_rate.too_large"


def test_what_was_learned_from_text_does_not_bend_the_count_of_ids():
    made = house(LimitSpec("token_rate", 1_000_000))
    for _ in range(30):  # this text is four times the tokens that its bytes say
        ask(made, "embeddings", input="x" * 400)
        made.upstream.calls[-1].answer(vectors(404))
    (limit,) = made.world.policies.limits()
    before = limit.used(made.now())
    ask(made, "embeddings", input=[7] * 100)
    assert limit.used(made.now()) - before == 100
    before = limit.used(made.now())
    ask(made, "embeddings", input="x" * 400)
    assert limit.used(made.now()) - before > 350


def test_vectors_are_not_counted_as_text_where_usage_is_missing():
    made = house(LimitSpec("token_rate", 1000))
    line = ask(made, "embeddings", input=[7] * 9)
    made.upstream.calls[-1].answer(vectors(None))
    assert line.answers()[0].status == 200
    record = made.journal.recent[-1]
    assert (record.usage, record.estimated) == (Usage(9), True)


@pytest.mark.parametrize("how", ["reset", "eof"])
def test_nor_where_they_break_off(how: str):
    made = house()
    line = ask(made, "embeddings", input=[7] * 9)
    attempt = made.upstream.calls[-1]
    attempt.begin()
    attempt.piece(b'{"object":"list","data":[{"embedding":"' + b"A" * 5000)
    attempt.end(how)
    assert line.answers()[0].status == 503
    assert made.journal.recent[-1].attempts[0].usage == Usage(9)


def test_moderations_use_no_tokens_and_count_as_requests():
    made = house(LimitSpec("token_rate", 1), LimitSpec("request_rate", 2))
    statuses = []
    for _ in range(3):
        line = ask(made, "moderations", input="x" * 10_000)
        if made.upstream.calls and not made.upstream.calls[-1].over:
            made.upstream.calls[-1].answer(b'{"results":[{"flagged":false}]}')
        statuses.append(line.answers()[0].status)
    assert statuses == [200, 200, 429]
    assert (made.journal.recent[-1].usage, made.journal.recent[-1].estimated) == (None, False)


RULES = (
    ParamSpec("max_tokens", max=100.0), ParamSpec("temperature", default="0.2"), ParamSpec("top_p", force="1"),
    ParamSpec("user", default='"team"'), ParamSpec("dimensions", max=256.0),
)  # fmt: skip


def test_rules_about_writing_put_nothing_into_a_request_that_writes_nothing():
    made = house(params=RULES)
    ask(made, "embeddings", input="x", dimensions=1024)
    sent = json.loads(made.upstream.bytes[-1].partition(b"\r\n\r\n")[2])
    assert sent == {"model": "gpt-4o-1", "input": "x", "dimensions": 256, "user": "team"}
    ask(made, "completions", prompt="x")
    sent = json.loads(made.upstream.bytes[-1].partition(b"\r\n\r\n")[2])
    assert sent == {
        "model": "gpt-4o-1",
        "prompt": "x",
        "max_tokens": 100,
        "temperature": 0.2,
        "top_p": 1,
        "user": "team",
    }


def test_and_cut_what_is_there_all_the_same():
    made = house(params=RULES)
    ask(made, "embeddings", input="x", temperature=1, top_p=0.5)
    sent = json.loads(made.upstream.bytes[-1].partition(b"\r\n\r\n")[2])
    assert sent["top_p"] == 1 and sent["temperature"] == 1


def test_a_rule_changes_no_reserve_of_an_answer_that_there_is_not():
    made = house(LimitSpec("token_rate", 100), params=RULES)
    line = ask(made, "embeddings", input=[7] * 100, dimensions=1024)
    assert made.upstream.calls, line.answers()


def test_completions_reserve_for_all_their_choices():
    made = house(LimitSpec("token_rate", 10_000))
    ask(made, "completions", prompt=[[7] * 10, [7] * 10], n=2, best_of=5, max_tokens=99)
    (limit,) = made.world.policies.limits()
    assert limit.used(made.now()) == 2 * 10 + 2 * 5 * 99


def test_a_rule_for_choices_holds_for_each_prompt():
    """Else a stream of which one choice of three has ended would look whole."""
    rule = (ParamSpec("n", default="2"), ParamSpec("best_of", max=4.0))
    made = house(LimitSpec("token_rate", 10_000), params=rule)
    ask(made, "completions", prompt=["a", "b", "c"], best_of=9, max_tokens=10)
    assert b'"n":2' in made.upstream.bytes[-1] and b'"best_of":4' in made.upstream.bytes[-1]
    (limit,) = made.world.policies.limits()
    assert limit.used(made.now()) == 4 + 3 * 4 * 10
    made = house(params=(ParamSpec("n", max=1.0),))
    line = ask(made, "completions", prompt=["a", "b", "c"], n=2, stream=True)
    said = b'data: {"choices":[{"text":"x","index":0,"finish_reason":"stop"}]}\n\n'
    made.upstream.calls[-1].begin(200, SSE)
    made.upstream.calls[-1].piece(said)
    made.upstream.calls[-1].end()
    assert b"upstream_interrupted" in line.answers()[0].body
