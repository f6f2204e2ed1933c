"""The front door: one message means one thing, or nothing. Malformed bytes are refused before anything moves."""

import pytest

from tests.abuse.corpus import BAD, GOOD, LENGTH, TE, framed, in_chunks
from tests.abuse.outside import ANSWER, CHAT, PATH, Client, Upstream, ask, chunked, refused, request
from tests.gateway import GatewayThread

SIZE = b"%x" % len(CHAT)
SMUGGLED = request(b"x-ms-client-request-id: smuggled")


def nothing_passed(port: int, upstream: Upstream) -> None:
    """A good request on a new connection is the first and only one that the upstream ever saw."""
    assert ask(port, request(b"x-ms-client-request-id: after")).status == 200
    assert [s.header(b"x-ms-client-request-id") for s in upstream.requests] == [b"after"]
    assert upstream.garbage == []


def test_the_corpus_is_the_one_we_promise():
    assert (len(BAD), len(GOOD)) == (34, 8)


def test_of_34_malformed_messages_none_is_let_through(port: int, upstream: Upstream):
    """Each with a good request behind it, which belongs to nobody once the framing cannot be believed."""
    answered = {name: refused(port, message + SMUGGLED) for name, message in BAD.items()}
    nothing_passed(port, upstream)
    silent = [name for name, got in answered.items() if got is None]
    assert not silent, f"closed without a word: {silent}"


def test_of_34_malformed_messages_none_is_let_through_byte_by_byte(port: int, upstream: Upstream):
    for name, message in BAD.items():
        if len(message) < 2000:
            pieces = [message[at : at + 1] for at in range(len(message))]
            assert refused(port, *pieces, SMUGGLED), name
    nothing_passed(port, upstream)


@pytest.mark.parametrize("name", GOOD)
def test_a_good_message_is_answered(name: str, port: int, upstream: Upstream):
    with Client(port) as client:
        client.send(GOOD[name])
        got = client.answer()
        assert (got.status, got.body, got.whole) == (200, ANSWER, True)
        assert client.rest() == b""
    (seen,) = upstream.requests
    assert seen.body.replace(b'"gpt-4o-1"', b'"chat"') == CHAT
    assert upstream.garbage == []


@pytest.mark.parametrize("name", GOOD)
def test_a_good_message_is_the_same_byte_by_byte(name: str, port: int, upstream: Upstream):
    assert ask(port, GOOD[name]).status == 200
    assert ask(port, *(GOOD[name][at : at + 1] for at in range(len(GOOD[name])))).status == 200
    first, second = upstream.requests
    assert first.raw == second.raw


@pytest.mark.parametrize(
    "last",
    [request(b"Connection: close"), request(version=b"1.0"), framed(TE, b"Connection: close", body=chunked(CHAT))],
)
def test_what_follows_a_request_that_closes_is_nobodys(last: bytes, port: int, upstream: Upstream):
    for behind in (SMUGGLED, b"\r\n" + SMUGGLED, b"\x00\xff", b"x"):
        with Client(port) as client:
            client.send(last + behind)
            got = client.answer()
            assert (got.status, got.body, got.header("connection")) == (200, ANSWER, b"close")
            assert client.rest() == b""
    assert [s.header(b"x-ms-client-request-id") for s in upstream.requests] == [None] * 4


def each_is_refused(port: int, upstream: Upstream, messages: list[bytes], *reasons: str) -> None:
    for message in messages:
        assert refused(port, message + SMUGGLED, reasons=reasons), f"closed without a word: {message!r}"
        assert upstream.requests == [], f"let through: {message!r}"
    nothing_passed(port, upstream)


def test_abuse_01_length_and_chunked_together_are_refused(port: int, upstream: Upstream):
    whole = chunked(CHAT)
    each_is_refused(port, upstream, [
        framed(LENGTH, TE, body=whole),
        framed(TE, LENGTH, body=whole),
        framed(b"Content-Length: 0", TE, body=whole),
        framed(TE, b"x-a: 1", b"Content-Length: %d" % len(whole), body=whole),
        framed(b"content-length: 4", b"transfer-encoding: CHUNKED", body=whole),
        framed(LENGTH, b"Transfer-Encoding: identity"),
        framed(LENGTH, b"Transfer-Encoding:"),
    ])  # fmt: skip


