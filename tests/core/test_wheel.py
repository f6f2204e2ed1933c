"""The wheel: late by at most a tick, never early, and nothing is lost or looked at twice."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.wheel import TICK_S, Wheel


class Thing:
    def __init__(self, due: float) -> None:
        self.slot = -1
        self.at = due
        self.expired: list[float] = []

    def due(self, now: float) -> float:
        return self.at

    def expire(self, now: float) -> None:
        self.expired.append(now)


@given(st.lists(st.tuples(st.floats(0, 200), st.floats(0, 200), st.booleans()), max_size=30), st.floats(0.01, 7))
def test_everything_expires_once_in_time_even_when_its_deadline_moves(
    plan: list[tuple[float, float, bool]], step: float
) -> None:
    wheel, now = Wheel(), 1000.0
    wheel.turn(now)
    things = []
    for first, later, nearer in plan:
        thing = Thing(now + first)
        wheel.watch(thing, thing.at)
        thing.at = now + (min(first, later) if nearer else max(first, later))
        wheel.watch(thing, thing.at)
        things.append(thing)
    while now < 1000.0 + 210:
        now += step
        wheel.turn(now)
    for thing in things:
        assert len(thing.expired) == 1
        assert thing.at <= thing.expired[0] <= thing.at + 2 * TICK_S + step
    assert len(wheel) == 0


def test_a_dropped_thing_never_expires() -> None:
    wheel = Wheel()
    wheel.turn(1.0)
    thing = Thing(2.0)
    wheel.watch(thing, 2.0)
    wheel.drop(thing)
    wheel.drop(thing)
    wheel.turn(3.0)
    assert thing.expired == []
    assert len(wheel) == 0


def test_a_thing_without_a_deadline_leaves_the_wheel() -> None:
    wheel = Wheel()
    thing = Thing(inf)
    wheel.watch(thing, 1.0)
    wheel.turn(2.0)
    assert thing.slot == -1
    assert len(wheel) == 0


def test_one_expiry_may_drop_another_of_the_same_tick() -> None:
    wheel = Wheel()
    a, b = Thing(1.0), Thing(1.0)
    a.expire = lambda now: wheel.drop(b)  # type: ignore[method-assign]
    b.expire = lambda now: wheel.drop(a)  # type: ignore[method-assign]
    wheel.watch(a, 1.0)
    wheel.watch(b, 1.0)
    wheel.turn(2.0)
    assert a.slot == b.slot == -1
