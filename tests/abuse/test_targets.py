"""Paths, queries and headers: what selects is matched byte for byte, what does not is dropped, nothing is rebuilt."""

import pytest

from tests.abuse.outside import (
    ANSWER,
    CHAT,
    PATH,
    STREAMED,
    Client,
    Upstream,
    ask,
    is_refusal,
    refused,
    request,
    stream,
)
from tests.gateway import GatewayThread

DEPLOYMENT = b"/openai/deployments/chat/chat/completions"
DATED = DEPLOYMENT + b"?api-version=2024-10-21"


def dated(name: bytes, rest: bytes = b"/chat/completions", query: bytes = b"?api-version=2024-10-21") -> bytes:
    return b"/openai/deployments/" + name + rest + query


def plain(upstream: Upstream, port: int, *headers: bytes, path: bytes = PATH, body: bytes = CHAT) -> bytes:
    """What reaches the upstream for a request with these headers."""
    assert ask(port, request(*headers, path=path, body=body)).status == 200
    return upstream.requests[-1].raw


@pytest.mark.parametrize(
    "name",
    [
        b"a%2f..%2fb", b"chat%2f..%2fchat", b"..", b".", b"chat/..", b"chat/../chat", b"./chat", b"/chat", b"", b"chat;x",
        b";chat", b"chat%00", b"%63hat", b"%2563hat", b"chat%2e", b"chat%20", b"chat+", b"chat%0d%0aHost:%20x", b"chat%0a",
        b"chat\\..", b"chat:443", b"chat@x", b"chat,chat", b"*", b"chat*", b"CHAT", b"$chat", b"a" * 65, b"a" * 5000,
        b"169.254.169.254", b"%c0%ae%c0%ae", b"..%5c", b"chat%23", b"chat%3f",
    ],
)  # fmt: skip
def test_abuse_24_a_deployment_that_is_not_a_plain_known_name_is_404(name: bytes, port: int, upstream: Upstream):
    got = ask(port, request(path=dated(name)))
    is_refusal(got, "route.path", "route.model")
    assert got.status == 404
    assert upstream.requests == []


@pytest.mark.parametrize(
    "path",
    [
        b"//openai/v1/chat/completions", b"///openai/chat/completions", b"//v1/chat/completions", b"//health/live",
        b"/openai//deployments/chat/chat/completions", b"//openai//chat/completions", b"/openai//v1/chat/completions", b"/openai/v1/chat/completions/",
        b"/openai/v1/../v1/chat/completions", b"/openai/v1/./chat/completions", b"/openai/v1/chat/completions;x",
        b"/openai/v1/chat%2fcompletions", b"/openai/v1/chat/completions%00", b"/openai/v1/chat/completions%3fx",
        b"/OPENAI/V1/chat/completions", b"/openai/v1/chat/completions/..", b"/", b"/openai", b"/openai/v1",
        b"/openai/deployments/chat", b"/openai/deployments/chat/", b"/openai/deployments/chat/chat/completions/extra",
        b"/openai/deployments/chat/embeddings/../chat/completions", b"/.well-known/x", b"/metrics", b"/health", b"/docs",
        b"/health/live/", b"/health/live;x", b"/health/%6cive", b"/..//health/live", b"/admin", b"/v1/chat/completions%20",
    ],
)  # fmt: skip
def test_abuse_24_a_path_that_is_not_in_the_table_is_404(path: bytes, port: int, upstream: Upstream):
    got = ask(port, request(path=path))
    is_refusal(got, "route.path")
    assert upstream.requests == []


@pytest.mark.parametrize("byte", [*range(0x21), 0x23, *range(0x7F, 0x100)])
def test_abuse_24_a_byte_that_no_target_holds_is_refused(byte: int, port: int, upstream: Upstream):
    assert refused(port, request(path=dated(b"ch" + bytes((byte,)) + b"at"))) or byte in (0x0A, 0x0D)
    assert upstream.requests == []


