"""Throttling by hand: shut until the time that was named, then back at a pace."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.breaker import ThrottleSpec
from sluicegate.core.throttle import PACE_S, Throttle

SPEC = ThrottleSpec(longest=600.0, unnamed=(1.0, 2.0, 4.0))


def admitted(throttle: Throttle, now: float, most: int = 10_000) -> int:
    """How many go in at this moment, one after the other."""
    count = 0
    while count < most and not throttle.calm and throttle.ready(now) == now:
        throttle.enter(now)
        count += 1
    return most if throttle.calm else count


def test_shut_until_the_time_named_and_never_less_than_was_named_before() -> None:
    throttle = Throttle()
    throttle.refused(100.0, 99.9, 7.0, SPEC)
    throttle.refused(100.5, 99.9, 2.0, SPEC)
    assert throttle.ready(100.0) == 107.0 and throttle.ready(106.999) == 107.0 and throttle.ready(107.0) == 107.0
    throttle.refused(101.0, 99.9, 9.0, SPEC)
    assert throttle.ready(107.0) == 110.0


@pytest.mark.parametrize("named, exhausted", [(600.0, False), (600.001, True), (86_400.0, True)])
def test_a_time_up_to_the_longest_is_believed_and_a_longer_one_is_looked_at_then(named: float, exhausted: bool) -> None:
    throttle = Throttle()
    throttle.refused(0.0, 0.0, named, SPEC)
    assert throttle.exhausted == exhausted and throttle.ready(0.0) == 600.0


def test_back_one_then_twice_as_many_every_step() -> None:
    throttle = Throttle()
    throttle.refused(0.0, 0.0, 5.0, SPEC)
    assert [admitted(throttle, 5.0 + n * PACE_S) for n in range(11)] == [1 << n for n in range(10)] + [10_000]


def test_silence_is_the_verdict_also_when_few_ask() -> None:
    throttle = Throttle()
    throttle.refused(0.0, 0.0, 5.0, SPEC)
    assert admitted(throttle, 5.0) == 1
    assert admitted(throttle, 6.0) == 10_000


def test_a_new_refusal_shuts_it_again_and_the_pace_begins_anew() -> None:
    throttle = Throttle()
    throttle.refused(0.0, 0.0, 5.0, SPEC)
    admitted(throttle, 5.0)
    admitted(throttle, 5.3)
    throttle.refused(5.35, 5.3, 1.0, SPEC)
    assert admitted(throttle, 6.3) == 0
    assert admitted(throttle, 6.35) == 1


def test_a_refusal_that_names_no_time_costs_more_each_time() -> None:
    throttle = Throttle()
    now, waits = 0.0, []
    for _ in range(5):
        for sent_at in (now, now, now):  # three were under way: one refusal
            throttle.refused(now + 0.1, sent_at, None, SPEC)
        waits.append(round(throttle.ready(now + 0.1) - now - 0.1, 6))
        now = throttle.ready(now + 0.1)
        throttle.enter(now)
    assert waits == [1.0, 2.0, 4.0, 4.0, 4.0]
    assert admitted(throttle, now + 1.0) == 10_000, "nothing came back"
    throttle.refused(now + 2.0, now + 2.0, None, SPEC)
    assert throttle.ready(now + 2.0) == now + 3.0, "and all is forgotten"


def test_now_is_no_time_either() -> None:
    """Who refuses and says "retry after 0 seconds" was asked ten times a second, for as long as it said so."""
    throttle = Throttle()
    for wait in (1.0, 2.0, 4.0):
        now = max(0.0, throttle.shut_until)
        throttle.refused(now, now, 0.0, SPEC)
        assert throttle.ready(now) == now + wait


def test_what_names_no_time_is_never_taken_for_a_quota_that_is_used_up() -> None:
    """The steps for refusals without a time are ours: they go no further than `longest`, and say nothing of a quota."""
    throttle = Throttle()
    spec = ThrottleSpec(longest=3.0, unnamed=(1.0, 8.0))
    for wait in (1.0, 3.0, 3.0):
        now = max(0.0, throttle.shut_until)
        throttle.refused(now, now, None, spec)
        assert not throttle.exhausted and throttle.shut_until == now + wait
    throttle.refused(20.0, 20.0, 3.1, spec)
    assert throttle.exhausted, "what was named is believed"


def test_a_refusal_of_zero_seconds_is_no_licence_to_hammer() -> None:
    throttle = Throttle()
    sent = 0
    for n in range(1000):
        now = n * 0.001
        while throttle.calm or throttle.ready(now) == now:
            if not throttle.calm:
                throttle.enter(now)
            sent += 1
            throttle.refused(now, now, 0.0, SPEC)
    assert sent <= 1.0 / PACE_S + 2


def test_a_time_beyond_the_longest_is_looked_at_by_one_request() -> None:
    throttle = Throttle()
    throttle.refused(0.0, 0.0, 86_400.0, SPEC)
    assert throttle.exhausted and throttle.ready(0.0) == 600.0
    throttle.enter(600.0)
    assert admitted(throttle, 600.0) == 0 and throttle.ready(601.0) == 1200.0
    throttle.refused(601.0, 600.0, 80_000.0, SPEC)
    assert throttle.ready(601.0) == 1201.0
    throttle.enter(1201.0)
    throttle.give_back(1202.0, 1201.0)
    assert throttle.ready(1202.0) == 1202.0, "its client left: the next looks"
    throttle.enter(1202.0)
    throttle.served(1203.0, 0.0)
    assert throttle.exhausted, "sent before it was shut"
    throttle.served(1203.0, 1202.0)
    assert not throttle.exhausted and admitted(throttle, 1203.0) == 1


def test_the_look_is_refused_with_a_time_that_can_be_believed() -> None:
    throttle = Throttle()
    throttle.refused(0.0, 0.0, 86_400.0, SPEC)
    throttle.enter(600.0)
    throttle.refused(600.2, 600.0, 5.0, SPEC)
    assert not throttle.exhausted and throttle.ready(601.0) == pytest.approx(605.2)


WAITS = st.one_of(st.none(), st.floats(0.0, 50.0), st.floats(600.0, 1e6))


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.one_of(st.just("go"), WAITS)), max_size=60))
def test_nobody_goes_in_before_a_time_that_was_named(moves: list[tuple[float, object]]) -> None:
    throttle, now, named, sent_at = Throttle(), 0.0, -inf, 0.0
    for passed, move in moves:
        now += passed
        if move == "go":
            at = throttle.ready(now)
            assert at >= now
            if at == now:
                assert now >= named
                sent_at = now
                if not throttle.calm:
                    throttle.enter(now)
        else:
            throttle.refused(now, sent_at, move, SPEC)  # type: ignore[arg-type]
            if move is not None:
                named = max(named, now + move) if move <= SPEC.longest else named  # type: ignore[operator]
