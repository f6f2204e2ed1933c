"""Requests leave whole or not at all, large ones as the socket takes them, and an early answer is heard."""

import asyncio
import socket
from mmap import mmap

import pytest

from sluicegate.core.ports import Chunk
from tests.upstream.rig import Answer, Rig, Server, call, exchange, instance, ok, run, spin, until

LARGE = bytes(range(256)) * (48 * 1024)  # 12 MB: more than any socket takes at once


def mapped(data: bytes) -> memoryview:
    room = mmap(-1, len(data))
    room.write(data)
    return memoryview(room)


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, len(LARGE)])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, mapped])
def test_every_body_arrives_as_it_was(kind, size: int) -> None:  # type: ignore[no-untyped-def]
    body: Chunk = kind(LARGE[: size or (kind is mapped)])  # nothing cannot be mapped

    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            for _ in range(2):
                answer = rig.start(here, body)
                if not rig.counts.idle + rig.counts.busy:
                    peer = await server.peer()
                assert await peer.request() == body
                peer.send(ok())
                assert await answer.over() == "done" and answer.sent == "all"
            assert rig.counts[:2] == (1, 0) and rig.counts.opened == 1

    run(main)


def test_a_small_request_is_one_write() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            await exchange(rig, server, here)
            connection = rig.client.pool(here).idle[0]
            writes: list[bytes] = []
            connection.put = writes.append
            rig.client.start(call(here, b"x" * 60_000), Answer())
            assert len(writes) == 1 and writes[0].endswith(b"\r\n\r\n" + b"x" * 60_000)

    run(main)


def test_how_much_was_sent_is_known_and_never_less_than_true() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            answer = rig.start(here, LARGE)
            assert answer.attempt.sent == "nothing", "it waits for a connection"
            peer = await server.peer()
            await until(lambda: answer.attempt.connection)
            await spin()
            assert answer.attempt.sent == "some"
            await peer.request()
            await spin()
            assert answer.attempt.sent == "all"
            peer.send(ok())
            await answer.over()
            assert answer.attempt.sent == "all", "known after the end, too"

    run(main)


def test_what_waits_to_be_written_is_bounded() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            answer = rig.start(instance(server.port), LARGE)
            await until(lambda: answer.attempt.connection)
            await spin(100)  # the peer does not read
            connection = answer.attempt.connection
            assert connection.rest is not None and connection.write_paused
            assert connection.transport.get_write_buffer_size() <= 2 * connection.piece_bytes
            answer.cancel()

    run(main)


EARLY = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\n{}"


def test_an_early_answer_is_delivered_and_its_connection_not_kept() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            answer = rig.start(instance(server.port), LARGE)
            peer = await server.peer()
            await peer.head()
            peer.send(EARLY)
            assert await answer.over() == "done"
            assert (answer.status, answer.body, answer.sent) == (429, b"{}", "some")
            assert rig.counts[:2] == (0, 0)
            await peer.gone()

    run(main)


def test_an_early_answer_is_heard_even_if_the_upstream_stopped_listening_before_we_looked() -> None:
    """Our next write fails by then, and the loop does not read any more; the answer is in the kernel."""

    async def main() -> None:
        rig = Rig()
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        loop = asyncio.get_running_loop()
        answer = rig.start(instance(listening.getsockname()[1]), LARGE)
        peer, _ = await loop.sock_accept(listening)
        with listening, peer:
            await until(lambda: answer.attempt.connection and answer.attempt.connection.write_paused)
            connection = answer.attempt.connection
            peer.send(EARLY)
            peer.close()  # with unread bytes of ours: a reset
            connection.write_paused = False
            connection.transport._force_close(BrokenPipeError())  # what a write of ours would have found now
            assert await answer.over() == "done"
            assert (answer.status, answer.body) == (429, b"{}")
            assert rig.counts[:2] == (0, 0)

    run(main)


def test_an_answer_after_the_whole_request_is_not_early() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            await exchange(rig, server, here, EARLY, LARGE)
            assert rig.counts.idle == 1

    run(main)


def test_keys_are_in_no_repr() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            answer = rig.start(here)
            waiting = repr(answer.attempt) + repr(answer.attempt.pool)
            peer = await server.peer()
            await peer.request()
            attempt = answer.attempt
            shown = waiting + repr(attempt) + repr(attempt.connection) + repr(attempt.pool) + repr(attempt.call)
            assert "secret" not in shown and "api-key" not in shown
            answer.cancel()

    run(main)