@pytest.mark.parametrize(
    "lengths",
    [
        [b"%d", b"3"], [b"%d", b"%d"], [b"%d, %d"], [b"%d,"], [b"+%d"], [b"-%d"], [b"0x3c"], [b"6_0"], [b"%d a"],
        [b"%d.0"], [b"6e1"], [b""], [b'"%d"'], [b"%d\x0b"], [b"9" * 25], [b"18446744073709551676"],
    ],
)  # fmt: skip
def test_abuse_02_a_length_that_is_not_one_number_is_refused(lengths: list[bytes], port: int, upstream: Upstream):
    size = len(CHAT)
    values = [v.replace(b"%d", b"%d" % size) for v in lengths]
    for name in (b"Content-Length", b"content-length"):
        message = framed(b"Content-Length: " + values[0], *(name + b": " + v for v in values[1:]))
        each_is_refused(port, upstream, [message])
        upstream.forget()


@pytest.mark.parametrize(
    "value",
    [
        b"xchunked", b"chunkedx", b"chunked, chunked", b"chunked, identity", b"gzip, chunked", b"chunked, gzip", b"identity",
        b"\x0bchunked", b"chunked\x0b", b"\x0cchunked", b'"chunked"', b"chunked;q=1", b"chunked,", b",chunked", b"",
        b"chu nked", b"chunked\x00",
    ],
)  # fmt: skip
def test_abuse_03_an_encoding_that_is_not_exactly_chunked_is_refused(value: bytes, port: int, upstream: Upstream):
    each_is_refused(port, upstream, [framed(b"Transfer-Encoding: " + value, body=chunked(CHAT))])


def test_abuse_03_an_encoding_said_twice_or_in_http_1_0_is_refused(port: int, upstream: Upstream):
    each_is_refused(port, upstream, [
        framed(TE, TE, body=chunked(CHAT)),
        framed(TE, b"transfer-encoding: chunked", body=chunked(CHAT)),
        framed(TE, b"Transfer-Encoding: identity", body=chunked(CHAT)),
        framed(b"Transfer-Encoding: identity", TE, body=chunked(CHAT)),
        framed(b"Transfer-Encoding : chunked", body=chunked(CHAT)),
        framed(b"Transfer-Encoding\t: chunked", body=chunked(CHAT)),
        framed(TE, body=chunked(CHAT), version=b"1.0"),
        framed(TE, b"Connection: keep-alive", body=chunked(CHAT), version=b"1.0"),
    ])  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        b"0x" + SIZE + b"\r\n", b"+" + SIZE + b"\r\n", b"-" + SIZE + b"\r\n", b"0_" + SIZE + b"\r\n",
        b"10000000000000000\r\n", b"fffffffffffffffff\r\n", SIZE + b"\n", SIZE + b"\r", SIZE + b";a\nb\r\n",
        SIZE + b";a\rb\r\n", SIZE + b" \n", b" " + SIZE + b"\r\n", b"g\r\n", b"\r\n", SIZE + b"," + SIZE + b"\r\n",
        SIZE + b";a=\x00\r\n", SIZE + b"\x0b\r\n",
    ],
)  # fmt: skip
def test_abuse_04_a_chunk_size_that_is_no_hex_number_is_refused(line: bytes, port: int, upstream: Upstream):
    each_is_refused(port, upstream, [in_chunks(line)])


