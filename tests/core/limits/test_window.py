"""The sliding window: never more than the amount in any stretch, nothing held back, debt repaid, estimates returned."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.events import Usage
from sluicegate.core.limits import LIMITS
from sluicegate.core.limits.base import Claim, LimitSpec, reserve
from sluicegate.core.limits.token_rate import TokenRate


def tokens(amount: int = 1000, **more: object) -> TokenRate:
    return TokenRate(LimitSpec("token_rate", amount, **more), "t")  # type: ignore[arg-type]


def take(limit: TokenRate, amount: int, now: float) -> Claim | None:
    """A claim of exactly so many tokens, if they were to be had."""
    claim = Claim(amount, 0, True)
    return None if reserve((limit,), claim, now) else claim


def used(total: int) -> Usage:
    return Usage(input=total)


def test_a_request_passes_while_there_is_room_and_is_told_when_it_would():
    limit = tokens(1000)
    assert take(limit, 600, 0.0) and take(limit, 400, 10.0)
    claim = Claim(1, 0, True)
    assert reserve((limit,), claim, 20.0) is limit
    assert claim.wait == pytest.approx(40.0), "the first slot falls out a minute after its last entry"
    assert limit.remaining(20.0) == 0
    assert take(limit, 600, 60.0)
    assert limit.lacks(Claim(400, 0, True), 60.0) == pytest.approx(10.0)


def test_larger_than_the_limit_itself_never_passes():
    limit = tokens(1000)
    claim = Claim(900, 101, True)
    assert reserve((limit,), claim, 0.0) is limit and claim.wait == inf
    assert take(limit, 1000, 0.0)


def test_a_guess_never_makes_a_request_too_large():
    limit = tokens(1000)
    claim = Claim(10, 5000, False)
    assert reserve((limit,), claim, 0.0) is None and claim.taken == [1000]


def test_reserve_max_takes_what_there_is_where_nobody_named_a_maximum():
    limit = tokens(1000, reserve="max")
    claim = Claim(10, 50, False)
    assert reserve((limit,), claim, 0.0) is None and claim.taken == [1000]
    limit = tokens(1000, reserve="max")
    claim = Claim(10, 50, True)
    assert reserve((limit,), claim, 0.0) is None and claim.taken == [60]


def test_what_was_not_used_comes_back_to_its_slot_at_once():
    limit = tokens(1000)
    claim = take(limit, 1000, 0.0)
    assert claim is not None
    claim.settle(used(100), True, 30.0)
    assert limit.remaining(30.0) == 900
    claim.settle(used(100), True, 30.0)
    assert limit.remaining(30.0) == 900, "the second time nothing is held"
    assert limit.remaining(60.0) == 1000


def test_what_was_not_used_is_no_credit_when_its_slot_is_forgotten():
    limit = tokens(1000)
    claim = take(limit, 1000, 0.0)
    assert claim is not None and take(limit, 500, 70.0)
    claim.settle(used(100), True, 80.0)
    assert limit.remaining(80.0) == 500


def test_debt_is_repaid_before_anybody_else_has_room():
    limit = tokens(1000)
    claim = take(limit, 100, 0.0)
    assert claim is not None
    claim.settle(used(5100), True, 10.0)
    assert limit.used(10.0) == 5100
    wait = limit.lacks(Claim(1, 0, True), 10.0)
    assert wait is not None
    assert limit.used(249.9) > 1000, "four minutes of it are still owed"
    assert limit.lacks(Claim(1, 0, True), 10.0 + wait - 0.001) is not None
    assert limit.lacks(Claim(1, 0, True), 10.0 + wait) is None
    assert limit.used(370.1) == 0


@pytest.mark.parametrize(
    ("count", "usage", "expected"),
    [
        ("total", Usage(100, 50, 30, 10, 20), 210),
        ("input", Usage(100, 50, 30, 10, 20), 140),
        ("output", Usage(100, 50, 30, 10, 20), 70),
        ("uncached", Usage(100, 50, 30, 10, 20), 180),
    ],
)
def test_what_counts(count: str, usage: Usage, expected: int):
    limit = tokens(1000, count=count)
    claim = Claim(10, 10, True)
    assert reserve((limit,), claim, 0.0) is None
    assert claim.taken == [10 if count in ("input", "output") else 20]
    claim.settle(usage, True, 0.0)
    assert limit.used(0.0) == expected


def test_another_amount_or_window_keeps_what_was_used():
    limit = tokens(1000)
    assert take(limit, 900, 0.0)
    limit.configure(LimitSpec("token_rate", 500))
    assert limit.remaining(1.0) == 0 and limit.used(1.0) == 900
    limit.configure(LimitSpec("token_rate", 2000, window=3600.0))
    assert limit.remaining(61.0) == 1100 and limit.remaining(3600.0) == 2000


def test_a_request_that_never_left_does_not_count():
    limit = LIMITS["request_rate"](LimitSpec("request_rate", 1), "r")
    claim = Claim(0, 0, True)
    assert reserve((limit,), claim, 0.0) is None
    claim.settle(None, False, 1.0)
    assert limit.remaining(1.0) == 1
    claim = Claim(0, 0, True)
    assert reserve((limit,), claim, 2.0) is None
    claim.settle(None, True, 3.0)
    assert limit.remaining(3.0) == 0


def test_all_or_nothing_and_the_longest_wait_is_told():
    a, b, c = tokens(1000), tokens(100), tokens(10)
    assert take(a, 1000, 0.0) and take(b, 100, 30.0)
    claim = Claim(10, 0, True)
    assert reserve((c, a, b), claim, 40.0) is b and claim.wait == pytest.approx(50.0)
    assert c.remaining(40.0) == 10 and not claim.held


def test_shadow_counts_what_it_would_refuse_and_refuses_nothing():
    limit, shadow = tokens(1000), tokens(100, mode="shadow")
    for _ in range(3):
        claim = Claim(60, 0, True)
        assert reserve((limit, shadow), claim, 0.0) is None
    assert shadow.would_refuse == 2 and shadow.used(0.0) == 60
    claim.settle(used(10), True, 1.0)
    assert limit.used(1.0) == 130 and shadow.used(1.0) == 60, "what it did not take it does not give back"


GAPS = st.sampled_from([0.0, 0.01, 0.3, 1.0, 4.9, 5.0, 5.1, 20.0, 59.9, 61.0])
SIZES = st.sampled_from([1, 2, 7, 30, 100, 400, 1000])


@given(st.lists(st.tuples(GAPS, SIZES), min_size=1, max_size=60))
def test_no_stretch_as_long_as_the_window_holds_more_than_the_amount(asked: list[tuple[float, int]]):
    """Sizes mixed 1:1000, settled as reserved. The wait that was told is exact: just before it there was no room."""
    limit = tokens(1000)
    now, admitted = 0.0, []
    for gap, size in asked:
        now += gap
        if take(limit, size, now):
            admitted.append((now, size))
        else:
            wait = limit.lacks(Claim(size, 0, True), now)
            assert wait is not None and wait > 0
            assert fits(limit, size, now + wait + 1e-6) and not fits(limit, size, now + wait - 0.002)
        for start, _ in admitted:
            within = sum(s for t, s in admitted if start <= t < start + 60.0 - 1e-9)
            assert within <= 1000
    assert limit.filled == sum(slot.amount for slot in limit.slots) and len(limit.slots) <= 62
    assert limit.empty(now + 66.0)


def fits(limit: TokenRate, size: int, at: float) -> bool:
    """Whether it would have room then, without letting time pass in the limit itself."""
    gone = sum(slot.amount for slot in limit.slots if slot.last <= at - limit.window)
    return limit.filled - gone + size <= limit.amount


@given(
    st.lists(st.tuples(GAPS, SIZES, SIZES, st.integers(0, 5)), min_size=1, max_size=50),
    st.sampled_from([1.0, 60.0, 3600.0]),
)
def test_over_any_time_no_more_is_used_than_the_limit_and_what_is_still_owed(
    asked: list[tuple[float, int, int, int]], window: float
):
    """Truths far from the estimates, settled late and in another order: nothing is lost, nothing negative."""
    limit = tokens(1000, window=window)
    now = 0.0
    open_: list[tuple[Claim, int]] = []
    for gap, size, truth, which in asked:
        now += gap
        claim = take(limit, size, now)
        if claim is not None:
            open_.append((claim, truth))
        if which < len(open_):
            claim, truth = open_.pop(which)
            claim.settle(used(truth), True, now)
        assert all(slot.amount >= 0 for slot in limit.slots) and limit.debt >= 0
        assert limit.filled == sum(slot.amount for slot in limit.slots) <= 1000
        assert [s.last for s in limit.slots] == sorted(s.last for s in limit.slots)
    for claim, truth in open_:
        claim.settle(used(truth), True, now)
    wait = limit.lacks(Claim(1, 0, True), now)
    if wait is not None:
        assert not limit.remaining(now + wait - 0.002)
        assert limit.remaining(now + wait + 1e-6)
        assert limit.used(now + wait + 1e-6) < 1000
    assert limit.empty(now + (wait or 0.0) + window * 1.1)


def test_under_full_demand_nothing_is_held_back():
    """Ten requests a second of 30 tokens against 6,000 a minute, for an hour."""
    limit = tokens(6000)
    admitted = sum(30 for n in range(36_000) if take(limit, 30, n * 0.1))
    assert 0.98 * 360_000 <= admitted <= 360_000