def test_abuse_25_a_query_in_a_deployment_name_never_reaches_the_upstream(port: int, upstream: Upstream):
    """What an SDK sends that pastes the name `chat?x=1#y` into its URL, and what might follow."""
    for path in (b"/openai/deployments/chat?x=1/chat/completions?api-version=2024-10-21", dated(b"chat%3fx=1"),
                 b"/openai/deployments/chat?/chat/completions"):  # fmt: skip
        is_refusal(ask(port, request(path=path)), "route.path")
    assert refused(port, request(path=b"/openai/deployments/chat#y/chat/completions?api-version=2024-10-21"))
    assert upstream.requests == []


@pytest.mark.parametrize(
    "query",
    [
        b"?api-version=2024-10-21&x=1", b"?x=1&api-version=2024-10-21", b"?api-version=2024-10-21&code=k&api-key=s",
        b"?api-version=2024-10-21&&", b"?api-version=2024-10-21?api-version", b"?%61pi-version=1999-01-01&api-version=2024-10-21",
        b"?api-version=2024-10-21&api-version=2024-10-21",
    ],
)  # fmt: skip
def test_abuse_25_of_a_query_only_the_api_version_goes_up(query: bytes, port: int, upstream: Upstream):
    got = ask(port, request(path=dated(b"chat", query=query)))
    if got.status == 200:
        (seen,) = upstream.requests
        assert seen.target == b"/openai/deployments/gpt-4o-1/chat/completions?api-version=2024-10-21"
    else:
        is_refusal(got, "request.api_version")
        assert upstream.requests == []


@pytest.mark.parametrize(
    "version",
    [
        b"../../x", b"2024-10-21/../..", b"2024-10-21%2f..", b"2024-10-21%0d%0aX:%20y", b"%32024-10-21", b"2024-10-21%00", b"",
        b"2024-10-21-preview-preview", b"2024-10-21x", b"x", b"1" * 10_000, b"a" * 6000, b"2024-10-21#", b"2024-10-21+",
        b"http://elsewhere.example", b"2024-10-21;x", b"2024-1-1", b"latest/", b"20241021", b"2024-10-21,2024-10-22",
    ],
)  # fmt: skip
def test_abuse_26_an_api_version_that_is_none_is_refused(version: bytes, port: int, upstream: Upstream):
    got = ask(port, request(path=dated(b"chat", query=b"?api-version=" + version)))
    assert 400 <= got.status < 500, got
    is_refusal(got, "request.api_version", "request.target", "request.target_too_long")
    assert upstream.requests == []


@pytest.mark.parametrize(
    "query", [b"?api-version=2024-10-21&api-version=2024-02-01", b"?api-version=2024-10-21&API-Version=x"]
)
def test_abuse_26_two_api_versions_are_refused(query: bytes, port: int, upstream: Upstream):
    is_refusal(ask(port, request(path=dated(b"chat", query=query))), "request.api_version")
    assert upstream.requests == []


def test_abuse_27_the_path_decides_and_what_it_names_is_authorised_and_used(port: int, upstream: Upstream):
    """A body that names another model changes nothing: neither a better one nor one that does not exist."""
    for model in (b"other", b"gpt-4o-1", b"../x", b"chat"):
        body = CHAT.replace(b'"chat"', b'"' + model + b'"')
        assert ask(port, request(path=DATED, body=body)).status == 200
        seen = upstream.requests[-1]
        assert seen.target == b"/openai/deployments/gpt-4o-1/chat/completions?api-version=2024-10-21"
        assert seen.body == body
        got = ask(port, request(path=dated(b"other"), body=CHAT))
        is_refusal(got, "route.model")
    assert len(upstream.requests) == 4


def test_abuse_27_without_a_model_in_the_path_the_body_decides_and_is_renamed(port: int, upstream: Upstream):
    is_refusal(ask(port, request(body=CHAT.replace(b'"chat"', b'"gpt-4o-1"'))), "route.model")
    is_refusal(ask(port, request(body=CHAT.replace(b'"chat"', b'"other"'))), "route.model")
    assert upstream.requests == []
    assert plain(upstream, port).endswith(CHAT.replace(b'"chat"', b'"gpt-4o-1"'))


