"""Who is asked next: balances, regions, prompts that are too long, and a word about why."""

from collections import Counter
from typing import Any

import pytest

from sluicegate.core.breaker import BreakerSpec, ThrottleSpec
from sluicegate.core.door import Door
from sluicegate.core.pool import BALANCE, Look, Member, Pool
from sluicegate.core.snapshot import Deployment, Instance

GOLDEN = 0.6180339887


def member(number: int, tier: int = 1, **more: Any) -> Member:
    instance = Instance(number, f"i{number}", "azure_openai", "http", "127.0.0.1", 80, "")
    return Member(Deployment(number, "d", number, "gpt-4o", "1", "Standard", tier, **more), instance, Door())


def shares(pool: Pool, count: int = 1000, tokens: int = 100, seconds: float = 0.01, took: float = 0.0) -> list[float]:
    """Of so many requests one after the other, each member's share."""
    taken: Counter[str] = Counter()
    for n in range(count):
        now = 1000.0 + n * seconds
        found = pool.pick((), now, n * GOLDEN % 1.0, 10, [])
        assert found is not None
        ticket = found.door.enter(now, tokens)
        found.door.ended(ticket, now, now + took, "done", tokens, BreakerSpec())
        found.door.leave(ticket, now, tokens, now + took)
        taken[found.label] += 1
    return [taken[m.label] / count for m in pool.members]


def test_B1_weighted_is_by_weight():
    pool = Pool([[member(0, weight=70), member(1, weight=20), member(2, weight=10)]], "weighted")
    assert shares(pool) == pytest.approx([0.7, 0.2, 0.1], abs=0.02)


def test_B1_what_one_member_could_not_do_goes_to_the_others_by_weight_too():
    """There is one lot for each request: as it fell on the first member it would fall on one and the same second one."""
    weights = (40, 30, 20, 10)
    pool = Pool([[member(n, weight=w) for n, w in enumerate(weights)]], "weighted")
    second: Counter[tuple[str, ...]] = Counter()
    for n in range(20_000):
        tried: list[Door] = []
        names: list[str] = []
        for _ in range(3):
            found = pool.pick(tried, 0.0, n * GOLDEN % 1.0, 10, [])
            assert found is not None
            tried.append(found.door)
            names.append(found.label)
        second[names[0], names[1]] += 1
        second[names[0], names[1], names[2]] += 1
    labels = [m.label for m in pool.members]
    for a, wa in zip(labels, weights, strict=True):
        for b, wb in zip(labels, weights, strict=True):
            for c, wc in zip(labels, weights, strict=True):
                if a == b or c in (a, b):
                    continue
                share = wa / 100 * wb / (100 - wa)
                assert second[a, b] / 20_000 == pytest.approx(share, rel=0.15), (a, b)
                assert second[a, b, c] / 20_000 == pytest.approx(share * wc / (100 - wa - wb), rel=0.3), (a, b, c)


def test_B1_round_robin_is_each_in_turn():
    pool = Pool([[member(0), member(1), member(2)]], "round_robin")
    order = []
    for _n in range(6):
        found = pool.pick((), 0.0, 0.0, 10, [])
        assert found is not None
        order.append(found.label)
    assert order == ["i0/d", "i1/d", "i2/d"] * 2


def test_B1_a_lower_tier_has_its_own_turn():
    """What spills over, one request at a time, goes to each of them in turn, and not to the first of them always."""
    for balance in ("round_robin", "least_busy"):
        pool = Pool([[member(0, 0)], [member(1), member(2), member(3)]], balance)
        order = []
        for _n in range(6):
            first = pool.pick((), 0.0, 0.0, 10, [])
            assert first is pool.members[0]
            spilled = pool.pick([first.door], 0.0, 0.0, 10, [])
            assert spilled is not None
            order.append(spilled.label)
        assert order == ["i1/d", "i2/d", "i3/d"] * 2, balance


def test_B1_least_busy_is_fewest_in_flight():
    pool = Pool([[member(0), member(1), member(2)]], "least_busy")
    for m, busy in zip(pool.members, (3, 1, 2), strict=True):
        for _ in range(busy):
            m.door.enter(0.0, 10)
    assert pool.pick((), 0.0, 0.5, 10, []) is pool.members[1]


def test_S2_least_tokens_is_even_by_tokens_and_not_by_requests():
    pool = Pool([[member(0), member(1)]])
    tokens: Counter[str] = Counter()
    for n in range(2000):
        now, size = 1000.0 + n * 0.01, 10 + 990 * (n % 7 == 0)
        found = pool.pick((), now, 0.5, 10, [])
        assert found is not None
        ticket = found.door.enter(now, size)
        found.door.ended(ticket, now, now, "done", size, BreakerSpec())
        found.door.leave(ticket, now, size, now)
        tokens[found.label] += size
    assert tokens["i0/d"] / tokens.total() == pytest.approx(0.5, abs=0.01)


