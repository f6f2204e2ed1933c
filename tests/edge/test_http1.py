"""One client connection: the same bytes mean the same in any pieces, answers come in order, times are kept."""

import gc
import random

import httptools
import pytest

from sluicegate.core.settings import Listen
from sluicegate.drive import Drive
from sluicegate.edge.http1 import LINGER_S, Connection
from sluicegate.edge.request import Request
from tests.abuse.corpus import BAD, GOOD, TE, framed
from tests.abuse.outside import ANSWER, CHAT, EVENTS, STREAMED, chunked, is_refusal, request, splits
from tests.edge.line import OTHER_KEY, SSE, House
from tests.gateway import KEY

HEALTH = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def numbered(n: int, *headers: bytes, **more: object) -> bytes:
    return request(b"x-ms-client-request-id: %d" % n, *headers, **more)  # type: ignore[arg-type]


def numbers(house: House) -> list[int]:
    """Of the requests that reached the upstream, in order."""
    return [int(b.split(b"x-ms-client-request-id: ")[1].split(b"\r\n")[0]) for b in house.upstream.bytes]


# ---------------------------------------------------------------- the same in any pieces


@pytest.mark.parametrize("name", GOOD)
def test_a_request_is_the_same_split_at_every_offset(name: str):
    message = GOOD[name]
    house = House()
    house.line().send(message)
    (whole,) = house.upstream.bytes
    for first, second in splits(message):
        line = house.line().send(first, second)
        assert [a.status for a in line.answers()] == [200] and line.closed
    assert set(house.upstream.bytes) == {whole} and len(house.upstream.calls) == len(message)
    assert house.is_empty()


@pytest.mark.parametrize("name", [n for n, m in BAD.items() if len(m) < 2000])
def test_a_bad_message_is_refused_split_at_every_offset(name: str):
    house = House()
    for first, second in splits(BAD[name]):
        line = house.line().send(first, second + request())
        (got,) = line.answers()
        is_refusal(got)
        assert 400 <= got.status < 500 and got.header("connection") == b"close" and line.closed
    assert house.upstream.calls == []
    house.pass_time(LINGER_S + 0.2)
    for line in list(house.server.connections):
        line.connection_lost(None)
    assert house.is_empty()


