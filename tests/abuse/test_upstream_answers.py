"""What an upstream may do to us and to our clients: nothing. Its lies fail over, its floods are cut, its secrets stay."""

import datetime
import gzip
import ipaddress
import random
import socket
import ssl
import threading
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sluicegate.core.settings import Timeouts
from tests.abuse.child import MOST, Child
from tests.abuse.outside import (
    ANSWER,
    CHAT,
    EVENTS,
    STREAMED,
    Answer,
    Client,
    Seen,
    Upstream,
    answer,
    ask,
    chunked,
    is_refusal,
    request,
    stream,
    then_close,
)
from tests.gateway import UPSTREAM_KEY, GatewayThread, instance, snapshot

WHOLE = stream(*EVENTS)
SHOWN = b"".join(EVENTS[:3] + EVENTS[4:])
"""What the client sees of it: the usage event is there because the gateway asked for it."""

SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
HEAD = WHOLE.index(b"\r\n\r\n") + 4


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[GatewayThread, Upstream, Upstream]]:
    """A gateway with two members: one that lies, one that is good."""
    with Upstream() as bad, Upstream() as good:
        with GatewayThread(snapshot([instance(1, bad.port), instance(2, good.port)])) as gateway:
            yield gateway, bad, good


@pytest.fixture
def bad(pair: tuple[GatewayThread, Upstream, Upstream]) -> Iterator[Upstream]:
    pair[2].answer = lambda seen, s: s.sendall(WHOLE if b'"stream":true' in seen.body else answer()) or True
    yield pair[1]
    pair[1].hang_up()
    pair[1].forget()
    pair[2].forget()


@pytest.fixture
def behind(pair: tuple[GatewayThread, Upstream, Upstream], bad: Upstream) -> int:
    """Port of the gateway with both."""
    return pair[0].port


def fails_over(port: int, upstream: Upstream, body: bytes = CHAT) -> Answer:
    """The bad member was asked, and the client sees a whole good answer of the other."""
    before = len(upstream.requests)
    got = ask(port, request(body=body))
    assert got.status == 200 and got.whole, got
    if body == CHAT:
        assert got.body == ANSWER
    else:
        assert got.events()[-1] == b"data: [DONE]" and b"error" not in got.body
    assert len(upstream.requests) == before + 1
    return got


def broken_off(got: Answer) -> None:
    """A stream whose end says that it is not whole, in a way that SDKs raise: never `[DONE]`, never a clean end."""
    assert b"[DONE]" not in got.body
    *_, last = got.events()
    assert got.whole and last.startswith(b'data: {"error":{'), got.body
    assert b"reason" in last


# ---------------------------------------------------------------- 73, 74: what is not whole


def test_abuse_73_a_stream_cut_at_any_byte_fails_over_or_says_that_it_broke(
    pair: tuple[GatewayThread, Upstream, Upstream], behind: int, bad: Upstream
):
    """Before the first event nothing is committed: the other member answers. After it: an error frame, never a clean
    end. From the last byte of `[DONE]` on the answer is whole."""
    first = HEAD + WHOLE[HEAD:].index(b"\n\n") + 2
    done = WHOLE.index(b"[DONE]\n\n") + 8
    for at in range(1, len(WHOLE)):
        bad.answer = then_close(WHOLE[:at])
        pair[0].forget()  # what it carried so far: it has its turn again
        got = ask(behind, request(body=STREAMED))
        assert got.status == 200 and got.whole, at
        if at < first:
            assert got.body == SHOWN, at
        elif at < done:
            broken_off(got)
            assert SHOWN.startswith(got.body[: got.body.index(b'data: {"error"')]), at
        else:
            assert got.body == SHOWN, at


