"""The load generator: one run as a plan says, on one core, and a report of what clients saw.

Closed loop: so many connections, each sends its next request when it has the answer to the last. Open: a request is
due at a fixed rate, whatever is still under way. Stream: so many streams at the same time, each read to its end.
What a connection does, and how answers are checked, is in callers.py.

Weakness: on a core that the mock needs too it makes 60,000 to 70,000 requests a second, so the fastest program may
idle a little: then its rounds are marked, and `own_busy` is near 100 %.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections import deque
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import uvloop

from bench import proc, traffic
from bench.callers import Caller, Reader, Run
from bench.plan import Plan, Report, dump, read_plan


class Mark:
    """The state of things at one end of the window."""

    def __init__(self, run: Run) -> None:
        plan = run.plan
        self.at = time.monotonic()
        self.cpu_s = proc.cpu_s(plan.watch) if plan.watch else 0.0
        self.above_s = proc.above_s(plan.watch) if plan.watch else 0.0
        self.core = proc.core(plan.watch_core)
        self.own = proc.core(plan.own_core)
        self.units = run.chunks if plan.mode == "stream" else run.answered
        self.latencies = len(run.latencies)


async def connect(run: Run, make: type[Caller] | type[Reader], *args: object) -> Caller | Reader | None:
    """A connection of the run; None, and an error counted, if there is none to be had."""
    plan = run.plan
    name = "localhost" if plan.ca else None
    for attempt in range(3):
        try:
            _, protocol = await run.loop.create_connection(
                lambda: make(run, *args),  # type: ignore[arg-type]
                "127.0.0.1", plan.port, ssl=run.tls, server_hostname=name,
            )  # fmt: skip
            return protocol
        except OSError as e:
            error = f"no connection: {e.strerror or type(e).__name__}"
            await asyncio.sleep(0.05 * (attempt + 1))
    run.fail(error)
    return None


async def closed(run: Run, request: bytes) -> None:
    """All connections, then all at once; they go on by themselves."""
    callers = []
    tokens = cycle(with_tokens(run.plan)) if run.plan.tokens else None
    for _ in range(run.plan.connections):
        first = next(tokens) if tokens is not None else request
        callers.append(await connect(run, Caller, first, None, tokens if run.plan.in_turn else None))
    for caller in callers:
        if isinstance(caller, Caller):
            run.began()
            caller.send()


async def open_loop(run: Run, request: bytes) -> None:
    """A request every so often, on a connection that is free; a request that finds none waits, and its time runs."""
    turns = cycle(with_tokens(run.plan)) if run.plan.tokens else None
    idle: deque[Caller] = deque()
    for _ in range(run.plan.connections):
        caller = await connect(run, Caller, request, idle, turns)
        if isinstance(caller, Caller):
            idle.append(caller)
    began, interval = time.perf_counter_ns(), 1e9 / run.plan.rate
    sent = 0
    late: deque[int] = deque()

    def turn() -> None:
        nonlocal sent
        now = time.perf_counter_ns()
        while not run.stopping and began + sent * interval <= now:
            sent += 1
            late.append(now)
            run.began()
        while late and idle:
            idle.popleft().send(late.popleft())
        if run.stopping and not late:
            return
        run.loop.call_later(0.001, turn)

    turn()


async def streams(run: Run, request: bytes) -> None:
    """All streams, spread over the ramp."""
    plan = run.plan
    began, interval = run.loop.time(), plan.ramp_s / plan.connections
    tasks = []
    for number in range(plan.connections):
        await asyncio.sleep(max(0.0, began + number * interval - run.loop.time()))
        tasks.append(asyncio.ensure_future(connect(run, Reader, request)))
    await asyncio.gather(*tasks)


def with_tokens(plan: Plan) -> list[bytes]:
    """The request with each token of a file."""
    return [request_of(replace(plan, key=token)) for token in Path(plan.tokens).read_text().split()]


def request_of(plan: Plan) -> bytes:
    """The one request that all connections of a run send."""
    if plan.ask == "embedding":
        return traffic.request(plan.port, plan.key, traffic.embedding(), traffic.EMBEDDINGS)
    if plan.ask == "picture":
        return traffic.request(plan.port, plan.key, traffic.picture(plan.size))
    return traffic.request(plan.port, plan.key, traffic.chat(plan.size, plan.mode == "stream", plan.ask_usage))


MODES = {"closed": closed, "open": open_loop, "stream": streams}


async def perform(plan: Plan) -> Report:
    loop = asyncio.get_running_loop()
    run = Run(plan, loop)
    await MODES[plan.mode](run, request_of(plan))
    gc.freeze()
    await asyncio.wait([run.over], timeout=plan.warm_s)
    before = Mark(run)
    await asyncio.wait([run.over], timeout=plan.seconds)
    after = Mark(run)
    rss = sum(proc.rss_kb(plan.watch).values()) if plan.watch else 0
    run.stop()
    await asyncio.wait([run.over], timeout=plan.patience_s)
    if run.under_way and not run.errors:
        run.fail(f"{run.under_way} not answered in time")
    return Report(
        answered=run.answered,
        input_tokens=run.input_tokens,
        output_tokens=run.output_tokens,
        errors=dict(run.errors),
        unlike=run.unlike,
        window_s=after.at - before.at,
        units=after.units - before.units,
        cpu_s=after.cpu_s - before.cpu_s,
        above_s=after.above_s - before.above_s,
        core_busy=after.core.since(before.core),
        own_busy=after.own.since(before.own),
        rss_kb=rss,
        latencies_us=[round(value, 1) for value in run.latencies[before.latencies : after.latencies]],
        early=run.early,
    )


def main() -> None:
    plan = read_plan(sys.stdin.readline())
    print(dump(uvloop.run(perform(plan))))


if __name__ == "__main__":
    main()
