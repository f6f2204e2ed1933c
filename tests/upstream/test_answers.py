"""Which answers are complete, which are not, and that no cut is ever taken for an end."""

import pytest

from tests.upstream.rig import Answer, Rig, Server, Wire, exchange, instance, ok, run, spin, until

LENGTH = b"HTTP/1.1 200 OK\r\nX-Thing: a\r\nContent-Length: 12\r\n\r\nhello, world"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n"
    b"7\r\nhello, \r\n5;x=y\r\nworld\r\n0\r\ntrailer: dropped\r\n\r\n"
)
CLOSED = b"HTTP/1.1 200 OK\r\nX-Thing: a\r\n\r\nhello, world"
FRAMINGS = {"length": LENGTH, "chunked": CHUNKED, "closed": CLOSED}
HEAD_END = {name: answer.index(b"\r\n\r\n") + 4 for name, answer in FRAMINGS.items()}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("proper", [True, False], ids=["fin", "reset"])
def test_an_answer_cut_at_any_byte_is_never_done(framing: str, proper: bool) -> None:
    whole = FRAMINGS[framing]

    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            for at in range(len(whole) + 1):
                answer = rig.start(instance(server.port))
                peer = await server.peer()
                await peer.request()
                peer.send(whole[:at])
                if at:
                    connection = answer.attempt.connection
                    seen = min(at, HEAD_END[framing])
                    await until(lambda c=connection, s=seen: not c.attempt or c.fed >= s)
                if proper:
                    peer.close()
                else:
                    await spin(5)
                    peer.reset()
                how = await answer.over()
                if at == len(whole) and framing != "closed":
                    assert how == "done"
                elif not proper:
                    assert how == "reset"
                elif framing == "closed" and at >= HEAD_END[framing]:
                    assert how == "eof"
                else:
                    assert how == "cut"
                assert b"hello, world".startswith(answer.body)
                if how in ("done", "eof"):
                    assert answer.status == 200
                assert answer.sent == "all"
            await spin()
            assert rig.counts.busy == rig.counts.idle == 0

    run(main)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_the_same_bytes_mean_the_same_however_reads_split_them(framing: str) -> None:
    whole = FRAMINGS[framing]

    async def main() -> None:
        async def once(parts: list[bytes]) -> Answer:
            wire = Wire()
            rig = Rig(wire.connect)
            answer = rig.start(instance(1))
            await spin(6)
            for part in parts:
                wire.read(part)
            if framing == "closed":
                wire.protocol.eof_received()
            assert await answer.over() == ("eof" if framing == "closed" else "done")
            assert rig.counts.idle == (framing != "closed")
            return answer

        plain = await once([whole])
        assert plain.body == b"hello, world" and plain.status == 200
        assert (b"X-Thing", b"a") in plain.headers or framing == "chunked"
        assert not any(name == b"trailer" for name, _ in plain.headers)
        splits = [[whole[:i], whole[i:]] for i in range(1, len(whole))]
        splits += [[whole[i : i + 1] for i in range(len(whole))]]
        splits += [[whole[:i], whole[i : i + 3], whole[i + 3 :]] for i in range(1, len(whole) - 3)]
        for parts in splits:
            answer = await once(parts)
            assert (answer.status, answer.headers, answer.body) == (200, plain.headers, plain.body), parts

    run(main)


def test_chunks_that_one_read_brings_are_one_piece_of_data() -> None:
    async def main() -> None:
        wire = Wire()
        rig = Rig(wire.connect)
        answer = rig.start(instance(1))
        await spin(6)
        wire.read(CHUNKED)
        assert await answer.over() == "done"
        assert answer.chunks == [12]

    run(main)


MALFORMED = {
    "both framings": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both framings, turned": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "the same length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "lengths in a list": b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "length too large": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nhello",
    "hexadecimal length": b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status below 100": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "status above 599": b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
    "another version": b"HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "folded header": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "space before colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "NUL in a header": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    "no name": b"HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "another protocol, unnamed": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"a%d: b\r\n" % i for i in range(201)) + b"\r\n",
    "one large header": b"HTTP/1.1 200 OK\r\na: " + b"b" * 66_000 + b"\r\n\r\n",
    "large headers": b"HTTP/1.1 200 OK\r\n" + (b"a: " + b"b" * 1000 + b"\r\n") * 70 + b"\r\n",
    "headers without end": b"HTTP/1.1 200 OK\r\na: " + b"b" * 200_000,
    "interim answers without end": b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" * 17 + ok(),
    "large interim answers": (b"HTTP/1.1 103 Early Hints\r\na: " + b"b" * 9000 + b"\r\n\r\n") * 9 + ok(),
}
LATER = {
    "chunk size": b"zz\r\n",
    "chunk size with a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "chunk size with a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "chunk size with an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "chunk size too large": b"fffffffffffffffff\r\nhello\r\n",
    "no line end after a chunk": b"5\r\nhelloXX0\r\n\r\n",
    "line feed only": b"5\nhello\n0\n\n",
}


