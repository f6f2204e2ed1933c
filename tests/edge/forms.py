"""Forms as clients send them, and a house whose models take them."""

from __future__ import annotations

from typing import Any

from sluicegate.apis import APIS
from sluicegate.core.snapshot import Snapshot
from tests.abuse.outside import chunked
from tests.edge.line import House, Line
from tests.gateway import KEY, instance, snapshot

BOUNDARY = b"----form-7MA4YWxk"
V1 = b"/v1/audio/transcriptions"
DATED = b"/openai/deployments/chat/audio/transcriptions?api-version=2025-04-01-preview"
TEXT = b'{"text":"hello","usage":{"type":"tokens","input_tokens":14,"output_tokens":2,"total_tokens":16,'
TEXT += b'"input_token_details":{"audio_tokens":14,"text_tokens":0}}}'


def field(name: bytes, value: bytes) -> bytes:
    return b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (BOUNDARY, name, value)


def file(value: bytes, name: bytes = b"file") -> bytes:
    head = b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="a.mp3"\r\nContent-Type: audio/mpeg\r\n\r\n'
    return head % (BOUNDARY, name) + value + b"\r\n"


END = b"--%b--\r\n" % BOUNDARY


def head(path: bytes = V1, length: int | None = None, *more: bytes) -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: gateway", b"api-key: " + KEY.encode()]
    lines += [b"Content-Type: multipart/form-data; boundary=" + BOUNDARY, *more]
    lines += [b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def request(body: bytes, path: bytes = V1) -> bytes:
    return head(path, len(body)) + body


def in_chunks(body: bytes, path: bytes = V1) -> bytes:
    return head(path) + chunked(body)


def snap(members: int = 1, provider: str = "azure_openai", **model: Any) -> Snapshot:
    made = snapshot([instance(n, 80 + n, provider=provider) for n in range(1, members + 1)], **model)
    object.__setattr__(made.models[0], "operations", tuple(APIS))
    return made


def house(members: int = 1, provider: str = "azure_openai", **model: Any) -> House:
    """Its upstream answers when the test says so."""
    made = House(snap=snap(members, provider, **model))
    made.upstream.at_once = None
    return made


def body_of(sent: bytes) -> bytes:
    """The body of a request that went up, out of its chunks where it came in such."""
    top, _, body = sent.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in top:
        assert b"content-length: %d" % len(body) in top, (top, len(body))
        return body
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        n = int(size, 16)
        out += body[:n]
        assert body[n : n + 2] == b"\r\n"
        body = body[n + 2 :]
        if not n:
            assert not body
            return out
    raise AssertionError("the last chunk is missing")


def reason(line: Line) -> str:
    """Why it was refused."""
    said = [h for h in line.out.split(b"\r\n") if h.startswith(b"x-sluicegate-reason: ")]
    return said[0][21:].decode() if said else ""
