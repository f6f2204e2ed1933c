"""G9 with a hundred thousand consumers: fifty times in half a minute the gateway is told to load them again, while
requests go on about as quickly as before.

Each time another consumer has gone and another come, so each is a change of the directory that workers adopt.
"""

import asyncio
import json
import os
import time
from pathlib import Path

from bench.proc import rss_kb
from sluicegate.core.caller import digest
from sluicegate.core.secret import Secret
from sluicegate.sim.fleet import FleetThread
from sluicegate.spec.secret import Digest, write_digest
from tests.goals.calling import Answered, Caller, percentile, request, steadily
from tests.goals.test_G8_leaving import Kept, bad
from tests.keeper.running import ENV, KEY, Gateway, config

RATE = 200


def key(number: int) -> str:
    """What consumer `app-N` shows."""
    return f"key {number}"


def lines(count: int, first: int = 0) -> list[str]:
    """Consumers as a directory has them: keys by their digest."""
    secret = Secret(ENV["SECRET"])
    return [
        json.dumps({
            "name": f"app-{n}", "key": write_digest(Digest(f"{n:08x}", digest(key(n).encode(), secret))),
            "models": ["chat"],
        })
        for n in range(first, first + count)
    ]  # fmt: skip


def test_goal_G9_reloads_of_a_hundred_thousand_consumers(short: bool, tmp_path: Path):
    reloads, seconds, count = (10, 6, 20_000) if short else (50, 30, 100_000)
    latency = {"latency": {"first_token_s": 0.005, "per_token_s": 0.001}}
    people = lines(count + 1)
    directory = tmp_path / "consumers.jsonl"
    # What the files say is written before: this process is the clients and the upstream, too.
    for name, some in (("first", people[:-1]), ("second", people[1:])):
        (tmp_path / name).write_text("\n".join(some))
    directory.symlink_to("first")
    with FleetThread({"a": {"key": ENV["UPSTREAM_KEY"], "deployments": {"gpt-4o": latency}}}, seed=9) as fleet:
        text = config(tmp_path, fleet["a"].origin, workers=2) + "directory: consumers.jsonl\n"
        with Gateway(tmp_path, text) as gateway:

            async def run() -> tuple[list[Answered], list[Answered], float]:
                kept = Kept(gateway.port)
                message = request("reload", key=KEY)
                before = await steadily(RATE, 5, lambda n: kept.ask(message))

                async def reload() -> None:
                    loop = asyncio.get_running_loop()
                    began = loop.time()
                    for n in range(1, reloads + 1):
                        await asyncio.sleep(max(0.0, began + n * seconds / (reloads + 1) - loop.time()))
                        (tmp_path / "next").symlink_to("first" if (reloads - n) % 2 else "second")
                        os.replace(tmp_path / "next", directory)
                        gateway.hang_up()

                reloading = asyncio.ensure_future(reload())
                during = await steadily(RATE, seconds, lambda n: kept.ask(message))
                await reloading
                await kept.close()
                # What came last is in force soon: who left is refused, who came is let in.
                last = Caller(gateway.port)
                began = time.monotonic()
                while (await last.ask(request("gone", key=key(0)))).status != 401:
                    assert time.monotonic() - began < 15, "the last change is not in force"
                    await asyncio.sleep(0.05)
                late = time.monotonic() - began
                assert (await last.ask(request("come", key=key(count)))).status == 200
                await last.close()
                return before, during, late

            before, during, late = asyncio.run(run())
            assert not bad(before + during), bad(before + during)[:5]
            adopted = sum('"config.adopted"' in line for line in gateway.said)
            assert adopted >= 3 and not any("refused" in line for line in gateway.said)
            alone, loaded = (percentile([a.took for a in found], 0.99) for found in (before, during))
            memory = rss_kb(gateway.pid)
            print(
                f"G9: {count:,} consumers, told {reloads} times, loaded {adopted} times, the last in force after "
                f"{late:.1f} s: p99 {alone * 1000:.1f} ms alone, {loaded * 1000:.1f} ms while reloading; memory {memory} KB"
            )
            if not short:
                assert loaded <= 2 * alone and adopted < reloads
