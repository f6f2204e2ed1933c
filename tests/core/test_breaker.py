"""The breaker by hand: what opens it, who looks again, what closes it."""

from math import inf

import pytest

from sluicegate.core.breaker import OURS_S, REJECTED, SILENCE_S, Breaker, BreakerSpec

SPEC = BreakerSpec(faults=5, share=0.5, within=30.0, open=3.0)


def enter(breaker: Breaker, now: float) -> int:
    assert breaker.ready(now) == now
    return breaker.enter(now)


def opened(now: float = 0.0, took: float = 0.01) -> Breaker:
    """Five that failed at `now`, each after so many seconds."""
    breaker = Breaker()
    for _ in range(5):
        assert breaker.closed
        breaker.failed(enter(breaker, now), now, took, "upstream.status_5xx", SPEC)
    assert not breaker.closed
    return breaker


def test_faults_in_a_row_open_it_until_its_time() -> None:
    breaker = opened(10.0)
    assert breaker.ready(10.0) == 13.0 and breaker.ready(12.999) == 13.0 and breaker.ready(13.0) == 13.0


def test_an_answer_between_them_starts_the_count_anew() -> None:
    breaker = Breaker()
    for n in range(14):
        if n % 5 == 4:
            breaker.answered(enter(breaker, n), n, SPEC)
        else:
            breaker.failed(enter(breaker, n), n, 0.01, "connection.reset", BreakerSpec(share=1.0))
    assert breaker.closed


@pytest.mark.parametrize(("of_ten", "opens"), [(4, False), (5, True)])
def test_so_does_a_share_of_twenty_answers(of_ten: int, opens: bool) -> None:
    breaker = Breaker()
    count = 0
    while breaker.closed and count < 200:
        ticket = enter(breaker, count * 0.1)
        if count % 10 % 2 and count % 10 < of_ten * 2:
            breaker.failed(ticket, count * 0.1, 0.01, "connection.reset", SPEC)
        else:
            breaker.answered(ticket, count * 0.1, SPEC)
        count += 1
    assert breaker.closed != opens
    assert not opens or count >= 20


def test_faults_longer_ago_than_the_window_are_forgotten() -> None:
    breaker = Breaker()
    for n in range(18):
        ticket = enter(breaker, 0.0)
        if n % 2:
            breaker.failed(ticket, 0.0, 0.01, "connection.reset", SPEC)
        else:
            breaker.answered(ticket, 0.0, SPEC)
    for _ in range(19):
        breaker.answered(enter(breaker, 31.0), 31.0, SPEC)
    breaker.failed(enter(breaker, 31.0), 31.0, 0.01, "connection.reset", SPEC)
    assert breaker.closed


def test_one_ticket_looks_and_its_head_closes() -> None:
    breaker = opened()
    ticket = enter(breaker, 3.0)
    assert breaker.ready(3.0) > 3.0, "the second waits"
    breaker.answered(ticket, 3.2, SPEC)
    assert breaker.closed and breaker.ready(3.2) == 3.2


def test_it_fails_and_is_open_again() -> None:
    breaker = opened()
    breaker.failed(enter(breaker, 3.0), 3.1, 0.1, "connect.refused", SPEC)
    assert breaker.ready(3.1) == pytest.approx(6.1)


def test_it_left_and_the_next_looks_at_once() -> None:
    breaker = opened()
    breaker.give_back(enter(breaker, 3.0), 3.4)
    enter(breaker, 3.4)
    assert breaker.ready(3.4) > 3.4


def test_no_failure_for_a_second_closes_it() -> None:
    breaker = opened()
    ticket = enter(breaker, 3.0)
    assert breaker.ready(3.9) == 3.0 + SILENCE_S
    assert breaker.ready(4.0) == 4.0 and breaker.closed
    breaker.failed(ticket, 4.5, 1.5, "connection.reset", SPEC)
    assert breaker.closed and breaker.faults == 0, "news of an earlier state"


def test_silence_says_nothing_about_who_failed_by_silence() -> None:
    breaker = opened(took=10.0)
    first = enter(breaker, 3.0)
    assert breaker.ready(4.5) == 6.0, "the next ticket after `open`, not after a second"
    second = enter(breaker, 6.0)
    breaker.failed(first, 6.5, 3.5, "timeout.first_byte", SPEC)
    assert breaker.half_open, "only the newest ticket ends the looking"
    breaker.answered(second, 7.0, SPEC)
    assert breaker.closed