def test_A3_least_tokens_is_relative_to_the_declared_capacity_and_weight():
    pool = Pool([[member(0, capacity=60_000), member(1, capacity=30_000), member(2, capacity=10_000)]])
    assert shares(pool) == pytest.approx([0.6, 0.3, 0.1], abs=0.03)
    assert shares(Pool([[member(0, weight=3), member(1)]])) == pytest.approx([0.75, 0.25], abs=0.03)


def test_B19_latency_prefers_the_fast_and_notices_when_they_swap():
    pool = Pool([[member(0), member(1)]], "latency")

    def run(speeds: tuple[float, float], count: int) -> float:
        taken = 0
        for n in range(count):
            found = pool.pick((), 0.0, n * GOLDEN % 1.0, 10, [])
            assert found is not None
            first = speeds[found.place - 1]
            found.door.timed(first + 50 * 0.01, first, 50)
            taken += found.place == 1
        return taken / count

    assert run((0.02, 0.2), 500) > 0.9
    run((0.2, 0.02), 500)
    assert run((0.2, 0.02), 500) < 0.1


def test_B19_answers_are_compared_by_their_speed_not_by_their_length():
    long, short = Door(), Door()
    long.timed(10.0 + 0.5, None, 1000)
    short.timed(2.0 + 0.5, None, 100)
    assert long.answer_s() < short.answer_s()


@pytest.mark.parametrize("balance", BALANCE)
def test_every_balance_takes_somebody_who_is_free(balance: str):
    pool = Pool([[member(0), member(1), member(2)]], balance)
    tried: list[Door] = []
    for _ in range(3):
        found = pool.pick(tried, 0.0, 0.01, 10, [])
        assert found is not None and found.door not in tried
        tried.append(found.door)
    assert pool.pick(tried, 0.0, 0.01, 10, []) is None


def test_A9_a_tier_is_used_while_one_of_it_is_free():
    pool = Pool([[member(0, 0)], [member(1), member(2)]])
    ptu = pool.members[0].door
    assert pool.pick((), 0.0, 0.5, 10, []) is pool.members[0]
    ptu.throttled(0, 0.0, 0.0, "upstream.throttled.rate", 2.0, 10, BreakerSpec(), ThrottleSpec())
    trail: list[str] = []
    assert pool.pick((), 1.9, 0.5, 10, trail) is pool.members[1]
    assert trail == ["i0/d: passed.throttled"]
    assert pool.pick((), 2.0, 0.5, 10, []) is pool.members[0]


def test_B22_a_prompt_goes_to_whoever_can_take_it():
    pool = Pool([[member(0, 0, max_input=8_000)], [member(1, max_input=128_000)]])
    trail: list[str] = []
    assert pool.pick((), 0.0, 0.5, 10_000, trail) is pool.members[1]
    assert trail == ["i0/d: passed.prompt"]
    assert pool.pick((), 0.0, 0.5, 200_000, trail) is None
    assert pool.outlook(0.0, 200_000, ()) == ("prompt", float("inf"))


def test_B23_no_larger_is_who_would_say_the_same():
    pool = Pool([[member(0, 0), member(1, 0)], [member(2)]])
    assert pool.no_larger(pool.members[0]) == [pool.members[0].door, pool.members[1].door]
    pool = Pool([[member(0, 0, max_input=8)], [member(1, max_input=8), member(2, max_input=9), member(3)]])
    assert pool.no_larger(pool.members[0]) == [pool.members[0].door, pool.members[1].door]


def test_B22_a_window_of_the_book_is_believed_with_a_quarter_of_doubt_and_a_declared_one_at_its_word():
    pool = Pool([[member(0, 0, window=128_000)], [member(1, window=1_000_000, max_input=300_000)]])
    for estimate, place in ((128_001, 0), (160_000, 0), (160_001, 1), (300_000, 1)):
        assert pool.pick((), 0.0, 0.5, estimate, []) is pool.members[place]
    assert pool.pick((), 0.0, 0.5, 300_001, []) is None


def test_B23_the_book_knows_models_not_deployments_so_another_kind_of_capacity_is_asked():
    pool = Pool([[member(0, 0, window=128), member(1, 0, window=128)], [member(2, window=128)]])
    assert pool.no_larger(pool.members[0]) == [pool.members[0].door, pool.members[1].door]
    assert pool.no_larger(pool.members[2]) == [pool.members[2].door]
    pool = Pool([[member(0, 0, max_input=200, window=128)], [member(1, window=128), member(2, window=1000)]])
    assert pool.no_larger(pool.members[0]) == [pool.members[0].door, pool.members[1].door]


def test_throttled_size_keeps_out_the_large_for_a_minute():
    pool = Pool([[member(0)]])
    door = pool.members[0].door
    door.throttled(0, 0.0, 0.0, "upstream.throttled.size", None, 5000, BreakerSpec(), ThrottleSpec())
    assert pool.pick((), 1.0, 0.5, 4999, []) is not None
    assert pool.pick((), 1.0, 0.5, 5000, []) is None
    assert pool.outlook(1.0, 5000, ()) == ("throttled", 59.0)
    assert pool.pick((), 60.0, 0.5, 5000, []) is not None and door.clear