@pytest.mark.parametrize(
    "body",
    [
        SIZE + b"\r\n" + CHAT + b"0\r\n\r\n",
        SIZE + b"\r\n" + CHAT + b"\n0\r\n\r\n",
        SIZE + b"\r\n" + CHAT + b"\r0\r\n\r\n",
        SIZE + b"\r\n" + CHAT + b"x\r\n0\r\n\r\n",
        SIZE + b"\r\n" + CHAT + b"\r\n0\r\nx-a: 1\n\r\n",
        SIZE + b"\r\n" + CHAT + b"\r\n0\r\n: 1\r\n\r\n",
        SIZE + b"\r\n" + CHAT + b"\r\n0\r\nx-a\r\n\r\n",
        SIZE + b"\r\n" + CHAT + b"\r\n0\r\n\n",
    ],
)
def test_abuse_04_a_body_whose_chunks_do_not_fit_is_refused_and_never_shortened(
    body: bytes, port: int, upstream: Upstream
):
    each_is_refused(port, upstream, [framed(TE, body=body)], "request.malformed")


@pytest.mark.parametrize("message", [framed(LENGTH, body=CHAT[:-1]), framed(TE, body=chunked(CHAT, end=b"")),
                                     framed(TE, body=chunked(CHAT, end=b"0\r\n"))])  # fmt: skip
def test_abuse_04_a_body_that_breaks_off_never_reaches_the_upstream(message: bytes, port: int, upstream: Upstream):
    for leave in (Client.slam, lambda c: c.socket.shutdown(1)):
        with Client(port) as client:
            client.send(message)
            leave(client)
    nothing_passed(port, upstream)


@pytest.mark.parametrize(
    "line",
    [
        b"x-a: 1\nx-b: 2", b"x-a: 1\rx-b: 2", b"x-a: 1\r", b"x-a: 1\x002", b"x-a\x00: 1", b"x-a: 1\r\n 2", b"x-a: 1\r\n\t2",
        b"x-a : 1", b"x-a\t: 1", b": 1", b" : 1", b" x-a: 1", b"x-a", b"x a: 1", b"x(a): 1", b"x-\xe4: 1", b"x-a: \x7f",
        b"x-a: \x01", b"x-a: 1\r\r\nx-b: 2", b"traceparent: a\x1b[31m", b"x-a:\n1",
    ],
)  # fmt: skip
def test_abuse_05_a_header_line_that_could_be_read_in_two_ways_is_refused(line: bytes, port: int, upstream: Upstream):
    each_is_refused(port, upstream, [request(line)])


def test_abuse_05_the_first_header_line_cannot_be_folded_or_bare(port: int, upstream: Upstream):
    good = request()
    first, rest = good.split(b"\r\n", 1)
    each_is_refused(port, upstream, [
        first + b"\r\n x-a: 1\r\n" + rest,
        first + b"\n" + rest,
        first + b"\r" + rest,
        good.replace(b"\r\n\r\n", b"\n\n", 1),
        good.replace(b"\r\n\r\n", b"\r\n\n", 1),
        good.replace(b"\r\n\r\n", b"\n\r\n", 1),
        b"POST\t" + PATH + b"\tHTTP/1.1\r\n" + rest,
        b"PO\0ST " + PATH + b" HTTP/1.1\r\n" + rest,
        b"POST " + PATH + b"\r\n" + rest,
        b"POST " + PATH + b" HTTP/1.1 x\r\n" + rest,
        b"POST " + PATH + b" HTTP/1.1\x0b\r\n" + rest,
        b"POST " + PATH + b" HTTP/01.1\r\n" + rest,
        b"POST " + PATH + b" HTTP/1.2\r\n" + rest,
        b"POST " + PATH + b" HTTP/2.0\r\n" + rest,
        b"POST " + PATH + b" http/1.1\r\n" + rest,
        b"POST " + PATH + b" ICE/1.0\r\n" + rest,
        b"HELLO " + PATH + b" HTTP/1.1\r\n" + rest,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 64,
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ])  # fmt: skip


@pytest.mark.parametrize(
    "host",
    [
        b"gateway/", b"gateway?x", b"gateway#x", b"user@gateway", b"gateway\\x", b"gate way", b"gateway\tx", b"", b":80",
        b"gateway:", b"gateway:80:80", b"gateway:8o", b"gateway:123456", b"gateway,other", b"[::1", b"::1", b"[::1]x",
        b"[gateway]", b"gate%2fway", b"gateway\x0b", b"-gateway", b".gateway", b"http://gateway", b"g\xe4teway", b"a" * 300,
        b"gateway;x", b"gateway'", b"gateway<x>", b"[::1]:123456", b"*",
    ],
)  # fmt: skip
def test_abuse_06_a_host_that_is_no_host_is_refused(host: bytes, port: int, upstream: Upstream):
    each_is_refused(port, upstream, [request(host=host)])


