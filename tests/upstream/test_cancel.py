"""After a cancel nothing is called back and nothing stays open; after a pause little more comes."""

import asyncio
from collections.abc import Callable

import pytest

from sluicegate.upstream.connection import READ_BYTES
from tests.upstream.rig import Answer, Rig, Server, exchange, instance, ok, open_files, run, spin, until

PHASES = [
    "at once", "looking up", "in the queue", "connecting", "on a kept connection", "writing", "before the head", "head",
    "in the head", "body", "in the body", "in the end", "in the last data", "after the end",
]  # fmt: skip


@pytest.mark.parametrize("phase", PHASES)
def test_after_a_cancel_nothing_comes_and_nothing_stays(phase: str) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port, host="localhost" if phase == "looking up" else "127.0.0.1", handshakes=1)
            await spin()
            before = open_files()
            answer = Answer()
            if phase == "in the queue":
                ahead = rig.start(here)
            if phase == "on a kept connection":
                kept = await exchange(rig, server, here)
            if phase == "in the head":
                answer.on_head = answer.cancel
            if phase in ("in the body", "in the last data"):
                answer.on_data = answer.cancel
            rig.start(here, b"x" * (12 << 20 if phase == "writing" else 10), answer=answer)
            if phase == "looking up":
                await spin(2)
            elif phase == "in the queue":
                assert rig.counts.waiting == 2 and rig.counts.connecting == 1
                answer.cancel()
                assert rig.counts.waiting == 1 and rig.counts.connecting == 1
                peer = await server.peer()
                await peer.answer(ok())
                assert await ahead.over() == "done"
                rig.client.close()
            elif phase == "connecting":
                await until(lambda: server.accepted or answer.attempt.connection)
            elif phase != "at once":
                peer = kept if phase == "on a kept connection" else await server.peer()
                if phase == "writing":
                    await until(lambda: answer.attempt.connection and answer.attempt.connection.write_paused)
                else:
                    await peer.request()
                if phase in ("head", "in the head"):
                    peer.send(ok()[:-5] if phase == "head" else ok())
                    await answer.hear(lambda: answer.status)
                if phase in ("body", "in the body"):
                    peer.send(ok()[:-1])
                    await answer.hear(lambda: answer.body)
                if phase in ("in the end", "in the last data", "after the end"):
                    if phase == "in the end":
                        answer.on_end = answer.attempt.cancel
                    peer.send(ok())
                    await answer.hear(lambda: answer.how or answer.cancelled)
            if phase not in ("in the end", "after the end", "in the queue"):
                answer.cancel() if not answer.cancelled else None
                answer.attempt.cancel()
                assert rig.counts.busy == rig.counts.waiting == 0
                await spin()
                if phase not in ("at once", "looking up", "connecting"):
                    peer.send(ok())
                    assert await peer.gone() is not None
            else:
                answer.attempt.cancel()
                assert rig.counts.busy == 0 and rig.counts.idle == (phase != "in the queue")
                rig.client.close()
            rig.pass_time(1000)
            answer.attempt.pause()
            answer.attempt.resume()
            await spin()
            assert not answer.too_late
            assert rig.counts[:4] == (0, 0, 0, 0)
        await until(lambda: open_files() <= before)

    run(main)


def test_ten_thousand_cancelled_calls_leave_nothing() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            await spin()
            before = open_files(), len(asyncio.all_tasks())
            answers = [rig.start(here) for _ in range(10_000)]
            assert rig.counts.connecting == 16, "handshakes at once"
            for answer in answers:
                answer.cancel()
            assert rig.counts[:4] == (0, 0, 0, 0)
            await spin()
            assert len(rig.wheel) == 0
            assert not any(answer.too_late for answer in answers)
        await until(lambda: (open_files(), len(asyncio.all_tasks())) <= before)

    run(main)


def test_a_paused_answer_is_bounded_and_goes_on_where_it_stopped() -> None:
    async def main() -> None:
        rig = Rig()
        body = bytes(range(256)) * (16 * 1024)
        async with Server() as server:
            here = instance(server.port)
            answer = Answer()
            answer.on_head = lambda: answer.attempt.pause()
            rig.start(here, answer=answer)
            peer = await server.peer()
            await peer.answer(ok(body))
            await answer.hear(lambda: answer.status)
            await spin(100)
            assert len(answer.body) <= READ_BYTES
            held = len(answer.body)
            answer.on_head = answer.on_data = lambda: None
            answer.attempt.resume()
            answer.attempt.resume()
            await answer.hear(lambda: len(answer.body) > held)
            answer.attempt.pause()
            await spin(100)
            assert len(answer.body) < len(body)
            answer.attempt.resume()
            assert await answer.over() == "done" and answer.body == body
            assert max(answer.chunks) <= READ_BYTES
            assert rig.counts.idle == 1

    run(main)


def test_a_connection_whose_caller_paused_at_the_end_still_hears_of_its_death() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            answer = Answer()
            answer.on_data = lambda: answer.attempt.pause()
            rig.start(here, answer=answer)
            peer = await server.peer()
            await peer.answer(ok())
            assert await answer.over() == "done" and rig.counts.idle == 1
            peer.close()
            await until(lambda: rig.counts.idle == 0)

    run(main)


@pytest.mark.parametrize("paused", ["before the connection", "before the repeat"])
def test_a_pause_holds_for_the_connection_that_comes_later(paused: str) -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            old = await exchange(rig, server, here) if paused == "before the repeat" else None
            answer = rig.start(here)
            answer.attempt.pause()
            if old is not None:
                await old.request()
                answer.attempt.resume()
                old.reset()
                await until(lambda: answer.attempt.connection is None)
                answer.attempt.pause()
            peer = await server.peer()
            await peer.answer(ok())
            await spin(50)
            assert not answer.status
            answer.attempt.resume()
            assert await answer.over() == "done"

    run(main)


def test_the_next_call_may_start_inside_the_end_of_the_last_on_the_same_connection() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            answers = [Answer() for _ in range(5)]

            def then(i: int) -> Callable[[], None]:
                return lambda: rig.start(here, answer=answers[i]) and None

            for i in range(4):
                answers[i].on_end = then(i + 1)
            rig.start(here, answer=answers[0])
            peer = await server.peer()
            for i in range(5):
                await peer.answer(ok(b"%d" % i))
            assert await answers[-1].over() == "done"
            assert [a.body for a in answers] == [b"0", b"1", b"2", b"3", b"4"]
            assert rig.counts.opened == 1 and rig.counts[:2] == (1, 0)

    run(main)


def test_a_sink_that_fails_breaks_its_own_connection_only() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            here = instance(server.port)
            heard: list[object] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context["exception"]))
            answer = Answer()
            bug = ZeroDivisionError()

            def fail() -> None:
                answer.on_head = lambda: None
                raise bug

            answer.on_head = fail
            rig.start(here, answer=answer)
            peer = await server.peer()
            await peer.answer(ok())
            await answer.hear(lambda: answer.how)
            assert answer.how == "reset" and heard == [bug]
            assert rig.counts[:2] == (0, 0)
            await exchange(rig, server, here)

    run(main)
