"""Images and audio: what a request decides, what is read of an answer, and what is none."""

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.apis import APIS
from sluicegate.apis.base import BadRequest, FormApi, Malformed
from sluicegate.apis.media_stream import HELD_MOST, MediaMeter
from sluicegate.apis.media_usage import usage_of
from sluicegate.core.events import Usage
from sluicegate.core.ports import Terminal
from sluicegate.wire.sse import Endless

MAKES, EDITS, SPEAKS = APIS["images_generations"], cast(FormApi, APIS["images_edits"]), APIS["audio_speech"]
HEARS = cast(FormApi, APIS["audio_transcriptions"])
TRANSLATES = cast(FormApi, APIS["audio_translations"])


def facts(row: Any, said: Any) -> Any:
    body = json.dumps(said).encode()
    return row.facts(row.fields(body), body)


def usage(said: Any, output: str = "") -> Any:
    found = usage_of(cast(Any, json.dumps(said).encode()), output)
    return None if found is None else ((found.input, found.output), found.media)


# ---------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("said", "tokens"),
    [
        ({"quality": "low", "size": "1024x1024"}, 272), ({"quality": "medium", "size": "1024x1024"}, 1056),
        ({"quality": "high", "size": "1024x1024"}, 4160), ({"quality": "high", "size": "1536x1024"}, 6240),
        ({}, 6240), ({"size": "auto", "quality": "auto"}, 6240), ({"size": "nonsense"}, 6240), ({"size": 5}, 6240),
    ],
)  # fmt: skip
def test_an_image_is_reserved_by_its_size_and_quality(said: dict[str, Any], tokens: int):
    asked = facts(MAKES, {"model": "m", "prompt": "x" * 400, "n": 3, **said})
    assert (asked.max_output, asked.n, asked.estimate) == (tokens, 3, 101)
    assert asked.special.units == {"image": 3}


@pytest.mark.parametrize("row", [MAKES, EDITS, SPEAKS])
@pytest.mark.parametrize(
    "said", [{"model": 5}, {"model": ""}, {"n": 0}, {"n": "many"}, {"n": 1000}, {"stream": "true"}]
)
def test_what_decides_must_be_what_it_says(row: Any, said: dict[str, Any]):
    if row is SPEAKS and "n" in said:
        return  # it decides nothing there
    with pytest.raises(BadRequest) as bad:
        facts(row, {"prompt": "x", "input": "x", **said})
    assert bad.value.reason == "request.invalid_field"


def test_speech_is_counted_in_characters_and_its_bytes_by_their_form():
    asked = facts(SPEAKS, {"model": "m", "input": "日本語" * 10, "voice": "v", "response_format": "pcm"})
    assert asked.special.units == {"character": 30} and asked.special.a_token == 2304
    assert not asked.stream and facts(SPEAKS, {"input": "x", "stream_format": "sse"}).stream
    assert facts(SPEAKS, {"input": "x", "stream_format": "audio", "response_format": "?"}).special.a_token == 768


@pytest.mark.parametrize(
    ("value", "streams"), [(b"true", True), (b"True", True), (b"1", True), (b"false", False), (b"", False)]
)
def test_stream_in_a_form(value: bytes, streams: bool):
    assert HEARS.form({"stream": value}, [], 0).stream == streams
    assert not TRANSLATES.form({"stream": value}, [], 0).stream


def test_sound_is_reserved_by_its_bytes():
    asked = HEARS.form({"model": b"m"}, ["file"], 1_600_000)
    assert (asked.estimate, asked.media, asked.special.units) == (1001, 1001, {"audio_duration": 101})  # type: ignore[union-attr]


def test_images_that_are_given_count():
    asked = EDITS.form({"prompt": b"x"}, ["prompt", "image[]", "image[]", "mask"], 0)
    assert asked.estimate == 1 + 3 * 765 and asked.special is not None and asked.special.input_class == "image_input"


@pytest.mark.parametrize("model", [b"", b"x" * 257, b"\xff", b"a\nb", b"a\0b"])
def test_a_model_of_a_form_is_a_word(model: bytes):
    with pytest.raises(BadRequest):
        HEARS.form({"model": model}, [], 0)


# ---------------------------------------------------------------------- usage


def test_usage_is_read_in_its_spellings():
    assert usage({"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}) == ((5, 7), None)
    assert usage({"input_tokens": 5, "output_tokens": 7}, "image_output") == ((5, 7), {"image_output": 7})
    assert usage({"input_tokens": 5, "total_tokens": 12}) == ((5, 7), None)
    heard = {"type": "tokens", "input_tokens": 9, "output_tokens": 1, "input_token_details": {"audio_tokens": 8}}
    assert usage(heard) == ((9, 1), {"audio_input": 8})
    assert usage({"type": "duration", "seconds": 2.1}) == ((0, 0), {"audio_duration": 3})


@pytest.mark.parametrize(
    "said",
    [
        None, 5, {}, {"output_tokens": 5}, {"input_tokens": 0, "output_tokens": 5}, {"input_tokens": -1},
        {"input_tokens": 5, "output_tokens": -1}, {"input_tokens": 5, "output_tokens": 7, "total_tokens": 13},
        {"input_tokens": 10**12, "output_tokens": 1}, {"input_tokens": "5"}, {"seconds": 0}, {"seconds": -1},
        {"seconds": 1e99}, {"input_tokens": 5, "output_tokens": 1, "input_tokens_details": {"image_tokens": 6}},
        {"input_tokens": 5, "output_tokens": 1, "input_tokens_details": {"image_tokens": -6}},
        {"input_tokens": 5, "output_tokens": 1, "output_tokens_details": {"image_tokens": 2}},
    ],
)  # fmt: skip
def test_what_cannot_be_true_was_not_said(said: Any):
    assert usage(said) is None


# ---------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"", "answer.json"), (b'{"data":[', "answer.json"), (b"<html>", "answer.json"), (b"{}", "answer.shape"),
        (b'{"data":[]}', "answer.shape"), (b'{"error":{"code":"x"}}', "answer.error"), (b"[]", "answer.shape"),
        (b'{"data":5}', "answer.shape"),
    ],
)  # fmt: skip
def test_what_are_no_images(body: bytes, cause: str):
    for row in (MAKES, EDITS):
        with pytest.raises(Malformed) as bad:
            row.answer(body)
        assert bad.value.cause == cause


