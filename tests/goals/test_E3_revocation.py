"""A leaked key is revoked while 500 answers stream through three workers: who shows it is refused, its streams end with
an error that SDKs raise, and those of another key of the same consumer go on to their end."""

import asyncio
import time
from pathlib import Path

from sluicegate.sim.fleet import FleetThread
from tests.goals.calling import Answered, Caller, percentile, request
from tests.keeper.operators import ROTATED, ask, text_of
from tests.keeper.running import ENV, KEY, Gateway

LIST = b"GET /v1/models HTTP/1.1\r\nhost: gateway\r\napi-key: %b\r\n\r\n" % ROTATED.encode()


def test_goal_E3_revocation_with_500_open_streams(short: bool, tmp_path: Path):
    count = 100 if short else 500
    latency = {"latency": {"first_token_s": 0.01, "per_token_s": 6 / 60}}
    with FleetThread({"a": {"key": ENV["UPSTREAM_KEY"], "deployments": {"gpt-4o": latency}}}, seed=3) as fleet:
        with Gateway(tmp_path, text_of(tmp_path, fleet["a"].origin, workers=3)) as gateway:

            async def run() -> tuple[list[Answered], list[Answered], Answered, float, float]:
                callers = [Caller(gateway.port) for _ in range(count)]
                for caller in callers:
                    await caller.open()
                running = [
                    asyncio.ensure_future(c.ask(request("long " * 50, stream=True, key=(ROTATED, KEY)[n % 2])))
                    for n, c in enumerate(callers)
                ]
                callers.append(Caller(gateway.port))
                plain = asyncio.ensure_future(callers[-1].ask(request("long " * 10, key=ROTATED)))
                await asyncio.sleep(2.0)
                began = time.monotonic()
                body = {"consumer": "my-app", "key": "5f2a9c10"}
                revoking = asyncio.ensure_future(asyncio.to_thread(ask, gateway, "POST", "/v1/keys/revoke", body=body))
                refused = 0.0
                in_a_row = 0
                while in_a_row < 30:  # new connections: whichever worker the kernel chooses
                    one = Caller(gateway.port)
                    in_a_row = in_a_row + 1 if (await one.ask(LIST)).status == 401 else 0
                    await one.close()
                    if in_a_row == 1:
                        refused = time.monotonic() - began
                status, told, _ = await revoking
                assert (status, told["silent"]) == (200, [])
                answers = await asyncio.gather(*running)
                whole = await plain
                for caller in callers:
                    await caller.close()
                return answers[::2], answers[1::2], whole, began, refused

            leaked, other, whole, began, refused = asyncio.run(run())
            assert all(a.status == 200 and a.whole and b"[DONE]" not in a.body for a in leaked)
            assert all(b'"reason":"credential.revoked"' in a.body[-400:] for a in leaked), leaked[0].body[-300:]
            assert all(a.whole and a.body.rstrip().endswith(b"[DONE]") for a in other)
            assert (whole.status, whole.whole) == (200, True), "what does not stream is answered"
            ended = [a.ended_at - began for a in leaked]
            print(
                f"E3: {count} streams on 3 workers: refused by all after {refused * 1000:.0f} ms, streams of the key "
                f"ended after {percentile(ended, 0.5) * 1000:.0f} ms, the last after {max(ended) * 1000:.0f} ms"
            )
            assert refused < 1.0 and max(ended) < 2.0 and min(a.ended_at for a in other) > began + max(ended)
            totals, status = gateway.end()
            assert status == 0 and totals["interrupted"] == len(leaked)
            assert totals["records"] == totals["settled"] + totals["interrupted"]
