"""Policies: found once, limits by identity, idle things forgotten."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest

from sluicegate.core.caller import LIVE, Callers, Consumer, digest
from sluicegate.core.door import Door
from sluicegate.core.events import Facts, Usage
from sluicegate.core.limits.base import LimitSpec, reserve
from sluicegate.core.limits.lender import Lend, Recall, Rest, Returned
from sluicegate.core.policy import KEEP_S, Policies, Policy
from sluicegate.core.pool import Member, Pool
from sluicegate.core.principal import Principal
from sluicegate.core.route import Route
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import ConsumerEntry, Deployment, Directory, Instance, Match, Model, TenantEntry

SECRET = Secret("s")
INSTANCE = Instance(1, "i", "azure_openai", "http", "h", 80, "")
DEPLOYMENT = Deployment(1, "d", 1, "gpt-4o", "1", "Standard", 1)
TOKENS = LimitSpec("token_rate", 1000)


def route(name: str = "chat") -> Route:
    return Route(Model(1, name, (1,), ("chat_completions",)), Pool([[Member(DEPLOYMENT, INSTANCE, Door())]]))


def consumers(*limits: LimitSpec, tenant: tuple[LimitSpec, ...] = (), many: int = 2) -> list[Consumer]:
    entries = tuple(
        ConsumerEntry(n, f"c{n}", "t", ("*",), (digest(b"%d" % n, SECRET),), limits) for n in range(1, many + 1)
    )
    callers = Callers(Directory((SECRET,), entries, (TenantEntry(7, "t", tenant),)))
    found = [callers.find(b"%d" % n) for n in range(1, many + 1)]
    return [c for c in found if c is not None]


CHAT = route()


def find(policies: Policies, consumer: Consumer, at: Route = CHAT, key: bytes = b"", now: float = 0.0) -> Policy:
    policy = policies.find(consumer, at, "chat_completions", key, now)
    assert policy is not None
    return policy


def use(policy: Policy, tokens: int, now: float = 0.0) -> bool:
    claim = policy.claim(Facts(estimate=tokens, max_output=0))
    return reserve(policy.limits, claim, now) is None


def test_who_has_no_limits_has_no_policy():
    policies = Policies()
    assert policies.find(consumers()[0], CHAT, "chat_completions", b"", 0.0) is None and not len(policies)


def test_consumers_count_apart_and_a_tenant_together():
    policies = Policies()
    a, b = consumers(TOKENS, tenant=(LimitSpec("token_rate", 1500),))
    assert use(find(policies, a), 1000)
    assert not use(find(policies, b), 501) and use(find(policies, b), 500)
    assert not use(find(policies, a), 1)
    other = find(policies, a, route("other"))
    assert not use(other, 1), "one counter over all models"


def test_each_says_what_one_counter_covers():
    for each, same_model, same_key in (("model", False, True), ("key", True, False), ("consumer", True, True)):
        policies = Policies()
        [a] = consumers(LimitSpec("token_rate", 1000, each=each), many=1)
        assert use(find(policies, a, key=b"k1"), 1000)
        assert use(find(policies, a, route("other"), key=b"k1"), 1) is not same_model
        assert use(find(policies, a, key=b"k2"), 1) is not same_key
    policies = Policies()
    a, b = consumers(tenant=(LimitSpec("token_rate", 1000, each="consumer"),))
    assert use(find(policies, a), 1000) and use(find(policies, b), 1000) and not use(find(policies, a), 1)


def test_a_limit_counts_its_models_and_operations_only():
    policies = Policies()
    [a] = consumers(
        LimitSpec("token_rate", 100, models=("chat",)), LimitSpec("token_rate", 1, operations=("embeddings",)), many=1
    )
    assert not use(find(policies, a), 101)
    assert use(find(policies, a, route("other")), 101)


def test_a_new_configuration_keeps_what_was_used():
    policies = Policies()
    [a] = consumers(TOKENS, LimitSpec("token_rate", 9000, window=3600.0), many=1)
    assert use(find(policies, a), 900)
    [a] = consumers(LimitSpec("token_rate", 9000, window=3600.0), LimitSpec("token_rate", 950), many=1)
    policies.adopt()
    assert not use(find(policies, a), 51, 1.0) and use(find(policies, a), 50, 1.0)
    [a] = consumers(LimitSpec("token_rate", 950, window=1.0), LimitSpec("token_rate", 9000, window=3600.0), many=1)
    policies.adopt()
    assert [limit.used(1.5) for limit in find(policies, a).limits] == [50, 950], "another window, the same counter"
    assert len(policies.limits()) == 2


def test_limits_of_a_removed_rule_go_and_of_a_kept_one_stay():
    policies = Policies()
    [a] = consumers(TOKENS, LimitSpec("request_rate", 10), many=1)
    assert use(find(policies, a), 10)
    [a] = consumers(TOKENS, many=1)
    policies.adopt()
    assert [limit.used(1.0) for limit in find(policies, a).limits] == [10]
    for n in range(20):
        find(policies, a, route(f"m{n}"), now=100.0)
    assert [limit.kind for limit in policies.limits()] == ["token_rate"]


def test_what_is_idle_is_forgotten_and_what_is_used_is_not():
    """100,000 consumers call once each, one of them all the time: memory is for who called in the last minutes."""
    policies = Policies()
    all_ = consumers(TOKENS, LimitSpec("concurrency", 5), many=5000)
    most = 0
    now = 0.0
    claims = []
    for consumer in all_:
        now += 0.1
        policy = find(policies, consumer, now=now)
        claim = policy.claim(Facts(estimate=10, max_output=0))
        assert reserve(policy.limits, claim, now) is None
        claims.append(claim)
        claim.settle(None, True, now)
        first = find(policies, all_[0], now=now)
        assert len(claims) > 5 or use(first, 0, now)
        most = max(most, len(policies))
    assert most < 3 * 3 * 600, "three things for each of 600 consumers a minute, and those not looked at yet"
    assert find(policies, all_[0], now=now).limits[1].used(now) == 5


def test_what_was_learned_of_prompts_never_makes_a_request_too_large():
    """Short prompts with much around them (tools that search) teach four tokens for each that was estimated. A long one
    that fits by its own bytes is not refused for ever for that: nobody who is refused teaches anything."""
    policies = Policies()
    [a] = consumers(LimitSpec("token_rate", 10_000), tenant=(LimitSpec("token_rate", 8000),), many=1)
    policy = find(policies, a)
    for _ in range(100):
        policy.learn(Facts(estimate=10, max_output=1), policy.claim(Facts(estimate=10, max_output=1)), Usage(40, 1))
    assert policy.claim(Facts(estimate=1000, max_output=500)).input == pytest.approx(4000, rel=0.01)
    for facts in (Facts(estimate=3000, max_output=1000), Facts(estimate=3000), Facts(estimate=7000, max_output=1000)):
        claim = policy.claim(facts)
        assert reserve(policy.limits, claim, 0.0) is None, facts.estimate
        assert claim.input + (facts.max_output or 0) <= 8000
        claim.settle(None, True, 0.0)
    for facts in (Facts(estimate=7001, max_output=1000), Facts(estimate=8001)):
        claim = policy.claim(facts)
        assert reserve(policy.limits, claim, 0.0) is not None and claim.wait == inf, "too large by its own bytes"
    assert policy.claim(Facts(estimate=9000, max_output=10)).input == 9000


def test_head_room_is_that_of_the_nearest_limit():
    policies = Policies()
    [a] = consumers(
        TOKENS, LimitSpec("token_rate", 5000), LimitSpec("request_rate", 10), LimitSpec("token_rate", 1, mode="shadow"),
        tenant=(LimitSpec("token_rate", 950),), many=1,
    )  # fmt: skip
    policy = find(policies, a)
    assert use(policy, 100)
    assert policy.headroom(0.0) == (
        b"x-ratelimit-limit-tokens: 950\r\nx-ratelimit-remaining-tokens: 850\r\nx-ratelimit-reset-tokens: 60\r\n"
        b"x-ratelimit-limit-requests: 10\r\nx-ratelimit-remaining-requests: 9\r\nx-ratelimit-reset-requests: 60\r\n"
    )


# ---------------------------------------------------------------------- end users

EACH = LimitSpec("token_rate", 1000, each="end_user")


def of(policies: Policies, consumer: Consumer, user: str, now: float = 0.0, at: Route = CHAT) -> Policy:
    policy = policies.find(consumer, at, "chat_completions", b"", now, user)
    assert policy is not None
    return policy


def test_end_users_count_apart_each_over_all_models_and_those_without_a_name_together():
    policies = Policies()
    (a,) = consumers(EACH, many=1)
    assert a.by_user
    assert use(of(policies, a, "ann"), 1000) and not use(of(policies, a, "ann"), 1)
    assert not use(of(policies, a, "ann", at=route("other")), 1)
    assert use(of(policies, a, "bob"), 1000)
    assert use(of(policies, a, ""), 600) and not use(of(policies, a, ""), 600), "no name is no way around"


def test_a_tenants_end_users_are_the_same_whichever_of_its_consumers_they_use():
    policies = Policies()
    a, b = consumers(tenant=(EACH,))
    assert use(of(policies, a, "ann"), 600) and not use(of(policies, b, "ann"), 600)
    own, other = consumers(EACH)
    policies = Policies()
    assert use(of(policies, own, "ann"), 600) and use(of(policies, other, "ann"), 600), (
        "those of a consumer are its own"
    )


def test_ever_new_end_users_take_no_more_memory_and_escape_no_limit():
    policies = Policies(crowd=400)
    noisy, quiet = consumers(EACH)
    admitted = sum(use(of(policies, noisy, f"user-{n}", n * 1e-6), 1000) for n in range(5000))
    assert len(policies) <= 400 and admitted <= 201, "each of those who are known, and once for all others together"
    assert use(of(policies, quiet, "ann", 0.01), 1000), "room is left for whoever else comes"
    assert not use(of(policies, quiet, "ann", 0.01), 1)
    assert len(policies) <= 400


def test_end_users_who_left_make_room():
    policies = Policies(crowd=40)
    (a,) = consumers(EACH, many=1)
    for n in range(100):
        use(of(policies, a, f"user-{n}"), 1000)
    assert not use(of(policies, a, "late"), 1000), "one of the others"
    later = KEEP_S + 120.0
    for n in range(200):
        use(of(policies, a, f"new-{n % 5}", later + n), 1)
    assert use(of(policies, a, "late", later + 200.0), 1000)
    policies._look(later + 10_000.0)
    for _ in range(100):
        policies._look(later + 20_000.0)
    assert not len(policies) and not policies._crowd and not policies._crowd_all and not policies._whose


# ---------------------------------------------------------------- members of families


def members(*limits: LimitSpec, tenant: tuple[LimitSpec, ...] = ()) -> Callable[[str], Consumer]:
    rule = Match("partner", each="azp")
    entries = (ConsumerEntry(1, "family", "t", ("*",), (), limits, match=rule),)
    callers = Callers(Directory((SECRET,), entries, (TenantEntry(7, "t", tenant),)))

    def member(value: str) -> Consumer:
        found = callers.match(Principal("partner", {"azp": value}, b"", 0.0))
        assert isinstance(found, Consumer)
        return found

    return member


def mine(policies: Policies, member: Consumer, now: float = 0.0, user: str = "") -> Policy:
    policy = policies.find(member, CHAT, "chat_completions", member.mark, now, user)
    assert policy is not None
    return policy


@pytest.mark.parametrize("each", ["", "consumer", "model", "key"])
def test_each_member_of_a_family_has_limits_of_its_own(each: str):
    policies = Policies()
    member = members(LimitSpec("token_rate", 1000, each=each))
    assert use(mine(policies, member("a")), 1000)
    assert not use(mine(policies, member("a")), 1)
    assert use(mine(policies, member("b")), 1000)


@pytest.mark.parametrize(
    ("limits", "tenant"),
    [((LimitSpec("token_rate", 1000, each="tenant"),), ()), ((), (LimitSpec("token_rate", 1000),))],
)
def test_what_counts_the_tenant_counts_all_members_together(
    limits: tuple[LimitSpec, ...], tenant: tuple[LimitSpec, ...]
):
    policies = Policies()
    member = members(*limits, tenant=tenant)
    assert use(mine(policies, member("a")), 600)
    assert not use(mine(policies, member("b")), 600)
    assert use(mine(policies, member("b")), 400)


def test_a_tenants_limit_for_each_consumer_is_for_each_member():
    policies = Policies()
    member = members(tenant=(LimitSpec("token_rate", 1000, each="consumer"),))
    assert use(mine(policies, member("a")), 1000) and use(mine(policies, member("b")), 1000)
    assert not use(mine(policies, member("a")), 1)


def test_a_member_that_was_forgotten_has_the_limits_that_it_had():
    policies = Policies()
    member = members(LimitSpec("token_rate", 1000))
    assert use(mine(policies, member("a")), 1000)
    for n in range(LIVE + 1):
        member(f"n{n}")
    again = member("a")
    assert not use(mine(policies, again), 1)


def test_ever_new_members_take_no_more_memory_and_escape_no_limit():
    policies = Policies(crowd=400)
    member = members(LimitSpec("token_rate", 1000), LimitSpec("token_rate", 100, each="end_user"))
    admitted = sum(use(mine(policies, member(f"m{n}"), n * 1e-6), 1000) for n in range(2000))
    assert admitted == 0, "the smaller limit, of nobody's end user, is in the way"
    policies = Policies(crowd=400)
    member = members(LimitSpec("token_rate", 1000))
    admitted = sum(use(mine(policies, member(f"m{n}"), n * 1e-6), 1000) for n in range(5000))
    assert len(policies) <= 202 and admitted <= 101, "half of the room, for policies and limits together"
    for _ in range(3000):
        policies._look(100_000.0)
    assert not len(policies) and not policies._crowd and not policies._crowd_all and not policies._whose


def test_what_the_keeper_says_of_a_share_reaches_it():
    policies = Policies(lent=True)
    policy = find(policies, consumers(TOKENS)[0])
    (limit,) = policy.limits
    assert limit.lent and not use(policy, 1), "nothing is lent yet"
    policies.got(Lend(limit.key, 300, True, 700), 0.0)
    assert use(policy, 300) and not use(policy, 1) and limit.elsewhere == 700
    policies.told(Rest(limit.key, 400))
    assert limit.elsewhere == 400
    assert policies.recalled(Recall(limit.key, 300, 100), 0.0) == Returned(limit.key, 0, True)
    assert limit.elsewhere == 0 and policies.returns(0.0) == []
    assert policies.returns(60.0) == [Returned(limit.key, 200, False)], "what was in use, as it falls free"


def test_what_the_keeper_says_of_a_limit_that_is_not_known_here_changes_nothing_and_is_not_kept():
    policies = Policies(lent=True)
    policies.got(Lend("nobody", 300, True, 0), 0.0)
    policies.told(Rest("nobody", 400))
    assert policies.recalled(Recall("nobody", 300, 0), 0.0) == Returned("nobody", 0, True)
    assert policies.returns(0.0) == [Returned("nobody", 300, False)] and policies.returns(0.0) == []
