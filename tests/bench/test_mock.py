"""The mock upstream's bytes, and the clients that check them: over a socket, at a quick pace."""

import asyncio
import base64
import contextlib
import json
import struct
from collections.abc import AsyncIterator

import httptools
import pytest
import uvloop

from bench import traffic
from bench.answers import PLAIN, STREAM_HEAD, STREAMS, USAGES, VECTORS
from bench.callers import Caller, Reader, Run
from bench.load import closed, request_of, streams
from bench.mock import Mock, Server, Stream, length_in
from bench.plan import Plan

CHUNKS = 7


class Parsed:
    """An answer as a strict parser reads it."""

    def __init__(self, data: bytes) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = False
        httptools.HttpResponseParser(self).feed_data(data)
        assert self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode()

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


def events(body: bytes) -> list[dict]:
    *found, done, end = body.decode().split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in found]


def streamed(ask_usage: bool) -> bytes:
    pieces = STREAMS[ask_usage]
    return b"".join([STREAM_HEAD, pieces.first, *pieces.content, pieces.finish, pieces.last[0]])


def test_a_plain_answer_is_about_1200_bytes_with_azures_headers_and_usage():
    for data, usage in PLAIN:
        answer = Parsed(data)
        assert 1000 < len(answer.body) < 1400
        assert len(answer.headers) >= 15
        said = json.loads(answer.body)
        assert said["object"] == "chat.completion"
        assert (said["usage"]["prompt_tokens"], said["usage"]["completion_tokens"]) == (usage.input, usage.output)


def test_a_stream_that_was_asked_for_usage_says_null_until_the_last_event():
    found = events(Parsed(streamed(True)).body)
    assert found[0]["choices"] == [] and found[0]["prompt_filter_results"]  # Azure's first event
    assert [event["usage"] for event in found[1:-1]] == [None] * (len(found) - 2)
    assert found[-1]["choices"] == [] and found[-1]["usage"]["prompt_tokens"] == USAGES[0].input
    assert len(found) == len(STREAMS[True].content) + STREAMS[True].extra


def test_a_stream_that_was_not_asked_has_no_word_of_usage():
    body = Parsed(streamed(False)).body
    assert b"usage" not in body
    assert len(events(body)) == len(STREAMS[False].content) + STREAMS[False].extra


def test_a_chunk_is_about_280_bytes():
    assert all(230 < len(piece) < 330 for piece in STREAMS[True].content)


@pytest.mark.parametrize("kb", traffic.SIZES_KB)
def test_a_request_has_the_size_it_says_and_the_headers_of_the_sdk(kb: int):
    body = traffic.chat(kb * 1024)
    assert len(body) == kb * 1024 and json.loads(body)["model"] == "chat"
    head, _, rest = traffic.request(8080, "k", body).partition(b"\r\n\r\n")
    assert rest == body and length_in(head.lower()) == len(body)
    assert 15 <= head.count(b"\r\n") <= 20


def test_only_a_request_that_asks_is_streamed_and_only_one_that_asks_gets_usage():
    assert "stream" not in json.loads(traffic.chat(1024))
    assert "stream_options" not in json.loads(traffic.chat(1024, True, False))
    assert json.loads(traffic.chat(1024, True))["stream_options"] == {"include_usage": True}


@contextlib.asynccontextmanager
async def mock() -> AsyncIterator[tuple[Mock, int]]:
    loop = asyncio.get_running_loop()
    upstream = Mock(loop)
    upstream.pace(2, CHUNKS)
    ends: list[Server] = []

    def end() -> Server:
        ends.append(Server(upstream))
        return ends[-1]

    server = await loop.create_server(end, "127.0.0.1", 0)
    try:
        yield upstream, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for one in ends:  # uvloop's close() waits for connections that are open
            one._transport.abort()
        await asyncio.sleep(0.05)


async def play(plan_of: dict[str, object], kind: type[Caller] | type[Reader]) -> tuple[Run, dict[str, int]]:
    """So many clients, each once; what they saw, and what the mock counted."""
    async with mock() as (upstream, port):
        plan = Plan(port=port, key="k", seconds=0.0, connections=3, ramp_s=0.0, **plan_of)  # type: ignore[arg-type]
        run = Run(plan, asyncio.get_running_loop())
        await (streams if kind is Reader else closed)(run, request_of(plan))
        run.stop()
        await asyncio.wait_for(run.over, 10)
        await asyncio.sleep(0.01)
        return run, upstream.stats()


