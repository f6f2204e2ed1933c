"""Streams that are open when a reload takes their consumer or its key away, and when it takes nothing away."""

import asyncio
from pathlib import Path
from typing import Any

from sluicegate.sim.fleet import FleetThread
from tests.goals.calling import Answered, Caller, request
from tests.keeper.operators import ROTATED, ask, text_of
from tests.keeper.running import ENV, KEY, Gateway, until


def test_a_reload_ends_streams_of_whom_it_removes_and_of_nobody_else(tmp_path: Path):
    latency = {"latency": {"first_token_s": 0.01, "per_token_s": 0.1}}
    with FleetThread({"a": {"key": ENV["UPSTREAM_KEY"], "deployments": {"gpt-4o": latency}}}, seed=3) as fleet:
        text = text_of(tmp_path, fleet["a"].origin)
        other = '  other-app: {key: "${env:OTHER}", models: [chat]}\n'
        with Gateway(tmp_path, text + other, env={"OTHER": "key-of-another-app-01", "NEXT": "n" * 64}) as gateway:

            async def run() -> list[Answered]:
                keys = (KEY, ROTATED, "key-of-another-app-01")
                callers = [Caller(gateway.port) for _ in range(12)]
                message = "long " * 40
                running = [
                    asyncio.ensure_future(c.ask(request(message, stream=True, key=keys[n % 3])))
                    for n, c in enumerate(callers)
                ]
                await asyncio.sleep(0.7)
                # Something else; then a key and a consumer; then the secret that keys the digests.
                for now in (text + other + "defaults: {timeouts: {idle: 70s}}\n", _less(text), _rotated(_less(text))):
                    gateway.file.write_text(now)
                    await asyncio.to_thread(gateway.hang_up_until, "config.adopted")
                found = await asyncio.gather(*running)
                for caller in callers:
                    await caller.close()
                return found

            found = asyncio.run(run())
            assert all(a.status == 200 and a.whole for a in found)
            for n, answered in enumerate(found):
                ended = b'"reason":"credential.revoked"' in answered.body
                assert ended == (n % 3 != 0), f"stream {n}: {answered.body[-200:]!r}"
                assert ended or answered.body.rstrip().endswith(b"[DONE]")

            def ended_so() -> list[dict[str, Any]]:
                records = ask(gateway, "GET", "/v1/requests?last=50")[1]["requests"]
                return [r for r in records if r.get("how") == "revoked"]

            records = until(lambda: (lambda r: r if len(r) == 8 else None)(ended_so()))
            assert {r["state"] for r in records} == {"interrupted"}
            assert all(r["output"] for r in records), "what had passed is booked"


def _less(text: str) -> str:
    """Without the other consumer, and the second key."""
    at = text.index(', "sgk1:5f2a9c10')
    return text[:at] + text[text.index("]", at) :]


def _rotated(text: str) -> str:
    return text.replace('secrets: ["${env:SECRET}"]', 'secrets: ["${env:NEXT}", "${env:SECRET}"]')
