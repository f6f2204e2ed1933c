"""On warm connections a request costs no task and no future: counted in the worker's own loop.

A task and its futures cost some 10 us each time, more than everything else that is done for a plain request; that none
is made is why a driver is a trampoline of callbacks. Tasks exist where connections are opened.
"""

import asyncio
import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvloop

from tests.clients.lies import PLAIN
from tests.clients.members import members, settled
from tests.clients.upstream import DONE, JSON, Asked, Wire, event, head, piece, streamed, usage_event
from tests.gateway import KEY, GatewayThread

STREAM = streamed(*[event(piece(f"{n} ")) for n in range(20)], event(piece(finish="stop")), event(usage_event()), DONE)


class Counting(uvloop.Loop):
    """A loop that counts what is made in it."""

    tasks = 0
    futures = 0

    def create_task(self, coroutine, **more):  # type: ignore[no-untyped-def]
        type(self).tasks += 1
        return super().create_task(coroutine, **more)

    def create_future(self):  # type: ignore[no-untyped-def]
        type(self).futures += 1
        return super().create_future()


async def answering(asked: Asked, wire: Wire) -> None:
    if asked.fields.get("stream"):
        wire.write(STREAM)
    else:
        wire.write(head(JSON, length=len(PLAIN)), PLAIN)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[GatewayThread, http.client.HTTPConnection]]:
    """A gateway in a counting loop, and a client on a kept connection."""
    monkeypatch.setattr(uvloop, "new_event_loop", Counting)
    with members(answering) as (gateway, _):
        client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
        try:
            yield gateway, client
        finally:
            client.close()


def ask(client: http.client.HTTPConnection, stream: bool) -> bytes:
    body = json.dumps({"messages": [{"role": "user", "content": "hello"}], "stream": stream})
    path = "/openai/deployments/chat/chat/completions?api-version=2024-10-21"
    client.request("POST", path, body, {"api-key": KEY, "content-type": "application/json"})
    answer = client.getresponse()
    assert answer.status == 200
    return answer.read()


def test_a_request_makes_no_task_and_no_future(monkeypatch: pytest.MonkeyPatch):
    with counted(monkeypatch) as (gateway, client):
        for stream in (False, True):  # warm: connections open, plans made
            ask(client, stream)
        before = gateway.call(lambda: (Counting.tasks, Counting.futures))
        for _ in range(1000):
            assert ask(client, False) == PLAIN
        for _ in range(200):
            assert DONE in ask(client, True)
        after = gateway.call(lambda: (Counting.tasks, Counting.futures))
        settled(gateway, 1202)
    asking = 1  # the question itself, asked through the loop, is a task
    assert (after[0] - before[0], after[1] - before[1]) == (asking, 0)


def test_the_counting_counts(monkeypatch: pytest.MonkeyPatch):
    """Else a loop that makes them elsewhere would pass."""
    with counted(monkeypatch) as (gateway, client):
        tasks, futures = gateway.call(lambda: (Counting.tasks, Counting.futures))
        gateway.call(lambda: asyncio.get_running_loop().create_future())
        ask(client, False)  # opens a connection upstream, and this one
        seen = gateway.call(lambda: (Counting.tasks, Counting.futures))
    assert seen[0] - tasks > 2 and seen[1] > futures
