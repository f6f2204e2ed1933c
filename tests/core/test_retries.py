"""The retry budget by hand: a share of what clients ask, some for those who ask little, and none where it says none."""

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.retries import FLOOR, WINDOW_S, Retries


def test_nothing_is_tried_again_where_the_budget_is_nothing() -> None:
    retries = Retries(0.0)
    for _ in range(1000):
        retries.asked(0.0)
    assert not retries.take(0.0)
    retries.share = 0.1
    assert retries.take(0.0), "another configuration"


@given(st.floats(0.01, 1.0), st.lists(st.tuples(st.floats(0.0, 9.0), st.booleans()), max_size=400), st.integers(0, 300))
def test_no_window_has_more_than_its_share_or_the_few_that_anybody_may(
    share: float, steps: list[tuple[float, bool]], ahead: int
) -> None:
    retries = Retries(share)
    now = 100.0
    for _ in range(ahead):
        retries.asked(now)
    asked, taken = [now] * ahead, []
    for wait, ask in steps:
        now += wait / 10
        if ask:
            retries.asked(now)
            asked.append(now)
        elif retries.take(now):
            taken.append(now)
            recent = sum(at > now - WINDOW_S for at in taken)
            assert recent <= max(FLOOR, share * sum(at > now - 2 * WINDOW_S for at in asked) + 1)


def test_what_a_quiet_time_left_over_is_not_saved_up_for_a_storm() -> None:
    """100 requests a second, and of a sudden all of them fail: not one window has more than its share."""
    retries = Retries(0.2)
    taken = []
    for n in range(10_000):
        now = n / 100
        retries.asked(now)
        if now >= 50 and retries.take(now):
            taken.append(now)
    for start in (50, 60, 70, 80, 90):
        assert sum(start <= at < start + 10 for at in taken) == 200
