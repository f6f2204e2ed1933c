"""Which connections are used again, which never, how long they are kept, and what a dead one costs."""

import pytest

from tests.upstream.rig import Answer, Rig, Server, Wire, exchange, instance, ok, run, spin, until


def test_the_connection_used_last_is_used_next() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            answers = [rig.start(here) for _ in range(3)]
            peers = [await server.peer() for _ in range(3)]
            for peer in peers:
                await peer.answer(ok())
            for answer in answers:
                assert await answer.over() == "done"
            assert rig.counts.idle == 3
            last = rig.client.pool(here).idle[-1]
            again = rig.start(here)
            assert again.attempt.connection is last
            await spin()
            assert server.accepted == 3 and (rig.counts.idle, rig.counts.busy) == (2, 1)

    run(main)


def test_instances_never_share_connections() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            await exchange(rig, server, instance(server.port, 1))
            await exchange(rig, server, instance(server.port, 2))
            await exchange(rig, server, instance(server.port, 2, host="localhost"))
            assert rig.counts.idle == rig.counts.opened == 3

    run(main)


def test_the_same_instance_in_a_new_snapshot_keeps_its_connections() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            peer = await exchange(rig, server, instance(server.port))
            answer = rig.start(instance(server.port, idle_max=7))
            await peer.answer(ok())
            assert await answer.over() == "done"
            assert rig.counts.opened == 1 and rig.client.pool(instance(server.port, idle_max=7)).settings.idle_max == 7

    run(main)


NOT_KEPT = {
    "connection: close": ok(b"hello", b"Connection: close"),
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "another answer after it": ok() + ok(b"poison"),
    "half an answer after it": ok() + b"HTTP/1.1 20",
    "a byte after it": ok() + b"x",
    "a body where none may be": b"HTTP/1.1 204 No Content\r\n\r\nhello",
    "close, and bytes after it": ok(b"hello", b"Connection: close") + b"x",
    "bytes after the last chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nworse",
}


@pytest.mark.parametrize("why", NOT_KEPT)
def test_a_connection_in_doubt_is_closed_and_the_answer_stands(why: str) -> None:
    async def main() -> None:
        wire = Wire()
        rig = Rig(wire.connect)
        answer = rig.start(instance(1))
        await spin(6)
        wire.read(NOT_KEPT[why])
        assert await answer.over() == "done"
        assert answer.body in (b"hello", b"") and answer.status in (200, 204)
        assert wire.closed and rig.counts.idle == rig.counts.busy == 0

    run(main)


def test_bytes_on_an_idle_connection_close_it_and_reach_nobody() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            peer = await exchange(rig, server, here)
            peer.send(ok(b"poison"))
            assert await peer.gone()
            assert rig.counts.idle == 0
            other = rig.start(here)
            await (await server.peer()).answer(ok(b"clean"))
            assert await other.over() == "done" and other.body == b"clean"

    run(main)


def test_poison_that_came_before_the_next_call_could_see_it_is_not_its_answer() -> None:
    async def main() -> None:
        wire = Wire()
        rig = Rig(wire.connect)
        here = instance(1)
        first = rig.start(here)
        await spin(6)
        wire.read(ok(b"first") + b"HTTP/1.1 200 OK\r\n")  # cut inside the poison
        second = rig.start(here)
        assert await first.over() == "done" and first.body == b"first"
        assert second.attempt.connection is None
        await spin(6)
        wire.read(ok(b"second"))
        assert await second.over() == "done" and second.body == b"second"

    run(main)


@pytest.mark.parametrize("proper", [True, False], ids=["fin", "reset"])
def test_a_kept_connection_that_turns_out_dead_is_replaced_without_a_word(proper: bool) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            peer = await exchange(rig, server, here)
            answer = rig.start(here, b"the body")
            assert await peer.request() == b"the body"
            assert answer.attempt.sent == "all"
            peer.close() if proper else peer.reset()
            fresh = await server.peer()
            assert await fresh.request() == b"the body"
            fresh.send(ok(b"at last"))
            assert await answer.over() == "done"
            assert answer.body == b"at last" and rig.counts.opened == 2

    run(main)


