"""Clients for .NET and Java, whose packages no registry of ours has, and older ones: what they send is answered.

Headers and URLs are as public recordings and sources of these SDKs show them (the order of some is ours). The two of
`java.net.http` were captured from a JDK 17: on a plain connection it asks for h2c with every POST (abuse 85), which is
how LangChain4j and Spring AI come to servers by default.
"""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.abuse.outside import ANSWER, EVENTS, Client, Upstream, answer, ask, chunked, stream
from tests.gateway import KEY, GatewayThread, instance, snapshot

DATED = "/openai/deployments/chat/chat/completions?api-version=2024-10-21"
WHO = "Microsoft.Extensions.AI azsdk-net-AI.OpenAI/2.1.0 (.NET 8.0.8; Debian GNU/Linux 12 (bookworm))"
MESSAGES = '"messages":[{"role":"user","content":"Grüße aus 東京"}]'
CHAT = "{" + MESSAGES + ',"model":"chat"}'
STAINLESS = (
    "X-Stainless-Arch: x64", "X-Stainless-Lang: java", "X-Stainless-OS: Linux", "X-Stainless-OS-Version: 6.1.0",
    "X-Stainless-Package-Version: 4.6.1", "X-Stainless-Runtime: JRE", "X-Stainless-Runtime-Version: 17.0.15",
    "X-Stainless-Retry-Count: 0", "X-Stainless-Read-Timeout: 600", "X-Stainless-Timeout: 600",
)  # fmt: skip
H2C = ("Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA")

# name: (target, headers around the framing, the body); {length} stands where the client says it
CLIENTS: dict[str, tuple[str, tuple[str, ...], str]] = {
    ".NET, Azure.AI.OpenAI 2": (DATED, (
        "Host: localhost", "Accept: application/json", f"User-Agent: {WHO}",
        "x-ms-client-request-id: e955c91b-d9eb-4deb-9972-d0ea31091a41", f"api-key: {KEY}",
        "Content-Type: application/json", "Content-Length: {length}"), CHAT),
    ".NET, Azure.AI.OpenAI 1, traced": (DATED, (
        "Host: localhost", f"api-key: {KEY}", "Accept: application/json",
        "x-ms-client-request-id: 697c922912033d8343b65779193c489d", "x-ms-return-client-request-id: true",
        "User-Agent: azsdk-net-AI.OpenAI/1.0.0-beta.17 (.NET 6.0.18; Microsoft Windows 10.0.25393)",
        "traceparent: 00-bfe5b656082325f606374d2c10f23a4f-8854d8696088da20-00",
        "Content-Type: application/json", "Content-Length: {length}"), "{" + MESSAGES + "}"),
    ".NET, OpenAI 2 at /openai/v1": ("/openai/v1/chat/completions", (
        "Host: localhost", "Accept: application/json",
        "User-Agent: OpenAI/2.9.1 (.NET 10.0.4; Microsoft Windows 10.0.26200)", f"Authorization: Bearer {KEY}",
        "Content-Type: application/json", "Content-Length: {length}"), CHAT),
    "Java, azure-ai-openai over netty": (DATED, (
        "User-Agent: azsdk-java-azure-ai-openai/1.0.0-beta.16 (17.0.15; Linux; 6.1.0)",
        "x-ms-client-request-id: 4f4e1a7e-6c0e-4b52-8f6d-0c8a2f0e9f11", "x-ms-return-client-request-id: true",
        "Accept: application/json", "Content-Type: application/json", f"api-key: {KEY}",
        "Date: Sat, 21 Nov 2026 13:00:00 GMT", "content-length: {length}", "host: localhost"),
        CHAT),
    "Java, openai 4 over OkHttp, Azure": (DATED, (
        "Accept: application/json", "User-Agent: AzureOpenAIClient/Java 4.6.1", *STAINLESS, f"api-key: {KEY}",
        "Content-Type: application/json", "Content-Length: {length}", "Host: localhost", "Connection: Keep-Alive",
        "Accept-Encoding: gzip"), CHAT),
    "Java, openai 4 over OkHttp, at /openai/v1": ("/openai/v1/chat/completions", (
        "Accept: application/json", "User-Agent: OpenAIClientImpl/Java 4.6.1", *STAINLESS,
        f"Authorization: Bearer {KEY}", "Content-Type: application/json", "Content-Length: {length}",
        "Host: localhost", "Connection: Keep-Alive", "Accept-Encoding: gzip"), CHAT),
    "Node, @langchain/openai, given the endpoint that Azure's portal shows": ("/" + DATED, (
        "Accept: application/json", f"api-key: {KEY}", "content-type: application/json",
        "user-agent: langchainjs-azure-openai/2.0.0 (v24.19.0)", "Host: localhost", "Connection: keep-alive",
        "accept-language: *", "sec-fetch-mode: cors", "accept-encoding: gzip, deflate", "content-length: {length}"),
        CHAT),
    "Java, java.net.http": ("/v1/chat/completions", (
        H2C[0], "Content-Length: {length}", "Host: localhost", H2C[1], "Upgrade: h2c",
        "User-Agent: Java-http-client/17.0.15", f"Authorization: Bearer {KEY}", "Content-Type: application/json"), CHAT),
    "Java, java.net.http, of unknown length": (DATED, (
        H2C[0], "Host: localhost", H2C[1], "Transfer-encoding: chunked", "Upgrade: h2c",
        "User-Agent: Java-http-client/17.0.15", f"api-key: {KEY}", "Content-Type: application/json"), CHAT),
}  # fmt: skip


