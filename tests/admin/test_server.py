"""The admin listeners: what is no request is closed, paths lead where the table says, and stopping leaves nothing."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from sluicegate.admin.base import Reply, Table, Taking, said
from sluicegate.admin.server import HEAD_BYTES, SOCKET, Server, loopback, only


async def thing(*names: str) -> Reply:
    return said(200, list(names))


async def told(name: str, body: bytes) -> Reply:
    return said(200, [name, body.decode()])


TABLE: Table = {
    ("GET", "/a"): thing, ("POST", "/things/{}/{}/do"): thing, ("POST", "/things/{}/tell"): Taking(told),
}  # fmt: skip


async def asked(path: str, raw: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(raw)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n", b"200", b"[]\n"),
        (b"GET /a?x=1 HTTP/1.0\r\n\r\n", b"200", b"[]\n"),
        (b"HEAD /a HTTP/1.1\r\n\r\n", b"200", b""),
        (b"POST /things/weu/gpt-4o/do HTTP/1.1\r\n\r\n", b"200", b'["weu", "gpt-4o"]\n'),
        (b"POST /things/a/b/c/do HTTP/1.1\r\n\r\n", b"404", None),
        (b"POST /things/weu/gpt-4o/do HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi", b"200", b'["weu", "gpt-4o"]\n'),
        (b"POST /things/a/tell HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi", b"200", b'["a", "hi"]\n'),
        (b"POST /things/a/tell HTTP/1.1\r\n\r\n", b"200", b'["a", ""]\n'),
        (b"POST /things/a/tell HTTP/1.1\r\ncontent-length: 262145\r\n\r\n", b"413", None),
        (b"POST /a HTTP/1.1\r\n\r\n", b"405", None),
        (b"GET /b HTTP/1.1\r\n\r\n", b"404", None),
        (b"nonsense\r\n\r\n", b"400", None),
    ],
)
def test_paths_lead_where_the_table_says(tmp_path: Path, raw: bytes, status: bytes, body: bytes | None):
    async def run() -> None:
        server = Server(TABLE)
        await server.listen_unix(str(tmp_path))
        try:
            answer = await asked(str(tmp_path / SOCKET), raw)
        finally:
            await server.stop()
        head, _, rest = answer.partition(b"\r\n\r\n")
        assert head.split()[1] == status
        assert body is None or rest == body

    asyncio.run(run())


def test_the_socket_is_its_owners_alone_however_long_its_path(tmp_path: Path):
    folder = tmp_path / ("x" * 100) / ("y" * 100)

    async def run() -> None:
        first, second = Server(TABLE), Server(TABLE)
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
        server = Server(TABLE)
        await server.listen_unix(str(tmp_path))
        path = str(tmp_path / SOCKET)
        assert await asked(path, b"GET /a HTTP/1.1\r\n" + b"x" * (2 * HEAD_BYTES)) == b""
        reader, writer = await asyncio.open_unix_connection(path)
        await asyncio.sleep(0.05)
        await server.stop()
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_unix_connection(path)

    asyncio.run(run())


def test_only_what_is_named_is_met_on_tcp():
    table: Table = {("GET", "/metrics"): thing, ("POST", "/metrics"): thing, ("POST", "/v1/reload"): thing}
    assert set(only(table, "/metrics")) == {("GET", "/metrics"), ("POST", "/metrics")}
    assert [loopback(h) for h in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1", "example.org")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
