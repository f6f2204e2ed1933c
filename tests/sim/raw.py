"""What the tests of sim/ share: requests as bytes, and everything that comes back on a socket, to the way it ends."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

from sluicegate.sim.fleet import FleetThread, Served
from sluicegate.sim.ledger import Entry

LIMIT_S = 10.0


def body_of(content: str = "hello", **fields: Any) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": content}], **fields}).encode()


def request(served: Served, body: bytes | None = None, *headers: str, version: str = "2024-10-21", close: bool = True,
            deployment: str = "gpt-4o", target: str | None = None) -> bytes:  # fmt: skip
    body = body_of() if body is None else body
    target = target or f"/openai/deployments/{deployment}/chat/completions?api-version={version}"
    lines = [f"POST {target} HTTP/1.1", "host: simulated", f"api-key: {served.key}", *headers]
    lines += ["connection: close"] if close else []
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


def connect(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), LIMIT_S)


def rest(s: socket.socket) -> tuple[bytes, str]:
    """All that comes, and how the connection ends: fin or rst."""
    got = bytearray()
    try:
        while piece := s.recv(65536):
            got += piece
    except ConnectionResetError:
        return bytes(got), "rst"
    return bytes(got), "fin"


def ask(served: Served, body: bytes | None = None, *headers: str, **more: Any) -> tuple[bytes, str]:
    """One exchange on a connection of its own."""
    with connect(served) as s:
        s.sendall(request(served, body, *headers, **more))
        return rest(s)


def split(answer: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """Status line, headers by lower-case name, and the raw body."""
    head, _, raw = answer.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    headers = {
        name.decode().lower(): value.strip().decode("latin-1") for name, _, value in (f.partition(b":") for f in fields)
    }
    return line, headers, raw


def unchunk(raw: bytes) -> bytes:
    """The content of a complete chunked body."""
    content = b""
    while True:
        size, _, raw = raw.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            assert raw == b"\r\n"
            return content
        content, raw = content + raw[:length], raw[length + 2 :]


def events(content: bytes) -> list[Any]:
    """Data of each event of a stream; `[DONE]` as text."""
    assert content.endswith(b"\n\n")
    data = [event.removeprefix(b"data: ") for event in content[:-2].split(b"\n\n")]
    return [d.decode() if d == b"[DONE]" else json.loads(d) for d in data]


def streamed(served: Served, content: str = "hello", version: str = "2024-10-21", **fields: Any) -> list[Any]:
    line, headers, raw = split(ask(served, body_of(content, stream=True, **fields), version=version)[0])
    assert line == b"HTTP/1.1 200 OK", (line, raw)
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    return events(unchunk(raw))


def plain(
    served: Served, content: str = "hello", version: str = "2024-10-21", **fields: Any
) -> tuple[int, Any, dict[str, str]]:
    line, headers, raw = split(ask(served, body_of(content, **fields), version=version)[0])
    return int(line.split()[1]), json.loads(raw), headers


def newest(fleet: FleetThread, before: int, holds: Callable[[Entry], Any]) -> Entry:
    """The last entry, once there are more than `before` and it satisfies `holds`."""
    assert fleet.ledger.wait(lambda ledger: len(ledger) > before and holds(ledger[-1])), fleet.ledger.entries[before:]
    return fleet.ledger[-1]


def ended(fleet: FleetThread) -> Any:
    """The last entry, once it has ended."""
    assert fleet.ledger.wait(lambda ledger: len(ledger) and ledger[-1].ended)
    return fleet.ledger[-1]
