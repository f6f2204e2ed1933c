"""The meter of Anthropic's streams: what passes, what it says was used, how it ended, wherever it is cut."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluicegate.apis.messages_stream import MessagesMeter, name_of
from sluicegate.core.events import Usage
from sluicegate.core.ports import Terminal
from sluicegate.wire.sse import HELD_MOST, Endless

PROMPT = {"input_tokens": 25, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 7,
          "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
          "output_tokens": 1, "service_tier": "standard"}  # fmt: skip


def event(data: Any, end: str = "\n", name: str | None = None) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    called = name if name is not None else data["type"] if isinstance(data, dict) else "x"
    return (f"event: {called}{end}" if called else "").encode() + f"data: {text}{end}{end}".encode()


def delta(text: str = "Hello", kind: str = "text_delta", field: str = "text") -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, field: text}}


BEGIN = {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "content": [],
         "model": "claude", "stop_reason": None, "usage": PROMPT}}  # fmt: skip
OPEN = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
CLOSE = {"type": "content_block_stop", "index": 0}
LAST = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 15},
}
STOP = {"type": "message_stop"}
PING = {"type": "ping"}
ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
WHOLE = [BEGIN, OPEN, PING, delta("Grüße"), delta(" 東京"), CLOSE, LAST, STOP]
STREAM = b"".join(event(e) for e in WHOLE)


def run(stream: bytes | list[bytes]) -> tuple[bytes, MessagesMeter]:
    meter = MessagesMeter()
    pieces = [stream] if isinstance(stream, bytes) else stream
    return b"".join(meter.feed(piece, float(i)) for i, piece in enumerate(pieces)), meter


def facts(meter: MessagesMeter) -> tuple[Any, ...]:
    return (
        meter.usage,
        meter.error,
        meter.finished,
        meter.broken,
        meter.delivered,
        meter.end(),
        meter.prompt,
        meter.cut("r", "m"),
    )


# ---------------------------------------------------------------------- what passes


def test_a_stream_passes_byte_for_byte_and_is_counted() -> None:
    out, meter = run([event(e) for e in WHOLE])
    assert out == STREAM
    assert meter.usage == Usage(25, 15, 7, 30) and meter.usage is not None and meter.usage.hour == 10
    assert (meter.end(), meter.finished, meter.error, meter.tier) == (Terminal.DONE, True, "", "")
    assert meter.first_token_at == 3.0 and meter.delivered == 2


def test_what_the_end_says_of_the_prompt_replaces_what_the_beginning_said() -> None:
    last = {**LAST, "usage": {"input_tokens": 900, "cache_read_input_tokens": 70, "cache_creation_input_tokens": 5, "output_tokens": 15,
                              "server_tool_use": {"web_search_requests": 2}, "output_tokens_details": {"thinking_tokens": 9}}}  # fmt: skip
    usage = run([event(BEGIN), event(delta()), event(last), event(STOP)])[1].usage
    assert usage == Usage(900, 6, 70, 5, 9) and usage is not None and usage.hour == 5


def test_the_last_of_several_sums_wins_and_an_unbelievable_one_was_not_said() -> None:
    def last(n: Any) -> bytes:
        return event({**LAST, "usage": {"output_tokens": n}})

    assert run([event(BEGIN), last(3), last(9), event(STOP)])[1].usage == Usage(25, 9, 7, 30)
    assert run([event(BEGIN), last(3), last(-9), event(STOP)])[1].usage == Usage(25, 3, 7, 30)
    assert run([event(BEGIN), last("9"), event(STOP)])[1].usage is None


def test_thinking_and_arguments_of_tools_count_as_what_was_generated_and_signatures_do_not() -> None:
    begin, sign = event(BEGIN), event(delta("x" * 400, "signature_delta", "signature"))
    assert run([begin, sign])[1].delivered == 0
    assert run([begin, event(delta("x" * 400, "thinking_delta", "thinking"))])[1].delivered == 100
    assert run([begin, event(delta('{"a":1}', "input_json_delta", "partial_json"))])[1].delivered >= 1
    assert run([begin, event(delta(""))])[1].first_token_at is None


def test_a_tier_with_a_price_of_its_own_is_told() -> None:
    begin = {**BEGIN, "message": {**BEGIN["message"], "usage": {**PROMPT, "service_tier": "priority"}}}  # type: ignore[dict-item]
    _, meter = run([event(begin), event(LAST), event(STOP)])
    assert meter.tier == "priority" and meter.usage is not None and meter.usage.tier == "priority"


def test_events_that_nobody_knows_yet_pass() -> None:
    new = event({"type": "content_block_pondered", "index": 0, "x": [1, 2]})
    assert run([event(BEGIN), new, event(STOP)])[0] == event(BEGIN) + new + event(STOP)


def test_nothing_passes_before_the_beginning() -> None:
    meter = MessagesMeter()
    assert meter.feed(b": waiting\n\n" + event(PING) + event(PING), 0.0) == b"" and not meter.error
    assert meter.feed(event(BEGIN), 0.0) == event(BEGIN)


def test_nothing_passes_after_the_end() -> None:
    out, meter = run([event(BEGIN), event(STOP) + event(delta()), event(ERROR)])
    assert out == event(BEGIN) + event(STOP)
    assert meter.end() == Terminal.DONE and not meter.error


@pytest.mark.parametrize("name", ["", "ping", "message_start", "no such"])
def test_an_event_is_called_what_its_data_says_it_is(name: str) -> None:
    """The SDKs go by the name: an error or an end that is called otherwise is nothing to them."""
    for data in (ERROR, STOP, delta()):
        out, meter = run([event(BEGIN), event(data, name=name)])
        assert out == event(BEGIN) + event(data)
    late = event(STOP)[:-1] + b"event: ping\n\n"
    assert run([event(BEGIN), late])[0] == event(BEGIN) + event(STOP)


def test_data_without_a_type_is_what_its_event_is_called() -> None:
    out, meter = run([event(BEGIN), event({"x": 1}, name="ping"), event({}, name="message_stop")])
    assert out == event(BEGIN) + event({"x": 1}, name="ping") + event({}, name="message_stop")
    assert meter.end() == Terminal.DONE


def test_the_name_of_an_event_is_that_of_its_last_line() -> None:
    assert name_of(b"event: a\r\nevent:b\r\ndata: event: c\r\n\r\n") == "b"
    assert name_of(b"data: x\n\n") == name_of(b"event: a\nevent\ndata: x\n\n") == ""


# ---------------------------------------------------------------------- how it ended


def test_every_truncation_of_a_stream_is_seen() -> None:
    for end in range(len(STREAM)):
        out, meter = run(STREAM[:end])
        assert meter.end() == Terminal.INCOMPLETE, end
        assert STREAM.startswith(out) and (out == b"" or out.endswith(b"\n\n"))
        frame = meter.cut("stream.interrupted", "it broke off")
        assert frame is not None and b"message_stop" not in frame


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_same_at_every_offset_and_for_every_line_end(end: str) -> None:
    stream = b"".join(event(e, end) for e in WHOLE)
    whole, one = run(stream)
    assert whole == stream and one.end() == Terminal.DONE
    for i in range(len(stream) + 1):
        parts, two = run([stream[:i], stream[i:]])
        assert (parts, facts(two)) == (whole, facts(one))
    parts, many = run([stream[i : i + 1] for i in range(len(stream))])
    assert (parts, facts(many)) == (whole, facts(one))


@pytest.mark.parametrize(
    ("first", "error"),
    [
        (event(ERROR), "overloaded_error"), (event(ERROR, name=""), "overloaded_error"),
        (event({"type": "error", "error": "boom"}), "error"), (event({"type": "error", "error": {"type": "<b>"}}), "error"),
        (event("<html>"), "answer.json"), (event('{"type":'), "answer.json"), (event(STOP), "answer.shape"),
        (event(OPEN), "answer.shape"), (event([1]), "answer.shape"), (event({"type": 5}, name=""), "answer.shape"),
        (event({"detail": "x"}, name=""), "answer.shape"), (event({"type": "message_start"}), "answer.shape"),
        (event("[DONE]"), "answer.json"), (event({"choices": []}, name=""), "answer.shape"),
    ],
)  # fmt: skip
def test_a_first_event_that_is_no_message_can_be_seen_before_anything_is_committed(first: bytes, error: str) -> None:
    meter = MessagesMeter()
    assert meter.feed(event(PING) + first, 0.0)
    assert meter.error == error and meter.finished and meter.end() == Terminal.ERROR
    assert meter.feed(event(BEGIN), 0.0) == b""


def test_an_error_in_the_middle_passes_and_is_the_last_word() -> None:
    out, meter = run([event(BEGIN), event(delta()), event(ERROR), event(STOP)])
    assert out == event(BEGIN) + event(delta()) + event(ERROR)
    assert (meter.error, meter.finished, meter.end()) == ("overloaded_error", True, Terminal.ERROR)


@pytest.mark.parametrize(
    "broken", ["{", "[]", "5", "<html>", '{"type":7}', '{"type":"a b"}', '{"type":"x\\ny"}', "[DONE]"]
)
def test_an_event_that_is_none_ends_the_answer_as_interrupted(broken: str) -> None:
    out, meter = run([event(BEGIN), event(broken, name=""), event(STOP)])
    assert out == event(BEGIN)
    assert meter.broken and meter.end() == Terminal.INCOMPLETE and meter.cut("r", "m") is not None


def test_what_was_said_of_the_prompt_is_known_of_an_answer_that_broke_off() -> None:
    _, meter = run([event(BEGIN), event(delta("x" * 400))])
    assert meter.usage is None and meter.prompt == Usage(25, 1, 7, 30) and meter.delivered == 100
    begin = {**BEGIN, "message": {"usage": {"input_tokens": 4}}}
    assert run([event(begin)])[1].prompt == Usage(4, 0)
    assert run([event({**BEGIN, "message": {}})])[1].prompt is None


def test_the_frame_of_a_cut_is_one_event_in_the_words_of_the_dialect() -> None:
    frame = run([event(BEGIN)])[1].cut("stream.idle", 'broke "off"\n')
    assert frame is not None and name_of(frame) == "error" and frame.count(b"\n") == 3
    assert json.loads(frame.partition(b"data: ")[2]) == {
        "type": "error", "error": {"type": "api_error", "message": 'broke "off"\n', "reason": "stream.idle"}
    }  # fmt: skip


def test_no_frame_can_follow_half_an_event() -> None:
    _, meter = run([event(BEGIN), b"data: " + b"x" * HELD_MOST])
    assert meter.cut("r", "m") is None
    assert meter.feed(b"\n\n", 0.0) == b"\n\n"
    assert meter.cut("r", "m") is not None


# ---------------------------------------------------------------------- laws


def spoken(end: str) -> st.SearchStrategy[bytes]:
    text = st.sampled_from(
        ["a", "", "\u00e9", "event: error", '{"type":"error"}', "data: x\n\n", "\r\n", "message_stop"]
    )
    data = st.one_of(
        st.builds(delta, text),
        st.sampled_from([PING, OPEN, CLOSE, LAST, ERROR, STOP, BEGIN, {"type": "new"}, "{", "[]"]),
    )
    named = st.sampled_from([None, None, "", "ping"])
    other = st.sampled_from([f": c{end}{end}", f"id: 1{end}{end}", end, f"event: error{end}{end}"]).map(str.encode)
    return st.one_of(st.builds(lambda d, n: event(d, end, n), data, named), other)


STREAMS = st.sampled_from(["\n", "\n", "\r\n", "\r"]).flatmap(
    lambda end: st.lists(spoken(end), max_size=8).map(lambda events: event(BEGIN, end) + b"".join(events))
)


@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=5))
@example(STREAM, list(range(200)))
def test_the_same_bytes_usage_and_end_however_it_is_cut(stream: bytes, at: list[int]) -> None:
    edges = [0, *sorted(i % (len(stream) + 1) for i in at), len(stream)]
    whole, one = run(stream)
    parts, many = run([stream[a:b] for a, b in zip(edges, edges[1:], strict=False)])
    assert (parts, facts(many)) == (whole, facts(one))


@given(STREAMS)
def test_done_means_that_a_client_that_goes_by_names_saw_the_end(stream: bytes) -> None:
    out, meter = run(stream)
    names = [name_of(e) for e in out.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n") if b"data:" in e]
    assert (meter.end() == Terminal.DONE) == ("message_stop" in names)
    assert (meter.end() == Terminal.ERROR) == ("error" in names)


@given(
    st.lists(
        st.binary(max_size=60) | spoken("\n") | st.sampled_from([b"data: ", b"\n\n", b"{", b"event: ", b"\xff"]),
        max_size=12,
    )
)
def test_random_junk_raises_nothing_but_endless(pieces: list[bytes]) -> None:
    try:
        out, meter = run(pieces)
    except Endless:
        return
    assert meter.end() in (Terminal.DONE, Terminal.INCOMPLETE, Terminal.ERROR)
    assert meter.usage is None or meter.usage.total_input > 0


@pytest.mark.parametrize(
    "data", ["[" * 100_000, '{"delta":' + "[" * 100_000, '{"usage":' + '{"a":' * 100_000, "9" * 100_000]
)
def test_deep_or_long_events_raise_nothing(data: str) -> None:
    for first in (b"", event(BEGIN)):
        _, meter = run([first, event(data)])
        assert meter.end() in (Terminal.ERROR, Terminal.INCOMPLETE)
