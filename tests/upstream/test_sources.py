"""Bodies that are not all here when their call begins: written as they come, and never taken for whole before."""

from __future__ import annotations

import pytest

from sluicegate.core.ports import Call, Chunk, Taker
from tests.upstream.rig import Answer, Rig, Server, instance, ok, run, spin, until

EARLY = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\n{}"


class Source:
    """Gives what the test put in."""

    def __init__(self, *pieces: Chunk, over: bool = False, again: bool = True) -> None:
        self.taker: Taker | None = None
        self.pieces = list(pieces)
        self.at = 0
        self.over = over
        self.again = again

    def more(self, *pieces: Chunk, over: bool = False) -> None:
        self.pieces += pieces
        self.over = over
        if self.taker is not None:
            self.taker.pump()

    def take(self, most: int) -> Chunk | None:
        if self.at < len(self.pieces):
            self.at += 1
            return self.pieces[self.at - 1]
        return None if self.over else b""

    def rewind(self) -> bool:
        self.at = 0
        return self.again


def start(rig: Rig, port: int, source: Source, size: int, repeatable: bool = True) -> Answer:
    """A call whose body has so many bytes."""
    head = b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % size
    call = Call(instance(port), "POST", head, b"", 5.0, repeatable)
    call.source = source
    answer = Answer()
    answer.attempt = rig.client.start(call, answer)
    return answer


def test_a_body_that_comes_bit_by_bit_arrives_as_it_comes() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            source = Source(b"one")
            answer = start(rig, server.port, source, 9)
            peer = await server.peer()
            await peer.head()
            assert await peer.reader.readexactly(3) == b"one"
            assert answer.attempt.sent == "some"
            source.more(memoryview(b"two"), over=False)
            assert await peer.reader.readexactly(3) == b"two"
            source.more(bytearray(b"end"), over=True)
            assert await peer.reader.readexactly(3) == b"end"
            await spin()
            assert answer.attempt.sent == "all" and source.taker is None
            peer.send(ok())
            assert await answer.over() == "done" and answer.sent == "all"
            assert rig.counts[:2] == (1, 0), "it is kept"
            again = rig.start(instance(server.port))
            await peer.answer(ok())
            assert await again.over() == "done" and server.accepted == 1

    run(main)


@pytest.mark.parametrize("ends", ["keeps open", "closes"])
def test_abuse_89_an_answer_before_the_rest_was_there_is_heard_and_the_connection_not_kept(ends: str) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            source = Source(b"one")
            answer = start(rig, server.port, source, 9)
            peer = await server.peer()
            await peer.head()
            peer.send(EARLY)
            if ends == "closes":
                peer.close()
            assert await answer.over() == "done"
            assert (answer.status, answer.body, answer.sent) == (429, b"{}", "some")
            assert rig.counts[:2] == (0, 0) and source.taker is None
            source.more(b"two", over=True)  # nobody takes it
            assert source.at == 1
            if ends == "keeps open":
                await peer.gone()

    run(main)


@pytest.mark.parametrize("again", [True, False])
def test_on_a_kept_connection_that_was_dead_it_begins_anew_if_it_can(again: bool) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            source = Source(b"one", over=True, again=again)
            rig.start(here)
            first = await server.peer()
            await first.answer(ok())
            await until(lambda: rig.counts.idle == 1)
            answer = start(rig, server.port, source, 3)
            first.close()  # without a word, as a server does whose patience ended
            if again:
                second = await server.peer()
                assert await second.request() == b"one"
                second.send(ok())
                assert await answer.over() == "done"
            else:
                assert await answer.over() in ("cut", "reset")
                assert server.accepted == 1

    run(main)


def test_what_waits_to_be_written_is_bounded_and_goes_on_when_it_is_taken() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            pieces = [bytes([n]) * 256 * 1024 for n in range(60)]
            source = Source(*pieces, over=True)
            answer = start(rig, server.port, source, 60 * 256 * 1024)
            peer = await server.peer()
            await peer.head()
            await spin(200)  # it does not read
            assert source.at < 40 and answer.attempt.sent == "some"
            assert await peer.reader.readexactly(60 * 256 * 1024) == b"".join(pieces)
            peer.send(ok())
            assert await answer.over() == "done" and answer.sent == "all"

    run(main)


def test_a_call_that_is_given_up_takes_nothing_more() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            source = Source(b"one")
            answer = start(rig, server.port, source, 9)
            peer = await server.peer()
            await peer.head()
            answer.cancel()
            assert source.taker is None
            source.more(b"two")
            assert source.at == 1
            assert await peer.reader.read() == b"one"

    run(main)
