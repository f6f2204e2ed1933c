"""G9: a million keys. Ready within 30 s, no more than 400 bytes of a worker's memory for each, and a request costs what
it costs among ten."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from bench import proc
from sluicegate.sim.fleet import FleetThread
from tests.goals.calling import Answered, Caller, request
from tests.goals.test_G9_large import key, lines
from tests.keeper.running import ENV, Gateway, config

ASKED = 3000


def measured(folder: Path, endpoint: str, count: int) -> dict[str, Any]:
    """A gateway with so many consumers: how long until it is ready, its memory, its worker's CPU for a request."""
    folder.mkdir()
    with (folder / "consumers.jsonl").open("w") as f:
        for n in range(0, count, 10_000):
            f.write("\n".join(lines(min(10_000, count - n), n)) + "\n")
    began = time.monotonic()
    gateway = Gateway(folder, config(folder, endpoint) + "directory: consumers.jsonl\n")
    try:
        gateway.event("ready", within_s=400)
        ready = time.monotonic() - began
        starting = proc.cpu_s(gateway.pid)
        gateway.port = gateway.ready["port"]
        [worker] = gateway.workers

        async def ask(times: int) -> list[Answered]:
            caller = Caller(gateway.port)
            # Each time another key: the last was a million keys ago, for the processor's caches, too.
            found = [await caller.ask(request("x", key=key(n * 7919 % count))) for n in range(times)]
            await caller.close()
            return found

        asyncio.run(ask(300))
        before = proc._cpu_s([worker])
        answers = asyncio.run(ask(ASKED))
        cpu = proc._cpu_s([worker]) - before
        assert all(a.status == 200 for a in answers)
        rss = proc.rss_kb(gateway.pid)
        assert gateway.end()[1] == 0
        return {
            "keys": count, "ready_s": round(ready, 1), "start_cpu_s": round(starting, 1), "worker_kb": rss[worker], "keeper_kb": rss[gateway.pid],
            "cpu_us": round(cpu / ASKED * 1e6, 1),
        }  # fmt: skip
    finally:
        gateway.__exit__()


def test_goal_G9_a_million_keys(short: bool, tmp_path: Path):
    count = 100_000 if short else 1_000_000
    latency = {"latency": {"first_token_s": 0.0, "per_token_s": 0.0}}
    with FleetThread({"a": {"key": ENV["UPSTREAM_KEY"], "deployments": {"gpt-4o": latency}}}, seed=9) as fleet:
        few = measured(tmp_path / "few", fleet["a"].origin, 10)
        many = measured(tmp_path / "many", fleet["a"].origin, count)
    each = (many["worker_kb"] - few["worker_kb"]) * 1024 / count
    print(f"G9: {json.dumps(few)} {json.dumps(many)}: {each:.0f} bytes of the worker for each key")
    assert each <= 400
    # One thing is done after the other: on a machine that does nothing else it is ready when it has computed so long.
    assert min(many["ready_s"], many["start_cpu_s"]) <= 30
    assert many["cpu_us"] <= few["cpu_us"] * 1.1 + (40 if short else 20)