PAIRS = {
    "lengths": (numbered(1), numbered(2)),
    "chunked": (
        numbered(1, TE, length=False, body=chunked(CHAT[:9], CHAT[9:])),
        numbered(2, TE, length=False, body=chunked(CHAT)),
    ),
    "mixed": (numbered(1, TE, length=False, body=chunked(CHAT[:30], CHAT[30:])), numbered(2)),
    "body_with_empty_lines": (
        numbered(1, TE, length=False, body=chunked(b'{"model":"chat",\r\n\r\n', b'\r\n\r\n"messages":[]}')),
        numbered(2),
    ),
    "trailers": (
        numbered(1, TE, length=False, body=chunked(CHAT, end=b"0\r\nx-a: 1\r\nHost: elsewhere\r\n\r\n")),
        numbered(2),
    ),
    "upgrade": (numbered(1, b"Upgrade: h2c", b"Connection: Upgrade"), numbered(2)),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("later", [False, True], ids=["answered_at_once", "answered_later"])
def test_two_pipelined_requests_are_two_requests_split_at_every_offset(name: str, later: bool):
    first, second = PAIRS[name]
    house = House()
    house.line().send(first)
    house.line().send(second)
    alone = house.upstream.bytes
    both = first + second
    for at in range(1, len(both) + 1):
        house.upstream.calls.clear()
        house.upstream.at_once = None if later else ANSWER
        line = house.line().send(both[:at], both[at:])
        if later:
            house.upstream.calls[0].answer(ANSWER)
            for call in house.upstream.calls[1:]:
                call.answer(ANSWER)
        count = len(house.upstream.calls)
        if (
            count == 1
        ):  # where a chunked body ended among later bytes is not known: the second is not begun, not guessed
            assert TE in first and line.closed, f"at {at}"
        assert house.upstream.bytes == alone[:count], f"at {at}"
        assert [(a.status, a.body) for a in line.answers()] == [(200, ANSWER)] * count, f"at {at}"
        assert line.closed == (count == 1), f"at {at}"
        line.leave()
    for line_ in list(house.server.connections):
        line_.connection_lost(None)
    assert house.is_empty()


@pytest.mark.parametrize("seed", range(20))
def test_many_pipelined_requests_come_in_order_in_any_pieces(seed: int):
    dice = random.Random(seed)
    wire = b"".join(dice.choice([b"", b"", b"\r\n", b"\r\n\r\n"]) + numbered(n) for n in range(30))
    house = House()
    house.upstream.at_once = None if seed % 2 else ANSWER
    line = house.line()
    while wire:
        size = dice.choice([1, 7, 60, 300, 2000, 9000])
        line.send(wire[:size])
        wire = wire[size:]
        if dice.random() < 0.5:
            for call in house.upstream.calls:
                call.answer()
    while any(not c.over for c in house.upstream.calls):
        for call in list(house.upstream.calls):
            call.answer()
        line.settle()
    assert numbers(house) == list(range(30))
    assert [(a.status, a.body) for a in line.answers()] == [(200, ANSWER)] * 30


# ---------------------------------------------------------------- pipelining


def test_abuse_16_pipelined_requests_are_each_authorised_by_their_own_key():
    house = House()
    keys = [KEY, "nobody", OTHER_KEY, None, KEY, KEY + "x", KEY]
    wire = b"".join(numbered(n, key=key) for n, key in enumerate(keys))
    for pieces in ([wire], [wire[at : at + 1] for at in range(len(wire))]):
        house.upstream.calls.clear()
        line = house.line().send(*pieces)
        assert [(a.status, a.reason) for a in line.answers()] == [
            (200, ""), (401, "credential.unknown"), (404, "route.model"), (401, "credential.missing"), (200, ""),
            (401, "credential.unknown"), (200, ""),
        ]  # fmt: skip
        assert numbers(house) == [0, 4, 6]
        line.leave()
    assert house.is_empty()


def test_abuse_16_a_key_does_not_outlive_its_request_whatever_header_it_stood_in():
    house = House()
    line = house.line()
    for header in (b"api-key: %b", b"Authorization: Bearer %b", b"x-api-key: %b", b"Ocp-Apim-Subscription-Key: %b"):
        line.send(
            numbered(1, header % KEY.encode(), key=None) + numbered(2, key=None) + numbered(3, b"api-key:", key=None)
        )
    assert [a.status for a in line.answers()] == [200, 401, 401] * 4
    assert numbers(house) == [1] * 4


def test_eight_pipelined_requests_are_answered_one_after_the_other():
    house = House()
    house.upstream.at_once = None
    line = house.line().send(b"".join(numbered(n) for n in range(8)))
    for n in range(8):
        assert len(house.upstream.calls) == n + 1, "the next began before this one was answered"
        assert len(line.answers()) == n
        house.upstream.calls[n].answer()
    assert numbers(house) == list(range(8)) and len(line.answers()) == 8 and not line.closed


def test_what_is_pipelined_is_bounded_and_nothing_of_it_is_lost():
    house = House(Listen(port=0, pipelined_bytes=2000))
    house.upstream.at_once = None
    line = house.line()
    for n in range(100):
        line.send(numbered(n))
    assert not line.transport.reading
    assert len(line.connection.backlog or b"") < 2000 + 2 * len(numbered(99)), "read on beyond the bound"
    for n in range(100):
        house.upstream.calls[n].answer()
        line.settle()
    assert numbers(house) == list(range(100)) and len(line.answers()) == 100
    assert line.transport.reading and not line.closed


def test_good_and_bad_requests_in_one_pipeline_are_answered_in_order_until_the_framing_breaks():
    house = House()
    wire = [
        (numbered(0), 200), (HEALTH, 200), (numbered(2, path=b"/nowhere"), 404), (numbered(3, body=b"{"), 400),
        (numbered(4, b"Content-Encoding: identity"), 200), (numbered(5, method=b"PUT"), 405), (numbered(6), 200),
        (numbered(7, b"Host: again"), 400),
    ]  # fmt: skip
    line = house.line().send(b"".join(m for m, _ in wire) + numbered(8))
    assert [a.status for a in line.answers()] == [status for _, status in wire]
    assert numbers(house) == [0, 4, 6] and line.closed


def test_garbage_behind_a_request_does_not_touch_its_answer():
    for garbage in (
        b"\x00\x01",
        b"GET",
        b"GET / HTTP/1.1\n\n",
        b"0\r\n\r\n",
        numbered(9, b"x : 1"),
        b"POST / HTTP/1.1\r\n\r\n",
    ):
        for later in (False, True):
            house = House()
            house.upstream.at_once = None if later else ANSWER
            line = house.line().send(numbered(1) + garbage)
            if later:
                assert line.out == b""
                house.upstream.calls[0].answer()
            first, *others = line.answers()
            assert (first.status, first.body) == (200, ANSWER)
            assert [o.status for o in others] in ([], [400])
            assert numbers(house) == [1]


@pytest.mark.parametrize("last", [numbered(1, b"Connection: close"), numbered(1, version=b"1.0")])
@pytest.mark.parametrize("later", [False, True], ids=["answered_at_once", "answered_later"])
def test_nothing_behind_a_request_that_closes_is_read(last: bytes, later: bool):
    for at in range(1, len(last) + 1):
        house = House()
        house.upstream.at_once = None if later else ANSWER
        wire = last + numbered(2)
        line = house.line().send(wire[:at], wire[at:])
        if later:
            house.upstream.calls[0].answer()
        assert [(a.status, a.header("connection")) for a in line.answers()] == [(200, b"close")]
        assert line.closed and numbers(house) == [1]


def test_a_connection_is_kept_after_refusals_that_leave_no_doubt():
    line = House().line()
    kinds = request().replace(b"application/json", b"text/plain")
    for _ in range(3):
        line.send(request(key="nobody"), request(path=b"/x"), request(body=b"[]"), kinds, request())
    assert [a.status for a in line.answers()] == [401, 404, 400, 415, 200] * 3 and not line.closed


# ---------------------------------------------------------------- Expect


def test_abuse_17_a_bad_key_is_refused_before_the_body_is_asked_for():
    house = House()
    line = house.line().send(
        request(b"Expect: 100-continue", key="nobody", body=b"").replace(b"-Length: 0", b"-Length: 60")
    )
    (got,) = line.answers()
    assert (got.status, got.reason, got.header("connection")) == (401, "credential.unknown", b"close")
    assert line.closed and house.upstream.calls == []
    line.send(CHAT + request())  # sent all the same: thrown away, whatever it looks like
    assert len(line.answers()) == 1 and house.upstream.calls == []


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_abuse_17_a_good_key_is_told_to_continue_once_and_answered(framing: str):
    house = House()
    length = framing == "length"
    body = CHAT if length else chunked(CHAT[:10], CHAT[10:])
    message = request(b"Expect: 100-Continue", *([] if length else [TE]), body=body, length=length)
    head, body = message[: -len(body)], body
    line = house.line().send(head)
    assert line.out == b"HTTP/1.1 100 Continue\r\n\r\n"
    line.send(body[:20], body[20:])
    assert [a.status for a in line.answers()] == [100, 200] and not line.closed
    assert house.upstream.calls[0].bytes.count(b"100-continue") == 0
    line.send(request())
    assert [a.status for a in line.answers()] == [100, 200, 200]


def test_nobody_is_told_to_continue_who_did_not_ask_or_speaks_http_1_0():
    house = House()
    assert house.line().send(request()[:-10]).out == b""
    assert house.line().send(request(b"Expect: 100-continue", version=b"1.0")[:-10]).out == b""


@pytest.mark.parametrize(
    "expect", [b"Expect: 200-ok", b"Expect: 100-continue, x", b"Expect: 100-continue\r\nExpect: x"]
)
def test_another_expectation_is_417(expect: bytes):
    line = House().line().send(request(expect))
    (got,) = line.answers()
    is_refusal(got, "request.expect")
    assert got.status == 417 and line.closed


# ---------------------------------------------------------------- Upgrade

UPGRADES = {
    "h2c_by_curl": (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
    "h2c_by_java": (b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAEAAEAAAAIAAAAB", b"Upgrade: h2c"),
    "websocket": (
        b"Connection: keep-alive, Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ),
    "unknown": (b"Upgrade: TLS/1.3, foo/2", b"Connection: upgrade"),
}  # fmt: skip


@pytest.mark.parametrize("name", UPGRADES)
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_abuse_85_an_upgrade_is_ignored_and_its_body_is_the_bodys_split_at_every_offset(name: str, framing: str):
    house = House()
    house.line().send(request())
    (plain,) = house.upstream.bytes
    if framing == "length":
        message = request(*UPGRADES[name])
    else:
        message = request(*UPGRADES[name], TE, body=chunked(CHAT[:11], CHAT[11:]), length=False)
    for first, second in [(message, b""), *splits(message)]:
        house.upstream.calls.clear()
        line = house.line().send(first, second)
        assert house.upstream.bytes == [plain], len(first)
        assert [a.status for a in line.answers()] == [200] and not line.closed
        line.send(request())
        assert house.upstream.bytes == [plain, plain] and len(line.answers()) == 2
        line.leave()
    assert not house.bugs


def test_abuse_85_an_upgrade_without_a_body_is_answered_as_if_nobody_asked():
    line = House().line().send(HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n") + HEALTH)
    assert [a.status for a in line.answers()] == [200, 200] and not line.closed


def test_abuse_85_a_body_cannot_hide_a_request_behind_an_upgrade():
    """llhttp alone would take the body for the other protocol, and then for a request of its own."""
    house = House()
    hidden = numbered(666)
    message = request(b"Connection: Upgrade", b"Upgrade: h2c", body=hidden)
    for first, second in [(message, b""), *splits(message)]:
        line = house.line().send(first, second)
        assert [a.reason for a in line.answers()] == ["request.invalid_json"]
        assert house.upstream.calls == []
        line.leave()


@pytest.mark.parametrize("bad", [BAD["chunk_size_0x"], BAD["no_crlf_after_chunk"], BAD["lf_in_chunk_extension"]])
def test_abuse_85_a_broken_body_behind_an_upgrade_is_refused(bad: bytes):
    house = House()
    message = bad.replace(b"\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n", 1)
    for first, second in [(message, b""), *splits(message)]:
        line = house.line().send(first, second)
        assert [a.status for a in line.answers()] == [400] and line.closed, len(first)
    assert house.upstream.calls == [] and not house.bugs


# ---------------------------------------------------------------- times


def test_abuse_15_a_slow_head_is_cut_when_its_time_is_up_however_it_drips():
    house = House()
    line = house.line()
    for byte in request()[:90]:  # one byte a second: the clock of the head does not start again
        line.send(bytes((byte,)))
        house.pass_time(1)
        if line.closed:
            break
    (got,) = line.answers()
    is_refusal(got, "request.timeout")
    assert got.status == 408 and 10 <= house.time - 1000 <= 11.2
    house.pass_time(LINGER_S + 0.2)
    line.settle()
    assert line.transport.lost and house.is_empty()


def test_abuse_15_a_connection_that_says_nothing_is_closed():
    house = House()
    lines = [house.line() for _ in range(20)]
    house.pass_time(9.8)
    assert not any(line.closed for line in lines)
    house.pass_time(80)
    assert all(line.closed and line.out == b"" for line in lines) and house.is_empty()


def test_abuse_15_a_body_that_stops_is_cut_after_the_longest_gap():
    house = House()
    line = house.line().send(request()[:-10])
    house.pass_time(29)
    assert not line.closed
    house.pass_time(1.3)
    (got,) = line.answers()
    is_refusal(got, "request.timeout")
    assert line.closed and house.upstream.calls == []


def test_abuse_15_a_body_that_drips_is_cut_at_its_total_time():
    """R.U.D.Y.: a byte every 20 seconds never makes a gap."""
    house = House()
    line = house.line().send(request(body=b" " * 1000)[:-1000])
    while not line.closed and house.time < 2000:
        line.send(b" ")
        house.pass_time(20)
    (got,) = line.answers()
    is_refusal(got, "request.timeout")
    assert 300 <= house.time - 1000 <= 340


def test_abuse_15_a_client_that_sends_what_was_refused_forever_is_cut():
    house = House()
    line = house.line().send(request(key="nobody", body=b" " * 100_000)[:-100_000])
    assert [a.status for a in line.answers()] == [401] and line.closed
    for _ in range(30):
        line.send(b" ")
        house.pass_time(0.1)
    assert line.transport.lost and house.is_empty()


def test_abuse_15_a_small_refused_body_that_never_ends_is_cut():
    house = House()
    line = house.line().send(request(key="nobody")[:-10])
    assert [a.status for a in line.answers()] == [401]
    for _ in range(400):
        house.pass_time(1)
        if not line.closed:
            line.send(b"")
    assert line.closed and house.is_empty()


def test_abuse_15_slow_pipelined_heads_do_not_last_forever():
    """The head of the next request begins while an answer is on its way and never ends."""
    house = House()
    house.upstream.at_once = None
    line = house.line().send(numbered(1) + b"POST ")
    house.pass_time(50)
    assert not line.closed, "the answer is still to come"
    house.upstream.calls[0].answer()
    house.pass_time(10.3)
    assert [a.status for a in line.answers()] == [200, 408] and line.closed


def test_abuse_15_a_client_that_does_not_read_pauses_the_upstream_and_is_cut():
    house = House(Listen(port=0, write_s=5.0, write_high=1000))
    house.upstream.at_once = None
    line = house.line(room=100).send(request(body=STREAMED))
    (call,) = house.upstream.calls
    call.begin(200, SSE)
    for _ in range(30):
        if call.paused:
            break
        call.piece(EVENTS[0])
    assert call.paused and line.transport.get_write_buffer_size() < 2000
    house.pass_time(4)
    assert not line.transport.closing
    house.pass_time(1.3)
    line.settle()
    assert line.transport.aborted and call.cancelled and house.is_empty()
    (record,) = house.journal.recent
    assert (record.how, record.state) == ("slow_reader", "settled")


def test_abuse_15_a_client_that_reads_slowly_but_reads_is_served():
    house = House(Listen(port=0, write_s=5.0, write_high=1000))
    house.upstream.at_once = None
    line = house.line(room=0).send(request(body=STREAMED))
    (call,) = house.upstream.calls
    call.begin(200, SSE)
    sent = 0
    while sent < 40:
        while not call.paused and sent < 40:
            call.piece(EVENTS[0])
            sent += 1
        house.pass_time(3)
        line.transport.take(100)
        assert not line.transport.closing
    assert sent == 40
    line.transport.take(None)
    call.piece(*EVENTS[1:])
    call.end()
    (got,) = line.answers()
    assert got.events()[-1] == b"data: [DONE]" and len(got.events()) == 40 + len(EVENTS) - 2
    house.pass_time(80)
    assert line.closed and house.is_empty()


def test_an_idle_connection_is_kept_as_long_as_promised():
    house = House()
    line = house.line().send(request())
    for _ in range(3):
        house.pass_time(70)
        assert not line.closed
        line.send(request())
    house.pass_time(76)
    assert line.closed and len(line.answers()) == 4 and house.is_empty()


def test_a_long_answer_is_not_cut_by_the_times_of_a_request():
    house = House()
    house.upstream.at_once = None
    line = house.line().send(request(body=STREAMED))
    (call,) = house.upstream.calls
    call.begin(200, SSE)
    for _ in range(20):
        call.piece(EVENTS[0])
        house.pass_time(40)
    call.piece(*EVENTS[2:])
    call.end()
    (got,) = line.answers()
    assert got.events()[-1] == b"data: [DONE]" and not line.closed


# ---------------------------------------------------------------- leaving


def test_a_client_that_leaves_frees_everything_at_any_moment():
    message = request(body=STREAMED)
    for at in range(len(message) + 1):
        house = House()
        house.upstream.at_once = None
        line = house.line().send(message[:at])
        line.leave()
        assert house.is_empty(), at
        assert all(c.cancelled for c in house.upstream.calls)


def test_a_client_that_leaves_amid_pipelined_requests_starts_none_of_them():
    house = House()
    house.upstream.at_once = None
    line = house.line().send(b"".join(numbered(n, body=STREAMED) for n in range(5)))
    line.leave()
    assert numbers(house) == [0] and house.is_empty()


def test_an_answer_that_breaks_off_is_a_broken_message_not_a_short_one():
    house = House()
    house.upstream.at_once = None
    line = house.line().send(request())
    (call,) = house.upstream.calls
    call.begin(200, (*SSE[:0], (b"Content-Type", b"application/json")))
    call.piece(b'{"choices":[' + b" " * (1024 * 1024), b" " * 1000)
    call.end("cut")
    line.settle()
    assert line.transport.aborted and house.is_empty()


def test_a_draining_gateway_answers_the_running_request_and_closes():
    house = House()
    house.upstream.at_once = None
    line = house.line().send(numbered(1) + numbered(2))
    house.server.draining = True
    house.upstream.calls[0].answer()
    (got,) = line.answers()
    assert got.header("connection") == b"close" and line.closed and numbers(house) == [1]


def test_one_write_carries_a_small_answer():
    line = House().line().send(request())
    assert line.transport.writes == 1


def test_answers_to_http_1_0_have_no_chunks():
    house = House()
    house.upstream.at_once = None
    line = house.line().send(request(body=STREAMED, version=b"1.0"))
    house.upstream.calls[0].stream()
    assert b"chunked" not in line.out and line.out.endswith(b"data: [DONE]\n\n") and line.closed


def test_head_is_answered_without_a_body():
    line = House().line().send(b"HEAD /health/live HTTP/1.1\r\nHost: x\r\n\r\nHEAD /x HTTP/1.1\r\nHost: x\r\n\r\n")
    first, second = line.out.split(b"\r\n\r\n")[:2]
    assert line.out.endswith(b"\r\n\r\n") and line.out.count(b"HTTP/1.1") == 2
    assert b" 200 " in first and b" 404 " in second and b"content-length: 0" not in second


# ---------------------------------------------------------------- what is left of the gone


def _alive() -> dict[str, int]:
    kinds = (Connection, Request, Drive, httptools.HttpRequestParser)
    return {kind.__name__: sum(type(o) is kind for o in gc.get_objects()) for kind in kinds}


@pytest.mark.parametrize(
    "said",
    [
        [b""], [b"POST "], [request()[:-5]], [request()], [request(), request(), request()], [request(b"Connection: close")],
        [request(b"x-a: " + b"a" * 100_000)], [request(key="nobody")], [request(path=b"/x")], [b"\x00"], [request(body=b"{")],
        [request(b"Upgrade: h2c", b"Connection: upgrade")], [request() + request()[:50]], [numbered(1) + numbered(2), HEALTH],
        [framed(TE, body=chunked(CHAT)[:-9])], [request(version=b"1.0")], [request(b"Expect: 100-continue")[:-60]],
    ],
)  # fmt: skip
def test_nothing_of_a_client_that_is_gone_waits_for_the_collector(said: list[bytes]):
    """They hold each other: connection, parser, request and exchange. What does not let go is freed by a full
    collection only, which hardly ever comes: until then it is memory that anybody can take from outside."""
    House().line().send(request(), request()).leave()
    house = House()
    gc.collect()
    gc.disable()
    try:
        before = _alive()
        for _ in range(3):
            line = house.line().send(*said)
            line.leave()
            line.transport.line = None  # type: ignore[assignment]
            del line
            house.upstream.calls.clear()
            house.journal.recent.clear()
        assert _alive() == before
    finally:
        gc.enable()


def test_no_request_is_over_before_it_began():
    """A clock that goes on between two looks at it, as clocks do: a refusal in the same step took no negative time."""

    class Going(House):
        def now(self) -> float:
            self.time += 1e-6
            return self.time

    house = Going()
    for _ in range(2):  # the second is read like the one before
        house.upstream.at_once = None
        line = house.line().send(request())
        house.upstream.calls[-1].answer(b"{}", 429)
        line.send(request(), request(body=b"{}"), request(key="nobody"), request(body=b"no json"))
        assert len(line.answers()) == 5
    spent = [r.ended_at - r.at for r in house.journal.recent]
    assert len(spent) >= 4 and min(spent) >= 0