def test_it_is_replaced_once_only_and_by_a_new_one_only() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            both = [rig.start(here), rig.start(here)]
            peers = [await server.peer(), await server.peer()]
            for peer in peers:
                await peer.answer(ok())
            for answer in both:
                await answer.over()
            assert rig.counts.idle == 2
            answer = rig.start(here)
            used = answer.attempt.connection
            peer = next(
                p for p in peers if p.writer.get_extra_info("peername") == used.transport.get_extra_info("sockname")
            )
            await peer.request()
            peer.reset()
            fresh = await server.peer()
            await fresh.request()
            assert rig.counts.idle == 1, "the other kept connection was not trusted with it"
            fresh.reset()
            assert await answer.over() == "reset"
            assert answer.sent == "all"
            assert server.accepted == 3

    run(main)


def test_while_it_waits_for_a_new_one_a_freed_old_one_is_not_taken() -> None:
    async def main() -> None:
        wires: list[Wire] = []

        async def connect(*args):  # type: ignore[no-untyped-def]
            wire = Wire()
            wires.append(wire)
            return await wire.connect(*args)

        rig = Rig(connect)
        here = instance(1, handshakes=1)
        first, other = rig.start(here), rig.start(here)
        await until(lambda: first.attempt.connection and other.attempt.connection)
        assert len(wires) == 2
        wires[0].read(ok())
        answer = rig.start(here)
        old = answer.attempt.connection
        assert old is wires[0].protocol
        wires[0].protocol.connection_lost(ConnectionResetError())
        assert answer.attempt.connection is None
        wires[1].read(ok())
        assert await other.over() == "done" and answer.attempt.connection is None
        await until(lambda: answer.attempt.connection)
        assert answer.attempt.connection is wires[2].protocol

    run(main)


def test_a_call_that_may_not_be_repeated_is_not() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            peer = await exchange(rig, server, here)
            answer = rig.start(here, repeatable=False)
            await peer.request()
            peer.reset()
            assert await answer.over() == "reset"
            assert answer.sent == "all" and server.accepted == 1

    run(main)


def test_after_the_first_byte_of_an_answer_nothing_is_repeated() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            peer = await exchange(rig, server, here)
            answer = rig.start(here)
            await peer.request()
            peer.send(b"H")
            await until(lambda: answer.attempt.connection.fed)
            peer.reset()
            assert await answer.over() == "reset" and answer.status == 0
            assert server.accepted == 1

    run(main)


def test_a_new_connection_that_dies_is_reported_not_repeated() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            answer = rig.start(instance(server.port))
            peer = await server.peer()
            await peer.request()
            peer.reset()
            assert await answer.over() == "reset"
            assert server.accepted == 1

    run(main)


def test_a_kept_connection_whose_end_is_known_is_not_even_tried() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            peer = await exchange(rig, server, here)
            rig.client.pool(here).idle[0].transport.abort()  # its end is on its way to us
            answer = rig.start(here, repeatable=False)
            await (await server.peer()).answer(ok())
            assert await answer.over() == "done"
            assert await peer.gone()
            assert rig.counts[:2] == (1, 0)

    run(main)


def test_idle_connections_close_in_their_time() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port, idle_s=60.0)
            peer = await exchange(rig, server, here)
            rig.pass_time(40)
            answer = rig.start(here)
            await peer.answer(ok())
            await answer.over()
            rig.pass_time(50)
            assert rig.counts.idle == 1, "it was used since"
            rig.pass_time(12)
            assert rig.counts.idle == 0
            assert await peer.gone()
            assert len(rig.wheel) == 0

    run(main)


def test_a_busy_connection_is_not_closed_for_idling() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port, idle_s=10.0)
            peer = await exchange(rig, server, here)
            answer = rig.start(here)
            await peer.request()
            for _ in range(5):
                rig.pass_time(9)
            peer.send(ok())
            assert await answer.over() == "done" and rig.counts.idle == 1
            rig.pass_time(9)
            assert rig.counts.idle == 1
            rig.pass_time(3)
            assert rig.counts.idle == 0

    run(main)


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_connections_retire_after_their_life_less_up_to_a_quarter(chance: float) -> None:
    async def main() -> None:
        rig = Rig(chance=chance)
        life = 100 * (1 - chance / 4)
        async with Server() as server:
            here = instance(server.port, idle_s=1e6, life_s=100.0)
            idle = await exchange(rig, server, here)
            rig.pass_time(life - 2)
            assert rig.counts.idle == 1
            answer = rig.start(here)
            await idle.request()
            rig.pass_time(10)
            assert not answer.how, "its life is over, the call is not"
            idle.send(ok())
            assert await answer.over() == "done"
            assert rig.counts.idle == 0 and await idle.gone()
            other = await exchange(rig, server, here)
            rig.pass_time(life)
            assert rig.counts.idle == 0 and await other.gone()

    run(main)


