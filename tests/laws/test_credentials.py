"""Laws of the tokens that are shown upstream, in virtual time, whatever the sources do.

Never two requests at once for one identity; never a token past its end; where the source answers, there is always one;
never a burst, however many instances, workers and refusals there are.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.core.secret import Secret
from sluicegate.core.settings import Identity
from sluicegate.keeper.credentials import EARLY_S, FETCH_S, HURRY_S, Credentials, Lease
from sluicegate.link.channel import Token
from tests.laws.virtual import VirtualLoop, run


class Failed(Exception):
    what = "no token"
    again_s: float | None = None


@dataclass
class Got:
    token: Secret
    life_s: float
    refresh_s: float | None = None


@dataclass
class Answer:
    """What the source does next: it takes so long, then says a token of so long a life, or fails."""

    takes: float
    life: float | None
    refresh: float | None = None


@dataclass
class World:
    """Sources, and a worker that shows what it is told."""

    script: Callable[[Identity, int], Answer]
    asked: dict[Identity, list[float]] = field(default_factory=lambda: defaultdict(list))
    flying: dict[Identity, int] = field(default_factory=lambda: defaultdict(int))
    truth: dict[str, float] = field(default_factory=dict)
    shown: dict[int, Token] = field(default_factory=dict)
    without: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    alarms: list[tuple[str, str]] = field(default_factory=list)

    async def fetch(self, identity: Identity) -> Got:
        loop = asyncio.get_running_loop()
        number = len(self.asked[identity])
        self.asked[identity].append(loop.time())
        self.flying[identity] += 1
        assert self.flying[identity] == 1, "two requests at once for one identity"
        answer = self.script(identity, number)
        began = loop.time()
        try:
            await asyncio.sleep(answer.takes)
        finally:
            self.flying[identity] -= 1
        if answer.life is None:
            raise Failed
        text = f"{identity.scope} {number}"
        self.truth[text] = began + answer.life  # its maker counts from before we hear of it
        return Got(Secret(text), answer.life, answer.refresh)

    def told(self, token: Token) -> None:
        if token.text:
            self.shown[token.number] = token
        else:
            self.shown.pop(token.number, None)

    def look(self, now: float, numbers: list[int], passed: float) -> None:
        """What a worker shows at this moment."""
        for number in numbers:
            token = self.shown.get(number)
            if token is None or now >= token.ends:
                self.without[number] += passed
            else:
                assert now < self.truth[token.text], "a token past its end is shown"


STEP_S = 0.5


async def live(world: World, identities: list[Identity], seconds: float, reject: set[int] = frozenset()) -> Credentials:  # type: ignore[assignment]
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    dice = random.Random(1)
    held = Credentials(world.fetch, Failed, loop.time, dice.random)
    held.tell = world.told
    held.alarm = lambda subject, detail: world.alarms.append((subject, detail))
    await held.take(identities)
    numbers = [held.number(i) for i in identities]
    keeper = asyncio.create_task(held.run())
    end = loop.time() + seconds
    step = 0
    while loop.time() < end:
        world.look(loop.time(), numbers, STEP_S)
        if step in reject:
            for number, token in list(world.shown.items()):
                for _ in range(60):  # three workers, twenty instances
                    held.rejected(number, token.version)
        step += 1
        await asyncio.sleep(STEP_S)
    keeper.cancel()
    return held


def identity(n: int = 0) -> Identity:
    return Identity("managed_identity", f"scope-{n}")


answers = st.builds(
    Answer,
    takes=st.sampled_from([0.0, 0.1, 3.0, FETCH_S + 5]),
    life=st.one_of(st.none(), st.sampled_from([0.0, 5.0, EARLY_S + 1, 60.0, 600.0, -10.0])),
    refresh=st.one_of(st.none(), st.sampled_from([0.0, 1.0, 30.0, 1e9])),
)


@settings(max_examples=40)
@given(
    st.lists(answers, min_size=1, max_size=12), st.sets(st.integers(0, 1200), max_size=12), st.integers(1, 3)
)  # fmt: skip
def test_whatever_sources_do_one_request_at_a_time_and_no_token_past_its_end(
    script: list[Answer], reject: set[int], identities: int
):
    world = World(lambda identity, n: script[n % len(script)])
    run(live(world, [identity(n) for n in range(identities)], 600, reject))
    for times in world.asked.values():
        assert len(times) <= 600 / 0.5 / 2 + len(reject) + 2
        gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
        assert sum(gap < 0.5 for gap in gaps) <= len(reject), "in a hurry only where an instance refused"


@settings(max_examples=25)
@given(
    st.floats(30, 900), st.one_of(st.none(), st.floats(1, 3000)), st.sampled_from([0.0, 0.5, 2.0]),
    st.sets(st.integers(2, 2000), max_size=10),
)  # fmt: skip
def test_where_the_source_answers_there_is_always_a_token_and_the_next_one_comes_ahead(
    life: float, refresh: float | None, takes: float, reject: set[int]
):
    world = World(lambda identity, n: Answer(takes, life, refresh))
    held = run(live(world, [identity()], 4 * life, reject))
    assert not world.without[1], "a gap between two tokens"
    times = world.asked[identity()]
    usable = life - EARLY_S
    hurried = len(reject)
    least = min(refresh, 0.5 * usable) if refresh is not None and 0 < refresh < 0.8 * usable else 0.5 * usable
    assert len(times) <= 4 * life / max(least, 5.0) + 2 + hurried
    assert all(b - a <= 0.8 * usable + takes + 1.5 for a, b in zip(times, times[1:], strict=False))
    assert not [detail for _, detail in world.alarms if detail]
    assert held.states()[1]["held"]


def test_a_storm_of_refusals_over_three_workers_and_twenty_instances_is_one_request_a_minute():
    """Twenty instances show one identity's token, all refuse it, in three workers, twice a second, for ten minutes."""
    world = World(lambda identity, n: Answer(0.2, 86_400))
    run(live(world, [identity()], 600, set(range(1200))))
    times = world.asked[identity()]
    assert 600 / HURRY_S - 1 <= len(times) <= 600 / HURRY_S + 2
    assert all(b - a >= HURRY_S - 1 for a, b in zip(times[1:], times[2:], strict=False))


