"""A share of a limit by hand: what it is short of, what it gives back at once, what it owes, and what it keeps."""

from __future__ import annotations

from sluicegate.core.limits.base import IDLE, VAIN_S, Claim, LimitSpec, reserve
from sluicegate.core.limits.token_rate import TokenRate


def share(amount: int, whole: int = 1000) -> TokenRate:
    limit = TokenRate(LimitSpec("token_rate", whole), "t")
    limit.lent = True
    limit.amount = amount
    return limit


def take(limit: TokenRate, amount: int, now: float = 0.0) -> bool:
    return reserve((limit,), Claim(amount, 0, True), now) is None


def test_it_is_short_of_what_the_claim_wants_beyond_what_is_left():
    limit = share(300)
    assert take(limit, 200)
    assert limit.short(Claim(150, 0, True), 0.0) == 50
    assert limit.short(Claim(100, 0, True), 0.0) <= 0, "it has that"
    assert limit.short(Claim(1001, 0, True), 0.0) == 0, "nothing the keeper lends lets in what is larger than the limit"
    limit.lent = False
    assert limit.short(Claim(150, 0, True), 0.0) == 0, "it is no share"


def test_only_who_got_less_than_it_needs_waits_before_it_asks_again():
    limit = share(0)
    limit.get(300, True, 700, 5.0)
    assert (limit.amount, limit.elsewhere, limit.vain_until) == (300, 700, 0.0)
    limit.get(100, False, 0, 6.0)
    assert (limit.amount, limit.elsewhere, limit.vain_until) == (400, 0, 6.0 + VAIN_S)


def test_what_is_not_used_is_given_at_once_and_what_is_used_as_it_falls_free():
    limit = share(600)
    assert take(limit, 500)
    assert limit.give(300, floor=250, now=0.0) == 100, "that much was not used"
    assert (limit.amount, limit.owes) == (300, 200)
    assert not take(limit, 1), "what is owed is no longer its own"
    assert limit.owed(30.0) == 0
    assert limit.owed(61.0) == 200 and (limit.amount, limit.owes) == (300, 0), "a minute later nothing of it is used"


def test_nobody_is_brought_below_its_floor_for_what_it_uses():
    limit = share(600)
    assert take(limit, 600)
    assert limit.give(600, floor=400, now=0.0) == 0
    assert (limit.amount, limit.owes) == (400, 200)


def test_a_share_that_is_hardly_used_gives_back_what_is_worth_a_message():
    whole = 1000
    limit = share(whole)
    soon = limit.soon(0.0)
    assert limit.surplus(0.0) == whole - soon
    limit.amount = soon + whole // IDLE
    assert limit.surplus(0.0) == 0
    limit.amount += 1
    assert limit.surplus(0.0) == whole // IDLE + 1
