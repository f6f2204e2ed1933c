"""Tenants are apart in everything that keeps something: stores hold the tenant, and what is live never mixes two."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.caller import Callers, Consumer
from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.policy import Policies
from sluicegate.core.pool import Pool
from sluicegate.core.principal import Principal
from sluicegate.core.route import Route
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import ConsumerEntry, Directory, Match, Model, TenantEntry
from sluicegate.stores.sqlite import directory, schema

WITHOUT = {
    "open": "records that are not settled, whole and unread: their tenant is in them",
    "places": "how far the journals of the workers were read: no traffic is in it",
    "keys": "belongs to a consumer of the same file, whose tenant stands there",
}
"""Tables without a tenant, and why."""


@pytest.mark.parametrize("tables", [schema.TABLES, directory.TABLES], ids=["ledger", "directory"])
def test_F13_every_table_holds_the_tenant_or_says_why_not(tables: tuple[str, ...]) -> None:
    made = {m[1]: text for text in tables if (m := re.match(r"\s*CREATE TABLE (\w+)", text))}
    assert made
    for name, text in made.items():
        assert ("tenant" in text) != (name in WITHOUT), name


def test_F13_sums_are_kept_by_tenant() -> None:
    (sums,) = [text for text in schema.TABLES if "CREATE TABLE sums" in text]
    assert "tenant" in sums.partition("PRIMARY KEY")[2]


ROUTE = Route(Model(1, "chat", (), ("chat_completions",)), Pool(()))
EACH = ("", "consumer", "tenant", "key", "end_user", "model")
LIMITS = st.lists(
    st.builds(
        lambda each, amount: LimitSpec("request_rate", amount, 60.0, each=each),
        st.sampled_from(EACH),
        st.integers(1, 99),
    ),
    max_size=4,
).map(tuple)


@given(st.tuples(LIMITS, LIMITS), st.tuples(LIMITS, LIMITS), st.sampled_from(["anna", ""]), st.booleans())
def test_F13_no_limit_is_shared_between_tenants(tenants, own, user: str, families: bool) -> None:
    """Two tenants with consumers that look alike: the same end user, the same member, the same words everywhere."""
    rule = Match("contoso", each="azp")
    entries = tuple(
        ConsumerEntry(
            n + 1, f"app-{n}", f"t{n}", ("*",), (bytes([n]) * 16,), own[n], match=rule if families and n == 0 else None
        )
        for n in range(2)
    )
    groups = tuple(TenantEntry(n + 1, f"t{n}", tenants[n]) for n in range(2))
    callers = Callers(Directory((Secret("s" * 32),), entries, groups))
    policies = Policies()
    found = []
    for n in range(2):
        consumer = callers.owner(bytes([n]) * 16)
        if families and n == 0:
            matched = callers.match(Principal("contoso", {"azp": "x"}, b"", 0.0))
            assert isinstance(matched, Consumer)
            consumer = matched
        assert consumer is not None
        policy = policies.find(consumer, ROUTE, "chat_completions", consumer.mark or b"k" * 16, 1.0, user)
        found.append({id(limit) for limit in policy.limits} if policy is not None else set())
    assert not found[0] & found[1]
