"""G9: fifty reloads under load. Nothing is dropped, no request is decided by two configurations, memory stays.

Each reload moves the instance to another address with another key, so a request that mixed the two would show one's key
to the other and be refused. Every fifth file does not compile.
"""

import asyncio
from pathlib import Path

from bench.proc import rss_kb
from sluicegate.sim.fleet import FleetThread
from tests.goals.calling import Answered, percentile, request, steadily
from tests.goals.test_G8_leaving import Kept, bad
from tests.keeper.running import ENV, KEY, Gateway, config

RATE = 200


def test_goal_G9_reloads_under_load(short: bool, tmp_path: Path):
    reloads, seconds = (10, 6) if short else (50, 30)
    latency = {"latency": {"first_token_s": 0.005, "per_token_s": 0.001}}
    given = {
        "a": {"key": ENV["UPSTREAM_KEY"], "deployments": {"gpt-4o": latency}},
        "b": {"key": "b" * 32, "deployments": {"gpt-4o": latency}},
    }
    with FleetThread(given, seed=9) as fleet:
        texts = [
            config(tmp_path, fleet["a"].origin, workers=2),
            config(tmp_path, fleet["b"].origin, workers=2, key="OTHER_KEY"),
        ]
        wrong = texts[0].replace("models:", "modles:")
        with Gateway(tmp_path, texts[0], env={"OTHER_KEY": "b" * 32}) as gateway:

            async def run() -> tuple[list[Answered], list[Answered], int]:
                kept = Kept(gateway.port)
                message = request("reload", key=KEY)
                before = await steadily(RATE, 3, lambda n: kept.ask(message))
                after_first = 0

                async def reload() -> None:
                    nonlocal after_first
                    began = asyncio.get_running_loop().time()
                    for n in range(1, reloads + 1):
                        await asyncio.sleep(began + n * seconds / (reloads + 1) - asyncio.get_running_loop().time())
                        gateway.file.write_text(wrong if n % 5 == 0 else texts[n % 2])
                        event = "config.refused" if n % 5 == 0 else "config.adopted"
                        await asyncio.to_thread(gateway.hang_up_until, event)
                        if n == 3:
                            after_first = sum(rss_kb(gateway.pid).values())

                reloading = asyncio.ensure_future(reload())
                during = await steadily(RATE, seconds, lambda n: kept.ask(message))
                await reloading
                await kept.close()
                return before, during, after_first

            before, during, first_kb = asyncio.run(run())
            last_kb = sum(rss_kb(gateway.pid).values())
            assert not bad(before + during), bad(before + during)[:5]
            alone, loaded = (percentile([a.took for a in found], 0.99) for found in (before, during))
            print(
                f"G9: p99 {alone * 1000:.1f} ms alone, {loaded * 1000:.1f} ms while reloading; {first_kb} -> {last_kb} KB"
            )
            assert last_kb <= first_kb * 1.05 + 2048
            assert {e.instance for e in fleet.ledger.entries} == {"a", "b"}
            totals, status = gateway.end()
            assert status == 0
            assert totals["settled"] == len(before) + len(during)