def said(name: str, streamed: bool = False) -> bytes:
    """Its request."""
    target, headers, text = CLIENTS[name]
    if streamed:
        text = text[:-1] + ',"stream":true}'
        headers = tuple("Accept: text/event-stream" if h.startswith("Accept:") else h for h in headers)
    body = text.encode()
    lines = [f"POST {target} HTTP/1.1", *(h.format(length=len(body)) for h in headers)]
    sent = chunked(body) if any(h.endswith("chunked") for h in headers) else body
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + sent


def is_carried(upstream: Upstream, name: str) -> None:
    """The last request reached the upstream as it was meant, without what was only between client and gateway."""
    seen = upstream.requests[-1]
    assert seen.target.startswith(b"/openai/")
    document = json.loads(seen.body)
    assert document["messages"] == json.loads("{" + MESSAGES + "}")["messages"], name
    assert document.get("model") in (None, "chat", "gpt-4o-1")
    named = {n for n, _ in seen.headers}
    assert not named & {b"upgrade", b"http2-settings", b"authorization"} and KEY.encode() not in seen.head
    assert seen.header(b"connection") in (None, b"keep-alive")
    assert upstream.garbage == []


@pytest.mark.parametrize("name", CLIENTS)
def test_abuse_85_it_is_answered_and_asks_again_on_the_same_connection(name: str, port: int, upstream: Upstream):
    with Client(port) as client:
        for _ in range(3):
            client.send(said(name))
            got = client.answer()
            assert (got.status, got.body, got.whole) == (200, ANSWER, True)
            assert got.header("upgrade") is None
            is_carried(upstream, name)
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("name", CLIENTS)
def test_it_is_the_same_byte_by_byte(name: str, port: int, upstream: Upstream):
    message = said(name)
    got = ask(port, *(message[at : at + 1] for at in range(len(message))))
    assert (got.status, got.body) == (200, ANSWER)
    is_carried(upstream, name)


@pytest.mark.parametrize("name", CLIENTS)
def test_it_gets_its_stream(name: str, port: int, upstream: Upstream):
    upstream.answer = stream(*EVENTS)
    with Client(port) as client:
        client.send(said(name, streamed=True))
        got = client.answer()
        assert got.status == 200 and got.whole and got.header("content-type") == b"text/event-stream"
        assert got.events()[-1] == b"data: [DONE]"
        is_carried(upstream, name)
        upstream.answer = answer()
        client.send(said(name))
        assert client.answer().status == 200
        is_carried(upstream, name)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_refusal_is_in_the_envelope_that_it_reads(name: str, port: int, upstream: Upstream):
    got = ask(port, said(name).replace(KEY.encode(), b"nobody's"))
    assert got.status == 401 and got.json["error"]["code"] == "401" and got.json["error"]["message"]
    assert upstream.requests == []


# ---------------------------------------------------------------- forms

SOUND = b"RIFF" + bytes(range(256)) * 8
DRAWN = "OeXtOVr9GmSI9HeQEgPIxj4sBizyw4HYMbvWLnyO3HxCrRFe4wE1QCQY5ohcjGNMh13RUg"
HEARD = b'{"text":"hello","usage":{"type":"tokens","input_tokens":9,"output_tokens":1,"total_tokens":10}}'
SPOKEN = "/openai/deployments/chat/audio/transcriptions?api-version=2024-10-21"

