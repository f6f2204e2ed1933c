"""The admin listeners: what is no request is refused, paths lead where the routes say, slow clients and large ones are
bounded, and stopping leaves nothing."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluicegate.admin import server as module
from sluicegate.admin.base import OPEN, Asked, Route, Stream, Who, Wrong
from sluicegate.admin.gate import Gate
from sluicegate.admin.server import EACH, HEAD_BYTES, SOCKET, STREAMS, Server
from sluicegate.core.settings import Admin


class Told(msgspec.Struct, forbid_unknown_fields=True):
    """A body."""

    word: str = ""


class Asks(msgspec.Struct, forbid_unknown_fields=True):
    """A query."""

    last: int = 20
    by: list[str] = []


async def thing(asked: Asked) -> Any:
    return list(asked.path)


async def tell(asked: Asked) -> Any:
    return [*asked.path, asked.body.word]


async def query(asked: Asked) -> Any:
    return [asked.query.last, asked.query.by]


async def refuses(asked: Asked) -> Any:
    raise Wrong(409, "not now")


async def breaks(asked: Asked) -> Any:
    raise RuntimeError("secret of the house")


async def streams(asked: Asked) -> Any:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await asyncio.Event().wait()

    return Stream(pieces())


ROUTES = [
    Route("GET", "/a", "viewer", thing, "A.", id="a"),
    Route("GET", "/open", OPEN, thing, "Open.", id="open"),
    Route("GET", "/q", "viewer", query, "Q.", query=Asks, id="q"),
    Route("GET", "/stream", "viewer", streams, "S.", content_type="text/event-stream", id="stream"),
    Route("POST", "/things/{x}/{y}/do", "operator", thing, "Do.", id="do"),
    Route("POST", "/things/{x}/tell", "operator", tell, "Tell.", takes=Told, most=1000, id="tell"),
    Route("POST", "/refuses", "operator", refuses, "Refuses.", id="refuses"),
    Route("POST", "/breaks", "operator", breaks, "Breaks.", id="breaks"),
]


async def asked(path: str, raw: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(raw)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def on_unix(folder: Path, *raws: bytes, log: Any = None, complaints: list[Any] | None = None) -> list[bytes]:
    async def run() -> list[bytes]:
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: complaints.append(context) if complaints is not None else None
        )
        server = Server(ROUTES, None, log)
        await server.listen_unix(str(folder))
        try:
            return [await asked(str(folder / SOCKET), raw) for raw in raws]
        finally:
            await server.stop()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n", b"200", b"[]\n"),
        (b"GET /a?x=1 HTTP/1.0\r\n\r\n", b"200", b"[]\n"),
        (b"HEAD /a HTTP/1.1\r\n\r\n", b"200", b""),
        (b"GET /q?last=3&by=model&by=day HTTP/1.1\r\n\r\n", b"200", b'[3, ["model", "day"]]\n'),
        (b"GET /q HTTP/1.1\r\n\r\n", b"200", b"[20, []]\n"),
        (b"GET /q?last=x HTTP/1.1\r\n\r\n", b"400", None),
        (b"GET /q?last=1&last=2 HTTP/1.1\r\n\r\n", b"400", None),
        (b"GET /q?first=1 HTTP/1.1\r\n\r\n", b"400", None),
        (b"GET /q?by=%ff HTTP/1.1\r\n\r\n", b"400", None),
        (b"GET /q?" + b"by=a&" * 101 + b"by=a HTTP/1.1\r\n\r\n", b"400", None),
        (b"POST /things/weu/gpt-4o/do HTTP/1.1\r\n\r\n", b"200", b'["weu", "gpt-4o"]\n'),
        (b"POST /things/a/b/c/do HTTP/1.1\r\n\r\n", b"404", None),
        (b"POST /things/a%2fb/c/do HTTP/1.1\r\n\r\n", b"404", None),
        (b"POST /things/weu/gpt-4o/do HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi", b"200", b'["weu", "gpt-4o"]\n'),
        (b'POST /things/a/tell HTTP/1.1\r\nContent-Length: 13\r\n\r\n{"word":"hi"}', b"200", b'["a", "hi"]\n'),
        (b"POST /things/a/tell HTTP/1.1\r\n\r\n", b"200", b'["a", ""]\n'),
        (b'POST /things/a/tell HTTP/1.1\r\nContent-Length: 12\r\n\r\n{"wort":"hi"', b"400", None),
        (b'POST /things/a/tell HTTP/1.1\r\nContent-Length: 13\r\n\r\n{"wort":"hi"}', b"400", None),
        (b'POST /things/a/tell HTTP/1.1\r\nContent-Length: 10\r\n\r\n{"word":1}', b"400", None),
        (b"POST /things/a/tell HTTP/1.1\r\ncontent-length: 1001\r\n\r\n", b"413", None),
        (b"POST /things/a/tell HTTP/1.1\r\ncontent-length: 99999999999999\r\n\r\n", b"400", None),
        (b"POST /things/a/tell HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}", b"400", None),
        (b"POST /things/a/tell HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b"411", None),
        (b"POST /a HTTP/1.1\r\n\r\n", b"405", None),
        (b"HEAD /stream HTTP/1.1\r\n\r\n", b"405", b""),
        (b"GET /b HTTP/1.1\r\n\r\n", b"404", None),
        (b"GET /../a HTTP/1.1\r\n\r\n", b"404", None),
        (b"GET /a HTTP/1.1\r\nhost : x\r\n\r\n", b"400", None),
        (b"GET /a HTTP/1.1\r\nno header\r\n\r\n", b"400", None),
        (b"nonsense\r\n\r\n", b"400", None),
    ],
)
def test_paths_lead_where_the_routes_say(tmp_path: Path, raw: bytes, status: bytes, body: bytes | None):
    (answer,) = on_unix(tmp_path, raw)
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == status, answer
    if body is None:
        assert json.loads(rest)["error"]["message"]
    else:
        assert rest == body
    said = head.lower().split(b"\r\n")
    assert b"cache-control: no-store" in said and b"x-content-type-options: nosniff" in said
    assert not [line for line in said if line.startswith(b"access-control")], "no page elsewhere may read this"


def test_every_change_is_written_down_with_who_and_what_became_of_it(tmp_path: Path):
    said: list[tuple[Who, str, str, int, str]] = []
    complaints: list[Any] = []
    answers = on_unix(
        tmp_path,
        b"GET /a HTTP/1.1\r\n\r\n",
        b"POST /things/weu/gpt-4o/do HTTP/1.1\r\n\r\n",
        b"POST /refuses HTTP/1.1\r\n\r\n",
        b"POST /breaks HTTP/1.1\r\n\r\n",
        b"POST /things/a/tell HTTP/1.1\r\ncontent-length: 2\r\n\r\n[]",
        log=lambda who, route, path, status, error: said.append((who, route.id, path, status, error)),
        complaints=complaints,
    )
    assert {who for who, *_ in said} == {Who(f"uid {os.getuid()}", "owner", kind="uid")}
    assert [(what, path, status) for _, what, path, status, _ in said] == [
        ("do", "/things/weu/gpt-4o/do", 200), ("refuses", "/refuses", 409), ("breaks", "/breaks", 500),
        ("tell", "/things/a/tell", 400),
    ]  # fmt: skip
    assert said[1][4] == "not now"
    assert b"secret of the house" not in b"".join(answers)
    assert [type(c["exception"]) for c in complaints] == [RuntimeError]


def test_the_socket_is_its_owners_alone_however_long_its_path(tmp_path: Path):
    folder = tmp_path / ("x" * 100) / ("y" * 100)

    async def run() -> None:
        first, second = Server(ROUTES), Server(ROUTES)
        await first.listen_unix(str(folder))
        mode = os.stat(folder / SOCKET).st_mode
        assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        await second.listen_unix(str(folder))  # what a gateway that was killed left behind is no hindrance
        await first.stop()
        await second.stop()

    asyncio.run(run())


def test_heads_without_end_and_clients_that_say_nothing_are_let_go(tmp_path: Path):
    async def run() -> None:
        server = Server(ROUTES)
        await server.listen_unix(str(tmp_path))
        path = str(tmp_path / SOCKET)
        assert await asked(path, b"GET /a HTTP/1.1\r\n" + b"x" * (2 * HEAD_BYTES)) == b""
        reader, writer = await asyncio.open_unix_connection(path)
        await asyncio.sleep(0)
        await server.stop()
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_unix_connection(path)

    asyncio.run(run())


@pytest.mark.parametrize(
    "raw", [b"", b"GET /a HTTP/1.1\r\nhost: x\r\n", b"POST /things/a/tell HTTP/1.1\r\ncontent-length: 9\r\n\r\n{"]
)
def test_half_a_request_is_not_waited_for(tmp_path: Path, raw: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "HEAD_S", 0.05)
    monkeypatch.setattr(module, "BODY_S", 0.05)
    (answer,) = on_unix(tmp_path, raw)
    assert answer.startswith(b"HTTP/1.1 408 ") if raw.startswith(b"POST") else answer == b""


def test_streams_are_few_and_end_with_their_client(tmp_path: Path):
    async def run() -> None:
        server = Server(ROUTES)
        await server.listen_unix(str(tmp_path))
        path = str(tmp_path / SOCKET)
        open_ = [await asyncio.open_unix_connection(path) for _ in range(STREAMS)]
        for reader, writer in open_:
            writer.write(b"GET /stream HTTP/1.1\r\n\r\n")
            assert b"text/event-stream" in await reader.readuntil(b"data: 1\n\n")
        assert (await asked(path, b"GET /stream HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
        for _, writer in open_:
            writer.close()
            await writer.wait_closed()
        for _ in range(10_000):
            if not server._streams:
                break
            await asyncio.sleep(0)
        again = await asyncio.open_unix_connection(path)
        again[1].write(b"GET /stream HTTP/1.1\r\n\r\n")
        assert await again[0].readuntil(b"data: 1\n\n")
        again[1].close()
        await server.stop()

    asyncio.run(run())


def test_one_address_does_not_keep_all_others_out():
    async def run() -> None:
        server = Server(ROUTES, Gate(Admin, lambda: (), lambda: 0.0))
        port = await server.listen_tcp("127.0.0.1", 0)
        quiet = [await asyncio.open_connection("127.0.0.1", port) for _ in range(EACH)]
        refused, other = await asyncio.open_connection("127.0.0.1", port)
        assert await refused.read() == b""
        other.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
        writer.write(b"GET /open HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        for _, one in [*quiet, (reader, writer)]:
            one.close()
            await one.wait_closed()
        await server.stop()
        assert not server._from and not server._open

    asyncio.run(run())


def test_by_tcp_nothing_is_said_without_a_key_but_what_is_open(tmp_path: Path):
    async def run() -> list[bytes]:
        server = Server(ROUTES, Gate(Admin, lambda: (), lambda: 0.0))
        port = await server.listen_tcp("127.0.0.1", 0)
        answers = []
        for raw in (b"GET /open", b"GET /a", b"GET /nowhere", b"POST /things/a/b/do", b"DELETE /a"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(raw + b" HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            answers.append(await reader.read())
            writer.close()
        await server.stop()
        return answers

    answers = asyncio.run(run())
    assert [a.split()[1] for a in answers] == [b"200", b"401", b"401", b"401", b"401"]
    assert b'www-authenticate: Bearer realm="sluicegate admin"' in answers[1]
