"""Messages in Anthropic's dialect: what a request decides, what its answer used."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.apis import APIS
from sluicegate.apis.base import BadRequest, Malformed
from sluicegate.apis.messages_media import BYTES_A_TOKEN, IMAGE_TOKENS, PAGE_TOKENS
from sluicegate.core.events import Facts, Usage

MESSAGES = APIS["messages"]
COUNT = APIS["count_tokens"]
ASK = {"model": "claude", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}


def facts(api: Any = MESSAGES, **change: Any) -> Facts:
    body = json.dumps({**ASK, **change}).encode()
    return api.facts(api.fields(body), body)


def content(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def image(data: str) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def pdf(data: str) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}}


# ---------------------------------------------------------------------- what a request decides


def test_what_decides_is_read_and_nothing_else() -> None:
    f = facts(stream=True, tools=[{"name": "x", "input_schema": {}}], system="s", thinking={"type": "adaptive"})
    assert (f.model, f.stream, f.max_output, f.n, f.tools) == ("claude", True, 100, 1, True)
    assert facts(max_tokens=None).max_output is None, "its upstream refuses it, a default may fill it in"


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_tokens", "5"), ("max_tokens", -1), ("max_tokens", 1.5), ("stream", "yes"), ("model", 7), ("model", ""),
     ("tools", [1]), ("tools", {"name": "x"}), ("tools", "all")],
)  # fmt: skip
def test_a_wrong_type_of_what_decides_is_refused(field: str, value: Any) -> None:
    with pytest.raises(BadRequest) as bad:
        facts(**{field: value})
    assert bad.value.reason == "request.invalid_field" and f"'{field}'" in bad.value.message


@pytest.mark.parametrize("api", [MESSAGES, COUNT], ids=lambda a: a.name)
@pytest.mark.parametrize(
    "more",
    [
        {"fallbacks": [{"model": "claude-opus"}]}, {"fallbacks": "default"}, {"fallbacks": []},
        {"tools": [{"name": "a"}, {"type": "advisor_20260301", "name": "advisor", "model": "claude-opus"}]},
        {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": None}]},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_no_model_that_was_not_granted_is_named_on_the_side(api: Any, more: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as bad:
        facts(api, **more)
    assert bad.value.reason == "request.invalid_field" and "model" in bad.value.message


def test_a_property_of_a_tool_that_is_called_model_names_none() -> None:
    schema = {"type": "object", "properties": {"model": {"type": "string"}}}
    assert facts(fallbacks=None, tools=[{"name": "cars", "input_schema": schema}]).tools


def test_counting_reserves_nothing_and_never_streams() -> None:
    f = facts(COUNT, stream=True)
    assert (f.model, f.stream, f.max_output, f.estimate) == ("claude", False, 0, 0)
    assert COUNT.unmetered and not MESSAGES.unmetered


def test_only_the_model_is_written_and_every_other_byte_stays() -> None:
    body = b'{ "max_tokens":5, "model": "claude" , "x":{"a":[1, 2.50]},"messages":[]}'
    fields = MESSAGES.fields(body)
    f = MESSAGES.facts(fields, body)
    assert MESSAGES.body(body, fields, f, "claude", True) is body
    renamed = bytes(MESSAGES.body(body, fields, f, "claude-eu", True))
    assert json.loads(renamed) == {**json.loads(body), "model": "claude-eu"} and b'{"a":[1, 2.50]}' in renamed


# ---------------------------------------------------------------------- estimates


def test_text_counts_by_its_bytes() -> None:
    assert facts(messages=[{"role": "user", "content": "x" * 4000}]).estimate == pytest.approx(1000, abs=30)


@pytest.mark.parametrize("wrap", [0, 1, 2])
def test_a_20_MB_image_counts_as_an_image_however_deep_it_lies(wrap: int) -> None:
    block = image("A" * 20_000_000)
    for _ in range(wrap):
        block = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    f = facts(**content({"type": "text", "text": "what is it?"}, block))
    assert f.images == 1 and f.media == IMAGE_TOKENS and f.estimate < IMAGE_TOKENS + 200


def test_a_pdf_counts_by_its_pages_and_what_lies_elsewhere_as_one() -> None:
    size = 1_200_000
    assert facts(**content(pdf("A" * size))).media == size // BYTES_A_TOKEN
    assert facts(**content(pdf("A" * 100))).media == PAGE_TOKENS
    for source in ({"type": "url", "url": "https://a.example/x.pdf"}, {"type": "file", "file_id": "file_1"}):
        assert facts(**content({"type": "document", "source": source})).media == PAGE_TOKENS
    assert facts(**content({"type": "image", "source": {"type": "url", "url": "u"}})).media == IMAGE_TOKENS
    blocks = {"type": "document", "source": {"type": "content", "content": [image("A" * 999), image("B")]}}
    assert (facts(**content(blocks)).media, facts(**content(blocks)).images) == (2 * IMAGE_TOKENS, 2)


def test_a_document_of_text_counts_as_text() -> None:
    text = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x" * 8000}}
    f = facts(**content(text))
    assert f.media == 0 and f.estimate == pytest.approx(2000, abs=60)


@pytest.mark.parametrize("messages", [5, "x", {"a": []}, [5], [[]], [{"content": [5]}], [{"content": [{"type": 5}]}]])
def test_messages_of_another_shape_count_as_text(messages: Any) -> None:
    f = facts(messages=messages)
    assert f.media == 0 and f.images == 0


def test_blocks_nested_without_end_are_cut_short() -> None:
    block = image("A" * 1000)
    for _ in range(50):
        block = {"type": "tool_result", "content": [block]}
    assert facts(**content(block)).images == 0


# ---------------------------------------------------------------------- answers

ANSWER = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6", "stop_reason": "end_turn",
    "stop_sequence": None, "content": [{"type": "text", "text": "Hi"}],
    "usage": {
        "input_tokens": 50, "cache_creation_input_tokens": 3000, "cache_read_input_tokens": 12000,
        "cache_creation": {"ephemeral_5m_input_tokens": 2000, "ephemeral_1h_input_tokens": 1000},
        "output_tokens": 500, "output_tokens_details": {"thinking_tokens": 120}, "service_tier": "standard",
        "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
    },
}  # fmt: skip


def said(usage: Any) -> Usage | None:
    return MESSAGES.answer(json.dumps({**ANSWER, "usage": usage}).encode())


def test_what_was_cached_stands_beside_the_input_and_not_in_it() -> None:
    usage = MESSAGES.answer(json.dumps(ANSWER).encode())
    assert usage == Usage(50, 380, 12000, 3000, 120) and usage is not None
    assert (usage.hour, usage.tier, usage.total_input, usage.total_output) == (1000, "", 15050, 500)


@pytest.mark.parametrize(
    ("usage", "want"),
    [
        ({"input_tokens": 5, "output_tokens": 0}, Usage(5, 0)),
        ({"input_tokens": 0, "output_tokens": 3, "cache_read_input_tokens": 9}, Usage(0, 3, 9)),
        ({"input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": None, "x": {}}, Usage(5, 3)),
        ({"input_tokens": 0, "output_tokens": 0}, None), ({"input_tokens": -1, "output_tokens": 3}, None),
        ({"input_tokens": 5, "output_tokens": -3}, None), ({"output_tokens": 3}, None), ({"input_tokens": 3}, None),
        ({"input_tokens": 5, "output_tokens": 3, "cache_creation_input_tokens": -2}, None),
        ({"input_tokens": 5, "output_tokens": 3, "output_tokens_details": {"thinking_tokens": 4}}, None),
        ({"input_tokens": 10**10, "output_tokens": 3}, None), ({"input_tokens": "5", "output_tokens": 3}, None),
        (None, None), ([], None), ({}, None),
        ({"input_tokens": 5, "output_tokens": 3, "iterations": [
            {"type": "compaction", "input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 7,
             "cache_creation_input_tokens": 1}, {"type": "message", "input_tokens": 5, "output_tokens": 3}]},
         Usage(105, 23, 7, 1)),
    ],
    ids=lambda v: json.dumps(v) if not isinstance(v, Usage) else "",
)  # fmt: skip
def test_usage_that_cannot_be_true_was_not_said(usage: Any, want: Usage | None) -> None:
    if isinstance(usage, dict) and "iterations" in usage:
        usage = {**usage, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    assert said(usage) == want


def test_more_hours_than_writes_are_cut_and_a_tier_is_told() -> None:
    usage = said({"input_tokens": 5, "output_tokens": 3, "cache_creation_input_tokens": 2, "service_tier": "priority",
                  "cache_creation": {"ephemeral_1h_input_tokens": 9}})  # fmt: skip
    assert usage is not None and (usage.cache_write, usage.hour, usage.tier) == (2, 2, "priority")


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"", "answer.json"), (b"{", "answer.json"), (b"<html>", "answer.json"), (b"[]", "answer.shape"),
        (b"{}", "answer.shape"), (b'{"type":"message"}', "answer.shape"), (b'{"type":"completion","content":[]}', "answer.shape"),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', "answer.error"),
        (json.dumps(ANSWER).encode()[:-1], "answer.json"), (json.dumps(ANSWER).encode() * 2, "answer.json"),
    ],
)  # fmt: skip
def test_what_is_no_message_is_malformed(body: bytes, cause: str) -> None:
    with pytest.raises(Malformed) as bad:
        MESSAGES.answer(body)
    assert bad.value.cause == cause


def test_every_truncation_of_a_whole_answer_is_seen() -> None:
    body = json.dumps(ANSWER).encode()
    for end in range(len(body)):
        with pytest.raises(Malformed):
            MESSAGES.answer(body[:end])


def test_an_answer_that_says_nothing_is_a_message_all_the_same() -> None:
    assert MESSAGES.answer(json.dumps({**ANSWER, "content": []}).encode()) == Usage(50, 380, 12000, 3000, 120)


def test_usage_is_found_at_the_end_of_a_large_answer() -> None:
    body = json.dumps(ANSWER).encode()
    assert MESSAGES.tail(body[-700:]) == Usage(50, 380, 12000, 3000, 120)
    assert MESSAGES.tail(json.dumps({"usage": ANSWER["usage"], "context_management": {"a": {}}}).encode()) is not None
    assert MESSAGES.tail(b'xxx"}') is None
    with pytest.raises(Malformed):
        MESSAGES.tail(body[-700:-3])


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5) | st.floats(), lambda x: st.lists(x, max_size=3) | st.dictionaries(
    st.sampled_from(["input_tokens", "output_tokens", "cache_creation", "iterations", "type", "usage", "service_tier"]), x, max_size=4)))  # fmt: skip
def test_whatever_an_upstream_says_raises_nothing_but_malformed(value: Any) -> None:
    for body in (json.dumps({**ANSWER, "usage": value}), json.dumps(value)):
        for api in (MESSAGES, COUNT):
            try:
                usage = api.answer(body.encode())
            except Malformed:
                continue
            assert usage is None or usage.total_input >= 0


@pytest.mark.parametrize(
    ("body", "cause"),
    [(b'{"input_tokens":7}', ""), (b'{"input_tokens":7,"context_management":{"original_input_tokens":9}}', ""),
     (b'{"type":"error","error":{}}', "answer.error"), (b"{}", "answer.shape"), (b'{"input_tokens":"x"}', "answer.json"),
     (b'{"input_tokens":7', "answer.json"), (b"<html>", "answer.json")],
)  # fmt: skip
def test_a_count_is_a_number_and_costs_nothing(body: bytes, cause: str) -> None:
    if not cause:
        assert COUNT.answer(body) is None
        return
    with pytest.raises(Malformed) as bad:
        COUNT.answer(body)
    assert bad.value.cause == cause