# name: (target, headers without length, parts as (lines above the content, content), the closing)
FORMS: dict[str, tuple[str, tuple[str, ...], str, list[tuple[str, bytes]]]] = {
    # .NET quotes the boundary and no names, writes each file's name twice, and puts the file first.
    ".NET, OpenAI 2 at /openai/v1": ("/openai/v1/audio/transcriptions", (
        "Host: localhost", "Accept: application/json, text/event-stream",
        "User-Agent: OpenAI/2.9.1 (.NET 10.0.4; Microsoft Windows 10.0.26200)", f"Authorization: Bearer {KEY}",
        f'Content-Type: multipart/form-data; boundary="{DRAWN}"'), DRAWN, [
        ("Content-Disposition: form-data; name=file; filename=\"Assets/meeting.wav\"; "
         "filename*=utf-8''Assets%2Fmeeting.wav", SOUND),
        ("Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=model", b"chat"),
        ("Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=response_format", b"json"),
    ]),
    ".NET, Azure.AI.OpenAI 2": (SPOKEN, (
        "Host: localhost", "Accept: application/json", f"User-Agent: {WHO}", f"api-key: {KEY}",
        f'Content-Type: multipart/form-data; boundary="{DRAWN}"'), DRAWN, [
        ("Content-Disposition: form-data; name=file; filename=meeting.wav; filename*=utf-8''meeting.wav", SOUND),
        ("Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=model", b"chat"),
    ]),
    # OkHttp says the length of each part.
    "Java, openai 4 over OkHttp": ("/openai/v1/audio/transcriptions", (
        "Accept: application/json", "User-Agent: OpenAIClientImpl/Java 4.6.1", *STAINLESS,
        f"Authorization: Bearer {KEY}", "Host: localhost", "Connection: Keep-Alive", "Accept-Encoding: gzip",
        "Content-Type: multipart/form-data; boundary=2f4d1f4e-9ad2-4c37-8e0f-0a3a4c0f7a11"),
        "2f4d1f4e-9ad2-4c37-8e0f-0a3a4c0f7a11", [
        ('Content-Disposition: form-data; name="file"; filename="meeting.wav"\r\n'
         f"Content-Type: application/octet-stream\r\nContent-Length: {len(SOUND)}", SOUND),
        ('Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain\r\nContent-Length: 4', b"chat"),
    ]),
}  # fmt: skip


def form(boundary: str, parts: list[tuple[str, bytes]]) -> bytes:
    """The body."""
    pieces = [f"--{boundary}\r\n{above}\r\n\r\n".encode() + content + b"\r\n" for above, content in parts]
    return b"".join(pieces) + f"--{boundary}--\r\n".encode()


def filled(name: str, in_chunks: bool = False) -> bytes:
    target, headers, boundary, parts = FORMS[name]
    body = form(boundary, parts)
    framing = "Transfer-Encoding: chunked" if in_chunks else f"Content-Length: {len(body)}"
    head = "\r\n".join([f"POST {target} HTTP/1.1", *headers, framing]).encode() + b"\r\n\r\n"
    return head + (chunked(body[:100], body[100:700], body[700:]) if in_chunks else body)


@pytest.fixture(scope="module")
def listening() -> Iterator[tuple[int, Upstream]]:
    """A model that transcribes, before an upstream that always says the same."""
    with Upstream() as upstream:
        base = snapshot([instance(1, upstream.port)])
        (model,) = base.models
        able = replace(base, models=(replace(model, operations=("audio_transcriptions",)),))
        with GatewayThread(able) as gateway:
            yield gateway.port, upstream


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_its_form_arrives_as_it_was(name: str, in_chunks: bool, listening: tuple[int, Upstream]):
    """The sound to the byte, the model by the deployment's name, and everything else untouched."""
    port, upstream = listening
    upstream.forget()
    upstream.answer = answer(HEARD)
    _, _, boundary, parts = FORMS[name]
    with Client(port) as client:
        for _ in range(2):
            client.send(filled(name, in_chunks))
            got = client.answer()
            assert (got.status, got.body) == (200, HEARD), got
    assert upstream.garbage == [] and len(upstream.requests) == 2
    renamed = [(above, b"gpt-4o-1" if content == b"chat" else content) for above, content in parts]
    for seen in upstream.requests:
        assert seen.target.startswith(b"/openai/")
        assert seen.body in (form(boundary, parts), form(boundary, renamed))
        assert KEY.encode() not in seen.head