@pytest.mark.parametrize("what", MALFORMED)
@pytest.mark.parametrize("step", [0, 7], ids=["at once", "in small reads"])
def test_what_is_no_answer_is_malformed_before_its_head_is_told(what: str, step: int) -> None:
    async def main() -> None:
        wire = Wire()
        rig = Rig(wire.connect)
        answer = rig.start(instance(1))
        await spin(6)
        data = MALFORMED[what]
        size = step or len(data)
        for i in range(0, len(data), size):
            if not wire.closed:
                wire.read(data[i : i + size])
        assert await answer.over() == "malformed"
        assert answer.status == 0 and answer.body == b""
        assert wire.closed and rig.counts.idle == rig.counts.busy == 0

    run(main)


@pytest.mark.parametrize("what", LATER)
def test_a_broken_chunk_ends_an_answer_as_malformed(what: str) -> None:
    async def main() -> None:
        wire = Wire()
        rig = Rig(wire.connect)
        answer = rig.start(instance(1))
        await spin(6)
        wire.read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n" + LATER[what])
        assert await answer.over() == "malformed"
        assert answer.status == 200 and answer.body in (b"abc", b"abchello")
        assert wire.closed and rig.counts.idle == rig.counts.busy == 0

    run(main)


@pytest.mark.parametrize("coding", [b"gzip", b"gzip, chunked", b"chunked, gzip", b"xchunked", b"identity"])
def test_a_coding_nobody_speaks_never_ends_well(coding: bytes) -> None:
    async def main() -> None:
        wire = Wire()
        rig = Rig(wire.connect)
        answer = rig.start(instance(1))
        await spin(6)
        wire.read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: %b\r\n\r\n5\r\nhello\r\n0\r\n\r\n" % coding)
        if not answer.how:
            wire.protocol.eof_received()
        how = await answer.over()
        assert how in ("cut", "malformed") or (how == "done" and coding == b"gzip, chunked")
        assert rig.counts.idle == (how == "done")

    run(main)


def test_interim_answers_are_skipped() -> None:
    async def main() -> None:
        wire = Wire()
        rig = Rig(wire.connect)
        interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        for parts in ([interim + ok()], [interim, ok()], [interim[:30], interim[30:] + ok()]):
            answer = rig.start(instance(1))
            await spin(6)
            for part in parts:
                wire.read(part)
            assert await answer.over() == "done"
            assert (answer.status, answer.body) == (200, b"hello")
            assert answer.headers == [(b"content-length", b"5")]
        assert rig.counts.opened == 1

    run(main)


def test_a_large_answer_with_a_small_head_is_no_large_head() -> None:
    async def main() -> None:
        wire = Wire()
        rig = Rig(wire.connect)
        body = b"x" * 300_000
        for parts in ([ok(body)], [ok(body)[:20], ok(body)[20:]], [ok(body, b"a: " + b"b" * 60_000)]):
            answer = rig.start(instance(1))
            await spin(6)
            for part in parts:
                wire.read(part)
            assert await answer.over() == "done"
            assert answer.body == body

    run(main)


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_by_its_status_is_done_at_its_head(status: int) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            await exchange(rig, server, here, b"HTTP/1.1 %d X\r\ncontent-length: 5\r\n\r\n" % status)
            assert rig.counts.idle == 1

    run(main)


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server, Server() as elsewhere:
            answer = rig.start(instance(server.port))
            peer = await server.peer()
            where = b"http://127.0.0.1:%d/" % elsewhere.port
            await peer.answer(b"HTTP/1.1 302 Found\r\nLocation: %b\r\ncontent-length: 0\r\n\r\n" % where)
            assert await answer.over() == "done"
            assert answer.status == 302 and (b"Location", where) in answer.headers
            await spin()
            assert elsewhere.accepted == 0

    run(main)


def test_names_come_as_they_were_on_the_wire_and_of_a_repeated_one_the_last_value() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            answer = rig.start(instance(server.port))
            await (await server.peer()).answer(
                ok(b"", b"X-MiXeD:   a b", b"x-twice: 1", b"X-Twice: 2", b"x-twice: 3", b"empty:")
            )
            assert await answer.over() == "done"
            assert answer.headers == [
                (b"content-length", b"0"), (b"X-MiXeD", b"a b"), (b"x-twice", b"3"), (b"X-Twice", b"2"), (b"empty", b""),
            ]  # fmt: skip

    run(main)
