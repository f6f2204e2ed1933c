"""A head that is met again on a connection is not parsed again. It must mean what it would mean on a new one."""

from collections.abc import Sequence

import pytest

from sluicegate.core.snapshot import Directory
from sluicegate.edge.http1 import COPIED
from tests.abuse.corpus import BAD, GOOD, TE
from tests.abuse.outside import CHAT, STREAMED, chunked, request
from tests.edge.line import OTHER_KEY, House, callers
from tests.gateway import KEY, SECRET

Outcome = tuple[list[tuple[int, str, bytes]], list[bytes]]


def outcome(house: House, *pieces: bytes, before: Sequence[bytes] = ()) -> Outcome:
    """What the client and the upstream see of these bytes, on a connection that carried others before."""
    line = house.line()
    for message in before:
        line.send(message)
    answered, called = len(line.answers()), len(house.upstream.calls)
    line.send(*pieces)
    seen = [(a.status, a.reason, a.header("connection") or b"") for a in line.answers()[answered:]]
    calls = [c.bytes for c in house.upstream.calls[called:]]
    line.leave()
    house.upstream.calls.clear()
    return seen, calls


USUAL = request(b"User-Agent: x", b"x-ms-client-request-id: 1", b"Accept: */*")
HEAD = len(USUAL) - len(CHAT)


def test_a_repeated_head_is_one_that_is_not_parsed():
    """Else this file would show nothing."""
    house = House()
    line = house.line().send(USUAL, USUAL)
    parser = line.connection.parser
    line.connection.parser = None
    line.send(USUAL, USUAL.replace(b"60\r\n", b"61\r\n").replace(b'"hi"', b'"hi!"'))
    line.connection.parser = parser
    assert len(house.upstream.calls) == 4


@pytest.mark.parametrize("value", [0x00, 0x09, 0x0A, 0x0D, 0x20, 0x30, 0x39, 0x3A, 0x41, 0x7F, 0xFF])
def test_a_head_that_differs_in_one_byte_is_another_head(value: int):
    house = House()
    for at in range(HEAD):
        changed = USUAL[:at] + bytes((value,)) + USUAL[at + 1 :]
        assert outcome(house, changed, before=[USUAL, USUAL]) == outcome(house, changed), (at, changed[:HEAD])


def test_a_head_with_a_byte_more_or_less_is_another_head():
    house = House()
    for at in range(HEAD + 1):
        for changed in (
            USUAL[:at] + USUAL[at + 1 :],
            USUAL[:at] + b"1" + USUAL[at:],
            USUAL[:at] + b"\r\n" + USUAL[at:],
        ):
            assert outcome(house, changed, before=[USUAL, USUAL]) == outcome(house, changed), (at, changed[:HEAD])


@pytest.mark.parametrize(
    "length", [b"0", b"1", b"59", b"61", b"060", b"00000060", b"0000000060", b"+60", b" 60", b"60 ", b"6 0", b"0x3c", b"6_0", b"",
               b"60\r\nContent-Length: 60", b"60, 60", b"60\r\nTransfer-Encoding: chunked", b"60\r\n ", b"\xd9\xa6\xd9\xa0",
               b"33554433", b"999999999", b"60\r\nHost: x", b"60;", b"60\n", b"60\r"],
)  # fmt: skip
def test_an_odd_length_in_a_repeated_head_is_judged_as_ever(length: bytes):
    house = House()
    changed = USUAL.replace(b"Content-Length: 60", b"Content-Length: " + length)
    for behind in (b"", USUAL, b"x"):
        fresh, again = outcome(house, changed + behind), outcome(house, changed + behind, before=[USUAL, USUAL])
        assert fresh == again


def test_a_head_that_names_a_length_in_other_places_is_not_mistaken():
    """Only the digits of the real Content-Length may differ between two heads."""
    house = House()
    for header in (
        b"x-content-length: 60",
        b"x: content-length: 60",
        b"content-length-x: 60",
        b"x-a: \tContent-Length: 60",
    ):
        usual = request(header)
        for other in (b"5", b"600", b"0"):
            changed = usual.replace(header, header.replace(b"60", other))
            for body in (CHAT, CHAT[:5], CHAT * 10):
                message = changed[: -len(CHAT)] + body
                assert outcome(house, message, before=[usual, usual]) == outcome(house, message), message


@pytest.mark.parametrize("name", [*BAD, *GOOD])
def test_what_comes_after_usual_requests_means_what_it_always_means(name: str):
    house = House()
    message = {**BAD, **GOOD}[name]
    assert outcome(house, message, before=[USUAL, USUAL]) == outcome(house, message)