@pytest.mark.parametrize(
    ("where", "mark"),
    [("inside a character", b"hel\xc3"), ("inside JSON", b'"content":"he'), ("after the beginning of a tool call", b'"arguments":"{"}}]'),
     ("between events", EVENTS[1]), ("after the finish reason", EVENTS[2]), ("after the usage", EVENTS[3]), ("inside [DONE]", b"[DON")],
)  # fmt: skip
@pytest.mark.parametrize("end", ["fin", "rst", "end of chunks", "broken chunk"])
def test_abuse_73_however_a_stream_breaks_off_it_never_looks_whole(
    where: str, mark: bytes, end: str, behind: int, bad: Upstream
):
    said = b"".join(EVENTS)
    cut = said[: said.index(mark) + len(mark)]
    once = b"data: {" + EVENTS[0][7:]  # so that something is committed wherever it breaks
    tail = {"end of chunks": b"0\r\n\r\n", "broken chunk": b"xyz\r\n"}.get(end, b"")
    bad.answer = then_close(stream(once, cut, end=tail), reset=end == "rst")
    got = ask(behind, request(body=STREAMED))
    complete = where in ("after the finish reason", "after the usage") and end == "end of chunks"
    if complete:  # every choice has its finish_reason and the message is whole by its framing: so is the answer
        assert got.whole and b"error" not in got.body
    else:
        broken_off(got)


def test_abuse_73_an_answer_cut_at_any_byte_fails_over(
    pair: tuple[GatewayThread, Upstream, Upstream], behind: int, bad: Upstream
):
    whole = answer()
    packets = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(
        ANSWER[:50], ANSWER[50:]
    )
    for said in (whole, packets):
        for at in range(len(said)):
            bad.answer = then_close(said[:at])
            pair[0].forget()  # as above
            fails_over(behind, bad)