@pytest.mark.parametrize(
    "field",
    ["api_base", "base_url", "api_key", "custom_llm_provider", "extra_headers", "azure_endpoint", "headers", "model_list", "proxy"],
)  # fmt: skip
def test_abuse_28_a_field_of_the_body_never_chooses_where_it_goes_or_with_what(
    field: str, port: int, upstream: Upstream
):
    without = plain(upstream, port)
    with Upstream() as elsewhere:
        url = b"http://127.0.0.1:%d/x" % elsewhere.port
        value = b'{"authorization":"%b","api-key":"mine"}' % url if "headers" in field else b'"%b"' % url
        added = b',"%b":%b}' % (field.encode(), value)
        seen = plain(upstream, port, body=CHAT[:-1] + added)
        assert elsewhere.connections == 0
    head, _, body = seen.partition(b"\r\n\r\n")
    old = without.partition(b"\r\n\r\n")[0]
    assert [x for x in head.split(b"\r\n") if not x.startswith(b"content-length")] == [
        x for x in old.split(b"\r\n") if not x.startswith(b"content-length")
    ]
    assert body.endswith(added), "fields that are not ours stay as they are"


SPLITTING = [b"a\rb", b"a\r\n b", b"a\nb", b"a\x00b", b"a\rX-Injected: 1"]


@pytest.mark.parametrize("name", [b"x-ms-client-request-id", b"traceparent", b"tracestate", b"accept", b"openai-beta"])
def test_abuse_20_no_line_end_gets_into_a_header_that_goes_up(name: bytes, port: int, upstream: Upstream):
    for value in [*SPLITTING, b"\x1b[31m", b"\x7f", b"\xc3\xa9", b"a\x0bb"]:
        got = refused(port, request(name + b": " + value))
        assert got and got.status == 400
    assert upstream.requests == []
    assert name + b": a%0d%0aX: y\r\n" in plain(upstream, port, name + b": a%0d%0aX: y")


@pytest.mark.parametrize("name", [b"x-request-id", b"apim-request-id", b"x-ms-client-request-id", b"content-type"])
def test_abuse_20_no_line_end_of_an_upstream_gets_into_a_header_that_goes_down(
    name: bytes, port: int, upstream: Upstream
):
    for value in [b"application/json\rX-Injected: 1", b"application/json\n X-Injected: 1", b"application/json\r\n X-Injected: 1",
                  b"application/json\x00"]:  # fmt: skip
        for body in (CHAT, STREAMED):
            said = b"HTTP/1.1 200 OK\r\n" + name + b": " + value + b"\r\nContent-Length: %d\r\n" % len(ANSWER)
            upstream.answer = said + b"Content-Type: application/json\r\n\r\n" + ANSWER
            got = ask(port, request(body=body))
            assert not any(n.startswith("x-inj") or b"\r" in v or b"\n" in v for n, v in got.headers)
            assert b"X-Injected" not in got.raw_head or got.raw_head.count(b"\n") == len(got.headers) + 2
            assert b"\x00" not in got.raw_head


def test_abuse_20_a_refusal_copies_nothing_of_the_request_into_its_head(port: int):
    canary = b"canary%0d%0aSet-Cookie:%20x"
    for message in (
        request(path=dated(canary)), request(path=b"/" + canary), request(b"X-Request-Id: " + canary, path=b"/x"),
        request(b"x-ms-client-request-id: " + canary, key="nobody"), request(body=b'{"model":"' + canary + b'"}'),
        request(body=b'{"model":"a\\r\\nSet-Cookie: canary"}'), request(path=dated(b"chat", query=b"?api-version=" + canary)),
        request(b"Expect: " + canary), request(b"Transfer-Encoding: " + canary), request(host=b"%0d%0acanary"),
    ):  # fmt: skip
        got = ask(port, message)
        assert got.status >= 400 and b"canary" not in got.raw_head.lower()


