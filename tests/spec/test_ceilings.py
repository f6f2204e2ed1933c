"""Ceilings: short and long, and what is no ceiling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.limits import LIMITS
from sluicegate.core.limits.base import LimitSpec
from sluicegate.spec.ceilings import KINDS, LimitForm, Rate
from tests.spec.reading import bottom, compiled, consumer, found, model

ME = "consumers.my-app"


def limits(text: str) -> tuple[LimitSpec, ...]:
    return compiled(consumer(f"limits: {text}"))[1].consumers[0].limits


def test_every_kind_of_the_language_is_a_row_of_the_table():
    assert set(KINDS.values()) == set(LIMITS)


def test_the_short_forms():
    assert limits("[60k tokens/minute, 600 requests/hour, 20 concurrent]") == (
        LimitSpec("token_rate", 60_000, 60.0, origin=ME),
        LimitSpec("request_rate", 600, 3600.0, origin=ME),
        LimitSpec("concurrency", 20, origin=ME),
    )


def test_the_long_form_says_the_same_and_more():
    assert limits("[{tokens: 60k, per: minute}, {concurrent: 20}]") == limits("[60k tokens/minute, 20 concurrent]")
    said = "{tokens: 5k, per: second, each: model, count: output, reserve: max, guarantee: exact, mode: shadow, models: [chat]}"
    assert limits(f"[{said}]") == (
        LimitSpec("token_rate", 5000, 1.0, "model", "output", "max", "exact", "shadow", ("chat",), (), ME),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[60k tokens]", '18:14 consumers.my-app.limits: "60k tokens" is not a limit | write a limit such as '
         "60k tokens/minute, 600 requests/minute or 20 concurrent"),
        ("[50M tokens/month]", '18:14 consumers.my-app.limits: "50M tokens/month" counts by the month: that is a quota, which '
         "belongs to the language and arrives later | limits are per second, minute or hour"),
        ("[0 tokens/minute]", '18:14 consumers.my-app.limits: "0 tokens/minute" is too small | write at least 1'),
        ("[1.5 requests/minute]", '18:14 consumers.my-app.limits: "1.5 requests/minute" does not come out whole | write a '
         "count such as 500, 60k, 1.5M"),
        ("[{per: minute}]", "18:14 consumers.my-app.limits: says neither tokens nor requests nor concurrent | "
         "a ceiling has exactly one of tokens, requests, concurrent"),
        ("[{tokens: 1, requests: 1, per: minute}]", "18:14 consumers.my-app.limits: says tokens and requests | "
         "a ceiling has exactly one of tokens, requests, concurrent"),
        ("[{tokens: 5k}]", "18:14 consumers.my-app.limits: has no time | write per: minute, or second, or hour"),
        ("[{concurrent: 5, per: minute}]",
         "18:30 consumers.my-app.limits.per: has no effect on concurrent | remove it"),
        ("[{requests: 5, per: minute, count: input}]",
         "18:41 consumers.my-app.limits.count: has no effect on requests | remove it"),
        ("[{tokens: 5k, per: day}]", '18:32 consumers.my-app.limits.per: "day" belongs to the language and arrives later | '
         "now: second, minute, hour"),
        ("[{tokens: 5k, per: minute, each: end_user}]", "18:14 consumers.my-app.limits: counts each end user, but nothing "
         "says who that is | write end_user: field:safety_identifier at the consumer"),
        ("[{tokens: 5k, per: minute, models: [chatt]}]",
         '18:49 consumers.my-app.limits.models: no model is called "chatt"; did you mean "chat"?'),
        ("[60k tokens/minute, 50k tokens/minute]", '18:33 consumers.my-app.limits: counts the same as "60k tokens/minute" in '
         "this list | keep the smaller one"),
        ("60k tokens/minute", "18:13 consumers.my-app.limits: is text, not a list, each item a limit such as 60k "
         "tokens/minute, 600 requests/minute or 20 concurrent | write it in brackets: [one, two]"),
    ],
)  # fmt: skip
def test_what_is_no_ceiling_is_refused_with_what_to_write(text: str, problem: str):
    assert found(consumer(f"limits: {text}")) == [problem]


def test_a_plans_limits_hold_until_a_consumer_has_its_own_and_a_tenants_always():
    text = consumer("plan: team\ntenant: retail") + (
        "  b: {key: '${env:SECRET}', plan: team, tenant: retail, limits: [5 concurrent]}\n"
        "plans: {team: {models: [chat], limits: [60k tokens/minute, 20 concurrent]}}\n"
        "tenants: {retail: {limits: [300k tokens/minute]}}\n"
    )
    _, directory = compiled(text)
    mine, others = directory.consumers
    assert [(x.kind, x.amount, x.origin) for x in mine.limits] == [
        ("token_rate", 60_000, "plans.team"), ("concurrency", 20, "plans.team"),
    ]  # fmt: skip
    assert [(x.kind, x.amount, x.origin) for x in others.limits] == [("concurrency", 5, "consumers.b")]
    assert others.models == ("chat",)
    (retail,) = directory.tenants
    assert [(x.amount, x.origin) for x in retail.limits] == [(300_000, "tenants.retail")]


def test_limits_of_tenants_and_plans_are_judged_too():
    assert found(bottom("tenants: {retail: {limits: [5 tokens]}}"))[0].startswith("18:29 tenants.retail.limits: ")
    assert found(bottom("plans: {team: {limits: [5 tokens]}}"))[0].startswith("18:25 plans.team.limits: ")


@given(
    st.sampled_from(["tokens/second", "tokens/minute", "requests/hour", "concurrent"]),
    st.integers(1, 1_000_000),
)
def test_what_is_written_is_read_back(unit: str, amount: int):
    spec = Rate().parse(f"{amount} {unit}")
    assert Rate().parse(LimitForm().write(spec)) == spec


USERS = "limits: [{tokens: 5k, per: minute, each: end_user}]"


@pytest.mark.parametrize(
    "text",
    [
        consumer(f"{USERS}\nend_user: field:user"),
        consumer(f"{USERS}\nplan: team") + "plans: {team: {end_user: 'field:user'}}\n",
        consumer(f"{USERS}\ntenant: shop") + "tenants: {shop: {end_user: 'field:user'}}\n",
        consumer(USERS) + "defaults: {end_user: 'field:user'}\n",
    ],
    ids=["consumer", "plan", "tenant", "defaults"],
)
def test_who_the_end_user_is_may_stand_in_four_places(text: str):
    (entry,) = compiled(text)[1].consumers
    assert entry.end_user == "user" and entry.limits[0].each == "end_user"


def test_the_nearest_place_says_who_the_end_user_is():
    text = consumer("plan: team\ntenant: shop\nend_user: field:safety_identifier") + (
        "plans: {team: {end_user: 'field:a'}}\ntenants: {shop: {end_user: 'field:b'}}\ndefaults: {end_user: 'field:c'}\n"
    )
    for gone, left in (
        ("end_user: field:safety_identifier", "a"),
        ("{end_user: 'field:a'}", "b"),
        ("end_user: 'field:b'", "c"),
    ):
        assert compiled(text)[1].consumers[0].end_user != left
        text = text.replace(gone, "models: [chat]" if gone[0] == "{" else "").replace(
            "{models: [chat]}", "{models: [chat]}"
        )
        text = text.replace("plans: {team: models: [chat]}", "plans: {team: {models: [chat]}}")
        assert compiled(text)[1].consumers[0].end_user == left


NAMERS = "field:user or another field of the body, claim:oid, or header:x-user of a trusted proxy"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (consumer("end_user: header:x-user"), "18:15 consumers.my-app.end_user: has no effect: headers are believed only of a "
         "proxy that is trusted | write gateway.trusted_proxies: [10.0.0.0/8]"),
        (consumer("end_user: header:api-key"), '18:15 consumers.my-app.end_user: "header:api-key" is a header of credentials, '
         f"not of names | write {NAMERS}"),
        (consumer("end_user: header:X User"), f'18:15 consumers.my-app.end_user: "header:X User" does not say where | write '
         f"{NAMERS}"),
        (consumer("end_user: claim:oid"), "18:15 consumers.my-app.end_user: has no effect: only tokens have claims, and it "
         "shows keys | write match: too, or end_user: field:safety_identifier"),
        (consumer("end_user: user"), f'18:15 consumers.my-app.end_user: "user" does not say where | write {NAMERS}'),
        (consumer("end_user: field:messages"), '18:15 consumers.my-app.end_user: "field:messages" names a field that says '
         f"something else | write {NAMERS}"),
        (consumer("tenant: shop") + f"tenants: {{shop: {{{USERS}}}}}\n", "19:27 tenants.shop.limits: counts each end user, "
         "but none of its consumers says who that is | write end_user: field:safety_identifier at the consumer"),
        (model("rollout: {to: [weu/b], share: 5%, stick_to: end_user}").replace(
            "models:\n  chat", "      b: {model: gpt-4o, version: 2025-08-01}\nmodels:\n  chat"),
         "15:49 models.chat.rollout.stick_to: is end_user, but no consumer says who that is | write "
         "end_user: field:safety_identifier at the consumer"),
    ],
)  # fmt: skip
def test_an_end_user_that_nobody_names_is_refused(text: str, problem: str):
    assert found(text) == [problem]