LIES: dict[str, bytes] = {
    "html_with_200": answer(b"<html>sign in</html>", kind=b"text/html"),
    "html_as_json": answer(b"<html>sign in</html>"),
    "error_with_200": answer(b'{"error":{"message":"no","code":"500"}}'),
    "two_documents": answer(ANSWER + ANSWER),
    "two_documents_on_two_lines": answer(ANSWER + b"\n" + ANSWER),
    "no_choices": answer(b'{"id":"c","choices":[]}'),
    "another_object": answer(b'{"object":"list","data":[]}'),
    "array": answer(b"[" + ANSWER + b"]"),
    "null": answer(b"null"),
    "nothing": answer(b""),
    "half_a_document": answer(ANSWER[:-20]),
    "length_too_long": answer().replace(b"Content-Length: ", b"Content-Length: 9"),
    "length_too_short": answer().replace(b"Content-Length: %d" % len(ANSWER), b"Content-Length: %d" % (len(ANSWER) - 5)),
    "two_lengths": answer().replace(b"Content-Length", b"Content-Length: 3\r\nContent-Length"),
    "length_and_chunked": answer(ANSWER, b"200 OK", b"Transfer-Encoding: chunked"),
    "chunked_and_length": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
    + chunked(ANSWER),
    "stream_nobody_asked_for": WHOLE,
    "no_type": answer().replace(b"Content-Type: application/json\r\n", b""),
    "no_http": b"SSH-2.0-OpenSSH_9.9\r\n",
    "http_0_9": b"hello\r\n\r\n",
    "http_2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18,
    "switching_protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + answer(),
    "status_99": answer(ANSWER, b"099 Odd"),
    "status_999": answer(ANSWER, b"999 Odd"),
    "no_content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "created": answer(ANSWER, b"299 Odd"),
    "thousand_headers": answer(ANSWER, b"200 OK", *(b"x-%d: 1" % n for n in range(1000))),
    "header_of_1_mb": answer(ANSWER, b"200 OK", b"x-a: " + b"a" * 1_000_000),
    "thousand_interim": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 1000 + answer(),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_abuse_74_what_is_no_answer_is_a_failure_of_that_member(name: str, behind: int, bad: Upstream):
    bad.answer = then_close(LIES[name])
    fails_over(behind, bad)


@pytest.mark.parametrize("name", LIES)
def test_abuse_74_without_another_member_the_client_gets_our_503(name: str, port: int, upstream: Upstream):
    upstream.answer = then_close(LIES[name])
    got = ask(port, request())
    assert got.whole
    is_refusal(got, "pool.failed")
    assert got.header("retry-after") == b"1" and b"sign in" not in got.body


STREAM_LIES: dict[str, bytes] = {
    "json_to_a_stream": answer(),
    "html": answer(b"<html>", kind=b"text/html"),
    "html_as_events": stream(b"<html>\n\n<body>\n\n"),
    "error_first": stream(b'data: {"error":{"message":"no","code":"500"}}\n\n', b"data: [DONE]\n\n"),
    "done_only": stream(b"data: [DONE]\n\n"),
    "comments_only": stream(b": hello\n\n" * 10),
    "nothing": stream(),
    "no_event": stream(b"retry: 1\n\n", b"id: 1\n\n"),
    "other_object_first": stream(b'data: {"hello":1}\n\n', *EVENTS),
    "no_json_first": stream(b"data: hello\n\n", *EVENTS),
    "array_first": stream(b"data: []\n\n", *EVENTS),
    "length_and_chunked": stream(*EVENTS, headers=(b"Content-Length: 5",)),
}


@pytest.mark.parametrize("name", STREAM_LIES)
def test_abuse_74_a_stream_that_begins_with_a_lie_fails_over_unseen(name: str, behind: int, bad: Upstream):
    bad.answer = then_close(STREAM_LIES[name])
    fails_over(behind, bad, STREAMED)


def test_abuse_74_an_error_inside_a_stream_is_passed_on_and_is_its_end(behind: int, bad: Upstream):
    error = b'data: {"error":{"message":"overloaded","type":"server_error","code":"500"}}\n\n'
    begun = threading.Event()

    def script(seen: Seen, s: socket.socket) -> bool:
        s.sendall(SSE + EVENTS[0])
        assert begun.wait(10)
        s.sendall(error + b"".join(EVENTS))
        return False

    bad.answer = script
    with Client(behind) as client:
        client.send(request(body=STREAMED))
        received = client.until(EVENTS[0])
        begun.set()
        client.buffer = received + client.buffer
        got = client.answer()
    assert got.whole and got.body == EVENTS[0] + error


@pytest.mark.parametrize(
    "event", [b"data: <html>\n\n", b"data: {\n\n", b'data: {"choices":5}\n\n', b"data: \xff\xfe\n\n", b"data: []\n\n"]
)
def test_abuse_74_a_broken_event_inside_a_stream_never_ends_in_success(event: bytes, behind: int, bad: Upstream):
    bad.answer = stream(EVENTS[0], event, *EVENTS[2:])
    got = ask(behind, request(body=STREAMED))
    broken_off(got)
    assert event not in got.body


# ---------------------------------------------------------------- 14, 75: floods


@pytest.fixture(scope="module")
def weighed() -> Iterator[tuple[Child, Upstream]]:
    with (
        Upstream() as upstream,
        Child(snapshot([instance(1, upstream.port)], timeouts=Timeouts(2, 10, 10, 30))) as child,
    ):
        for body in (CHAT, STREAMED) * 10:
            upstream.answer = answer() if body is CHAT else WHOLE
            assert ask(child.port, request(body=body)).status == 200
        yield child, upstream


ZEROS = b'{"choices":[' + b" " * 20_000_000


def packed(coding: str) -> bytes:
    """1,000:1."""
    if coding == "gzip":
        return gzip.compress(ZEROS)
    if coding == "deflate":
        return zlib.compress(ZEROS)
    return random.Random(1).randbytes(20_000)  # br and zstd: nobody unpacks, so nobody sees what it is


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "x-unknown"])
@pytest.mark.parametrize("body", [CHAT, STREAMED], ids=["plain", "stream"])
def test_abuse_14_a_packed_answer_is_refused_unread_and_others_live(
    coding: str, body: bytes, weighed: tuple[Child, Upstream]
):
    child, upstream = weighed
    bomb = packed(coding)
    kind = b"application/json" if body is CHAT else b"text/event-stream"
    upstream.answer = answer(bomb, b"200 OK", b"Content-Encoding: " + coding.encode(), kind=kind)
    before, cpu = child.memory(), child.cpu()
    is_refusal(ask(child.port, request(body=body)), "pool.failed")
    assert child.peak() - before < MOST / 4 and child.cpu() - cpu < 0.2
    upstream.answer = answer()
    assert ask(child.port, request()).status == 200
    assert upstream.requests[-2].header(b"accept-encoding") == b"identity", "nobody asked for it"


