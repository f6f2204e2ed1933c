"""Stories of limits and rules, in virtual time: who was let in, what went up, what the client was told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.settings import ParamSpec
from sluicegate.core.snapshot import ConsumerEntry, Directory, TenantEntry
from sluicegate.sim.stage import SECRET, Stage


def staged(*limits: LimitSpec, params: tuple[ParamSpec, ...] = (), **more: Any) -> Stage:
    stage = Stage({"weu": {}}, **more)
    noisy = ConsumerEntry(1, "noisy", "loud", ("chat",), (), limits, params)
    quiet = ConsumerEntry(2, "quiet", "calm", ("chat",), ())
    tenants = (TenantEntry(1, "loud"), TenantEntry(2, "calm"))
    stage.adopt(stage.snapshot, Directory((SECRET,), (noisy, quiet), tenants))
    return stage


def used(stage: Stage) -> list[int]:
    return [limit.used(stage.clock.now()) for limit in stage.world.policies.limits()]


def test_D1_D10_D11_tokens_are_used_up_the_client_is_told_and_the_next_minute_works():
    stage = staged(LimitSpec("token_rate", 500, origin="consumers.noisy"))
    seen = []
    for _ in range(20):
        client = stage.ask("hello", max_tokens=100)
        stage.settle()
        seen.append(client.status)
        if client.status == 429:
            break
        assert client.header("x-ratelimit-limit-tokens") == "500"
        assert client.headers.count(b"x-ratelimit-remaining-tokens") == 1
        assert client.header("x-ratelimit-limit-requests") is None, "the deployment's own would only mislead"
    error = json.loads(client.body)["error"]
    assert seen[-1] == 429 and error["reason"] == "limit.token_rate" and "consumers.noisy" in error["message"]
    assert client.header("x-sluicegate-limit-source") == "gateway" and client.header("x-should-retry") == "true"
    stage.clock.run_for(float(client.header("retry-after") or 0))
    again = stage.ask("hello", max_tokens=100)
    stage.settle()
    assert again.status == 200


def test_who_is_refused_by_a_limit_is_counted_with_the_model_and_never_with_a_name_that_a_client_made_up():
    """On a night of floods the model said nothing: it stood empty wherever refusals were counted or listed."""
    stage = staged(LimitSpec("request_rate", 1))
    stage.ask("hello")
    stage.settle()
    stage.ask("hello")
    stage.ask("hello", model="whatever-a-client-likes")
    stage.settle()
    assert [(r.reason, r.model) for r in stage.journal.refusals] == [
        ("limit.request_rate", "chat"),
        ("route.model", ""),
    ]


def test_D2_fifty_at_once_stay_within_the_budget():
    stage = staged(LimitSpec("token_rate", 1000))
    clients = [stage.ask("hello", max_tokens=90) for _ in range(50)]
    stage.settle()
    booked = sum(r.usage.total_input + r.usage.total_output for r in stage.journal.recent if r.usage)
    assert booked <= 1000 + 100 and used(stage) == [booked]
    assert {c.status for c in clients} == {200, 429}


def test_one_request_larger_than_the_limit_need_not_come_again():
    stage = staged(LimitSpec("token_rate", 100))
    client = stage.ask("hello", max_tokens=5000)
    stage.settle()
    assert client.status == 429 and json.loads(client.body)["error"]["reason"] == "limit.token_rate.too_large"
    assert client.header("x-should-retry") == "false" and client.header("retry-after") is None
    assert used(stage) == [0] and not len(stage.ledger)


def test_D9_concurrency_is_given_back_however_an_exchange_ends():
    stage = staged(LimitSpec("concurrency", 2), LimitSpec("request_rate", 100))
    first, second, third = (stage.ask("[sim:tokens=50]", stream=True) for _ in range(3))
    assert third.status == 429 and third.header("x-sluicegate-reason") == "limit.concurrency"
    first.leave()
    stage.settle()
    assert second.status == 200 and used(stage)[0] == 0


def test_D11_the_upstreams_limit_is_called_the_upstreams():
    stage = staged(LimitSpec("request_rate", 100))
    stage.upstream.fault("throttle", wait_s=3)
    client = stage.ask("hello")
    stage.settle()
    assert client.status == 429 and client.header("x-sluicegate-limit-source") == "upstream"


def test_D6_D7_what_goes_up_is_within_the_rules_and_what_is_reserved_is_that():
    rules = (ParamSpec("max_tokens", max=80), ParamSpec("n", max=1), ParamSpec("user", allow=('"a"',)))
    stage = staged(LimitSpec("token_rate", 500), params=rules, keep_bodies=True)
    client = stage.ask("hello", max_tokens=4000, n=5)
    assert 80 < used(stage)[0] < 150
    stage.settle()
    assert client.status == 200
    sent = json.loads(stage.ledger[0].body)
    assert sent["max_tokens"] == 80 and sent["n"] == 1 and sent["messages"][0]["content"] == "hello"
    client = stage.ask("hello", user="b")
    assert client.status == 400 and json.loads(client.body)["error"]["reason"] == "params.not_allowed"


def test_S04_D4_a_noisy_tenant_is_held_and_the_quiet_one_notices_nothing():
    """Ten times its limit for two minutes; the deployment has room for the limit and the quiet one."""
    limit = LimitSpec("request_rate", 60)
    stage = staged(limit)
    quiet = []
    noisy = []
    for n in range(1200):
        noisy.append(stage.ask("hello"))
        if n % 20 == 0:
            quiet.append(stage.ask("hello", consumer="quiet"))
        stage.clock.run_for(0.1)
    stage.settle()
    assert {c.status for c in quiet} == {200}
    assert 0.97 * 120 <= sum(c.status == 200 for c in noisy) <= 121
    assert used(stage)[0] <= 60


def test_another_configuration_in_the_middle_changes_the_amount_and_not_what_is_used():
    stage = staged(LimitSpec("token_rate", 500), LimitSpec("concurrency", 3))
    client = stage.ask("[sim:tokens=20]", stream=True, max_tokens=100)
    directory = stage.directory
    changed = replace(directory.consumers[0], limits=(LimitSpec("token_rate", 50), LimitSpec("concurrency", 3)))
    stage.adopt(stage.snapshot, replace(directory, consumers=(changed, *directory.consumers[1:])))
    assert stage.ask("hello", max_tokens=10).status == 429
    stage.settle()
    assert client.status == 200 and used(stage)[1] == 0