def test_no_more_are_kept_than_allowed() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port, idle_max=2)
            answers = [rig.start(here) for _ in range(4)]
            for _ in range(4):
                await (await server.peer()).answer(ok())
            for answer in answers:
                assert await answer.over() == "done"
            assert rig.counts[:2] == (2, 0)

    run(main)


def test_a_minimum_is_opened_ahead_and_kept_up() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port, idle_min=2, idle_s=50.0)
            rig.client.warm([here])
            peers = [await server.peer(), await server.peer()]
            await until(lambda: rig.counts.idle == 2)
            answer = rig.start(here)
            assert answer.attempt.connection is not None, "no wait for a handshake"
            peers.append(await server.peer())
            await until(lambda: rig.counts.idle == 2)
            peers[0].close()
            peers[1].close()
            peers += [await server.peer()]
            await until(lambda: rig.counts.idle == 2)
            assert await peers[1].gone() or await peers[0].gone()
            rig.pass_time(55)
            await server.peer()
            await until(lambda: rig.counts.idle == 2)

    run(main)


def test_a_connection_opened_ahead_that_died_unnoticed_is_replaced_like_any_kept_one() -> None:
    async def main() -> None:
        wires: list[Wire] = []

        async def connect(*args):  # type: ignore[no-untyped-def]
            wires.append(Wire())
            return await wires[-1].connect(*args)

        rig = Rig(connect)
        here = instance(1, idle_min=1)
        rig.client.warm([here])
        await until(lambda: rig.counts.idle == 1)
        answer = rig.start(here)
        assert answer.attempt.connection is wires[0].protocol
        wires[0].protocol.connection_lost(ConnectionResetError())
        await until(lambda: answer.attempt.connection)
        next(w for w in wires if w.protocol is answer.attempt.connection).read(ok())
        assert await answer.over() == "done"

    run(main)


def test_a_failure_ahead_of_time_is_silent_and_tried_again_more_and_more_slowly() -> None:
    async def main() -> None:
        knocks = 0

        async def refuse(*args: object) -> None:
            nonlocal knocks
            knocks += 1
            raise ConnectionRefusedError

        rig = Rig(refuse)
        rig.client.warm([instance(1, idle_min=1)])
        await spin()
        seen = [knocks]
        for _ in range(60):
            rig.pass_time(0.8)
            await spin()
            seen.append(knocks)
        assert knocks == 6, "at 0, 1, 3, 7, 15 and 31 seconds, and so on"
        assert seen[0] == 1
        answer = Answer()
        rig.start(instance(1, idle_min=1), answer=answer)
        await spin()
        assert answer.how == "connect.refused" and knocks == 7

    run(main)


def test_close_lets_calls_end_and_keeps_nothing() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port, idle_min=1)
            running = rig.start(here)
            peer = await server.peer()
            ahead = await server.peer()
            await until(lambda: rig.counts.idle == 1)
            rig.client.close()
            assert await ahead.gone()
            assert rig.counts[:3] == (0, 1, 0)
            late = rig.start(here)
            await peer.answer(ok())
            assert await running.over() == "done" and await peer.gone()
            peer = await server.peer()
            await peer.answer(ok())
            assert await late.over() == "done" and await peer.gone()
            await spin()
            assert rig.counts[:4] == (0, 0, 0, 0) and server.accepted == 3

    run(main)


def test_a_retired_instance_keeps_nothing_and_its_calls_end() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            gone, stays = instance(server.port, 1), instance(server.port, 2)
            idle = await exchange(rig, server, gone)
            await exchange(rig, server, stays)
            running = rig.start(gone)
            rig.client.retire([1])
            await idle.answer(ok())
            assert await running.over() == "done"
            assert await idle.gone()
            assert rig.counts.idle == 1
            await exchange(rig, server, gone)  # an exchange that began before the reload may come late

    run(main)


def test_an_instance_that_moved_leaves_no_connection_behind() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as old, Server() as new:
            before, after = instance(old.port), instance(new.port)
            peer = await exchange(rig, old, before)
            rig.client.warm([after])
            assert await peer.gone()
            await exchange(rig, new, after)
            late = await exchange(rig, old, before)
            assert await late.gone(), "served, not kept"
            assert rig.counts.idle == 1

    run(main)
