"""G2: nobody is asked between its 429 and the time that it named, in whichever header it stood.

10,000 requests to five instances that throttle one answer in eighty; the ledger compares each arrival with the times it
announced. What was on its way when a 429 came is no fault: a call counts as early when the gateway had answered the
request that met the 429 before the early one was asked. (Without that allowance, in virtual time: tests/stories/test_doors.py.)
"""

from pathlib import Path

import pytest

from sluicegate.sim.fleet import FleetThread
from sluicegate.sim.ledger import Entry
from tests.goals.calling import percentile, steadily
from tests.stories.test_on_the_wire import Clients, plain, serving

FORMS = ("both", "s", "ms", "date", "none")


def throttling(fleet: FleetThread) -> None:
    """Every form at every instance, short waits and long ones."""
    for n, name in enumerate("abcde"):
        for k, wait_s in enumerate((0.2, 0.7, 1.6)):
            reason = ("rate", "capacity")[k % 2]
            fleet.fault("throttle", instance=name, share=0.004, wait_s=wait_s, form=FORMS[(n + k) % 5], reason=reason)


@pytest.mark.timeout(240)
def test_goal_G2_no_early_send(short: bool, tmp_path: Path):
    rate, seconds = (200, 10) if short else (250, 40)
    with serving(tmp_path, {name: plain() for name in "abcde"}) as (gateway, fleet, run):
        throttling(fleet)

        async def story() -> tuple[list[str], list[int]]:
            app = Clients(gateway)
            answers = await steadily(rate, seconds, lambda n: app.ask(stream=bool(n % 2)))
            await app.close()
            return app.early(fleet), [a.status for a in answers]

        early, statuses = run(story())
        throttled: list[Entry] = [e for e in fleet.ledger if e.status == 429]
        forms = {(e.instance, round(e.retry_s or 0.0, 1)) for e in throttled}
        on_the_way = len(fleet.ledger.early())
        print(
            f"\nG2 throttled upstreams: {len(statuses)} requests, {len(throttled)} 429s of {len(forms)} kinds, "
            f"{len(early)} early, {on_the_way} on their way when it came, {statuses.count(429)} answered 429"
        )
        assert len(statuses) == rate * seconds and set(statuses) <= {200, 429}
        assert statuses.count(200) > len(statuses) / 2 and len(throttled) > len(statuses) / 200
        assert not early


def test_goal_G2_all_throttled_is_our_own_429_at_once(short: bool, tmp_path: Path):
    count = 300 if short else 2000
    with serving(tmp_path, {name: plain() for name in "abc"}) as (gateway, fleet, run):
        for n, name in enumerate("abc"):
            fleet.fault("throttle", instance=name, wait_s=60.0 + n, form=FORMS[n], times=1)

        async def story() -> None:
            app = Clients(gateway)
            first = await app.ask()
            assert first.status == 429
            shut, calls = fleet.now(), len(fleet.ledger)
            answers = []
            for _ in range(count):
                answers.append((await app.ask(), fleet.now()))
            await app.close()
            took = [a.took for a, _ in answers]
            print(
                f"\nG2 all throttled: {count} refused, median {percentile(took, 0.5) * 1000:.1f} ms, p99 {percentile(took, 0.99) * 1000:.1f} ms"
            )
            assert len(fleet.ledger) == calls == 3
            for answered, at in answers:
                ms, whole = (int(answered.headers[h]) for h in ("retry-after-ms", "retry-after"))
                assert answered.status == 429 and whole == -(-ms // 1000)
                assert 59_000 - (at - shut) * 1000 <= ms <= 60_000
            assert percentile(took, 0.5) < 0.02

        run(story())
