"""Of failed authentications: whoever guesses, however the guesses fall in time, so many are looked at and no more."""

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.edge.failures import GOOD_S, PER_S, Failures, room

SMALL = 96
"""Of what is remembered."""

GAPS = st.lists(st.floats(0.0, 90.0), min_size=1, max_size=120)


@given(most=st.integers(1, 20), gaps=GAPS)
def test_in_any_time_no_more_than_a_minutes_worth_and_what_the_time_itself_allows(most: int, gaps: list[float]):
    failures = Failures(most, room(SMALL, SMALL, b"secret"), SMALL, SMALL)
    looked: list[float] = []
    now = 0.0
    for gap in gaps:
        now += gap
        if not failures.wait("192.0.2.1", [b"guess"], now):
            failures.failed("192.0.2.1", [b"guess"], now)
            looked.append(now)
    for n, begin in enumerate(looked):
        for m in range(n, len(looked)):
            assert m - n + 1 <= most + (looked[m] - begin) * most / PER_S + 1e-3


@given(most=st.integers(1, 20), gaps=GAPS, start=st.floats(0.0, 1e6))
def test_who_is_told_to_wait_is_looked_at_when_it_did_and_not_before(most: int, gaps: list[float], start: float):
    failures = Failures(most, room(SMALL, SMALL, b"secret"), SMALL, SMALL)
    now = start
    for gap in gaps:
        now += gap / 20
        wait = failures.wait("192.0.2.1", [b"guess"], now)
        assert 0.0 <= wait <= PER_S / most + 1e-3
        if wait:
            assert failures.wait("192.0.2.1", [b"guess"], now + wait * 0.5 - 1e-6) > 0 or wait < 1e-3
            assert failures.wait("192.0.2.1", [b"guess"], now + wait + 1e-3) == 0
        else:
            failures.failed("192.0.2.1", [b"guess"], now)


@given(most=st.integers(1, 5), guesses=st.integers(0, 50), known=st.sampled_from(["192.0.2.1", "2001:db8::1"]))
def test_who_was_good_from_there_goes_on_and_nobody_elsewhere_is_touched(most: int, guesses: int, known: str):
    failures = Failures(most, room(SMALL, SMALL, b"secret"), SMALL, SMALL)
    failures.good(known, [b"key"], 0.0)
    for _ in range(guesses):
        failures.failed(known, [b"guess"], 1.0)
    assert failures.wait(known, [b"key"], 1.0) == 0
    assert failures.wait("198.51.100.1", [b"guess"], 1.0) == 0
    assert (failures.wait(known, [b"guess"], 1.0) > 0) == (guesses >= most)
    assert (failures.wait(known, [b"key", b"guess"], 1.0) > 0) == (guesses >= most)
    for _ in range(guesses * 20):
        failures.failed(known, [b"guess"], GOOD_S + 1)
    assert (failures.wait(known, [b"key"], GOOD_S + 1) > 0) == (guesses * 20 >= most), "not for ever"


def test_one_who_has_the_whole_internet_does_not_fill_us():
    failures = Failures(3, room(SMALL, SMALL, b"secret"), SMALL, SMALL)
    for _ in range(9):
        failures.failed("192.0.2.1", [b"guess"], 0.0)
    for n in range(5_000):
        failures.failed(f"2001:db8:{n:x}::1", [b"guess"], 0.0)
        failures.good(f"2001:db8:{n:x}::1", [b"key"], 0.0)
        assert failures.sources() <= SMALL and failures.known() <= SMALL
    assert failures.wait("192.0.2.1", [b"guess"], 0.0) > 0, "who failed most is not forgotten"


@given(most=st.integers(1, 60), tries=st.integers(1, 2000))
def test_what_was_good_and_is_no_more_counts_and_shuts_nobody_out_for_longer_than_a_minute(most: int, tries: int):
    failures = Failures(most, room(SMALL, SMALL, b"secret"), SMALL, SMALL)
    failures.good("192.0.2.1", [b"revoked"], 0.0)
    looked = 0
    for _ in range(tries):
        if not failures.wait("192.0.2.1", [b"revoked"], 1.0):
            failures.failed("192.0.2.1", [b"revoked"], 1.0)
            looked += 1
    assert looked == min(tries, most)
    for _ in range(tries):
        failures.failed("192.0.2.1", [b"whatever"], 1.0)
    assert failures.wait("192.0.2.1", [b"new"], 1.0) <= PER_S / most + 1e-6


@given(
    most=st.integers(1, 20),
    workers=st.integers(2, 5),
    gaps=st.lists(st.tuples(st.floats(0.0, 30.0), st.integers(0, 4)), max_size=120),
)
def test_over_all_workers_no_more_are_looked_at_than_by_one(most: int, workers: int, gaps: list[tuple[float, int]]):
    memory = room(SMALL, SMALL, b"secret")
    several = [Failures(most, memory, SMALL, SMALL) for _ in range(workers)]
    one = Failures(most, room(SMALL, SMALL, b"secret"), SMALL, SMALL)
    now = 50.0
    for gap, who in gaps:
        now += gap
        asked = several[who % workers]
        assert asked.wait("192.0.2.1", [b"guess"], now) == one.wait("192.0.2.1", [b"guess"], now)
        for failures in (asked, one):
            if not failures.wait("192.0.2.1", [b"guess"], now):
                failures.failed("192.0.2.1", [b"guess"], now)
    several[0].good("192.0.2.1", [b"key"], now)
    for _ in range(most):
        several[0].failed("192.0.2.1", [b"guess"], now)
    assert [f.wait("192.0.2.1", [b"key"], now) for f in several] == [0.0] * workers, "what is good is good everywhere"
    assert all(f.wait("192.0.2.1", [b"guess"], now) > 0 for f in several)


@given(start=st.floats(0.0, 2.0**27), most=st.sampled_from([1, 60, 5_000, 1_000_000]))
def test_however_long_the_machine_is_up_and_whatever_is_allowed(start: float, most: int):
    failures = Failures(most, room(SMALL, SMALL, b"secret"), SMALL, SMALL)
    looked = 0
    while looked < min(most, 2_000) and not failures.wait("192.0.2.1", [b"guess"], start):
        failures.failed("192.0.2.1", [b"guess"], start)
        looked += 1
    assert looked == min(most, 2_000)
    assert (failures.wait("192.0.2.1", [b"guess"], start) > 0) == (most <= 2_000)
    assert failures.wait("192.0.2.1", [b"guess"], start + PER_S + 1) == 0