def test_A7_who_shares_a_quota_is_shut_together_but_not_for_want_of_capacity():
    from sluicegate.core.throttle import Throttle

    quota = Throttle()
    pool = Pool([[member(0), member(1), member(2)]])
    for m in pool.members[:2]:
        m.door.quota = quota
    first = pool.members[0].door
    first.throttled(0, 0.0, 0.0, "upstream.throttled.rate", 5.0, 10, BreakerSpec(), ThrottleSpec())
    trail: list[str] = []
    assert pool.pick((), 1.0, 0.5, 10, trail) is pool.members[2]
    assert trail == ["i0/d: passed.quota", "i1/d: passed.quota"]
    first.throttled(0, 0.0, 0.0, "upstream.throttled.capacity", 9.0, 10, BreakerSpec(), ThrottleSpec())
    assert pool.pick((), 6.0, 0.5, 10, []) is pool.members[1], "the region of the first is full, not the quota"


def test_B4_nobody_is_passed_over_for_what_is_declared_unless_it_was_asked_for():
    def used(ceiling: float | None) -> Member:
        m = member(0, capacity=60_000)
        return Member(m.deployment, m.instance, m.door, ceiling)

    for ceiling, taken in ((None, 0), (0.8, 1)):
        pool = Pool([[used(ceiling)], [member(1)]])
        door = pool.members[0].door
        door.enter(0.0, 9_900)  # of 10,000 in ten seconds
        trail: list[str] = []
        assert pool.pick((), 1.0, 0.5, 10, trail) is pool.members[taken]
        assert trail == (["i0/d: passed.soft_ceiling"] if taken else [])


def test_a_soft_ceiling_sends_on_and_never_refuses():
    """It is a guess of ours: where nobody else can take the request, who is beyond it is asked all the same, in the
    order of tiers; who is throttled is not."""

    def used(number: int, tier: int) -> Member:
        m = member(number, tier, capacity=60_000)
        return Member(m.deployment, m.instance, m.door, 0.8)

    pool = Pool([[used(0, 0)], [used(1, 1), used(2, 1)]])
    for m in pool.members[:2]:
        m.door.enter(0.0, 9_900)
    why: list[Look] = []
    assert pool.pick((), 1.0, 0.5, 10, [], why) is pool.members[2]
    pool.members[2].door.enter(0.0, 9_950)
    why = []
    assert pool.pick((), 1.0, 0.5, 10, [], why) is pool.members[0]
    assert [(look.member.label, look.word) for look in why] == [
        ("i1/d", "soft_ceiling"), ("i2/d", "soft_ceiling"), ("i0/d", "only"),
    ]  # fmt: skip
    pool.members[0].door.throttled(0, 0.0, 1.0, "upstream.throttled.rate", 9.0, 10, BreakerSpec(), ThrottleSpec())
    why = []
    assert pool.pick((), 1.0, 0.5, 10, [], why) is pool.members[1]
    assert [(look.member.label, look.word) for look in why] == [
        ("i0/d", "throttled"), ("i1/d", "taken"), ("i2/d", "balance"),
    ]  # fmt: skip
    assert pool.pick([m.door for m in pool.members], 1.0, 0.5, 10, []) is None


def test_every_candidate_has_its_word_and_no_door_is_entered():
    pool = Pool([[member(0, 0)], [member(1, max_input=5), member(2), member(3)], [member(4)]], "round_robin")
    pool.members[0].door.throttled(
        0, 0.0, 0.0, "upstream.throttled.rate", 2.0, 10, BreakerSpec(), ThrottleSpec()
    )  # fmt: skip
    for taken, other in ((2, 3), (3, 2)):
        why: list[Look] = []
        assert pool.pick((), 0.5, 0.5, 10, [], why) is pool.members[taken]
        assert [(look.member.label, look.word, look.until, look.state) for look in why] == [
            ("i0/d", "throttled", 1.5, "shut"), ("i1/d", "prompt", 0.0, "closed"),
            (f"i{taken}/d", "taken", 0.0, "closed"), (f"i{other}/d", "balance", 0.0, "closed"),
            ("i4/d", "later", 0.0, "closed"),
        ]  # fmt: skip
    why = []
    assert pool.pick([m.door for m in pool.members[1:4]], 0.5, 0.5, 10, [], why) is pool.members[4]
    assert [look.word for look in why] == ["throttled", "tried", "tried", "tried", "only"]
    assert not any(m.door.in_flight for m in pool.members)


def test_a_trail_is_bounded():
    pool = Pool([[member(n, max_input=5) for n in range(100)]])
    trail: list[str] = []
    pool.pick((), 0.0, 0.5, 10, trail)
    assert len(trail) == 32
