"""Answers that are no JSON, or too much of it to hold: a part is never passed as the whole, and what is whole is, bit by bit."""

from __future__ import annotations

import base64

import pytest

from tests.abuse.outside import request
from tests.edge.forms import house
from tests.edge.line import House, Line

SPEECH = request(path=b"/v1/audio/speech", body=b'{"model":"chat","input":"hello","voice":"alloy"}')
IMAGE = request(path=b"/v1/images/generations", body=b'{"model":"chat","prompt":"a ship"}')
SOUND = bytes(range(256)) * 40
PICTURE = b'{"data":[{"b64_json":"%b"}],"usage":{"input_tokens":5,"output_tokens":7,"total_tokens":12}}' % (
    base64.b64encode(SOUND * 200)
)
HOWS = ("done", "eof", "cut", "reset")
FRAMINGS = {
    "length": ((b"Content-Type", b"audio/mpeg"), (b"Content-Length", b"%d" % len(SOUND))),
    "large length": ((b"Content-Type", b"audio/mpeg"), (b"Content-Length", b"%d" % (len(SOUND) * 200))),
    "chunks": ((b"Content-Type", b"audio/mpeg"), (b"Transfer-Encoding", b"chunked")),
    "none": ((b"Content-Type", b"application/octet-stream"),),
}


def told(h: House, raw: bytes, headers: object, body: bytes, how: str, pieces: int = 4) -> tuple[Line, bool]:
    """What a client is told of an answer that ends so; whether it was reset."""
    line = h.line().send(raw)
    call = h.upstream.calls[-1]
    call.begin(200, headers)
    size = len(body) // pieces + 1
    call.piece(*[body[at : at + size] for at in range(0, len(body), size)])
    call.end(how)
    line.settle()
    return line, line.transport.aborted


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("framing", FRAMINGS)
def test_sound_is_whole_when_its_framing_says_so(framing: str, how: str):
    h = house(members=1)
    sound = SOUND * 200 if framing == "large length" else SOUND
    line, reset = told(h, SPEECH, FRAMINGS[framing], sound, how)
    record = h.journal.recent[-1]
    if how == "done":  # the upstream port says so only where a length or chunks did
        [answer] = line.answers()
        assert (answer.status, answer.body, reset, record.state) == (200, sound, False, "settled")
        assert answer.header("content-type") == FRAMINGS[framing][0][1]
        assert record.usage.media["audio_output"] == len(sound) // 768 and record.estimated
    elif framing == "length":  # held: nobody heard of it
        [answer] = line.answers()
        assert answer.status == 503 and record.attempts[0].cause in ("answer.truncated", "connection.reset")
    else:
        assert reset and record.state == "interrupted" and record.how == "cut"


@pytest.mark.parametrize("how", ["eof", "cut", "reset"])
def test_sound_with_a_length_that_breaks_off_is_asked_of_another(how: str):
    h = house(members=2)
    line, _ = told(h, SPEECH, FRAMINGS["length"], SOUND[:-1], how)
    second = h.upstream.calls[-1]
    assert len(h.upstream.calls) == 2
    second.answer(SOUND, 200, FRAMINGS["length"])
    assert line.answers()[0].body == SOUND


def test_sound_in_chunks_is_heard_while_it_is_made():
    h = house()
    line = h.line().send(SPEECH)
    call = h.upstream.calls[-1]
    call.begin(200, FRAMINGS["chunks"])
    assert not line.out
    call.piece(SOUND[:100])
    assert line.out.endswith(b"\r\n64\r\n" + SOUND[:100] + b"\r\n")
    call.piece(SOUND[100:])
    call.end()
    assert line.answers()[0].body == SOUND


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (b"text/html", "answer.content_type"), (b"application/json", "answer.content_type"),
        (b"text/plain", "answer.content_type"), (b"image/png", "answer.content_type"),
        (b"text/event-stream", "answer.content_type"),
    ],
)  # fmt: skip
def test_what_is_no_sound_is_none(kind: bytes, cause: str):
    h = house()
    line, _ = told(h, SPEECH, ((b"Content-Type", kind), (b"Content-Length", b"%d" % len(SOUND))), SOUND, "done")
    assert line.answers()[0].status == 503 and h.journal.recent[-1].attempts[0].cause == cause


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_sound_of_nothing_is_no_answer(framing: str):
    h = house()
    headers = (
        ((b"Content-Type", b"audio/mpeg"), (b"Content-Length", b"0")) if framing == "length" else FRAMINGS[framing]
    )
    line, _ = told(h, SPEECH, headers, b"", "done")
    assert line.answers()[0].status == 503


def test_a_client_that_does_not_keep_up_stops_the_sound_and_one_that_leaves_may_be_finished_without():
    h = house()
    line = h.line(room=1000).send(SPEECH)
    call = h.upstream.calls[-1]
    call.begin(200, FRAMINGS["chunks"])
    call.piece(*[SOUND] * 20)
    assert call.paused
    line.transport.take(None)
    assert not call.paused
    call.piece(SOUND)
    line.leave()
    assert not call.cancelled
    call.end()
    record = h.journal.recent[-1]
    assert (record.how, record.usage.output) == ("gone", 21 * len(SOUND) // 768)


PLAIN = ((b"Content-Type", b"application/json"), (b"Transfer-Encoding", b"chunked"))


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("less", [0, 1, 20, 100, 1000, 500_000])
def test_a_large_image_is_whole_or_reset_wherever_it_breaks_off(less: int, how: str):
    h = house()
    line, reset = told(h, IMAGE, PLAIN, PICTURE[: len(PICTURE) - less], how, 30)
    record = h.journal.recent[-1]
    if less == 0 and how in ("done", "eof"):
        assert line.answers()[0].body == PICTURE and (record.usage.output, record.estimated) == (7, False)
    else:
        assert reset and record.state == "interrupted" and record.estimated


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("less", range(1, 200, 7))
def test_a_small_image_that_breaks_off_is_asked_of_another(less: int, how: str):
    small = PICTURE[:22] + PICTURE[-100:]
    h = house(members=2)
    line, _ = told(h, IMAGE, PLAIN, small[: max(len(small) - less, 0)], how)
    assert len(h.upstream.calls) == 2 and not line.out
    h.upstream.calls[-1].answer(small, 200, PLAIN)
    assert line.answers()[0].body == small
