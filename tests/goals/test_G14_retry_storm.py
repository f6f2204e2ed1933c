"""G14: upstreams that fail are not made worse by us, nor by clients who try again, and all is well as soon as they are.

Open-loop load by clients like the SDKs: they ask again up to twice, say so in x-stainless-retry-count, and heed
x-should-retry.
"""

import asyncio
from pathlib import Path

import pytest

from tests.goals.calling import Answered, Caller, request, steadily
from tests.keeper.running import KEY, Gateway
from tests.stories.test_on_the_wire import plain, serving

RATE = 100
BREAKER = ", breaker: {faults: 10, share: 100%, within: 3s}"
"""Half of all answers leave it closed: what holds the calls down then is the budget of retries."""


class Sdk:
    """Asks again, as the SDKs do: at most `retries` times, 0.1 s and 0.2 s later, or when it is told."""

    def __init__(self, gateway: Gateway, retries: int = 2) -> None:
        self.port = gateway.port
        self.retries = retries
        self.asked = 0
        "Requests, the repeated ones included."
        self.free: list[Caller] = []

    async def ask(self, number: int) -> Answered:
        message = request("hello", stream=bool(number % 2), key=KEY)
        for attempt in range(self.retries + 1):
            self.asked += 1
            caller = self.free.pop() if self.free else Caller(self.port)
            said = b"\r\nx-stainless-retry-count: %d\r\n" % attempt
            answered = await caller.ask(message.replace(b"\r\n", said, 1))
            self.free.append(caller)
            if answered.status < 429:
                break
            if answered.headers.get("x-should-retry") == "false" and attempt:
                break
            await asyncio.sleep(0.1 * 2**attempt)
        return answered

    async def close(self) -> None:
        for caller in self.free:
            await caller.close()


def good(answers: list[Answered]) -> float:
    """The share that was served."""
    return sum(a.status == 200 and a.whole and not a.framed_error for a in answers) / len(answers)


@pytest.mark.timeout(180)
def test_goal_G14_half_of_all_answers_are_errors_then_all_then_none(short: bool, tmp_path: Path):
    half_s, all_s, well_s = (4, 6, 3) if short else (20, 20, 10)
    with serving(tmp_path, {name: plain() for name in "abc"}, model=BREAKER) as (gateway, fleet, run):

        async def story() -> None:
            sdk = Sdk(gateway)

            async def phase(seconds: float) -> tuple[int, int, list[Answered]]:
                asked, called = sdk.asked, len(fleet.ledger)
                answers = await steadily(RATE, seconds, sdk.ask)
                return sdk.asked - asked, len(fleet.ledger) - called, answers

            fault = fleet.fault("status", status=500, share=0.5)
            asked, called, _ = await phase(half_s)
            print(f"\nG14 half fail: {asked} requests, {called} calls: {called / asked:.2f}")
            assert called <= 1.2 * asked
            fleet.lift(fault)
            await asyncio.sleep(4.0)
            await phase(2)

            fault = fleet.fault("status", status=500)
            broke = fleet.now()
            asked, called, _ = await phase(all_s)
            late = sum(e.first_at > broke + 2.0 for e in fleet.ledger)
            print(f"G14 all fail: {asked} requests, {called} calls: {called / asked:.2f}, {late} after the first 2 s")
            assert called <= 1.1 * asked
            assert late <= all_s - 2 + 3, "a look a second: every 3 s at each of three"
            fleet.lift(fault)
            well = fleet.now()
            await phase(5)
            asked, called, answers = await phase(well_s)
            share = good(answers)
            print(
                f"G14 {fleet.now() - well - well_s:.1f} s after it healed: {share:.1%} of {len(answers)} served, {called / asked:.2f} calls each"
            )
            assert share >= 0.95 and called == asked
            await sdk.close()

        run(story())