@pytest.mark.parametrize("kb", traffic.SIZES_KB)
def test_clients_see_the_tokens_that_the_mock_sent(kb: int):
    run, stats = uvloop.run(play({"mode": "closed", "size": kb * 1024}, Caller))
    assert not run.errors and run.answered == stats["requests"] >= 3
    assert (run.input_tokens, run.output_tokens) == (stats["input_tokens"], stats["output_tokens"])


@pytest.mark.parametrize("ask_usage", [True, False])
def test_streams_are_read_to_their_end(ask_usage: bool):
    expected = CHUNKS + (3 if ask_usage else 2)
    run, stats = uvloop.run(play({"mode": "stream", "chunks": expected, "ask_usage": ask_usage}, Reader))
    assert not run.errors and run.answered == 3
    assert run.chunks == stats["chunks"] == 3 * expected
    assert run.input_tokens == stats["input_tokens"] and bool(run.input_tokens) == ask_usage
    assert stats["open"] == stats["cut"] == 0


class Sink:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


@pytest.mark.parametrize("size", [1, 100, 1700, 10_000])
def test_the_mock_answers_each_request_once_however_its_bytes_arrive(size: int):
    one, other = (traffic.request(8080, key, traffic.chat(1024)) for key in ("k", "another"))
    data = one + one + one + other + one
    loop = asyncio.new_event_loop()
    try:
        upstream = Mock(loop)
        server, sink = Server(upstream), Sink()
        server.connection_made(sink)  # type: ignore[arg-type]
        for at in range(0, len(data), size):
            server.data_received(data[at : at + size])
        for request in (one, one, other, one):  # whole, as from a kept connection
            server.data_received(request)
    finally:
        loop.close()
    assert upstream.stats()["requests"] == 9
    assert sink.written == b"".join(PLAIN[n % len(PLAIN)][0] for n in range(9))


def placed(together: int) -> list[int]:
    """How many streams each moment of the interval has."""
    loop = uvloop.new_event_loop()
    try:
        upstream = Mock(loop)
        upstream.pace(20, CHUNKS, together)
        for _ in range(200):
            upstream.add(Stream(upstream, Sink(), True))  # type: ignore[arg-type]
        upstream._ticks.stop()
        return [len(slot) for slot in upstream._slots]
    finally:
        loop.close()


def test_streams_have_their_turn_at_any_moment_or_ten_at_one():
    alone, bursts = placed(1), placed(10)
    assert len(alone) == len(bursts) == 200 and sum(alone) == sum(bursts) == 200
    assert max(alone) <= 6 and alone.count(0) < 100  # as drawn by lot
    assert all(count % 10 == 0 for count in bursts)


def test_a_stream_with_a_chunk_too_few_is_an_error():
    run, _ = uvloop.run(play({"mode": "stream", "chunks": CHUNKS + 4}, Reader))
    assert run.errors == {f"{CHUNKS + 3} events instead of {CHUNKS + 4}": 3}


def test_embeddings_are_counted_as_what_came_in():
    run, stats = uvloop.run(play({"mode": "closed", "ask": "embedding"}, Caller))
    assert not run.errors and not run.unlike and run.answered == stats["requests"] >= 3
    assert run.input_tokens == stats["input_tokens"] > 0 and run.output_tokens == stats["output_tokens"] == 0


def test_a_picture_of_megabytes_is_asked_about_and_answered():
    run, stats = uvloop.run(play({"mode": "closed", "ask": "picture", "size": 3_000_000}, Caller))
    assert not run.errors and not run.unlike and run.answered == stats["requests"] >= 3
    asked = json.loads(traffic.picture(3_000_000))
    url = asked["messages"][0]["content"][1]["image_url"]["url"]
    assert len(base64.b64decode(url.partition(",")[2])) == 3_000_000 * 3 // 4


def test_a_vector_is_8_kb_of_base64():
    for whole, usage in VECTORS:
        body = whole.partition(b"\r\n\r\n")[2]
        said = json.loads(body)
        assert len(struct.unpack("<1536f", base64.b64decode(said["data"][0]["embedding"]))) == 1536
        assert 8_200 < len(body) < 8_500 and said["usage"]["prompt_tokens"] == usage.input
