"""Sinks of alerts: what is sent, what becomes of sinks that fail, refuse, lie or are a metadata service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sluicegate.core.secret import Secret
from sluicegate.core.settings import AlertSink
from sluicegate.keeper.alerts import Notice
from sluicegate.telemetry import alerts
from sluicegate.telemetry.alerts import QUEUE, Poster, event


def notice(n: int = 1, kind: str = "breaker.open") -> Notice:
    return Notice(f"1-{n}-fired", kind, "weu/gpt-4o", "fired", "connect.refused", 1_700_000_000.25, 1_700_000_000.0, n)


class Server:
    """Answers each connection with the next of these bytes; keeps what it was sent."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []
        self.port = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        self.bodies.append(json.loads(await reader.readexactly(length)))
        writer.write(self.answers.pop(0) if self.answers else b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()


def run(server: Server, test: Callable[[Poster], Awaitable[None]], said: list[dict[str, Any]] | None = None) -> None:
    async def main() -> None:
        lines = said if said is not None else []
        listening = await asyncio.start_server(server.take, "127.0.0.1", 0)
        server.port = listening.sockets[0].getsockname()[1]
        poster = Poster(lambda name, **facts: lines.append({"event": name, **facts}))
        try:
            async with asyncio.timeout(20):
                await test(poster)
        finally:
            await poster.stop()
            listening.close()

    asyncio.run(main())


def sink(server: Server, **more: Any) -> AlertSink:
    return AlertSink(Secret(f"http://127.0.0.1:{server.port}/x?sig=hidden"), **more)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "PAUSES_S", (0.0,))


def test_a_notice_is_a_cloud_event():
    found = json.loads(event(notice(3), "eu-prod", "westeurope"))
    assert found == {
        "specversion": "1.0", "id": "eu-prod-1-3-fired", "source": "/sluicegate/eu-prod",
        "type": "io.sluicegate.alert.fired", "subject": "weu/gpt-4o", "time": "2023-11-14T22:13:20.250Z",
        "datacontenttype": "application/json",
        "data": {
            "kind": "breaker.open", "state": "fired", "subject": "weu/gpt-4o", "detail": "connect.refused",
            "gateway": "eu-prod", "region": "westeurope", "since": "2023-11-14T22:13:20.000Z", "times": 3,
            "text": "[fired] eu-prod: breaker.open: weu/gpt-4o: connect.refused",
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "sent", "lost", "asked"),
    [
        ([], 1, 0, 1),
        ([b"HTTP/1.1 500 No\r\n\r\n", b"HTTP/1.1 429 Wait\r\n\r\n"], 1, 0, 3),
        ([b"HTTP/1.1 503 No\r\n\r\n"] * 3, 0, 1, 3),
        ([b"HTTP/1.1 400 Bad\r\n\r\n"], 0, 1, 1),
        ([b"HTTP/1.1 301 Moved\r\nLocation: http://169.254.169.254/\r\n\r\n"], 0, 1, 1),
        ([b"SSH-2.0-x\r\n"] * 3, 0, 1, 3),
        ([b""] * 3, 0, 1, 3),
        ([b"x" * 100_000] * 3, 0, 1, 3),
    ],
)
def test_what_a_sink_answers_decides_whether_it_is_tried_again(answers: list[bytes], sent: int, lost: int, asked: int):
    server = Server(*answers)

    async def test(poster: Poster) -> None:
        poster.configure([sink(server)], "g", "")
        poster.post(notice())
        await poster.sinks[0].idle.wait()
        (counts,) = poster.counts()
        assert (counts["sent"], counts["lost"], counts["waiting"], len(server.bodies)) == (sent, lost, 0, asked)
        assert counts["to"] == f"http://127.0.0.1:{server.port}"

    run(server, test)


def test_a_sink_is_told_of_the_kinds_it_wants_in_order():
    server = Server()

    async def test(poster: Poster) -> None:
        poster.configure([sink(server, kinds=("breaker.open",))], "g", "")
        for n in range(5):
            poster.post(notice(n))
            poster.post(notice(n, "worker.ended"))
        await poster.sinks[0].idle.wait()
        assert [b["data"]["times"] for b in server.bodies] == [0, 1, 2, 3, 4]

    run(server, test)


def test_a_queue_has_an_end_and_what_falls_out_is_counted():
    server = Server()

    async def test(poster: Poster) -> None:
        poster.configure([sink(server)], "g", "")
        for n in range(QUEUE + 10):  # nothing runs in between
            poster.post(notice(n))
        assert poster.counts()[0]["lost"] == 10 and poster.counts()[0]["waiting"] == QUEUE
        await poster.sinks[0].idle.wait()
        assert poster.counts()[0]["sent"] == QUEUE and server.bodies[0]["data"]["times"] == 10

    run(server, test)


def test_a_metadata_address_behind_a_name_is_not_called():
    server, said = Server(), []  # type: ignore[var-annotated]

    async def test(poster: Poster) -> None:
        loop = asyncio.get_running_loop()

        async def lying(host: str, port: int, **_: Any) -> Any:
            return [(0, 0, 0, "", ("169.254.169.254", port))]

        loop.getaddrinfo = lying  # type: ignore[method-assign, assignment]
        poster.configure([AlertSink(Secret("http://hooks.example/"))], "g", "")
        poster.post(notice())
        await poster.sinks[0].idle.wait()
        assert poster.counts()[0]["lost"] == 1

    run(server, test, said)
    assert said == [{"event": "alert.sink", "to": "http://hooks.example", "error": "is a metadata address"}]


def test_a_reload_keeps_what_waits_for_a_sink_that_stays():
    server = Server()

    async def test(poster: Poster) -> None:
        poster.configure([sink(server)], "g", "")
        for n in range(3):
            poster.post(notice(n))
        poster.configure([sink(server), AlertSink(Secret("http://127.0.0.1:1/"))], "g", "")
        await poster.sinks[0].idle.wait()
        assert len(server.bodies) == 3

    run(server, test)
