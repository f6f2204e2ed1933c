"""Anthropic's and Foundry's dialects as the simulator speaks them, over real sockets."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sluicegate.sim.fleet import FleetThread, Served
from tests.sim.raw import connect, rest, split, unchunk

CLAUDE = {"claude": {"model": "claude-sonnet-4-6", "sku": "GlobalStandard"}}
FLEET: dict[str, Any] = {
    "own": {"kind": "anthropic", "deployments": CLAUDE},
    "hub": {
        "kind": "foundry",
        "deployments": {**CLAUDE, "mistral": {"model": "mistral-large-2411", "sku": "GlobalStandard"}},
    },
    "azure": {},
}


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetThread]:
    with FleetThread(FLEET, seed=11) as fleet:
        yield fleet


@pytest.fixture(autouse=True)
def healed(fleet: FleetThread) -> None:
    fleet.heal()


def ask(
    served: Served, target: str, document: dict[str, Any], *headers: str, key: str = "x-api-key"
) -> tuple[int, dict[str, str], bytes]:
    body = json.dumps(document).encode()
    lines = [f"POST {target} HTTP/1.1", "host: simulated", f"{key}: {served.key}", "anthropic-version: 2023-06-01", *headers,
             "connection: close", f"content-length: {len(body)}", "", ""]  # fmt: skip
    with connect(served) as s:
        s.sendall("\r\n".join(lines).encode() + body)
        answer, how = rest(s)
    line, found, raw = split(answer)
    return int(line.split()[1]), found, unchunk(raw) if "transfer-encoding" in found else raw


def message(content: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "claude", "max_tokens": 500, "messages": [{"role": "user", "content": content}], **more}


@pytest.mark.parametrize(("name", "target"), [("own", "/v1/messages"), ("hub", "/anthropic/v1/messages")])
def test_a_plain_message(fleet: FleetThread, name: str, target: str) -> None:
    status, headers, body = ask(fleet[name], target, message("[sim:tokens=7][sim:cached=5][sim:written=3][sim:hour=2]"))
    said = json.loads(body)
    assert status == 200 and said["type"] == "message" and said["stop_reason"] == "end_turn"
    usage = said["usage"]
    assert (usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"], usage["output_tokens"]) == (5, 5, 7)
    assert usage["cache_creation"] == {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 2}
    assert usage["input_tokens"] + 10 == fleet.ledger[-1].claim.prompt  # type: ignore[union-attr]
    assert ("anthropic-ratelimit-requests-reset" in headers) == (name == "own")


def test_a_stream_begins_and_ends_as_it_should(fleet: FleetThread) -> None:
    _, headers, body = ask(fleet["own"], "/v1/messages", message("[sim:tokens=3]", stream=True))
    events = [e.split(b"\n") for e in body.removesuffix(b"\n\n").split(b"\n\n")]
    names = [name.removeprefix(b"event: ").decode() for name, _ in events]
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert names == ["message_start", "content_block_start", "ping", *["content_block_delta"] * 3, "content_block_stop",
                     "message_delta", "message_stop"]  # fmt: skip
    data = [json.loads(d.removeprefix(b"data: ")) for _, d in events]
    assert [d["type"] for d in data] == names
    assert data[0]["message"]["usage"]["output_tokens"] == 1 and data[-2]["usage"]["output_tokens"] == 3


def test_a_tool_is_used_when_it_must_be(fleet: FleetThread) -> None:
    tools = [{"name": "weather", "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}}}]
    asked = message(tools=tools, tool_choice={"type": "any"})
    said = json.loads(ask(fleet["own"], "/v1/messages", asked)[2])
    assert said["stop_reason"] == "tool_use" and said["content"][0]["input"].keys() == {"place"}
    body = ask(fleet["own"], "/v1/messages", {**asked, "stream": True})[2]
    parts = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: ")]
    pieces = [p["delta"]["partial_json"] for p in parts if p["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)).keys() == {"place"}


def test_tokens_are_counted_as_a_message_would_use_them(fleet: FleetThread) -> None:
    status, _, body = ask(
        fleet["own"], "/v1/messages/count_tokens", {"model": "claude", "messages": message()["messages"]}
    )
    used = json.loads(ask(fleet["own"], "/v1/messages", message())[2])["usage"]["input_tokens"]
    assert (status, json.loads(body)) == (200, {"input_tokens": used})


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [({"max_tokens": None}, 400, "invalid_request_error"), ({"messages": []}, 400, "invalid_request_error"),
     ({"messages": [{"role": "system", "content": "x"}]}, 400, "invalid_request_error"), ({"model": "none"}, 404, "not_found_error")],
)  # fmt: skip
def test_it_says_no_in_its_own_words(fleet: FleetThread, change: dict[str, Any], status: int, kind: str) -> None:
    for name, target in (("own", "/v1/messages"), ("hub", "/anthropic/v1/messages")):
        found, _, body = ask(fleet[name], target, {**message(), **change})
        assert (found, json.loads(body)["error"]["type"]) == (status, kind)


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [({"kind": "throttle", "wait_s": 7}, 429, "rate_limit_error"), ({"kind": "throttle", "reason": "capacity"}, 529, "overloaded_error"),
     ({"kind": "status", "status": 529}, 529, "overloaded_error"), ({"kind": "status", "status": 500}, 500, "api_error"),
     ({"kind": "status", "shape": "wrong_key"}, 401, "authentication_error"), ({"kind": "status", "shape": "too_long"}, 400, "invalid_request_error")],
    ids=str,
)  # fmt: skip
def test_faults_speak_it_too(fleet: FleetThread, fault: dict[str, Any], status: int, kind: str) -> None:
    fleet.fault(**fault)
    found, headers, body = ask(fleet["own"], "/v1/messages", message())
    assert (found, json.loads(body)["error"]["type"]) == (status, kind)
    assert headers.get("retry-after") == ("7" if status == 429 else None)
    assert not any(name.startswith("x-ratelimit") for name in headers)


def test_a_capacity_is_used_up_and_the_headers_say_what_is_left(fleet: FleetThread) -> None:
    fleet.patch(
        {"own": {"deployments": {"claude": {"capacity": {"tokens_per_minute": 600, "requests_per_minute": 600}}}}}
    )
    assert ask(fleet["own"], "/v1/messages", message())[1]["anthropic-ratelimit-input-tokens-limit"] == "600"
    assert ask(fleet["own"], "/v1/messages", message())[0] == 200
    found, headers, _ = ask(fleet["own"], "/v1/messages", message())
    assert (
        found == 429
        and int(headers["retry-after"]) >= 1
        and headers["anthropic-ratelimit-input-tokens-remaining"] == "0"
    )
    fleet.reset()


def test_its_key_stands_in_its_own_header(fleet: FleetThread) -> None:
    for name, target, headers in (
        ("own", "/v1/messages", ("x-api-key",)),
        ("hub", "/anthropic/v1/messages", ("x-api-key", "api-key")),
    ):
        for header in headers:
            assert ask(fleet[name], target, message(), key=header)[0] == 200
        assert (
            ask(fleet[name], target, message(), "authorization: Bearer " + fleet[name].key, key="x-nothing")[0] == 200
        )
        assert ask(fleet[name], target, message(), key="x-nothing")[0] == 401
    assert ask(fleet["own"], "/v1/messages", message(), key="api-key")[0] == 401


INFERENCE = "/models/chat/completions?api-version=2024-05-01-preview"
CHAT = {"model": "mistral", "messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize(
    ("what", "status"), [("", 422), ("extra-parameters: error", 422), ("extra-parameters: drop", 200), ("extra-parameters: pass-through", 200)]
)  # fmt: skip
def test_the_inference_api_knows_its_fields(fleet: FleetThread, what: str, status: int) -> None:
    asked = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    found, _, body = ask(fleet["hub"], INFERENCE, asked, *([what] if what else []), key="api-key")
    assert found == status and (b'"usage":{' in body) == what.endswith("through")
    assert ask(fleet["hub"], INFERENCE, CHAT, key="api-key")[0] == 200


@pytest.mark.parametrize(
    ("name", "target", "document"),
    [("own", "/v1/chat/completions", CHAT), ("own", "/openai/v1/chat/completions", CHAT), ("azure", "/anthropic/v1/messages", message()),
     ("azure", INFERENCE, CHAT), ("hub", "/models/chat/completions", CHAT), ("hub", "/models/messages", message()),
     ("hub", "/openai/v1/messages", message()), ("hub", "/openai/deployments/mistral/chat/completions?api-version=2024-10-21", CHAT)],
)  # fmt: skip
def test_no_surface_has_what_belongs_to_another(
    fleet: FleetThread, name: str, target: str, document: dict[str, Any]
) -> None:
    assert ask(fleet[name], target, document, key="api-key")[0] == 404