@pytest.mark.parametrize("second", [b"Host: gateway", b"host: gateway", b"HOST: other", b"Host:"])
def test_abuse_06_no_host_or_two_are_refused(second: bytes, port: int, upstream: Upstream):
    each_is_refused(
        port, upstream, [request(second), request(host=None), request(host=None, version=b"1.0")], "request.host"
    )


def test_abuse_06_a_good_host_before_does_not_excuse_a_bad_one(port: int, upstream: Upstream):
    with Client(port) as client:
        for good in (b"gateway", b"gateway", b"10.0.0.1:80", b"[2001:db8::1]:443", b"Gate_way.example."):
            client.send(request(host=good))
            assert client.answer().status == 200
        client.send(request(host=b"gateway/x") + SMUGGLED)
        got = client.answer()
        assert got.reason == "request.host" and client.rest() == b""
    assert len(upstream.requests) == 5


def test_abuse_06_what_is_authorised_is_the_raw_path_whatever_the_host_says(port: int, upstream: Upstream):
    """A server that joins Host and path into one URL would see the path behind the `?` here."""
    each_is_refused(port, upstream, [request(path=b"/health/live", host=b"gateway/openai/v1/chat/completions?")])


@pytest.mark.parametrize(
    "target",
    [
        b"http://elsewhere.example/openai/v1/chat/completions", b"http://gateway/openai/v1/chat/completions",
        b"https://gateway:443/openai/v1/chat/completions", b"//elsewhere.example/openai/v1/chat/completions",
        b"elsewhere.example:443", b"*", b"ftp://elsewhere.example/", b"openai/v1/chat/completions",
        b"http:/openai/v1/chat/completions", b"?x", b"\\openai\\v1\\chat\\completions",
    ],
)  # fmt: skip
def test_abuse_07_the_gateway_is_no_forward_proxy(target: bytes, port: int, upstream: Upstream):
    with Upstream() as elsewhere:
        aimed = target.replace(b"elsewhere.example", b"127.0.0.1:%d" % elsewhere.port)
        for t in (target, aimed):
            got = ask(port, request(path=t))
            assert got.reason in ("request.target", "route.path", "request.malformed"), got
        assert elsewhere.connections == 0
    nothing_passed(port, upstream)


@pytest.mark.parametrize("target", [b"elsewhere.example:443", b"gateway:80", b"/openai/v1/chat/completions"])
def test_abuse_07_connect_is_405(target: bytes, port: int, upstream: Upstream):
    message = b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + (target if b":" in target else b"gateway") + b"\r\n\r\n"
    with Client(port) as client:
        client.send(message + SMUGGLED)
        got = client.answer()
        assert (got.status if b":" in target else got.status // 100) in (405, 4), got
        assert client.rest() == b""
    nothing_passed(port, upstream)


@pytest.mark.parametrize("method", [b"OPTIONS", b"TRACE", b"PUT", b"DELETE", b"PATCH", b"GET", b"HEAD"])
def test_abuse_07_other_methods_are_405_and_echo_nothing(method: bytes, port: int, upstream: Upstream):
    got = ask(port, request(b"x-a: canary", method=method, body=b""), method=method)
    assert got.status == 405 and b"canary" not in got.raw_head + got.body
    assert upstream.requests == []


def test_a_refused_connection_leaves_nothing_behind(gateway: GatewayThread, port: int):
    for message in BAD.values():
        refused(port, message)
    with Client(port) as client:  # accepted after all others were
        client.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.answer().status == 200
        server = gateway.worker.server
        assert gateway.call(lambda: len(server.connections)) <= 2
        assert gateway.call(lambda: len(gateway.worker.bound.live)) == 0