IGNORED = [
    b"X-Forwarded-For: 10.0.0.1", b"Forwarded: for=10.0.0.1;host=elsewhere", b"X-Real-IP: 10.0.0.1", b"X-Forwarded-Host: elsewhere",
    b"X-Forwarded-Proto: https", b"X-Forwarded-Prefix: /admin", b"X-Original-URL: /admin", b"X-Rewrite-URL: /admin",
    b"X-HTTP-Method-Override: DELETE", b"Via: 1.1 x", b"True-Client-IP: 10.0.0.1", b"CF-Connecting-IP: 10.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("header", IGNORED)
def test_abuse_21_who_a_client_says_it_is_forwarded_for_changes_nothing(header: bytes, port: int, upstream: Upstream):
    assert plain(upstream, port) == plain(upstream, port, header)
    is_refusal(ask(port, request(header, key=None)), "credential.missing")


def test_abuse_21_the_peer_is_the_socket_s(gateway: GatewayThread, port: int, upstream: Upstream):
    with Client(port) as client:
        client.send(request(b"X-Forwarded-For: 10.0.0.1", b"Forwarded: for=10.0.0.1"))
        assert client.answer().status == 200
        own = client.socket.getsockname()
        peers = gateway.call(
            lambda: [(c.peer, c.transport.get_extra_info("peername")) for c in gateway.worker.server.connections]
        )
        assert ("127.0.0.1", own) in peers


INTERNAL = [
    b"X-Sluicegate-Tenant: other", b"X-Sluicegate-Consumer: admin", b"X-Sluicegate-Route: x", b"X-Sluicegate-Debug: 1",
    b"X-Sluicegate-Request-Id: canary", b"X-Tenant-Id: other", b"X-User-Id: root", b"X-Cache: no", b"X-Debug: 1", b"X-Priority: high",
    b"x-ms-spillover-deployment: other", b"azureml-model-deployment: other", b"x-aml-deployment: x", b"OpenAI-Organization: org",
    b"OpenAI-Project: p", b"Idempotency-Key: k", b"Cookie: session=1", b"X-Api-Base: http://127.0.0.1", b"Ocp-Apim-Trace: true",
    b"x-ms-rai-policy: off", b"x-policy-id: off", b"Proxy-Authorization: Basic x", b"Referer: x", b"Origin: https://elsewhere",
    b"User-Agent: canary", b"Accept-Encoding: gzip", b"Range: bytes=0-1", b"TE: trailers", b"Trailer: x", b"Keep-Alive: timeout=1",
    b"x-stainless-retry-count: 9", b"x_ms_client_request_id: x", b"Date: x", b"If-None-Match: *", b"Content-Language: x",
]  # fmt: skip


@pytest.mark.parametrize("header", INTERNAL)
def test_abuse_22_a_header_that_nobody_listed_changes_not_a_byte_upstream(header: bytes, port: int, upstream: Upstream):
    assert plain(upstream, port) == plain(upstream, port, header)
    got = ask(port, request(header))
    assert b"canary" not in got.raw_head
    is_refusal(ask(port, request(header, key=None)), "credential.missing")


@pytest.mark.parametrize("named", [b"api-key", b"authorization", b"Authorization, api-key", b"host", b"content-length", b"close, api-key",
                                   b"content-type", b"x-ms-client-request-id", b"transfer-encoding", b"keep-alive, te, api-key"])  # fmt: skip
def test_abuse_23_naming_a_header_in_connection_does_not_take_it_away(named: bytes, port: int, upstream: Upstream):
    """The hop-by-hop trick: a proxy that obeyed would drop the caller's credential or the length on the way."""
    without = plain(upstream, port, b"x-ms-client-request-id: 1")
    assert plain(upstream, port, b"x-ms-client-request-id: 1", b"Connection: " + named) == without
    is_refusal(ask(port, request(b"Connection: " + named, key="nobody")), "credential.unknown")
    is_refusal(ask(port, request(b"Connection: " + named, key=None)), "credential.missing")


def test_answers_hold_only_headers_that_are_listed(port: int, upstream: Upstream):
    for body, said in ((CHAT, None), (STREAMED, stream(b"data: [DONE]\n\n"))):
        if said:
            upstream.answer = said
        got = ask(port, request(body=body))
        assert {n for n, _ in got.headers} <= {
            "date", "content-type", "content-length", "transfer-encoding", "x-sluicegate-request-id", "x-sluicegate-reason",
            "x-should-retry", "retry-after", "retry-after-ms",
        }  # fmt: skip
