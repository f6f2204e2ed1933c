"""A document of a provider that is slow, huge, hostile or gone: refused in time, in words that say why."""

import asyncio
import ipaddress
import socket
import time

import pytest

from sluicegate.identity import fetch
from sluicegate.identity.fetch import LARGEST, Unreachable, get
from sluicegate.sim.tls import certificates
from tests.identity.provider import Provider


def fetched(url: str, within_s: float, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(fetch, "WITHIN_S", within_s)
    return asyncio.run(get(url))


def test_a_document_is_fetched_also_by_a_redirect_on_the_same_host(monkeypatch: pytest.MonkeyPatch):
    with Provider() as provider:
        plain = fetched(provider.url + "/keys", 5, monkeypatch)
        provider.mode = "moved"
        assert fetched(provider.url + "/keys", 5, monkeypatch) == plain
        assert provider.asked == ["/keys", "/keys", "/moved"]


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("hang", "no answer within 0.3 s"), ("drip", "no answer within 0.3 s"), ("down", "breaks off"),
        ("huge", f"larger than {LARGEST // 1024} KiB"), ("failing", "answers 503"),
        ("elsewhere", "redirects to another host"), ("round", "redirects again and again"),
    ],
)  # fmt: skip
def test_abuse_38_a_provider_that_misbehaves_is_given_up_in_time(mode: str, why: str, monkeypatch: pytest.MonkeyPatch):
    with Provider() as provider:
        provider.mode = mode
        began = time.monotonic()
        with pytest.raises(Unreachable, match=why):
            fetched(provider.url + "/keys", 0.3 if mode in ("hang", "drip") else 5, monkeypatch)
        assert time.monotonic() - began < 5
        assert len(provider.asked) <= 4


def test_nobody_there_and_no_such_name_are_said(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match=r"refused|failed"):
        fetched(f"http://127.0.0.1:{port}/keys", 5, monkeypatch)
    with pytest.raises(Unreachable):
        fetched("http://no-such-name.invalid/keys", 5, monkeypatch)


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch):
    with Provider() as provider, Provider() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert b'"keys"' in fetched(provider.url + "/keys", 5, monkeypatch)
        assert proxy.asked == []


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\n\r\n{}" + b"x" * 100,
        b"garbage\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nzz",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 90_000,
    ],
)
def test_answers_that_are_no_answers_are_an_error_and_nothing_else(raw: bytes, monkeypatch: pytest.MonkeyPatch):
    async def ask() -> bytes | str:
        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)
            writer.close()

        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        async with server:
            try:
                return await get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys")
            except Unreachable as e:
                return str(e)

    found = asyncio.run(ask())
    assert isinstance(found, str) or found == b"{}" + b"x" * 100


def test_a_name_that_leads_to_a_metadata_address_is_asked_for_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetch, "metadata", lambda address: address in ipaddress.ip_network("127.0.0.0/8"))
    with Provider() as provider:
        with pytest.raises(Unreachable, match="metadata"):
            fetched(provider.url + "/keys", 5, monkeypatch)
        assert provider.asked == []


def test_certificates_are_checked(tmp_path):
    made = certificates(tmp_path)

    async def ask(ca: str | None) -> bytes:
        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        server = await asyncio.start_server(speak, "127.0.0.1", 0, ssl=made.context())
        async with server:
            return await get(f"https://localhost:{server.sockets[0].getsockname()[1]}/keys", ca)

    assert asyncio.run(ask(made.ca)) == b"{}"
    with pytest.raises(Unreachable, match="certificate is not trusted"):
        asyncio.run(ask(None))


def test_who_is_gone_before_anybody_looks_is_unreachable_and_nothing_else(monkeypatch: pytest.MonkeyPatch):
    """Then nobody knows any more to which address the connection went."""
    opened = asyncio.open_connection

    async def open_connection(*where: object, **how: object) -> object:
        reader, writer = await opened(*where, **how)  # type: ignore[arg-type]
        monkeypatch.setattr(writer, "get_extra_info", lambda name, default=None: default)
        return reader, writer

    with Provider() as provider:
        monkeypatch.setattr(asyncio, "open_connection", open_connection)
        with pytest.raises(Unreachable, match="reset"):
            fetched(provider.url + "/keys", 5, monkeypatch)
