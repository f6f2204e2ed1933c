"""The meter of a stream: what passes, what is counted, and how it ended, however the bytes are cut."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluicegate.apis.chat_stream import ChatMeter
from sluicegate.core.events import Usage
from sluicegate.core.ports import Terminal
from sluicegate.wire.sse import HELD_MOST, Endless

USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
DONE = b"data: [DONE]\n\n"


def event(data: Any, compact: bool = True, end: str = "\n") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":") if compact else None)
    return f"data: {text}{end}{end}".encode()


def chunk(content: str | None = "x", finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {"choices": [{"delta": delta, "finish_reason": finish, "index": index}], "id": "c", **more}


ROLE = event(
    {"choices": [{"delta": {"content": "", "role": "assistant"}, "finish_reason": None, "index": 0}], "id": "c"}
)
AZURE_FIRST = event(
    {"choices": [], "created": 0, "id": "", "model": "", "prompt_filter_results": [{"prompt_index": 0}]}
)
ANNOTATION = event({"choices": [{
    "content_filter_offsets": {"check_offset": 44, "start_offset": 44, "end_offset": 198},
    "content_filter_results": {"hate": {"filtered": False}}, "finish_reason": None, "index": 0,
}], "id": ""})  # fmt: skip
STOP = event(chunk(None, "stop"))
TEXT = event(chunk("Hi"))


def run(stream: bytes | list[bytes], n: int = 1, asked: bool = False) -> tuple[bytes, ChatMeter]:
    meter = ChatMeter(n, asked)
    pieces = [stream] if isinstance(stream, bytes) else stream
    return b"".join(meter.feed(piece, float(i)) for i, piece in enumerate(pieces)), meter


def facts(meter: ChatMeter) -> tuple[Any, ...]:
    return meter.usage, meter.error, meter.finished, meter.delivered, meter.end(), meter.cut("r", "m")


# ---------------------------------------------------------------------- what passes


def test_a_stream_passes_byte_for_byte_when_nothing_was_asked_for_it() -> None:
    with_null = event(chunk("a", usage=None))
    stream = [AZURE_FIRST, ROLE, TEXT, with_null, ANNOTATION, STOP, event({"choices": [], "usage": USAGE}), DONE]
    out, meter = run(stream)
    assert out == b"".join(stream)
    assert facts(meter)[:3] == (Usage(12, 3), "", True) and meter.end() == Terminal.DONE


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("where", ["last", "first", "middle"])
def test_what_only_we_asked_for_is_taken_out(compact: bool, where: str) -> None:
    def with_usage(data: dict[str, Any]) -> dict[str, Any]:
        items = list(data.items())
        items.insert({"last": len(items), "first": 0, "middle": 1}[where], ("usage", None))
        return dict(items)

    plain = [
        {"choices": [], "prompt_filter_results": []},
        chunk("a"),
        chunk('"usage":null}'),
        chunk(None, "stop", tail=1),
    ]
    out, meter = run(
        [event(with_usage(d), compact) for d in plain] + [event({"choices": [], "usage": USAGE}, compact), DONE],
        asked=True,
    )
    # of `{"usage": null, "id"` the blank before the next key stays
    assert out.replace(b'{ "', b'{"') == b"".join(event(d, compact) for d in plain) + DONE
    assert meter.usage == Usage(12, 3)


def test_a_null_that_is_not_at_the_top_stays() -> None:
    nested = {"choices": [{"delta": {"usage": None, "content": "x"}, "finish_reason": None, "index": 0}]}
    both = {"x": {"a": 1, "usage": None}, **nested, "usage": None, "y": {"a": 1, "usage": None}}
    out, _ = run([TEXT, event(nested), event(both)], asked=True)
    del both["usage"]
    assert out == TEXT + event(nested) + event(both)


def test_usage_beside_choices_keeps_its_event() -> None:
    last = event(chunk("bye", "stop", usage=USAGE))
    out, meter = run([TEXT, last, DONE], asked=True)
    assert out == TEXT + last + DONE
    assert meter.usage == Usage(12, 3)


def test_usage_beside_filter_results_goes_and_they_stay() -> None:
    out, meter = run([TEXT, event({"choices": [], "prompt_filter_results": [1], "usage": USAGE}), DONE], asked=True)
    assert out == TEXT + event({"choices": [], "prompt_filter_results": [1]}) + DONE
    assert meter.usage == Usage(12, 3)


def test_the_usage_event_stays_when_the_client_asked_for_it() -> None:
    last = event({"choices": [], "usage": USAGE})
    assert run([TEXT, last, DONE])[0] == TEXT + last + DONE


def test_data_on_several_lines_is_edited_as_one() -> None:
    event_ = b'id: 7\ndata: {"choices":[],\ndata: "usage":null,"x":1}\n\n'
    out, _ = run([TEXT, event_], asked=True)
    assert json.loads(out.removeprefix(TEXT)[6:]) == {"choices": [], "x": 1}


def test_other_lines_of_an_edited_event_stay() -> None:
    event_ = b'event: m\r\ndata: {"choices":[],"usage":null,"x":1}\r\nid: 7\r\n\r\n'
    assert run([TEXT, event_], asked=True)[0] == TEXT + event_.replace(b',"usage":null', b"")


def test_nothing_passes_before_the_first_event() -> None:
    meter = ChatMeter(1, False)
    assert meter.feed(b": waiting\n\nretry: 3\n\n\xef", 0.0) == b""
    assert ChatMeter(1, False).feed(b"\xef\xbb\xbfdata: {", 0.0) == b""


def test_nothing_passes_after_done() -> None:
    out, meter = run([TEXT, STOP + DONE + TEXT, TEXT, event({"error": {"code": "x"}})])
    assert out == TEXT + STOP + DONE
    assert meter.end() == Terminal.DONE and not meter.error


# ---------------------------------------------------------------------- how it ended


@pytest.mark.parametrize(
    ("stream", "n", "end"),
    [
        ([], 1, Terminal.INCOMPLETE),
        ([ROLE], 1, Terminal.INCOMPLETE),
        ([TEXT], 1, Terminal.INCOMPLETE),
        ([TEXT, STOP], 1, Terminal.DONE),
        ([TEXT, STOP, DONE], 1, Terminal.DONE),
        ([TEXT, DONE], 1, Terminal.DONE),
        ([TEXT, b"data: [DONE] \n\n"], 1, Terminal.DONE),
        ([TEXT, b"data:[DONE]\n\n"], 1, Terminal.DONE),
        ([TEXT, STOP, DONE[:-1]], 1, Terminal.DONE),
        ([TEXT, STOP, DONE[:-2]], 1, Terminal.DONE),
        ([TEXT, DONE[:-3]], 1, Terminal.INCOMPLETE),
        ([TEXT, STOP[:-1]], 1, Terminal.INCOMPLETE),
        ([TEXT, STOP, TEXT[:20]], 1, Terminal.INCOMPLETE),
        ([TEXT, STOP, b"\r\n"], 1, Terminal.DONE),
        ([TEXT, STOP], 2, Terminal.INCOMPLETE),
        ([TEXT, STOP, event(chunk(None, "length", 0))], 2, Terminal.INCOMPLETE),
        ([TEXT, STOP, event(chunk(None, "length", 1))], 2, Terminal.DONE),
        ([TEXT, event({"choices": [{"finish_reason": "stop", "index": i} for i in range(2)]})], 2, Terminal.DONE),
        ([TEXT, event(chunk("[DONE]"))], 1, Terminal.INCOMPLETE),
        ([TEXT, event(chunk('data: [DONE]\n\n","finish_reason":"stop"'))], 1, Terminal.INCOMPLETE),
        ([TEXT, event(chunk('{"error":{"code":"x"}}')), STOP], 1, Terminal.DONE),
        ([TEXT, event({"choices": [], "note": {"error": {"code": "x"}}}), STOP], 1, Terminal.DONE),
        ([TEXT, event({"choices": [], "error": None}), STOP], 1, Terminal.DONE),
        ([TEXT, STOP, event({"error": {"code": "server_error"}})], 1, Terminal.ERROR),
        ([TEXT, STOP, event({"error": {"code": "server_error"}}), DONE], 1, Terminal.ERROR),
    ],
)  # fmt: skip
def test_done_means_that_it_was_said(stream: list[bytes], n: int, end: str) -> None:
    assert run(stream, n)[1].end() == end


def test_every_truncation_of_a_stream_is_seen() -> None:
    stream = AZURE_FIRST + ROLE + TEXT + STOP + event({"choices": [], "usage": USAGE}) + DONE
    whole = {
        len(AZURE_FIRST + ROLE + TEXT + STOP),
        len(stream) - len(DONE),
    }  # after the finish_reason, at an event's end
    whole |= {len(stream) - i for i in range(3)}  # [DONE] was said, whatever became of its blank line
    for end in range(len(stream) + 1):
        assert (run(stream[:end])[1].end() == Terminal.DONE) is (end in whole), end


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "content_filter", "message": "x"}, "content_filter"), ({"code": 500}, "500"), ({"type": "server_error"}, "server_error"),
        ({"code": None, "message": "m"}, "error"), ("boom", "error"), (["x"], "error"), (True, "error"),
        ({"code": "a\nb"}, "error"), ({"code": "x" * 65}, "error"), ({"code": "<script>"}, "error"), ({}, "error"),
    ],
)  # fmt: skip
def test_an_error_event_passes_and_is_named(error: Any, code: str) -> None:
    out, meter = run([TEXT, event({"error": error}), TEXT])
    assert out == TEXT + event({"error": error})
    assert (meter.error, meter.finished, meter.end()) == (code, True, Terminal.ERROR)


@pytest.mark.parametrize(
    ("first", "error"),
    [
        (event({"error": {"code": "rate_limit"}}), "rate_limit"), (b"event: error\n" + event({"error": {"code": "e"}}), "e"),
        (event("<html>"), "answer.json"), (event('{"choices":['), "answer.json"), (DONE, "answer.empty"),
        (event({"detail": "x"}), "answer.shape"), (event([1]), "answer.shape"), (event({"choices": 5}), "answer.shape"),
        (event({"choices": None}), "answer.shape"),
    ],
)  # fmt: skip
def test_a_first_event_that_is_no_answer_can_be_seen_before_anything_is_committed(first: bytes, error: str) -> None:
    meter = ChatMeter(1, True)
    assert meter.feed(b": hi\n\n" + first, 0.0) == first
    assert meter.error == error and meter.finished and meter.end() == Terminal.ERROR
    assert meter.feed(TEXT, 0.0) == b""


def test_a_body_that_is_no_stream_gives_nothing() -> None:
    for body in (b'{"error":{"message":"x"}}', b'{"choices":[]}\n\n', b"<html>\n\n</html>\n\n"):
        out, meter = run(body)
        assert (out, meter.end()) == (b"", Terminal.INCOMPLETE)


@pytest.mark.parametrize(
    "broken", ["{", '{"choices":[{"delta":{"content":"x', "<html>", '{"choices":7}', "[]", "x" * 100]
)
def test_an_event_that_breaks_off_ends_the_answer_as_interrupted(broken: str) -> None:
    out, meter = run([TEXT, event(broken), STOP, DONE])
    assert out == TEXT
    assert meter.end() == Terminal.INCOMPLETE and not meter.error
    assert meter.cut("r", "m") is not None


def test_an_event_that_the_sdks_take_is_taken() -> None:
    odd = event('{"choices":[{"delta":{"content":"\\ud83d"},"logprobs":NaN,"finish_reason":"stop","index":0}]}')
    out, meter = run([TEXT, odd])
    assert out == TEXT + odd
    assert meter.end() == Terminal.DONE and meter.delivered == 2


# ---------------------------------------------------------------------- counting


def test_events_with_content_are_counted_and_the_first_is_timed() -> None:
    tool = {"choices": [{"delta": {"tool_calls": [{"index": 0}]}, "finish_reason": None, "index": 0}]}
    _, meter = run([AZURE_FIRST, ROLE, ANNOTATION, TEXT, event(chunk("y"), compact=False), event(tool), STOP, DONE])
    assert (meter.delivered, meter.first_token_at) == (3, 3.0)


def test_reasoning_counts_as_content() -> None:
    thought = {"choices": [{"delta": {"reasoning_content": "hm"}, "finish_reason": None, "index": 0}]}
    _, meter = run(
        [ROLE, event(thought), event({"choices": [{"delta": {"role": "assistant", "content": "x"}, "index": 0}]})]
    )
    assert (meter.delivered, meter.first_token_at) == (2, 1.0)


def test_the_last_usage_wins_and_an_unbelievable_one_was_not_said() -> None:
    def said(completion: int) -> bytes:
        return event(chunk("x", usage={"prompt_tokens": 5, "completion_tokens": completion}))

    assert run([TEXT, said(1), said(2)])[1].usage == Usage(5, 2)
    assert run([TEXT, said(1), said(-2)])[1].usage == Usage(5, 1)
    assert run([TEXT, said(-2)])[1].usage is None
    assert run([TEXT, event(chunk('"usage":{"prompt_tokens":0,"completion_tokens":0}'))])[1].usage is None


# ---------------------------------------------------------------------- cutting


def test_the_frame_of_a_cut_is_one_event_that_the_sdks_raise_on() -> None:
    _, meter = run([TEXT])
    frame = meter.cut("stream.idle", 'broke "off"\n')
    assert frame is not None and frame.startswith(b"data: ") and frame.endswith(b"\n\n") and frame.count(b"\n") == 2
    assert json.loads(frame[6:]) == {"error": {
        "message": 'broke "off"\n', "type": "server_error", "code": "upstream_interrupted", "reason": "stream.idle",
    }}  # fmt: skip
    assert b"[DONE]" not in frame


def test_no_frame_can_follow_half_an_event() -> None:
    _, meter = run([TEXT, b"data: " + b"x" * HELD_MOST])
    assert meter.cut("r", "m") is None
    assert meter.end() == Terminal.INCOMPLETE
    assert meter.feed(b"\n\n", 0.0) == b"\n\n"
    assert meter.cut("r", "m") is not None


def test_what_looks_like_an_event_inside_a_large_one_is_none() -> None:
    _, meter = run([TEXT, STOP, b"data: " + b"x" * HELD_MOST])
    assert meter.end() == Terminal.INCOMPLETE
    assert meter.feed(DONE, 0.0) == DONE  # "xxxdata: [DONE]"
    assert not meter.finished


def test_lines_that_end_in_cr_are_seen_inside_a_chunk_that_ends_in_lf() -> None:
    out, meter = run([TEXT, event(chunk("y"))[:-2] + b"\r\r" + DONE])
    assert out == TEXT + event(chunk("y"))[:-2] + b"\r\r" + DONE
    assert meter.finished


def test_an_event_waits_for_its_last_line() -> None:
    _, meter = run([TEXT])
    assert meter.feed(b'data: {"choices":[]}\ni', 0.0) == b""
    assert meter.feed(b"d: 7\n\n", 0.0) == b'data: {"choices":[]}\nid: 7\n\n'


def test_a_held_half_is_dropped_by_the_cut() -> None:
    out, meter = run([TEXT, TEXT[:30]])
    assert out == TEXT
    assert (meter.cut("r", "m") or b"").startswith(b"data: {")


# ---------------------------------------------------------------------- laws


def spoken(end: str) -> st.SearchStrategy[bytes]:
    content = st.sampled_from(["a", "", "\u00e9", "[DONE]", '"usage":null', '"error":{', "data: x\n\n", "\r\n"])
    data = st.one_of(
        st.builds(chunk, content, st.sampled_from([None, None, "stop"]), st.integers(0, 2)),
        st.builds(lambda c: chunk(c, usage=None), content),
        st.builds(lambda c: {**chunk(c), "usage": None, "obfuscation": "abc"}, content),
        st.sampled_from([
            {"choices": [], "usage": USAGE}, {"choices": []}, {"choices": [], "usage": None}, chunk("z", usage=USAGE),
            {"choices": [], "usage": {"prompt_tokens": -1}}, {"error": {"code": "x"}}, {"error": None, "choices": []}, "[DONE]", "{",
        ]),
    )  # fmt: skip
    other = st.sampled_from([f": c{end}{end}", f"id: 1{end}{end}", end, f"retry: 1{end}data:{end}{end}"]).map(
        str.encode
    )
    return st.one_of(st.builds(event, data, st.booleans(), st.just(end)), other)


STREAMS = st.sampled_from(["\n", "\n", "\r\n", "\r"]).flatmap(
    lambda end: st.lists(spoken(end), max_size=8).map(lambda events: b"".join(events))
)


@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=5), st.booleans(), st.integers(1, 3))
@example(TEXT + STOP + DONE, list(range(200)), True, 1)
def test_the_same_bytes_usage_and_end_however_it_is_cut(stream: bytes, at: list[int], asked: bool, n: int) -> None:
    edges = [0, *sorted(i % (len(stream) + 1) for i in at), len(stream)]
    pieces = [stream[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    whole, one = run(stream, n, asked)
    parts, many = run(pieces, n, asked)
    assert (parts, facts(many)) == (whole, facts(one))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("asked", [True, False])
def test_the_same_at_every_offset_and_for_every_line_end(end: str, asked: bool) -> None:
    events = [chunk("\u00e9", usage=None), chunk(None, "stop", usage=None), {"choices": [], "usage": USAGE}, "[DONE]"]
    stream = b"".join(event(e, end=end) for e in events)
    lines = f'data: {{"choices":[]}}{end}id: 7{end}{end}'.encode()
    stream = stream.replace(b"data: [DONE]", lines + b"data: [DONE]")
    whole, one = run(stream, asked=asked)
    kept = [chunk("\u00e9"), chunk(None, "stop"), "[DONE]"] if asked else events
    assert whole == b"".join(event(e, end=end) for e in kept).replace(b"data: [DONE]", lines + b"data: [DONE]")
    for i in range(len(stream) + 1):
        parts, two = run([stream[:i], stream[i:]], asked=asked)
        assert (parts, facts(two)) == (whole, facts(one))
    parts, many = run([stream[i : i + 1] for i in range(len(stream))], asked=asked)
    assert (parts, facts(many)) == (whole, facts(one))


@given(st.lists(st.binary(max_size=60) | spoken("\n") | st.sampled_from([b"data: ", b"\n\n", b"{", b"}", b'"usage":', b"\xff"]), max_size=12),
       st.booleans())  # fmt: skip
def test_random_junk_raises_nothing_but_endless(pieces: list[bytes], asked: bool) -> None:
    try:
        out, meter = run(pieces, asked=asked)
    except Endless:
        return
    assert meter.end() in (Terminal.DONE, Terminal.INCOMPLETE, Terminal.ERROR)
    assert meter.usage is None or meter.usage.total_input >= 0
    assert len(out) <= sum(map(len, pieces)) + 20


@pytest.mark.parametrize(
    "data", ["[" * 100_000, '{"choices":' + "[" * 100_000, '{"error":' + '{"a":' * 100_000, "9" * 100_000]
)
def test_deep_or_long_events_raise_nothing(data: str) -> None:
    for first in (b"", TEXT):
        _, meter = run([first, event(data)])
        assert meter.end() in (Terminal.ERROR, Terminal.INCOMPLETE)


def test_a_million_empty_comments_are_endless() -> None:
    with pytest.raises(Endless):
        run([TEXT, b":\n\n" * 1_000_000])


@given(st.sampled_from([None, "default", "priority", "", "x" * 33, 5, ["flex"], {"a": 1}, "not a word", "\u00e9"]))
def test_the_tier_of_a_stream_is_a_word_or_nothing(said: Any) -> None:
    more = {} if said is None else {"service_tier": said}
    out, meter = run(
        [AZURE_FIRST, event(chunk("a", **more)), STOP, event({"choices": [], "usage": USAGE, **more}), DONE]
    )
    assert meter.tier == (said if said in ("default", "priority") else "")
    assert meter.finished and not meter.error and meter.usage == Usage(12, 3)


def test_the_tier_may_come_as_late_as_the_usage() -> None:
    _, meter = run([ROLE, TEXT, STOP, event({"choices": [], "usage": USAGE, "service_tier": "flex"}), DONE])
    assert meter.tier == "flex"
    _, meter = run([ROLE, event(chunk("a", service_tier="flex")), STOP, event({"choices": [], "usage": USAGE}), DONE])
    assert meter.tier == "flex"
