"""Operations that the gateway does not know: only where a model names them, byte for byte, for those who may use it."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from typing import Any

import pytest

from sluicegate.apis import Paths, rows
from sluicegate.core.caller import Callers, digest
from sluicegate.core.events import Usage
from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.snapshot import ConsumerEntry, Directory
from sluicegate.worker import paths
from tests.abuse.outside import Upstream, answer, request
from tests.edge.line import SSE, House
from tests.gateway import KEY, SECRET, GatewayThread, instance, snapshot

COMPACT = "POST /responses/compact"
BODY = b'{ "model":"chat", "input" : [{"a": 1.50}],"future":null }'


def house(
    *operations: str, provider: str = "azure_openai", limits: tuple[LimitSpec, ...] = (), **consumer: Any
) -> House:
    """A model that offers chat and these."""
    base = snapshot([instance(1, 80, provider=provider, base_path="" if provider == "azure_openai" else "/v1")])
    model = replace(base.models[0], operations=("chat_completions", *operations))
    made = House(snap=replace(base, models=(model,)))
    entry = ConsumerEntry(1, "app", "default", ("chat",), (digest(KEY.encode(), SECRET),), limits, **consumer)
    made.world.adopt(made.snapshot, Directory((SECRET,), (entry,)))
    made.bound.adopted()
    made.server.know(paths(made.snapshot))
    made.upstream.at_once = None
    return made


def ask(made: House, path: bytes = b"/openai/v1/responses/compact", body: bytes = BODY, **more: Any) -> Any:
    return made.line().send(request(path=path, body=body, **more))


@pytest.mark.parametrize(
    ("provider", "path", "up", "name"),
    [
        ("azure_openai", b"/openai/v1/responses/compact", b"POST /openai/v1/responses/compact HTTP/1.1", b"gpt-4o-1"),
        ("azure_openai", b"/v1/responses/compact", b"POST /openai/v1/responses/compact HTTP/1.1", b"gpt-4o-1"),
        ("azure_openai", b"/openai/responses/compact?api-version=2025-04-01-preview",
         b"POST /openai/responses/compact?api-version=2025-04-01-preview HTTP/1.1", b"gpt-4o-1"),
        ("openai_compatible", b"/v1/responses/compact", b"POST /v1/responses/compact HTTP/1.1", b"gpt-4o-1"),
    ],
)  # fmt: skip
def test_it_goes_up_as_it_came_with_the_deployments_name(provider: str, path: bytes, up: bytes, name: bytes):
    made = house(COMPACT, provider=provider)
    line = ask(made, path)
    sent = made.upstream.bytes[0]
    assert sent.startswith(up + b"\r\n") and sent.endswith(BODY.replace(b'"chat"', b'"%b"' % name))
    answer = b'[ {"anything": 1.0} ]'
    made.upstream.calls[0].answer(answer)
    got = line.answers()[0]
    assert (got.status, got.body) == (200, answer)
    record = made.journal.recent[-1]
    assert (record.api, record.usage, record.estimated, record.state) == (COMPACT, None, False, "settled")


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}, Usage(9, 4)),
        ({"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 5},
          "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 13}, Usage(4, 1, 5, 0, 3)),
        ({"prompt_tokens": 9}, Usage(9)), ({"input_tokens": 9, "total_tokens": 13}, Usage(9, 4)),
        ({"seconds": 9}, None), ({"input_tokens": -9}, None), ("nine", None), (None, None),
        ({"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 50}}, None),
    ],
)  # fmt: skip
def test_tokens_are_what_the_answer_says(said: Any, usage: Usage | None):
    made = house(COMPACT)
    ask(made)
    made.upstream.calls[0].answer(json.dumps({"id": "x", "usage": said}).encode())
    record = made.journal.recent[-1]
    assert (record.usage, record.estimated) == (usage, False)


def test_a_stream_passes_and_says_its_usage_in_either_place():
    made = house(COMPACT)
    line = ask(made, body=BODY[:-2] + b',"stream":true}')
    events = (
        b'event: response.created\ndata: {"type":"response.created","response":{"usage":null}}\n\n',
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"x"}\n\n',
        b'event: response.completed\ndata: {"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":2}}}\n\n',
    )
    made.upstream.calls[0].begin(200, SSE)
    made.upstream.calls[0].piece(*events)
    made.upstream.calls[0].end()
    assert line.answers()[0].body == b"".join(events)
    record = made.journal.recent[-1]
    assert (record.usage, record.estimated, record.how) == (Usage(3, 2), False, "done")


def test_who_leaves_before_the_usage_was_said_is_not_served_for_nothing():
    made = house(COMPACT)
    line = ask(made, body=BODY[:-2] + b',"stream":true}')
    made.upstream.calls[0].begin(200, SSE)
    made.upstream.calls[0].piece(*[b'data: {"delta":"some words"}\n\n'] * 50)
    line.connection.connection_lost(None)
    record = made.journal.recent[-1]
    assert record.how == "gone" and record.estimated and record.usage is not None and record.usage.output == 50


def test_fields_of_an_operation_that_we_do_not_know_may_be_anything():
    made = house(COMPACT)
    body = b'{"model":"chat","max_tokens":{"each":7},"n":"two","max_output_tokens":-1,"stream":false}'
    line = ask(made, body=body)
    assert made.upstream.bytes[0].endswith(body.replace(b'"chat"', b'"gpt-4o-1"'))
    made.upstream.calls[0].answer(b"{}")
    assert line.answers()[0].status == 200


def test_nobody_else_reaches_it():
    for made in (house(), house("POST /responses/compact/all"), house("POST /rerank")):
        assert ask(made).answers()[0].status == 404 and not made.upstream.calls
    made = house(COMPACT, operations=("chat_completions",))
    assert ask(made).answers()[0].header("x-sluicegate-reason") == b"grant.operation"
    assert ask(house(COMPACT), body=b'{"model":"other"}').answers()[0].status == 404
    assert ask(house(COMPACT), body=b"{}").answers()[0].header("x-sluicegate-reason") == b"request.no_model"
    assert ask(house(COMPACT), key=None).answers()[0].status == 401
    assert ask(house(COMPACT), method=b"GET").answers()[0].status == 405
    assert ask(house(COMPACT), b"/openai/deployments/chat/responses/compact").answers()[0].status == 404


def test_requests_are_limited_and_counted():
    made = house(COMPACT, limits=(LimitSpec("request_rate", 2),))
    statuses = []
    for _ in range(4):
        line = ask(made)
        if made.upstream.calls and not made.upstream.calls[-1].over:
            made.upstream.calls[-1].answer(b"{}")
        statuses.append(line.answers()[0].status)
    assert statuses == [200, 200, 429, 429]


def test_it_is_not_sent_twice_once_something_was_sent():
    base = snapshot([instance(1, 80), instance(2, 81)])
    made = house(COMPACT)
    made.world.adopt(replace(base, models=(replace(base.models[0], operations=(COMPACT,)),)), Directory(
        (SECRET,), (ConsumerEntry(1, "app", "default", ("chat",), (digest(KEY.encode(), SECRET),)),)
    ))  # fmt: skip
    made.bound.adopted()
    line = ask(made)
    made.upstream.calls[0].end("reset")
    assert len(made.upstream.calls) == 1 and line.answers()[0].status == 503


def test_another_configuration_takes_it_away_and_gives_another():
    made = house(COMPACT)
    line = ask(made)
    made.upstream.calls[0].answer(b"{}")
    made.server.know(Paths(rows(["POST /rerank"])))
    line.send(request(path=b"/openai/v1/responses/compact", body=BODY))
    line.send(request(path=b"/v1/responses/compact", body=BODY))
    assert [a.status for a in line.answers()][-1] == 404 and len(made.upstream.calls) <= 2


@pytest.mark.parametrize("answer", [b"", b"<html>", b'{"a":', b'{"a":1}{'])
def test_what_is_no_json_is_no_answer(answer: bytes):
    made = house(COMPACT)
    line = ask(made)
    made.upstream.calls[0].answer(answer)
    assert line.answers()[0].status == 503


def test_a_worker_that_is_given_another_configuration_offers_what_it_names():
    with Upstream() as upstream:
        upstream.answer = lambda seen, s: s.sendall(answer(b'{"ok":true}')) or True
        before = snapshot([instance(1, upstream.port)])
        named = replace(before, models=(replace(before.models[0], operations=("chat_completions", COMPACT)),))
        with GatewayThread(before) as gateway:

            def status() -> int:
                return send(gateway.port, request(path=b"/v1/responses/compact", body=BODY))

            assert status() == 404
            for configuration, wanted in ((named, 200), (before, 404), (named, 200)):
                gateway.call(lambda c=configuration: gateway.worker.adopt(c, Callers(gateway.directory), None))
                assert status() == wanted


def send(port: int, sent: bytes) -> int:
    """The status of one request on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(sent)
        return int(s.recv(65536).split(b" ", 2)[1])
