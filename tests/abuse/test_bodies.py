"""Bodies: bounded in memory and time, read strictly, forwarded as they came."""

import gzip
import socket
from collections.abc import Iterator

import pytest

from sluicegate.core.settings import Listen
from tests.abuse.child import MOST, Child
from tests.abuse.corpus import TE, framed
from tests.abuse.outside import (
    CHAT,
    EVENTS,
    STREAMED,
    Broken,
    Client,
    Upstream,
    ask,
    chunked,
    is_refusal,
    refused,
    request,
    stream,
)
from tests.gateway import GatewayThread, instance, snapshot

DATED = b"/openai/deployments/chat/chat/completions?api-version=2024-10-21"
LIMIT = 32 * 1024 * 1024
PIECE = b" " * 65_536


@pytest.fixture(scope="module")
def child() -> Iterator[tuple[Child, Upstream]]:
    """A worker of its own, warm, to be weighed."""
    with Upstream() as upstream, Child(snapshot([instance(1, upstream.port)])) as child:
        for _ in range(20):
            assert ask(child.port, request()).status == 200
        upstream.forget()
        yield child, upstream


def is_well(child: Child, upstream: Upstream) -> None:
    """Others are served, and nothing before reached the upstream."""
    assert ask(child.port, request(b"x-ms-client-request-id: after")).status == 200
    assert [s.header(b"x-ms-client-request-id") for s in upstream.requests] == [b"after"]
    upstream.forget()


def test_abuse_08_heads_beyond_the_bounds_are_refused_and_memory_stays_flat(child: tuple[Child, Upstream]):
    process, upstream = child
    before = process.memory()
    for _ in range(20):
        for message, reason in (
            (request(b"x-a: " + b"a" * 100_000), "request.headers_too_large"),
            (request(b"a" * 100_000 + b": 1"), "request.headers_too_large"),
            (request(*(b"x-%d: 1" % n for n in range(1000))), "request.headers_too_large"),
            (request(*(b"x-a: 1" for _ in range(1000))), "request.headers_too_large"),
            (request(path=b"/" + b"a" * 65_536), "request.target_too_long"),
        ):
            got = refused(process.port, message)
            assert got and got.status in (431, 414) and got.reason in (reason, "request.headers_too_large")
    assert process.peak() - before < MOST / 8
    is_well(process, upstream)