def test_a_late_head_of_an_earlier_look_closes_it_too() -> None:
    breaker = opened(took=10.0)
    first = enter(breaker, 3.0)
    enter(breaker, 6.0)
    breaker.answered(first, 8.0, SPEC)
    assert breaker.closed


def test_what_was_sent_before_it_opened_says_nothing() -> None:
    breaker = Breaker()
    tickets = [enter(breaker, 0.0) for _ in range(20)]
    for ticket in tickets[:5]:
        breaker.failed(ticket, 1.0, 1.0, "connection.reset", SPEC)
    until = breaker.until
    for ticket in tickets[5:12]:
        breaker.failed(ticket, 2.0, 2.0, "connection.reset", SPEC)
    breaker.answered(tickets[12], 2.0, SPEC)
    assert not breaker.closed and breaker.until == until
    breaker.answered(enter(breaker, 4.0), 4.1, SPEC)
    for ticket in tickets[13:]:
        breaker.failed(ticket, 5.0, 5.0, "connection.reset", SPEC)
    assert breaker.closed


def test_answers_that_break_off_open_it_and_only_a_whole_one_closes() -> None:
    breaker = Breaker()
    for _ in range(5):
        ticket = breaker.answered(enter(breaker, 0.0), 0.0, SPEC)
        breaker.broke_off(ticket, 1.0, "answer.cut", SPEC)
    assert not breaker.closed
    ticket = breaker.answered(enter(breaker, 4.0), 4.0, SPEC)
    assert not breaker.closed and breaker.ready(6.0) == 7.0
    breaker.whole(ticket)
    assert breaker.closed


@pytest.mark.parametrize("cause", ["upstream.credential", "upstream.deployment"])
def test_what_is_our_own_trouble_opens_it_at_once_and_for_longer(cause: str) -> None:
    breaker = Breaker()
    breaker.failed(enter(breaker, 0.0), 0.0, 0.05, cause, SPEC)
    assert breaker.ready(0.0) == OURS_S and breaker.cause == cause
    breaker.failed(enter(breaker, 30.0), 30.0, 0.05, cause, SPEC)
    assert breaker.ready(30.0) == 30.0 + OURS_S
    breaker.look_now()
    breaker.answered(enter(breaker, 31.0), 31.0, SPEC)
    assert breaker.closed


# ---------------------------------------------------------------- nothing to show


def test_without_a_credential_nothing_goes_in_ever_and_with_one_at_once() -> None:
    breaker = Breaker()
    breaker.withhold(REJECTED)
    for now in (0.0, 1e3, 1e9):
        assert breaker.ready(now) == inf
    breaker.look_now()
    assert breaker.ready(1e9) == inf, "another configuration brings no credential"
    breaker.supply()
    assert breaker.closed and breaker.ready(5.0) == 5.0 and not breaker.cause


def test_news_of_before_a_credential_ended_opens_and_closes_nothing() -> None:
    spec = BreakerSpec()
    breaker = Breaker()
    ticket = breaker.enter(0.0)
    breaker.withhold(REJECTED)
    assert breaker.answered(ticket, 1.0, spec) == ticket and not breaker.closed
    breaker.failed(ticket, 1.0, 1.0, REJECTED, spec)
    breaker.whole(ticket)
    breaker.give_back(ticket, 1.0)
    assert breaker.ready(1e9) == inf
    breaker.supply()
    breaker.failed(ticket, 2.0, 2.0, REJECTED, spec)
    assert breaker.closed, "it was shown the one before"


def test_another_credential_is_looked_at_at_once_by_one_and_only_where_the_old_one_was_refused() -> None:
    spec = BreakerSpec()
    breaker = Breaker()
    breaker.failed(breaker.enter(0.0), 0.0, 0.0, REJECTED, spec)
    assert breaker.ready(1.0) == OURS_S
    breaker.supply()
    assert breaker.ready(1.0) == 1.0
    breaker.enter(1.0)
    assert breaker.half_open and breaker.ready(1.0) > 1.0
    other = Breaker()
    for _ in range(spec.faults):
        other.failed(other.enter(0.0), 0.0, 0.0, "upstream.status_5xx", spec)
    before = other.ready(0.0)
    other.supply()
    assert other.ready(0.0) == before > 0.0, "a broken server is not mended by a token"