@pytest.mark.parametrize("body", [b'{"texts":""}', b'{"error":{"message":"x"}}', b'{"text":"hel', b"", b"hello"])
def test_what_nobody_heard(body: bytes):
    for row in (HEARS, TRANSLATES):
        with pytest.raises(Malformed):
            row.answer(body)


def test_json_is_no_sound():
    for read in (SPEAKS.answer, SPEAKS.tail):
        with pytest.raises(Malformed):
            read(b'{"error":"x"}')


IMAGES = b'{"created":1,"data":[{"b64_json":"%b"}],"usage":{"input_tokens":5,"output_tokens":7,' % (b"x" * 3000)
IMAGES += b'"input_tokens_details":{"image_tokens":0,"text_tokens":5},"total_tokens":12}}'


def test_the_end_of_a_large_answer_says_its_usage_and_every_part_of_it_is_none():
    assert MAKES.tail(IMAGES[-1000:]) == Usage(5, 7)
    for size in range(1, 200):
        with pytest.raises(Malformed):
            MAKES.tail(IMAGES[-1000:-size] + b"x")
    assert MAKES.tail(b'..."}]}') is None


# ---------------------------------------------------------------------- streams

PARTIAL = (
    b'event: image_generation.partial_image\ndata: {"type":"image_generation.partial_image","b64_json":"eA=="}\n\n'
)
DONE = (
    b'event: image_generation.completed\ndata: {"type":"image_generation.completed","b64_json":"eA==",'
    b'"usage":{"input_tokens":5,"output_tokens":7,"total_tokens":12}}\n\n'
)


def meter(n: int = 1) -> MediaMeter:
    return MediaMeter(".completed", n, 4, "image_output")


@given(st.lists(st.integers(0, len(PARTIAL + DONE + DONE)), max_size=6))
def test_however_a_stream_is_cut_it_says_the_same(cuts: list[int]):
    raw = PARTIAL + DONE + DONE
    m, out, at = meter(2), b"", 0
    for cut in (*sorted(cuts), len(raw)):
        out += m.feed(raw[at:cut], 1.0)
        at = cut
    assert (out, m.end(), m.usage) == (raw, Terminal.DONE, Usage(10, 14))
    assert m.usage is not None and m.usage.media == {"image_output": 14} and m.first_token_at == 1.0


@pytest.mark.parametrize("n", [1, 2])
def test_a_stream_is_whole_when_as_much_came_as_was_asked_for(n: int):
    m = meter(n)
    m.feed(PARTIAL + DONE, 0.0)
    assert m.end() == (Terminal.DONE if n == 1 else Terminal.INCOMPLETE)
    m.feed(b"data: [DONE]\n\n", 0.0)
    assert m.end() == Terminal.DONE and m.feed(PARTIAL, 0.0) == b""


@pytest.mark.parametrize(
    "first", [b'data: {"error":{"code":"boo"}}\n\n', b'data: {"type":"error","error":{"code":"boo"}}\n\n', b"data: x\n\n",
              b'data: {"choices":[]}\n\n', b"data: [DONE]\n\n", b"data: 5\n\n"],
)  # fmt: skip
def test_a_first_event_that_is_none_is_seen_before_it_is_committed(first: bytes):
    m = meter()
    m.feed(first, 0.0)
    assert m.error and m.end() == Terminal.ERROR


def test_an_error_ends_a_stream_and_rubbish_breaks_it():
    m = meter()
    assert m.feed(PARTIAL + b'data: {"error":{"code":"boo"}}\n\n' + DONE, 0.0).endswith(b'{"error":{"code":"boo"}}\n\n')
    assert m.error == "boo" and m.end() == Terminal.ERROR
    m = meter()
    assert m.feed(PARTIAL + b"data: rubbish\n\n" + DONE, 0.0) == PARTIAL
    assert m.broken and m.end() == Terminal.INCOMPLETE and b"upstream_interrupted" in (m.cut("x", "y") or b"")


def test_an_event_may_be_an_image_of_several_megabytes_and_not_without_end():
    large = b'data: {"type":"image_generation.completed","b64_json":"%b"}\n\n' % (b"x" * 6_000_000)
    m = meter()
    got = b"".join(m.feed(large[at : at + 65_536], 0.0) for at in range(0, len(large), 65_536))
    assert got == large and m.end() == Terminal.DONE and m.usage is None and m.delivered > 1_000_000
    m = meter()
    with pytest.raises(Endless):
        for _ in range(HELD_MOST // 1_000_000 + 2):
            m.feed(b"data: " + b"x" * 1_000_000, 0.0)