def test_abuse_08_a_head_that_never_ends_is_refused_at_its_bound(child: tuple[Child, Upstream]):
    process, upstream = child
    before = process.memory()
    for first, endless in (
        (b"", b"POST /"), (b"", b"P"), (b"POST /", b"a"), (b"POST / HTTP/1.1\r\n", b"x: y\r\n"),
        (b"POST / HTTP/1.1\r\n", b"x"), (b"POST / HTTP/1.1\r\nx: ", b"y"), (b"POST / HTTP/1.1\r\nx: ", b" "),
    ):  # fmt: skip
        with Client(process.port) as client:
            client.send(first)
            sent, piece = 0, endless * (4096 // len(endless))
            client.socket.setblocking(False)
            while sent < 64 * 1024 * 1024:
                try:
                    if client.more() or client.was_reset:
                        break
                except BlockingIOError:
                    client.socket.settimeout(5)
                    client.send(piece)
                    client.socket.setblocking(False)
                    sent += len(piece)
            client.socket.settimeout(5)
            got = client.answer()
            assert got.status in (400, 414, 431), got
    assert process.peak() - before < MOST / 4
    is_well(process, upstream)


def test_abuse_08_the_bounds_themselves_are_served(port: int, upstream: Upstream):
    room = 32 * 1024 - 300
    assert ask(port, request(b"x-a: " + b"a" * room)).status == 200
    assert ask(port, request(*(b"x-%d: 1" % n for n in range(90)))).status == 200
    assert ask(port, request(path=b"/openai/v1/chat/completions?x=" + b"a" * 8000)).status == 200


def test_abuse_08_the_listen_settings_are_the_bounds():
    listen = Listen(port=0, head_bytes=2000, head_count=10, target_bytes=100)
    with Upstream() as upstream, GatewayThread(snapshot([instance(1, upstream.port)], listen)) as gateway:
        assert ask(gateway.port, request()).status == 200
        for message, status in (
            (request(b"x-a: " + b"a" * 2000), 431),
            (request(*(b"x-%d: 1" % n for n in range(11))), 431),
            (request(*(b"x: 1" for n in range(11))), 431),
            (request(path=b"/openai/v1/chat/completions?x=" + b"a" * 100), 414),
        ):
            got = refused(gateway.port, message)
            assert got and got.status == status
        assert len(upstream.requests) == 1


def test_abuse_09_a_body_of_1_gb_by_length_is_413_before_a_byte_of_it(child: tuple[Child, Upstream]):
    process, upstream = child
    before = process.memory()
    for size in (b"1073741824", b"33554433", b"999999999999999999"):
        head = request(body=b"").replace(b"Content-Length: 0", b"Content-Length: " + size)
        got = refused(process.port, head, reasons=("request.body_too_large",))
        assert got and got.status == 413
        got = refused(process.port, head, PIECE, PIECE)
        assert got and got.status == 413
    assert process.peak() - before < MOST / 8
    is_well(process, upstream)


def test_abuse_09_a_body_of_1_gb_in_chunks_is_413_when_the_limit_is_passed(child: tuple[Child, Upstream]):
    process, upstream = child
    before = process.memory()
    piece = chunked(PIECE * 4, end=b"")
    with Client(process.port) as client:
        client.send(framed(TE, body=b""))
        sent = 0
        client.socket.setblocking(False)
        while sent < 1024 * 1024 * 1024:
            try:
                if client.more():
                    break
            except BlockingIOError:
                pass
            client.socket.settimeout(10)
            assert client.send(piece)
            client.socket.setblocking(False)
            sent += 4 * len(PIECE)
        client.socket.settimeout(10)
        got = client.answer()
        is_refusal(got, "request.body_too_large")
        assert LIMIT <= sent < LIMIT + 16 * 1024 * 1024
        client.send(piece)
        assert client.rest() == b""
    assert process.peak() - before < MOST
    is_well(process, upstream)


def test_abuse_09_four_large_bodies_at_once_live_on_disk(child: tuple[Child, Upstream]):
    process, upstream = child
    before = process.memory()
    size = 30 * 1024 * 1024
    head = request(body=b"").replace(b"Content-Length: 0", b"Content-Length: %d" % (size + 1))
    clients = [Client(process.port) for _ in range(4)]
    for client in clients:
        client.send(head)
        for _ in range(size // len(PIECE)):
            assert client.send(PIECE)
    assert process.peak() - before < MOST / 4
    for client in clients:
        client.slam()
    is_well(process, upstream)


def test_abuse_09_the_limit_of_a_model_named_in_the_body_holds_too(upstream: Upstream):
    with GatewayThread(snapshot([instance(1, upstream.port)], body_max=1000)) as gateway:
        assert ask(gateway.port, request(body=CHAT + b" " * (1000 - len(CHAT)))).status == 200
        for body in (CHAT + b" " * (1001 - len(CHAT)), CHAT + PIECE):
            for path in (b"/openai/v1/chat/completions", DATED):
                is_refusal(ask(gateway.port, request(path=path, body=body)), "request.body_too_large")
                message = framed(TE, body=chunked(body)).replace(b"/openai/v1/chat/completions", path)
                is_refusal(ask(gateway.port, message), "request.body_too_large")
        assert len(upstream.requests) == 1


def test_abuse_10_a_hundred_thousand_chunks_of_one_byte_cost_little(child: tuple[Child, Upstream]):
    process, upstream = child
    text = CHAT[:-4] + b"x" * (100_000 - len(CHAT)) + CHAT[-4:]
    assert len(text) == 100_000
    wire = framed(TE, body=b"".join(b"1\r\n%c\r\n" % byte for byte in text) + b"0\r\n\r\n")
    before, cpu = process.memory(), process.cpu()
    got = ask(process.port, wire)
    assert process.cpu() - cpu <= 0.5
    assert process.peak() - before < MOST / 8
    assert got.status == 200
    assert upstream.requests[0].body == text.replace(b'"chat"', b'"gpt-4o-1"')
    upstream.forget()


NESTED = 100_000
BOMBS = {
    "nested_arrays": CHAT[:-1] + b',"x":' + b"[" * NESTED + b"]" * NESTED + b"}",
    "nested_objects": CHAT[:-1] + b',"x":' + b'{"a":' * NESTED + b"1" + b"}" * NESTED + b"}",
    "nested_messages": b'{"model":"chat","messages":' + b"[" * NESTED + b"]" * NESTED + b"}",
    "nested_unclosed": CHAT[:-1] + b',"x":' + b"[" * 1_000_000,
    "million_keys": b'{"model":"chat",' + b",".join(b'"k%d":0' % n for n in range(1_000_000)) + b"}",
    "million_equal_keys": b'{"model":"chat"' + b',"k":0' * 1_000_000 + b"}",
    "number_of_1_mb": CHAT[:-1] + b',"x":' + b"1" * 1_000_000 + b"}",
    "number_of_1_mb_where_we_read_one": CHAT[:-1] + b',"max_tokens":' + b"9" * 1_000_000 + b"}",
    "exponent": CHAT[:-1] + b',"n":1e999999999}',
    "duplicate_model": CHAT[:-1] + b',"model":"other"}',
    "duplicate_model_before": b'{"model":"other",' + CHAT[1:],
    "duplicate_model_escaped": CHAT[:-1] + b',"\\u006dodel":"other"}',
    "duplicate_model_escaped_wholly": CHAT[:-1] + b',"\\u006d\\u006F\\u0064\\u0065\\u006c":"other"}',
    "duplicate_equal_model": CHAT[:-1] + b',"model":"chat"}',
    "duplicate_stream": CHAT[:-1] + b',"stream":false,"stream":true}',
}


@pytest.mark.parametrize("name", BOMBS)
def test_abuse_11_a_json_bomb_is_400_and_cheap(name: str, child: tuple[Child, Upstream]):
    process, upstream = child
    before, cpu = process.memory(), process.cpu()
    got = ask(process.port, request(body=BOMBS[name]))
    assert got.status == 400, got
    is_refusal(got)
    assert process.cpu() - cpu <= 0.5
    assert process.peak() - before < MOST
    is_well(process, upstream)


@pytest.mark.parametrize("path", [b"/openai/v1/chat/completions", DATED])
def test_abuse_11_the_model_authorised_is_the_model_forwarded(path: bytes, port: int, upstream: Upstream):
    """However it is spelled, there is one `model` upstream: ours, or (dated) the client's own, which the path overrides."""
    for body in (
        b'{"\\u006dodel":"chat","messages":[]}', b'{"messages":[{"model":"other"}],"model":"\\u0063hat"}',
        b'{"messages":[],"metadata":{"model":"other"},"model" : "chat"}', b' \n{"model":"chat","messages":["\\"model\\":"]} ',
    ):  # fmt: skip
        assert ask(port, request(path=path, body=body)).status == 200
        seen = upstream.requests[-1].body
        assert seen == body if b"deployments" in path else seen.count(b'"gpt-4o-1"') == 1 and b"chat" not in seen


ODD = {
    "lone_surrogate": b'{"model":"chat","messages":[{"role":"user","content":"\\ud800"}]}',
    "lone_low_surrogate_in_a_name": b'{"model":"chat","messages":[],"\\udc00":1}',
    "lone_surrogate_in_the_model": b'{"model":"\\ud800","messages":[]}',
    "invalid_utf_8": b'{"model":"chat","messages":[{"role":"user","content":"\xff\xfe"}]}',
    "invalid_utf_8_in_a_name": b'{"model":"chat","messages":[],"\xff":1}',
    "invalid_utf_8_in_the_model": b'{"model":"\xff","messages":[]}',
    "overlong_utf_8": b'{"model":"chat","messages":["\xc0\xaf"]}',
    "surrogate_as_utf_8": b'{"model":"chat","messages":["\xed\xa0\x80"]}',
    "bom": b"\xef\xbb\xbf" + CHAT,
    "utf_16": CHAT.decode().encode("utf-16"),
    "utf_32": CHAT.decode().encode("utf-32-le"),
    "nan": CHAT[:-1] + b',"temperature":NaN}',
    "infinity": CHAT[:-1] + b',"temperature":Infinity}',
    "minus_infinity": CHAT[:-1] + b',"temperature":-Infinity}',
    "nul": CHAT[:-1] + b',"x":"\x00"}',
    "newline_in_a_string": CHAT[:-1] + b',"x":"a\nb"}',
    "trailing_comma": CHAT[:-1] + b",}",
    "comment": CHAT[:-1] + b"/**/}",
    "single_quotes": CHAT.replace(b'"', b"'"),
    "two_documents": CHAT + CHAT,
    "trailing_garbage": CHAT + b"\x00",
    "leading_zero": CHAT[:-1] + b',"n":01}',
    "array": b"[" + CHAT + b"]",
    "string": b'"chat"',
    "null": b"null",
    "number": b"1",
    "empty": b"",
    "blanks": b" \r\n\t",
    "form": b"model=chat",
    "model_null": b'{"model":null,"messages":[]}',
    "model_number": b'{"model":1,"messages":[]}',
    "model_list": b'{"model":["chat"],"messages":[]}',
    "model_empty": b'{"model":"","messages":[]}',
    "model_long": b'{"model":"' + b"a" * 100_000 + b'","messages":[]}',
    "model_nul": b'{"model":"chat\\u0000","messages":[]}',
    "model_newline": b'{"model":"chat\\r\\nX: y","messages":[]}',
    "stream_text": CHAT[:-1] + b',"stream":"true"}',
    "n_float": CHAT[:-1] + b',"n":1.5}',
    "n_huge": CHAT[:-1] + b',"n":99999999999999999999}',
    "max_tokens_negative": CHAT[:-1] + b',"max_tokens":-1}',
}


@pytest.mark.parametrize("name", ODD)
def test_abuse_12_odd_text_is_refused_or_forwarded_byte_for_byte(name: str, port: int, upstream: Upstream):
    for path in (b"/openai/v1/chat/completions", DATED):
        got = ask(port, request(path=path, body=ODD[name]))
        if got.status == 200:
            seen = upstream.requests[-1].body
            assert (seen if b"deployments" in path else seen.replace(b'"gpt-4o-1"', b'"chat"')) == ODD[name]
        else:
            assert got.status in (400, 404), got
            is_refusal(got)
            assert upstream.requests == []


@pytest.mark.parametrize("coding", [b"gzip", b"GZIP", b"x-gzip", b"deflate", b"br", b"zstd", b"identity, gzip", b"gzip, gzip", b"aes128gcm"])  # fmt: skip
def test_abuse_13_a_packed_body_is_415_unread(coding: bytes, child: tuple[Child, Upstream]):
    process, upstream = child
    before = process.memory()
    bomb = gzip.compress(b"[" * 10_000_000)
    got = refused(process.port, request(b"Content-Encoding: " + coding, body=bomb))
    assert got and (got.status, got.reason) == (415, "request.content_encoding")
    assert process.peak() - before < MOST / 8
    is_well(process, upstream)


def test_abuse_13_a_body_that_is_packed_without_a_word_is_no_json(port: int, upstream: Upstream):
    is_refusal(ask(port, request(body=gzip.compress(CHAT))), "request.invalid_json")
    is_refusal(ask(port, request(b"Content-Encoding: identity", b"Content-Encoding: gzip")), "request.content_encoding")
    assert ask(port, request(b"Content-Encoding: identity")).status == 200
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("kind", [b"text/plain", b"multipart/form-data; boundary=x", b"application/x-www-form-urlencoded", b"application/xml"])  # fmt: skip
def test_another_type_of_content_is_415(kind: bytes, port: int, upstream: Upstream):
    is_refusal(ask(port, request().replace(b"application/json", kind)), "request.content_type")
    assert upstream.requests == []


def test_abuse_17_a_bad_key_is_401_without_reading_the_body(port: int, upstream: Upstream):
    head = request(b"Expect: 100-continue", key="nobody", body=b"").replace(b"Length: 0", b"Length: 30000000")
    with Client(port) as client:
        client.send(head)
        got = client.answer()
        assert (got.status, got.reason, got.header("connection")) == (401, "credential.unknown", b"close")
        assert client.rest() == b""
    with Client(port) as client:
        client.send(head.replace(b"Expect: 100-continue\r\n", b""))
        got = client.answer()
        assert (got.status, got.header("connection")) == (401, b"close")
        assert client.rest() == b"", "the answer came, then the end, though nothing of the body did"
    assert upstream.requests == []


def test_abuse_17_a_good_key_gets_100_and_then_its_answer(port: int, upstream: Upstream):
    with Client(port) as client:
        message = request(b"Expect: 100-continue")
        client.send(message[: -len(CHAT)])
        assert client.answer().status == 100
        assert upstream.requests == []
        client.send(CHAT)
        assert client.answer().status == 200
        client.send(request())
        assert client.answer().status == 200


def test_a_refusal_is_read_even_by_a_client_that_goes_on_writing(port: int):
    """Without taking what still comes, the kernel would answer it with a reset that overtakes the refusal."""
    for _ in range(10):
        with Client(port) as client:
            client.send(request(key="nobody", body=b"").replace(b"Length: 0", b"Length: 3000000"))
            for _ in range(10):
                if not client.send(PIECE):
                    raise Broken("reset before the refusal was read")
            assert client.answer().status == 401 and not client.was_reset


def test_a_large_good_body_arrives_whole(child: tuple[Child, Upstream]):
    process, upstream = child
    before = process.memory()
    text = CHAT[:-4] + b"x" * (LIMIT - len(CHAT)) + CHAT[-4:]
    assert ask(process.port, request(path=DATED, body=text)).status == 200
    assert upstream.requests[0].body == text
    assert process.peak() - before < MOST
    upstream.forget()


def test_what_a_client_announces_costs_nothing_until_it_comes(child: tuple[Child, Upstream]):
    process, upstream = child
    before = process.memory()
    head = request(body=b"").replace(b"Content-Length: 0", b"Content-Length: %d" % LIMIT)
    clients = [Client(process.port) for _ in range(200)]
    for client in clients:
        client.send(head, b"{")
    with Client(process.port) as last:
        last.send(request())
        assert last.answer().status == 200
    assert process.peak() - before < 200 * 25 * 1024
    for client in clients:
        client.socket.shutdown(socket.SHUT_RDWR)
        client.socket.close()
    upstream.forget()


@pytest.mark.parametrize(
    "message",
    [
        request(b"x-a: " + b"a" * 100_000),
        request(b"Connection: close", body=CHAT[:-4] + b"x" * 100_000 + CHAT[-4:]),
        request(b"x-a: " + b"a" * 30_000, key="nobody", body=b" " * 70_000)[:-1],
    ],
    ids=["refused_head", "served", "refused_and_not_ended"],
)
def test_what_gone_clients_sent_is_not_kept(message: bytes, child: tuple[Child, Upstream]):
    """Parser, connection, request and exchange hold each other: what does not let go waits for a full collection."""
    process, upstream = child
    ask(process.port, message)
    before = process.memory()
    for _ in range(300):
        ask(process.port, message)
    assert process.peak() - before < MOST / 8
    upstream.forget()


@pytest.mark.parametrize("body", [CHAT, STREAMED], ids=["plain", "stream"])
def test_bodies_of_answered_requests_are_not_kept(body: bytes, child: tuple[Child, Upstream]):
    process, upstream = child
    upstream.answer = stream(*EVENTS) if body is STREAMED else upstream.answer
    message = request(body=body[:-4] + b"x" * 500_000 + body[-4:])
    with Client(process.port) as client:
        client.send(message)
        assert client.answer().status == 200
        before = process.memory()
        for _ in range(60):
            client.send(message)
            assert client.answer().status == 200
    assert process.peak() - before < MOST / 4
    upstream.forget()
