"""Whoever speaks Anthropic's dialect reads every refusal in it, wherever in a request it is found to be wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.abuse.outside import request
from tests.edge.line import House
from tests.gateway import instance, snapshot

BODY = b'{"model":"chat","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}'


def house() -> House:
    base = snapshot([instance(1, 80, provider="anthropic")])
    made = House(snap=replace(base, models=(replace(base.models[0], operations=("messages", "count_tokens")),)))
    made.upstream.at_once = None
    return made


def refused(
    made: House, *lines: bytes, path: bytes = b"/v1/messages", body: bytes = BODY, **more: Any
) -> tuple[int, str, str]:
    (answer,) = made.line().send(request(*lines, path=path, body=body, **more)).answers()
    said = json.loads(answer.body)
    assert set(said) == {"type", "error", "request_id"} and said["type"] == "error" and said["request_id"], said
    assert set(said["error"]) == {"type", "message", "reason"}
    assert not made.upstream.calls
    return answer.status, said["error"]["type"], said["error"]["reason"]


@pytest.mark.parametrize(
    ("path", "want"),
    [
        (b"/anthropic/v1/nothing", (404, "not_found_error", "route.path")),
        (b"/anthropic/v1/messages/batches", (404, "not_found_error", "route.path")),
        (b"/v1/messages/batches", (404, "not_found_error", "route.path")),
        (b"/v1/messages?api-version=x", (400, "invalid_request_error", "request.api_version")),
        (b"/anthropic/v1/messages?api-version=1&api-version=2", (400, "invalid_request_error", "request.api_version")),
    ],
)  # fmt: skip
def test_where_there_is_nothing(path: bytes, want: tuple[int, str, str]):
    assert refused(house(), path=path) == want


@pytest.mark.parametrize(
    ("lines", "body", "want"),
    [
        ((b"Content-Encoding: gzip",), BODY, (415, "invalid_request_error", "request.content_encoding")),
        ((b"Expect: magic",), BODY, (417, "invalid_request_error", "request.expect")),
        ((b"anthropic-beta: \xff",), BODY, (400, "invalid_request_error", "request.header")),
        ((b"X-Big: " + b"x" * 60_000,), BODY, (431, "invalid_request_error", "request.headers_too_large")),
        ((), b"{", (400, "invalid_request_error", "request.invalid_json")),
        ((), b'{"model":"chat","stream":"yes"}', (400, "invalid_request_error", "request.invalid_field")),
        ((), b'{"max_tokens":5}', (400, "invalid_request_error", "request.no_model")),
        ((), b'{"model":"other"}', (404, "not_found_error", "route.model")),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_request(lines: tuple[bytes, ...], body: bytes, want: tuple[int, str, str]):
    assert refused(house(), *lines, body=body) == want


def test_who_asks():
    made = house()
    assert refused(made, key=None) == (401, "authentication_error", "credential.missing")
    assert refused(made, b"x-api-key: nobody's", key=None) == (401, "authentication_error", "credential.unknown")
    assert refused(made, b"x-api-key: nobody's") == (400, "invalid_request_error", "credential.ambiguous")


KEY = b"client-key-0123456789"


@pytest.mark.parametrize(
    "shown",
    [(b"x-api-key: " + KEY,), (b"Authorization: Bearer " + KEY,), (b"x-api-key: " + KEY, b"api-key: " + KEY),
     (b"api-key: " + KEY, b"Authorization: Bearer " + KEY)],
)  # fmt: skip
def test_each_way_in_which_its_sdks_show_a_key(shown: tuple[bytes, ...]):
    made = house()
    made.line().send(request(b"anthropic-version: 2023-06-01", b"anthropic-beta: a,b", b"anthropic-workspace-id: w",
                             *shown, path=b"/anthropic/v1/messages?beta=true", body=BODY, key=None))  # fmt: skip
    (up,) = made.upstream.bytes
    head = up.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert head[0] == b"POST /v1/messages HTTP/1.1"
    assert {b"anthropic-version: 2023-06-01", b"anthropic-beta: a,b"} <= set(head)
    assert KEY not in up and b"workspace" not in up
    made.upstream.calls[0].answer(b'{"input_tokens":1}', status=400)


def test_a_refusal_of_the_upstream_that_is_no_error_of_its_api():
    made = house()
    line = made.line().send(request(path=b"/v1/messages", body=BODY))
    made.upstream.calls[0].answer(b"<html>413</html>", status=413, headers=[(b"content-type", b"text/html")])
    (answer,) = line.answers()
    said = json.loads(answer.body)
    assert answer.status == 413 and said["error"]["type"] == "request_too_large"
    assert said["error"]["reason"] == "upstream.refused"
