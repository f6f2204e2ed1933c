"""G8: leaving and replacing break nobody. Streams that run when SIGTERM comes end whole; workers replaced one at a time
under load reset no connection."""

import asyncio
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sluicegate.sim.fleet import FleetThread
from tests.goals.calling import Answered, Caller, request, steadily
from tests.keeper.running import ENV, KEY, Gateway, config, until

RATE = 200


@contextmanager
def serving(folder: Path, token_s: float, drain: str) -> Iterator[Gateway]:
    latency = {"first_token_s": 0.01, "per_token_s": token_s}
    with FleetThread(
        {"a": {"key": ENV["UPSTREAM_KEY"], "deployments": {"gpt-4o": {"latency": latency}}}}, seed=8
    ) as fleet:
        with Gateway(folder, config(folder, fleet["a"].origin, workers=2, drain=drain)) as gateway:
            yield gateway


class Kept:
    """Clients that keep connections as SDKs do: one that the other side closed meanwhile is not used again. Like httpx
    it asks the socket itself, not what its loop has read so far."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.free: list[Caller] = []

    async def ask(self, message: bytes) -> Answered:
        while self.free:
            caller = self.free.pop()
            if caller.writer is not None and not caller.reader.at_eof() and not readable(caller.writer):
                break
            await caller.close()
        else:
            caller = Caller(self.port)
        answered = await caller.ask(message)
        if caller.writer is not None:
            self.free.append(caller)
        return answered

    async def close(self) -> None:
        for caller in self.free:
            await caller.close()


def readable(writer: asyncio.StreamWriter) -> bool:
    """Whether there is something to read: on a connection that waits to be used, its end."""
    ready = select.poll()
    ready.register(writer.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(ready.poll(0))


def bad(answers: list[Answered]) -> list[str]:
    return [f"{a.status} whole={a.whole} {a.body[-80:]!r}" for a in answers if a.status != 200 or not a.whole]


def test_goal_G8_a_rolling_restart_under_load(short: bool, tmp_path: Path):
    seconds, restarts = (8, 1) if short else (30, 4)
    plain, stream = (request("restart", stream=s, key=KEY) for s in (False, True))

    async def run(gateway: Gateway) -> list[Answered]:
        kept = Kept(gateway.port)

        async def restart() -> None:
            for _ in range(restarts):
                await asyncio.sleep(seconds / (restarts + 1) - 1)
                gateway.tell(signal.SIGUSR2)
                await asyncio.to_thread(gateway.event, "restarted")

        restarting = asyncio.ensure_future(restart())
        answers = await steadily(RATE, seconds, lambda n: kept.ask(stream if n % 4 == 0 else plain))
        await restarting
        await kept.close()
        return answers

    with serving(tmp_path, 0.01, "10s") as gateway:
        first = set(gateway.workers)
        answers = asyncio.run(run(gateway))
        assert not bad(answers), bad(answers)[:5]
        assert len(answers) == RATE * seconds
        streams = [a for n, a in enumerate(answers) if n % 4 == 0]
        assert all(a.body.rstrip().endswith(b"data: [DONE]") for a in streams)
        until(lambda: len(gateway.workers) == 2)
        assert not first & set(gateway.workers)
        totals, status = gateway.end()
        assert status == 0
        assert totals["records"] == totals["settled"] == len(answers)


def test_goal_G8_sigterm_with_streams_under_way(short: bool, tmp_path: Path):
    count, longest_s = (100, 2.5) if short else (500, 8.0)
    with serving(tmp_path, longest_s / 60, "30s") as gateway:

        async def run() -> tuple[list[Answered], float, float]:
            callers = [Caller(gateway.port) for _ in range(count)]
            for caller in callers:
                await caller.open()
            message = request("long " * 50, stream=True, key=KEY)
            running = [asyncio.ensure_future(c.ask(message)) for c in callers]
            await asyncio.sleep(1.0)
            began = time.monotonic()
            gateway.tell(signal.SIGTERM)
            while gateway.get("/health/ready")[0] != 503:
                pass
            unready = time.monotonic() - began
            answers = await asyncio.gather(*running)
            for caller in callers:
                await caller.close()
            return answers, began, unready

        answers, began, unready = asyncio.run(run())
        assert not bad(answers), bad(answers)[:5]
        assert all(a.body.rstrip().endswith(b"data: [DONE]") for a in answers)
        last = max(a.ended_at for a in answers)
        assert sum(a.ended_at > began for a in answers) > count / 2, "they had ended before"
        assert gateway.process.wait(20) == 0
        print(
            f"G8: not ready after {unready * 1000:.0f} ms, gone {time.monotonic() - last:.1f} s after the last stream"
        )