class Flood:
    """Says `first`, then `again` until nobody takes it or `most` bytes were said; a fast sender on a socket of its own."""

    def __init__(self, first: bytes, again: bytes, most: int = 256 * 1024 * 1024) -> None:
        self.first, self.again, self.most = first, again, most
        self.sent = 0
        self.over = threading.Event()

    def __call__(self, seen: Seen, s: socket.socket) -> bool:
        try:
            s.sendall(self.first)
            while self.sent < self.most:
                s.sendall(self.again)
                self.sent += len(self.again)
        except OSError:
            pass
        finally:
            self.over.set()
        return False


PIECE = b"a" * 65_536
FLOODS = {
    "line_without_end": (SSE + b"data: ", PIECE),
    "line_without_end_after_an_event": (SSE + EVENTS[0] + b"data: ", PIECE),
    "line_in_an_event_that_is_read": (SSE + EVENTS[0] + b'data: {"choices":[{"delta":{"content":"', PIECE),
    "carriage_returns": (SSE + EVENTS[0], b"\r" * 65_536),
    "newlines": (SSE + EVENTS[0], b"\n" * 65_536),
    "a_million_comments": (SSE, b":\n\n" * 20_000),
    "a_million_comments_after_an_event": (SSE + EVENTS[0], b":\n\n" * 20_000),
    "a_million_empty_events": (SSE + EVENTS[0], b"data:\n\n" * 10_000),
    "a_million_ids": (SSE + EVENTS[0], b"id: 1\n\n" * 10_000),
    "lines_without_an_event": (SSE + EVENTS[0], b"data: x\n" * 8_000),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"x-a: 1\r\n" * 8000),
    "header": (b"HTTP/1.1 200 OK\r\nx-a: ", PIECE),
    "interim_answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
    "error_without_end": (b"HTTP/1.1 500 Oops\r\n\r\n", PIECE),
    "refusal_without_end": (b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\r\n{", PIECE),
    "after_done": (SSE + b"".join(EVENTS), PIECE),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOODS)
def test_abuse_75_a_flood_is_cut_and_recorded_in_bounded_memory(name: str, weighed: tuple[Child, Upstream]):
    child, upstream = weighed
    upstream.answer = flood = Flood(*FLOODS[name])
    before, cpu = child.memory(), child.cpu()
    got = ask(child.port, request(body=STREAMED))
    assert flood.over.wait(10)
    assert flood.sent < 64 * 1024 * 1024, f"{flood.sent} bytes were taken"
    assert child.peak() - before < MOST
    assert child.cpu() - cpu < 2
    if name == "after_done":
        assert got.body == SHOWN
    elif got.status == 200:
        assert b"[DONE]" not in got.body
        if got.whole:
            broken_off(got)
    else:
        is_refusal(got, "pool.failed")
    upstream.answer = answer()
    assert ask(child.port, request()).status == 200


UNREAD = {
    "trailers": (SSE.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n") + chunked(*EVENTS, end=b"0\r\n"), b"x-a: 1\r\n" * 8000),
    "chunk_extension": (SSE.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n") + chunked(EVENTS[0], end=b"5;"), PIECE),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREAD)
def test_abuse_75_a_flood_of_bytes_that_are_no_content_ends_with_the_idle_time(name: str):
    """Nothing of it reaches the driver, so it counts as silence."""
    with (
        Upstream() as upstream,
        Child(snapshot([instance(1, upstream.port)], timeouts=Timeouts(2, 0.5, 0.5, 30))) as child,
    ):
        upstream.answer = flood = Flood(*UNREAD[name], most=1 << 40)
        before = child.memory()
        got = ask(child.port, request(body=STREAMED))
        if name == "trailers":
            assert got.body == SHOWN
        else:
            broken_off(got)
        assert flood.over.wait(10)
        assert child.peak() - before < MOST / 4


def test_abuse_75_a_stream_without_end_passes_in_bounded_memory_and_ends_with_its_time():
    """Proper events for ever are an answer, as far as anybody can tell: `timeouts.total` is what ends it."""
    with (
        Upstream() as upstream,
        Child(snapshot([instance(1, upstream.port)], timeouts=Timeouts(2, 1, 1, 1.0))) as child,
    ):
        upstream.answer = flood = Flood(SSE, EVENTS[0] * 700, most=1 << 40)
        before = child.memory()
        got = ask(child.port, request(body=STREAMED))
        assert flood.over.wait(10)
        broken_off(got)
        assert b"stream.total" in got.body[-400:]
        assert child.peak() - before < MOST


def test_abuse_75_a_large_answer_passes_a_client_that_does_not_read_in_bounded_memory(weighed: tuple[Child, Upstream]):
    child, upstream = weighed
    upstream.answer = flood = Flood(SSE, EVENTS[0] * 700)
    before = child.memory()
    with Client(child.port, receive=4096) as client:
        client.send(request(body=STREAMED))
        client.until(b"data: ")
        with Client(child.port) as other:  # served meanwhile
            upstream.answer = answer()
            other.send(request())
            assert other.answer().status == 200
        assert child.peak() - before < 4 * 1024 * 1024
    assert flood.over.wait(10), "the upstream is cancelled when the client leaves"
    assert flood.sent < 16 * 1024 * 1024


# ---------------------------------------------------------------- 31, 32: where it points to, who it is


@pytest.mark.parametrize(
    "status",
    [
        b"301 Moved",
        b"302 Found",
        b"303 See Other",
        b"307 Temporary Redirect",
        b"308 Permanent Redirect",
        b"300 Choices",
    ],
)
@pytest.mark.parametrize("body", [CHAT, STREAMED], ids=["plain", "stream"])
def test_abuse_31_a_redirect_is_not_followed_and_no_credential_travels(
    status: bytes, body: bytes, port: int, upstream: Upstream
):
    with Upstream() as elsewhere:
        where = b"http://127.0.0.1:%d/openai/v1/chat/completions" % elsewhere.port
        upstream.answer = answer(
            b"{}", status, b"Location: " + where, b"Refresh: 0; url=" + where, b"Content-Location: " + where
        )
        got = ask(port, request(body=body))
        is_refusal(got, "pool.failed")
        assert where not in got.raw_head + got.body
        assert elsewhere.connections == 0
    assert len(upstream.requests) == 1


def certificate(folder: Path, host: str, days: tuple[int, int] = (-1, 1), signer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None = None,
                name: str = "server") -> tuple[tuple[x509.Name, ec.EllipticCurvePrivateKey], Path, Path]:  # fmt: skip
    """A certificate for a host; without a signer one that signs itself, and others."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, issuer_key = signer or (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        alternative = x509.DNSName(host)
    begun = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    begun = begun.not_valid_before(now + datetime.timedelta(days=days[0])).not_valid_after(
        now + datetime.timedelta(days=days[1])
    )
    begun = begun.add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    begun = begun.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    made = begun.sign(issuer_key, hashes.SHA256())
    pem, key_pem = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return (subject, key), pem, key_pem


@pytest.mark.parametrize(
    ("what", "good"),
    [("good", True), ("expired", False), ("not yet valid", False), ("other host", False), ("unknown authority", False),
     ("signs itself", False), ("tls 1.1", False), ("no tls", False)],
)  # fmt: skip
def test_abuse_32_an_upstream_that_cannot_show_who_it_is_gets_no_byte_of_a_request(
    what: str, good: bool, tmp_path: Path
):
    ca, ca_pem, _ = certificate(tmp_path, "authority", name="ca")
    signer = {"unknown authority": certificate(tmp_path, "x", name="other-ca")[0], "signs itself": None}.get(what, ca)
    days = {"expired": (-3, -1), "not yet valid": (1, 3)}.get(what, (-1, 1))
    _, pem, key = certificate(tmp_path, "elsewhere.example" if what == "other host" else "localhost", days, signer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    if what == "tls 1.1":
        context.set_ciphers("ECDHE:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Upstream(None if what == "no tls" else context) as upstream:
        made = instance(1, upstream.port, scheme="https", host="localhost", ca=str(ca_pem))
        with GatewayThread(snapshot([made], timeouts=Timeouts(connect=1.0 if what == "no tls" else 5.0))) as gateway:
            got = ask(gateway.port, request())
        if good:
            assert got.status == 200 and len(upstream.requests) == 1
        else:
            is_refusal(got, "pool.failed")
            assert upstream.requests == []
            assert not any(UPSTREAM_KEY.encode() in g or b"POST" in g for g in upstream.garbage)
        assert upstream.connections == 1 or not good


# ---------------------------------------------------------------- 52, 76: what must not come down

LEAKS = (
    b"Set-Cookie: session=canary", b"Server: canary", b"X-Powered-By: canary", b"x-ms-region: canary", b"x-ms-deployment-name: canary",
    b"azureml-model-session: canary", b"x-aml-cluster: canary", b"X-Internal-Host: canary.internal", b"Via: 1.1 canary", b"Alt-Svc: h2=canary",
    b"x-envoy-upstream-service-time: canary", b"azure-openai-deployment-utilization: 99%", b"openai-organization: canary",
    b"openai-project: canary", b"x-sluicegate-reason: canary", b"x-sluicegate-request-id: canary", b"WWW-Authenticate: Bearer canary",
    b"Location: http://canary", b"Strict-Transport-Security: canary", b"Access-Control-Allow-Origin: canary", b"Link: <canary>",
    b"Trailer: canary", b"x-ms-rai-policy: canary", b"x-ms-spillover-from-deployment: canary", b"X-Accel-Redirect: /canary", b"Refresh: canary",
    b"Content-Location: canary", b"Report-To: canary", b"Connection: keep-alive, canary", b"Proxy-Authenticate: canary", b"retry-after: 77",
)  # fmt: skip


@pytest.mark.parametrize("body", [CHAT, STREAMED], ids=["plain", "stream"])
def test_abuse_76_headers_of_an_upstream_come_down_only_from_the_list(body: bytes, port: int, upstream: Upstream):
    listed = (b"x-request-id: r", b"apim-request-id: a", b"x-ratelimit-remaining-tokens: 5")
    upstream.answer = (
        answer(ANSWER, b"200 OK", *LEAKS, *listed) if body is CHAT else stream(*EVENTS, headers=(*LEAKS, *listed))
    )
    got = ask(port, request(body=body))
    assert got.status == 200 and b"canary" not in got.raw_head and b"99%" not in got.raw_head
    assert {n for n, _ in got.headers} == {
        "date", "content-type", "x-sluicegate-request-id", "x-request-id", "apim-request-id", "x-ratelimit-remaining-tokens",
        "content-length" if body is CHAT else "transfer-encoding",
    }  # fmt: skip
    upstream.answer = answer(
        b'{"error":{"message":"too long","code":"context_length_exceeded"}}', b"400 Bad Request", *LEAKS, *listed
    )
    got = ask(port, request(body=body))
    assert got.status == 400 and b"canary" not in got.raw_head and b"too long" in got.body


FRAGMENT = UPSTREAM_KEY[:12].encode()


@pytest.mark.parametrize(
    "status",
    [
        b"401 Unauthorized",
        b"403 Forbidden",
        b"404 Not Found",
        b"407 Proxy",
        b"500 Oops",
        b"503 Busy",
        b"429 Slow",
        b"418 Tea",
    ],
)
@pytest.mark.parametrize("body", [CHAT, STREAMED], ids=["plain", "stream"])
def test_abuse_52_an_upstream_that_echoes_our_key_is_not_quoted(
    status: bytes, body: bytes, port: int, upstream: Upstream
):
    error = b'{"error":{"code":"401","message":"Incorrect API key provided: %b. Host i1.internal, key %b***."}}' % (
        UPSTREAM_KEY.encode(),
        FRAGMENT,
    )
    for kind in (b"application/json", b"text/html"):
        upstream.answer = answer(
            error, status, b"x-request-id: " + FRAGMENT[:3], b"x-debug: " + UPSTREAM_KEY.encode(), kind=kind
        )
        got = ask(port, request(body=body))
        is_refusal(got, "pool.failed", "pool.throttled")
        assert got.status in (503, 429) and (got.status == 429) == status.startswith(b"429")
        for secret in (UPSTREAM_KEY.encode(), FRAGMENT, b"internal", b"gpt-4o-1", b"i1"):
            assert secret not in got.raw_head + got.body


# ---------------------------------------------------------------- 77, 89: connections in doubt

DOUBTFUL: dict[str, bytes] = {
    "answer_behind": answer() + answer(ANSWER.replace(b"hello", b"stolen")),
    "half_an_answer_behind": answer() + answer()[:30],
    "garbage_behind": answer() + b"xyz",
    "close": answer(ANSWER, b"200 OK", b"Connection: close"),
    "http_1_0": answer().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "answer_behind_a_stream": WHOLE + answer(ANSWER.replace(b"hello", b"stolen")),
    "chunk_behind_a_stream": WHOLE + chunked(b"data: stolen\n\n"),
    "answer_behind_an_error": answer(b"{}", b"400 Bad Request") + answer(ANSWER.replace(b"hello", b"stolen")),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_abuse_77_a_connection_in_doubt_serves_nobody_else(name: str, port: int, upstream: Upstream):
    """What came behind an answer would be the answer of the next caller."""
    body = STREAMED if "stream" in name else CHAT
    for said in (DOUBTFUL[name], [DOUBTFUL[name], answer()]):
        upstream.hang_up()
        upstream.forget()
        first = upstream.connections
        upstream.answer = said
        with Client(port) as client:
            client.send(request(body=body))
            assert client.answer().status in (200, 400)
            upstream.answer = answer()
            for _ in range(3):
                client.send(request())
                got = client.answer()
                assert got.status == 200 and got.body == ANSWER
        used = [seen.connection for seen in upstream.wait(4)]
        assert used[0] not in used[1:] and used[0] > first


@pytest.mark.parametrize("body", [CHAT, STREAMED], ids=["plain", "stream"])
def test_abuse_77_a_cancelled_call_leaves_no_answer_for_the_next(body: bytes, port: int, upstream: Upstream):
    arrived, go = threading.Event(), threading.Event()

    def late(seen: Seen, s: socket.socket) -> bool:
        s.sendall(SSE + EVENTS[0])
        arrived.set()
        go.wait(10)
        s.sendall(answer(ANSWER.replace(b"hello", b"stolen")))
        return False

    upstream.answer = late
    with Client(port) as client:
        client.send(request(body=STREAMED))
        client.until(b"data: ")
        assert arrived.wait(10)
        client.slam()
    upstream.answer = answer() if body is CHAT else WHOLE
    go.set()
    for _ in range(5):
        got = ask(port, request(body=body))
        assert got.status == 200 and got.whole and b"stolen" not in got.body
    assert upstream.requests[0].connection not in [s.connection for s in upstream.requests[1:]]


LARGE = CHAT[:-4] + b"x" * 20_000_000 + CHAT[-4:]


@pytest.mark.parametrize("status", [b"429 Too Many Requests", b"413 Content Too Large", b"400 Bad Request", b"200 OK"])
@pytest.mark.parametrize("ends", ["keeps open", "closes", "resets"])
def test_abuse_89_an_answer_that_comes_before_the_body_was_written_ends_its_connection(
    status: bytes, ends: str, upstream: Upstream
):
    early, seen_heads = threading.Event(), []
    says = ANSWER if status.startswith(b"200") else b'{"error":{"code":"429","message":"slow down"}}'
    said = answer(says, status, b"retry-after: 7")

    def serve(listener: socket.socket) -> None:
        while True:
            s, _ = listener.accept()
            with s:
                head = s.recv(2000)
                if not head:
                    return
                seen_heads.append(head)
                s.sendall(said if not early.is_set() else b"")
                if ends == "keeps open" and not early.is_set():
                    early.set()
                    while s.recv(262144):  # the rest of the body, or the end
                        pass
                elif not early.is_set():
                    early.set()
                    if ends == "resets":
                        continue
                else:
                    size = len(head)
                    while b'"hi"}]}' not in head:
                        head = s.recv(65536)
                        size += len(head)
                    s.sendall(answer())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        with GatewayThread(snapshot([instance(1, port)])) as gateway, Client(gateway.port) as client:
            client.send(request(path=b"/openai/deployments/chat/chat/completions?api-version=2024-10-21", body=LARGE))
            got = client.answer()
            if got.status == 503:  # the reset overtook the answer
                assert ends != "keeps open"
            else:
                assert got.status == int(status[:3]), got
            gateway.forget()  # the 429 shut the deployment
            client.send(request())
            assert client.answer().status == 200
        assert len(seen_heads) == 2 and seen_heads[1].startswith(b"POST /openai/v1/")
        with socket.create_connection(("127.0.0.1", port)):
            pass
        thread.join(10)
