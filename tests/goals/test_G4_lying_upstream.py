"""G4: an upstream that lies. Truncations and malformations of every kind, and a cut at every offset of a short answer.

Passed when no official SDK ever returns without an exception what is not the truth, when a healthy member makes it
invisible wherever nothing was committed, when the client is told by an error frame where something was, and when the
record says what happened.
"""

import pytest

from tests.clients.lies import AFTER, BEFORE, LIES, WHOLE
from tests.clients.truncation import HELPED, SDKS, cut_everywhere, lying, tell_lies, without_gateway
from tests.clients.verdicts import Tally


@pytest.mark.timeout(300)
def test_goal_G4_no_silent_truncation(short: bool):
    tally, every = Tally(), 5 if short else 1
    with lying() as (gateway, liar):
        for sdk in SDKS:
            for _ in range(1 if short else 5):
                tell_lies(gateway, sdk, tally)
            # The short form takes every fifth offset through one SDK, another fifth through the other.
            cut_everywhere(gateway, sdk, tally, every, start=list(SDKS).index(sdk) if short else 0)
        direct = {sdk: without_gateway(liar, sdk)["silent"] for sdk in SDKS}
        states = gateway.call(
            lambda: (gateway.journal.strays, len(gateway.journal.open), gateway.worker.world.in_flight)
        )
    print(f"\n{tally.table()}")
    helped_lost = sum(n for key, n in tally.counts.items() if HELPED in key and key[-1] == BEFORE)
    print(
        f"G4 lying upstream: {tally.runs} runs ({len(LIES)} lies, cuts at every {f'{every}th ' if short else ''}offset), {tally.of('silent')} silent, "
        f"{tally.of(WHOLE)} complete, {tally.of(BEFORE)} refused, {tally.of(AFTER)} cut with a frame or reset, "
        f"{helped_lost} refused beside a healthy member, {len(tally.wrong)} contradictions with the records; "
        f"the same lies without a gateway: silent {direct}"
    )
    assert not tally.wrong, "\n".join(tally.wrong[:50])
    assert tally.of("silent") == helped_lost == 0
    assert all(direct.values())  # there was something to prevent
    assert states == (0, 0, 0)
