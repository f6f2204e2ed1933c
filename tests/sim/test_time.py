"""Virtual time and traffic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.sim.clock import VirtualClock
from sluicegate.sim.traffic import STEP_S, arrivals, ramp, spike, steady

# ---------------------------------------------------------------- the clock


@given(st.lists(st.floats(0, 100)))
def test_everything_happens_in_time_and_in_the_order_asked(delays):
    clock = VirtualClock()
    seen: list[tuple[float, int]] = []
    start = clock.now()
    for n, delay in enumerate(delays):
        clock.after(delay, lambda n=n: seen.append((clock.now(), n)))
    clock.run()
    assert seen == sorted((start + d, n) for n, d in enumerate(delays))
    assert len(clock) == 0


def test_run_until_goes_no_further_and_arrives_there():
    clock = VirtualClock(start=0.0)
    seen: list[float] = []
    for at in (1.0, 2.0, 3.0):
        clock.at(at, lambda: seen.append(clock.now()))
    clock.run_until(2.0)
    assert seen == [1.0, 2.0] and clock.now() == 2.0
    clock.run_for(0.5)
    assert clock.now() == 2.5 and seen == [1.0, 2.0]


def test_what_is_asked_for_on_the_way_happens_too_and_the_past_is_now():
    clock = VirtualClock(start=10.0)
    seen: list[object] = []
    clock.after(1, lambda: clock.after(1, lambda: seen.append(clock.now())))
    clock.at(3.0, lambda: seen.append("late"))
    clock.run_until(12.0)
    assert seen == ["late", 12.0]


def test_a_cancelled_timer_and_a_stopped_repeat_do_nothing():
    clock = VirtualClock(start=0.0)
    seen: list[float] = []
    clock.after(1, lambda: seen.append(-1)).cancel()
    beat = clock.every(2, lambda: seen.append(clock.now()))
    clock.run_until(7.0)
    beat.cancel()
    clock.run()
    assert seen == [2.0, 4.0, 6.0]


def test_something_that_repeats_for_ever_is_noticed():
    clock = VirtualClock()
    clock.every(1, lambda: None)
    with pytest.raises(RuntimeError, match="run_until"):
        clock.run(limit=100)


def test_a_wall_clock_may_be_set_and_time_goes_on():
    clock = VirtualClock()
    wall, now = clock.wall(), clock.now()
    clock.step_wall(-3600)
    clock.run_for(5)
    assert clock.wall() == wall - 3595 and clock.now() == now + 5


# ---------------------------------------------------------------- traffic


def test_steady_traffic_is_evenly_spaced():
    times = list(arrivals(steady(10), 2.0))
    assert len(times) == 19 and times[0] == pytest.approx(0.1) and times == sorted(times)


def test_a_ramp_and_a_spike_come_to_their_areas():
    assert len(list(arrivals(ramp(0.1, 100, over_s=10), 10.0))) == pytest.approx(500, rel=0.1)
    times = list(arrivals(spike(10, 200, at_s=5, for_s=1), 10.0))
    assert sum(5 <= t < 6 for t in times) == pytest.approx(200, abs=200 * STEP_S)


def test_random_traffic_is_the_same_for_a_seed():
    one, same, other = (list(arrivals(steady(50), 20.0, seed=s)) for s in (1, 1, 2))
    assert one == same != other
    assert len(one) == pytest.approx(1000, rel=0.15)