def test_no_burst_when_twenty_tokens_that_came_at_once_come_to_their_end():
    """Twenty instances with scopes of their own: their tokens came in one second, and are renewed over 18 minutes."""
    life = 3600.0
    world = World(lambda identity, n: Answer(0.1, life))
    identities = [identity(n) for n in range(20)]
    run(live(world, identities, 1.2 * life))
    assert all(2 <= len(times) <= 3 for times in world.asked.values())
    renewed = sorted(times[1] for times in world.asked.values())
    assert renewed[-1] - renewed[0] > 600
    most = max(sum(at <= t < at + 10 for t in renewed) for at in renewed)
    assert most <= 4, "requests in ten seconds"
    assert not any(world.without.values())


def test_a_source_that_is_gone_is_asked_less_and_less_and_the_old_token_is_used_to_its_end():
    world = World(lambda identity, n: Answer(0.1, 600.0 if n == 0 else None))
    run(live(world, [identity()], 1200))
    times = world.asked[identity()]
    gaps = [b - a for a, b in zip(times[1:], times[2:], strict=False)]
    assert len(times) < 40 and max(gaps) <= 61 and gaps[0] <= 2
    assert world.without[1] == pytest.approx(1200 - 600 + EARLY_S, abs=2), "used until it ends, and not longer"
    assert ("managed identity (system) for scope-0", "no token") in world.alarms


def test_a_start_waits_for_tokens_and_goes_on_without():
    async def waited(answer: Answer) -> float:
        loop = asyncio.get_running_loop()
        world = World(lambda identity, n: answer)
        held = Credentials(world.fetch, Failed, loop.time, lambda: 0.5)
        began = loop.time()
        await held.take([identity()])
        held.stop()
        return loop.time() - began

    assert run(waited(Answer(2.0, 600))) == pytest.approx(2.0, abs=0.3)
    assert run(waited(Answer(100.0, 600))) == pytest.approx(10.0, abs=0.3)
    assert 2.0 < run(waited(Answer(0.0, None))) < 10.0, "what may pass by itself is tried again, as long as that helps"


def test_two_identities_never_share_a_token_and_one_secret_that_changes_keeps_what_it_has():
    """Alike but for the secret: each has its own, but for a secret that takes the place of another."""
    one = Identity("service_principal", "s", "c", "t", secret=Secret("one"))
    two = Identity("service_principal", "s", "c", "t", secret=Secret("two"))

    async def story() -> None:
        loop = asyncio.get_running_loop()
        world = World(lambda identity, n: Answer(0.1, 600) if identity == one else Answer(0.1, None))
        held = Credentials(world.fetch, Failed, loop.time, lambda: 0.5)
        held.tell = world.told
        held.forget = lambda number: world.shown.pop(number, None)
        await held.take([one, two])
        assert held.number(one) != held.number(two) and list(world.shown) == [held.number(one)]
        held.retire([one])
        three = Identity("service_principal", "s", "c", "t", secret=Secret("three"))
        await held.take([three], within_s=0.5)
        assert world.shown[held.number(three)].text == world.shown[held.number(one)].text
        held.retire([three])
        assert list(world.shown) == [held.number(three)]

    run(story())


def test_a_refusal_of_an_older_token_is_no_news():
    lease = Lease(identity(), 1, 0.0)
    lease.begin(0.0)
    assert lease.came(Got(Secret("a"), 600), 0.0, 0.5)
    due = lease.due
    lease.rejected(0, 1.0)
    assert lease.due == due
    lease.rejected(1, 1.0)
    assert lease.due == 1.0


def test_nothing_that_is_told_of_an_identity_holds_its_secret_or_token():
    secret = Identity("service_principal", "s", "c", "t", secret=Secret("the-secret"))
    lease = Lease(secret, 1, 0.0)
    lease.begin(0.0)
    lease.came(Got(Secret("the-token"), 600), 0.0, 0.5)
    told = f"{lease!r} {lease.state(1.0)} {secret!r} {secret} {Token(1, 1, 'the-token', 5.0)!r}"
    assert "the-secret" not in told and "the-token" not in told
