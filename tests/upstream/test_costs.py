"""What a call may cost: no task, no future, no timer of its own."""

import asyncio
import gc
from collections import Counter
from typing import Any

import uvloop

from tests.upstream.rig import Answer, Rig, Serving, instance, ok, run

MADE: Counter[str] = Counter()


class CountingLoop(uvloop.Loop):
    """Counts what asyncio would have us make for every request."""

    def create_task(self, *args: Any, **more: Any) -> Any:
        MADE["task"] += 1
        return super().create_task(*args, **more)

    def create_future(self) -> Any:
        MADE["future"] += 1
        return super().create_future()

    def call_later(self, *args: Any, **more: Any) -> Any:
        MADE["timer"] += 1
        return super().call_later(*args, **more)

    def call_at(self, *args: Any, **more: Any) -> Any:
        MADE["timer"] += 1
        return super().call_at(*args, **more)

    def call_soon(self, *args: Any, **more: Any) -> Any:
        MADE["soon"] += 1
        return super().call_soon(*args, **more)


def test_a_thousand_calls_make_no_task_no_future_and_no_timer() -> None:
    async def main() -> None:
        rig = Rig()
        async with Serving(ok(b"x" * 1000)) as server:
            here = instance(server.port)
            over = asyncio.get_running_loop().create_future()
            left = 1001

            class Chain(Answer):
                def end(self, how: str, now: float) -> None:
                    nonlocal left
                    assert how == "done"
                    left -= 1
                    if left == 1000:
                        self.before = Counter(MADE)
                    if left:
                        self.how = ""
                        self.status = 0
                        rig.start(here, answer=self)
                    else:
                        self.made = MADE - self.before
                        over.set_result(None)

            chain = Chain()
            rig.start(here, answer=chain)
            await over
            assert not chain.made and server.connections == 1
            assert len(rig.wheel) == 1, "the connection, once"

    run(main, CountingLoop)


def test_a_closed_connection_leaves_no_garbage_for_the_collector() -> None:
    """Full collections cost up to 100 ms on a large heap, so what is done with goes by itself."""

    async def main() -> None:
        rig = Rig()
        async with Serving(ok()) as server:
            here = instance(server.port)
            for _ in range(3):
                answers = [rig.start(here) for _ in range(20)]
                for answer in answers:
                    await answer.over()
                del answer, answers
                for connection in list(rig.client.pool(here).idle):
                    connection.close()
                    del connection
                for _ in range(30):
                    await asyncio.sleep(0)
                gc.collect()
            gc.disable()
            try:
                answer = rig.start(here)
                await answer.over()
                answer.attempt = None
                rig.client.pool(here).idle[0].close()
                del answer
                for _ in range(30):
                    await asyncio.sleep(0)
                gc.set_debug(gc.DEBUG_SAVEALL)
                gc.collect()
                ours = [o for o in gc.garbage if type(o).__module__.startswith("sluicegate")]
                assert not ours, ours
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
                gc.enable()

    run(main)