@pytest.mark.parametrize(
    "usual",
    [
        request(b"Connection: close"), request(version=b"1.0"), request(b"Connection: keep-alive", version=b"1.0"),
        request(b"Expect: 100-continue"), request(b"Content-Encoding: identity"), request(b"Content-Encoding: gzip"),
        request(b"Upgrade: h2c", b"Connection: Upgrade"), request(TE, body=chunked(CHAT), length=False), request(key="nobody"),
        request(b"x-ms-client-request-id: 1", b"x-ms-client-request-id: 2"), request(body=b""), request(path=b"/nowhere"),
        request(path=b"/health/live", method=b"GET", body=b""), request(b"Host: again"), request(method=b"PUT"),
        request(b"Content-Type: text/plain"), request(key=OTHER_KEY), request(b"Authorization: Bearer " + KEY.encode()),
    ],
)  # fmt: skip
def test_whatever_is_repeated_is_answered_the_same_every_time(usual: bytes):
    house = House()
    line = house.line().send(usual)
    if line.closed:
        return
    first = (line.answers(), house.upstream.bytes)
    for n in range(2, 5):
        line.send(usual)
        assert [a.status for a in line.answers()] == [a.status for a in first[0]] * n
        assert house.upstream.bytes == first[1] * n


def test_a_repeated_head_in_any_pieces_is_the_same_request():
    house = House()
    alone = outcome(house, USUAL)
    for at in range(1, len(USUAL)):
        assert outcome(house, USUAL[:at], USUAL[at:], before=[USUAL, USUAL]) == alone
        assert outcome(house, USUAL + USUAL[:at], USUAL[at:], before=[USUAL, USUAL]) == (alone[0] * 2, alone[1] * 2)


def test_a_repeated_head_with_a_body_too_large_or_none_is_refused_as_ever():
    house = House()
    for body in (b"{", b'{"model":"nothing"}', CHAT + CHAT, b" " * 70_000):
        changed = USUAL[:HEAD].replace(b": 60\r\n", b": %d\r\n" % len(body)) + body
        seen = outcome(house, changed, before=[USUAL, USUAL])
        assert seen == outcome(house, changed) and seen[0][0][0] in (400, 404)


def test_a_key_that_is_revoked_is_refused_on_a_connection_that_showed_it_before():
    house = House()
    line = house.line().send(USUAL, USUAL)
    assert [a.status for a in line.answers()] == [200, 200]
    house.world.adopt(house.snapshot, Directory((SECRET,), ()))
    line.send(USUAL, USUAL)
    assert [a.status for a in line.answers()] == [200, 200, 401, 401]
    house.world.adopt(house.snapshot, callers())
    line.send(USUAL)
    assert [a.status for a in line.answers()] == [200, 200, 401, 401, 200]


def test_a_head_seen_on_one_connection_says_nothing_about_another():
    house = House()
    house.line().send(USUAL, USUAL)
    other = house.line().send(USUAL.replace(KEY.encode(), b"x" * len(KEY)), USUAL)
    assert [a.status for a in other.answers()] == [401, 200]


def test_a_repeated_head_of_http_1_0_gets_no_chunks():
    house = House()
    usual = request(b"Connection: keep-alive", version=b"1.0")
    line = house.line().send(usual, usual)
    house.upstream.at_once = None
    line.send(request(b"Connection: keep-alive", version=b"1.0", body=STREAMED))
    house.upstream.calls[-1].stream()
    assert line.out.endswith(b"data: [DONE]\n\n") and b"chunked" not in line.out and line.closed


@pytest.mark.parametrize("model", [b"chat", b"nothing"])
def test_a_large_body_behind_a_repeated_head_goes_up_as_it_is(model: bytes):
    """It is not cut out of what was read: a view of that goes up, or is refused."""
    house = House()
    turn = b'{"role":"user","content":"%b [1]: said \\"so\\""}'
    least = COPIED - 200  # such a body alone is small, what was read with it is not
    for turns in ([b"t" * 900] * 80, [b"p" * 70_000], [b"p" * 90_000, b"q" * 10_000], [b"b" * least]):
        body = b'{"messages":[%b],"model":"%b"}' % (b",".join(turn % text for text in turns), model)
        assert HEAD + len(body) > COPIED and (len(body) <= COPIED) == (turns == [b"b" * least])
        changed = USUAL[:HEAD].replace(b": 60\r\n", b": %d\r\n" % len(body)) + body
        seen = outcome(house, changed, before=[USUAL, USUAL])
        assert seen == outcome(house, changed)
        assert (seen[0][0][0], len(seen[1])) == ((200, 1) if model == b"chat" else (404, 0))
        assert not seen[1] or body[13:-20] in seen[1][0]
